"""Which rows one training job sees: the rounds' datasets mixed, the usable rows of their train split, enough of them.

No torch here, so that the gate on too few examples closes before a training process is started.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from ratoon.errors import Stopped, TrainError
from ratoon.sft.data import dataset
from ratoon.sft.models import base_models, policy
from ratoon.sft.training import collate, nft_gate, nft_rows
from ratoon.sft.training.job import Job, replay_share

_VIEWS = {"rft": "sft", "nft": "group"}


class Selection(NamedTuple):
    """The rows to train on, in the order of example_id; how many were too long, and how many hold no token to train.

    `held_out` are rows of other problems, on which training is measured.
    """

    rows: pa.Table
    skipped: int
    untrained: int
    held_out: pa.Table


def training_rows(job: Job) -> Selection:
    """The job's rows; of NFT's, groups that are all right or all wrong are left out.

    Raises TrainError when they carry no token ids or another policy sampled them, DataError on what `nft_rows` refuses,
    Stopped when there are fewer than `min_examples`.
    """
    tables = [_usable(dataset.read_dataset(Path(folder), split="train"), job.method) for folder in job.datasets]
    rows = dataset.mix(tables, replay_share(job.config.data), job.seed).sort_by("example_id")
    if rows["token_ids"].null_count or rows["prompt_token_ids"].null_count:
        raise TrainError(
            "the dataset carries no token ids, so nothing can be trained on it exactly as it was sampled",
            "its rollouts came from an endpoint that gives text only: sample with an engine that returns token ids",
        )
    if job.method == "nft":
        rows = _fit_for_nft(rows, job)
    short = _without(rows, _is_short(rows, job), job)
    kept = _without(short, _is_trained(short), job)
    held_out = _held_out(kept, job.config.holdout, job.seed)
    found = Selection(
        kept.filter(pc.invert(held_out)), rows.num_rows - short.num_rows, short.num_rows - kept.num_rows, kept.filter(held_out)
    )
    if found.rows.num_rows < job.config.min_examples:
        raise Stopped(_too_few(found, job), "lower train.min_examples or loosen the filters, or sample more")
    return found


def _held_out(rows: pa.Table, share: float, seed: int) -> pa.Array:
    """Whether each row is of a problem held out: the first of all problems by hash, at least one where any share is wanted."""
    tasks, examples = rows["task_id"].to_pylist(), rows["example_id"].to_pylist()
    names = [task or example for task, example in zip(tasks, examples, strict=True)]
    problems = sorted(set(names), key=lambda name: collate.rank(seed, "held out", name))
    chosen = set(problems[: max(1, round(share * len(problems)))]) if share else set()
    return pa.array([name in chosen for name in names], pa.bool_())


def _fit_for_nft(rows: pa.Table, job: Job) -> pa.Table:
    """Mixed groups of policies near enough to the start; refused when anything about them is not what NFT's loss holds for."""
    infos = [dataset.read_info(Path(folder)) for folder in job.datasets]
    if not rows.num_rows and any(sum(info.splits.values()) for info in infos):
        raise TrainError(
            f"dataset {infos[-1].name}/{infos[-1].iteration} holds no groups: it was curated for rft",
            "ratoon curate RUN --set train.method=nft --name groups, then train with --name groups",
        )
    stale, found = job.config.nft.max_staleness, rows.num_rows
    rows = rows.filter(pc.less_equal(pc.subtract(job.iteration, pc.fill_null(rows["iteration"], job.iteration)), stale))
    if found and not rows.num_rows:
        raise TrainError(
            f"each of the {found} rows was sampled more than {stale} policies before the one training starts from",
            'train on what it sampled: train.data = "this"; or allow more in train.nft.max_staleness',
        )
    if rows.num_rows:
        nft_rows.check_rows(rows, job.config)
        sampled_by = set(rows["policy_id"].to_pylist())
        sources = [_only(info.sources, sampled_by) for info in infos]
        nft_gate.check(job, sources)
        known = pa.array([p["policy_id"] for source in sources for p in source["policies"]], pa.string())
        nft_rows.check_policy(rows.filter(pc.invert(pc.is_in(rows["policy_id"], value_set=known))), job.parent_policy_id)
        rows = nft_rows.mixed(rows)
    return rows


def _only(sources: Mapping[str, Any], policies: set[str]) -> dict[str, Any]:
    """The sources without the policies whose rows are left out."""
    return dict(sources) | {"policies": [p for p in sources.get("policies", ()) if p["policy_id"] in policies]}


def longest(job: Job) -> int:
    """Tokens an example may have: `train.max_length`, or the positions of the model where they are fewer."""
    return min(job.config.max_length, base_models.positions(_model_folder(job)) or job.config.max_length)


def _model_folder(job: Job) -> Path:
    return Path(job.base if policy.is_adapter(Path(job.start)) else job.start)


def _is_short(rows: pa.Table, job: Job) -> pa.Array:
    length = pc.add(pc.list_value_length(rows["prompt_token_ids"]), pc.list_value_length(rows["token_ids"]))
    return pc.less_equal(length, longest(job))


def _is_trained(rows: pa.Table) -> pa.Array:
    """Whether a row holds a token that is learned: an empty reply, or one that is masked whole, has no loss."""
    sizes = zip(rows["prompt_token_ids"].to_pylist(), rows["token_ids"].to_pylist(), rows["loss_mask"].to_pylist(), strict=True)
    return pa.array([collate.has_loss(prompt, sampled, mask) for prompt, sampled, mask in sizes], pa.bool_())


def _without(rows: pa.Table, wanted: pa.Array, job: Job) -> pa.Table:
    """The wanted rows; of NFT's, whole sides of a group go with one of theirs."""
    return nft_rows.without(rows, wanted.to_numpy(False)) if job.method == "nft" and rows.num_rows else rows.filter(wanted)


def _usable(rows: pa.Table, method: str) -> pa.Table:
    """Rows of the method's view that weigh something."""
    return rows.filter(pc.and_(pc.equal(rows["view"], _VIEWS[method]), pc.greater(rows["weight"], 0)))


def _too_few(found: Selection, job: Job) -> str:
    where = "train.max_length" if longest(job) == job.config.max_length else "the positions of the model"
    held = f"; {found.held_out.num_rows} more are held out by train.holdout" if found.held_out.num_rows else ""
    long = f"; {found.skipped} more are longer than {where}, {longest(job)}" if found.skipped else ""
    empty = f"; {found.untrained} more hold no token to train on" if found.untrained else ""
    least = f"train.min_examples is {job.config.min_examples}"
    return f"iteration {job.iteration} has {found.rows.num_rows} examples{held}{long}{empty}; {least}"
