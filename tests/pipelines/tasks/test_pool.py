"""Which changes make the tasks anew, and what keeps the held-out ones apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ratoon import schema
from ratoon.errors import ConfigError
from ratoon.generators.tasks.task_rows import task_row
from ratoon.messages import user
from ratoon.pipelines.runtime.context import Context
from ratoon.pipelines.tasks import pool as propose

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
    gym = "{source='reasoning_gym',dataset='chain_sum',n=12}"
    with context(f"tasks=[{gym},{{source='arithmetic',operation='add',digits=[1,1],n=16}}]") as ctx:
        versions = propose.tasks(ctx).key.versions
        assert set(versions) == {"tasks", "reasoning-gym", "verifier reasoning_gym", "verifier numeric"}
        assert versions["verifier reasoning_gym"].endswith(versions["reasoning-gym"])


def test_a_problem_on_two_sides_is_a_fault_that_is_told() -> None:
    rows = [
        task_row(source="s", family="f", messages=[user(text)], problem_key="1+1", answer="2", verifier=None,
                 verifier_args={}, split=split)
        for text, split in (("1 + 1?", "train"), ("One and one?", "eval"))
    ]  # fmt: skip
    with pytest.raises(RuntimeError, match=r"'1\+1' on \('eval', 'train'\)"):
        propose.sealed(schema.from_rows("tasks", rows))
    apart = schema.from_rows("tasks", rows[:1])
    assert propose.sealed(apart) is apart


def test_a_worked_example_may_show_a_training_task_but_no_held_out_one(context: Open) -> None:
    with context() as ctx:
        pool = propose.tasks(ctx)
        said = {r["split"]: r["messages"][-1]["content"] for r in ctx.store.read("tasks", [pool]).to_pylist()}
    with context(f"prompt.few_shot=[['{said['train']}','7']]") as ctx:
        propose.prompts(ctx, propose.tasks(ctx))
    for split in ("eval", "probe"):
        with (
            context(f"prompt.few_shot=[['{said['train']}','7'],['  {said[split].upper()}','7']]") as ctx,
            pytest.raises(ConfigError, match=f"that is the {split} task"),
        ):
            propose.prompts(ctx, propose.tasks(ctx))


def test_a_second_model_that_renders_alike_shares_the_prompts_and_one_that_does_not_has_its_own(context: Open) -> None:
    def live(ctx: Context) -> list[str | None]:
        return [m.shard for m in ctx.store.find("prompts")]

    with context() as ctx, Context(ctx.store, ctx.recipe, ctx.progress, tag="against") as other:
        pool = propose.tasks(ctx)
        alone = propose.prompts(other, pool)
        assert live(ctx) == ["against"]
        mine = propose.prompts(ctx, pool)
        assert live(ctx) == [None], "of two alike one lives"
        assert mine.content_digest == alone.content_digest
        assert propose.prompts(other, pool) == mine
        terse = other.recipe.model_copy(update={"prompt": other.recipe.prompt.model_copy(update={"system": "Be terse."})})
        with Context(ctx.store, terse, ctx.progress, tag="against") as unlike:
            assert propose.prompts(unlike, pool) != mine
        assert live(ctx) == [None, "against"]
        prompt_ids = ctx.store.read("prompts")["prompt_id"].to_pylist()
        assert len(set(prompt_ids)) == len(prompt_ids)
