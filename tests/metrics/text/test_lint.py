"""Lint numbers against a plain reading of the same rules, on planted faults and on whatever hypothesis finds."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratoon.errors import DataError
from ratoon.metrics.text.lint import COLUMNS, DUP, TOP, echo, leaked, lint

FEW_WORDS = st.lists(st.sampled_from(["a", "bb", "ccc", "d", "ee"]), max_size=40)


def plain_top(tokens: list[str], n: int) -> int:
    counted = Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))
    if not counted or counted.most_common(1)[0][1] < 2:
        return 0
    gram, count = counted.most_common(1)[0]
    return count * len(" ".join(gram))


def plain_dup(tokens: list[str], n: int) -> int:
    seen: set[tuple[str, ...]] = set()
    inside: set[int] = set()
    for i in range(len(tokens) - n + 1):
        gram = tuple(tokens[i : i + n])
        if gram in seen:
            inside.update(range(i, i + n))
        seen.add(gram)
    return sum(len(tokens[i]) for i in inside)


@given(st.lists(FEW_WORDS, min_size=1, max_size=4))
def test_repetition_is_what_a_plain_count_finds(rows: list[list[str]]) -> None:
    found = lint(pa.array([" ".join(row) for row in rows])).to_pylist()
    for row, got in zip(rows, found, strict=True):
        size = max(len(" ".join(row)), 1)
        for n in TOP:
            assert got[f"top_{n}"] == pytest.approx(plain_top(row, n) / size)
        for n in DUP:
            assert got[f"dup_{n}"] == pytest.approx(plain_dup(row, n) / size)


@given(st.lists(st.text(), max_size=5))
def test_any_text_has_numbers_and_every_share_lies_within_zero_and_one(texts: list[str]) -> None:
    table = lint([text.encode("utf-8", "replace").decode() for text in texts])  # type: ignore[arg-type]
    assert table.column_names == list(COLUMNS)
    for name in COLUMNS:
        if name.endswith("share") or name[:4] in ("top_", "dup_"):
            values = np.asarray(table[name], dtype=float)
            assert ((values >= 0) & (values <= 1)).all() or name in ("hash_share", "ellipsis_share", "top_2", "top_3", "top_4")


def one(text: str) -> dict[str, object]:
    return dict(lint(pa.array([text])).to_pylist()[0])


def test_lines_and_paragraphs_that_come_again_are_counted() -> None:
    assert one("x\n\nyy\n\nx")["dup_paragraph_share"] == pytest.approx(1 / 3)
    assert one("x\n\nyy\n\nx")["dup_line_char_share"] == pytest.approx(1 / 8)
    assert one("- x\n- y...\n• z…\nend")["bullet_line_share"] == 0.75
    assert one("- x\n- y...\n• z…\nend")["ellipsis_line_share"] == 0.5
    assert one("one line")["lines"] == 1
    assert one("\n")["lines"] == 0


def test_words_scripts_and_stop_words_are_told() -> None:
    english = one("The cat and the dog have to rest, that is all.")
    assert (english["stop_words"], english["words"], english["script"]) == (5, 11, "latin")
    assert one("Привет мир")["script"] == "cyrillic"
    assert one("東京タワーはどこですか")["script"] == "kana"
    assert one("दुनिया")["script"] == "indic"
    assert one("12 + 3 = 15") | {"script": None, "script_share": 0.0} == one("12 + 3 = 15") | {"script": None}
    assert one("12 + 3 = 15")["script"] == "none"


@pytest.mark.parametrize(
    "text", ["I'm sorry, but I can't help with that.", "As an AI language model, I", "I cannot answer", "Sorry, I"]
)
def test_refusals_are_seen_at_the_start(text: str) -> None:
    assert one(text)["refusal"] is True
    assert one("The answer is 7. " + text)["refusal"] is False


def test_null_is_null_empty_is_empty_and_signs_are_something() -> None:
    table = lint(pa.array([None, "", " \n", "!"], pa.string()))
    assert table["empty"].to_pylist() == [None, True, True, False]
    assert all(value is None for value in table.slice(0, 1).to_pylist()[0].values())
    assert lint(pa.array([], pa.string())).num_rows == 0
    assert lint(pa.nulls(3)).num_rows == 3
    with pytest.raises(DataError, match="not strings"):
        lint(pa.array([1, 2]))


def test_rows_do_not_depend_on_one_another_or_on_a_row_of_a_megabyte() -> None:
    texts = ["one two one two", "ab " * 350_000, "x\ny\nx", "東京 東京"]
    alone = [one(text) for text in texts]
    assert lint(pa.array(texts)).to_pylist() == alone
    assert lint(pa.chunked_array([texts[:1], texts[1:]])).to_pylist() == alone
    assert alone[1]["dup_10"] == pytest.approx(2 / 3, abs=1e-3)


def test_an_echoed_prompt_and_a_leaked_answer_are_measured() -> None:
    prompts = ["What is the sum of 3 and 4?"] * 3
    shares = echo(pa.array(["What is the sum of 3 and 4?", "The sum is 7, that is all.", "7"]), pa.array(prompts)).to_pylist()
    assert shares == [1.0, 0.0, None]
    assert leaked(["Which is larger, 12 or 7?", "Add 5 and 70.", None], ["12", "7", "7"]).to_pylist() == [True, False, None]
    with pytest.raises(DataError, match="2 texts beside 1 prompts"):
        echo(pa.array(["a", "b"]), pa.array(["a"]))
