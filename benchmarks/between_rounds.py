"""What is lost between rounds: Adam started anew beside Adam's moments kept, and weights written in fewer bits. Prints JSON.

Usage: OMP_WAIT_POLICY=passive python benchmarks/between_rounds.py [--model packaged|mid|tiny|DIR] [--rounds N] [--steps N]

The same rows in the same steps, from the same weights in bfloat16 (as models come), by one rate: as one training, as rounds
that keep AdamW's moments, and as rounds that each start it anew. Told: the mean loss of held-out rows in nats a token, and how
far the end is from that of the one training, as a share of how far that went. Then, after two steps and after all, for each
way to write the weights: the share of the update that is written, and the held-out loss of what is written.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from training import BUDGET, model_folder, rows_of
from transformers import AutoModelForCausalLM

from ratoon.sft.training import moments, rft
from ratoon.sft.training.collate import Encoded, encode, plan_steps
from ratoon.sft.training.forward import TrainedLogits
from ratoon.sft.training.rounding import cast_to
from ratoon.sft.training.trainer import Steps
from ratoon.sft.training.update_kept import update_kept

BATCH, HELD_OUT = 8, 16
WAYS = (("float32", "nearest"), ("float16", "nearest"), ("bfloat16", "nearest"), ("bfloat16", "stochastic"))
Weights = dict[str, torch.Tensor]


def rounds(model: Any, steps: Steps, cut: int, rate: float, keep: bool, work: Path) -> Weights:
    """The weights after all steps, the optimizer made anew before each `cut` of them; `keep` gives it the moments."""
    forward = TrainedLogits(model, bf16_autocast=False)
    optimizer, kept = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0), work / f"moments-{id(model)}"
    for i in range(len(steps)):
        if i and i % cut == 0:
            if keep:
                moments.save(optimizer, model, kept.with_name(f"{kept.name}-{i}"))
            optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
            if keep:
                moments.restore(optimizer, model, kept.with_name(f"{kept.name}-{i}"))
        for batch in steps[i]["micro"]:
            (rft.step_loss(forward(model, batch), batch)[0] / steps[i]["loss_tokens"]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    forward.remove()
    return {name: tensor.detach().clone() for name, tensor in model.named_parameters()}


def loss_of(model: Any, weights: Mapping[str, torch.Tensor], held_out: list[Encoded]) -> float:
    """The mean loss of the held-out rows under `weights`, nats a token."""
    for name, parameter in model.named_parameters():
        parameter.data = weights[name].float()
    forward, steps = TrainedLogits(model, bf16_autocast=False), Steps(held_out, plan(held_out), BUDGET)
    with torch.no_grad():
        parts = [(rft.step_loss(forward(model, b), b)[0], s["loss_tokens"]) for s in _all(steps) for b in s["micro"]]
    forward.remove()
    return float(sum(loss for loss, _ in parts)) / sum(s["loss_tokens"] for s in _all(steps))


def _all(steps: Steps) -> list[dict[str, Any]]:
    return [steps[i] for i in range(len(steps))]


def plan(encoded: list[Encoded]) -> Any:
    """One pass in steps of eight rows."""
    return plan_steps(encoded, epochs=1, batch_size=BATCH, world=1, seed=0)


def far(one: Weights, other: Weights) -> float:
    """The Euclidean distance between two models' weights."""
    return float(sum(((one[n] - other[n]).double() ** 2).sum() for n in one)) ** 0.5


def written(model: Any, trained: Weights, start: Path, held_out: list[Encoded]) -> dict[str, dict[str, float | None]]:
    """For each way to write `trained`: the share of the update that is there, and the held-out loss."""
    told = {}
    for dtype, rounding in WAYS:
        cast = cast_to(getattr(torch, dtype), rounding)
        kept = update_kept(trained, start, cast)
        told[f"{dtype}, {rounding}"] = {
            "kept": kept,
            "loss": loss_of(model, {name: cast(name, tensor) for name, tensor in trained.items()}, held_out),
        }
    return told


def compared(folder: Path, rounds_: int, cut: int, rate: float, work: Path) -> dict[str, Any]:
    """All that the head of this file promises, by name."""
    rounded = work / "bfloat16"
    AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(rounded)
    start = AutoModelForCausalLM.from_pretrained(rounded, dtype=torch.float32)
    rows = encode(rows_of(folder, rounds_ * cut * BATCH + HELD_OUT))
    held_out, steps = rows[-HELD_OUT:], Steps(rows[:-HELD_OUT], plan(rows[:-HELD_OUT]), BUDGET)
    began = {name: tensor.detach().clone() for name, tensor in start.named_parameters()}
    arms = {"one training": (len(steps), False), "moments kept": (cut, True), "Adam anew": (cut, False)}
    ends: dict[str, Weights] = {}
    for name, (length, keep) in arms.items():
        ends[name] = rounds(copy.deepcopy(start), steps, length, rate, keep, work)
        print(name, "done", file=sys.stderr, flush=True)
    went = far(ends["one training"], began)
    told: dict[str, Any] = {"start": {"loss": loss_of(start, began, held_out)}}
    for name, end in ends.items():
        apart, moved = far(end, ends["one training"]) / went, far(end, began) / went
        told[name] = {"loss": loss_of(start, end, held_out), "apart": apart, "moved": moved}
    for name, tensor in began.items():
        dict(start.named_parameters())[name].data = tensor.clone()
    short = rounds(copy.deepcopy(start), Steps(steps.examples, steps.plan[:2], BUDGET), 2, rate, False, work)
    told["written after 2 steps"] = written(start, short, rounded, held_out)
    told[f"written after {len(steps)} steps"] = written(start, ends["one training"], rounded, held_out)
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="packaged")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rate", type=float, default=2e-5)
    asked = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0))))
    with tempfile.TemporaryDirectory() as folder:
        told = compared(model_folder(asked.model, Path(folder)), asked.rounds, asked.steps, asked.rate, Path(folder))
    print(json.dumps({"model": asked.model, "rounds": asked.rounds, "steps": asked.steps, "rate": asked.rate} | told, indent=1))


if __name__ == "__main__":
    main()
