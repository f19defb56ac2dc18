"""Training, from outside: a real process on the tiny model; killed, resumed, refused."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from ratoon.errors import TrainError
from ratoon.sft import launch, policy
from ratoon.sft.job import Job
from ratoon.sft.launch import Progress


def test_training_lowers_the_loss_and_leaves_a_whole_new_policy(make_job: Callable[..., Job], tiny: Path) -> None:
    job, seen = make_job(epochs=6), list[Progress]()
    trained = launch.train(job, seen.append)
    assert [p.step for p in seen] == list(range(1, trained.steps + 1))
    assert seen[-1].total == trained.steps == 18
    assert seen[-1].loss < 0.9 * seen[0].loss
    assert trained.weights_digest != policy.weights_digest(tiny)
    assert policy.verify_policy(trained.folder).parent_policy_id == job.parent_policy_id
    assert not Path(job.work).exists()
    again = launch.train(job, seen.append)
    assert (again.weights_digest, again.steps, len(seen)) == (trained.weights_digest, 18, 18)


def _trainers() -> list[psutil.Process]:
    return [p for p in psutil.Process().children(recursive=True) if "ratoon.sft.train" in p.cmdline()]


def test_a_killed_trainer_resumes_from_its_checkpoint_and_ends_at_the_same_weights(
    make_job: Callable[..., Job], make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    fields = {"datasets": [make_dataset()], "epochs": 6, "checkpoint_every": 4}
    whole = launch.train(make_job(**fields, out=tmp_path / "unbroken"))
    job, seen = make_job(**fields, out=tmp_path / "broken"), list[Progress]()

    def kill_at_ten(progress: Progress) -> None:
        seen.append(progress)
        if progress.step == 10:
            os.kill(_trainers()[0].pid, signal.SIGKILL)

    # The trainer runs ahead of what it reports; hold it where a checkpoint is behind it and the end before it.
    with pytest.raises(TrainError, match="signal 9") as caught:
        launch.train(job, kill_at_ten)
    assert job.log in caught.value.message
    assert not Path(job.out).exists()
    kept = sorted(p.name for p in (Path(job.work) / "checkpoints").glob("*/whole.json"))
    assert kept
    resumed = list[Progress]()
    trained = launch.train(job, resumed.append)
    assert resumed[0].step > 4
    assert resumed[-1].step == whole.steps
    assert trained.weights_digest == whole.weights_digest
    assert trained.loss == pytest.approx(whole.loss, abs=1e-6)


def test_a_trainer_dies_with_the_process_that_started_it(make_job: Callable[..., Job]) -> None:
    pid = os.fork()
    job = make_job(epochs=2000)
    if pid == 0:
        launch.train(job)
        os._exit(0)
    ready = Path(job.work) / "progress.jsonl"
    deadline = time.monotonic() + 60
    while not (ready.exists() and ready.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.1)
    (trainer,) = _trainers()
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    trainer.wait(timeout=10)
    assert not Path(job.out).exists()
