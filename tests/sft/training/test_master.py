"""Weights that are written in fewer bits than they were trained in: the next round starts from what was learned."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from ratoon.engine import Policy
from ratoon.errors import ModelError
from ratoon.sft.data import dataset, examples
from ratoon.sft.models import policy
from ratoon.sft.models.tiny import make_tiny
from ratoon.sft.training import launch
from ratoon.sft.training import process as training
from ratoon.sft.training.callbacks import PROGRESS
from ratoon.sft.training.job import Job, TrainConfig
from ratoon.sft.training.selection import training_rows

torch = pytest.importorskip("torch")
Jobs = Callable[..., Job]
RATE = 1e-5


class Made(NamedTuple):
    """A policy's folder and its manifest."""

    folder: Path
    manifest: policy.PolicyManifest


def _train(job: Job) -> Made:
    """What the training process does, in this one."""
    Path(job.work).mkdir(parents=True)
    (Path(job.work) / PROGRESS).touch()
    training.run(job)
    return Made(Path(job.out), policy.verify_policy(Path(job.out)))


def _weights(folder: Path) -> dict[str, np.ndarray]:
    """A folder's weights as float32 numbers, whatever type they are stored in."""
    from safetensors.torch import load_file

    return {name: tensor.float().numpy() for name, tensor in load_file(folder / "model.safetensors").items()}


def _differing(one: dict[str, np.ndarray], other: dict[str, np.ndarray], among: dict[str, np.ndarray]) -> float:
    """The share of the marked weights that differ."""
    return sum(int((one[n] != other[n])[among[n]].sum()) for n in one) / sum(int(m.sum()) for m in among.values())


def _round(model: Path) -> Path:
    """The model, its weights written in bfloat16 as most are that one starts from."""
    from safetensors.torch import load_file, save_file

    weights = load_file(model / "model.safetensors")
    save_file({n: w.to(torch.bfloat16) for n, w in weights.items()}, model / "model.safetensors", {"format": "pt"})
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"}))
    return model


@pytest.fixture
def rounded(tiny: Path) -> Path:
    return _round(tiny)


@pytest.fixture
def small_steps(rounded: Path, make_job: Jobs) -> Callable[..., Job]:
    """`small_steps(last, out=…)`: a job of three steps of 1e-5, far below what bfloat16 holds of most weights."""

    def make(last: Policy | None = None, **fields: Any) -> Job:
        fixed = {"start": "last", "epochs": 1, "learning_rate": RATE, "warmup": 0.0, "bf16": False}
        return make_job(last=last, **(fixed | fields))

    return make


@pytest.fixture
def first(small_steps: Callable[..., Job]) -> Made:
    return _train(small_steps())


def test_what_a_round_moved_is_still_moved_where_the_next_round_starts(
    first: Made, small_steps: Callable[..., Job], rounded: Path, tmp_path: Path
) -> None:
    base, master, cast = _weights(rounded), _weights(first.folder / "master"), _weights(first.folder)
    moved = {name: master[name] != base[name] for name in base}
    assert sum(int(m.sum()) for m in moved.values()) > 0.5 * sum(m.size for m in moved.values())
    assert _differing(cast, base, moved) < 0.5, "most of so small a move is lost in the written weights"
    assert all((np.float32(torch.tensor(master[n]).bfloat16().float().numpy()) == cast[n]).all() for n in cast)

    second = _train(small_steps(policy.as_policy(first.manifest, first.folder)))
    forgetful = Path(shutil.copytree(first.folder, tmp_path / "forgetful"))
    shutil.rmtree(forgetful / "master")
    restarted = _train(small_steps(policy.as_policy(first.manifest, forgetful), out=tmp_path / "restarted"))
    assert second.manifest.start_digest == first.manifest.master_digest == policy.weights_digest(first.folder / "master")
    assert restarted.manifest.start_digest == first.manifest.weights_digest

    after, after_restart = _weights(second.folder / "master"), _weights(restarted.folder / "master")
    reach = 1.01 * RATE * second.manifest.steps  # AdamW moves no weight further in a step than about its rate
    assert max(float(abs(after[n] - master[n]).max()) for n in base) <= reach
    assert _differing(after, base, moved) >= 0.95
    lost = {name: moved[name] & (cast[name] == base[name]) for name in base}
    assert max(float(abs(after_restart[n] - base[n])[lost[n]].max()) for n in base if lost[n].any()) <= reach, "one round's"
    both, one = (sum(float(abs(w[n] - base[n])[lost[n]].sum()) for n in base) for w in (after, after_restart))
    assert both > 1.5 * one


