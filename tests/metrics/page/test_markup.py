"""No text becomes markup, whatever it holds; what cannot be seen is named."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratoon.metrics.page.markup import el, island, json_text, seen, visible

ANY = st.text(alphabet=st.characters(), max_size=60) | st.text(
    alphabet="<>&\"'/!-[] scriptonerror=\x00\x1b\u202e\u2028\n", max_size=60
)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def read(html: str) -> _Reader:
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader


@given(ANY)
def test_a_text_stays_a_text(text: str) -> None:
    found = read(el("p", text, title=text))
    assert found.tags == ["p"]
    assert found.attributes == [("title", visible(text))]
    assert found.text == visible(text)


@given(ANY)
def test_an_island_holds_exactly_its_data_and_no_tag(text: str) -> None:
    markup = island("x", {"text": text})
    inner = markup.removeprefix('<script type="application/json" id="x">').removesuffix("</script>")
    assert not {"<", ">", "&", "\u2028", "\u2029"} & set(inner)
    assert json.loads(inner) == {"text": text}


@given(ANY)
def test_what_is_made_visible_can_be_written_and_moves_nothing(text: str) -> None:
    shown = visible(text)
    shown.encode("utf-8")
    assert not any((c < " " and c not in "\t\n") or "\x7f" <= c < "\xa0" or "\u202a" <= c <= "\u202e" for c in shown)
    assert visible(shown) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31m", "⟨ESC⟩[31m"),
        ("a\u202eb", "a⟨RLO⟩b"),
        ("\u2066x\u2069", "⟨LRI⟩x⟨PDI⟩"),
        ("a\rb", "a⟨CR⟩b"),
        ("\x00", "⟨NUL⟩"),
        ("\ud800", "⟨U+D800⟩"),
        ("\U000e0041", "⟨U+E0041⟩"),
        ("tab\there\nand", "tab\there\nand"),
        ("שלום 👩\u200d💻", "שלום 👩\u200d💻"),
    ],
)
def test_what_hides_is_named_and_what_people_write_stays(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_markup_in_markup_is_not_escaped_twice() -> None:
    assert el("p", el("b", "a & b"), " <") == "<p><b>a &amp; b</b> &lt;</p>"


def test_attributes_that_are_none_or_false_are_left_out() -> None:
    assert el("input", type="radio", checked=True, disabled=False, title=None) == '<input type="radio" checked>'


def test_texts_inside_lists_and_dicts_are_made_visible() -> None:
    assert seen({"a": ["\x07", {"b": "\u200f"}], "n": 1}) == {"a": ["⟨BEL⟩", {"b": "⟨RLM⟩"}], "n": 1}


def test_a_number_that_json_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        json_text({"x": float("nan")})
