import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratoon.text import normalise, rouge_l, shingles, tokenise

WORDS = st.lists(st.sampled_from("abcde"), max_size=12)


@settings(deadline=None)
@given(st.text())
def test_normalising_twice_changes_nothing(text):
    assert normalise(normalise(text)) == normalise(text)


@settings(deadline=None)
@given(st.text(alphabet=st.characters(max_codepoint=127)))
def test_the_ascii_path_agrees_with_the_unicode_path(text):
    assert normalise(text) == normalise(text + " ＡＢ").removesuffix("ab").rstrip()


def test_case_width_and_white_space_do_not_matter():
    assert normalise("ＳＵＭ\u00a0of\n\nStraße ﬁve ") == "sum of strasse five"


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("It's 3.5", ["It", "'", "s", "3", ".", "5"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("naïve cafe\u0301", ["naïve", "cafe\u0301"]),
        ("東京 tower", ["東", "京", "tower"]),
        ("🙂ok", ["🙂", "ok"]),
        (" \n\t", []),
        ("a\x1fb", ["a", "b"]),
        ("é\x1fb", ["é", "b"]),
    ],
)
def test_words_are_cut_as_unicode_sees_them(text, tokens):
    assert tokenise(text) == tokens


@settings(deadline=None)
@given(st.text())
def test_tokens_lose_nothing_but_white_space_and_invisible_characters(text):
    visible = "".join(text.split())
    joined = "".join(tokenise(text))
    assert len(joined) <= len(visible)
    assert [c for c in visible if c.isalnum()] == [c for c in joined if c.isalnum()]


def test_shingles_are_every_run_in_order():
    assert shingles("abcd", 3) == [("a", "b", "c"), ("b", "c", "d")]
    assert shingles("ab", 3) == [("a", "b")]
    assert shingles("", 3) == []
    with pytest.raises(ValueError, match="size is at least 1"):
        shingles("ab", 0)


def test_rouge_l_in_closed_form():
    assert rouge_l(["the", "cat", "sat"], ["the", "cat", "ran", "off"]) == 4 / 7
    assert rouge_l(["police", "killed", "the", "gunman"], ["police", "kill", "the", "gunman"]) == 3 / 4
    assert rouge_l(["the", "gunman", "kill", "police"], ["police", "killed", "the", "gunman"]) == 2 / 4
    assert rouge_l([], ["a"]) == 0


@settings(deadline=None)
@given(WORDS, WORDS)
def test_rouge_l_is_symmetric_and_one_only_for_equal_sequences(a, b):
    assert rouge_l(a, b) == rouge_l(b, a)
    assert (rouge_l(a, b) == 1) == (a == b and bool(a))


@settings(deadline=None)
@given(WORDS, WORDS)
def test_rouge_l_agrees_with_the_textbook_table(a, b):
    lengths = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            lengths[i + 1][j + 1] = lengths[i][j] + 1 if x == y else max(lengths[i][j + 1], lengths[i + 1][j])
    expected = 2 * lengths[-1][-1] / (len(a) + len(b)) if a and b else 0
    assert rouge_l(a, b) == expected
