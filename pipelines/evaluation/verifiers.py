"""Verifiers measured before any model is asked: a stage, its gate, and the same for `ratoon verifiers`. Asks no model.

The gate is apart from the measuring, so that another floor measures nothing anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ratoon import ids, schema
from ratoon.errors import Stopped
from ratoon.generators.tasks import propose_all
from ratoon.metrics import verifiers as catalogue
from ratoon.metrics.verifier_errors import error_rates as measuring
from ratoon.metrics.verifier_errors import planted, weak_tests
from ratoon.metrics.verifier_errors.error_rates import MeasureConfig, Measured
from ratoon.metrics.verifiers.pool import VerifierPool
from ratoon.pipelines.recipe.recipe import Recipe
from ratoon.pipelines.runtime.context import Context
from ratoon.pipelines.runtime.stage import Built, key, run_stage
from ratoon.store.store import Counts, Manifest

_NONE: Mapping[str, Callable[..., Any]] = {}
_HINT = (
    "`ratoon verifiers RECIPE --formats` shows which replies are misread; mend verifier or verifier_args of [[tasks]], set "
    'verify.measure.floors.NAME, or gate.override = ["verifier"] (it is recorded)'
)


def verifiers(ctx: Context, pool: Manifest) -> Manifest:
    """Planted FPR and FNR of every verifier of the tasks, in `measures`. Raises Stopped where one is below its floor."""
    config, seed = ctx.recipe.verify.measure, _seed(ctx.recipe)
    versions = {f"verifier {name}": catalogue.version(name, ctx.verifiers) for name in pool.extra.get("verifiers", [])}
    wanted = key(
        "verifiers", 0, inputs=[pool], versions=versions | {"planted": planted.VERSION, "mutants": weak_tests.VERSION},
        config={"probes": config.probes, "mutants": config.mutants, "seed": seed, "timeout_s": ctx.recipe.verify.timeout_s},
    )  # fmt: skip

    def build() -> Built:
        tasks = ctx.store.read("tasks", [pool], columns=["task_id", "family", "answer", "verifier", "verifier_args"])
        made = measuring.table(measuring.measure(tasks, ctx.pool(), config, seed), seed)
        tested = weak_tests.tested(tasks, ctx.pool(), config.probes, config.mutants, seed)
        made = pa.concat_tables([made, weak_tests.measures(tested)])
        return Built({"measures": made, "scores": weak_tests.table(tested)}, Counts(made.num_rows, made.num_rows))

    manifest = run_stage(ctx.store, wanted, build)
    gate(ctx, manifest)
    return manifest


def gate(ctx: Context, measured: Manifest) -> None:
    """Raise Stopped where a verifier is below its floor; with `override`, say so and record it in `state`."""
    found = below_floors(measuring.read(ctx.store.read("measures", [measured])), ctx.recipe.verify.measure)
    if not found:
        return
    if not ctx.recipe.verify.measure.override and "verifier" not in ctx.recipe.gate.override:
        raise stopped(found)
    for name, why in found.items():
        ctx.progress.say(f"overridden: the verifier {name!r} is below its floor: {'; '.join(why)}")
    rows = [
        {"iteration": 0, "step": "gate", "key": f"verifier/{name}", "value": json.dumps({"override": True, "below": why})}
        for name, why in found.items()
    ]
    made = schema.from_rows("state", rows)
    wanted = key("override", 0, "verifiers", config=found, inputs=[measured])
    run_stage(ctx.store, wanted, lambda: Built({"state": made}, Counts(made.num_rows, made.num_rows)))


def below_floors(found: Sequence[Measured], config: MeasureConfig) -> dict[str, list[str]]:
    """The verifiers below their floors, and why."""
    said = {one.verifier: measuring.below(one, config.floor(one.verifier)) for one in found}
    return {name: why for name, why in said.items() if why}


def stopped(found: Mapping[str, Sequence[str]]) -> Stopped:
    """The stop that a verifier below its floor is."""
    name, why = next(iter(found.items()))
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return Stopped(f"the verifier {name!r} is below its floor{more}: {'; '.join(why)}", _HINT)


def measure_recipe(
    recipe: Recipe, verifiers: Mapping[str, Callable[..., Any]] = _NONE
) -> tuple[list[Measured], list[weak_tests.Tested]]:
    """The verifiers of a recipe's tasks, and the tests of its programs, measured without a run; worst tasks first.

    Raises UsageError for an unknown verifier.
    """
    seed = recipe.run.seed if recipe.run.task_seed is None else recipe.run.task_seed
    tasks = propose_all(recipe.tasks, ids.derive_seed(seed, "tasks")).tasks
    for name in pc.unique(tasks["verifier"]).to_pylist():
        if name is not None:
            catalogue.resolve(name, verifiers)
    with VerifierPool(recipe.verify.workers, recipe.verify.timeout_s, extra=verifiers) as pool:
        measured = measuring.measure(tasks, pool, recipe.verify.measure, _seed(recipe))
        config = recipe.verify.measure
        return measured, weak_tests.tested(tasks, pool, config.probes, config.mutants, _seed(recipe))


def _seed(recipe: Recipe) -> int:
    seed = recipe.run.seed if recipe.run.task_seed is None else recipe.run.task_seed
    return ids.derive_seed(seed, "planted")
