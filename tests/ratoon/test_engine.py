"""What an engine is told: every sampling field explicit, impossible ones refused, failures that are rows."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from ratoon import schema
from ratoon.engine import Request, Sampling, failed
from ratoon.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("top_k", -1),
        ("min_p", 1.5),
        ("repetition_penalty", 0.0),
        ("max_tokens", 0),
    ],
)
def test_an_impossible_sampling_is_refused_by_name_and_value(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"sampling.{name} = {value}"):
        replace(Sampling(), **{name: value})


def test_every_field_changes_the_sampling_id() -> None:
    other = {
        "temperature": 0.5, "top_p": 0.5, "top_k": 5, "min_p": 0.1, "presence_penalty": 1.0, "frequency_penalty": 1.0,
        "repetition_penalty": 1.1, "max_tokens": 5, "stop_token_ids": (2,), "logprobs_mode": "none",
        "chat_template_kwargs": '{"a":1}',
    }  # fmt: skip
    assert set(other) == {f.name for f in fields(Sampling)}
    made = {replace(Sampling(), **{name: value}).sampling_id for name, value in other.items()}
    assert len(made | {Sampling().sampling_id}) == len(other) + 1
    assert Sampling().sampling_id == Sampling().sampling_id


def test_a_sampling_is_a_row_of_its_table() -> None:
    sampling = Sampling(stop_token_ids=(2, 7))
    row = {"sampling_id": sampling.sampling_id, **sampling.row_fields()}
    assert set(row) == set(schema.TABLES["samplings"].names)
    assert schema.from_rows("samplings", [row]).to_pylist() == [row]


def test_a_failed_request_is_a_completion_without_tokens() -> None:
    request = Request("r_1", "m_1", [1, 2, 3], Sampling())
    completion = failed(request, "TooLong", "3 of 2 tokens", seconds=0.5)
    assert completion.request_id == "r_1"
    assert completion.finish_reason == "error"
    assert completion.error == "TooLong: 3 of 2 tokens"
    assert (list(completion.token_ids), completion.logprobs, completion.prompt_tokens) == ([], None, 3)


def test_a_recorded_sampling_is_read_back_as_it_was() -> None:
    sampling = Sampling(temperature=0.3, top_k=7, max_tokens=12, stop_token_ids=(2, 258))
    (row,) = schema.from_rows("samplings", [sampling.row_fields() | {"sampling_id": sampling.sampling_id}]).to_pylist()
    assert Sampling.of_row(row) == sampling
