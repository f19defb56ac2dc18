"""Whatever text comes in, UTF-8 can hold what comes out, and only lone surrogates were touched."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ratoon.surrogates import message_without_surrogates, without_surrogates

ANY_TEXT = st.text(st.characters(categories=["Cs", "L", "N", "So"]))


@given(ANY_TEXT)
def test_only_lone_surrogates_are_replaced_and_each_is_counted(text: str) -> None:
    mended, replaced = without_surrogates(text)
    assert replaced == sum("\ud800" <= c <= "\udfff" for c in text)
    assert mended.encode().decode() == mended
    assert all(new == ("\ufffd" if "\ud800" <= old <= "\udfff" else old) for old, new in zip(text, mended, strict=True))


@given(ANY_TEXT)
def test_a_message_says_once_that_it_was_mended(text: str) -> None:
    mended = message_without_surrogates(text)
    assert (mended != text) == (without_surrogates(text)[1] > 0)
    assert message_without_surrogates(mended) == mended
