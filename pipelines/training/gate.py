"""The training gate: on before every training of a run, refusing for four reasons and warning of the rest.

Contamination: a row to train on holds an item of a benchmark as filter `decontaminate` sees it, is of a held-out problem, or
holds the whole of a held-out question. A template that train and held-out tasks share is none. A verifier below its floor; too
few examples; agreement that rises while accuracy falls. What was found is rows of table `state` (step `gate`), overrides
included, so that a policy can be traced to what was waved through.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from ratoon import schema
from ratoon.config import semantic
from ratoon.errors import Refused
from ratoon.filters.decontaminate import DecontaminateConfig
from ratoon.messages import all_texts, user_texts
from ratoon.metrics.report.rules import Case, findings
from ratoon.metrics.stats.calibration import collapse
from ratoon.metrics.stats.estimators import Estimate
from ratoon.metrics.text import contamination
from ratoon.metrics.text.contamination import ContaminationConfig
from ratoon.metrics.verifier_errors import error_rates as measure_verifier
from ratoon.metrics.voting.vote_accuracy import trend
from ratoon.pipelines.audit import run_rows as audit_run
from ratoon.pipelines.contamination import benchmarks
from ratoon.pipelines.evaluation import verifiers as measure
from ratoon.pipelines.recipe.sections import REASONS, GateConfig, Reason
from ratoon.pipelines.runtime.context import Context
from ratoon.pipelines.runtime.rollout_set import Crop
from ratoon.pipelines.runtime.stage import Built, key, run_stage
from ratoon.sft.data import dataset
from ratoon.store.store import Counts, Manifest, Store

VERSION = "1"
STEP = "gate"


class Found(NamedTuple):
    """One reason that holds: how much, against which limit, what happened, and what mends it."""

    reason: Reason
    value: float
    limit: float
    message: str
    hint: str


def gate(ctx: Context, crop: Crop, curated: Manifest) -> Manifest:
    """What the gate found of a round's dataset, in table `state`. Raises Refused for a reason that is not overridden."""
    recipe, iteration = ctx.recipe, crop.iteration
    frozen = benchmarks.frozen(ctx.store, recipe.curation.against)
    inputs = [curated, *crop.pool, *([frozen] if frozen else []), *ctx.store.find("verifiers"), *ctx.store.find("calibrate")]
    stop = recipe.consensus is not None and recipe.consensus.stop_on_falling
    config = {
        "gate": semantic(recipe.gate), "floors": semantic(recipe.verify.measure), "least": recipe.train.min_examples,
        "matches": semantic(recipe.curation.contamination), "stop": stop, "limits": semantic(recipe.audit.limits),
    }  # fmt: skip

    def build() -> Built:
        found = [
            *contaminated(ctx.store, crop, curated, frozen, recipe.curation.contamination, recipe.gate),
            *below_floor(ctx), *few(curated, recipe.train.min_examples, iteration), *collapsed(ctx.store, iteration, stop),
        ]  # fmt: skip
        waved = {*recipe.gate.override, *(["verifier"] if recipe.verify.measure.override else [])}
        rows = recorded(found, waved, iteration) + warned(ctx, iteration)
        table = schema.from_rows("state", rows)
        return Built({"state": table}, Counts(len(rows), len(rows)))

    made = run_stage(
        ctx.store, key("gate", iteration, "train", config=config, inputs=inputs, versions={"gate": VERSION}), build
    )
    _tell(ctx, iteration, outcomes(ctx.store, [made]))
    return made


def recorded(found: Sequence[Found], override: Collection[str], iteration: int) -> list[dict[str, Any]]:
    """One row of table `state` for each of the four reasons: passed, overridden or refused.

    `override` are reasons that refuse nothing; of `examples` it does not hold where there is none at all.
    """
    holds = {one.reason: one for one in found}
    rows = []
    for reason in REASONS:
        one = holds.get(reason)
        told: dict[str, Any] = {"outcome": "passed"}
        if one is not None:
            waved = reason in override and not (reason == "examples" and one.value == 0)
            told = {"outcome": "overridden" if waved else "refused", "value": one.value, "limit": one.limit,
                    "message": one.message, "hint": one.hint}  # fmt: skip
        rows.append({"iteration": iteration, "step": STEP, "key": reason, "value": json.dumps(told, ensure_ascii=False)})
    return rows


