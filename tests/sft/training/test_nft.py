"""The NFT loss: its gradient identities in float64, its limits, and what it refuses (arXiv 2505.18116)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratoon.errors import DataError
from ratoon.sft.training.nft import nft_loss

torch = pytest.importorskip("torch")
_K = 16
_RATES = [k / _K for k in range(1, _K)]
_WEIGHTS: dict[str, Callable[[float], float]] = {
    "one": lambda r: 1.0,
    "linear": lambda r: 1 - r,
    "sqrt": lambda r: math.sqrt((1 - r) / r),
}


def _push(rate: float, right: bool, ratio: float = 1.0, **settings: Any) -> float:
    """The factor on grad log p of one token, in the direction of ascent."""
    old = torch.full((1, 1), -30.0, dtype=torch.float64)
    new = (old + math.log(ratio)).requires_grad_()
    correct, rates = torch.tensor([right]), torch.tensor([rate], dtype=torch.float64)
    nft_loss(new, old, torch.ones(1, 1), correct, rates, **settings).backward()
    return -new.grad.item()


def _group(right: int) -> tuple[torch.Tensor, torch.Tensor]:
    correct = torch.arange(_K) < right
    return correct, torch.full((_K,), right / _K, dtype=torch.float64)


def _on_policy_gradient(right: int, **settings: Any) -> torch.Tensor:
    """[K]: each sequence's ascent weight in a whole group of one-token answers at new = old."""
    correct, rates = _group(right)
    old = -torch.rand(_K, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(right))
    new = old.clone().requires_grad_()
    nft_loss(new, old, torch.ones(_K, 1), correct, rates, **settings).backward()
    return -new.grad[:, 0]


@pytest.mark.parametrize("name", _WEIGHTS)
@pytest.mark.parametrize("ratio", [0.01, 0.5, 1.0, 2.0, math.exp(10)])
def test_a_right_token_counts_the_prompt_weight_whatever_its_ratio(name: str, ratio: float) -> None:
    for rate in _RATES:
        assert _push(rate, True, ratio, prompt_weight=name) == pytest.approx(_WEIGHTS[name](rate), abs=1e-9)


@pytest.mark.parametrize("name", _WEIGHTS)
@pytest.mark.parametrize("clip", [1.0, 0.5, 0.1])
@pytest.mark.parametrize("ratio", [0.01, 0.5, 0.99, 1.0, 1.5, 2.0, 10.0])
def test_a_wrong_token_is_pushed_down_by_its_share_of_the_implicit_negative_policy(
    name: str, clip: float, ratio: float
) -> None:
    for rate in _RATES:
        slope = rate / (1 - rate) * ratio / max((1 - rate * ratio) / (1 - rate), clip)
        pushed = _push(rate, False, ratio, prompt_weight=name, negative_clip=clip)
        assert pushed == pytest.approx(-_WEIGHTS[name](rate) * slope, rel=1e-9, abs=1e-9)


def test_a_clip_of_one_leaves_suppressed_tokens_alone_and_a_small_one_punishes_harshly() -> None:
    def at(ratio: float, clip: float) -> float:
        return _push(0.5, False, ratio, prompt_weight="one", negative_clip=clip)

    assert at(2.0, 1.0) == pytest.approx(-2.0, abs=1e-9)
    assert at(2.0, 0.1) == pytest.approx(-20.0, abs=1e-9)
    for rate in _RATES:
        for ratio in (0.1, 0.5, 0.9):
            pushed = _push(rate, False, ratio, prompt_weight="one")
            assert pushed == pytest.approx(-rate * ratio / (1 - rate * ratio), abs=1e-9)
            assert abs(pushed) < rate / (1 - rate)


@pytest.mark.parametrize("right", range(1, _K))
def test_on_policy_with_the_root_weight_it_is_grpo_with_population_deviation(right: int) -> None:
    rewards = _group(right)[0].double()
    advantage = (rewards - rewards.mean()) / rewards.std(correction=0)
    assert torch.allclose(_on_policy_gradient(right, prompt_weight="sqrt"), advantage, rtol=0, atol=1e-9)
    bessel = (rewards - rewards.mean()) / rewards.std(correction=1)
    assert torch.allclose(bessel, advantage * math.sqrt((_K - 1) / _K), rtol=0, atol=1e-9)


