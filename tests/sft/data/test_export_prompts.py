"""Prompt sets: every task with its verifier and how hard it was, in rows that the other side's documented schema takes."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel, ConfigDict, TypeAdapter

from ratoon import schema
from ratoon.errors import DataError
from ratoon.generators.tasks.task_rows import task_row
from ratoon.sft.data.export import export
from ratoon.sft.data.export_prompts import write_prompts
from ratoon.sft.data.prompt_sets import prompts

CALL = [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": {"at": "sky"}}}]
TURNS = [
    {"role": "user", "content": "Look."}, {"role": "assistant", "content": None, "tool_calls": json.dumps(CALL)},
    {"role": "tool", "content": "blue", "tool_call_id": "c1"}, {"role": "user", "content": "So?"},
]  # fmt: skip
TOOLS = json.dumps([{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}])
TASKS = {
    "numeric": ([{"role": "user", "content": "1 + 1?"}], "2", {}, "train"),
    "math": ([{"role": "user", "content": "Half?"}], r"\frac{1}{2}", {"alternatives": ["0.5"]}, "train"),
    "choice": ([{"role": "user", "content": "The sky?"}], "1", {"options": ["red", "blue"]}, "train"),
    "code": ([{"role": "user", "content": "Write f."}], "def f(): return 1", {"tests": ["assert f() == 1"]}, "probe"),
    "exact": (TURNS, "blue", {}, "eval"),
}


def tables() -> tuple[pa.Table, pa.Table, pa.Table]:
    """Tasks of five verifiers; the first was asked in two rounds, the newer of two policies; one has no verifier."""
    rows = [
        task_row(source="t", family="f", messages=turns, problem_key=name, answer=gold, verifier=name, verifier_args=args,
                 split=split, tools=TOOLS if turns is TURNS else None)
        for name, (turns, gold, args, split) in TASKS.items()
    ]  # fmt: skip
    first = rows[0]["task_id"]
    bare = task_row(source="t", family="f", messages=[{"role": "user", "content": "Sing."}], problem_key="s", answer=None,
                    verifier=None, verifier_args={}, split="train")  # fmt: skip
    asked = [{"role": "system", "content": "Be brief."}, *rows[0]["messages"]]
    rendered = [{"prompt_id": "p1", "task_id": first, "role": "solver", "messages": asked}]
    groups = [
        {"group_id": f"g{i}", "task_id": first, "prompt_id": "p1", "role": "solver", "iteration": iteration,
         "scorer": "numeric", "n_valid": 4, "n_passed": passed}
        for i, (iteration, passed) in enumerate([(1, 0), (2, 1), (2, 2)])
    ]  # fmt: skip
    return (
        schema.from_rows("tasks", [*rows, bare]), schema.from_rows("prompts", rendered), schema.from_rows("groups", groups),
    )  # fmt: skip


def written(tmp_path: Path, format: str) -> dict[str, list[dict[str, Any]]]:
    """The rows of each split as they lie in the export's folder."""
    paths = write_prompts(tmp_path, format, prompts(*tables()))
    return {
        split: pq.read_table(path).to_pylist() if path.suffix == ".parquet" else list(map(json.loads, path.open()))
        for split, (path, _) in paths.items()
    }


def by_verifier(rows: dict[str, list[dict[str, Any]]], key: Callable[[dict[str, Any]], str]) -> dict[str, dict[str, Any]]:
    return {key(row): row for part in rows.values() for row in part}


def test_prompts_are_the_judged_tasks_with_the_newest_rounds_pass_rate_and_prompt() -> None:
    found = prompts(*tables())
    assert {split: len(rows) for split, rows in found.items()} == {"train": 3, "validation": 1, "test": 1}
    (first,) = [row for row in found["train"] if row["verifier"] == "numeric"]
    assert (first["pass_rate"], first["n"], first["difficulty"]) == (3 / 8, 8, 5 / 8)
    assert first["messages"][0] == {"role": "system", "content": "Be brief."}
    assert first["question"] == "1 + 1?"
    (unasked,) = [row for row in found["train"] if row["verifier"] == "choice"]
    assert (unasked["pass_rate"], unasked["difficulty"]) == (None, None)
    only = prompts(*tables(), only={first["task_id"]})
    assert [row["task_id"] for rows in only.values() for row in rows] == [first["task_id"]]


