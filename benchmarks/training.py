"""How fast training is: an NFT step beside an RFT step of the same tokens, and RFT beside TRL's SFTTrainer. Prints JSON.

Usage: OMP_WAIT_POLICY=passive python benchmarks/training.py [--model packaged|mid|DIR] [--rows N] [--repeats N] [--peer PY]

Without `--peer` an NFT step beside an RFT step, turn about in one process. With it RFT beside TRL: `PY` is a Python with TRL
(1.16 was measured) and this package. Both trainers get the same token ids and labels, float32 weights under bfloat16 autocast,
AdamW and 16 rows a step. Each runs in a process of its own, in turn, so that what else the machine does meets both. TRL runs
with batches of 16 and of 4 x 4 rows, the latter also grouped by length, gradient checkpointing off, and the best one counts.
Tokens are prompt and completion without padding.

Bars: an NFT step at most 1.15 of an RFT step once old log-probs are there; RFT at least TRL's tokens per second.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, TrainerCallback, TrainingArguments

from ratoon.render import Renderer
from ratoon.sft.data import examples
from ratoon.sft.models import policy, smollm2
from ratoon.sft.models.tiny import make_tiny
from ratoon.sft.training import nft_step, rft
from ratoon.sft.training.collate import Encoded, encode, encode_groups, plan_steps
from ratoon.sft.training.forward import TrainedLogits
from ratoon.sft.training.job import NftConfig
from ratoon.sft.training.trainer import Steps, StepTrainer

BATCH, GROUP, BUDGET = 16, 4, 2048
PASSIVE = {"OMP_WAIT_POLICY": "passive"}  # threads that spin at a barrier would count as work, and slow what they wait for
WORDS = (
    "so",
    "we",
    "first",
    "add",
    "the",
    "two",
    "numbers",
    "and",
    "then",
    "take",
    "what",
    "is",
    "left",
    "over",
    "to",
    "check",
)


def model_folder(name: str, root: Path) -> Path:
    """The folder of a model named on the command line."""
    if name == "packaged":
        return smollm2.prepare()
    if name in ("tiny", "mid"):
        folder = make_tiny(root / "tiny")
        return folder if name == "tiny" else _mid(folder, root / "mid")
    return Path(name)


def _mid(tiny: Path, folder: Path) -> Path:
    """A random Llama of 11 million parameters with a vocabulary of 32,000 and the tiny model's tokenizer."""
    config = LlamaConfig(
        vocab_size=32_000, hidden_size=256, intermediate_size=512, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=4, tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    policy.copy_tokenizer(tiny, folder)
    return folder


def rows_of(folder: Path, n: int, seed: int = 0) -> pa.Table:
    """`n` rollouts in groups of four, one right: short prompts, replies of 3 to about 150 tokens as small models write them."""
    renderer, draw, rows = Renderer(folder), random.Random(seed), []
    for i in range(n):
        a, b = draw.randrange(100), draw.randrange(100)
        prompt = [{"role": "user", "content": f"What is {i // GROUP} + {i // GROUP + 3}? Think, then give the number."}]
        text = " ".join([*draw.choices(WORDS, k=min(int(draw.expovariate(1 / 40)), 140)), f"{a} + {b} = {a + b}"])
        sampled = [*renderer.encode(text), renderer.end_of_turn_ids[0]]
        rows.append({
            "example_id": f"e_{i:05d}", "rollout_id": f"r_{i:05d}", "group_id": f"g_{i // GROUP:05d}", "weight": 1.0,
            "prompt_token_ids": renderer.render([prompt])[0], "token_ids": sampled, "loss_mask": [1] * len(sampled),
            "label": i % GROUP == 0, "pass_rate": 1 / GROUP, "n": GROUP, "temperature": 1.0,
        })  # fmt: skip
    return pa.Table.from_pylist(rows, schema=examples.ROWS)


def _model(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def _trainer(model: Any, encoded: list[Encoded], out: Path, loss: Any, measure: Any, epochs: int = 1) -> StepTrainer:
    plan = plan_steps(encoded, epochs=epochs, batch_size=BATCH, world=1, seed=0)
    cpu = not torch.cuda.is_available()
    arguments = TrainingArguments(
        output_dir=str(out), use_cpu=cpu, report_to="none", max_steps=len(plan), logging_steps=1, save_strategy="no",
        disable_tqdm=True, optim="adamw_torch_fused", learning_rate=1e-6, per_device_train_batch_size=1, label_names=[],
        remove_unused_columns=False, dataloader_pin_memory=False,
    )  # fmt: skip
    return StepTrainer(
        step_loss=loss, measure=measure, bf16_autocast=True, model=model, args=arguments,
        train_dataset=Steps(encoded, plan, BUDGET),
    )  # fmt: skip


def steps_compared(folder: Path, rows: pa.Table, repeats: int, out: Path) -> dict[str, float]:
    """Wall and processor seconds of whole optimizer steps by each method, turn about on one model and the same micro-batches.

    The ratios are medians over pairs of neighbours.
    """
    model = _model(folder)
    old = [np.full(len(ids), -2.0, np.float32) for ids in rows["token_ids"].to_pylist()]
    encoded = encode_groups(rows, old)
    losses = {"rft": (rft.step_loss, None), "nft": (nft_step.step_loss(NftConfig()), nft_step.measured)}
    trainers = {name: _trainer(model, encoded, out, *pair) for name, pair in losses.items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-7, fused=True)
    seconds: dict[str, list[tuple[float, float]]] = {"rft": [], "nft": []}
    steps = trainers["rft"].train_dataset
    for turn in range(repeats + 1):
        for step in (steps[i] for i in range(len(steps))):
            for name in ("rft", "nft") if turn % 2 else ("nft", "rft"):
                begun = _now()
                trainers[name].training_step(model, step)
                if name == "nft":
                    nft_step.measured(trainers[name]._sums)
                optimizer.step()
                optimizer.zero_grad()
                if turn:
                    seconds[name].append(_since(begun))
        print(f"turn {turn} of {repeats}", file=sys.stderr, flush=True)
    told = {"pairs": len(seconds["rft"]), "rescoring_s": _rescoring(model, encoded)}
    for i, clock in enumerate(("s", "cpu_s")):
        of = {name: [pair[i] for pair in pairs] for name, pairs in seconds.items()}
        told |= {f"{name}_step_{clock}": statistics.median(values) for name, values in of.items()}
        told[f"nft_over_rft_{clock}"] = statistics.median(n / r for n, r in zip(of["nft"], of["rft"], strict=True))
    return told


def _rescoring(model: Any, encoded: list[Encoded]) -> float:
    """Seconds to score every row once, as before an NFT training."""
    forward, steps = TrainedLogits(model, bf16_autocast=True), Steps(encoded, plan_of(encoded), BUDGET)
    begun = time.perf_counter()
    with torch.no_grad():
        for batch in (batch for i in range(len(steps)) for batch in steps[i]["micro"]):
            batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
            nft_step.token_logprobs(forward(model, batch), batch["targets"], batch.get("temperature"))
    forward.remove()
    return time.perf_counter() - begun


def plan_of(encoded: list[Encoded]) -> Any:
    """One pass in steps of 16."""
    return plan_steps(encoded, epochs=1, batch_size=BATCH, world=1, seed=0)


def _now() -> tuple[float, float]:
    """Wall and processor seconds, once the device has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter(), time.process_time()


def _since(begun: tuple[float, float]) -> tuple[float, float]:
    wall, processor = _now()
    return wall - begun[0], processor - begun[1]


class _Clock(TrainerCallback):
    """Wall and processor seconds from the start of training to the end of its last step."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.begun = _now()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.wall, self.processor = _since(self.begun)


def _measured(train: Callable[[], Any], clock: _Clock, tokens: int, steps: int) -> dict[str, float]:
    train()
    return {"tokens_per_s": tokens / clock.wall, "tokens_per_cpu_s": tokens / clock.processor, "steps": steps}


def ours(folder: Path, rows: pa.Table, out: Path) -> dict[str, float]:
    """RFT's tokens per second over one pass, as `ratoon train` goes through it."""
    encoded = encode(rows)
    trainer, clock = _trainer(_model(folder), encoded, out, rft.step_loss, None), _Clock()
    trainer.add_callback(clock)
    return _measured(trainer.train, clock, sum(len(e.ids) for e in encoded), len(trainer.train_dataset))


def theirs(folder: Path, rows: pa.Table, out: Path, batch: int, order: str = "random") -> dict[str, float]:
    """TRL's tokens per second over one pass of the same rows, in batches of `batch` and 16 rows a step."""
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    pairs = list(zip(rows["prompt_token_ids"].to_pylist(), rows["token_ids"].to_pylist(), strict=True))
    data = Dataset.from_list([{"input_ids": p + c, "labels": [-100] * len(p) + c} for p, c in pairs])
    config = SFTConfig(
        output_dir=str(out), use_cpu=not torch.cuda.is_available(), report_to="none", num_train_epochs=1, logging_steps=1,
        save_strategy="no", disable_tqdm=True, optim="adamw_torch_fused", learning_rate=1e-6, bf16=True,
        gradient_checkpointing=False, per_device_train_batch_size=batch, gradient_accumulation_steps=BATCH // batch,
        max_length=2048, packing=False, dataloader_pin_memory=False, train_sampling_strategy=order,
    )  # fmt: skip
    clock = _Clock()
    trainer = SFTTrainer(
        _model(folder), config, train_dataset=data, processing_class=AutoTokenizer.from_pretrained(folder), callbacks=[clock]
    )
    return _measured(trainer.train, clock, sum(len(p) + len(c) for p, c in pairs), -(-len(pairs) // BATCH))


SIDES: dict[str, Callable[[Path, pa.Table, Path], dict[str, float]]] = {
    "ratoon": ours,
    "trl 16x1": lambda folder, rows, out: theirs(folder, rows, out, 16),
    "trl 4x4": lambda folder, rows, out: theirs(folder, rows, out, 4),
    "trl 4x4 by length": lambda folder, rows, out: theirs(folder, rows, out, 4, "group_by_length"),
}


def beside_trl(python: str, folder: Path, rows: int, repeats: int) -> dict[str, Any]:
    """Median tokens per second of each side over `repeats` processes in turn, and ours over the better of theirs."""
    found: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _ in range(repeats):
        for side in SIDES:
            command = [python, __file__, "--side", side, "--model", str(folder), "--rows", str(rows)]
            done = subprocess.run(command, env=os.environ | PASSIVE, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(f"{side} failed:\n{done.stderr[-3000:]}")
            found[side].append(json.loads(done.stdout.strip().splitlines()[-1]))
            print(side, found[side][-1], file=sys.stderr, flush=True)
    medians = {side: {name: statistics.median(run[name] for run in runs) for name in runs[0]} for side, runs in found.items()}
    ratios = {}
    for name in ("tokens_per_s", "tokens_per_cpu_s"):
        ratios[f"{name}_over_trl"] = medians["ratoon"][name] / max(m[name] for s, m in medians.items() if s != "ratoon")
    return medians | ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="packaged")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peer", default=None)
    parser.add_argument("--side", choices=SIDES, default=None, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0))))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        model = model_folder(asked.model, root)
        rows = rows_of(model, asked.rows)
        if asked.side:
            told: dict[str, Any] = SIDES[asked.side](model, rows, root / "out")
        else:
            told = {"model": asked.model, "rows": asked.rows, "device": "cuda" if torch.cuda.is_available() else "cpu",
                    "threads": torch.get_num_threads()}  # fmt: skip
            if asked.peer:
                told |= beside_trl(asked.peer, model, asked.rows, asked.repeats)
            else:
                told |= steps_compared(model, rows, asked.repeats, root / "out")
    print(json.dumps(told))


if __name__ == "__main__":
    main()
