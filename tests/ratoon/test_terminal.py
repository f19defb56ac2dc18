"""Nothing a model writes can move the cursor, colour, hide or reorder what a person reads."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratoon.terminal import plain


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]8;;http://x\x07link\x1b]8;;\x07", "link"),
        ("\x1b]0;title\x1b\\body", "body"),
        ("\x9b2Jgone", "gone"),
        ("over\rwrite", "overwrite"),
        ("a\b\x7fb", "ab"),
        ("\u202eright to left\u202c", "right to left"),
        ("\u2066x\u2069", "x"),
        ("tag\U000e0041", "tag"),
        ("\ud800", "\ufffd"),
        ("a\tb\nc", "a\tb\nc"),
        ("naïve 数学 👩‍🔬", "naïve 数学 👩‍🔬"),
        ("unfinished \x1b[", "unfinished "),
    ],
)
def test_what_is_stripped_and_what_stays(text: str, left: str) -> None:
    assert plain(text) == left


@given(st.text(st.characters(codec=None) | st.sampled_from("\x1b[]\x9b\x07m")))
def test_no_control_character_survives(text: str) -> None:
    assert not [c for c in plain(text) if unicodedata.category(c) in ("Cc", "Cs") and c not in "\t\n"]
    assert plain(plain(text)) == plain(text)
