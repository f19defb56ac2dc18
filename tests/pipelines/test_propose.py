"""Which changes make the tasks anew."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ratoon.pipelines import propose

Open = Callable[..., Any]


def _questions(path: Path, first: int, *, count: int = 12) -> Path:
    rows = [{"prompt": f"What is {i} plus 1?", "answer": str(i + 1)} for i in range(first, first + count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _arm(path: Path) -> list[str]:
    arm = f"tasks=[{{source='dataset',path='{path}',verifier='numeric'}}]"
    return [arm, "splits.eval=3", "splits.probe=1"]


@pytest.mark.parametrize("folder", [False, True])
def test_an_edited_file_of_questions_is_read_again_and_an_unchanged_one_is_not(
    context: Open, tmp_path: Path, folder: bool
) -> None:
    (tmp_path / "data").mkdir()
    file = _questions(tmp_path / "data" / "sums.jsonl", 1)
    sets = _arm(file.parent if folder else file)
    made = []
    for first in (1, 1, 50):
        _questions(file, first)
        with context(*sets) as ctx:
            made.append(propose.tasks(ctx))
            answers = set(ctx.store.read("tasks", made[-1:])["answer"].to_pylist())
        assert answers == {str(i + 1) for i in range(first, first + 12)}
    assert made[0] == made[1] != made[2]


def test_the_versions_of_verifiers_and_of_reasoning_gym_are_in_the_key_of_the_tasks(context: Open) -> None:
    pytest.importorskip("reasoning_gym")
    arm = "tasks=[{source='reasoning_gym',dataset='chain_sum',n=12},{source='arithmetic',operation='add',digits=[1,1],n=16,verifier='numeric'}]"
    with context(arm) as ctx:
        versions = propose.tasks(ctx).key.versions
        assert set(versions) == {"tasks", "reasoning-gym", "verifier reasoning_gym", "verifier numeric"}
        assert versions["verifier reasoning_gym"].endswith(versions["reasoning-gym"])
