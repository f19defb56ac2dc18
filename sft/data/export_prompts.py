"""Prompt sets in the shapes of trainers that sample and judge themselves: verl, verifiers, NeMo Gym, open-instruct.

One function per format: a prompt and its number in, a row out. Where a trainer takes code for its reward, a file beside the
data asks ratoon's own verifier; what a trainer's built-in rewards cannot judge is left out and counted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from ratoon.sft.data.prompt_sets import Prompt, judged_by

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def verl(prompt: Prompt, index: int) -> dict[str, Any]:
    """verl's RLHF dataset: chat prompt, rule-based reward model, and what its reward function is given besides."""
    return {
        "data_source": f"ratoon/{prompt['family']}", "prompt": _plain(prompt), "ability": prompt["verifier"],
        "reward_model": {"style": "rule", "ground_truth": prompt["answer"] or ""},
        "extra_info": judged_by(prompt) | {"split": prompt["split"], "index": index},
    }  # fmt: skip


def verifiers(prompt: Prompt, index: int) -> dict[str, Any]:
    """A row of the taskset's data: TaskData of verifiers, with what its reward needs."""
    turns = _plain(prompt)
    system = turns[0]["content"] if turns[0]["role"] == "system" else None
    told = judged_by(prompt)
    return {
        "id": told.pop("task_id"), "prompt": turns[1:] if system is not None else turns, "system_prompt": system,
        "answer": prompt["answer"], **told,
    }  # fmt: skip


def nemo_gym(prompt: Prompt, index: int) -> dict[str, Any]:
    """NeMo Gym's row: parameters of a Responses request, and the fields its math, choice and code servers read."""
    params: dict[str, Any] = {"input": [item for turn in prompt["messages"] for item in _items(turn)]}
    if prompt["tools"]:
        params["tools"] = [_tool(tool) for tool in prompt["tools"]]
    row = {
        "responses_create_params": params, "question": prompt["question"], "expected_answer": prompt["answer"],
        "uuid": prompt["task_id"], "verifier_metadata": judged_by(prompt),
    }  # fmt: skip
    args = prompt["verifier_args"]
    if options := args.get("options"):
        row["options"] = [{letter: option} for letter, option in zip(_LETTERS, options, strict=False)]
        row["expected_answer"] = _letter(prompt["answer"], options, args.get("first", 0))
    if cases := args.get("cases"):
        inputs, outputs = ([case.get(name, "") for case in cases] for name in ("stdin", "stdout"))
        row["verifier_metadata"]["unit_tests"] = {"inputs": inputs, "outputs": outputs}
    return row


# What of ours open-instruct's own verifiers judge alike: the name it goes by in its column `dataset`.
_RLVR = {"numeric": "gsm8k", "math": "math", "code": "code"}


def open_instruct(prompt: Prompt, index: int) -> dict[str, Any] | None:
    """open-instruct's RLVR row, whose `dataset` names its verifier; None where it has none that judges this task."""
    tests = prompt["verifier_args"].get("tests")
    if prompt["verifier"] not in _RLVR or (prompt["verifier"] == "code" and not tests):
        return None
    truth = json.dumps(tests, ensure_ascii=False) if prompt["verifier"] == "code" else prompt["answer"]
    if truth is None:
        return None
    return {"messages": _plain(prompt), "ground_truth": truth, "dataset": _RLVR[prompt["verifier"]]} | judged_by(prompt)


class PromptFormat(NamedTuple):
    """A row of a prompt, files beside the data by their path, and how the data lies there."""

    row: Callable[[Prompt, int], dict[str, Any] | None]
    files: Mapping[str, str] = {}
    suffix: str = "jsonl"
    data: str = "data"


_REWARD = '''"""The reward of these prompts: the verifier that each row names, of ratoon."""

import json

from ratoon import judge_reply


def compute_score(data_source, solution_str, ground_truth, extra_info=None, **_):
    """1.0 where the verifier passes the reply, else 0.0; asked once more where it broke, which says nothing of the reply."""
    args = json.loads(extra_info["verifier_args"])
    for _ in range(2):
        verdict = judge_reply(solution_str, ground_truth or None, extra_info["verifier"], **args)
        if verdict.status != "error":
            break
    return float(verdict.status == "pass")
'''
_TASKSET = '''"""Tasks of a ratoon run for verifiers: judged by the verifier that each row names."""

import json
from pathlib import Path
from typing import Literal

import verifiers.v1 as vf

from ratoon import judge_reply


class PromptData(vf.TaskData):
    answer: str | None = None
    verifier: str
    verifier_args: str = "{}"
    family: str | None = None
    level: str | None = None
    pass_rate: float | None = None
    n: int | None = None
    difficulty: float | None = None


class PromptTask(vf.Task[PromptData]):
    @property
    def key(self) -> str:
        return self.data.id

    @vf.reward(weight=1.0)
    async def passes(self, trace: vf.Trace) -> float:
        data = self.data
        for _ in range(2):  # asked once more where the verifier broke, which says nothing of the reply
            verdict = judge_reply(trace.last_reply, data.answer, data.verifier, **json.loads(data.verifier_args))
            if verdict.status != "error":
                break
        return float(verdict.status == "pass")


class PromptConfig(vf.TasksetConfig):
    split: Literal["train", "validation", "test"] = "train"


class PromptTaskset(vf.Taskset[PromptTask, PromptConfig]):
    def load(self):
        path = Path(__file__).with_name("data") / f"{self.config.split}.jsonl"
        for line in path.read_text(encoding="utf-8").splitlines():
            yield PromptTask(PromptData(**json.loads(line)), self.config.task)
'''
_PROJECT = """[project]
name = "ratoon-prompts"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["verifiers>=0.4", "ratoon"]

[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[tool.hatch.build.targets.wheel]
packages = ["ratoon_prompts"]
"""
_INIT = 'from ratoon_prompts.taskset import PromptTaskset\n\n__all__ = ["PromptTaskset"]\n'