def test_verl_reads_chat_prompt_ground_truth_and_reward_function(tmp_path: Path) -> None:
    rows = by_verifier(written(tmp_path, "verl"), lambda row: row["ability"])
    assert set(rows) == set(TASKS)
    for row in rows.values():
        assert {"data_source", "prompt", "ability", "reward_model", "extra_info"} == row.keys()
        assert row["reward_model"]["style"] == "rule"
        assert all(isinstance(turn["role"], str) for turn in row["prompt"])
        assert isinstance(row["extra_info"]["index"], int)
    spec = importlib.util.spec_from_file_location("reward", tmp_path / "reward.py")
    assert spec is not None
    assert spec.loader is not None
    reward = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reward)
    row, truth = rows["numeric"], rows["numeric"]["reward_model"]["ground_truth"]
    for reply, score in (("It is 2.", 1.0), ("It is two, or 3.", 0.0)):
        got = reward.compute_score(row["data_source"], reply, truth, extra_info=row["extra_info"] | {"num_turns": 1})
        assert got == score


class Message(BaseModel):
    model_config = ConfigDict(extra="allow")

    role: str
    content: str | None = None


class TaskData(BaseModel):
    """What a verifiers task's data may hold, as its documentation has it, and the fields of the exported class."""

    model_config = ConfigDict(extra="forbid")

    id: str
    prompt: str | list[Message]
    system_prompt: str | None = None
    answer: str | None = None
    verifier: str
    verifier_args: str
    family: str | None = None
    level: str | None = None
    pass_rate: float | None = None
    n: int | None = None
    difficulty: float | None = None


def test_verifiers_rows_are_task_data_of_a_taskset_that_can_be_installed(tmp_path: Path) -> None:
    rows = [TaskData(**row) for part in written(tmp_path, "verifiers").values() for row in part]
    assert len({row.id for row in rows}) == len(TASKS)
    assert [row.system_prompt for row in rows if row.verifier == "numeric"] == ["Be brief."]
    assert (tmp_path / "ratoon_prompts" / "data" / "train.jsonl").exists()
    for name in ("__init__.py", "taskset.py"):
        compile((tmp_path / "ratoon_prompts" / name).read_text(), name, "exec")
    assert 'name = "ratoon-prompts"' in (tmp_path / "pyproject.toml").read_text()


def test_nemo_gym_rows_are_responses_requests_with_what_its_servers_read(tmp_path: Path) -> None:
    responses = pytest.importorskip("openai.types.responses")
    item = TypeAdapter(list[responses.ResponseInputItemParam])
    rows = by_verifier(written(tmp_path, "nemo-gym"), lambda row: row["verifier_metadata"]["verifier"])
    for row in rows.values():
        item.validate_python(row["responses_create_params"]["input"])
        assert isinstance(row["question"], str)
        assert isinstance(row["expected_answer"], str)
    assert rows["choice"]["options"] == [{"A": "red"}, {"B": "blue"}]
    assert rows["choice"]["expected_answer"] == "B"
    kinds = [part.get("type", part.get("role")) for part in rows["exact"]["responses_create_params"]["input"]]
    assert kinds == ["user", "function_call", "function_call_output", "user"]
    assert rows["exact"]["responses_create_params"]["tools"][0]["name"] == "look"


def test_open_instruct_rows_name_its_own_verifiers_and_leave_out_what_it_cannot_judge(tmp_path: Path) -> None:
    rows = by_verifier(written(tmp_path, "open-instruct"), lambda row: row["verifier"])
    assert {name: row["dataset"] for name, row in rows.items()} == {"numeric": "gsm8k", "math": "math", "code": "code"}
    assert rows["numeric"]["messages"][-1] == {"role": "user", "content": "1 + 1?"}
    assert rows["numeric"]["ground_truth"] == "2"
    assert json.loads(rows["code"]["ground_truth"]) == ["assert f() == 1"]


@pytest.mark.parametrize("format", ["verl", "open-instruct"])
def test_what_is_read_by_datasets_loads_with_it(format: str, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    paths = write_prompts(tmp_path / "out", format, prompts(*tables()))
    kind = "parquet" if format == "verl" else "json"
    files = {split: str(path) for split, (path, _) in paths.items()}
    loaded = datasets.load_dataset(kind, data_files=files, cache_dir=str(tmp_path / "cache"))
    assert {split: rows.num_rows for split, rows in loaded.items()} == {split: n for split, (_, n) in paths.items()}


def test_a_dataset_outside_a_run_is_told_that_its_run_is_needed(make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="lies in no run"):
        export(make_dataset(3), "verl", tmp_path / "out")
    assert not (tmp_path / "out").exists()
