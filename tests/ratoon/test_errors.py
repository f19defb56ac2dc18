"""Errors carry what happened and what mends it, and survive a process border."""

from __future__ import annotations

import pickle

import pytest

from ratoon import errors

ALL = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.RatoonError)]


def test_message_and_hint_are_both_shown() -> None:
    error = errors.StoreError("no room", "free some")
    assert str(error) == "no room\nfree some"
    assert str(errors.StoreError("no room")) == "no room"


def test_a_value_the_user_gave_is_also_a_value_error_and_exits_2() -> None:
    for kind in (errors.UsageError, errors.ConfigError, errors.DataError, errors.SqlError):
        assert issubclass(kind, ValueError)
        assert kind.exit_code == 2
    assert not issubclass(errors.StoreError, ValueError)


def test_stopping_is_exit_3_and_other_failures_exit_1() -> None:
    assert errors.Stopped.exit_code == 3
    assert {errors.StoreError.exit_code, errors.EngineError.exit_code, errors.TrainError.exit_code} == {1}


@pytest.mark.parametrize("kind", ALL)
def test_every_error_comes_back_whole_from_another_process(kind: type[errors.RatoonError]) -> None:
    back = pickle.loads(pickle.dumps(kind("what", "mend")))
    assert type(back) is kind
    assert (back.message, back.hint) == (kind("what", "mend").message, kind("what", "mend").hint)


def test_a_missing_package_names_the_extra_that_brings_it() -> None:
    error = errors.MissingExtra("peft", "train")
    assert "'peft'" in error.message
    assert error.hint == "pip install 'ratoon[train]'"
