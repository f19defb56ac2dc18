"""What rows must be before NFT may train on them: groups of one policy and one sampling, exact ids, labels that fit the rates.

It knows the dataset's columns (sft/data/examples.py), not models. Ratios to the wrong policy and labels in the wrong domain
train without any error and spoil the model, so everything that a table can show is refused here, before a process is started.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratoon.columns import codes_of, numbers
from ratoon.errors import DataError, TrainError
from ratoon.sft.training.job import NftConfig, TrainConfig

_NEEDED = ("group_id", "prompt_token_ids", "token_ids", "loss_mask", "label", "pass_rate", "n", "temperature", "weight")
_SIGNED = ("policy_id", "logprobs")  # what shows that the policy in training sampled a row
_SAME = ("policy_id", "sampling_id", "temperature", "n", "pass_rate", "label_source")
_ZERO = 1e-4  # engines round log-probs of nearly certain tokens to just above 0


def check_rows(rows: pa.Table, config: TrainConfig) -> None:
    """Raise DataError unless NFT can train on rows of `examples.ROWS` (more columns are fine; `label` may be 0 and 1).

    Rows of groups that are all right or all wrong are no error as long as one group is mixed: `mixed` leaves them out.
    """
    _check_present(rows, config.nft)
    _check_tokens(rows)
    labels = labels_of(rows)
    rate, n = (numbers(rows[name]) for name in ("pass_rate", "n"))
    _refuse(rows, ~((rate >= 0) & (rate <= 1)), "have a pass rate outside [0, 1]", "pass rates are shares of right answers")
    _refuse(rows, (labels & (rate == 0)) | (~labels & (rate == 1)), "have a label that their pass rate rules out", _RATE_HINT)
    for name in ("temperature", "weight"):
        values = numbers(rows[name])
        _refuse(rows, ~np.isfinite(values) | (values < 0), f"have a {name} that is negative or not finite", f"mend {name}")
    greedy = numbers(rows["temperature"]) == 0
    _refuse(rows, greedy, "were sampled at temperature 0", "sample at temperature 1: greedy choice has no probabilities")
    _check_groups(rows)
    _check_rates(rows, labels, rate, n)
    if not ((rate > 0) & (rate < 1)).any():
        raise DataError(
            f"each of the {_count(rows)} groups is all right or all wrong, so NFT has nothing to tell apart",
            "take tasks the policy solves sometimes, more rollouts a task (generate.n), or method rft",
        )


_RATE_HINT = "the pass rate is that of the whole group, before any filter, by the verifier that gave the labels"


def check_policy(rows: pa.Table, start_policy_id: str) -> None:
    """Raise TrainError when a row names another policy than the one training starts from."""
    others = sorted(set(rows["policy_id"].drop_null().to_pylist()) - {start_policy_id})
    if others:
        raise TrainError(
            f"rows were sampled by {', '.join(others)}, and training starts from {start_policy_id}: NFT's ratio is to the "
            "policy that sampled",
            'start from that policy: train.start = "last" with train.data = "this", or its folder as --model',
        )


def labels_of(rows: pa.Table) -> np.ndarray:
    """`label` as bool. Raises DataError on null and on anything but true, false, 0 and 1."""
    column = rows["label"]
    if not pa.types.is_boolean(column.type):
        values = np.array([_number(v) for v in column.to_pylist()])
        _refuse(
            rows, (values != 0) & (values != 1), "have a label other than 0 and 1", "labels of -1 and 1: take (label + 1) / 2"
        )
        return np.asarray(values == 1)
    return np.asarray(column.to_numpy(zero_copy_only=False), bool)


def mixed(rows: pa.Table) -> pa.Table:
    """The rows of groups with a pass rate strictly between 0 and 1."""
    return rows.filter(pc.and_(pc.greater(rows["pass_rate"], 0), pc.less(rows["pass_rate"], 1)))


def without(rows: pa.Table, keep: np.ndarray) -> pa.Table:
    """The rows that `keep` (bool per row) leaves, their weights raised so that each group's pushes still sum to 0 at the start.

    A group's kept right rows weigh together what all its right rows weighed, and so do its wrong ones; a group that loses all
    of one side is left out whole.
    """
    weight, kept = reweight(rows, keep)
    at = rows.schema.get_field_index("weight")
    return rows.set_column(at, rows.schema.field(at), pa.array(weight, rows.schema.field(at).type)).filter(pa.array(kept))


def reweight(rows: pa.Table, keep: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The weights of `without`, and which rows it leaves."""
    groups = codes_of(rows["group_id"], null_is_a_value=True)
    side = 2 * groups + labels_of(rows)
    weight = numbers(rows["weight"])
    before = np.bincount(side, weight, minlength=2 * (groups.max(initial=0) + 1))
    after = np.bincount(side, weight * keep, minlength=len(before))
    lost = ((before > 0) & (after == 0)).reshape(-1, 2).any(axis=1)
    factor = np.divide(before, after, out=np.ones_like(before), where=after > 0)
    return weight * factor[side], keep & ~lost[groups]


