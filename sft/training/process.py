"""The training process: `python -m ratoon.sft.training.process JOB.json`, started by sft/training/launch.py.

Killed at any moment, it resumes from its last whole checkpoint when it is started again. The policy folder is renamed into
place when all of it is written. When the process that started it dies, so does it: two trainers never share a folder.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow as pa

from ratoon.errors import RatoonError, Stopped, TrainError
from ratoon.sft.data.dataset import swap
from ratoon.sft.models import policy
from ratoon.sft.training import collate, forward, moments, rft
from ratoon.sft.training.callbacks import first_kl, keep_records, resume_point, run_callback
from ratoon.sft.training.job import Job, TrainConfig, config_digest
from ratoon.sft.training.model_io import load, save
from ratoon.sft.training.selection import training_rows

ERROR = "error.json"
_LOCK_SECONDS = 60.0


def main(job_path: str) -> int:
    """Carry out the job; 0 when the policy folder is in place, else 1 with the reason in `error.json` or the log."""
    job = Job.from_json(Path(job_path).read_text(encoding="utf-8"))
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        with _lock(Path(job.work)):
            run(job)
    except RatoonError as error:
        reason = {"type": type(error).__name__, "message": error.message, "hint": error.hint}
        (Path(job.work) / ERROR).write_text(json.dumps(reason), encoding="utf-8")
        print(error, file=sys.stderr)
        return 1
    return 0


def run(job: Job) -> None:
    """Train, write the policy, put it in its place."""
    import torch
    import transformers

    started, config = time.monotonic(), job.config
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    torch.set_num_threads(
        max(1, (config.threads or len(os.sched_getaffinity(0))) // (1 if torch.cuda.is_available() else world))
    )
    selection = training_rows(job)
    examples, facts = _examples(job, pa.concat_tables([selection.rows, selection.held_out]))
    apart = set(selection.held_out["example_id"].to_pylist())
    held_out = [example for example in examples if example.example_id in apart]
    examples = [example for example in examples if example.example_id not in apart]
    transformers.set_seed(job.seed % 2**32)
    model = load(job)
    if config.packing:
        forward.check_packing(model, examples)
    plan = collate.plan_steps(
        examples, epochs=config.epochs, batch_size=config.batch_size, world=world, seed=job.seed, steps=config.steps
    )
    trainer, progress = _trainer(job, model, examples, plan, held_out, world)
    _refuse_sharded(trainer, config)
    trainer.train(resume_from_checkpoint=resume_point(Path(job.work)))
    trainer.accelerator.wait_for_everyone()
    # Sharded weights are brought together, in which every process takes part.
    whole = trainer.accelerator.get_state_dict(trainer.model_wrapped) if trainer.is_fsdp_enabled else None
    if rank == 0:
        seconds, steps = progress.earlier + time.monotonic() - started, len(plan) // world
        loss = progress.mean_loss(trainer.state.log_history, steps // config.epochs)
        facts |= {
            "examples": len(examples),
            "skipped": selection.skipped,
            "untrained": selection.untrained,
            "held_out": len(held_out),
            "eval_loss": trainer.state.best_metric,
            "best_step": trainer.state.best_global_step if held_out else None,
            "steps": steps,
            "loss": loss,
            "seconds": seconds,
        }
        facts["trained_tokens"] = config.epochs * sum(len(example.ids) for example in examples)
        facts["loss_tokens"] = config.epochs * sum(int(example.trained.sum()) for example in examples)
        final = _new_folder(job)
        model = trainer.accelerator.unwrap_model(trainer.model)
        if job.moments:
            moments.save(trainer.optimizer, model, final / policy.MOMENTS)
        _finish(job, final, model, whole, facts)


def _refuse_sharded(trainer: Any, config: TrainConfig) -> None:
    if not trainer.is_fsdp_enabled:
        return
    if config.lora is not None and config.lora.merge:
        raise TrainError("a sharded adapter cannot be merged", "set train.lora.merge = false, or train without FSDP")
    if config.keep_moments:
        raise TrainError("sharded moments cannot be kept", "set train.keep_moments = false, or train without FSDP")


def _examples(job: Job, rows: pa.Table) -> tuple[list[collate.Encoded], dict[str, Any]]:
    """What is trained on; NFT first gets the old log-probs, and loses the rows whose engine disagreed with them."""
    if job.method == "rft":
        return collate.encode(rows), {}
    from ratoon.sft.training.rescore import rescore

    found = rescore(job, lambda: load(job, sampler=True), rows)
    if found.rows.num_rows < job.config.min_examples:
        raise Stopped(
            f"{found.rows.num_rows} rows are left of {rows.num_rows}; train.min_examples is {job.config.min_examples}",
            "the others' log-probs are too far from the engine's: see train.nft.max_logprob_gap",
        )
    print(f"mean |trainer - engine| log-prob: {found.gap:.4f} nats a token; {found.dropped} rows dropped", flush=True)
    facts = {"logprob_gap": None if math.isnan(found.gap) else found.gap, "dropped": found.dropped}
    return collate.encode_groups(found.rows, found.logprobs), facts


def _new_folder(job: Job) -> Path:
    """An empty folder beside the policy's place."""
    final = Path(job.work) / "final"
    shutil.rmtree(final, ignore_errors=True)
    final.mkdir()
    return final


