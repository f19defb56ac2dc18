"""Training measured on problems it does not see; the best checkpoint is the policy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ratoon.config import parse
from ratoon.errors import ConfigError, Stopped
from ratoon.sft.training import launch
from ratoon.sft.training.callbacks import METRICS
from ratoon.sft.training.job import Job, TrainConfig, identity
from ratoon.sft.training.selection import training_rows

torch = pytest.importorskip("torch")
Jobs = Callable[..., Job]


def test_whole_problems_are_held_out_alike_for_a_seed_and_never_trained_on(
    make_job: Jobs, make_dataset: Callable[..., Path], group_rows: Callable[..., Any], tmp_path: Path
) -> None:
    from ratoon.sft.data import dataset

    chosen = training_rows(make_job([make_dataset(20)], holdout=0.25))
    assert (chosen.rows.num_rows, chosen.held_out.num_rows) == (15, 5)
    ids = [set(table["task_id"].to_pylist()) for table in (chosen.rows, chosen.held_out)]
    assert not ids[0] & ids[1]
    assert training_rows(make_job([make_dataset(20)], holdout=0.25)).held_out.equals(chosen.held_out)
    assert not training_rows(make_job([make_dataset(20)], holdout=0.25, seed=1)).held_out.equals(chosen.held_out)
    assert training_rows(make_job([make_dataset(20)])).held_out.num_rows == 0
    folder = dataset.write_dataset(tmp_path, "groups", 1, group_rows(groups=6), dataset.DatasetInfo("d", "groups", 1))
    groups = training_rows(make_job([folder], method="nft", holdout=0.01)).held_out["group_id"].to_pylist()
    assert len(groups) == 4, "a whole group, however small the share"
    assert len(set(groups)) == 1
    with pytest.raises(Stopped, match=r"6 examples; 2 more are held out by train\.holdout"):
        training_rows(make_job([make_dataset(8)], holdout=0.25))


@pytest.mark.slow
@pytest.mark.usefixtures("trained_here")
def test_the_checkpoint_with_the_least_held_out_loss_becomes_the_policy(
    make_job: Jobs, make_dataset: Callable[..., Path]
) -> None:
    from transformers import AutoModelForCausalLM

    # The rate rises until it destroys what the first steps learned.
    fields = {"epochs": 4, "learning_rate": 0.5, "warmup": 0.99, "bf16": False, "max_grad_norm": 0.0}
    job = make_job([make_dataset(20)], holdout=0.2, evaluate_every=2, **fields)
    done = launch.train(job)
    losses = {
        line["step"]: line["eval_loss"]
        for line in map(json.loads, (done.folder / METRICS).read_text().splitlines())
        if "eval_loss" in line
    }
    assert list(losses) == [2, 4, 6, 8, 10, 12, 14, 16]
    best = min(losses, key=lambda step: losses[step])
    assert losses[best] < losses[16] - 0.01, "the last step is not the best"
    assert (done.manifest.held_out, done.manifest.examples) == (4, 16)
    assert (done.manifest.best_step, done.manifest.eval_loss) == (best, losses[best])

    model, total, tokens = AutoModelForCausalLM.from_pretrained(done.folder), 0.0, 0
    for row in training_rows(job).held_out.to_pylist():
        whole, reply = torch.tensor([row["prompt_token_ids"] + row["token_ids"]]), len(row["token_ids"])
        with torch.no_grad():
            logp = torch.log_softmax(model(whole).logits[0, -reply - 1 : -1], -1)
        total, tokens = total - float(logp[torch.arange(reply), whole[0, -reply:]].sum()), tokens + reply
    assert total / tokens == pytest.approx(losses[best], abs=1e-4)


@pytest.mark.slow
@pytest.mark.usefixtures("trained_here")
def test_schedule_optimizer_and_clipping_go_by_trainers_names(make_job: Jobs) -> None:
    fields = {"optim": "sgd", "optim_args": "momentum=0.5", "learning_rate": 0.5, "warmup": 0.0, "epochs": 2}
    kwargs = {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr": 0.1}, "max_grad_norm": 0.0}
    done = launch.train(make_job(**fields, **kwargs))
    lines = [json.loads(line) for line in (done.folder / METRICS).read_text().splitlines()]
    assert [line["learning_rate"] for line in lines] == pytest.approx([0.5, 0.473, 0.4, 0.3, 0.2, 0.127], abs=1e-3)
    assert lines[-1]["loss"] < lines[0]["loss"]


def test_unknown_names_are_refused_and_what_is_not_set_is_in_no_digest() -> None:
    with pytest.raises(ConfigError, match="adamw_torch_fused"):
        parse(TrainConfig, {"optim": "adam"}, "[train]")
    with pytest.raises(ConfigError, match="cosine_with_min_lr"):
        parse(TrainConfig, {"lr_scheduler_type": "cosin"}, "[train]")
    for clash in ({"holdout": 0.1}, {"optim": "sgd"}):
        with pytest.raises(ConfigError, match="keep_moments keeps"):
            parse(TrainConfig, {"keep_moments": True} | clash, "[train]")
    plain = identity(TrainConfig())
    assert not {"holdout", "optim", "adam_beta1", "lr_scheduler_kwargs"} & plain.keys()
    assert identity(TrainConfig(adam_beta2=0.99)) == plain | {"adam_beta2": 0.99}
