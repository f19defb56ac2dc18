"""The NFT loss of one micro-batch of a training step, and what a step measures: how far the policy has moved from the old one.

The loss itself is sft/training/nft.py; here logits become log-probs at the sampling temperature. Imported only in the
training process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

# ruff: noqa: TID253 - this module is imported only where training runs
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ratoon.sft.training.job import NftConfig
from ratoon.sft.training.nft import token_losses

_MEASURED = 256  # tokens of a micro-batch whose entropy is taken: of all of them it would cost a quarter of the step
_MAX_LOG_RATIO = 10.0  # in the means reported


def token_logprobs(logits: Tensor, targets: Tensor, temperature: Tensor | None) -> Tensor:
    """log p(target) at each row's temperature (None: 1), float32. logits: [n, vocabulary]; targets, temperature: [n]."""
    return -cross_entropy(_tempered(logits, temperature), targets, reduction="none")


def _tempered(logits: Tensor, temperature: Tensor | None) -> Tensor:
    return logits.float() if temperature is None else logits / temperature[:, None]


def step_loss(config: NftConfig) -> Callable[[Tensor, Mapping[str, Tensor]], tuple[Tensor, Tensor]]:
    """The loss of a micro-batch: (logits, batch) → (summed weighted loss, the sums that `measured` reads)."""

    def loss(logits: Tensor, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        delta = token_logprobs(logits, batch["targets"], batch.get("temperature")) - batch["old"]
        losses = token_losses(
            delta, batch["right"], batch["pass_rate"], prompt_weight=config.prompt_weight,
            negative_clip=config.negative_clip, negative_weight=config.negative_weight,
        )  # fmt: skip
        return (losses * batch["weights"]).sum(), _sums(logits.detach(), delta.detach(), batch)

    return loss


@torch.no_grad()
def _sums(logits: Tensor, delta: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
    """Sums over the micro-batch: tokens, R, R − 1 − log R, wrong tokens, those with r·R ≥ 1, sequences, right ones, and of the
    tokens whose entropy is taken that entropy and how many they are."""
    counted = (batch["weights"] > 0).float()
    log_ratio = delta.clamp(max=_MAX_LOG_RATIO)
    ratio = log_ratio.exp()
    wrong = counted * ~batch["right"]
    parts = [
        counted.sum(), (counted * ratio).sum(), (counted * (ratio - 1 - log_ratio)).sum(), wrong.sum(),
        (wrong * (batch["pass_rate"] * ratio >= 1)).sum(), *batch["sequences"].float(), *_entropy(logits, counted, batch),
    ]  # fmt: skip
    return torch.stack(parts)


def _entropy(logits: Tensor, counted: Tensor, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Σ entropy in nats over evenly spaced tokens, and their number."""
    every, temperature = max(1, -(-len(counted) // _MEASURED)), batch.get("temperature")
    logp = _tempered(logits[::every], None if temperature is None else temperature[::every]).log_softmax(-1)
    return (counted[::every] * -(logp.exp() * logp).sum(-1)).sum(), counted[::every].sum()


def measured(sums: Tensor) -> dict[str, float]:
    """What a step measured, from its sums over micro-batches and devices.

    ratio: mean of new / old over the trained tokens. kl: KL(old ‖ new) in nats per token, by mean R − 1 − log R.
    entropy: nats per token, over at most 256 tokens a micro-batch. clip_fraction: the share of wrong tokens with pass rate x
    ratio ≥ 1, where the implicit negative policy has run out. positives: the share of right sequences. What has no token of its
    kind is absent.
    """
    tokens, ratio, kl, wrong, clipped, sequences, right, entropy, taken = sums.tolist()
    parts = {"ratio": (ratio, tokens), "kl": (kl, tokens), "entropy": (entropy, taken), "clip_fraction": (clipped, wrong)}
    return {name: part / of for name, (part, of) in (parts | {"positives": (right, sequences)}).items() if of}
