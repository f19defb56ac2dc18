"""Prompts: what stands in them and in which order, ids, and tasks that cannot be rendered."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from ratoon import ids, schema
from ratoon.generators import prompts
from ratoon.render import Renderer
from ratoon.sft.models.tiny import make_tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("prompts") / "tiny")


@pytest.fixture(scope="module")
def renderer(folder: Path) -> Renderer:
    return Renderer(folder)


def tasks(*questions: str) -> pa.Table:
    rows = [{"task_id": f"t{i}", "messages": [{"role": "user", "content": q}]} for i, q in enumerate(questions)]
    return schema.from_rows("tasks", rows)


def test_a_prompt_is_system_then_examples_then_the_task(renderer: Renderer) -> None:
    table, failures = prompts.build(tasks("3 + 4?"), renderer, "Be brief.", [("1 + 1?", "2")])
    (row,) = table.to_pylist()
    assert [m["content"] for m in row["messages"]] == ["Be brief.", "1 + 1?", "2", "3 + 4?"]
    assert row["token_ids"] == renderer.render([row["messages"]])[0]
    assert (row["task_id"], row["role"], row["parent_rollout_id"]) == ("t0", "solver", None)
    assert failures.num_rows == 0


def test_the_prompt_id_is_the_hash_of_what_is_asked(renderer: Renderer) -> None:
    table, _ = prompts.build(tasks("3 + 4?"), renderer, None)
    (row,) = table.to_pylist()
    assert row["prompt_id"] == ids.prompt_id("t0", "solver", renderer.template_digest, row["token_ids"])


@pytest.mark.parametrize("other", [{"system": "s"}, {"few_shot": [("x", "y")]}, {"role": "critic"}])
def test_another_system_prompt_example_or_role_is_another_prompt(renderer: Renderer, other: dict[str, object]) -> None:
    same = {"system": None, "few_shot": (), "role": "solver"}
    first, _ = prompts.build(tasks("q"), renderer, **same)
    second, _ = prompts.build(tasks("q"), renderer, **(same | other))
    assert first["prompt_id"].to_pylist() != second["prompt_id"].to_pylist()


def test_no_system_prompt_is_not_an_empty_one(renderer: Renderer) -> None:
    none, _ = prompts.build(tasks("q"), renderer, None)
    empty, _ = prompts.build(tasks("q"), renderer, "")
    assert len(none["messages"][0]) == 1
    assert len(empty["messages"][0]) == 2


def test_the_table_has_the_pinned_schema_even_when_empty(renderer: Renderer) -> None:
    for asked in (tasks("q"), tasks()):
        table, failures = prompts.build(asked, renderer, None)
        assert table.schema == schema.TABLES["prompts"]
        assert failures.schema == schema.TABLES["failures"]


def test_a_prompt_over_the_limit_fails_and_the_others_go_on(renderer: Renderer) -> None:
    table, failures = prompts.build(tasks("short", "long " * 50, "also short"), renderer, None, max_prompt_tokens=60)
    assert table["task_id"].to_pylist() == ["t0", "t2"]
    (failure,) = failures.to_pylist()
    assert (failure["subject_id"], failure["error_class"], failure["stage"]) == ("t1", "PromptTooLong", "prompts")
    assert "the limit is 60" in failure["message"]


def test_a_task_the_template_refuses_fails_and_the_others_go_on(folder: Path, tmp_path: Path) -> None:
    path = shutil.copytree(folder, tmp_path / "m")
    (path / "chat_template.jinja").write_text(
        "{% if 'bad' in messages[0]['content'] %}{{ raise_exception('no') }}{% endif %}{{ messages[0]['content'] }}"
    )
    table, failures = prompts.build(tasks("good", "bad", "fine"), Renderer(path), None)
    assert table["task_id"].to_pylist() == ["t0", "t2"]
    assert failures["error_class"].to_pylist() == ["TemplateRefused"]
