"""The training loop: a `transformers.Trainer` whose batch is one whole optimizer step.

A step arrives as micro-batches with the number of loss tokens in the step over all devices; every micro-batch's summed loss
is divided by that number, so 1 x 16 and 16 x 1 give the same gradient. One trainer for every method: the loss comes in.
Imported only in the training process.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

# ruff: noqa: TID253 - this module is imported only where training runs
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, SequentialSampler
from transformers import Trainer

from ratoon.sft.training import moments as adam
from ratoon.sft.training.collate import Encoded, Step, collate, micro_batches, packed, packs
from ratoon.sft.training.forward import TrainedLogits

# (logits [n, vocabulary], micro-batch) → its summed loss, and sums to be measured by, where the method has any
StepLoss = Callable[[Tensor, Mapping[str, Tensor]], tuple[Tensor, Tensor | None]]
Measure = Callable[[Tensor], dict[str, float]]


class Steps(Dataset):
    """Item i is one device's part of one step: {"micro": [micro-batch …], "loss_tokens": n}."""

    def __init__(self, examples: Sequence[Encoded], plan: Sequence[Step], budget: int, packing: bool = False) -> None:
        self.examples, self.plan, self.budget = examples, plan, budget
        self._cut, self._joined = (packs, packed) if packing else (micro_batches, collate)

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, item: int) -> dict[str, Any]:
        step = self.plan[item]
        # A device without a part of the last step still has to join in the exchange of gradients.
        members = [self.examples[i] for i in step.indices] or [self.examples[0]._replace(weight=0.0)]
        groups = self._cut([len(example.ids) for example in members], self.budget)
        return {"micro": [self._joined([members[i] for i in group]) for group in groups], "loss_tokens": step.loss_tokens}


class StepTrainer(Trainer):
    """Trains on `Steps` in their order; `measure` turns a step's sums, over micro-batches and devices, into what is logged."""

    def __init__(
        self, *, step_loss: StepLoss, measure: Measure | None = None, bf16_autocast: bool, model: nn.Module,
        train_dataset: Steps, held_out: Steps | None = None, moments: Path | None = None, **rest: Any,
    ) -> None:  # fmt: skip
        super().__init__(model=model, train_dataset=train_dataset, eval_dataset=held_out, **rest)
        self._step_loss, self._measure, self._sums = step_loss, measure, None
        self._moments = moments
        self._logits = TrainedLogits(model, bf16_autocast=bf16_autocast)

    def get_train_dataloader(self) -> DataLoader:
        steps = self.train_dataset
        loader = DataLoader(steps, batch_size=1, sampler=SequentialSampler(steps), collate_fn=_only_item)
        return self.accelerator.prepare(loader)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """The optimizer, which goes on from `moments` where there are any; a resume then loads its checkpoint's."""
        new = self.optimizer is None
        optimizer = super().create_optimizer(model)
        if new and self._moments is not None:
            adam.restore(optimizer, self.model, self._moments)
        return optimizer

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        return 0  # the default estimates from input_ids, of which a step has many

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Backward over the step's micro-batches; the loss returned is this device's share of the mean over loss tokens."""
        model.train()
        self._sums = None
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
        loss, sums = self._step_loss(self._logits(model, inputs), inputs)
        if sums is not None:
            self._sums = sums if self._sums is None else self._sums + sums
        return loss

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """The mean loss over the loss tokens of the held-out rows, of which every device takes its part."""
        self.model.eval()
        steps, total = self.eval_dataset, torch.zeros((), device=self.args.device)
        with torch.no_grad():
            for i in range(self.args.process_index, len(steps), self.args.world_size):
                for batch in steps[i]["micro"]:
                    batch = self._prepare_inputs(batch)
                    total += self._step_loss(self._logits(self.model_wrapped, batch), batch)[0]
        tokens = sum(step.loss_tokens for step in steps.plan[:: self.args.world_size])
        metrics = {"eval_loss": float(self.accelerator.reduce(total, "sum")) / tokens}
        self.log(metrics)
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """With every step's loss, what the step measured."""
        if self._measure is not None and self._sums is not None and "loss" in logs:
            logs = logs | self._measure(self.accelerator.reduce(self._sums, "sum"))
            self._sums = None
        super().log(logs, start_time)


def _only_item(items: list[dict[str, Any]]) -> dict[str, Any]:
    return items[0]
