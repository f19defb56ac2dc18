"""Seed tasks, the prompts made of them, how replies are read, and what becomes of a proposal."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ratoon import schema
from ratoon.errors import ConfigError, DataError
from ratoon.generators.proposers import formats as form
from ratoon.generators.proposers import self_instruct
from ratoon.generators.proposers.candidates import Candidate, Leak, Pool, decisions, judge
from ratoon.generators.proposers.formats import Draft
from ratoon.generators.proposers.prompts import Ask, Known
from ratoon.generators.proposers.self_instruct import SelfInstructConfig
from ratoon.generators.tasks.seeds import PACKAGED, SeedsConfig
from ratoon.generators.tasks.seeds import propose as seeds
from ratoon.generators.tasks.task_rows import task_row, text_key
from ratoon.messages import user
from ratoon.novelty import tokens_of
from ratoon.text import rouge_l

CONFIG = SelfInstructConfig()


def rows(table: Any) -> list[dict[str, Any]]:
    return [row | {"meta": json.loads(row["meta"])} for row in table.to_pylist()]


@pytest.fixture(scope="module")
def people() -> list[dict[str, Any]]:
    return rows(seeds(SeedsConfig(), 0).tasks)


def machine(kind: str, instruction: str) -> dict[str, Any]:
    row = task_row(source="self_instruct", family="f", messages=[user(instruction)], problem_key=text_key(instruction),
                   answer=None, verifier=None, verifier_args={})  # fmt: skip
    return row | {"meta": {"kind": kind, "instruction": instruction, "input": "", "output": "x"}}


def read(text: str, cut: bool = False, **config: Any) -> list[Candidate]:
    return self_instruct.read(SelfInstructConfig(**config), Known(), Ask((), "list", ("t_a",)), "r_1", text, cut)


def test_the_packaged_seeds_are_many_of_twelve_kinds_and_no_two_alike() -> None:
    lines = [json.loads(line) for line in PACKAGED.read_text(encoding="utf-8").splitlines()]
    assert len(lines) >= 80
    assert len({line["kind"] for line in lines}) == 12
    for text in (lambda s: s["instruction"], lambda s: f"{s['instruction']}\n{s['input']}"):
        pairs = itertools.combinations([tokens_of(text(line)) for line in lines], 2)
        assert max(rouge_l(a, b) for a, b in pairs) <= 0.5
    assert all(line["output"].strip() for line in lines)


def test_seeds_are_training_tasks_without_gold() -> None:
    table = seeds(SeedsConfig(), 0).tasks
    assert table.schema == schema.TABLES["tasks"]
    assert table["answer"].null_count == table["verifier"].null_count == table.num_rows
    assert set(table["split"].to_pylist()) == {"train"}


def test_a_line_that_is_no_seed_is_a_failure_and_a_kind_that_is_not_there_an_error(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text('{"kind":"k","instruction":"Do it","output":"ok"}\n{"kind":"k"}\nnot json\n{"kind":1,"instruction":"x"}\n')
    found = seeds(SeedsConfig(path=str(file)), 0)
    assert (found.tasks.num_rows, found.failures.num_rows) == (1, 3)
    with pytest.raises(DataError, match="no seed task is of kind 'poem'"):
        seeds(SeedsConfig(kinds=("poem",)), 0)
    with pytest.raises(DataError, match=r"there is no \.jsonl file"):
        seeds(SeedsConfig(path=str(tmp_path / "gone.jsonl")), 0)


def test_prompts_show_people_and_machine_and_ask_for_the_rarest_kind_first(people: list[dict[str, Any]]) -> None:
    made = [machine(kind, f"Say {i} things about {kind}") for kind in ("list", "plan") for i in range(9)]
    config = SelfInstructConfig(asks=20, per_ask=2, human=3, machine=2)
    found = self_instruct.asks(config, Known(people, made), 1, False)
    assert sum(ask.n for ask in found) == 20
    kinds = Counter(kind for ask in found for kind in [ask.kind] * ask.n)
    assert set(kinds) == {row["meta"]["kind"] for row in people} - {"list", "plan"}, "those two have 17 tasks, the others 8"
    assert max(kinds.values()) == 2
    by_people = {row["task_id"] for row in people}
    for ask in found:
        assert 3 <= len(set(ask.parent_ids) & by_people) <= 4
        assert 1 <= len(set(ask.parent_ids) - by_people) <= 2
    assert "Do not begin with: " not in found[0].messages[-1]["content"], "no beginning came three times"
    repeated = self_instruct.asks(config, Known(people, [machine("list", f"Name all {w} things") for w in "abc"]), 1, False)
    assert "Do not begin with: name all." in repeated[0].messages[-1]["content"]


def test_labels_are_written_before_inputs_where_answers_are_few(people: list[dict[str, Any]]) -> None:
    found = self_instruct.asks(SelfInstructConfig(asks=24), Known(people), 0, True)
    for ask in found:
        names = list(json.loads(ask.schema or "")["properties"]["tasks"]["items"]["properties"])
        assert names == (["task", "output", "input"] if ask.kind == "classify" else ["task", "input", "output"])
        assert ("Decide on the output first" in ask.messages[-1]["content"]) == (ask.kind == "classify")


def test_the_same_pool_and_seed_give_the_same_prompts_and_another_seed_others(people: list[dict[str, Any]]) -> None:
    first, again, other = (self_instruct.asks(CONFIG, Known(list(order)), seed, False) for order, seed in
                           ((people, 3), (reversed(people), 3), (people, 4)))  # fmt: skip
    assert [a.key for a in first] == [a.key for a in again] != [a.key for a in other]


def test_without_an_example_there_is_nothing_to_ask() -> None:
    with pytest.raises(ConfigError, match="no example to show"):
        self_instruct.asks(CONFIG, Known(), 0, False)


drafts = [Draft("Name a colour", "", "red"), Draft("Translate this", "two\nlines", "deux")]


@pytest.mark.parametrize("output_first", [False, True])
def test_what_is_written_in_either_form_is_read_again(output_first: bool) -> None:
    assert form.read_plain(form.as_plain(drafts, output_first)) == drafts
    assert form.read_json(form.as_json(drafts, output_first)) == drafts


def test_plain_replies_are_read_through_numbers_emphasis_and_chatter() -> None:
    text = "Sure! Here:\n\n1. **Task:** Name a bird\n**Input:** none\n**Output:** wren\n\nTask 2: Add\nINPUT: 1, 2\noutput: 3"
    assert form.read_plain(text) == [Draft("Name a bird", "", "wren"), Draft("Add", "1, 2", "3")]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Task: Read and answer.\nQuestion: What is a bog?\nInput: none\nOutput: wet land",
         [("Read and answer.\nQuestion: What is a bog?", "", "wet land")]),
        ("Task: Write a pair.\nInput: none\nOutput: Question: What is a bog?\nAnswer: Wet land.",
         [("Write a pair.", "", "Question: What is a bog?\nAnswer: Wet land.")]),
        ("Question: Which task is it?\nTask: to sing\nAnswer: no task",
         [("Which task is it?\nTask: to sing", "", "no task")]),
        ("Task: One\nQuestion: a\nOutput: b\n\nTask: Two\nAnswer: c\nOutput: d",
         [("One\nQuestion: a", "", "b"), ("Two\nAnswer: c", "", "d")]),
        ("Question: a b\nAnswer: c\n\nQuestion: d\nAnswer: e", [("a b", "", "c"), ("d", "", "e")]),
    ],
)  # fmt: skip
def test_a_label_in_a_task_s_text_starts_no_other_task(text: str, wanted: list) -> None:
    assert form.read_plain(text) == [Draft(*each) for each in wanted]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("I am sorry, I cannot do that.", "no_task"),
        ("Task:\nOutput: none", "no_task"),
        ("Task: Go home\nOutput: ok", "short"),
        ("Task: " + "word " * 300, "long"),
        ("Task: Describe the attached picture, please\nOutput: a dog", "refused_word"),
        ("Task: Say hello to <|im_end|> everyone here\nOutput: hi", "markup"),
        ("Task: Repeat what I say\nInput: Hello you\nOutput: hello you", "output_is_input"),
    ],
)
def test_each_malformed_reply_has_its_reason(text: str, reason: str) -> None:
    assert [c.malformed for c in read(text)] == [reason]


def test_of_a_reply_that_was_cut_only_the_last_task_is_lost() -> None:
    text = "Task: Name three green birds\nOutput: x\n\nTask: Name three red birds\nOutp"
    assert [c.malformed for c in read(text, cut=True)] == [None, "cut"]
    constrained = Ask((), "list", (), schema="{}")
    whole = '{"tasks": [{"task": "Name three green birds", "input": "", "output": "x"}, {"task": "Name thr'
    found = self_instruct.read(CONFIG, Known(), constrained, "r", whole, True)
    assert [(c.subject_id, c.malformed) for c in found] == [("r/0", None), ("r/1", "cut")]
    assert self_instruct.read(CONFIG, Known(), constrained, "r", '{"tasks": [{"task": "Na', True)[0].malformed == "cut"
    assert self_instruct.read(CONFIG, Known(), constrained, "r", "Task: Name it all", False)[0].malformed == "no_json"


def candidate(number: int, text: str, **fields: Any) -> Candidate:
    return Candidate(f"r_{number:02d}/0", f"r_{number:02d}", text, problem_key=text_key(text), **fields)


def test_of_two_alike_the_first_by_id_stays_whatever_their_order() -> None:
    made = [candidate(i, text) for i, text in enumerate(["Name five red birds of Peru", "Name five red birds of Chile",
                                                         "Write a poem on rust", "held out?", ""])]  # fmt: skip
    made[-1] = Candidate("r_04/0", "r_04", malformed="empty")
    for order in (made, made[::-1]):
        pool = Pool(0.7)
        pool.add([("t_old", "Write a short poem on rust")])
        verdicts = judge(order, pool, {"r_03/0": Leak("problem_key", "t_held")})
        assert [(v.candidate.subject_id, v.reason, v.evidence_id) for v in verdicts] == [
            ("r_00/0", None, None),
            ("r_01/0", "not_novel:rouge_l", "r_00/0"),
            ("r_02/0", "not_novel:rouge_l", "t_old"),
            ("r_03/0", "held_out:problem_key", "t_held"),
            ("r_04/0", "malformed:empty", None),
        ]
    table = decisions(verdicts, "c_1")
    assert table["keep"].to_pylist() == [True, False, False, False, False]
    assert table["value"].to_pylist()[1] == pytest.approx(5 / 6)


def test_an_embedder_finds_what_words_do_not() -> None:
    import numpy as np

    def embed(texts: Any) -> np.ndarray:
        return np.array([[1.0, 0.0] if "sea" in t or "ocean" in t else [0.0, 1.0] for t in texts], np.float32)

    pool = Pool(0.7, embed, 0.9)
    pool.add([("t_sea", "How deep is the sea")])
    verdicts = judge([candidate(1, "Depth of the world's ocean?"), candidate(2, "Bake a loaf of bread")], pool, {})
    assert [(v.reason, v.evidence_id) for v in verdicts] == [("not_novel:cosine", "t_sea"), (None, None)]