@pytest.mark.parametrize("right", range(1, _K))
def test_on_policy_with_the_linear_weight_it_is_dr_grpo(right: int) -> None:
    rewards = _group(right)[0].double()
    assert torch.allclose(_on_policy_gradient(right), rewards - rewards.mean(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", _WEIGHTS)
@pytest.mark.parametrize("right", range(1, _K))
def test_on_policy_the_weights_of_a_whole_group_sum_to_zero(name: str, right: int) -> None:
    assert abs(_on_policy_gradient(right, prompt_weight=name).sum().item()) < 1e-9


@pytest.mark.parametrize("clip", [1.0, 0.1])
@pytest.mark.parametrize("name", _WEIGHTS)
def test_on_policy_the_loss_is_zero_and_its_gradient_is_not(name: str, clip: float) -> None:
    for rate in _RATES:
        for right in (True, False):
            old = torch.tensor([[-1.5, -0.25]], dtype=torch.float64)
            new, rates = old.clone().requires_grad_(), torch.tensor([rate], dtype=torch.float64)
            loss = nft_loss(new, old, torch.ones(1, 2), torch.tensor([right]), rates, prompt_weight=name, negative_clip=clip)
            loss.backward()
            assert loss.item() == 0
            assert (new.grad.abs() > 1e-3).all()


def test_where_the_max_is_not_active_the_gradient_is_that_of_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    old = -torch.rand(4, 5, dtype=torch.float64, generator=generator)
    new = (old - 0.3 * torch.rand(4, 5, dtype=torch.float64, generator=generator)).requires_grad_()
    rates, correct = torch.tensor([0.25, 0.5, 0.75, 0.5], dtype=torch.float64), torch.tensor([1, 0, 0, 0])
    mask = (torch.rand(4, 5, generator=generator) < 0.8).int()
    assert torch.autograd.gradcheck(lambda x: nft_loss(x, old, mask, correct, rates, negative_clip=1e-9), new, atol=1e-9)


def test_without_negatives_and_prompt_weight_it_is_the_cross_entropy_of_right_answers() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(6, 9, 50, generator=generator, requires_grad=True)
    ids, mask = torch.randint(50, (6, 9), generator=generator), torch.rand(6, 9, generator=generator) < 0.7
    correct, rates = torch.tensor([1, 0, 1, 1, 0, 1]), torch.tensor([1.0, 0.5, 0.5, 1.0, 0.25, 0.75])
    kept = mask & (correct == 1)[:, None]
    entropy = torch.nn.functional.cross_entropy(logits[kept], ids[kept], reduction="sum")
    (wanted,) = torch.autograd.grad(entropy, logits)
    logp = torch.log_softmax(logits, -1).gather(-1, ids[..., None])[..., 0]
    settings = {"prompt_weight": "one", "negative_weight": 0.0}
    loss = nft_loss(logp, torch.zeros_like(logp), mask, correct, rates, **settings)
    assert loss.item() == pytest.approx(entropy.item(), rel=1e-6)
    (found,) = torch.autograd.grad(nft_loss(logp, logp * 1.1, mask, correct, rates, **settings), logits)
    assert (found - wanted).norm() <= 1e-6 * wanted.norm()


@given(st.integers(0, 10_000), st.sampled_from(["nan", "inf", "-inf", "1e30"]))
def test_what_stands_at_masked_places_changes_neither_value_nor_gradient(seed: int, junk: str) -> None:
    generator = torch.Generator().manual_seed(seed)
    new, old = -torch.rand(2, 3, 7, dtype=torch.float64, generator=generator)
    mask = torch.rand(3, 7, generator=generator) < 0.6
    correct, rates = torch.tensor([1, 0, 0]), torch.tensor([0.25, 0.5, 0.9], dtype=torch.float64)
    found = []
    for value in (0.0, float(junk)):
        for which in (0, 1):
            pair = [torch.where(mask, x, value) if i == which else x for i, x in enumerate((new, old))]
            leaf = pair[0].clone().requires_grad_()
            loss = nft_loss(leaf, pair[1], mask, correct, rates)
            loss.backward()
            assert (leaf.grad[~mask] == 0).all()
            found.append((loss.item(), leaf.grad))
    assert all(loss == found[0][0] and torch.equal(gradient, found[0][1]) for loss, gradient in found)


@pytest.mark.parametrize("width", [0, 1, 9])
def test_padding_changes_nothing(width: int) -> None:
    generator = torch.Generator().manual_seed(2)
    new, old = -torch.rand(2, 3, 4, dtype=torch.float64, generator=generator)
    arguments = torch.tensor([1, 0, 0]), torch.tensor([0.25, 0.5, 0.9], dtype=torch.float64)
    pad = torch.full((3, width), float("nan"), dtype=torch.float64)
    mask = torch.cat([torch.ones(3, 4), torch.zeros(3, width)], 1)
    padded = nft_loss(torch.cat([new, pad], 1), torch.cat([old, pad], 1), mask, *arguments)
    assert padded.item() == pytest.approx(nft_loss(new, old, torch.ones(3, 4), *arguments).item(), abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("delta", [-200.0, 200.0, 10.0, -10.0])
def test_log_ratios_of_two_hundred_give_finite_losses_and_gradients_that_are_not_all_dead(
    delta: float, dtype: torch.dtype
) -> None:
    for rate in (1 / _K, 0.5, 1 - 1 / _K, 0.999999, 1e-6):
        for clip in (1.0, 1e-9):
            new = torch.full((2, 1), delta, dtype=dtype, requires_grad=True)
            arguments = torch.ones(2, 1), torch.tensor([1, 0]), torch.full((2,), rate, dtype=dtype)
            loss = nft_loss(new, torch.zeros(2, 1, dtype=dtype), *arguments, prompt_weight="sqrt", negative_clip=clip)
            loss.backward()
            assert torch.isfinite(loss)
            assert torch.isfinite(new.grad).all()
            assert new.grad[0, 0] < 0
            assert new.grad[1, 0] > 0 or delta < 0


def test_no_gradient_reaches_the_old_policy() -> None:
    new, old = (torch.full((2, 2), -1.0, requires_grad=True) for _ in range(2))
    nft_loss(new, old, torch.ones(2, 2), torch.tensor([1, 0]), torch.tensor([0.5, 0.5])).backward()
    assert old.grad is None
    assert new.grad is not None


@pytest.mark.parametrize("kind", [torch.bool, torch.int64, torch.int8, torch.float32])
def test_mask_and_labels_may_be_bool_int_or_float(kind: torch.dtype) -> None:
    new, old = -torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(3))
    mask, correct, rates = torch.tensor([[1, 1, 0, 1]] * 3), torch.tensor([1, 0, 1]), torch.full((3,), 0.5)
    assert nft_loss(new, old, mask.to(kind), correct.to(kind), rates) == nft_loss(new, old, mask, correct, rates)


def _arguments(**changes: Any) -> tuple[tuple[torch.Tensor, ...], dict[str, Any]]:
    tensors = {
        "logp_new": torch.zeros(2, 3), "logp_old": torch.zeros(2, 3), "mask": torch.ones(2, 3),
        "correct": torch.tensor([1, 0]), "pass_rate": torch.tensor([0.5, 0.5]),
    }  # fmt: skip
    settings = {name: changes.pop(name) for name in list(changes) if name not in tensors}
    return tuple((tensors | changes).values()), settings


@pytest.mark.parametrize("changes", [
    {"logp_old": torch.zeros(2, 4)}, {"mask": torch.ones(2, 1)}, {"mask": torch.ones(3)}, {"correct": torch.ones(3)},
    {"correct": torch.ones(2, 1)}, {"pass_rate": torch.tensor([0.5])}, {"logp_new": torch.zeros(2, 3, 1)},
    {"correct": torch.tensor([1, -1])}, {"correct": torch.tensor([1.0, 0.5])}, {"correct": torch.tensor([1.0, math.nan])},
    {"mask": torch.full((2, 3), 0.5)}, {"pass_rate": torch.tensor([0.5, 1.0])}, {"pass_rate": torch.tensor([0.0, 0.5])},
    {"pass_rate": torch.tensor([0.5, math.nan])}, {"pass_rate": torch.tensor([1.5, 0.5])},
    {"pass_rate": torch.tensor([1.5, 0.5]), "negative_weight": 0.0}, {"logp_new": torch.zeros(2, 3).half()},
    {"logp_new": torch.tensor([[0, 0, math.nan], [0, 0, 0]])}, {"logp_old": torch.full((2, 3), -math.inf)},
    {"prompt_weight": "root"}, {"negative_clip": 0.0}, {"negative_weight": -1.0}, {"negative_weight": math.nan},
])  # fmt: skip
def test_what_cannot_be_meant_is_refused(changes: dict[str, Any]) -> None:
    tensors, settings = _arguments(**changes)
    with pytest.raises(ValueError) as caught:
        nft_loss(*tensors, **settings)
    assert isinstance(caught.value, DataError)
    assert caught.value.hint


def test_rates_of_one_are_taken_where_negatives_do_not_count() -> None:
    tensors, _ = _arguments(pass_rate=torch.tensor([1.0, 1.0]), logp_new=torch.full((2, 3), -1.0))
    assert nft_loss(*tensors, negative_weight=0.0, prompt_weight="one").item() == 3.0


def _tabular_odds(negative_weight: float) -> float:
    """Odds of a sampled wrong answer against an unsampled, at first equally likely one after training one softmax."""
    right, sampled, unsampled = 0, 1, 2
    logits = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    old = torch.log_softmax(logits.detach(), 0)
    answers, rate = torch.tensor([right, sampled]), torch.tensor([0.5, 0.5], dtype=torch.float64)
    for _ in range(20):
        new = torch.log_softmax(logits, 0)[answers, None]
        loss = nft_loss(
            new, old[answers, None], torch.ones(2, 1), torch.tensor([1, 0]), rate, prompt_weight="one",
            negative_weight=negative_weight,
        )  # fmt: skip
        (gradient,) = torch.autograd.grad(loss, logits)
        logits = (logits - 0.1 * gradient).detach().requires_grad_()
    assert logits[right] > logits[unsampled]
    return (logits[sampled] - logits[unsampled]).exp().item()


def test_rft_keeps_the_odds_of_two_wrong_answers_and_nft_lowers_the_sampled_ones() -> None:
    assert abs(_tabular_odds(0.0) - 1) < 1e-9
    assert _tabular_odds(1.0) < 0.5
