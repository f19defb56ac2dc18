"""How much a model likes its own replies: sums of log-probs; knows no threshold and no selection.

The self-rewards of "Self-Improvement in Language Models: The Sharpening Mechanism" (2412.01951): the log-probability of the
reply, summed or per token. They are numbers about replies as sampled, and they add no information to the model.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa


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
