"""What a verifier failed on is judged again when asked for; what it could judge is left as it is."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ratoon.pipelines.flows.runner import opened
from ratoon.pipelines.recipe.recipe import load
from ratoon.pipelines.rollouts import askers, sample, score

FLAKY = """
from pathlib import Path
HERE = Path(__file__).parent

def flaky(text, answer, args):
    if not (HERE / "mended").exists() and hash(text) % 2 == 0:
        raise RuntimeError("out of order")
    return answer in text
"""


def test_retry_failed_judges_a_verifier_s_errors_again_and_nothing_else(
    small: list[str], ground: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "flaky_verifier.py").write_text(FLAKY.replace("hash(text) % 2 == 0", "text.endswith('.')"))
    monkeypatch.syspath_prepend(tmp_path)
    import flaky_verifier

    sets = [*small, "tasks.0.verifier=flaky", "tasks.1.verifier=flaky"]
    tables = []
    for retry_failed in (False, False, True, True):
        with opened(
            tmp_path / "run", load("smoke", sets), quiet=True, retry_failed=retry_failed,
            verifiers={"flaky": flaky_verifier.flaky},
        ) as ctx:  # fmt: skip
            on = ground(ctx)
            asked = askers.assign_round(ctx, on.pool, on.prompts, 1)
            rollouts = [sample.sample_shard(ctx, s, on.prompts) for s in sample.shards(ctx, asked, on.base_row, on.base)]
            made = [score.score_shard(ctx, r, on.pool) for r in rollouts]
            tables.append({row["subject_id"]: row for row in ctx.store.read("scores", made).to_pylist()})
            assert len(ctx.store.find("scores", 1)) == len(made)
        if len(tables) == 2:
            (tmp_path / "mended").touch()
    first, same, retried, again = tables
    assert first == same
    counts = Counter(row["status"] for row in first.values())
    assert counts["error"]
    assert counts["pass"] + counts["fail"]
    assert {row["status"] for row in retried.values()} == {"pass", "fail"}
    assert retried.keys() == first.keys()
    assert all(retried[i] == row for i, row in first.items() if row["status"] != "error")
    assert again == retried
    del sys.modules["flaky_verifier"]
