"""Training, from outside: a real process on the tiny model; killed, resumed, refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import psutil
import pytest
from safetensors.numpy import load_file

from ratoon.errors import ModelError, Stopped, TrainError
from ratoon.sft.models import policy
from ratoon.sft.training import launch
from ratoon.sft.training.job import Job
from ratoon.sft.training.launch import Progress

Here = Callable[[], AbstractContextManager[None]]


@pytest.mark.slow
@pytest.mark.usefixtures("trained_here")
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
    return [p for p in psutil.Process().children(recursive=True) if "ratoon.sft.training.process" in p.cmdline()]


@pytest.mark.slow
def test_a_killed_trainer_resumes_from_its_checkpoint_and_ends_at_the_same_weights(
    make_job: Callable[..., Job], make_dataset: Callable[..., Path], tmp_path: Path, training_here: Here
) -> None:
    fields = {"datasets": [make_dataset()], "epochs": 6, "checkpoint_every": 4}
    with training_here():
        whole = launch.train(make_job(**fields, out=tmp_path / "unbroken"))
    job, seen = make_job(**fields, out=tmp_path / "broken"), list[Progress]()

    def kill_at_ten(progress: Progress) -> None:
        seen.append(progress)
        if progress.step == 10:
            os.kill(_trainers()[0].pid, signal.SIGKILL)

    with pytest.raises(TrainError, match="signal 9") as caught:
        launch.train(job, kill_at_ten)
    assert job.log in caught.value.message
    assert not Path(job.out).exists()
    assert list((Path(job.work) / "checkpoints").glob("*/whole.json"))
    resumed = list[Progress]()
    with training_here():
        trained = launch.train(job, resumed.append)
    assert resumed[0].step > 4
    assert resumed[-1].step == whole.steps
    assert trained.weights_digest == whole.weights_digest
    assert trained.loss == pytest.approx(whole.loss, abs=1e-6)


@pytest.mark.slow
def test_a_trainer_dies_with_the_process_that_started_it(make_job: Callable[..., Job], tmp_path: Path) -> None:
    job = make_job(epochs=2000)
    told = tmp_path / "job.json"
    told.write_text(job.to_json())
    program = (
        "import sys; from ratoon.sft.training import job, launch\nlaunch.train(job.Job.from_json(open(sys.argv[1]).read()))"
    )
    parent = subprocess.Popen([sys.executable, "-c", program, str(told)])
    ready = Path(job.work) / "progress.jsonl"
    deadline = time.monotonic() + 120
    while not (ready.exists() and ready.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.1)
    (trainer,) = _trainers()
    parent.kill()
    parent.wait()
    trainer.wait(timeout=30)
    assert not Path(job.out).exists()


def test_too_few_examples_stop_before_a_process_is_started(
    make_job: Callable[..., Job], make_dataset: Callable[..., Path]
) -> None:
    with pytest.raises(Stopped, match=r"3 examples; train\.min_examples is 8") as caught:
        launch.train(make_job([make_dataset(3)]))
    assert "train.min_examples" in caught.value.hint
    with pytest.raises(Stopped, match=r"12 more are longer than train\.max_length, 20"):
        launch.train(make_job([make_dataset(12)], max_length=20))


def test_a_dataset_without_token_ids_cannot_be_trained_on(
    make_job: Callable[..., Job], make_dataset: Callable[..., Path]
) -> None:
    with pytest.raises(TrainError, match="no token ids"):
        launch.train(make_job([make_dataset(12, keep_tokens=False)]))


def test_a_start_that_is_gone_is_a_model_error(make_job: Callable[..., Job], tiny: Path) -> None:
    job = make_job()
    (tiny / "config.json").unlink()
    with pytest.raises(ModelError, match=r"there is no .*config\.json"):
        launch.train(job)


def test_a_tracker_that_is_not_installed_is_named(make_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch.importlib.util, "find_spec", lambda name: None if name == "mlflow" else name)
    with pytest.raises(TrainError, match="mlflow"):
        launch.train(make_job(report_to=("mlflow",)))


@pytest.mark.slow
@pytest.mark.usefixtures("trained_here")
def test_a_changed_or_truncated_policy_is_refused(make_job: Callable[..., Job]) -> None:
    job = make_job(epochs=1)
    weights = launch.train(job).folder / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ModelError, match="digest"):
        launch.train(job)
    weights.write_bytes(content[:-4])
    with pytest.raises(ModelError, match="truncated"):
        policy.verify_policy(weights.parent)


@pytest.mark.slow
@pytest.mark.usefixtures("trained_here")
def test_an_adapter_is_merged_into_a_whole_model_or_kept_apart_and_trained_on(make_job: Callable[..., Job], tiny: Path) -> None:
    pytest.importorskip("peft")
    lora = {"rank": 4, "dropout": 0.1}
    merged = launch.train(make_job(lora=lora, epochs=1))
    assert (merged.manifest.kind, policy.is_adapter(merged.folder)) == ("full", False)
    assert merged.weights_digest != policy.weights_digest(tiny)
    apart = launch.train(make_job(lora=lora | {"merge": False}, epochs=1))
    assert (apart.manifest.kind, policy.is_adapter(apart.folder)) == ("lora", True)
    last = policy.as_policy(apart.manifest, apart.folder, tiny)
    further = launch.train(make_job(lora=lora | {"merge": False}, epochs=1, start="last", last=last))
    assert further.manifest.parent_policy_id == apart.manifest.policy_id
    assert further.weights_digest != apart.weights_digest


@pytest.mark.slow
def test_two_devices_share_a_step_and_end_where_one_does(
    make_job: Callable[..., Job], make_dataset: Callable[..., Path], tmp_path: Path, training_here: Here
) -> None:
    fields = {"datasets": [make_dataset(13)], "epochs": 2, "bf16": False}  # 13 by 4: one device has no part of some step
    with training_here():
        one = launch.train(make_job(**fields, out=tmp_path / "one"))
    two = launch.train(make_job(**fields, out=tmp_path / "two", processes=2))
    weights = [load_file(trained.folder / "model.safetensors") for trained in (one, two)]
    assert max(float(abs(weights[0][name] - weights[1][name]).max()) for name in weights[0]) < 1e-4
    assert (one.steps, one.trained_tokens, one.loss_tokens) == (two.steps, two.trained_tokens, two.loss_tokens)
    assert one.loss == pytest.approx(two.loss, abs=1e-4)
