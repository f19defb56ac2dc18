"""Training from outside: start the training process, pass its progress on, and say why when it dies. No torch here."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from ratoon import errors, schema
from ratoon.errors import MissingExtra, TrainError
from ratoon.sft.models import base_models, policy
from ratoon.sft.training.callbacks import PROGRESS, RECORDS
from ratoon.sft.training.job import Job
from ratoon.sft.training.selection import training_rows

_POLL_SECONDS = 0.1
_LOG_LINES = 15
_OUT_OF_MEMORY = ("out of memory", "outofmemory", "memoryerror", "allocate memory", "not enough memory")
_NEEDED = {"torch": "train", "transformers": "train", "accelerate": "train"}


@dataclass(frozen=True)
class Progress:
    """One optimizer step done: its loss (nats per loss token) and the unpadded tokens per second so far.

    NFT also tells (sft/training/nft_step.py): the mean ratio to the old policy, the share of wrong tokens past the point
    where the implicit negative policy runs out, KL(old ‖ new) and entropy in nats a token, and the share of right sequences.
    """

    step: int
    total: int
    loss: float
    tokens_per_second: float
    grad_norm: float | None = None
    learning_rate: float | None = None
    ratio: float | None = None
    clip_fraction: float | None = None
    kl: float | None = None
    entropy: float | None = None
    positives: float | None = None


@dataclass(frozen=True)
class Trained:
    """A whole policy folder. `trained_tokens` counts prompts too, `loss_tokens` only what was learned; both over all epochs."""

    folder: Path
    manifest: policy.PolicyManifest
    weights_digest: str
    steps: int
    trained_tokens: int
    loss_tokens: int
    seconds: float
    loss: float | None


def train(
    job: Job, on_progress: Callable[[Progress], None] | None = None, on_start: Callable[[int], None] | None = None
) -> Trained:
    """The job's policy, trained unless it is there already; blocks until it is done.

    Raises Stopped on too few examples, ModelError on a folder that is not what it should be, TrainError when the training
    process dies: its message holds the end of the log. What was trained up to the last checkpoint is kept.
    """
    out, work = Path(job.out), Path(job.work)
    if not out.exists():
        _check(job)
        work.mkdir(parents=True, exist_ok=True)
        _run(job, on_progress or _ignore, on_start or _ignore)
    manifest = policy.verify_policy(out)
    if manifest.policy_id != job.policy_id:
        raise TrainError(
            f"{out} holds policy {manifest.policy_id}, not {job.policy_id}", "name another folder, or remove that one"
        )
    shutil.rmtree(work, ignore_errors=True)
    return Trained(
        folder=out, manifest=manifest, weights_digest=manifest.weights_digest, steps=manifest.steps, loss=manifest.loss,
        trained_tokens=manifest.trained_tokens, loss_tokens=manifest.loss_tokens, seconds=manifest.seconds or 0.0,
    )  # fmt: skip


def records(folder: Path) -> dict[str, pa.Table]:
    """What NFT left beside a policy: tables `rescored` and `failures` (rows it dropped, with reasons); else nothing."""
    paths = {Path(name).stem: folder / name for name in RECORDS}
    return {
        name: pq.read_table(path, schema=schema.TABLES[name], page_checksum_verification=True)
        for name, path in paths.items() if path.exists()
    }  # fmt: skip


def start_notes(job: Job) -> list[str]:
    """What of earlier trainings does not reach this one, a line each."""
    start = Path(job.start)
    lines = [policy.rounded_start(start), policy.new_optimizer(start) if job.config.keep_moments else None]
    return [line for line in lines if line is not None]


def _check(job: Job) -> None:
    """Everything that can be refused before a process is started."""
    for package, extra in (_NEEDED | job.config.packages).items():
        if importlib.util.find_spec(package) is None:
            raise MissingExtra(package, extra)
    for tracker in job.config.report_to:
        if importlib.util.find_spec(tracker) is None:
            raise TrainError(
                f"train.report_to names {tracker!r}, which is not installed", f"pip install {tracker}, or take it out"
            )
    if job.config.liger and not _visible_gpus():
        raise TrainError("train.liger needs a GPU, and there is none: its kernels are Triton's", "set it to false")
    if job.config.accelerate and not Path(job.config.accelerate).is_file():
        raise TrainError(f"there is no file {job.config.accelerate}", "write one with `accelerate config --config_file FILE`")
    if Path(job.start).is_dir() and not policy.is_adapter(Path(job.start)):
        base_models.refuse_multimodal(Path(job.start))
    policy.verify_master(Path(job.start))
    training_rows(job)


def _run(job: Job, on_progress: Callable[[Progress], None], on_start: Callable[[int], None]) -> None:
    work, log = Path(job.work), Path(job.log)
    log.parent.mkdir(parents=True, exist_ok=True)
    (work / "error.json").unlink(missing_ok=True)
    _refuse_another(job)
    (work / "job.json").write_text(job.to_json(), encoding="utf-8")
    (work / PROGRESS).touch()
    with log.open("ab") as sink, (work / PROGRESS).open(encoding="utf-8") as lines:
        lines.seek(0, os.SEEK_END)
        process = subprocess.Popen(
            _command(job), stdin=subprocess.PIPE, stdout=sink, stderr=subprocess.STDOUT, env=os.environ | _environment(job),
            process_group=0,  # Ctrl-C is for the run, which ends this process in its own time
        )  # fmt: skip
        try:
            on_start(process.pid)
            for progress in _follow(process, lines):
                on_progress(progress)
        finally:
            _end(process)
    if process.returncode != 0:
        raise _reason(job, process.returncode)


def _refuse_another(job: Job) -> None:
    """What lies in the work folder must be of this very job: parent, data, config and seed, which make up the policy's id."""
    work = Path(job.work)
    if not (work / "job.json").exists():
        return
    began = json.loads((work / "job.json").read_text(encoding="utf-8")).get("policy_id")
    if began != job.policy_id and any((work / "checkpoints").glob("checkpoint-*")):
        raise TrainError(
            f"{work} holds a checkpoint of policy {began}, and this would train {job.policy_id}: other data, settings or start",
            "finish that one with what it began with, name another folder, or remove this one",
        )
    if began != job.policy_id:
        for name in (PROGRESS, *RECORDS):
            (work / name).unlink(missing_ok=True)


