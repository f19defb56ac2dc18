"""A run's own replies against its truth, and its pass rates corrected; only what can be corrected is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ratoon.metrics.stats.estimators import Estimate
from ratoon.metrics.verifier_errors.error_rates import Measured
from ratoon.metrics.verifiers import version
from ratoon.pipelines.evaluation.verifiers_of_run import measure_run
from ratoon.store.store import Store


def planted(fpr: float, fnr: float, width: float = 0.02, name: str | None = None) -> Measured:
    def about(p: float) -> Estimate:
        return Estimate(p, max(0.0, p - width), min(1.0, p + width), 500)

    return Measured("numeric", name or version("numeric"), about(fpr), about(fnr), 0, ())


def test_a_scripted_model_is_read_without_error_and_its_rates_stand(smoke_copy: Path) -> None:
    (found,), rates = measure_run(smoke_copy, [planted(0.0, 0.0, 0.0)])
    assert (found.fpr.value, found.fnr.value) == (0.0, 0.0)
    assert found.decided > 200
    assert {(r["iteration"], r["of"]) for r in rates} == {(1, "train"), (2, "train"), *((i, "suite-heldout") for i in range(3))}
    for row in rates:
        assert row["corrected"].value == pytest.approx(row["observed"].value)
    rows = Store.open(smoke_copy).read("measures").to_pylist()
    assert {r["metric"] for r in rows} >= {"planted_fpr", "natural_fnr", "corrected_pass_rate/train"}


def test_a_lenient_verifiers_pass_rate_is_corrected_down_with_a_wider_interval(smoke_copy: Path) -> None:
    _, rates = measure_run(smoke_copy, [planted(0.2, 0.1)])
    for row in rates:
        assert row["corrected"].value == pytest.approx((row["observed"].value - 0.2) / 0.7)
        assert row["corrected"].hi - row["corrected"].lo > row["observed"].hi - row["observed"].lo


@pytest.mark.parametrize(
    ("measured", "why"),
    [
        ([planted(0.5, 0.45, 0.1)], "not clearly above 0"),
        ([planted(0.0, 0.0, name="numeric-0")], "this version of the verifier was not measured"),
        ([], "was not measured"),
    ],
)
def test_what_cannot_be_corrected_says_why(smoke_copy: Path, measured: list[Measured], why: str) -> None:
    _, rates = measure_run(smoke_copy, measured)
    assert rates
    assert all(row["corrected"] is None and why in row["why"] for row in rates)


def test_the_command_measures_a_run_too(here: Callable[..., Any], smoke_copy: Path) -> None:
    told = here("verifiers", "smoke", "--run", smoke_copy, "--json", "--set", "verify.measure.probes=30")
    said = json.loads(told.out)
    assert told.code == 0
    assert said["natural"][0]["fpr"]["value"] == 0.0
    assert said["rates"][0]["corrected"]["n"] == said["rates"][0]["observed"]["n"]
