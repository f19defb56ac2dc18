"""Weights written in fewer bits: to the nearest number of the type, or up or down by chance so that the mean is right.

Rounding to the nearest takes every step smaller than half a spacing. Stochastic rounding writes such a step with a probability
of its share of the spacing: summed over a model's weights all of it is there, at the price of noise. A weight's draw depends
on its tensor's name alone, so that two policies of one line are rounded alike, and what differs between them was learned.
Imported only where training runs.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

# ruff: noqa: TID253 - this module is imported only where training runs
import torch
from torch import Tensor

from ratoon.errors import TrainError
from ratoon.sft.training.job import Rounding

# A tensor's name and its float32 values → the same in the written type.
Cast = Callable[[str, Tensor], Tensor]
_DROPPED_BITS = {torch.bfloat16: 16, torch.float16: 13}  # of float32's 23 bits of fraction


def cast_to(dtype: torch.dtype, rounding: Rounding = "nearest") -> Cast:
    """How weights become `dtype`. The cast raises TrainError where a weight is beyond what the type holds."""
    bits = _DROPPED_BITS.get(dtype) if rounding == "stochastic" else None

    def cast(name: str, values: Tensor) -> Tensor:
        exact = values.detach()
        written = (exact if bits is None else stochastic(name, exact, bits)).to(dtype)
        if dtype == torch.float16 and not bool(written.isfinite().all()):
            raise TrainError(
                f"a weight of {name} is {float(exact.abs().max()):g}, and float16 holds no more than 65504",
                'write another type: train.save_dtype = "bfloat16" or "float32"',
            )
        return written

    return cast


def stochastic(name: str, values: Tensor, bits: int) -> Tensor:
    """float32 `values` with the last `bits` of the fraction cleared, upwards in size with the probability of what they held."""
    seed = int.from_bytes(blake2b(name.encode(), digest_size=7).digest(), "big")
    draw = torch.Generator().manual_seed(seed)
    noise = torch.randint(0, 1 << bits, values.shape, generator=draw, dtype=torch.int32)
    raised = values.float().cpu().contiguous().view(torch.int32) + noise  # a carry reaches the exponent, as it should
    return (raised & -(1 << bits)).view(torch.float32)
