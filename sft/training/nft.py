"""Negative-aware fine-tuning (arXiv 2505.18116): right answers are imitated, wrong ones push by the implicit negative policy.

The policy that sampled splits into its right and its wrong part, old = r·right + (1 − r)·wrong, with r the prompt's pass rate.
Only the right part is a network, so the wrong part is (old − r·new) / (1 − r), and raising its likelihood on wrong answers
trains the same network. With R = new / old for one token:

    right   −log R
    wrong   −log max((1 − r·R) / (1 − r), negative_clip), the gradient of the argument passing through the max

Each token loss counts the prompt weight: 1, 1 − r or sqrt((1 − r) / r). At new = old every loss is 0 while its gradient is
not: a zero loss is no broken run. This file knows log-probs, not models; the caller divides by a token count over all devices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ratoon.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

PromptWeight = Literal["one", "linear", "sqrt"]
# As in the authors' code (NVlabs/NFT): r / (1 - r), the push on wrong answers, never exceeds 49.
_RATE_LO, _RATE_HI = 0.02, 0.98
_MAX_LOG_RATIO = 10.0


def nft_loss(
    logp_new: Tensor, logp_old: Tensor, mask: Tensor, correct: Tensor, pass_rate: Tensor, *,
    prompt_weight: PromptWeight = "linear", negative_clip: float = 1.0, negative_weight: float = 1.0,
) -> Tensor:  # fmt: skip
    """The summed token loss of a batch, a scalar in nats.

    logp_new, logp_old: [B, T], float32 or float64, log-probs of the sampled tokens under the policy in training and under the
    one that sampled, both at the sampling temperature; no gradient reaches `logp_old`. mask: [B, T], 1 on trained tokens;
    what stands elsewhere, NaN included, changes nothing. correct: [B], 1 for a right answer. pass_rate: [B], the share of
    right answers in the whole group. mask and correct are bool, int or float of 0 and 1. Pass rates count as at least 0.02
    and at most 0.98. `negative_weight=0` with `prompt_weight="one"` is rejection-sampling fine-tuning.

    Raises DataError (a ValueError) on unlike shapes, other dtypes, labels or masks outside {0, 1}, log-probs that are not
    finite where trained, and pass rates outside (0, 1), or outside [0, 1] when `negative_weight` is 0.
    """
    import torch

    _check_settings(prompt_weight, negative_clip, negative_weight)
    _check_shapes(logp_new, logp_old, mask, correct, pass_rate)
    trained, right = _flags(mask, "mask"), _flags(correct, "correct")
    _check_rates(pass_rate, negative_weight)
    delta = torch.where(trained, logp_new - logp_old.detach(), 0.0)
    if not bool(torch.isfinite(delta.detach()).all()):
        raise DataError("a trained token's log-prob is NaN or infinite", "mask such tokens, or drop their sequences")
    losses = token_losses(
        delta, right[:, None], pass_rate.to(delta)[:, None], prompt_weight=prompt_weight, negative_clip=negative_clip,
        negative_weight=negative_weight,
    )  # fmt: skip
    return torch.where(trained, losses, 0.0).sum()


def token_losses(
    delta: Tensor, right: Tensor, pass_rate: Tensor, *, prompt_weight: PromptWeight, negative_clip: float,
    negative_weight: float,
) -> Tensor:  # fmt: skip
    """Every token's weighted loss; `delta` = log R, `right` (bool) and `pass_rate` broadcast together. Nothing is checked."""
    import torch

    rate = pass_rate.clamp(_RATE_LO, _RATE_HI)
    log_ratio = torch.where(right, 0.0, delta)  # right answers form no ratio: theirs may be as large as it likes
    ratio = _through(log_ratio, log_ratio > _MAX_LOG_RATIO, _MAX_LOG_RATIO).exp()
    argument = (1 - rate * ratio) / (1 - rate)
    wrong = -_through(argument, argument < negative_clip, negative_clip).log()
    return _prompt_weight(rate, prompt_weight) * torch.where(right, -delta, negative_weight * wrong)


def _through(x: Tensor, beyond: Tensor, bound: float) -> Tensor:
    """`bound` where `beyond`, exactly, with the gradient of x everywhere (a straight-through max or min)."""
    import torch

    return torch.where(beyond, (x - x.detach()) + bound, x)


def _prompt_weight(rate: Tensor, name: PromptWeight) -> Tensor | float:
    if name == "one":
        return 1.0
    return 1 - rate if name == "linear" else ((1 - rate) / rate).sqrt()


def _check_settings(prompt_weight: str, negative_clip: float, negative_weight: float) -> None:
    if prompt_weight not in ("one", "linear", "sqrt"):
        raise DataError(f"prompt_weight is {prompt_weight!r}", "one of one, linear, sqrt")
    if not 0 < negative_clip < float("inf"):
        raise DataError(f"negative_clip is {negative_clip}", "a positive number; 1 is the paper's")
    if not 0 <= negative_weight < float("inf"):
        raise DataError(f"negative_weight is {negative_weight}", "0 (only right answers) or more; 1 is the paper's")


def _check_shapes(logp_new: Tensor, logp_old: Tensor, mask: Tensor, correct: Tensor, pass_rate: Tensor) -> None:
    import torch

    shapes = {"logp_new": logp_new, "logp_old": logp_old, "mask": mask, "correct": correct, "pass_rate": pass_rate}
    found = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in shapes.items())
    whole = logp_new.shape
    if len(whole) != 2 or {logp_old.shape, mask.shape} != {whole} or {correct.shape, pass_rate.shape} != {whole[:1]}:
        raise DataError(f"unlike shapes: {found}", "log-probs and mask are [B, T], correct and pass_rate [B]")
    if {logp_new.dtype, logp_old.dtype} - {torch.float32, torch.float64}:
        raise DataError(
            f"log-probs are {logp_new.dtype} and {logp_old.dtype}", "take the logits' log_softmax in float32: `.float()` first"
        )


def _flags(values: Tensor, name: str) -> Tensor:
    flags = values == 1
    if not bool((flags | (values == 0)).all()):
        raise DataError(f"{name} holds values other than 0 and 1", "labels of -1 and 1 are mapped by (label + 1) / 2")
    return flags


def _check_rates(pass_rate: Tensor, negative_weight: float) -> None:
    if negative_weight > 0:
        inside, bounds = (pass_rate > 0) & (pass_rate < 1), "(0, 1)"
    else:
        inside, bounds = (pass_rate >= 0) & (pass_rate <= 1), "[0, 1]"
    if not bool(inside.all()):
        outside = pass_rate[~inside][0].item()
        raise DataError(f"a pass rate is {outside}, outside {bounds}", "leave out groups that are all right or all wrong")
