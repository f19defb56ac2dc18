"""`ratoon run --dry-run`: a few tasks really asked, and from them what the whole run will take, with intervals. No Prefect.

Everything happens in a folder of its own, which is then gone; the engine is the recipe's. What is not measured (training, other
rounds' policies, which may answer longer or better) is not predicted: rounds are taken to be alike.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from statistics import NormalDist, fmean, stdev
from typing import Any

from ratoon.engine import Policy
from ratoon.errors import UsageError
from ratoon.pipelines.curation import question_only as bare
from ratoon.pipelines.curation.curate import curate
from ratoon.pipelines.flows.runner import opened
from ratoon.pipelines.recipe.budget import BudgetConfig
from ratoon.pipelines.recipe.recipe import Recipe
from ratoon.pipelines.rollouts import askers, assign, sample, score
from ratoon.pipelines.runtime import records
from ratoon.pipelines.runtime.context import Context
from ratoon.pipelines.runtime.rollout_set import Crop
from ratoon.pipelines.tasks import pool as propose
from ratoon.store.store import Manifest

TASKS = 8
_LEVEL = 0.95


@dataclass(frozen=True)
class Total:
    """A predicted total with its 95 % interval; without bounds where one task was asked."""

    value: float
    lo: float | None
    hi: float | None


def total(per_task: Sequence[float], tasks: int) -> Total:
    """What `tasks` tasks will take, when those asked took `per_task`: Student's prediction interval, never below 0.

    It covers both how little was asked and how much the tasks of the run will differ.
    """
    k = len(per_task)
    if not k or not tasks:
        return Total(0.0, 0.0, 0.0)
    mean = fmean(per_task)
    if k == 1:
        return Total(tasks * mean, None, None)
    half = _student(k - 1) * stdev(per_task) * sqrt(1 / k + 1 / tasks)
    return Total(tasks * mean, max(0.0, tasks * (mean - half)), tasks * (mean + half))


def _student(degrees: int) -> float:
    """The two-sided quantile of Student's t by Peiser's and Hill's expansion: within 1 % from 4 degrees on, above it below."""
    z = NormalDist().inv_cdf(0.5 + _LEVEL / 2)
    terms = [z, (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96, (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384]
    exact = {1: 12.706, 2: 4.303, 3: 3.182}
    return exact.get(degrees) or sum(term / degrees**power for power, term in enumerate(terms))


def predict(recipe: Recipe, *, tasks: int = TASKS, verifiers: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Predict the recipe's rollouts, tokens, cost and seconds: `tasks` training tasks and as many of `heldout` are asked.

    Rows: quantity, total, lo, hi; a cost is null without prices, seconds are the engine's at the dry run's small load.
    Raises UsageError where the model writes the tasks: they are not there to be asked.
    """
    if recipe.propose.arms:
        raise UsageError(
            "this recipe has its model write tasks: what they will take is not known before it did",
            "run one round and read `ratoon status`; the plan says what is asked at most",
        )
    few = recipe.model_copy(update={
        "budget": BudgetConfig(prices=recipe.budget.prices),
        "generate": recipe.generate.model_copy(update={"tasks": min(tasks, recipe.generate.tasks), "target_accepted": None}),
        "suites": {name: s.model_copy(update={"tasks": min(tasks, s.tasks or tasks)}) for name, s in recipe.suites.items()},
    })  # fmt: skip
    with (
        tempfile.TemporaryDirectory(prefix="ratoon-dry-run-") as folder,
        opened(Path(folder) / "run", few, verifiers=verifiers, quiet=True) as ctx,
    ):
        pool = propose.tasks(ctx)
        prompts = propose.prompts(ctx, pool)
        made_by, base = records.base(ctx)
        held = _tasks_of(ctx, pool, recipe)
        asked = assign.assign_suite(ctx, pool, prompts, 0, "heldout", few.suites["heldout"])
        suite = _harvest(ctx, pool, prompts, asked, made_by, base)
        asked = askers.assign_round(ctx, pool, prompts, 1)
        train = _harvest(ctx, pool, prompts, asked, made_by, base)
        bare.prompts(ctx, train.crop)
        kept = curate(ctx.store, few, train.crop)
        rows = _rows(recipe, train, suite, _kept_of(ctx, kept), held)
        return {"asked_rollouts": train.rollouts + suite.rollouts, "asked_tasks": len(train.tokens), "rows": rows}


def _tasks_of(ctx: Context, pool: Manifest, recipe: Recipe) -> int:
    """How many tasks an evaluation asks."""
    split = recipe.suites["heldout"].split
    found = ctx.store.read("tasks", [pool], columns=["split"])["split"].to_pylist().count(split)
    return min(found, recipe.suites["heldout"].tasks or found)


@dataclass(frozen=True)
class _Asked:
    """One purpose's prompt tokens, sampled tokens and passes by task, and its rollouts and seconds in all."""

    crop: Crop
    prompt: dict[str, int]
    tokens: dict[str, int]
    passed: dict[str, int]
    rollouts: int
    seconds: float


def _harvest(ctx: Context, pool: Manifest, prompts: Manifest, asked: Manifest, made_by: Manifest, policy: Policy) -> _Asked:
    ctx.engine(policy)  # opened and loaded before the clock starts
    began = time.monotonic()
    rollouts = [sample.sample_shard(ctx, shard, prompts) for shard in sample.shards(ctx, asked, made_by, policy)]
    seconds = time.monotonic() - began
    scores = [score.score_shard(ctx, made, pool) for made in rollouts]
    groups = score.group(ctx, asked, rollouts, scores)
    rows = ctx.store.read("rollouts", rollouts, ["rollout_id", "task_id", "prompt_id", "token_ids"]).to_pylist()
    lengths = {
        p["prompt_id"]: len(p["token_ids"])
        for p in ctx.store.read("prompts", [prompts], ["prompt_id", "token_ids"]).to_pylist()
    }
    good = {
        s["subject_id"] for s in ctx.store.read("scores", scores, ["subject_id", "status"]).to_pylist() if s["status"] == "pass"
    }
    prompt, tokens, passed = ({row["task_id"]: 0 for row in rows} for _ in range(3))
    for row in rows:
        prompt[row["task_id"]] += lengths[row["prompt_id"]]
        tokens[row["task_id"]] += len(row["token_ids"] or ())
        passed[row["task_id"]] += row["rollout_id"] in good
    crop = Crop(asked.iteration or 0, [pool], [prompts], rollouts, scores, groups)
    return _Asked(crop, prompt, tokens, passed, len(rows), seconds)


def _kept_of(ctx: Context, curated: Manifest) -> dict[str, int]:
    """Examples by task."""
    found: dict[str, int] = {}
    for task in ctx.store.read("examples", [curated], ["task_id"])["task_id"].to_pylist():
        found[task] = found.get(task, 0) + 1
    return found


def _rows(recipe: Recipe, train: _Asked, suite: _Asked, kept: Mapping[str, int], held: int) -> list[dict[str, Any]]:
    rounds = recipe.run.iterations
    asked, judged = recipe.generate.tasks * rounds, held * (rounds + 1)

    def both(of_train: Sequence[float], of_suite: Sequence[float]) -> Total:
        return _sum(total(of_train, asked), total(of_suite, judged))

    prompt = both(list(train.prompt.values()), list(suite.prompt.values()))
    sampled = both(list(train.tokens.values()), list(suite.tokens.values()))
    prices = recipe.budget.prices

    def costs(purpose: _Asked) -> list[float]:
        return [prices.cost(purpose.prompt[t], purpose.tokens[t]) or 0.0 for t in purpose.tokens]

    speed = (train.seconds + suite.seconds) / max(1, sum(train.tokens.values()) + sum(suite.tokens.values()))
    found = {
        "rollouts": planned_rollouts(recipe, judged),
        "prompt tokens": prompt,
        "sampled tokens": sampled,
        "cost": both(costs(train), costs(suite)) if prices.known else None,
        "engine seconds": _scaled(sampled, speed),
        "verified rollouts": total([float(n) for n in train.passed.values()], asked),
        "kept examples": total([float(kept.get(t, 0)) for t in train.tokens], asked),
    }  # fmt: skip
    return [{"quantity": name, "total": t and t.value, "lo": t and t.lo, "hi": t and t.hi} for name, t in found.items()]


def planned_rollouts(recipe: Recipe, judged: int) -> Total:
    """The rollouts that are asked for certain, `judged` tasks an evaluation included; `hi` is the most they can become.

    Without further waves (`mixed_groups`, `target_accepted`) and rules of `generate.again` there are no bounds.
    """
    generate, rounds = recipe.generate, recipe.run.iterations
    certain = generate.tasks * rounds * generate.n + judged * recipe.suites["heldout"].n
    waves = 0 if generate.mixed_groups is None and generate.target_accepted is None else generate.max_waves - 1
    further = generate.tasks * rounds * waves * generate.n
    again = generate.tasks * rounds * (1 + waves) * sum(rule.n for rule in generate.again)
    return Total(certain, certain, certain + further + again) if further or again else Total(certain, None, None)


def _sum(one: Total, other: Total) -> Total:
    """The sum of two independent totals: distances to the bounds add in squares."""
    if None in (one.lo, one.hi, other.lo, other.hi):
        return Total(one.value + other.value, None, None)
    lo = sqrt((one.value - (one.lo or 0)) ** 2 + (other.value - (other.lo or 0)) ** 2)
    hi = sqrt(((one.hi or 0) - one.value) ** 2 + ((other.hi or 0) - other.value) ** 2)
    value = one.value + other.value
    return Total(value, max(0.0, value - lo), value + hi)


def _scaled(one: Total, by: float) -> Total:
    return Total(one.value * by, None if one.lo is None else one.lo * by, None if one.hi is None else one.hi * by)
