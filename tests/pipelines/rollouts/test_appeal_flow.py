"""Appeals in a round: only failures are asked about, verdicts stay, what is upheld is told apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ratoon import sql
from ratoon.errors import ConfigError, Stopped
from ratoon.pipelines.curation.candidates import appeals, candidates
from ratoon.pipelines.recipe.recipe import load
from ratoon.pipelines.rollouts.appeal import appeal_round

Open = Callable[..., Any]
# The rules want a box, and the policy writes none.
BOXED = ["tasks.0.verifier_args={extract='boxed'}", "tasks.1.verifier_args={extract='boxed'}",
         'engine.scripted.styles=["It is {answer}."]']  # fmt: skip
SEES = [*BOXED, "verify.appeal={probes=20, max_fpr=1.0}", "engine.scripted.judgments={accuracy=1.0, off_format=0.0}"]


def rows(ctx: Any, query: str) -> list[dict[str, Any]]:
    return sql.query(ctx.store, query).to_pylist()


def test_without_the_table_nobody_is_asked(context: Open, ground: Open, harvest: Open) -> None:
    with context(*BOXED) as ctx:
        on = ground(ctx)
        assert appeal_round(ctx, harvest(ctx, on), on.base, on.base) == []
        assert set(ctx.store.read("rollouts")["role"].to_pylist()) == {"solver"}


def test_only_what_the_rules_failed_is_asked_about_and_no_verdict_changes(
    context: Open, ground: Open, harvest: Open, asked: Callable[[Path], list[str]]
) -> None:
    with context(*SEES) as ctx:
        on = ground(ctx)
        crop = harvest(ctx, on)
        before = rows(ctx, "select subject_id, status from scores order by all")
        made = appeal_round(ctx, crop, on.base, on.base)
        found = rows(ctx, """
            select r.status as rules, a.status as appeal, a.subject_id from scores a
            join scores r on r.subject_id = a.subject_id and r.scorer = 'numeric' where a.scorer = 'appeal'""")  # fmt: skip
        assert found
        assert {row["rules"] for row in found} == {"fail"}
        assert {row["appeal"] for row in found} == {"pass", "fail"}
        assert rows(ctx, "select subject_id, status from scores where scorer <> 'appeal' order by all") == before
        told = {row["metric"]: row["value"] for row in ctx.store.read("measures", made[-1:]).to_pylist()}
        upheld = sum(row["appeal"] == "pass" for row in found)
        assert told["appeal_upheld"] == pytest.approx(upheld / len(found))
        assert told["pass_rate_with_appeals"] > told["pass_rate_of_rules"]
        n = len(asked(ctx.store.root))
        assert [m.artifact_id for m in appeal_round(ctx, crop, on.base, on.base)] == [m.artifact_id for m in made]
        assert len(asked(ctx.store.root)) == n
        table = candidates(ctx.store, crop, upheld=appeals(ctx.store, crop)).to_pylist()
        assert sum(row["detail"] == "appeal" and row["status"] == "pass" for row in table) == upheld


def test_a_model_that_upholds_planted_wrong_replies_is_stopped_or_waved_through(
    context: Open, ground: Open, harvest: Open
) -> None:
    lenient = [*BOXED, "verify.appeal={probes=20}", "engine.scripted.judgments={accuracy=0.0, off_format=0.0}"]
    with context(*lenient) as ctx:
        on = ground(ctx)
        with pytest.raises(Stopped, match=r"asked on appeal is below its floor.*planted wrong answers pass"):
            appeal_round(ctx, harvest(ctx, on), on.base, on.base)
        assert ctx.store.find("appeal") == []
    with context(*lenient, "verify.measure.override=true") as ctx:
        on = ground(ctx)
        assert appeal_round(ctx, harvest(ctx, on), on.base, on.base)


def test_nft_refuses_appeals() -> None:
    with pytest.raises(ConfigError, match=r"take verify\.appeal out"):
        load("smoke", ["train.method=nft", "verify.appeal={}"])
