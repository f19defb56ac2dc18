import numpy as np
import pytest

from ratoon.errors import UsageError
from ratoon.metrics.verifiers import VERIFIERS, resolve, version
from ratoon.metrics.verifiers.verdict import Verdict, as_verdict, is_unparsed, parsed_args


@pytest.mark.parametrize(
    ("returned", "status", "value"),
    [
        (True, "pass", 1.0),
        (False, "fail", 0.0),
        (None, "abstain", None),
        (1.0, "pass", 1.0),
        (2, "pass", 2.0),
        (0.99, "fail", 0.99),
        (np.bool_(True), "pass", 1.0),
        (np.float32(0.5), "fail", 0.5),
        (float("nan"), "error", None),
        ("yes", "error", None),
        (Verdict("pass", 1.0, "7"), "pass", 1.0),
        (Verdict("maybe"), "error", None),
    ],
)
def test_what_a_user_returns_becomes_a_verdict(returned: object, status: str, value: float | None) -> None:
    assert as_verdict(returned)[:2] == (status, value)


def test_only_empty_and_unparsed_details_count_as_unparsed() -> None:
    assert [is_unparsed(d) for d in (None, "wrong", "length", "empty", "unparsed: no number")] == [
        False,
        False,
        False,
        True,
        True,
    ]


def test_an_unknown_verifier_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="did you mean 'numeric'"):
        resolve("numerik")


def test_no_two_verifiers_have_one_version() -> None:
    assert len({version(name) for name in VERIFIERS}) == len(VERIFIERS)


def test_bad_arguments_are_found_before_any_model_is_asked() -> None:
    with pytest.raises(ValueError, match="did you mean 'extract'"):
        parsed_args(VERIFIERS["numeric"].args, {"extrac": "last"})
