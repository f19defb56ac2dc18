"""The judge in a round: rows of its own, cached by content, told what it is worth, and stopped when it does not obey."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ratoon import sql
from ratoon.errors import Stopped
from ratoon.pipelines.curation.curate import curate
from ratoon.pipelines.rollouts.judge import judge_round
from ratoon.pipelines.views.rows import show

Open = Callable[..., Any]
SEES = ["judge={}", "engine.scripted.judgments={accuracy=0.9, off_format=0.05}", 'engine.scripted.styles=["{answer}"]']


def rows(ctx: Any, query: str) -> list[dict[str, Any]]:
    return sql.query(ctx.store, query).to_pylist()


def measured(ctx: Any) -> dict[str, Any]:
    return {row["metric"]: row for row in ctx.store.read("measures").to_pylist() if row["scope_id"] == "judge"}


def test_without_the_section_nobody_judges(context: Open, ground: Open, harvest: Open) -> None:
    with context() as ctx:
        on = ground(ctx)
        assert judge_round(ctx, harvest(ctx, on), on.base, on.base) == []
        assert set(ctx.store.read("rollouts")["role"].to_pylist()) == {"solver"}


def test_every_reply_is_judged_once_by_content_and_the_scores_name_the_judges_rollout(
    context: Open, ground: Open, harvest: Open, asked: Callable[[Path], list[str]]
) -> None:
    with context(*SEES) as ctx:
        on = ground(ctx)
        crop = harvest(ctx, on)
        made = judge_round(ctx, crop, on.base, on.base)
        found = rows(ctx, """
            select r.task_id, r.text, s.judge_rollout_id, s.value, s.status, j.role, j.text as said, p.role as asked_as
            from rollouts r join scores s on s.subject_id = r.rollout_id and s.scorer = 'judge'
            join rollouts j on j.rollout_id = s.judge_rollout_id join prompts p on p.prompt_id = j.prompt_id
            where r.role = 'solver'""")  # fmt: skip
        assert len(found) == 12 * 4
        assert {(row["role"], row["asked_as"]) for row in found} == {("judge", "judge")}
        assert len({row["judge_rollout_id"] for row in found}) == len({(row["task_id"], row["text"]) for row in found}) < 48
        assert all((row["value"] is None) == (row["status"] == "abstain") for row in found)
        for manifest in made:
            assert manifest.counts.rows_planned == manifest.counts.rows_out + manifest.counts.failed
        before = len(asked(ctx.store.root))
        assert [m.artifact_id for m in judge_round(ctx, crop, on.base, on.base)] == [m.artifact_id for m in made]
        assert len(asked(ctx.store.root)) == before
        # Verdicts stay what they were: nobody who reads them meets a judge's row.
        assert rows(ctx, "select count(*) as n from groups")[0]["n"] == 12
        shown = Counter(row["rollout_id"] for row in show(ctx.store, "any", 500))
        assert max(shown.values()) == 1


def test_what_a_judge_is_worth_is_told_against_the_verifier(context: Open, ground: Open, harvest: Open) -> None:
    with context(*SEES, "engine.scripted.judgments.accuracy=1.0", "engine.scripted.judgments.off_format=0.0") as ctx:
        on = ground(ctx)
        judge_round(ctx, harvest(ctx, on), on.base, on.base)
        found = measured(ctx)
        assert found["judge_off_format"]["value"] == 0.0
        # Replies cut by length hold the right answer and fail: the judge does not see that.
        assert found["judge_auroc"]["value"] > 0.85
        assert {"judge_score", "judge_length_spearman"} <= found.keys()


def test_the_same_text_in_a_later_round_is_not_asked_again(
    context: Open, ground: Open, harvest: Open, asked: Callable[[Path], list[str]]
) -> None:
    with context(*SEES) as ctx:
        on = ground(ctx)
        judge_round(ctx, harvest(ctx, on, 1), on.base, on.base)
        second = harvest(ctx, on, 2)  # few tasks: the same ones come again, of the same base, under the same sample numbers
        judge_round(ctx, second, on.base, on.base)
        ids = ctx.store.read("rollouts")["rollout_id"].to_pylist()
        judges = [m for m in ctx.store.find("judge") if m.iteration == 2]
        assert sum(m.extra["cached"] for m in judges) > 0
        sent = Counter(asked(ctx.store.root))
        of_judges = {r["rollout_id"] for r in ctx.store.read("rollouts").to_pylist() if r["role"] == "judge"}
        assert of_judges
        assert max(sent[i] for i in of_judges) == 1
        assert len([i for i in ids if i in of_judges]) == len(of_judges)
        assert rows(ctx, "select count(*) as n from scores where scorer = 'judge'")[0]["n"] == 2 * 12 * 4


def test_a_filter_can_rank_by_the_judge_and_its_decisions_say_by_what(context: Open, ground: Open, harvest: Open) -> None:
    floor = "filters=[{kind='quality_floor', by='judge', share=0.5, stratum='task_id'}]"
    with context(*SEES, floor) as ctx:
        on = ground(ctx)
        crop = harvest(ctx, on)
        judge_round(ctx, crop, on.base, on.base)
        made = curate(ctx.store, ctx.recipe, crop)
        judge = {r["subject_id"]: r["value"] for r in ctx.store.read("scores").to_pylist() if r["scorer"] == "judge"}
        decided = ctx.store.read("decisions", [made]).to_pylist()
        assert {d["keep"] for d in decided} == {True, False}
        for row in decided:
            assert row["value"] == judge[row["subject_id"]]
            assert row["keep"] or row["value"] < row["threshold"]
            assert judge[row["subject_id"]] is not None or row["keep"]


def test_pairs_are_compared_in_both_orders_and_repeats_are_held_against_one_another(
    context: Open, ground: Open, harvest: Open
) -> None:
    sets = ['judge={kind="pairwise", repeats=2, temperature=0.7}', "engine.scripted.judgments={accuracy=1.0, off_format=0.0}"]
    with context(*sets, "generate.tasks=6") as ctx:
        on = ground(ctx)
        judge_round(ctx, harvest(ctx, on), on.base, on.base)
        found = measured(ctx)
        assert found["judge_pair_accuracy"]["value"] > 0.8
        assert {"judge_consistent", "judge_raw_agreement"} <= found.keys()
        pairs = rows(ctx, "select subject_id, other_id, repeat from scores where scorer = 'judge'")
        assert {row["repeat"] for row in pairs} == {0, 1}
        assert all(row["other_id"] not in (None, row["subject_id"]) for row in pairs)


def test_a_judge_that_never_obeys_stops_the_run_and_one_that_sometimes_does_not_is_told(
    context: Open, ground: Open, harvest: Open
) -> None:
    with context("judge={}", "engine.scripted.judgments={off_format=1.0}") as ctx:
        on = ground(ctx)
        crop = harvest(ctx, on)
        with pytest.raises(Stopped, match="100% of 48 judgments are off format, for example") as stopped:
            judge_round(ctx, crop, on.base, on.base)
        assert "judge.prompt" in stopped.value.hint
        assert rows(ctx, "select distinct status, detail from scores where scorer = 'judge'") == [
            {"status": "abstain", "detail": "off format"}
        ]  # what it said is kept
    said: list[str] = []
    with context("judge={max_abstained=1.0}", "engine.scripted.judgments={off_format=1.0}") as ctx:
        ctx.progress.say = said.append
        judge_round(ctx, crop, on.base, on.base)
    assert any("off format" in line for line in said)
