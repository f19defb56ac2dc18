"""Old log-probs by the trainer's own kernels, before anything is trained; the engine's stand beside them, never in the ratio.

They are those of the weights that sampled: the policy's own files, not the float32 master that training starts from.

Engine and trainer round differently, so a ratio to the engine's log-probs is off before the first step. A large gap between the
two means that other weights, another temperature or other ids made the row: such rows are dropped, with a reason. Rows of
earlier rounds, where `train.nft.max_staleness` lets them in, keep the engine's log-probs: their policy is no longer loaded.
Imported only in the training process.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

# ruff: noqa: TID253 - this module is imported only where training runs
import torch

from ratoon import schema
from ratoon.errors import TrainError
from ratoon.sft.training import nft_rows
from ratoon.sft.training.callbacks import RECORDS
from ratoon.sft.training.collate import Encoded, collate, micro_batches, packed, packs
from ratoon.sft.training.forward import TrainedLogits, autocast
from ratoon.sft.training.job import Job
from ratoon.sft.training.nft_step import token_logprobs

RESCORED, FAILURES = RECORDS
STAGE = "train"
_MAX_DROPPED = 0.5  # beyond this share it is no stray row: the log-probs are of another policy


class Rescored(NamedTuple):
    """The rows left to train on, the old log-probs of all completion tokens of each, and the gap to the engine's.

    `gap` is the mean |trainer - engine| over trained tokens in nats, NaN where no row carries the engine's.
    """

    rows: pa.Table
    logprobs: list[np.ndarray]
    gap: float
    dropped: int


def rescore(job: Job, load_sampler: Callable[[], torch.nn.Module], rows: pa.Table) -> Rescored:
    """Old log-probs of `rows` under the policy that sampled them; a resume reads them from the work folder.

    The sampler is loaded where it is needed and let go before the trainer's own weights come. Writes tables `rescored` and
    `failures` there. Raises TrainError when most rows are beyond `train.nft.max_logprob_gap`.
    """
    import accelerate

    work, state = Path(job.work), accelerate.PartialState(cpu=not torch.cuda.is_available())
    if not (work / RESCORED).exists():
        scored = _scored(job, load_sampler(), rows, state)
        if state.is_main_process:
            _write(work / RESCORED, _table(job, rows, scored, state.device))
        state.wait_for_everyone()
    stored = pq.read_table(work / RESCORED, schema=schema.TABLES["rescored"])
    by_id = dict(zip(stored["rollout_id"].to_pylist(), stored["logprobs"], strict=True))
    own = [by_id[i].values.to_numpy(zero_copy_only=False) for i in rows["rollout_id"].to_pylist()]
    result, failures = _judged(job, rows, own)
    if state.is_main_process:
        _write(work / FAILURES, failures)
    return result


def _scored(job: Job, model: torch.nn.Module, rows: pa.Table, state: Any) -> list[np.ndarray]:
    """Log-probs of every completion token, row by row; every process does its share."""
    from accelerate.utils import gather_object

    config, whole = job.config, _whole(rows)
    cut, joined = (packs, packed) if config.packing else (micro_batches, collate)  # as training goes through them
    groups = cut([len(example.ids) for example in whole], config.micro_batch_tokens)
    temperatures = rows["temperature"].to_pylist()
    # Under FSDP only the main process may have loaded the weights; the others get theirs when the trainer shards them.
    sharers = 1 if os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true" else state.num_processes
    share = groups[state.process_index :: sharers] if state.process_index < sharers else []
    model.to(state.device).eval()
    forward = TrainedLogits(model, bf16_autocast=config.bf16)
    mine: list[tuple[int, np.ndarray]] = []
    with torch.no_grad():
        for group in share:
            batch = {name: tensor.to(state.device) for name, tensor in joined([whole[i] for i in group]).items()}
            lengths = [int(whole[i].trained.sum()) for i in group]
            spread = torch.repeat_interleave(torch.tensor([temperatures[i] for i in group]), torch.tensor(lengths))
            found = token_logprobs(forward(model, batch), batch["targets"], spread.to(state.device, torch.float32))
            mine += zip(group, np.split(found.float().cpu().numpy(), np.cumsum(lengths)[:-1]), strict=True)
    forward.remove()
    return [values for _, values in sorted(gather_object(mine), key=lambda pair: pair[0])]


def _whole(rows: pa.Table) -> list[Encoded]:
    """The rows with every completion token marked, those that a loss mask takes out too."""
    pairs = zip(*(rows[name].to_pylist() for name in ("example_id", "prompt_token_ids", "token_ids")), strict=True)
    return [
        Encoded(name, np.array(prompt + sampled, np.int64), np.arange(len(prompt) + len(sampled)) >= len(prompt), 1.0)
        for name, prompt, sampled in pairs
    ]


def _table(job: Job, rows: pa.Table, scored: list[np.ndarray], device: torch.device) -> pa.Table:
    dtype = "bfloat16" if autocast(device, job.config.bf16) else "float32"
    columns = {
        "rollout_id": rows["rollout_id"], "policy_id": [job.parent_policy_id] * rows.num_rows,
        "source": ["trainer"] * rows.num_rows, "temperature": rows["temperature"],
        "dtype": [dtype] * rows.num_rows, "logprobs": [list(v) for v in scored],
    }  # fmt: skip
    return schema.from_columns("rescored", columns)


def _stale(job: Job, rows: pa.Table) -> list[bool]:
    """Whether each row is of a round before the one whose sampler training starts from."""
    return [iteration is not None and iteration < job.iteration for iteration in rows["iteration"].to_pylist()]


def _behaviour(job: Job, rows: pa.Table, own: list[np.ndarray]) -> list[np.ndarray]:
    """The log-probs of the policy that sampled each row."""
    engine = rows["logprobs"].to_pylist()
    stale = _stale(job, rows)
    return [np.array(e, np.float32) if s and e is not None else o for o, e, s in zip(own, engine, stale, strict=True)]


def _judged(job: Job, rows: pa.Table, own: list[np.ndarray]) -> tuple[Rescored, pa.Table]:
    """Rows within the bound and what they weigh, and a failure row for every other."""
    limit, sums, tokens = job.config.nft.max_logprob_gap, *_gaps(job, rows, own)
    gaps = np.divide(sums, tokens, out=np.full(len(sums), math.nan), where=tokens > 0)
    near = ~(gaps > limit)
    if (~near).mean() > _MAX_DROPPED:
        raise TrainError(
            f"the log-probs of {int((~near).sum())} of {len(near)} rows are more than {limit} nats a token from this model's "
            f"(mean {np.nanmean(gaps):.2f}): another policy, another temperature, or log-probs before temperature",
            "train the policy that sampled the rows, with processed log-probs; train.nft.max_logprob_gap is the bound",
        )
    _, kept = nft_rows.reweight(rows, near)
    left = nft_rows.without(rows, near)
    old = _behaviour(job, rows, own)
    overall = sums.sum() / tokens.sum() if tokens.sum() else math.nan
    failures = schema.from_rows("failures", _reasons(rows, near, kept, gaps, limit))
    return Rescored(left, [v for v, k in zip(old, kept, strict=True) if k], float(overall), int((~kept).sum())), failures


def _gaps(job: Job, rows: pa.Table, own: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Per row Σ |trainer − engine| over its trained tokens, and how many those are; 0 tokens where there is no telling."""
    sums, tokens = np.zeros(rows.num_rows), np.zeros(rows.num_rows)
    columns = zip(rows["logprobs"].to_pylist(), rows["loss_mask"].to_pylist(), _stale(job, rows), strict=True)
    for i, (engine, mask, stale) in enumerate(columns):
        if engine is not None and not stale:
            trained = np.array(mask, bool)
            sums[i], tokens[i] = np.abs(own[i] - np.array(engine, np.float32))[trained].sum(), trained.sum()
    return sums, tokens


def _reasons(rows: pa.Table, near: np.ndarray, kept: np.ndarray, gaps: np.ndarray, limit: float) -> list[dict[str, Any]]:
    told = []
    for i, name in enumerate(rows["rollout_id"].to_pylist()):
        if kept[i]:
            continue
        lost = "the rest of its group was dropped on the right or the wrong side"
        far = f"engine and trainer differ by {gaps[i]:.3f} nats a token; train.nft.max_logprob_gap is {limit}"
        kind, message = ("GroupIncomplete", lost) if near[i] else ("LogprobGap", far)
        told.append({"stage": STAGE, "subject_id": name, "attempt": 0, "error_class": kind, "message": message})
    return told


def _write(path: Path, table: pa.Table) -> None:
    temporary = path.with_name(f".{path.name}")
    pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)
    temporary.rename(path)
