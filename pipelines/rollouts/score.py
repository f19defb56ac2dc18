"""Verdicts per shard, then groups over a whole purpose (a round's training rollouts, or one suite)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ratoon import reply, schema
from ratoon.config import semantic
from ratoon.errors import Stopped
from ratoon.metrics import verifiers
from ratoon.metrics.verifiers.score import score
from ratoon.metrics.voting import paraphrase_pairs as twins
from ratoon.metrics.voting.consensus import VERSION
from ratoon.pipelines.rollouts.label import labelled, read_unjudged, votes_of, voting_columns
from ratoon.pipelines.runtime.context import Context
from ratoon.pipelines.runtime.rollout_set import RoundSoFar
from ratoon.pipelines.runtime.stage import Built, Manifests, key, run_stage, several
from ratoon.store.store import ArtifactKey, Counts, Manifest

_VERDICT = ["subject_kind", "subject_id", "scorer", "version", "status", "answer", "detail"]

_SAID = ["rollout_id", "task_id", *reply.COLUMNS, "finish_reason", "error"]
_TASK = ["task_id", "answer", "verifier", "verifier_args"]
_GROUPED = ["rollout_id", "group_id", "task_id", "prompt_id", "policy_id", "sampling_id", "role", "iteration", "finish_reason",
            "error"]  # fmt: skip


def score_shard(ctx: Context, rollouts: Manifest, pool: Manifests) -> Manifest:
    """A verdict for every rollout of one shard whose task has a verifier; where votes label the others, what they say.

    With `retry_failed`, a verifier's errors are judged once more; what it could judge stays.
    """
    consensus = votes_of(ctx, rollouts)
    versions = {f"verifier {name}": version for name, version in _versions(ctx, pool).items()}
    if consensus is not None:
        versions["reader"] = verifiers.version(consensus.reader, ctx.verifiers)

    def under(attempt: int) -> ArtifactKey:
        config: dict[str, Any] = {"timeout_s": ctx.recipe.verify.timeout_s} | ({"attempt": attempt} if attempt else {})
        config |= {"reader": [consensus.reader, consensus.reader_args]} if consensus is not None else {}
        return key("scores", rollouts.key.iteration, rollouts.key.shard, config=config, inputs=[rollouts], versions=versions)

    attempt, live = _last_attempt(ctx, rollouts, under)
    if live is not None and not ctx.retry_failed:
        return live
    rows = ctx.store.read("rollouts", [rollouts], columns=_SAID)
    kept = ctx.store.read("scores", [live]) if live is not None else schema.empty("scores")
    again = _verifier_errors(kept, rows)
    if live is not None and not again.num_rows:
        return live

    def build() -> Built:
        asked = rows if live is None else again
        tasks = ctx.lookup.rows("tasks", pool, "task_id", pc.unique(asked["task_id"]), _TASK)
        fresh = score(asked, tasks, ctx.pool())
        if consensus is not None:
            fresh = pa.concat_tables([fresh, read_unjudged(ctx, asked, tasks, consensus)])
        stays = pc.invert(pc.is_in(kept["subject_id"], value_set=asked["rollout_id"].combine_chunks()))
        scores = pa.concat_tables([kept.filter(stays), fresh.cast(kept.schema)])
        passed = pc.sum(pc.equal(scores["status"], "pass")).as_py() or 0
        counts = Counts(rows.num_rows, scores.num_rows, dropped=rows.num_rows - scores.num_rows)
        return Built({"scores": scores}, counts, {"passed": passed})

    return run_stage(ctx.store, under(attempt + 1 if again.num_rows else attempt), build)


def _last_attempt(ctx: Context, rollouts: Manifest, under: Callable[[int], ArtifactKey]) -> tuple[int, Manifest | None]:
    """The number and manifest of the live verdicts of a shard; 0 and None before the first."""
    for manifest in ctx.store.find("scores", rollouts.iteration):
        attempt = int(manifest.key.config.get("attempt", 0)) if manifest.shard == rollouts.shard else -1
        if attempt >= 0 and under(attempt).artifact_id == manifest.artifact_id:
            return attempt, manifest
    return 0, None


def _verifier_errors(scores: pa.Table, rollouts: pa.Table) -> pa.Table:
    """Rollouts that came back and that their verifier failed on: its crash or time-out is no fault of theirs."""
    failed = scores.filter(pc.equal(scores["status"], "error"))["subject_id"].combine_chunks()
    return rollouts.filter(pc.and_(pc.is_in(rollouts["rollout_id"], value_set=failed), pc.is_null(rollouts["error"])))


def _versions(ctx: Context, pool: Manifests) -> dict[str, str]:
    names = {name for manifest in several(pool) for name in manifest.extra.get("verifiers", [])}
    return {name: verifiers.version(name, ctx.verifiers) for name in names}


def group(
    ctx: Context, assigned: Manifest | Sequence[Manifest], rollouts: Sequence[Manifest], scores: Sequence[Manifest]
) -> Manifest:
    """Pass rates with intervals and votes, one row a group; every rollout read is in exactly one group.

    `assigned` are the assignments, several where a round asked in waves; how its groups fell out is told in the manifest.
    Where votes label, each rollout's agreement with the label is a score beside the groups.
    """
    asked = [assigned] if isinstance(assigned, Manifest) else list(assigned)
    consensus = votes_of(ctx, asked[0])

    def build() -> Built:
        groups, agreement = _grouped(ctx, asked, rollouts, scores)
        facts: dict[str, int | None] = {
            "mixed": mixed(groups),
            "all_wrong": _count(groups, 0.0),
            "all_right": _count(groups, 1.0),
            "waves": len(asked),
        }
        facts |= {"wanted": ctx.recipe.generate.mixed_groups} if ctx.recipe.keeps_failures else {}
        tables = {"groups": groups} | ({} if agreement is None else {"scores": agreement})
        if consensus is not None and consensus.twins and agreement is not None:
            tables["measures"] = twins.measures(groups, iteration=asked[0].iteration or 0)
        return Built(tables, Counts(groups.num_rows, groups.num_rows), facts)

    first = asked[0]
    config, versions = _voting(ctx, first)
    inputs = [*asked, *rollouts, *scores]
    artifact_key = key("groups", first.key.iteration, first.key.shard, config=config, inputs=inputs, versions=versions)
    return run_stage(ctx.store, artifact_key, build)


def _voting(ctx: Context, asked: Manifest) -> tuple[Any, dict[str, str] | None]:
    """What decides labels beside the scores: nothing, or how a round's rollouts vote."""
    consensus = votes_of(ctx, asked)
    if consensus is None:
        return None, None
    return {"consensus": semantic(consensus), "n": ctx.recipe.generate.n}, {"consensus": VERSION}


