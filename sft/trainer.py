"""The training loop: a `transformers.Trainer` whose batch is one whole optimizer step.

A step arrives as micro-batches with the number of loss tokens in the step over all devices; every micro-batch's summed loss
is divided by that number, so 1 x 16 and 16 x 1 give the same gradient. Logits are computed only where a token is trained: on a
CPU the head over SmolLM2's 49k vocabulary costs as much as the layers below it. Imported only in the training process.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

# ruff: noqa: TID253 - this module is imported only where training runs
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, SequentialSampler
from transformers import Trainer

from ratoon.sft.collate import Encoded, Step, collate, micro_batches

LossSum = Callable[[Tensor, Tensor, Tensor], Tensor]


class Steps(Dataset):
    """Item i is one device's part of one step: {"micro": [micro-batch …], "loss_tokens": n}."""

    def __init__(self, examples: Sequence[Encoded], plan: Sequence[Step], budget: int) -> None:
        self.examples, self.plan, self.budget = examples, plan, budget

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, item: int) -> dict[str, Any]:
        step = self.plan[item]
        # A device without a part of the last step still has to join in the exchange of gradients.
        members = [self.examples[i] for i in step.indices] or [self.examples[0]._replace(weight=0.0)]
        groups = micro_batches([len(example.ids) for example in members], self.budget)
        return {"micro": [collate([members[i] for i in group]) for group in groups], "loss_tokens": step.loss_tokens}


class StepTrainer(Trainer):
    """Trains on `Steps` in their order, with `loss_sum` over the trained positions."""

    def __init__(self, *, loss_sum: LossSum, bf16_autocast: bool, model: nn.Module, train_dataset: Steps, **rest: Any) -> None:
        super().__init__(model=model, train_dataset=train_dataset, **rest)
        self._loss_sum, self._bf16, self._positions = loss_sum, bf16_autocast, None
        model.get_output_embeddings().register_forward_pre_hook(self._only_trained)

    def _only_trained(self, _head: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        """[B, T, H] → [n, H] before the head, where a micro-batch says which positions are trained."""
        return None if self._positions is None else (inputs[0][self._positions],)

    def get_train_dataloader(self) -> DataLoader:
        steps = self.train_dataset
        loader = DataLoader(steps, batch_size=1, sampler=SequentialSampler(steps), collate_fn=_only_item)
        return self.accelerator.prepare(loader)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        return 0  # the default estimates from input_ids, of which a step has many

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Backward over the step's micro-batches; the loss returned is this device's share of the mean over loss tokens."""
        model.train()
        world, total = self.args.world_size, torch.zeros((), device=self.args.device)
        for left, batch in enumerate(inputs["micro"], start=1 - len(inputs["micro"])):
            exchange = contextlib.nullcontext() if left == 0 else self.accelerator.no_sync(model)
            with exchange:
                loss = self.compute_loss(model, self._prepare_inputs(batch)) * (world / inputs["loss_tokens"])
                self.accelerator.backward(loss)
            total += loss.detach()
        return total

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *_: Any, **__: Any) -> Tensor:
        """The summed loss of one micro-batch."""
        self._positions = inputs["positions"]
        try:
            with torch.autocast(self.args.device.type, dtype=torch.bfloat16, enabled=self._bf16):
                logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False).logits
        finally:
            self._positions = None
        return self._loss_sum(logits, inputs["targets"], inputs["weights"])


def _only_item(items: list[dict[str, Any]]) -> dict[str, Any]:
    return items[0]