PROMPT_EXPORTS: dict[str, PromptFormat] = {
    "verl": PromptFormat(verl, {"reward.py": _REWARD}, "parquet"),
    "verifiers": PromptFormat(
        verifiers,
        {"pyproject.toml": _PROJECT, "ratoon_prompts/__init__.py": _INIT, "ratoon_prompts/taskset.py": _TASKSET},
        data="ratoon_prompts/data",
    ),
    "nemo-gym": PromptFormat(nemo_gym),
    "open-instruct": PromptFormat(open_instruct),
}
PROMPT_USE = {
    "verl": "```\npython -m verl.trainer.main_ppo data.train_files=FOLDER/data/train.parquet "
            "custom_reward_function.path=FOLDER/reward.py …\n```\n\nRewards need `pip install ratoon`.",
    "verifiers": "`pip install FOLDER`, then `ratoon-prompts` is a taskset; `--env.taskset.split`: train, validation or test.",
    "nemo-gym": "Datasets of a NeMo Gym server: `math_with_judge` reads `question` and `expected_answer`, `mcqa` "
                "`options` and `expected_answer`, `code_gen` `verifier_metadata.unit_tests`.",
    "open-instruct": "`--dataset_mixer_list FOLDER 1.0 --dataset_mixer_list_splits train`; `dataset` names its verifier. Tasks "
                     "that only a verifier of ratoon judges are left out.",
}  # fmt: skip


def write_prompts(folder: Path, format: str, by_split: Mapping[str, list[dict[str, Any]]]) -> dict[str, tuple[Path, int]]:
    """Write the prompts into `folder`; file and rows of each split that has any. Files beside the data are written too."""
    shape, written = PROMPT_EXPORTS[format], dict[str, tuple[Path, int]]()
    for name, text in shape.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    rows = {
        split: [row for index, prompt in enumerate(prompts) if (row := shape.row(prompt, index)) is not None]
        for split, prompts in by_split.items()
    }
    (folder / shape.data).mkdir(parents=True, exist_ok=True)
    for split, part in rows.items():
        if part:
            path = folder / shape.data / f"{split}.{shape.suffix}"
            written[split] = path, len(part)
            _write(path, part, [row for each in rows.values() for row in each])
    return written


def _write(path: Path, rows: list[dict[str, Any]], every: list[dict[str, Any]]) -> None:
    """The rows of one split; in Parquet under one schema for `every` split, in which unknown columns are texts."""
    if path.suffix == ".parquet":
        schema = pa.schema([pa.field(f.name, _typed(f.type)) for f in pa.Table.from_pylist(every).schema])
        pq.write_table(pa.Table.from_pylist(rows, schema), path, use_content_defined_chunking=True)
        return
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def _typed(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(f.name, _typed(f.type)) for f in kind])
    return pa.list_(_typed(kind.value_type)) if pa.types.is_list(kind) else pa.string() if pa.types.is_null(kind) else kind


def _plain(prompt: Prompt) -> list[dict[str, Any]]:
    """Role and content alone, as trainers render them; a turn that calls tools keeps its calls."""
    kept = ("role", "content", "tool_call_id", "name")
    return [
        {name: turn[name] for name in kept if name in turn}
        | ({"tool_calls": [_call(call) for call in turn["tool_calls"]]} if turn.get("tool_calls") else {})
        for turn in prompt["messages"]
    ]


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    """A call with its arguments as JSON, as chat endpoints write it."""
    function = call["function"]
    told = {"name": function["name"], "arguments": _json(function.get("arguments", {}))}
    return {"id": call.get("id") or "", "type": "function", "function": told}


def _items(turn: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A turn as items of a Responses request: calls and their results are items of their own."""
    if turn["role"] == "tool":
        return [{"type": "function_call_output", "call_id": turn.get("tool_call_id") or "", "output": turn["content"] or ""}]
    said = [{"role": turn["role"], "content": turn["content"]}] if turn.get("content") else []
    return said + [
        {"type": "function_call", "call_id": call.get("id") or "", "name": call["function"]["name"],
         "arguments": _json(call["function"].get("arguments", {}))}
        for call in turn.get("tool_calls") or ()
    ]  # fmt: skip


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = tool.get("function", tool)
    return {"type": "function", "name": function["name"], "description": function.get("description"),
            "parameters": function.get("parameters") or {}, "strict": bool(function.get("strict"))}  # fmt: skip


def _json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _letter(answer: str | None, options: list[str], first: int) -> str | None:
    """The letter of a gold that is a place, or an option's text; else as it is."""
    bare = (answer or "").strip()
    place = int(bare) - first if bare.isdecimal() else options.index(bare) if bare in options else None
    return answer if place is None or not 0 <= place < len(options) else _LETTERS[place]