def _grouped(
    ctx: Context, asked: Sequence[Manifest], rollouts: Sequence[Manifest], scores: Sequence[Manifest]
) -> tuple[pa.Table, pa.Table | None]:
    consensus = votes_of(ctx, asked[0])
    rows = ctx.store.read("rollouts", rollouts, columns=[*_GROUPED, *voting_columns(consensus)])
    verdicts = ctx.store.read("scores", scores, columns=_VERDICT)
    groups, agreement = labelled(ctx, rows, verdicts, ctx.store.read("assignments", asked), consensus)
    counted = pc.sum(groups["n"]).as_py() or 0
    if counted != rows.num_rows:
        raise AssertionError(f"groups hold {counted} rollouts of {rows.num_rows}")
    return groups, agreement


def mixed(groups: pa.Table) -> int:
    """Groups with right and wrong rollouts."""
    return int(pc.sum(pc.and_(pc.greater(groups["pass_rate"], 0), pc.less(groups["pass_rate"], 1))).as_py() or 0)


def groups_so_far(ctx: Context, held: RoundSoFar) -> pa.Table:
    """Table `groups` of what a round holds, without an artifact: it may go on."""
    return _grouped(ctx, held.asked, held.rollouts, held.scores)[0]


def _count(groups: pa.Table, rate: float) -> int:
    return int(pc.sum(pc.equal(groups["pass_rate"], rate)).as_py() or 0)


def check_failures(ctx: Context, what: str, rollouts: Sequence[Manifest]) -> None:
    """Raise Stopped when more rollouts failed than the recipe allows; a few failures are data, not a crash."""
    planned = sum(m.counts.rows_planned for m in rollouts)
    failed = sum(m.counts.failed for m in rollouts)
    if planned and failed / planned > ctx.recipe.run.max_failed_share:
        worst = _common_error(ctx.store.read("failures", rollouts))
        raise Stopped(
            f"{what}: {failed} of {planned} rollouts failed, most often {worst}",
            "mend the engine and run again with --retry-failed, or raise run.max_failed_share",
        )


def _common_error(failures: pa.Table) -> str:
    counts = pc.value_counts(failures["message"].combine_chunks()).to_pylist()
    return max(counts, key=lambda c: c["counts"])["values"] if counts else "unknown"
