"""The NFT loss of one micro-batch of a training step, and what a step measures: how far the policy has moved from the old one.

The loss itself is sft/nft.py; here logits become log-probs at the sampling temperature. Imported only in the training process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

# ruff: noqa: TID253 - this module is imported only where training runs
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ratoon.sft.job import NftConfig
from ratoon.sft.nft import token_losses

_ROWS_AT_ONCE = 256  # of logits, while entropy is taken: a vocabulary's probabilities are large
_MAX_LOG_RATIO = 10.0  # in the means reported


def token_logprobs(logits: Tensor, targets: Tensor, temperature: Tensor) -> Tensor:
    """log p(target) at each row's temperature, float32. logits: [n, vocabulary]; targets, temperature: [n]."""
    return -cross_entropy(logits / temperature[:, None], targets, reduction="none")


def step_loss(config: NftConfig) -> Callable[[Tensor, Mapping[str, Tensor]], tuple[Tensor, Tensor]]:
    """The loss of a micro-batch: (logits, batch) → (summed weighted loss, the sums that `measured` reads)."""

    def loss(logits: Tensor, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        delta = token_logprobs(logits, batch["targets"], batch["temperature"]) - batch["old"]
        losses = token_losses(
            delta, batch["right"], batch["pass_rate"], prompt_weight=config.prompt_weight,
            negative_clip=config.negative_clip, negative_weight=config.negative_weight,
        )  # fmt: skip
        return (losses * batch["weights"]).sum(), _sums(logits.detach(), delta.detach(), batch)

    return loss


@torch.no_grad()
def _sums(logits: Tensor, delta: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
    """Sums over the micro-batch: tokens, R, R − 1 − log R, entropy, wrong tokens, those with r·R ≥ 1, sequences, right ones."""
    counted = (batch["weights"] > 0).float()
    log_ratio = delta.clamp(max=_MAX_LOG_RATIO)
    ratio = log_ratio.exp()
    wrong, entropy = counted * ~batch["right"], _entropy(logits, batch["temperature"])
    parts = [
        counted.sum(), (counted * ratio).sum(), (counted * (ratio - 1 - log_ratio)).sum(), (counted * entropy).sum(),
        wrong.sum(), (wrong * (batch["pass_rate"] * ratio >= 1)).sum(), *batch["sequences"].float(),
    ]  # fmt: skip
    return torch.stack(parts)


def _entropy(logits: Tensor, temperature: Tensor) -> Tensor:
    """The entropy of each row's distribution in nats; a block of rows at a time."""
    found = []
    for rows, t in zip(logits.split(_ROWS_AT_ONCE), temperature.split(_ROWS_AT_ONCE), strict=True):
        logp = (rows / t[:, None]).log_softmax(-1)
        found.append(-(logp.exp() * logp).sum(-1))
    return torch.cat(found)


def measured(sums: Tensor) -> dict[str, float]:
    """What a step measured, from its sums over micro-batches and devices.

    ratio: mean of new / old over the trained tokens. kl: KL(old ‖ new) in nats per token, by mean R − 1 − log R.
    entropy: nats per token. clip_fraction: the share of wrong tokens with pass rate x ratio ≥ 1, where the implicit negative
    policy has run out; absent without wrong tokens. positives: the share of right sequences.
    """
    tokens, ratio, kl, entropy, wrong, clipped, sequences, right = sums.tolist()
    found = {"ratio": ratio / tokens, "kl": kl / tokens, "entropy": entropy / tokens, "positives": right / sequences}
    return found | ({"clip_fraction": clipped / wrong} if wrong else {})
