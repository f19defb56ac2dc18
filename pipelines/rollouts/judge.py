"""The judge in the flow: a round's training replies judged shard by shard, cached by content, and what that is worth.

A judge's replies are rollouts of role `judge`, whose prompt is the judged text: the same text of the same task, in whatever
round, is the same prompt and is asked once. Prefect is not known here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from ratoon import reply, schema
from ratoon.config import semantic
from ratoon.engine import Policy
from ratoon.errors import Stopped
from ratoon.messages import user_text
from ratoon.metrics.evaluation import judge_report as judged
from ratoon.metrics.verifiers import judge as judging
from ratoon.metrics.verifiers.judge import JudgeConfig, Judgment, Reader
from ratoon.pipelines.rollouts import asked_once
from ratoon.pipelines.rollouts.asked_once import Bench
from ratoon.pipelines.runtime import records
from ratoon.pipelines.runtime.context import Context
from ratoon.pipelines.runtime.rollout_set import Crop
from ratoon.pipelines.runtime.stage import Built, drop_extra, key, run_stage
from ratoon.store.store import ArtifactKey, Counts, Manifest

_SOLVED = ["rollout_id", "group_id", "task_id", *reply.COLUMNS, "error"]
_SAID = ["rollout_id", *reply.COLUMNS, "token_ids", "error"]
_TOLD = 0.1  # share of judgments off format that is worth a word
_FEW = 20  # judgments below which no share stops a run
Content = tuple[str, str, str | None]
"""A task, a reply, and the other reply of a comparison."""


class Subject(NamedTuple):
    """A rollout, alone or beside another of its task, with what is read of them."""

    rollout_id: str
    other_id: str | None
    task_id: str
    text: str
    beside: str | None

    @property
    def orders(self) -> list[Content]:
        """The replies that the judge is shown: one, or two in both orders."""
        if self.beside is None:
            return [(self.task_id, self.text, None)]
        return [(self.task_id, self.text, self.beside), (self.task_id, self.beside, self.text)]


def judge_round(ctx: Context, crop: Crop, policy: Policy, base: Policy) -> list[Manifest]:
    """The judge's artifacts of a round's training replies, its report last; none without `[judge]`.

    Raises Stopped where more judgments are off format than `judge.max_abstained`.
    """
    config = ctx.recipe.judge
    made: list[Manifest] = []
    if config is not None:
        bench = _bench(ctx, config, crop.iteration, base if config.by == "base" else policy)
        made = [judge_shard(ctx, crop, rollouts, config, bench) for rollouts in crop.rollouts]
    drop_extra(ctx.store, "judge", crop.iteration, crop.purpose, [m.artifact_id for m in made])
    if config is None:
        return []
    told = _report(ctx, config, crop, made)
    _check(ctx, config, crop.iteration, told, made)
    return [*made, told]


def _bench(ctx: Context, config: JudgeConfig, iteration: int, policy: Policy) -> Bench:
    template = json.dumps(dict(ctx.renderer.chat_template_kwargs), sort_keys=True)
    sampling = judging.sampling(config, ctx.renderer.end_of_turn_ids, template)
    records.sampling(ctx, sampling.row_fields(), sampling.sampling_id)
    before = [m for m in ctx.store.find("judge") if (m.iteration or 0) < iteration]
    top = config.top_logprobs if config.kind == "rubric" else 0
    version = judging.version(config, policy.policy_id)
    return Bench(judging.ROLE, policy, sampling, version, before, config.repeats, top)


def judge_shard(ctx: Context, crop: Crop, rollouts: Manifest, config: JudgeConfig, bench: Bench) -> Manifest:
    """Prompts, replies and scores of the judge for one shard of rollouts."""
    engine = ctx.recipe.engine
    wanted = key(
        "judge", crop.iteration, rollouts.shard, inputs=[*crop.pool, rollouts, *bench.before],
        config={"judge": bench.version, "repeats": bench.repeats, "sampling": bench.sampling.sampling_id,
                "template": ctx.renderer.template_digest, "tokenizer": ctx.renderer.tokenizer_digest,
                "engine": [engine.kind, semantic(engine.section)]},
    )  # fmt: skip
    return run_stage(ctx.store, wanted, lambda: _judge(ctx, crop, rollouts, config, bench, wanted))


def _judge(ctx: Context, crop: Crop, rollouts: Manifest, config: JudgeConfig, bench: Bench, wanted: ArtifactKey) -> Built:
    subjects = _subjects(ctx, rollouts, config)
    contents = list(dict.fromkeys(content for one in subjects for content in one.orders))
    prompts = asked_once.prompts(ctx, bench, _talks(ctx, crop, config, contents))
    fresh, earlier = asked_once.fresh(ctx, prompts, bench)
    assigned = asked_once.assignments(fresh, bench, crop.iteration)
    made, failures = asked_once.ask(ctx, bench, wanted, assigned, fresh, crop.iteration)
    reader = Reader(config, ctx.renderer)
    replies = [reply.answered(part.select(_SAID)) for part in (made, earlier)]
    said = {row["rollout_id"]: _read(reader, row) for part in replies for row in part.to_pylist()}
    by_content = dict(zip(contents, prompts["prompt_id"].to_pylist(), strict=True))
    scores = [row for one in subjects for row in _scores(one, by_content, said, bench)]
    tables = {"prompts": fresh, "assignments": assigned, "rollouts": made, "failures": failures,
              "scores": schema.from_rows("scores", scores)}  # fmt: skip
    return Built(tables, asked_once.counts(ctx, made, fresh), {"cached": earlier.num_rows})


def _subjects(ctx: Context, rollouts: Manifest, config: JudgeConfig) -> list[Subject]:
    """The subjects of a shard: every reply that came back, or pairs of them."""
    rows = reply.answered(ctx.store.read("rollouts", [rollouts], _SOLVED)).sort_by("rollout_id").to_pylist()
    rows = [row for row in rows if row["error"] is None and row["text"] is not None]
    if config.kind == "pairwise":
        return list(_pairs(rows))
    return [Subject(row["rollout_id"], None, row["task_id"], row["text"], None) for row in rows]


def _pairs(rows: Sequence[Mapping[str, Any]]) -> Iterator[Subject]:
    """Each group's distinct replies in a ring, each beside the next."""
    groups: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["group_id"], {}).setdefault(row["text"], row)
    for distinct in groups.values():
        ring = list(distinct.values())
        for i in range(len(ring) if len(ring) > 2 else len(ring) - 1):
            a, b = ring[i], ring[(i + 1) % len(ring)]
            yield Subject(a["rollout_id"], b["rollout_id"], a["task_id"], a["text"], b["text"])


