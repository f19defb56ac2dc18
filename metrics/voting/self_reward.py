"""How much a model likes its own replies: sums of log-probs; knows no threshold and no selection.

The self-rewards of "Self-Improvement in Language Models: The Sharpening Mechanism" (2412.01951): the log-probability of the
reply, summed or per token. They are numbers about replies as sampled, and they add no information to the model.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def list_sums(lists: pa.ChunkedArray) -> pa.Array:
    """The sum of each list of numbers as float64; null for null, 0 for an empty one."""
    whole = lists.combine_chunks() if isinstance(lists, pa.ChunkedArray) else lists
    flat = whole.flatten().to_numpy(zero_copy_only=False).astype(np.float64)
    lengths = whole.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    some = lengths > 0
    sums = np.zeros(len(lengths))
    if some.any():
        # Each list by itself: a running total would hang on the rows before it.
        sums[some] = np.add.reduceat(flat, (np.cumsum(lengths) - lengths)[some])
    return pa.array(sums, mask=whole.is_null().to_numpy(zero_copy_only=False))


def trained_tokens(token_ids: pa.ChunkedArray, loss_mask: pa.ChunkedArray) -> pa.ChunkedArray:
    """How many ids of each reply its policy sampled: all of them where it has no mask; null where it has no ids."""
    lengths = pc.list_value_length(token_ids)
    sampled = pa.chunked_array([list_sums(loss_mask).cast(pa.int32())])
    return pc.if_else(pc.or_(pc.is_null(token_ids), pc.is_null(loss_mask)), lengths, sampled)


def trained_logprobs(logprobs: pa.ChunkedArray, loss_mask: pa.ChunkedArray) -> pa.Array:
    """The summed log-probs of the ids that its policy sampled, per reply: all where it has no mask, null without log-probs."""
    whole, mask = (c.combine_chunks() if isinstance(c, pa.ChunkedArray) else c for c in (logprobs, loss_mask))
    own = pc.and_(whole.is_valid(), mask.is_valid())
    if not pc.any(own).as_py():
        return list_sums(whole)
    lengths = whole.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    ones = np.ones(int(lengths.sum()), np.float64)
    at = np.repeat(own.to_numpy(zero_copy_only=False), lengths)
    ones[at] = mask.filter(own).flatten().to_numpy(zero_copy_only=False)
    weighed = whole.flatten().to_numpy(zero_copy_only=False).astype(np.float64) * ones
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    return list_sums(pa.ListArray.from_arrays(offsets, pa.array(weighed), mask=whole.is_null()))