def outcomes(store: Store, manifests: Sequence[Manifest] | None = None) -> list[dict[str, Any]]:
    """What the gate said of each round: iteration, reason (or the code of a warning), outcome, value, limit, message, hint."""
    made = store.find("gate") if manifests is None else manifests
    rows = store.read("state", made).to_pylist() if made else []
    return [
        {"iteration": row["iteration"], "reason": row["key"], "outcome": None, "value": None, "limit": None, "message": None,
         "hint": None} | json.loads(row["value"])
        for row in sorted(rows, key=lambda row: (row["iteration"], row["key"]))
    ]  # fmt: skip


def overridden(store: Store, iteration: int) -> list[str]:
    """The reasons that held in a round and were overridden."""
    made = store.find("gate", iteration)
    return [row["reason"] for row in outcomes(store, made) if row["outcome"] == "overridden"]


def _tell(ctx: Context, iteration: int, rows: Sequence[Mapping[str, Any]]) -> None:
    for row in rows:
        if row["outcome"] in ("overridden", "warned"):
            ctx.progress.say(
                f"{'warning' if row['outcome'] == 'warned' else 'overridden'}: round {iteration}: {row['message']}"
            )
    for row in sorted(rows, key=lambda row: [*REASONS, row["reason"]].index(row["reason"])):
        if row["outcome"] == "refused":
            raise Refused(f"the training gate refused round {iteration} ({row['reason']}): {row['message']}", row["hint"])


def contaminated(
    store: Store, crop: Crop, curated: Manifest, frozen: Manifest | None, config: ContaminationConfig, gate: GateConfig
) -> list[Found]:
    """Rows to train on that a held-out task or a benchmark would meet again."""
    rows = dataset.read_dataset(dataset.folder_at(store.root, curated.extra["folder"]), split="train")
    rows = rows.filter(pc.and_(pc.equal(rows["view"], curated.extra.get("view", "sft")), pc.greater(rows["weight"], 0)))
    tasks = store.read("tasks", crop.pool, ["task_id", "problem_key", "split", "messages"])
    known = store.read("benchmarks", [frozen]) if frozen else schema.empty("benchmarks")
    hit = leaked(rows, tasks, known, config)
    if len(hit) <= gate.max_contaminated:
        return []
    first = min(hit)
    return [
        Found(
            "contamination", float(len(hit)), float(gate.max_contaminated),
            f"{len(hit)} of {rows.num_rows} rows to train on hold an item of an evaluation set, such as {first}: {hit[first]}",
            'add [[filters]] kind = "decontaminate" before the others, or raise gate.max_contaminated',
        )
    ]  # fmt: skip


def leaked(rows: pa.Table, tasks: pa.Table, known: pa.Table, config: ContaminationConfig) -> dict[str, str]:
    """The held-out task (split not train) or the item of `known` that each rollout holds, by rollout."""
    held = tasks.filter(pc.fill_null(pc.not_equal(tasks["split"], "train"), False))
    key_of = dict(zip(tasks["task_id"].to_pylist(), tasks["problem_key"].to_pylist(), strict=True))
    owner = dict(zip(held["problem_key"].to_pylist(), held["task_id"].to_pylist(), strict=True))
    names, ids = rows["rollout_id"].to_pylist(), rows["task_id"].to_pylist()
    found = {
        name: f"the problem of held-out task {owner[k]}"
        for name, task in zip(names, ids, strict=True) if (k := key_of.get(task)) is not None and k in owner
    }  # fmt: skip
    asked = user_texts(held["messages"])
    own = held.select(["task_id", "split"]).append_column("answer", pa.nulls(held.num_rows, pa.string()))  # questions only
    for items, whole in ((benchmarks.held_out(own, asked), True), (known, False)):
        found = _held(rows, items, config, whole) | found
    return found


