"""Rejection-sampling fine-tuning (arXiv 2308.01825): cross-entropy over the sampled tokens of kept rollouts.

The end-of-turn id is one of the sampled tokens and is trained like any other. The caller divides by the number of loss tokens
of the whole optimizer step, so that cutting a step into micro-batches or over devices does not change it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


def loss_sum(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Σ weight · −log p(target), in float32 nats. logits: [n, vocabulary]; targets, weights: [n]."""
    from torch.nn.functional import cross_entropy

    return (cross_entropy(logits.float(), targets, reduction="none") * weights).sum()


def step_loss(logits: Tensor, batch: Mapping[str, Tensor]) -> tuple[Tensor, None]:
    """`loss_sum` of a micro-batch (sft/training/collate.py); nothing else is measured."""
    return loss_sum(logits, batch["targets"], batch["weights"]), None
