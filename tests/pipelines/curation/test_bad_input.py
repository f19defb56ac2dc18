"""Odd rollouts through the default order: a reason or a kept row for each, a typed error where nothing can be done."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ratoon import schema
from ratoon.errors import ConfigError, DataError, RatoonError, StoreError
from ratoon.pipelines.curation import matches, near_duplicates
from ratoon.pipelines.curation.curate import candidates, curate
from ratoon.pipelines.recipe.recipe import load
from ratoon.pipelines.runtime.rollout_set import Crop
from ratoon.pipelines.runtime.stage import key
from ratoon.store.store import Counts, Manifest, Store

ORDER = (
    'filters=[{kind="lint"},{kind="exact_dedup",scope="all"},{kind="decontaminate"},{kind="verified"},{kind="pass_rate"},'
    '{kind="consensus"},{kind="minhash"},{kind="quality_floor"}]'
)


def planted(root: Path, texts: list[str | None], order: str = ORDER) -> tuple[Store, Any, Crop]:
    """A run of one round whose rollouts say these things, all of them passed, and the order's recipe."""
    n = len(texts)
    ids = [f"r_{i:024x}" for i in range(n)]
    recipe = load("smoke", [order, "curation.control=true"])
    with Store.writer(root, {"shard_size": 10}) as store:

        def put(stage: str, shard: str | None, iteration: int, **tables: pa.Table) -> Manifest:
            rows = next(iter(tables.values())).num_rows
            return store.put(key(stage, iteration, shard), tables, Counts(rows, rows))

        asked = [{"role": "user", "content": "How much is it?"}]
        tasks = schema.from_rows("tasks", [{"task_id": "t", "messages": asked, "split": "train", "family": "f"}])
        pool = put("tasks", None, 0, tasks=tasks)
        prompts = put(
            "prompts", None, 0, prompts=schema.from_rows("prompts", [{"prompt_id": "p", "task_id": "t", "messages": asked}])
        )
        columns: dict[str, Any] = {"rollout_id": ids, "text": pa.array(texts, pa.string()), "iteration": [1] * n}
        columns |= {name: [value] * n for name, value in (("group_id", "g"), ("task_id", "t"), ("prompt_id", "p"))}
        rollouts = put("rollouts", "train-0000", 1, rollouts=schema.from_columns("rollouts", columns, n))
        verdicts = {"subject_kind": ["rollout"] * n, "subject_id": ids, "scorer": ["v"] * n, "version": ["1"] * n,
                    "repeat": pa.array([0] * n, pa.int32()), "status": ["pass"] * n, "value": [1.0] * n}  # fmt: skip
        scores = put("scores", "train-0000", 1, scores=schema.from_columns("scores", verdicts, n))
        group = {"group_id": "g", "task_id": "t", "scorer": "v", "scorer_version": "1", "label_source": "verifier",
                 "pass_rate": 0.5, "pass_lo": 0.1, "pass_hi": 0.9, "n": n, "n_valid": n, "n_passed": n}  # fmt: skip
        groups = put("groups", "train", 1, groups=schema.from_rows("groups", [group] if n else []))
    return Store.open(root), recipe, Crop(1, [pool], [prompts], [rollouts], [scores], groups)


def reasons(root: Path, texts: list[str | None], order: str = ORDER) -> list[str | None]:
    """Per text why it went, null where it stayed; the control is as large as what stayed."""
    _, recipe, crop = planted(root, texts, order)
    with Store.writer(root) as store:
        made = curate(store, recipe, crop)
        control = next(m for m in store.find("curate") if m.shard == "default-control")
        assert control.counts.rows_out == made.counts.rows_out
        said = {r["subject_id"]: r["reason"] for r in store.read("decisions", [made]).to_pylist() if not r["keep"]}
    return [said.get(f"r_{i:024x}") for i in range(len(texts))]


LONG = "one two three four five six seven eight nine ten eleven twelve"


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        ([], []),
        (["42"], [None]),
        ([LONG] * 4, [None, "duplicate", "duplicate", "duplicate"]),
        ([None, "", " \n"], [None, "lint:empty", "lint:empty"]),
        (["東京は晴れです", "東京は雨でした", "東京は　晴れです"], [None, None, "near_duplicate"]),
        (["नमस्ते दुनिया", "สวัสดีชาวโลก", "مرحبا بالعالم", "🙂🙂"], [None, None, None, None]),
        (["I'm sorry, I cannot do that.", "7"], ["lint:refusal", None]),
        ([LONG + " a", LONG + " b" * 2], [None, None]),
    ],
    ids=["none", "one", "all the same", "null and empty", "unspaced", "other scripts", "a refusal", "unlike ends"],
)
def test_odd_rows_have_a_reason_or_stay(tmp_path: Path, texts: list[str | None], told: list[str | None]) -> None:
    assert reasons(tmp_path / "run", texts) == told


def test_rows_of_a_megabyte_are_curated(tmp_path: Path) -> None:
    words = " ".join(f"w{i}" for i in range(150_000))
    assert reasons(tmp_path / "run", [words, words + " end", "short"]) == [None, "near_duplicate", None]


def test_a_model_that_is_not_there_is_told_and_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    _, recipe, crop = planted(tmp_path / "run", ["7", "8"], 'filters=[{kind="verified"},{kind="semantic"},{kind="dpp",n=1}]')
    embedding = recipe.curation.embedding.model_copy(update={"model": str(tmp_path / "model")})
    recipe = recipe.model_copy(update={"curation": recipe.curation.model_copy(update={"embedding": embedding})})
    with Store.writer(tmp_path / "run") as store:
        commits = len(store.commits())
        with pytest.raises(RatoonError, match="is no model folder"):
            curate(store, recipe, crop)
        assert len(store.commits()) == commits


def test_what_nobody_wrote_is_told(tmp_path: Path) -> None:
    _, recipe, crop = planted(tmp_path / "run", ["7"])
    curation = recipe.curation
    with Store.writer(tmp_path / "run") as store:
        with pytest.raises(DataError, match="there is no"):
            matches.matched(store, curation.model_copy(update={"against": ("gone.jsonl",)}), crop)
        with pytest.raises(StoreError, match="is no run"):
            near_duplicates.near_pairs(store, curation.model_copy(update={"runs": (str(tmp_path / "gone"),)}), [crop])
        rows = candidates(store, crop)
        assert rows.num_rows == 1
    with pytest.raises(ConfigError, match="top_9"):
        load("smoke", ['filters=[{kind="lint",most={top_9=0.5}}]'])


def test_a_full_disk_while_signing_leaves_no_artifact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, recipe, crop = planted(tmp_path / "run", ["7", "8"])

    def full(*_: object, **__: object) -> str:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("tempfile.mkdtemp", full)
    with Store.writer(tmp_path / "run") as store:
        with pytest.raises(OSError, match="space"):
            near_duplicates.near_pairs(store, recipe.curation, [crop])
        assert store.find("near") == []
