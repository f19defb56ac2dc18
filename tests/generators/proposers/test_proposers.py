"""Rewrites, questions over documents, inputs after examples, and mixes: what is asked, what is read, what is refused."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratoon.engine import Request, Sampling
from ratoon.errors import ConfigError, DataError
from ratoon.generators.engines import scripted_proposals
from ratoon.generators.engines.scripted_proposals import ProposalsConfig
from ratoon.generators.proposers import from_documents, retrieval, rewrite, self_guide
from ratoon.generators.proposers.candidates import Candidate
from ratoon.generators.proposers.catalogue import PROPOSERS
from ratoon.generators.proposers.from_documents import DocumentsConfig
from ratoon.generators.proposers.prompts import Ask, Known, key_of, rows_of, task_of
from ratoon.generators.proposers.retrieval import Bm25, Passage
from ratoon.generators.proposers.rewrite import RewriteConfig
from ratoon.generators.proposers.self_guide import SelfGuideConfig
from ratoon.generators.tasks import mix
from ratoon.generators.tasks.mix import MixConfig
from ratoon.generators.tasks.task_rows import task_row
from ratoon.messages import user


def people(*texts: str, family: str = "sums") -> list[dict[str, Any]]:
    return rows_of([
        task_row(source="s", family=family, messages=[user(text)], problem_key=f"key of {text}", answer="7",
                 verifier="numeric", verifier_args={}, split="train")
        for text in texts
    ])  # fmt: skip


def test_a_recipe_names_every_proposer_as_its_catalogue_does() -> None:
    assert [entry.config.model_fields["method"].default for entry in PROPOSERS.values()] == list(PROPOSERS)


# ---------------------------------------------------------------------------------------------- rewrite


def rewritten(text: str, operator: str = "harden", parent: str = "Add 3 and 4 now.", **config: Any) -> Candidate:
    rows = people(parent)
    ask = rewrite.asks(RewriteConfig(asks=1, operators=(operator,), **config), Known(rows), 0, False)[0]  # type: ignore[arg-type]
    return rewrite.read(RewriteConfig(operators=(operator,), **config), Known(rows), ask, "r", text, False)[0]  # type: ignore[arg-type]


def test_a_rewrite_has_one_parent_that_it_may_resemble_and_takes_no_gold_over() -> None:
    found = rewritten("Add 3 and 4 and 5 now.")
    parent = people("Add 3 and 4 now.")[0]["task_id"]
    assert found.malformed is None
    assert found.parent_ids == (parent,)
    assert found.near == {parent}
    row = task_of(found, "rewrite", "rewrite", 2)
    assert (row["answer"], row["verifier"], row["split"], row["iteration"]) == (None, None, "train", 2)


def test_only_a_paraphrase_is_the_same_problem() -> None:
    assert rewritten("What do 3 and 4 make?", "paraphrase").problem_key == "key of Add 3 and 4 now."
    assert rewritten("What do 3 and 4 make?", "harden").problem_key == "what do 3 and 4 make?"


@pytest.mark.parametrize(
    ("text", "operator", "reason"),
    [
        ("", "harden", "empty"),
        ("add 3  and 4 NOW.", "simplify", "echo"),
        ("New task: Add 3 and 4 now.", "harden", "echo"),
        ("I'm sorry, I cannot do that.", "harden", "refusal"),
        ("Here the rewritten task adds one step.", "harden", "talks_about_rewriting"),
        ("What do 3 and 5 make?", "paraphrase", "numbers_changed"),
        ("What do 4 and 3 make?", "paraphrase", None),
        ("Add <|im_start|> 3 and 4", "constrain", "markup"),
        ("Add 3.", "simplify", "short"),
        ("x y " * 400, "harden", "long"),
    ],
)
def test_each_bad_rewrite_has_its_reason(text: str, operator: str, reason: str | None) -> None:
    assert rewritten(text, operator).malformed == reason


def test_tasks_rewritten_least_often_come_first_and_operators_take_turns() -> None:
    rows = people(*(f"Task number {i} of many" for i in range(40)))
    first = rewrite.asks(RewriteConfig(asks=20), Known(rows), 1, False)
    made = [task_of(Candidate(f"r{i}/0", f"r{i}", f"text {i}", parent_ids=a.parent_ids), "rewrite", "rewrite", 1)
            for i, a in enumerate(first)]  # fmt: skip
    second = rewrite.asks(RewriteConfig(asks=20, of_models=False), Known(rows, rows_of(made)), 2, False)
    assert not {a.task_id for a in first} & {a.task_id for a in second}
    assert len({a.kind for a in first}) == 4
    with pytest.raises(ConfigError, match="no training task to rewrite"):
        rewrite.asks(RewriteConfig(families=("nobody",)), Known(rows), 0, False)


# -------------------------------------------------------------------------------------------- documents


def folder(tmp_path: Path, **files: bytes | str) -> Path:
    for name, content in files.items():
        path = tmp_path / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".txt").write_bytes(content if isinstance(content, bytes) else content.encode())
    return tmp_path


PORT = "The harbour of Velm was dug in 1612 by the rope makers. Its lighthouse burns whale oil until midnight."
HILL = "Above the town stands the Korrin hill, where sheep with blue wool graze from April to October every year."


def test_files_that_are_no_text_are_failures_with_their_reason_and_the_others_are_read(tmp_path: Path) -> None:
    where = folder(tmp_path, port=PORT, sub__hill=HILL, empty=" \n\n", nul=b"a\0b", latin=b"caf\xe9 " * 20, huge="x " * 900,
                   short="Too few words.", bom=b"\xef\xbb\xbf" + HILL.encode())  # fmt: skip
    found = from_documents.load(DocumentsConfig(path=str(where), max_bytes=1000))
    assert [p.text for p in found.index.passages] == [HILL, PORT], "the copy of the hill is the same passage"
    assert {row["subject_id"]: row["error_class"] for row in found.failures} == {
        "empty.txt": "Empty", "nul.txt": "Binary", "latin.txt": "NotUtf8", "huge.txt": "TooLarge", "short.txt": "Short",
    }  # fmt: skip


def test_a_folder_without_any_passage_is_an_error_that_says_why(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no folder"):
        from_documents.load(DocumentsConfig(path=str(tmp_path / "gone")))
    with pytest.raises(DataError, match="no file of type"):
        from_documents.load(DocumentsConfig(path=str(tmp_path)))
    with pytest.raises(DataError, match="nothing but white space"):
        from_documents.load(DocumentsConfig(path=str(folder(tmp_path, a=""))))


@given(st.text(alphabet="ab .。\n東ü", max_size=300), st.integers(3, 40))
def test_cutting_loses_nothing_but_white_space_and_keeps_to_the_size(text: str, size: int) -> None:
    pieces = retrieval.cut(text, size)
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert all(0 < len(piece) <= size for piece in pieces)


def test_the_passage_that_says_most_about_a_question_comes_first_in_any_script() -> None:
    index = Bm25([Passage(str(i), "", text) for i, text in enumerate([PORT, HILL, "東京の夏はとても暑いです。", "羊は青い。"])])
    assert [p.passage_id for p in index.best("Which wool do the sheep on Korrin hill have?", 2)] == ["1", "0"]
    assert index.best("東京の夏", 1)[0].passage_id == "2"
    assert index.best("xyzzy", 3) == []


def documents(tmp_path: Path, **config: Any) -> tuple[DocumentsConfig, Known, list[Ask]]:
    made = DocumentsConfig(path=str(folder(tmp_path, port=PORT, hill=HILL)), asks=2, **config)
    known = Known(material=from_documents.load(made))
    return made, known, from_documents.asks(made, known, 0, False)


def about(tmp_path: Path, question: str, answer: str, **config: Any) -> Candidate:
    made, known, asks = documents(tmp_path, **config)
    ask = next(a for a in asks if a.extra["passage"] == PORT)
    return from_documents.read(made, known, ask, "r", f"Question: {question}\nAnswer: {answer}", False)[0]


def test_a_question_keeps_its_passage_and_shows_what_the_config_says(tmp_path: Path) -> None:
    ask = ("When was the harbour of Velm dug?", "1612")
    own = about(tmp_path, *ask)
    assert own.message == f"{PORT}\n\n{ask[0]}"
    assert (own.meta["passage"], own.meta["output"], own.text) == (PORT, "1612", ask[0])
    assert about(tmp_path, *ask, context="none").message == ask[0]
    both = about(tmp_path, "Do sheep graze at the harbour of Velm?", "whale oil", context="retrieved", passages=2).message or ""
    assert PORT in both
    assert HILL in both


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        ("When was the harbour of Velm dug?", "", "no_answer"),
        ("When was the harbour of Velm dug?", "in the reign of Queen Anna", "unsupported"),
        ("What does the passage say about oil?", "whale oil", "refers_to_passage"),
        ("Oil?", "whale oil", "short"),
        ("", "x", "no_question"),
        ("Who dug <|x|> the harbour?", "rope makers", "markup"),
    ],
)
def test_each_bad_question_has_its_reason(tmp_path: Path, question: str, answer: str, reason: str) -> None:
    assert about(tmp_path, question, answer).malformed == reason


def test_passages_with_fewest_questions_come_first_and_hear_what_was_asked_before(tmp_path: Path) -> None:
    made, known, asks = documents(tmp_path)
    assert Counter(a.extra["passage"] for a in asks) == {PORT: 1, HILL: 1}
    done = [
        task_of(about(tmp_path, f"Which thing number {i} burns?", "whale oil"), "documents", "documents", 1) for i in (1, 2)
    ]
    one = made.model_copy(update={"asks": 1})
    later = from_documents.asks(one, Known((), rows_of(done), known.material), 0, False)
    assert [a.extra["passage"] for a in later] == [HILL]
    both = from_documents.asks(made, Known((), rows_of(done), known.material), 0, False)
    told = next(a.messages[0]["content"] for a in both if a.extra["passage"] == PORT)
    assert "Ask something else than: Which thing number" in told


@pytest.mark.parametrize(
    ("reply", "agrees"),
    [("It was dug in 1612.", True), ("1612", True), ("In 1700, I think.", False), ("", False), ("16 12", False)],
)
def test_a_reply_without_the_passage_agrees_when_it_holds_the_answer(tmp_path: Path, reply: str, agrees: bool) -> None:
    candidate = about(tmp_path, "When was the harbour of Velm dug?", "1612")
    assert from_documents.agreement(DocumentsConfig(path="x"), candidate, [reply]) == float(agrees)
    assert from_documents.agreement(DocumentsConfig(path="x"), candidate, [reply, "no idea"]) == agrees / 2
    assert from_documents.agreement(DocumentsConfig(path="x"), candidate, []) == 0


# ------------------------------------------------------------------------------------------- self-guide

GUIDE = SelfGuideConfig(
    instruction="Is the word an animal or a plant?", examples=(("horse", "animal"), ("fern", "plant")),
    labels=("animal", "plant"), asks=6, per_ask=2,
)  # fmt: skip


def test_each_label_gets_its_inputs_the_rarest_first() -> None:
    read = [self_guide.read(GUIDE, Known(), Ask((), label), f"r{i}", f"Input: word {i}", False)[0]
            for i, label in enumerate(["animal"] * 4 + ["plant"])]  # fmt: skip
    made = rows_of([task_of(candidate, "self_guide", "self_guide", 1) for candidate in read])
    asks = self_guide.asks(GUIDE, Known((), made), 0, False)
    kinds = Counter(kind for a in asks for kind in [a.kind] * a.n)
    assert kinds == {"plant": 4, "animal": 2}, "1 + 8 and 4 + 4 after this wave"
    assert all(f'must be "{a.kind}"' in a.messages[0]["content"] for a in asks)


def test_inputs_are_read_in_either_form_and_outputs_are_passed_over() -> None:
    plain = "Input: otter\nOutput: animal\n\n2. **Input:** moss\non a stone"
    found = self_guide.read(GUIDE, Known(), Ask((), "plant"), "r", plain, False)
    assert [c.text for c in found] == ["otter", "moss\non a stone"]
    assert found[0].message == "Is the word an animal or a plant?\n\notter"
    constrained = Ask((), "plant", schema="{}")
    assert [c.text for c in self_guide.read(GUIDE, Known(), constrained, "r", '{"inputs": ["ivy"]}', False)] == ["ivy"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [("", "empty"), ("Sure!", "no_input"), ("Input:", "no_input"), ("Input: Horse", "echo"), ("Input: a</s>b", "markup"),
     ("Input: Is the word an animal or a plant?", "echo"), ("Input: " + "x" * 1001, "long")],
)  # fmt: skip
def test_each_bad_input_has_its_reason(text: str, reason: str) -> None:
    assert [c.malformed for c in self_guide.read(GUIDE, Known(), Ask((), ""), "r", text, False)] == [reason]


# -------------------------------------------------------------------------------- the scripted proposer


def said(config: ProposalsConfig, ask: Ask, number: int, role: str = "proposer") -> str:
    request = Request(f"r_{number}", "m", (1,), Sampling(), schema=ask.schema, messages=ask.messages, role=role)  # type: ignore[arg-type]
    return scripted_proposals.write(config, request)


def test_the_script_answers_every_proposer_in_the_form_it_is_asked_in(tmp_path: Path) -> None:
    config = ProposalsConfig(malformed=0, echoes=0, duplicates=0)
    for constrained in (False, True):
        made, known, _ = documents(tmp_path, per_ask=2)
        for ask in from_documents.asks(made, known, 0, constrained):
            found = from_documents.read(made, known, ask, "r", said(config, ask, 1), False)
            assert [c.malformed for c in found] == [None, None]
        for ask in self_guide.asks(GUIDE, Known(), 0, constrained):
            assert [c.malformed for c in self_guide.read(GUIDE, Known(), ask, "r", said(config, ask, 2), False)] == [None, None]
    for operator in rewrite.OPERATORS:
        rows, one = people("Add 3 and 4 now."), RewriteConfig(asks=1, operators=(operator,))  # type: ignore[arg-type]
        ask = rewrite.asks(one, Known(rows), 0, False)[0]
        assert rewrite.read(one, Known(rows), ask, "r", said(config, ask, 3, "rewriter"), False)[0].malformed is None


def test_planted_shares_of_bad_proposals_come_true() -> None:
    ask = self_guide.asks(GUIDE, Known(), 0, False)[0]
    config = ProposalsConfig(silent=0.2, malformed=0.2, echoes=0.3, duplicates=0, leaks=("held out!",), leaked=0.3)
    n = 3000
    replies = [said(config, ask, i) for i in range(n)]
    assert replies == [said(config, ask, i) for i in range(n)]
    assert sum(not r for r in replies) / n == pytest.approx(0.2, abs=0.03)
    inputs = [c for r in replies for c in self_guide.read(GUIDE, Known(), ask, "r", r, False)]
    proposed = [c for c in inputs if c.malformed not in ("empty", "no_input")]
    assert sum(c.text == "held out!" for c in proposed) / len(proposed) == pytest.approx(0.3, abs=0.03)
    assert sum(c.malformed == "echo" for c in proposed) / len(proposed) == pytest.approx(0.3, abs=0.03)


def test_a_prompt_is_known_again_by_what_it_says_and_of_which_task() -> None:
    ask = Ask(({"role": "user", "content": "x"},), "k", task_id="t_1")
    assert ask.key == key_of([{"content": "x", "role": "user"}], "t_1") != key_of(ask.messages, None)


# --------------------------------------------------------------------------------------------------- mix


def mixed(tmp_path: Path, n: int, **weights: float) -> Any:
    for name in ("a", "b"):
        lines = [json.dumps({"prompt": f"{name} asks {i}?", "answer": "1"}) for i in range(30)]
        (tmp_path / f"{name}.jsonl").write_text(
            "\n".join([*lines, json.dumps({"prompt": "shared?", "answer": "1"}), "no json"])
        )
    parts = [{"path": str(tmp_path / f"{name}.jsonl"), "weight": weight} for name, weight in weights.items()]
    return mix.propose(MixConfig(n=n, parts=parts), 3)  # type: ignore[arg-type]


def test_a_mix_takes_of_each_part_by_weight_and_accounts_for_every_row(tmp_path: Path) -> None:
    found = mixed(tmp_path, 20, a=3, b=1)
    assert Counter(json.loads(m)["part"] for m in found.tasks["meta"].to_pylist()) == {"a": 15, "b": 5}
    assert set(found.tasks["family"].to_pylist()) == {"mix"}
    assert found.planned == 64 == 20 + found.dropped + found.failures.num_rows
    assert found.failures.num_rows == 2
    assert set(found.oracles["task_id"].to_pylist()) == set(found.tasks["task_id"].to_pylist())


def test_a_part_that_is_too_small_leaves_its_share_to_the_others_and_a_larger_mix_keeps_what_was_there(tmp_path: Path) -> None:
    whole = mixed(tmp_path, 1000, a=3, b=1)
    assert whole.tasks.num_rows == 61, "the shared question once"
    small, large = (set(mixed(tmp_path, n, a=1, b=1).tasks["task_id"].to_pylist()) for n in (10, 20))
    assert small < large
