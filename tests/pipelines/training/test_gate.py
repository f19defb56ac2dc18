"""The training gate refuses for its four reasons, warns of the rest, and records every override."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ratoon import schema
from ratoon.errors import Refused
from ratoon.metrics.stats import measures
from ratoon.metrics.stats.estimators import Estimate
from ratoon.metrics.stats.measures import Measure
from ratoon.metrics.text.contamination import ContaminationConfig
from ratoon.pipelines.curation.curate import curate
from ratoon.pipelines.evaluation import verifiers as measure
from ratoon.pipelines.recipe.sections import REASONS
from ratoon.pipelines.runtime.stage import Built, key, run_stage
from ratoon.pipelines.training import gate
from ratoon.pipelines.training.gate import Found, falling, few, leaked, outcomes, recorded
from ratoon.pipelines.views import summary
from ratoon.run import Run
from ratoon.store.store import Counts, Store

Open = Callable[..., Any]
ITEM = "A ticket collector counts forty two passengers on each of nine trains. How many passengers does she count in all?"
OTHER = (
    "A farmer sells eleven baskets of ripe pears at the market in the morning. How much money does he bring home in the end?"
)


def task(task_id: str, problem_key: str, split: str, text: str) -> dict[str, Any]:
    return {"task_id": task_id, "problem_key": problem_key, "split": split, "messages": [{"role": "user", "content": text}]}


def rows(*found: tuple[str, str, str, str]) -> pa.Table:
    listed = [
        {"rollout_id": r, "task_id": t, "prompt": [{"role": "user", "content": p}],
         "completion": [{"role": "assistant", "content": c}]}
        for r, t, p, c in found
    ]  # fmt: skip
    names = pa.schema([("rollout_id", pa.string()), ("task_id", pa.string()), ("prompt", schema.MESSAGES),
                       ("completion", schema.MESSAGES)])  # fmt: skip
    return pa.Table.from_pylist(listed, schema=names)


def item(text: str) -> pa.Table:
    return schema.from_rows("benchmarks", [{"item_id": "b/1:question", "benchmark": "b", "part": "question", "text": text}])


def test_a_row_leaks_by_problem_by_a_whole_held_out_question_or_by_a_benchmark_item() -> None:
    tasks = schema.from_rows(
        "tasks", [task("t1", "k1", "train", "one"), task("t2", "k1", "eval", ITEM), task("t3", "k3", "train", OTHER)]
    )
    data = rows(("r1", "t1", "one", "5"), ("r2", "t3", OTHER, "8"), ("r3", "t3", "two", f"It says: {ITEM} So 378."))
    found = leaked(data, tasks, schema.empty("benchmarks"), ContaminationConfig())
    assert set(found) == {"r1", "r3"}
    assert "t2" in found["r1"]
    against = leaked(data, tasks.slice(2), item(OTHER), ContaminationConfig())
    assert set(against) == {"r2"}


def test_a_template_that_train_and_held_out_tasks_share_is_no_leak_and_of_a_benchmark_it_is_one() -> None:
    clone = ITEM.replace("nine trains", "six trains")
    tasks = schema.from_rows("tasks", [task("t1", "k1", "train", clone), task("t2", "k2", "eval", ITEM)])
    data = rows(("r1", "t1", clone, "252"))
    assert leaked(data, tasks, schema.empty("benchmarks"), ContaminationConfig()) == {}
    assert set(leaked(data, tasks.slice(0, 1), item(ITEM), ContaminationConfig())) == {"r1"}


@pytest.mark.parametrize("reason", REASONS)
def test_each_reason_is_refused_overridden_by_its_name_alone_and_recorded_with_value_and_limit(reason: Any) -> None:
    found = [Found(reason, 3.0, 8.0, "what happened", "what mends it")]

    def outcome(*override: str) -> dict[str, Any]:
        listed = {row["key"]: json.loads(row["value"]) for row in recorded(found, override, 2)}
        assert [listed[other]["outcome"] for other in REASONS if other != reason] == ["passed"] * 3
        return dict(listed[reason])

    assert outcome() == {
        "outcome": "refused", "value": 3.0, "limit": 8.0, "message": "what happened", "hint": "what mends it",
    }  # fmt: skip
    assert outcome(*(other for other in REASONS if other != reason))["outcome"] == "refused"
    assert outcome(reason)["outcome"] == "overridden"


def test_no_example_at_all_cannot_be_overridden() -> None:
    (one, *_) = [r for r in recorded([Found("examples", 0.0, 8.0, "", "")], REASONS, 1) if r["key"] == "examples"]
    assert json.loads(one["value"])["outcome"] == "refused"


class Curated:
    def __init__(self, kept: int, view: str = "sft") -> None:
        self.counts, self.extra = Counts(100, kept, dropped=100 - kept), {"view": view}


def test_too_few_examples_say_how_many_of_how_many_and_what_mends_it() -> None:
    assert few(Curated(8), 8, 1) == []  # type: ignore[arg-type]
    (one,) = few(Curated(7), 8, 1)  # type: ignore[arg-type]
    assert (one.value, one.limit, "kept 7 of 100" in one.message, "train.min_examples" in one.hint) == (7, 8, True, True)
    (nft,) = few(Curated(0, "group"), 8, 1)  # type: ignore[arg-type]
    assert "generate.mixed_groups" in nft.hint


def test_only_agreement_that_rises_while_accuracy_falls_is_a_collapse() -> None:
    low, high = Estimate(0.3, 0.28, 0.32, 100), Estimate(0.7, 0.68, 0.72, 100)
    assert falling([low, high], [low, low]) == []
    assert falling([low, high], [low, high]) == []
    assert falling([high, low], [high, low]) == []
    (one,) = falling([low, high], [high, low])
    assert one.reason == "collapse"
    assert one.value == pytest.approx(-0.4)


def calibrated(store: Store, iteration: int, agreement: float, accuracy: float) -> None:
    """What `calibrate` would store of a round whose votes were held against the truth."""
    found = [
        Measure(f"consensus/{name}", "1", value, 200, value - 0.02, value + 0.02)
        for name, value in (("agreement", agreement), ("vote_accuracy", accuracy))
    ]
    made = Built({"measures": measures.table(found, "round", str(iteration), iteration)}, Counts(2, 2))
    run_stage(store, key("calibrate", iteration), lambda: made)


def test_agreement_that_rises_over_rounds_while_accuracy_falls_refuses_training_unless_waved_through_or_switched_off(
    context: Open, ground: Open, harvest: Open
) -> None:
    with context('consensus.reader="numeric"', "train.min_examples=1") as ctx:
        crop = harvest(ctx, ground(ctx))
        kept = curate(ctx.store, ctx.recipe, crop)
        calibrated(ctx.store, 0, 0.3, 0.7)
        gate.gate(ctx, crop, kept)
        calibrated(ctx.store, 1, 0.7, 0.3)
        with pytest.raises(Refused, match=r"round 1 \(collapse\): agreement rose from 0.30 to 0.70 .* fell, 0.70 to 0.30"):
            gate.gate(ctx, crop, kept)
        recipe = ctx.recipe
        assert recipe.consensus is not None
        off = recipe.consensus.model_copy(update={"stop_on_falling": False})
        ctx.recipe = recipe.model_copy(update={"consensus": off})
        gate.gate(ctx, crop, kept)
        assert gate.overridden(ctx.store, 1) == []
        ctx.recipe = recipe.model_copy(update={"gate": recipe.gate.model_copy(update={"override": ("collapse",)})})
        gate.gate(ctx, crop, kept)
        assert gate.overridden(ctx.store, 1) == ["collapse"]


def test_the_gate_is_a_stage_found_again_refused_again_and_let_through_by_name(
    context: Open, ground: Open, harvest: Open
) -> None:
    with context() as ctx:
        on = ground(ctx)
        crop = harvest(ctx, on)
        kept = curate(ctx.store, ctx.recipe, crop)
        ctx.recipe = ctx.recipe.model_copy(update={"train": ctx.recipe.train.model_copy(update={"min_examples": 1000})})
        for _ in range(2):
            with pytest.raises(Refused, match=r"round 1 \(examples\).* wants at least 1000") as told:
                gate.gate(ctx, crop, kept)
            assert "train.min_examples" in told.value.hint
        assert summary.rounds(ctx.store)[-1]["gate"] == "refused: examples"
        ctx.recipe = ctx.recipe.model_copy(update={"gate": ctx.recipe.gate.model_copy(update={"override": ("examples",)})})
        made = gate.gate(ctx, crop, kept)
        assert ctx.store.find("gate") == [made]
        assert gate.overridden(ctx.store, 1) == ["examples"]
        assert summary.rounds(ctx.store)[-1]["gate"] == "overridden: examples"
        (row,) = [r for r in outcomes(ctx.store) if r["outcome"] == "overridden"]
        assert (row["reason"], row["limit"], row["iteration"]) == ("examples", 1000.0, 1)


def test_a_recited_benchmark_and_a_verifier_below_its_floor_refuse_and_are_waved_through_by_name(
    context: Open, ground: Open, harvest: Open, tmp_path: Path
) -> None:
    # Read with a decimal comma, 1,234 is little more than one: above a floor of 0 false negatives.
    commas = ("tasks.0.digits=[4]", 'tasks.0.verifier_args={decimal="comma"}')
    with context(*commas, "verify.measure.min_j=0.2", "verify.measure.max_fpr=0.5", "train.min_examples=1") as ctx:
        on = ground(ctx)
        measure.verifiers(ctx, on.pool)
        crop = harvest(ctx, on)
        kept = curate(ctx.store, ctx.recipe, crop)
        asked = Run(tmp_path / "run").dataset("default", 1)["prompt"].to_pylist()[0][-1]["content"]
        (tmp_path / "bench.jsonl").write_text(json.dumps({"question": asked}))
        recipe = ctx.recipe
        curation = recipe.curation.model_copy(update={"against": (str(tmp_path / "bench.jsonl"),)})
        ctx.recipe = recipe.model_copy(update={"curation": curation})
        with pytest.raises(Refused, match=r"contamination.* hold an item of an evaluation set"):
            gate.gate(ctx, crop, kept)
        floor = recipe.verify.measure.model_copy(update={"max_fnr": 0.0})
        verify = recipe.verify.model_copy(update={"measure": floor})
        ctx.recipe = recipe.model_copy(update={"verify": verify})
        with pytest.raises(Refused, match=r"verifier.* is below its floor"):
            gate.gate(ctx, crop, kept)
        waved = recipe.gate.model_copy(update={"override": ("contamination", "verifier")})
        ctx.recipe = recipe.model_copy(update={"verify": verify, "curation": curation, "gate": waved})
        gate.gate(ctx, crop, kept)
        assert gate.overridden(ctx.store, 1) == ["contamination", "verifier"]


def test_a_flow_is_stopped_before_training_with_reason_value_and_what_mends_it_and_status_shows_it(
    start: Open, here: Open, tmp_path: Path
) -> None:
    root = tmp_path / "run"
    told = start(root, "run.iterations=1", "train.min_examples=1000")
    assert told.code == 3, told.err
    assert "training gate refused round 1 (examples)" in told.err
    assert "training wants at least 1000" in told.err
    assert "lower train.min_examples" in told.err
    assert not Run(root).store.find("policy")
    assert "refused examples" in here("status", root).out
    (row,) = [r for r in Run(root).status()["gates"] if r["outcome"] == "refused"]
    assert row["limit"] == 1000
