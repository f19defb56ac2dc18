"""Who labels a group: the verifier of its task, or the vote of its rollouts where the recipe says so."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from ratoon import reply
from ratoon.metrics.voting import groups as grouping
from ratoon.metrics.voting import paraphrase_pairs as twins
from ratoon.metrics.voting.consensus import ConsensusConfig, consensus
from ratoon.metrics.voting.extracted_answers import READING, readings
from ratoon.metrics.voting.self_reward import trained_logprobs, trained_tokens
from ratoon.pipelines.rollouts.adaptive_consistency import stop_rules
from ratoon.pipelines.runtime.context import Context
from ratoon.pipelines.runtime.stage import shard_of
from ratoon.store.store import Manifest


def votes_of(ctx: Context, manifest: Manifest) -> ConsensusConfig | None:
    """How the rollouts of an artifact vote: in a round as the recipe says, in a suite not at all."""
    in_round = manifest.shard == "train" or shard_of(manifest, "train")
    return ctx.recipe.consensus if in_round else None


def labelled(
    ctx: Context, rows: pa.Table, verdicts: pa.Table, plan: pa.Table, config: ConsensusConfig | None
) -> tuple[pa.Table, pa.Table | None]:
    """Tables `groups` and, where anything voted, `scores` of agreement: of rollouts, their verdicts and readings."""
    read = verdicts.filter(pc.equal(verdicts["scorer"], READING))
    if config is None or not read.num_rows:
        return grouping.groups(rows, verdicts, plan), None
    voting = pc.is_in(rows["rollout_id"], value_set=read["subject_id"].combine_chunks())
    judged = grouping.groups(rows.filter(pc.invert(voting)), verdicts.filter(pc.not_equal(verdicts["scorer"], READING)), plan)
    voters = rows.filter(voting)
    voters = _with_confidence(reply.answered(voters) if "text" in voters.column_names else voters)
    stops = stop_rules(config, ctx.recipe.generate.n, grouping.planned(voters, plan))
    outcome = consensus(voters, read, plan, config, same=ctx.same(), stop_rule=stops)
    if config.twins:
        outcome = twins.crossed(outcome, voters, _twin_of(ctx, voters))
    return pa.concat_tables([judged, outcome.groups]).sort_by("group_id"), outcome.scores


def _twin_of(ctx: Context, voters: pa.Table) -> dict[str, str]:
    """The other wording of each task that was asked."""
    tasks = ctx.store.read("tasks", columns=["task_id", "parent_ids"])
    return twins.twins(tasks.filter(pc.is_in(tasks["task_id"], value_set=pc.unique(voters["task_id"]))).to_pylist())


def read_unjudged(ctx: Context, rows: pa.Table, tasks: pa.Table, config: ConsensusConfig) -> pa.Table:
    """Rows of `scores` that vote: the answers of rollouts whose tasks no verifier judges."""
    unjudged = tasks.filter(pc.is_null(tasks["verifier"]))["task_id"].combine_chunks()
    mine = reply.answered(rows.filter(pc.is_in(rows["task_id"], value_set=unjudged)))
    return readings(mine, config.reader, config.reader_args, ctx.pool())


def voting_columns(config: ConsensusConfig | None) -> list[str]:
    """The columns that votes read beside the answer: log-probs as confidence, the text where symbols are compared."""
    if config is None:
        return []
    confidence, texts = config.weights != "one", config.equivalence == "symbolic"
    return ["logprobs", "loss_mask"] * confidence + [*reply.COLUMNS] * texts


def _with_confidence(rows: pa.Table) -> pa.Table:
    """The rows with the mean log-prob of a sampled token in place of the log-probs; null where a reply has none."""
    if "logprobs" not in rows.column_names:
        return rows
    n = trained_tokens(rows["logprobs"], rows["loss_mask"]).cast(pa.float64())
    total = trained_logprobs(rows["logprobs"], rows["loss_mask"])
    mean = pc.divide(total, pc.if_else(pc.equal(n, 0), pa.scalar(None, pa.float64()), n))
    return rows.drop_columns(["logprobs", "loss_mask"]).append_column("confidence", mean)