def test_a_damaged_master_is_refused_and_without_it_the_rounded_start_is_told(
    first: Made, small_steps: Callable[..., Job]
) -> None:
    assert policy.rounded_start(first.folder) is None
    again = small_steps(policy.as_policy(first.manifest, first.folder))
    weights = first.folder / "master" / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ModelError, match="digest") as caught:
        launch.train(again)
    assert str(first.folder / "master") in caught.value.hint
    shutil.rmtree(first.folder / "master")
    policy.verify_master(first.folder)
    line = policy.rounded_start(first.folder) or ""
    assert "bfloat16" in line
    assert "superseded" in line
    manifest = json.loads((first.folder / "policy.json").read_text())
    old = {name: value for name, value in manifest.items() if name not in ("master_digest", "start_digest")}
    (first.folder / "policy.json").write_text(json.dumps(old))
    assert "older ratoons" in (policy.rounded_start(first.folder) or "")
    assert policy.verify_policy(first.folder).master_digest is None


def test_old_log_probs_are_those_of_the_weights_that_sampled_and_training_starts_from_the_master(
    rounded: Path, make_job: Jobs, group_rows: Callable[..., Any], tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    from ratoon.sft.training.model_io import load
    from ratoon.sft.training.rescore import rescore

    other = make_tiny(tmp_path / "other", seed=2)  # so far from the cast that the two cannot be taken for each other
    shutil.copytree(other, rounded / "master")
    manifest = policy.base_manifest(rounded, "k", "t")
    master_digest = policy.weights_digest(other)
    policy.write_manifest(rounded, dataclasses.replace(manifest, kind="full", master_digest=master_digest))
    rows = group_rows(groups=3, policy_id=None, logprobs=None).cast(examples.ROWS)
    folder = dataset.write_dataset(tmp_path, "groups", 1, rows, dataset.DatasetInfo("d_nft", "groups", 1))
    job = make_job([folder], method="nft", bf16=False, nft={"assume_on_policy": True})
    Path(job.work).mkdir(parents=True)
    found = rescore(job, lambda: load(job, sampler=True), training_rows(job).rows)

    model = AutoModelForCausalLM.from_pretrained(rounded, dtype=torch.float32).eval()
    for row, old in zip(found.rows.to_pylist(), found.logprobs, strict=True):
        prompt, sampled = row["prompt_token_ids"], row["token_ids"]
        with torch.no_grad():
            logits = model(torch.tensor([prompt + sampled])).logits[0, len(prompt) - 1 : -1]
        plain = torch.log_softmax(logits, -1)[torch.arange(len(sampled)), torch.tensor(sampled)].tolist()
        assert old.tolist() == pytest.approx(plain, abs=1e-4)
    master = _weights(other)
    started = {name: tensor.numpy() for name, tensor in load(job).state_dict().items() if name in master}
    assert all((started[name] == master[name]).all() for name in master)


@pytest.mark.parametrize(
    ("fields", "iteration", "kept"),
    [
        ({"start": "last"}, 1, True),
        ({"start": "base"}, 1, False),
        ({"start": "base", "method": ("rft", "rft", "nft")}, 1, False),
        ({"start": "base", "method": ("rft", "rft", "nft")}, 2, True),
        ({"start": "last", "master": False}, 1, False),
    ],
)
def test_a_master_is_kept_where_the_next_round_starts_from_it(
    make_dataset: Callable[..., Path], tiny: Path, tmp_path: Path, fields: dict[str, Any], iteration: int, kept: bool
) -> None:
    from ratoon.sft.training.job import plan

    base = policy.as_policy(policy.base_manifest(tiny, "k", "t"), tiny)
    job = plan(
        TrainConfig(**fields), root=tmp_path, base=base, last=base, datasets=[make_dataset()], seed=0, iteration=iteration,
        tokenizer_digest="k", template_digest="t",
    )  # fmt: skip
    assert job.master is kept


def test_weights_that_lose_nothing_where_they_are_written_need_no_master(make_job: Jobs) -> None:
    from ratoon.sft.training.model_io import load, save

    job = make_job(start="last")
    folder = Path(job.work) / "final"
    folder.mkdir(parents=True)
    save(load(job), job, folder)
    assert job.master
    assert not (folder / "master").exists()