def _finish(job: Job, final: Path, model: Any, weights: dict[str, Any] | None, facts: dict[str, Any]) -> None:
    """Write the policy into `final`, its manifest last, and rename that into its place."""
    saved = save(model, job, final, weights)
    start, master, kept = Path(job.start), final / policy.MASTER, final / policy.MOMENTS
    facts["start_digest"] = policy.weights_digest(policy.master(start) or start)
    facts["master_digest"] = policy.weights_digest(master) if master.exists() else None
    facts["moments_digest"] = policy.weights_digest(kept) if kept.exists() else None
    facts["update_kept"] = saved.update_kept
    if saved.kind == "lora":
        facts |= {"base": job.base, "base_digest": policy.weights_digest(Path(job.base))}
    keep_records(Path(job.work), final)
    facts["start_kl"] = first_kl(final)
    manifest = policy.PolicyManifest(
        policy_id=job.policy_id, parent_policy_id=job.parent_policy_id, base_policy_id=job.base_policy_id, kind=saved.kind,
        method=job.method, config_digest=config_digest(job.config), dataset_id=job.dataset_id,
        dataset_digest=job.dataset_digest, seed=job.seed, iteration=job.iteration, tokenizer_digest=job.tokenizer_digest,
        template_digest=job.template_digest, weights_digest=policy.weights_digest(final), **facts,
    )  # fmt: skip
    policy.write_manifest(final, manifest)
    swap(final, Path(job.out))


def _trainer(
    job: Job, model: Any, examples: list[collate.Encoded], plan: list[collate.Step], held_out: list[collate.Encoded], world: int
) -> tuple[Any, Any]:
    import torch
    from transformers import TrainingArguments

    from ratoon.sft.training.trainer import Steps, StepTrainer

    config, work, steps = job.config, Path(job.work), len(plan) // world
    schedule = "constant_with_warmup" if config.schedule == "constant" else config.schedule
    every = config.evaluate_every or -(-steps // config.epochs)
    arguments = TrainingArguments(
        output_dir=str(work / "checkpoints"), max_steps=steps, per_device_train_batch_size=1, gradient_accumulation_steps=1,
        learning_rate=config.learning_rate, lr_scheduler_type=schedule, warmup_steps=round(config.warmup * steps),
        lr_scheduler_kwargs=dict(config.lr_scheduler_kwargs), optim=config.optim, optim_args=config.optim_args,
        adam_beta1=config.adam_beta1, adam_beta2=config.adam_beta2, adam_epsilon=config.adam_epsilon,
        weight_decay=config.weight_decay, max_grad_norm=config.max_grad_norm, seed=job.seed % 2**32,
        logging_steps=1, logging_nan_inf_filter=False, save_strategy="steps",
        save_steps=every if held_out else config.checkpoint_every, eval_strategy="steps" if held_out else "no",
        eval_steps=every if held_out else None, load_best_model_at_end=bool(held_out),
        metric_for_best_model="eval_loss" if held_out else None, greater_is_better=False if held_out else None,
        disable_tqdm=True, report_to=list(config.report_to), run_name=job.policy_id, remove_unused_columns=False,
        label_names=[], use_cpu=not torch.cuda.is_available(), dataloader_pin_memory=False,
        gradient_checkpointing=config.gradient_checkpointing,
    )  # fmt: skip
    arguments._n_gpu = min(arguments.n_gpu, 1)  # one device per process: never torch's own DataParallel
    progress = run_callback(work, examples, plan, steps)
    step_loss, measure = _loss(job)
    trainer = StepTrainer(
        step_loss=step_loss, measure=measure, bf16_autocast=config.bf16, model=model, args=arguments, callbacks=[progress],
        train_dataset=Steps(examples, plan, config.micro_batch_tokens, config.packing),
        held_out=_to_measure(job, held_out, world),
        moments=policy.moments(Path(job.start)) if config.keep_moments else None,
    )  # fmt: skip
    return trainer, progress


def _to_measure(job: Job, held_out: list[collate.Encoded], world: int) -> Any:
    """The held-out rows in steps of one pass; None where there are none."""
    from ratoon.sft.training.trainer import Steps

    if not held_out:
        return None
    plan = collate.plan_steps(held_out, epochs=1, batch_size=job.config.batch_size, world=world, seed=job.seed)
    return Steps(held_out, plan, job.config.micro_batch_tokens, job.config.packing)


def _loss(job: Job) -> tuple[Any, Any]:
    """The method's loss of a micro-batch, and how its steps are measured."""
    if job.method == "rft":
        return rft.step_loss, None
    from ratoon.sft.training import nft_step

    return nft_step.step_loss(job.config.nft), nft_step.measured


def _die_with_parent() -> None:
    """The parent holds the other end of stdin open and never writes: its end means that the parent is gone."""
    while os.read(0, 1):
        pass
    os._exit(1)


class _lock:
    """One trainer per work folder; a dying predecessor is waited for. Only rank 0 takes it."""

    def __init__(self, work: Path) -> None:
        self._path = work / "lock"

    def __enter__(self) -> None:
        self._file = self._path.open("w")
        deadline = time.monotonic() + _LOCK_SECONDS
        while os.environ.get("RANK", "0") == "0":
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:  # held by another
                if time.monotonic() > deadline:
                    raise TrainError(f"another process trains in {self._path.parent}", "wait for it, or end it") from None
                time.sleep(0.1)

    def __exit__(self, *_: object) -> None:
        self._file.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
