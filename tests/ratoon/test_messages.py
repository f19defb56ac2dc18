"""What conversations say, row by row and as columns; turns of other formats in and out."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from ratoon import messages, schema
from ratoon.messages import assistant, system, user

ROLES = st.sampled_from(["system", "user", "assistant", "tool"])
MESSAGE = st.fixed_dictionaries({"role": ROLES, "content": st.one_of(st.none(), st.sampled_from(["", "a", "b\nc", "é"]))})
COLUMN = st.lists(st.one_of(st.none(), st.lists(MESSAGE, max_size=4)), max_size=6)


@given(COLUMN, st.integers(0, 6), st.integers(0, 6))
def test_a_column_says_what_its_conversations_say(rows: list[Any], cut: int, start: int) -> None:
    column = pa.chunked_array([rows[:cut], rows[cut:]], schema.MESSAGES).slice(start)
    rows = rows[start:]
    assert messages.user_texts(column).to_pylist() == [messages.user_text(row) for row in rows]
    assert messages.all_texts(column).to_pylist() == [messages.all_text(row) for row in rows]
    last = [messages.user_turns(row)[-1:] for row in rows]
    assert messages.last_texts(column, "user").to_pylist() == [turns[0] if turns else None for turns in last]


def test_who_says_nothing_is_null_and_who_says_an_empty_text_is_not() -> None:
    assert messages.user_text(None) is messages.user_text([]) is messages.user_text([system("Be brief.")]) is None
    assert messages.user_text([user("")]) == ""
    assert messages.all_text([{"role": "assistant", "content": None}]) is None
    assert messages.user_texts(pa.nulls(2)).to_pylist() == [None, None]


def test_the_user_says_all_their_turns_and_nobody_elses() -> None:
    talk = [system("s"), user("one"), assistant("two"), user("three")]
    assert messages.user_text(talk) == "one\nthree"
    assert messages.all_text(talk) == "s\none\ntwo\nthree"


def test_the_reply_is_the_last_turn_of_the_assistants() -> None:
    talk = [user("one"), assistant("two"), user("three"), assistant("four")]
    assert messages.split_reply(talk) == (talk[:3], "four")
    assert messages.split_reply(talk[:1]) == (talk[:1], None)
    column = pa.array([talk, talk[:1]], schema.MESSAGES)
    assert messages.last_texts(column, "assistant").to_pylist() == ["four", None]


def test_the_text_of_parts_is_that_of_the_parts_that_have_one() -> None:
    assert messages.text_of([{"type": "text", "text": "a"}, {"type": "image"}, "b", 7]) == "a\nb"
    assert messages.text_of([{"type": "image"}]) is messages.text_of(7) is messages.text_of(None) is None


def test_sharegpt_goes_out_as_it_came_in() -> None:
    talk = [{"from": "system", "value": "s"}, {"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
    read = messages.turns_in(talk)
    assert read == [system("s"), user("q"), assistant("a")]
    assert messages.sharegpt(read) == talk
    used = [{"from": "observation", "value": "42"}]
    assert messages.turns_in(used)[0]["role"] == "tool"
    assert messages.sharegpt(messages.turns_in(used)) == used


def test_what_is_no_message_is_no_turn() -> None:
    assert messages.turns_in(["hello", {"role": "user", "content": "q"}, None]) == [user("q")]
    assert messages.turns_in("hello") == messages.turns_in(None) == []


CALL = '[{"function":{"arguments":{"city":"Bonn"},"name":"weather"},"id":"c1","type":"function"}]'
TOOL_TALK = [
    user("Weather?"),
    {"role": "assistant", "content": None, "reasoning": "I must look.", "tool_calls": CALL},
    {"role": "tool", "content": "rain", "tool_call_id": "c1", "name": "weather"},
]


def test_a_message_survives_its_column_and_one_without_more_has_role_and_content_alone() -> None:
    column = pa.array([TOOL_TALK, [user("q")], None], schema.MESSAGES)
    assert [messages.compact(row) for row in column.to_pylist()] == [TOOL_TALK, [user("q")], []]


def test_templates_are_given_calls_as_objects_and_reasoning_by_their_name() -> None:
    asked, called, told = messages.for_template(TOOL_TALK)
    assert asked == user("Weather?")
    assert called == {"role": "assistant", "content": None, "reasoning_content": "I must look.", "tool_calls": json.loads(CALL)}
    assert told == TOOL_TALK[2]


def test_a_column_keeps_the_fields_that_some_message_has() -> None:
    plain = messages.narrowed(pa.chunked_array([[[user("q")], None], [[]]], schema.MESSAGES))
    assert [field.name for field in plain.type.value_type] == ["role", "content"]
    assert plain.cast(schema.MESSAGES).to_pylist()[0] == pa.array([[user("q")]], schema.MESSAGES).to_pylist()[0]
    named = messages.narrowed(pa.array([[user("q") | {"name": "Ann"}]], schema.MESSAGES))
    assert named.to_pylist() == [[user("q") | {"name": "Ann"}]]
