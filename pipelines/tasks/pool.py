"""Iteration 0: tasks proposed, split and checked; prompts rendered; the base policy recorded. No model is asked."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from ratoon import ids, schema
from ratoon.config import semantic
from ratoon.errors import ConfigError
from ratoon.generators import prompts as prompting
from ratoon.generators.hidden import hide_gold
from ratoon.generators.splits import assign_splits, leaks
from ratoon.generators.tasks import propose_all, verifiers_of, versions
from ratoon.generators.tasks.task_rows import text_key
from ratoon.messages import user_turns
from ratoon.metrics import verifiers
from ratoon.metrics.verifiers.score import score_gold
from ratoon.pipelines.runtime.context import Context
from ratoon.pipelines.runtime.stage import Built, key, run_stage, with_descendants
from ratoon.store.store import ArtifactKey, Counts, Manifest


def tasks(ctx: Context) -> Manifest:
    """Every task of every source, split by problem key; a task whose gold its own verifier refuses is a failure row."""
    recipe = ctx.recipe
    config = {"tasks": semantic(recipe.tasks), "splits": semantic(recipe.splits), "seed": task_seed(ctx)}
    if recipe.votes_label:
        config["hide_gold"] = True
    own = versions(recipe.tasks) | _verifier_versions(ctx)
    return run_stage(ctx.store, key("tasks", 0, config=config, versions=own), lambda: _propose(ctx))


def _verifier_versions(ctx: Context) -> dict[str, str]:
    """The versions of the verifiers that the arms name: they decide which gold answers stand."""
    return {f"verifier {name}": verifiers.version(name, ctx.verifiers) for name in verifiers_of(ctx.recipe.tasks)}


def task_seed(ctx: Context) -> int:
    """The seed of what is asked of every policy alike: tasks, splits, and the choice of a suite's tasks."""
    run = ctx.recipe.run
    return run.seed if run.task_seed is None else run.task_seed


def _propose(ctx: Context) -> Built:
    recipe, seed = ctx.recipe, task_seed(ctx)
    proposed = propose_all(recipe.tasks, ids.derive_seed(seed, "tasks"))
    for line in proposed.told:
        ctx.progress.say(line)
    rows, refused = check_gold(ctx, proposed.tasks)
    split = sealed(assign_splits(rows, recipe.splits, ids.derive_seed(seed, "splits")))
    oracles = proposed.oracles
    if recipe.votes_label:
        split, oracles = hide_gold(split, oracles)
    kept = pc.is_in(oracles["task_id"], value_set=split["task_id"].combine_chunks())
    failures = pa.concat_tables([proposed.failures, refused])
    tables = {"tasks": split, "oracles": oracles.filter(kept), "failures": failures}
    counts = Counts(proposed.planned, split.num_rows, dropped=proposed.dropped, failed=failures.num_rows)
    judged = sorted(v for v in pc.unique(split["verifier"]).to_pylist() if v)
    return Built(tables, counts, {"verifiers": judged} | ({"read": list(proposed.told)} if proposed.told else {}))


def sealed(rows: pa.Table) -> pa.Table:
    """`rows` as they are, their splits proven apart. Raises RuntimeError where a problem is on two sides: a fault of ours."""
    if found := leaks(rows):
        problem, sides = next(iter(found.items()))
        raise RuntimeError(f"internal error: {len(found)} problems are on several sides, the first {problem!r} on {sides}")
    return rows


def check_gold(ctx: Context, rows: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Tasks whose gold answer passes its own verifier, and failure rows for the rest. Raises ConfigError if none passes."""
    for name in pc.unique(rows["verifier"]).to_pylist():
        if name is not None:
            verifiers.resolve(name, ctx.verifiers)
    verdicts = score_gold(rows, ctx.pool())
    bad = verdicts.filter(pc.not_equal(verdicts["status"], "pass")).to_pylist()
    if bad and len(bad) == verdicts.num_rows:
        first = bad[0]
        raise ConfigError(
            f"no gold answer passes its own verifier; task {first['subject_id']} got {first['status']!r} ({first['detail']})",
            "mend verifier, verifier_args or the answers of [[tasks]]",
        )
    failures = [
        {"stage": "tasks", "subject_id": row["subject_id"], "attempt": 0, "error_class": "GoldRefused",
         "message": f"{row['scorer']} says {row['status']}: {row['detail']}"}
        for row in bad
    ]  # fmt: skip
    refused = pa.array([row["subject_id"] for row in bad], pa.string())
    return rows.filter(pc.invert(pc.is_in(rows["task_id"], value_set=refused))), schema.from_rows("failures", failures)


def prompts(ctx: Context, pool: Manifest) -> Manifest:
    """Every task rendered once into token ids by the model's chat template; a second model that renders alike shares them."""
    recipe, renderer = ctx.recipe, ctx.renderer
    config = semantic(recipe.prompt) | {"template": renderer.template_digest, "tokenizer": renderer.tokenizer_digest}

    def build() -> Built:
        rows = ctx.store.read("tasks", [pool])
        _spare_held_out(rows, recipe.prompt.few_shot)
        made, failures = prompting.build(rows, renderer, recipe.prompt.system, recipe.prompt.few_shot)
        counts = Counts(rows.num_rows, made.num_rows, failed=failures.num_rows)
        return Built({"prompts": made, "failures": failures}, counts)

    def under(tag: str | None) -> ArtifactKey:
        return key("prompts", 0, tag, config=config, inputs=[pool])

    wanted = under(None) if ctx.store.get(under(None).artifact_id) else under(ctx.tag)
    live = ctx.store.live()
    twins = {id for id, m in live.items() if m.stage == "prompts" and id == under(m.shard).artifact_id != wanted.artifact_id}
    if twins:  # the same prompt ids live twice would double every join
        ctx.store.commit(add=[], remove=sorted(with_descendants(live, twins)), why="prompts 0: the same under one tag")
    return run_stage(ctx.store, wanted, build)


def _spare_held_out(rows: pa.Table, few_shot: Sequence[tuple[str, str]]) -> None:
    """Raise ConfigError where a worked example is the question of a held-out task: every prompt would tell its answer."""
    shown = {text_key(user): user for user, _ in few_shot}
    if not shown:
        return
    held = rows.filter(pc.not_equal(rows["split"], "train")).select(["task_id", "problem_key", "split", "messages"])
    for row in held.to_pylist():
        said = user_turns(row["messages"])
        for question in (row["problem_key"], *map(text_key, said), text_key("\n".join(said))):
            if question in shown:
                raise ConfigError(
                    f"prompt.few_shot shows {shown[question]!r}: that is the {row['split']} task {row['task_id']}",
                    "show an example that is no held-out task",
                )