def _talks(
    ctx: Context, crop: Crop, config: JudgeConfig, contents: Sequence[Content]
) -> list[tuple[str, list[dict[str, str]]]]:
    """Task and conversation of each content, in their order."""
    wanted = pa.array(sorted({task for task, _, _ in contents}), pa.string())
    tasks = ctx.store.read("tasks", crop.pool, ["task_id", "messages"])
    tasks = tasks.filter(pc.is_in(tasks["task_id"], value_set=wanted))
    questions = {row["task_id"]: user_text(row["messages"]) or "" for row in tasks.to_pylist()}
    return [(task, judging.messages(config, questions[task], text, other)) for task, text, other in contents]


def _read(reader: Reader, row: Mapping[str, Any]) -> Judgment:
    return reader.read(row["text"], row["token_ids"], judging.top_of(row["meta"]), row["error"])


def _scores(
    subject: Subject, prompts: Mapping[Content, str], said: Mapping[str, Judgment], bench: Bench
) -> Iterator[dict[str, Any]]:
    """A row per repeat: of one reply, or of two in both orders."""
    for repeat in range(bench.repeats):
        asked = [bench.rollout_id(prompts[content], repeat) for content in subject.orders]
        judgments = [said[rollout_id] for rollout_id in asked]
        found = judgments[0] if subject.beside is None else judging.both_orders(*judgments)
        yield {"subject_kind": "rollout", "subject_id": subject.rollout_id, "other_id": subject.other_id,
               "scorer": judging.SCORER, "version": bench.version, "repeat": repeat, "status": found.status,
               "value": found.value, "judge_rollout_id": asked[0], "detail": found.detail}  # fmt: skip


def _report(ctx: Context, config: JudgeConfig, crop: Crop, made: Sequence[Manifest]) -> Manifest:
    """Table `measures`: what the round's judgments are worth."""

    def build() -> Built:
        rows = reply.answered(ctx.store.read("rollouts", crop.rollouts, ["rollout_id", *reply.COLUMNS]))
        lengths = dict(zip(rows["rollout_id"].to_pylist(), pc.utf8_length(rows["text"]).fill_null(0).to_pylist(), strict=True))
        verdicts = ctx.store.read("scores", crop.scores, ["subject_id", "status", "scorer"])
        table = judged.report(ctx.store.read("scores", made), verdicts, lengths, config, iteration=crop.iteration)
        return Built({"measures": table}, Counts(table.num_rows, table.num_rows))

    inputs = [*made, *crop.rollouts, *crop.scores]
    wanted = key("judged", crop.iteration, crop.purpose, config={"kind": config.kind}, inputs=inputs)
    return run_stage(ctx.store, wanted, build)


def _check(ctx: Context, config: JudgeConfig, iteration: int, report: Manifest, made: Sequence[Manifest]) -> None:
    """Raise Stopped where the judge mostly does not do what it was asked for; say so where it is a tenth."""
    found = judged.abstained(ctx.store.read("measures", [report]))
    if found is None or found[0] <= _TOLD:
        return
    said = f"round {iteration}: {found[0]:.0%} of {found[1]} judgments are off format, for example {_example(ctx, made)!r}"
    if found[1] >= _FEW and found[0] > config.max_abstained:
        raise Stopped(said, "mend judge.prompt or raise judge.max_tokens, take a larger model, or raise judge.max_abstained")
    ctx.progress.say(said)


def _example(ctx: Context, made: Sequence[Manifest]) -> str:
    scores = ctx.store.read("scores", made, ["judge_rollout_id", "detail"])
    off = pc.unique(scores.filter(pc.equal(scores["detail"], "off format"))["judge_rollout_id"])
    rows = reply.answered(ctx.store.read("rollouts", made, columns=["rollout_id", *reply.COLUMNS]))
    texts = rows.filter(pc.is_in(rows["rollout_id"], value_set=off))["text"].to_pylist()
    return max(texts, key=texts.count)[:60] if texts else ""
