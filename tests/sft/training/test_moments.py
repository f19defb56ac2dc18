"""Adam's moments that a policy keeps: two trainings that go on from each other are one training."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError
from safetensors.numpy import load_file

from ratoon.errors import ModelError
from ratoon.sft.models import policy
from ratoon.sft.training import launch
from ratoon.sft.training.job import Job, TrainConfig, identity

pytest.importorskip("torch")
pytestmark = pytest.mark.usefixtures("trained_here")
Jobs = Callable[..., Job]
# Every epoch is one step over all rows, so that two rounds of one epoch see what one round of two does.
WHOLE = {"start": "last", "batch_size": 12, "warmup": 0.0, "bf16": False}


@pytest.fixture
def rounds(make_job: Jobs, make_dataset: Callable[..., Path], tmp_path: Path) -> Callable[[str, bool], list[Path]]:
    """`rounds(name, keep)`: the folders of two policies of one epoch each, the second going on from the first."""
    data = [make_dataset()]

    def train(name: str, keep: bool) -> list[Path]:
        folders, last = [], None
        for number in (1, 2):
            job = make_job(data, last=last, out=tmp_path / f"{name}{number}", epochs=1, keep_moments=keep, **WHOLE)
            done = launch.train(job)
            last = policy.as_policy(done.manifest, done.folder)
            folders.append(done.folder)
        return folders

    return train


def _apart(one: Path, other: Path) -> float:
    """The largest difference of a weight between two models' folders."""
    weights = [load_file(folder / "model.safetensors") for folder in (one, other)]
    return max(float(abs(weights[0][name] - weights[1][name]).max()) for name in weights[0])


@pytest.mark.slow
def test_two_rounds_that_keep_adams_moments_are_one_training_and_those_that_do_not_are_not(
    make_job: Jobs, make_dataset: Callable[..., Path], rounds: Callable[[str, bool], list[Path]], tmp_path: Path
) -> None:
    whole = launch.train(make_job([make_dataset()], out=tmp_path / "whole", epochs=2, **WHOLE)).folder
    kept, anew = rounds("kept", True), rounds("anew", False)
    assert _apart(kept[1], whole) < 1e-6
    assert _apart(anew[1], whole) > 1e-4
    assert policy.moments(kept[1]) is not None
    assert policy.moments(anew[1]) is None

    assert policy.new_optimizer(kept[0]) is None
    assert policy.superseded(tmp_path, policy.read_manifest(kept[1]).policy_id, 2) == [kept[0] / "moments"]
    shutil.rmtree(kept[0] / "moments")
    assert "a later policy superseded them" in (policy.new_optimizer(kept[0]) or "")
    assert "its training kept none" in (policy.new_optimizer(anew[0]) or "")

    file = kept[1] / "moments" / "moments.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ModelError, match="digest") as caught:
        policy.verify_master(kept[1])
    assert "Adam starts anew" in caught.value.hint


def test_moments_of_another_model_are_refused(tmp_path: Path) -> None:
    import torch

    from ratoon.sft.training import moments

    def stepped(width: int) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        model = torch.nn.Linear(width, 1)
        optimizer = torch.optim.AdamW(model.parameters())
        model(torch.ones(width)).backward()
        optimizer.step()
        return model, optimizer

    model, optimizer = stepped(3)
    moments.save(optimizer, model, tmp_path / "moments")
    other, fresh = stepped(4)
    with pytest.raises(ModelError, match=r"weight has \(1, 3\) there, not \(1, 4\)"):
        moments.restore(fresh, other, tmp_path / "moments")
    with pytest.raises(ModelError, match=r"the model has no bias"):
        moments.restore(fresh, torch.nn.Linear(3, 1, bias=False), tmp_path / "moments")


def test_an_adapter_keeps_no_moments_and_a_policy_without_them_has_the_digest_it_always_had(make_job: Jobs) -> None:
    with pytest.raises(ValidationError, match="keep_moments needs whole weights"):
        TrainConfig(keep_moments=True, lora={"rank": 4})
    assert "keep_moments" not in identity(TrainConfig())
    job = make_job(keep_moments=True, start="last")
    assert identity(job.config)["keep_moments"] is True
    assert job.moments
    assert Job.from_json(json.dumps(json.loads(job.to_json()))) == job
