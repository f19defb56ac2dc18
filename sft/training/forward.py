"""One forward pass of a micro-batch: logits only where a token is trained, in the numbers that training uses.

The head over SmolLM2's 49k vocabulary costs as much as all layers below it, so positions are chosen before it. Training and the
rescoring of old log-probs both go through here: same autocast, same attention, same selection. Imported only in the training
process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

# ruff: noqa: TID253 - this module is imported only where training runs
import torch
from torch import Tensor, nn

from ratoon.errors import TrainError
from ratoon.machine import processor
from ratoon.sft.training.collate import Encoded, collate, packed

_SAME = 1e-3  # log-probs of a packed example and of the same one alone, in float32


def autocast(device: torch.device, wanted: bool) -> bool:
    """Whether a forward pass on `device` is in bfloat16: where that is `wanted`, and a CPU need not emulate it."""
    return wanted and (device.type != "cpu" or processor.computes_bfloat16())


class TrainedLogits:
    """Calls a model for the logits at a micro-batch's `positions`; `remove` takes the hook out of the model again."""

    def __init__(self, model: nn.Module, *, bf16_autocast: bool) -> None:
        self._bf16, self._positions = bf16_autocast, None
        self._hook = model.get_output_embeddings().register_forward_pre_hook(self._only_trained)

    def __call__(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        """[n, vocabulary] for the n true positions of `batch` (sft/training/collate.py), in row-major order."""
        self._positions = batch["positions"]
        ids = batch["input_ids"]
        shape = {name: batch[name] for name in ("attention_mask", "position_ids") if name in batch}
        try:
            with torch.autocast(ids.device.type, dtype=torch.bfloat16, enabled=autocast(ids.device, self._bf16)):
                logits: Tensor = model(input_ids=ids, use_cache=False, **shape).logits
        finally:
            self._positions = None
        return logits

    def remove(self) -> None:
        self._hook.remove()

    def _only_trained(self, _head: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        """[B, T, H] → [n, H] before the head, while a micro-batch says which positions are trained."""
        return None if self._positions is None else (inputs[0][self._positions],)


def check_packing(model: nn.Module, examples: Sequence[Encoded]) -> None:
    """Raise TrainError where `model` computes an example otherwise when another is packed before it.

    Tried on the two shortest examples: which attention, positions and states keep examples apart no config says.
    """
    short = sorted(examples, key=lambda example: len(example.ids))[:2]
    short = [example._replace(trained=np.arange(len(example.ids)) > 0) for example in short]
    training, forward = model.training, TrainedLogits(model, bf16_autocast=False)
    model.eval()
    with torch.no_grad():
        apart, together = (forward(model, make(short)).float().log_softmax(-1) for make in (collate, packed))
    forward.remove()
    model.train(training)
    off = float((apart - together).abs().max())
    if not off < _SAME:
        raise TrainError(
            f"{type(model).__name__} does not keep packed examples apart: log-probs differ by {off:.2g} nats from those alone",
            "set train.packing = false; or name another kernel in train.attention",
        )
