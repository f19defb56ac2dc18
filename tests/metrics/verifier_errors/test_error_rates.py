"""Planted errors of known share are measured as such; floors, intervals, and the way to a table and back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ratoon import schema
from ratoon.metrics.stats.estimators import wilson
from ratoon.metrics.verifier_errors.error_rates import FloorConfig, MeasureConfig, below, measure, rate, read, table
from ratoon.metrics.verifiers.pool import VerifierPool

OWN = '''
from ratoon.metrics.verifiers.numeric import verify

def agreeable(text, answer, args):
    """Passes whatever is there."""
    return True

def stubborn(text, answer, args):
    return False

def silent(text, answer, args):
    return None

def forgetful(text, answer, args):
    """Wrong on every task whose answer ends in 0: a tenth of them."""
    return verify(text, answer, {}).status == "pass" and not answer.endswith("0")
'''


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VerifierPool]:
    folder = tmp_path_factory.mktemp("own")
    Path(folder, "own_verifiers.py").write_text(OWN)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        import own_verifiers as own

        with VerifierPool(1, extra={n: getattr(own, n) for n in ("agreeable", "stubborn", "silent", "forgetful")}) as pool:
            yield pool


def tasks(verifier: str, n: int = 100, args: dict | None = None):
    rows = [
        {"task_id": f"t{i}", "family": "f", "answer": str(i), "verifier": verifier, "verifier_args": json.dumps(args or {})}
        for i in range(100, 100 + n)
    ]
    return schema.from_rows("tasks", rows)


CONFIG = MeasureConfig(probes=100)


@pytest.mark.parametrize(("name", "fpr", "fnr"), [("agreeable", 1.0, 0.0), ("stubborn", 0.0, 1.0), ("forgetful", 0.0, 0.1)])
def test_a_planted_error_share_is_measured(pool: VerifierPool, name: str, fpr: float, fnr: float) -> None:
    (found,) = measure(tasks(name), pool, CONFIG, 0)
    assert (found.fpr.value, found.fnr.value) == (fpr, fnr)
    assert (found.fpr.n, found.fnr.n) == (100, 100)
    assert (found.tpr.value, found.tpr.lo) == (1 - fnr, 1 - found.fnr.hi)
    assert (found.fnr.lo, found.fnr.hi) == pytest.approx(wilson(round(100 * fnr), 100))


def test_a_verifier_that_never_decides_has_no_rate(pool: VerifierPool) -> None:
    (found,) = measure(tasks("silent"), pool, CONFIG, 0)
    assert (found.fpr, found.fnr, found.tpr, found.unjudged) == (None, None, None, 200)
    assert below(found, FloorConfig()) == []


@pytest.mark.parametrize("verifier", ["numeric", "exact", "math"])
def test_the_shipped_verifiers_make_no_error_on_usual_replies(pool: VerifierPool, verifier: str) -> None:
    (found,) = measure(tasks(verifier, args={"boxed_only": True} if verifier == "math" else None), pool, CONFIG, 0)
    assert (found.fpr.value, found.fnr.value, found.unjudged) == (0, 0, 0)
    assert not any(f.errors for f in found.formats)


def test_a_floor_says_which_rate_how_far_and_which_format(pool: VerifierPool) -> None:
    (found,) = measure(tasks("forgetful"), pool, CONFIG, 0)
    assert below(found, FloorConfig(max_fnr=0.1)) == []
    (said,) = below(found, FloorConfig(max_fnr=0.05))
    assert "10.0% of 100 planted right ones fail" in said
    assert "bare: plain" in said


def test_a_floor_by_name_goes_before_the_common_one() -> None:
    config = MeasureConfig(max_fpr=0.01, floors={"numeric": FloorConfig(max_fpr=0.5)})
    assert (config.floor("numeric").max_fpr, config.floor("exact").max_fpr) == (0.5, 0.01)


def test_replies_of_few_tasks_are_fewer_trials() -> None:
    assert rate(0, 60, 30)[1:3] == pytest.approx(wilson(0, 30))
    assert rate(30, 60, 30)[1:3] == pytest.approx(wilson(15, 30))
    assert rate(0, 0, 0) is None


def test_measures_are_read_back_as_they_were_written(pool: VerifierPool) -> None:
    found = measure(tasks("numeric", 40), pool, CONFIG, 0)
    made = table(found, 7)
    assert made.schema == schema.TABLES["measures"]
    assert made["metric"].to_pylist() == ["planted_fpr", "planted_fnr"]
    assert set(made["version"].to_pylist()) == {pool.version("numeric")}
    assert read(made) == found


def test_no_probes_measure_nothing(pool: VerifierPool) -> None:
    assert measure(tasks("numeric"), pool, MeasureConfig(probes=0), 0) == []