def _check_present(rows: pa.Table, config: NftConfig) -> None:
    for name in (*_NEEDED, *_SIGNED):
        if name not in rows.column_names:
            raise DataError(
                f"the rows have no column {name!r}", "NFT needs the columns of a dataset folder: docs/datasets-and-training.md"
            )
        required = name in _NEEDED or not config.assume_on_policy
        if required and rows[name].null_count:
            _refuse(rows, rows[name].is_null().to_numpy(), f"have no {name}", _MISSING.get(name, _MEND))


_MEND = "leave such rows out of the dataset, or fill the column in"
_MISSING = {
    "logprobs": "sample with an engine that gives them; if this very model sampled them: train.nft.assume_on_policy = true",
    "policy_id": "if this very model sampled them, train.nft.assume_on_policy = true",
    "label": "rollouts that no verifier could judge belong to no group",
    "pass_rate": _RATE_HINT,
    "token_ids": "sample with an engine that returns token ids",
}


def _check_tokens(rows: pa.Table) -> None:
    lengths = {
        name: pc.fill_null(pc.list_value_length(_lists(rows, name)), -1).to_numpy()
        for name in ("prompt_token_ids", "token_ids", "loss_mask", "logprobs")
    }
    for name in ("loss_mask", "logprobs"):
        unlike = (lengths[name] >= 0) & (lengths[name] != lengths["token_ids"])
        _refuse(
            rows,
            unlike,
            f"have another number of {name} than of token_ids",
            "one per sampled token, as the engine returned them",
        )
    _refuse(rows, lengths["token_ids"] == 0, "have no sampled token", _MEND)
    _refuse(rows, lengths["prompt_token_ids"] == 0, "have an empty prompt", "nothing predicts the first token of a reply then")
    mask, owner = _flat(rows, "loss_mask")
    _refuse(
        rows,
        _any(owner, ~np.isin(mask, (0, 1)), rows),
        "have a loss_mask other than 0 and 1",
        "1 on the tokens the policy sampled",
    )
    values, owner = _flat(rows, "logprobs")
    _refuse(rows, _any(owner, ~np.isfinite(values), rows), "have a log-prob that is null, NaN or infinite", _MEND)
    _refuse(
        rows,
        _any(owner, values > _ZERO, rows),
        "have a log-prob above 0",
        "natural logs of probabilities, as the engine gave them",
    )


def _check_groups(rows: pa.Table) -> None:
    groups = codes_of(rows["group_id"], null_is_a_value=True)
    for name in (*(n for n in _SAME if n in rows.column_names), "prompt_token_ids"):
        codes = codes_of(rows[name] if name != "prompt_token_ids" else _as_bytes(rows[name]), null_is_a_value=True)
        first = np.zeros(groups.max(initial=0) + 1, np.int64)
        first[groups[::-1]] = codes[::-1]
        unlike = codes != first[groups]
        if unlike.any():
            group = rows["group_id"][int(np.argmax(unlike))].as_py()
            raise DataError(
                f"group {group} and {len(set(groups[unlike])) - 1} others hold rows of unlike {name}",
                "a group is one prompt asked of one policy with one sampling: make group_id tell them apart",
            )


def _check_rates(rows: pa.Table, labels: np.ndarray, rate: np.ndarray, n: np.ndarray) -> None:
    """In groups that are here as a whole the labels must give the pass rate."""
    groups = codes_of(rows["group_id"], null_is_a_value=True)
    whole = np.bincount(groups)[groups] == n
    share = (np.bincount(groups, labels) / np.maximum(np.bincount(groups), 1))[groups]
    _refuse(
        rows,
        whole & (np.abs(share - rate) > 0.5 / np.maximum(n, 1)),
        "are in a group whose labels give another pass rate",
        _RATE_HINT,
    )


def _refuse(rows: pa.Table, bad: np.ndarray, what: str, hint: str) -> None:
    if bad.any():
        ids = rows["example_id" if "example_id" in rows.column_names else "group_id"]
        raise DataError(f"{int(bad.sum())} of {len(bad)} rows {what}, such as {ids[int(np.argmax(bad))].as_py()}", hint)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")


def _flat(rows: pa.Table, name: str) -> tuple[np.ndarray, np.ndarray]:
    """All list items of a column and the row each belongs to; null items are NaN."""
    column = _lists(rows, name)
    items, owner = pc.list_flatten(column), pc.list_parent_indices(column)
    return items.cast(pa.float64()).to_numpy(zero_copy_only=False), owner.to_numpy()


def _lists(rows: pa.Table, name: str) -> pa.Array:
    column = rows[name].combine_chunks()
    return column.cast(pa.list_(pa.float64())) if pa.types.is_null(column.type) else column  # nothing but nulls


def _as_bytes(lists: pa.ChunkedArray) -> pa.Array:
    """Each list's items as bytes: what a dictionary can hold."""
    column = lists.combine_chunks()
    items, cuts = column.flatten().to_numpy(zero_copy_only=False), np.cumsum(pc.list_value_length(column).to_numpy())
    return pa.array([part.tobytes() for part in np.split(items, cuts[:-1])], pa.binary())


def _any(owner: np.ndarray, bad: np.ndarray, rows: pa.Table) -> np.ndarray:
    return np.asarray(np.bincount(owner[bad], minlength=rows.num_rows) > 0)


def _count(rows: pa.Table) -> int:
    return int(pc.count_distinct(rows["group_id"]).as_py())
