"""A verifier below its floor stops the run before a model is asked; an override goes on and is recorded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ratoon.errors import Stopped
from ratoon.pipelines.evaluation import verifiers as measure
from ratoon.pipelines.tasks import pool as propose
from ratoon.store.store import Store

Open = Callable[..., Any]
# Read with a decimal comma, 1,234 is little more than one.
MISREADS = ("tasks.0.digits=[4]", 'tasks.0.verifier_args={decimal="comma"}', "verify.measure.max_fnr=0.01")


def test_measuring_is_a_stage_that_is_found_again_whatever_the_floor(context: Open) -> None:
    with context() as ctx:
        first = measure.verifiers(ctx, propose.tasks(ctx))
        rows = ctx.store.read("measures", [first]).to_pylist()
        assert {(row["scope_id"], row["metric"], row["value"]) for row in rows} == {
            ("numeric", "planted_fpr", 0.0),
            ("numeric", "planted_fnr", 0.0),
            ("numeric", "planted_j", 1.0),
        }
    with context("verify.measure.max_fpr=0.5") as ctx:
        assert measure.verifiers(ctx, propose.tasks(ctx)).artifact_id == first.artifact_id
    with context("verify.measure.probes=50") as ctx:
        assert measure.verifiers(ctx, propose.tasks(ctx)).artifact_id != first.artifact_id


def test_a_verifier_below_its_floor_stops_the_run_before_a_model_is_asked(
    start: Callable[..., Any], asked: Callable[[Path], list[str]], tmp_path: Path
) -> None:
    told = start(tmp_path / "run", *MISREADS)
    assert told.code == 3, told.err
    assert "'numeric' is below its floor" in told.err
    assert "ratoon verifiers" in told.err
    assert asked(tmp_path / "run") == []
    assert Store.open(tmp_path / "run").find("verifiers")


def test_an_override_goes_on_and_is_recorded(context: Open) -> None:
    with context(*MISREADS) as ctx:
        pool = propose.tasks(ctx)
        with pytest.raises(Stopped, match="below its floor"):
            measure.verifiers(ctx, pool)
    with context(*MISREADS, "verify.measure.override=true") as ctx:
        measure.verifiers(ctx, pool)
        (row,) = ctx.store.read("state").to_pylist()
        assert (row["step"], row["key"]) == ("gate", "verifier/numeric")
        assert json.loads(row["value"])["override"] is True


def test_the_command_says_what_the_run_would_say(here: Callable[..., Any]) -> None:
    told = here("verifiers", "smoke", "--json", "--set", "tasks.0.n=30", "--set", "tasks.1.n=30")
    (row,) = json.loads(told.out)
    assert told.code == 0
    assert (row["verifier"], row["fpr"]["value"], row["fnr"]["value"], row["below"]) == ("numeric", 0.0, 0.0, [])
    assert row["j"]["lo"] > 0.7
    assert {family["family"] for family in row["families"]} >= {"bold", "units", "other digits"}
    told = here("verifiers", "smoke", "--formats", *(word for value in MISREADS for word in ("--set", value)))
    assert told.code == 3
    assert "thousands" in told.out
    assert "families of wordings that it misreads" in told.out
    assert "number after" in told.out  # a trap that was misread
    assert "below its floor" in told.err
