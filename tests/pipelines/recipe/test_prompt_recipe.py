"""The recipe's system prompt, worked examples and template arguments reach the model, and the ids that must differ."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from ratoon.errors import ConfigError
from ratoon.messages import compact
from ratoon.pipelines.rollouts import askers
from ratoon.pipelines.runtime.context import Context
from ratoon.pipelines.tasks import pool as propose
from ratoon.sft.models.tiny import make_tiny

Open = Callable[..., AbstractContextManager[Context]]
TEMPLATE = (
    "{% if loud is defined and loud %}LOUD {% endif %}{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
)


@pytest.fixture
def loud(tmp_path: Path) -> str:
    """`--set` for a model whose template looks at an argument."""
    model = make_tiny(tmp_path / "loud")
    (model / "chat_template.jinja").write_text(TEMPLATE)
    return f"model.path={str(model)!r}"


def first(ctx: Context) -> dict[str, Any]:
    """The prompt of the first task, decoded, beside its ids and those of the round's sampling."""
    pool = propose.tasks(ctx)
    prompts = propose.prompts(ctx, pool)
    row = ctx.store.read("prompts", [prompts]).sort_by("task_id").slice(0, 1).to_pylist()[0]
    asked = ctx.store.read("assignments", [askers.assign_round(ctx, pool, prompts, 1)]).to_pylist()[0]
    told = {"text": ctx.renderer.decode(row["token_ids"]), "sampling_id": asked["sampling_id"], "artifact": prompts.artifact_id}
    return row | told


def test_the_system_prompt_is_rendered_and_makes_another_prompt(context: Open) -> None:
    with context() as ctx:
        plain = first(ctx)
    with context("prompt.system=Be brief.") as ctx:
        told = first(ctx)
        assert ctx.store.read("tasks").column("messages").to_pylist()[0][0]["role"] == "user"
    assert told["text"].startswith("system\nBe brief.")
    assert compact(told["messages"])[0] == {"role": "system", "content": "Be brief."}
    assert plain["task_id"] == told["task_id"]
    assert plain["prompt_id"] != told["prompt_id"]
    assert plain["artifact"] != told["artifact"]


def test_worked_examples_stand_between_the_system_prompt_and_the_task(context: Open) -> None:
    with context("prompt.system=S", 'prompt.few_shot=[["1 + 1?", "2"]]') as ctx:
        assert [m["role"] for m in first(ctx)["messages"]] == ["system", "user", "assistant", "user"]


def test_template_arguments_reach_the_prompt_the_digest_and_the_sampling(context: Open, loud: str) -> None:
    with context(loud) as ctx:
        quiet = first(ctx)
    with context(loud, "prompt.chat_template_kwargs.loud=true") as ctx:
        told = first(ctx)
        assert ctx.store.config()["prompt"]["chat_template_kwargs"] == {"loud": True}
    assert told["text"] == f"LOUD {quiet['text']}"
    assert {k for k in ("prompt_id", "template_digest", "sampling_id", "artifact") if quiet[k] == told[k]} == set()
    assert quiet["task_id"] == told["task_id"]


def test_an_argument_that_is_the_renderers_own_is_refused(context: Open) -> None:
    with (
        pytest.raises(ConfigError, match="add_generation_prompt"),
        context("prompt.chat_template_kwargs.add_generation_prompt=false"),
    ):
        pass
