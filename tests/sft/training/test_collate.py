"""Which positions are trained, which examples share a step, and that none of it changes the gradient."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratoon.sft.data import examples
from ratoon.sft.training import rft
from ratoon.sft.training.collate import Encoded, collate, encode, micro_batches, plan_steps

torch = pytest.importorskip("torch")
_EOS = 258  # the tiny model's end of turn, and its pad


def _rows(n: int) -> pa.Table:
    columns = {
        "example_id": [f"e_{i:03d}" for i in range(n)],
        "weight": [1.0 + i % 3 for i in range(n)],
        "prompt_token_ids": [[257, *range(1, 2 + i % 7), _EOS, 9] for i in range(n)],
        "token_ids": [[*range(20, 21 + i % 5), _EOS] for i in range(n)],
        "loss_mask": [[1] * (2 + i % 5) for i in range(n)],
    }
    return pa.table({name: pa.array(values, examples.ROWS.field(name).type) for name, values in columns.items()})


def test_every_sampled_token_is_trained_end_of_turn_included_though_it_is_also_pad() -> None:
    encoded = encode(_rows(6))
    batch = collate(encoded)
    kept = [int(t) for example in encoded for t in example.ids[example.trained]]
    assert batch["targets"].tolist() == kept
    assert kept.count(_EOS) == 6
    assert int(batch["positions"].sum()) == len(kept)


def test_logits_are_read_one_position_before_their_target() -> None:
    batch = collate(encode(_rows(5)))
    shifted = torch.roll(batch["input_ids"], -1, dims=1)
    assert shifted[batch["positions"]].tolist() == batch["targets"].tolist()


def test_padding_and_prompt_are_never_trained_and_padding_is_not_attended() -> None:
    encoded = encode(_rows(5))
    batch = collate(encoded)
    for row, example in enumerate(encoded):
        prompt = int(np.argmax(example.trained))
        assert not batch["positions"][row, : prompt - 1].any()
        assert not batch["positions"][row, len(example.ids) - 1 :].any()
        assert batch["attention_mask"][row].sum() == len(example.ids)


def test_a_zero_in_the_loss_mask_is_not_trained() -> None:
    rows = _rows(1).set_column(4, "loss_mask", pa.array([[0, 1]], pa.list_(pa.int8())))
    assert collate(encode(rows))["targets"].tolist() == [_EOS]


@given(st.lists(st.integers(1, 300), min_size=1, max_size=40), st.integers(1, 1000))
def test_micro_batches_cover_each_example_once_within_the_budget(lengths: list[int], budget: int) -> None:
    groups = micro_batches(lengths, budget)
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    assert all(len(group) == 1 or max(lengths[i] for i in group) * len(group) <= budget for group in groups)


@given(st.integers(1, 50), st.integers(1, 3), st.integers(1, 20), st.integers(1, 4), st.integers(0, 5))
def test_a_plan_shows_each_example_once_an_epoch_and_counts_the_whole_steps_tokens(
    n: int, epochs: int, batch_size: int, world: int, seed: int
) -> None:
    encoded = [Encoded(f"e_{i}", np.arange(3 + i % 4), np.arange(3 + i % 4) > 0, 1.0) for i in range(n)]
    plan = plan_steps(encoded, epochs=epochs, batch_size=batch_size, world=world, seed=seed)
    steps = [plan[i : i + world] for i in range(0, len(plan), world)]
    assert len(plan) == epochs * world * -(-n // batch_size)
    assert sorted(i for step in plan for i in step.indices) == sorted(list(range(n)) * epochs)
    for step in steps:
        members = [i for part in step for i in part.indices]
        assert len(members) <= batch_size
        assert {part.loss_tokens for part in step} == {sum(int(encoded[i].trained.sum()) for i in members)}


def test_a_plan_does_not_depend_on_the_order_of_the_rows() -> None:
    encoded = encode(_rows(20))
    arguments = {"epochs": 2, "batch_size": 6, "world": 1, "seed": 3}
    forward, backward = plan_steps(encoded, **arguments), plan_steps(encoded[::-1], **arguments)
    names = [
        [[rows[i].example_id for i in step.indices] for step in plan]
        for rows, plan in ((encoded, forward), (encoded[::-1], backward))
    ]
    assert names[0] == names[1]


def test_the_rft_loss_is_the_weighted_cross_entropy_by_hand() -> None:
    logits = torch.randn(7, 11, generator=torch.Generator().manual_seed(0))
    targets, weights = torch.arange(7), torch.tensor([1.0, 2.0, 0.0, 0.5, 1.0, 1.0, 3.0])
    by_hand = -(torch.log_softmax(logits, -1)[torch.arange(7), targets] * weights).sum()
    assert torch.allclose(rft.loss_sum(logits, targets, weights), by_hand)


def _gradient(folder: Path, budget: int) -> tuple[float, torch.Tensor]:
    from transformers import AutoModelForCausalLM, TrainingArguments

    from ratoon.sft.training.trainer import Steps, StepTrainer

    encoded = encode(_rows(16))
    plan = plan_steps(encoded, epochs=1, batch_size=16, world=1, seed=0)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    arguments = TrainingArguments(output_dir=str(folder.parent / "out"), use_cpu=True, report_to="none", max_steps=1)
    steps = Steps(encoded, plan, budget)
    trainer = StepTrainer(step_loss=rft.step_loss, bf16_autocast=False, model=model, train_dataset=steps, args=arguments)
    assert len(steps[0]["micro"]) == (16 if budget == 1 else 1)
    loss = trainer.training_step(model, steps[0])
    return loss.item(), torch.cat([p.grad.flatten() for p in model.parameters()])


def test_one_micro_batch_of_sixteen_and_sixteen_of_one_give_one_gradient(tiny: Path) -> None:
    (whole_loss, whole), (cut_loss, cut) = _gradient(tiny, 10_000), _gradient(tiny, 1)
    assert abs(whole_loss - cut_loss) < 1e-5
    assert torch.allclose(whole, cut, atol=1e-6)


def test_logits_at_trained_positions_only_give_the_gradient_of_plain_cross_entropy(tiny: Path) -> None:
    from transformers import AutoModelForCausalLM

    encoded = encode(_rows(16))
    batch = collate(encoded)
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    labels = torch.full_like(batch["input_ids"], -100)
    for row, example in enumerate(encoded):
        labels[row, : len(example.ids)] = torch.where(torch.from_numpy(example.trained), torch.from_numpy(example.ids), -100)
    losses = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="none")
    per_example = losses.view(16, -1).sum(1) * torch.tensor([example.weight for example in encoded])
    loss = per_example.sum() / int(batch["positions"].sum())
    loss.backward()
    ours, gradient = _gradient(tiny, 10_000)
    assert abs(loss.item() - ours) < 1e-5
    assert torch.allclose(torch.cat([p.grad.flatten() for p in model.parameters()]), gradient, atol=1e-6)


@pytest.mark.parametrize(("examples", "expected"), [(50, 5), (17, 5), (3, 3)])
def test_an_epoch_of_so_many_steps_has_so_many_however_many_examples_there_are(examples: int, expected: int) -> None:
    encoded = [Encoded(f"e_{i}", np.arange(4), np.arange(4) > 0, 1.0) for i in range(examples)]
    plan = plan_steps(encoded, epochs=2, batch_size=1, world=1, seed=0, steps=5)
    assert len(plan) == 2 * expected
    sizes = [len(step.indices) for step in plan]
    assert max(sizes) - min(sizes) <= 1
