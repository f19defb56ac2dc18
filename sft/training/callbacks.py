"""What a running trainer tells the outside: a line of progress per step, and which checkpoints are whole.

A checkpoint counts once `whole.json` lies in it, written after everything else; older ones go only then, but for the best by
the held-out loss.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ratoon.errors import TrainError
from ratoon.sft.training.collate import Encoded, Step

PROGRESS = "progress.jsonl"
METRICS = "metrics.jsonl"
_EVALUATIONS = "evaluations.jsonl"
_WHOLE = "whole.json"
_MEASURED = ("ratio", "clip_fraction", "kl", "entropy", "positives", "grad_norm", "learning_rate")
RECORDS = ("rescored.parquet", "failures.parquet")  # tables that NFT leaves: sft/training/rescore.py


def resume_point(work: Path) -> str | None:
    """The newest whole checkpoint; broken ones are removed."""
    whole: dict[int, Path] = {}
    for folder in (work / "checkpoints").glob("checkpoint-*"):
        if (folder / _WHOLE).exists():
            whole[int(folder.name.rpartition("-")[2])] = folder
        else:
            shutil.rmtree(folder, ignore_errors=True)  # every rank of a training does this at once
    return str(whole[max(whole)]) if whole else None


def keep_records(work: Path, folder: Path) -> None:
    """Put beside the finished model what training measured: one line a step, and the log-probs it started from."""
    steps: dict[int, dict[str, Any]] = {}
    for line in (work / PROGRESS).read_text(encoding="utf-8").splitlines():
        told = json.loads(line)
        steps[told["step"]] = told  # a step that was done again after a kill counts as it went last
    for line in (work / _EVALUATIONS).read_text(encoding="utf-8").splitlines() if (work / _EVALUATIONS).exists() else ():
        told = json.loads(line)
        steps[told["step"]] |= told
    (folder / METRICS).write_text("".join(f"{json.dumps(steps[step])}\n" for step in sorted(steps)), encoding="utf-8")
    for name in RECORDS:
        if (work / name).exists():
            shutil.copyfile(work / name, folder / name)


def first_kl(folder: Path) -> float | None:
    """KL(sampler ‖ trainer) in nats a token before any step, over the first step's rollouts; None where it was not measured."""
    first = next(iter((folder / METRICS).read_text(encoding="utf-8").splitlines()), "{}")
    kl: float | None = json.loads(first).get("kl")
    return kl


def _append(path: Path, line: Mapping[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def run_callback(work: Path, examples: Sequence[Encoded], plan: Sequence[Step], steps: int) -> Any:
    """The trainer callback; `earlier` is the seconds that the attempts before this one had trained."""
    from transformers import TrainerCallback

    point, world = resume_point(work), len(plan) // steps
    tokens = [
        sum(len(examples[i].ids) for step in plan[s * world : (s + 1) * world] for i in step.indices) for s in range(steps)
    ]

    class RunCallback(TrainerCallback):
        earlier = json.loads((Path(point) / _WHOLE).read_text())["seconds"] if point else 0.0

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.begun, self.first = time.monotonic(), state.global_step

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step >= steps:  # the policy itself is written next, unless an earlier step was better
                control.should_save = control.should_evaluate = args.load_best_model_at_end

        def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, float], **_: Any) -> None:
            if "eval_loss" in logs and state.is_world_process_zero:
                _append(work / _EVALUATIONS, {"step": state.global_step, "eval_loss": logs["eval_loss"]})
            if "loss" not in logs:
                return
            if not math.isfinite(logs["loss"]):
                raise TrainError(
                    f"the loss is {logs['loss']} at step {state.global_step} of {steps}", "lower train.learning_rate"
                )
            if state.is_world_process_zero:
                rate = sum(tokens[self.first : state.global_step]) / (time.monotonic() - self.begun)
                line = {"step": state.global_step, "total": steps, "loss": logs["loss"], "tokens_per_second": round(rate, 1)}
                line |= {name: float(logs[name]) for name in _MEASURED if name in logs}
                _append(work / PROGRESS, line)

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.is_world_process_zero:
                folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
                (folder / _WHOLE).write_text(json.dumps({"seconds": self.earlier + time.monotonic() - self.begun}))
                best = Path(args.output_dir) / f"checkpoint-{state.best_global_step}"
                for other in Path(args.output_dir).glob("checkpoint-*"):
                    if other not in (folder, best):
                        shutil.rmtree(other, ignore_errors=True)

        @staticmethod
        def mean_loss(history: Sequence[Mapping[str, float]], last: int) -> float | None:
            """The mean of the last `last` steps' losses: the last epoch's."""
            losses = [entry["loss"] for entry in history if "loss" in entry][-last:]
            return sum(losses) / len(losses) if losses else None

    return RunCallback()
