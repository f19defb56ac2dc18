"""What all task sources share: the catalogue, the union for recipes, a source of one's own."""

import json
import subprocess
import sys
from typing import Any

import pytest
from pydantic import TypeAdapter

from ratoon import ids, schema
from ratoon.errors import ConfigError, DataError
from ratoon.generators.tasks import TASK_SOURCES, TaskConfig, propose, propose_all
from ratoon.generators.tasks.entry import EntryConfig
from ratoon.generators.tasks.entry import propose as entry_propose
from ratoon.generators.tasks.task_rows import task_row, text_key
from ratoon.messages import compact, user


def capitals(config, seed):
    return [
        {"prompt": f"{config['ask']} France?", "answer": "Paris", "level": "easy", "split": "eval"},
        {
            "prompt": f"{config['ask']} Peru?",
            "answer": "Lima",
            "verifier": "choice",
            "verifier_args": {"n": seed},
            "oracle": "Lima!",
        },
        {"prompt": None},
        {"promt": "typo"},
        "no dict",
        {"prompt": "x", "split": "dev"},
        {"prompt": "x", "meta": {"a": object()}},
        {"prompt": "x", "answer": "y", "oracle": ["z"]},
    ]


def arm(**fields):
    return EntryConfig(**({"entry": "capitals", "verifier": "exact", "config": {"ask": "Capital of"}} | fields))


def test_a_recipe_names_every_source_as_its_catalogue_does():
    assert [source.config.model_fields["source"].default for source in TASK_SOURCES.values()] == list(TASK_SOURCES)


def test_the_tag_picks_the_source():
    parsed = TypeAdapter(TaskConfig).validate_python({"source": "entry", "entry": "mine"})
    assert isinstance(parsed, EntryConfig)
    with pytest.raises(ValueError, match="does not match any of the expected tags"):
        TypeAdapter(TaskConfig).validate_python({"source": "arithmetics"})


def test_a_source_of_ones_own_gives_whole_tasks_and_its_bad_items_are_failures():
    proposal = propose(arm(), 7, functions={"capitals": capitals})
    assert proposal.tasks.schema == schema.TABLES["tasks"]
    first, second = proposal.tasks.to_pylist()
    assert compact(first["messages"]) == [user("Capital of France?")]
    assert (first["family"], first["verifier"], first["split"], first["level"]) == ("capitals", "exact", "eval", "easy")
    assert (second["verifier"], second["verifier_args"]) == ("choice", '{"n":7}')
    assert proposal.oracles["oracle"].to_pylist() == ["Paris", "Lima!"]
    messages = proposal.failures["message"].to_pylist()
    assert messages[0] == "the prompt is null"
    assert "unknown field ['promt']" in messages[1]
    assert messages[2] == "a str, not a dict"
    assert "split 'dev'" in messages[3]
    assert "plain JSON" in messages[4]
    assert messages[5] == "the answer is a list, not a text or a number"


def raises(config, seed):
    raise KeyError("ask")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (raises, "raised KeyError: 'ask'"),
        (lambda config, seed: [], "no usable task"),
        (lambda config, seed: 3, "raised TypeError"),
    ],
)
def test_a_source_that_does_not_work_is_refused_by_name(function, message):
    with pytest.raises(DataError, match=f"task source 'capitals' .*{message}"):
        propose(arm(), 0, functions={"capitals": function})


def test_a_source_nobody_declares_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'capitals'"):
        propose(arm(entry="capital"), 0, functions={"capitals": capitals})


def test_a_source_of_an_outside_package_is_found_by_its_entry_point(tmp_path):
    info = tmp_path / "outside-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[ratoon.task_sources]\nechoes = outside:propose\n[ratoon.filters]\nshort = outside:keep\n"
    )
    (tmp_path / "outside.py").write_text(
        "def propose(config, seed):\n"
        "    return [{'prompt': f'Say {i}', 'answer': str(i)} for i in range(config['n'])]\n"
        "def keep(rows, config):\n"
        "    return [None if len(t) < config['most'] else 'too_long' for t in rows['text'].to_pylist()]\n"
    )
    code = (
        "import pyarrow as pa\n"
        "from ratoon.filters.decide import decide\n"
        "from ratoon.filters import entry as filters_entry\n"
        "from ratoon.generators.tasks import propose_all\n"
        "from ratoon.generators.tasks.entry import EntryConfig\n"
        "print(propose_all([EntryConfig(entry='echoes', config={'n': 3})], 0).tasks.num_rows)\n"
        "rows = pa.table({'rollout_id': ['r1', 'r2'], 'text': ['a', 'abc']})\n"
        "step = filters_entry.EntryConfig(entry='short', config={'most': 2})\n"
        "print(decide(rows, [('entry', step)], 'c')['reason'].to_pylist())\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=60, check=False
    )
    assert run.stdout == "3\n[None, 'too_long']\n", run.stderr


def test_failures_of_all_arms_are_kept_and_planned_adds_up():
    proposal = propose_all([arm(), arm(name="again", config={"ask": "Chief town of"})], 0, {"capitals": capitals})
    assert (proposal.tasks.num_rows, proposal.failures.num_rows, proposal.planned) == (4, 12, 16)
    assert propose_all([], 0).tasks.num_rows == 0


def test_an_id_hangs_on_content_and_not_on_the_arm():
    def row(**change):
        fields = {
            "source": "s", "family": "f", "messages": [user("Q")], "problem_key": "q", "answer": "1", "verifier": "exact",
            "verifier_args": {"b": 1, "a": [2]},
        }  # fmt: skip
        return task_row(**(fields | change))

    assert row()["task_id"] == row(family="g", level="hard", seed=3, verifier_args={"a": [2], "b": 1})["task_id"]
    assert len({row(**c)["task_id"] for c in ({}, {"answer": None}, {"verifier": "math"}, {"verifier_args": {}})}) == 4


def test_the_key_of_a_long_text_is_short_and_its_own():
    a, b = "word " * 200 + "a", "word " * 200 + "b"
    assert text_key(a) == text_key(a.upper()) != text_key(b)
    assert len(text_key(a)) < 50


def test_a_task_keeps_its_tools_and_its_whole_messages_and_its_id_knows_them() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
    tools = [{"type": "function", "function": {"name": "f"}}]
    talk = [
        user("Q"),
        {"role": "assistant", "content": None, "tool_calls": [call], "reasoning_content": "hm", "name": None},
        {"role": "tool", "content": "1", "tool_call_id": "c1"},
        user("And?"),
    ]

    def source(config: dict[str, Any], seed: int) -> list[dict[str, Any]]:
        return [{"messages": talk, "tools": tools}, {"messages": talk}, {"messages": talk, "tools": 7}]

    made = entry_propose(EntryConfig(entry="own"), 0, {"own": source})
    tooled, bare = sorted(made.tasks.to_pylist(), key=lambda row: row["tools"] is None)
    assert json.loads(tooled["tools"]) == tools
    assert bare["tools"] is None
    assert tooled["task_id"] != bare["task_id"]
    assert compact(tooled["messages"])[1] == {
        "role": "assistant", "content": None, "reasoning": "hm", "tool_calls": ids.canonical_json([call])
    }  # fmt: skip
    assert made.failures["message"].to_pylist() == ["tools is no list of objects"]


def test_a_plain_task_has_the_id_it_always_had() -> None:
    row = task_row(
        source="s", family="f", messages=[user("2 + 2")], problem_key="k", answer="4", verifier="exact", verifier_args={}
    )
    assert row["task_id"] == ids._id("task", '[[{"content":"2 + 2","role":"user"}],"4","exact",{}]')