def _held(rows: pa.Table, items: pa.Table, config: ContaminationConfig, whole: bool) -> dict[str, str]:
    """The item that each rollout's prompt or completion holds; `whole` asks for every word of it, not for a shared run."""
    if not items.num_rows or not rows.num_rows:
        return {}
    index, rule = contamination.build(items, config), DecontaminateConfig()
    found: dict[str, str] = {}
    for texts in (user_texts(rows["prompt"]), all_texts(rows["completion"])):
        for edge in contamination.matches(index, rows["rollout_id"].combine_chunks(), texts).to_pylist():
            tier, share = json.loads(edge["evidence"])["tier"], edge["similarity"]
            told = share >= 1.0 if whole else tier != contamination.COVERAGE or share >= rule.coverage
            if told:
                found.setdefault(edge["a_id"], f"{edge['b_id']} ({tier}, {share:.0%} of its words)")
    return found


def below_floor(ctx: Context) -> list[Found]:
    """Verifiers of the run that err more than their floor allows."""
    measured = ctx.store.find("verifiers")
    rows = measure_verifier.read(ctx.store.read("measures", measured)) if measured else []
    found = measure.below_floors(rows, ctx.recipe.verify.measure)
    if not found:
        return []
    told = measure.stopped(found)
    return [Found("verifier", float(len(found)), 0.0, told.message, told.hint)]


def few(curated: Manifest, least: int, iteration: int) -> list[Found]:
    """A dataset too small to train on."""
    kept = curated.counts.rows_out
    if kept >= least:
        return []
    told = f"round {iteration} kept {kept} of {curated.counts.rows_planned} rollouts"
    if curated.extra.get("view") == "group":
        return [Found(
            "examples", float(kept), float(least),
            f"{told}, those of groups with right and wrong replies; training wants at least {least}",
            "ask tasks the policy solves sometimes, raise generate.n or generate.mixed_groups, begin with a round of rft "
            '(train.method = ["rft", "nft"]), or lower train.min_examples',
        )]  # fmt: skip
    return [Found(
        "examples", float(kept), float(least), f"{told}; training wants at least {least}",
        "raise generate.tasks or generate.n, loosen [[filters]] (`ratoon show RUN --dropped`), or lower train.min_examples",
    )]  # fmt: skip


def collapsed(store: Store, iteration: int, stop: bool) -> list[Found]:
    """Agreement that rises while accuracy falls, over the rounds so far; nothing where the truth is not known."""
    rows = store.read("measures", store.find("calibrate")).to_pylist()
    return falling(*trend([row for row in rows if row["iteration"] <= iteration])) if stop else []


def falling(agreement: Sequence[Estimate], accuracy: Sequence[Estimate]) -> list[Found]:
    """The reason that `calibration.collapse` is where accuracy clearly falls."""
    if collapse(agreement, accuracy) != "falling":
        return []
    told = (
        f"agreement rose from {agreement[0].value:.2f} to {agreement[-1].value:.2f} while the accuracy of votes fell, "
        f"{accuracy[0].value:.2f} to {accuracy[-1].value:.2f}: the model may be collapsing onto its own answers"
    )
    hint = "train on fewer rounds, raise consensus.share, or set consensus.stop_on_falling = false"
    return [Found("collapse", accuracy[-1].value - accuracy[0].value, 0.0, told, hint)]


def warned(ctx: Context, iteration: int) -> list[dict[str, Any]]:
    """Rows of `state`: the audit's warnings on the numbers stored of this round and the one before."""
    stored = audit_run.stored(ctx.store)
    now, was = ({m.metric: m for m in stored.get(i, [])} for i in (iteration, iteration - 1))
    found = findings(Case(now, was, ctx.recipe.audit.limits))
    return [
        {"iteration": iteration, "step": STEP, "key": f"warning/{one.code}",
         "value": json.dumps({"outcome": "warned", "message": one.message}, ensure_ascii=False)}
        for one in {one.code: one for one in found if one.code != "small_sample"}.values()
    ]  # fmt: skip
