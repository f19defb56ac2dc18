"""Planted errors of known share are measured as such; floors, intervals, and the way to a table and back."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ratoon import schema
from ratoon.metrics.stats.estimators import wilson
from ratoon.metrics.verifier_errors.error_rates import (
    FloorConfig,
    Format,
    MeasureConfig,
    Measured,
    always_passes,
    below,
    measure,
    rate,
    read,
    table,
    youden,
)
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

        with VerifierPool(
            1, 60.0, extra={n: getattr(own, n) for n in ("agreeable", "stubborn", "silent", "forgetful")}
        ) as pool:
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


def test_a_family_that_nobody_asked_for_is_shown_and_stops_nothing(pool: VerifierPool) -> None:
    (found,) = measure(tasks("numeric", args={"extract": "tagged"}), pool, CONFIG, 0)
    worst = found.families[0]
    assert (worst.asked, worst.fpr.value, worst.fnr.value, worst.j.value) == (False, 0.0, 1.0, 0.0)
    assert {one.family for one in found.families if one.fnr and one.fnr.value == 1} >= {"box", "hash marks", "not announced"}
    assert (found.fnr.value, below(found, FloorConfig())) == (0.0, [])


def test_wrong_replies_of_a_wording_that_always_pass_stop_a_run_asked_for_or_not(pool: VerifierPool) -> None:
    (found,) = measure(tasks("numeric"), pool, CONFIG, 0)
    sees_no_sign = [f._replace(errors=f.n) if f.format.endswith(": sign") else f for f in found.formats]
    said = below(found._replace(formats=tuple(sees_no_sign)), FloorConfig(max_fpr=1.0, min_j=-1.0))
    assert any(re.fullmatch(r"wrong replies in the wording 'sign' pass always \((\d+) of \1\)", one) for one in said)
    assert always_passes(found) == []
    passing = [f._replace(errors=f.n) if f.family == "tag" and not f.right else f for f in found.formats]
    assert "tag" in [name for name, _ in always_passes(found._replace(formats=tuple(passing)))]


@pytest.mark.parametrize(
    ("errors", "tasks_", "stops"),
    [
        ((0, 0), 200, False),
        ((0, 40), 200, False),
        ((0, 50), 200, True),
        ((0, 0), 5, False),
        ((0, 20), 5, False),
        ((0, 80), 5, True),
    ],
)
def test_the_lower_bound_of_j_is_held_against_the_floor_and_j_itself_where_tasks_are_few(
    errors: tuple[int, int], tasks_: int, stops: bool
) -> None:
    fpr, fnr = (rate(n, 200, tasks_) for n in errors)
    formats = (Format(True, False, "bare: plain", 200, errors[1]), Format(False, False, "bare: one more", 200, errors[0]))
    found = Measured("own", "1", fpr, fnr, 0, formats, (), tasks_)
    assert bool(below(found, FloorConfig())) == stops
    if stops:
        assert "is not surely 0.70" in below(found, FloorConfig())[0]


def test_j_has_the_interval_of_newcombe() -> None:
    # His example (1998, table II a): 56/70 against 48/80.
    fpr, fnr = rate(48, 80, 80), rate(14, 70, 70)
    assert [round(x, 4) for x in youden(fpr, fnr)[:3]] == [0.2, 0.0524, 0.3339]


@pytest.mark.parametrize("verifier", ["numeric", "exact", "math"])
def test_the_shipped_verifiers_make_no_error_on_usual_replies(pool: VerifierPool, verifier: str) -> None:
    (found,) = measure(tasks(verifier, args={"boxed_only": True} if verifier == "math" else None), pool, CONFIG, 0)
    assert (found.fpr.value, found.fnr.value, found.unjudged) == (0, 0, 0)
    assert not any(f.errors for f in found.formats if f.asked)


def test_a_floor_says_which_rate_how_far_and_which_format(pool: VerifierPool) -> None:
    (found,) = measure(tasks("forgetful"), pool, CONFIG, 0)
    assert below(found, FloorConfig()) == []
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
    assert made["metric"].to_pylist() == ["planted_fpr", "planted_fnr", "planted_j"]
    assert set(made["version"].to_pylist()) == {pool.version("numeric")}
    assert read(made) == found


def test_no_probes_measure_nothing(pool: VerifierPool) -> None:
    assert measure(tasks("numeric"), pool, MeasureConfig(probes=0), 0) == []