def _command(job: Job) -> list[str]:
    module = ["-m", "ratoon.sft.training.process", str(Path(job.work) / "job.json")]
    accelerate = [sys.executable, "-m", "accelerate.commands.launch"]
    if job.config.accelerate:  # the autocast is the trainer's own, whatever that file says
        return [*accelerate, "--config_file", str(Path(job.config.accelerate).resolve()), "--mixed_precision", "no", *module]
    gpus = _visible_gpus()
    processes = job.config.processes or max(gpus, 1)
    if processes == 1:
        return [sys.executable, *module]
    device = "--multi_gpu" if gpus else "--cpu"
    options = ["--num_processes", str(processes), "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    return [*accelerate, device, *options, "--main_process_port", "0", *module]


def _visible_gpus() -> int:
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        return len([name for name in listed.split(",") if name.strip() not in ("", "-1")])
    return sum(path.name[6:].isdigit() for path in Path("/dev").glob("nvidia*"))


def _environment(job: Job) -> dict[str, str]:
    boards = Path(job.log).parent / "tensorboard" / job.policy_id
    # Threads that spin at every barrier make training several times slower as soon as anything else wants a core.
    waiting = {"OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "passive")}
    quiet = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1"}
    return quiet | waiting | {"TENSORBOARD_LOGGING_DIR": str(boards)}


def _follow(process: subprocess.Popen[bytes], lines: IO[str]) -> Iterator[Progress]:
    """Progress as it is written, until the process ends."""
    rest = ""
    while True:
        ended = process.poll() is not None
        *whole, rest = (rest + lines.read()).split("\n")
        yield from (Progress(**json.loads(line)) for line in whole)
        if ended:
            return
        time.sleep(_POLL_SECONDS)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Closing stdin ends every training process, those of accelerate too; then nothing is left running."""
    if process.stdin:
        process.stdin.close()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _reason(job: Job, code: int) -> errors.RatoonError:
    told = Path(job.work) / "error.json"
    if told.exists():
        tree = json.loads(told.read_text(encoding="utf-8"))
        return getattr(errors, tree["type"])(tree["message"], tree["hint"])
    tail = Path(job.log).read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return TrainError(
        f"the training process {how}; the end of {job.log}:\n" + "\n".join(f"  {line}" for line in tail),
        hint(code, tail),
    )


def hint(code: int, tail: Sequence[str]) -> str:
    """What mends a death: less memory where memory was the cause."""
    again = "start again to resume from the last checkpoint"
    said = "\n".join(tail).lower()
    if code == -signal.SIGKILL or any(words in said for words in _OUT_OF_MEMORY):
        return f"out of memory, it seems: lower train.micro_batch_tokens, then {again}"
    return f"the log says why; {again}"


def _ignore(_: object) -> None:
    pass
