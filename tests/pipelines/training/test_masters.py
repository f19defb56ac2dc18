"""A run that goes on from its last policy: the float32 master of the newest one is kept, used, checked and then removed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ratoon import Run
from ratoon.pipelines.curation.curate import curate
from ratoon.pipelines.training.train import finetune
from ratoon.pipelines.views import integrity as repair
from ratoon.sft.models import policy
from ratoon.sft.models.tiny import make_tiny
from ratoon.store.store import Store


@pytest.fixture
def bfloat16_model(tmp_path: Path) -> Path:
    """The tiny model as most models are stored: in bfloat16."""
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForCausalLM

    tiny = make_tiny(tmp_path / "float32", seed=0)
    folder = tmp_path / "bfloat16"
    AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.bfloat16).save_pretrained(folder)
    policy.copy_tokenizer(tiny, folder)
    return folder


@pytest.mark.slow
@pytest.mark.usefixtures("trained_here")
def test_only_the_newest_policy_keeps_its_master_and_the_next_round_starts_from_it(
    context: Callable[..., Any], ground: Any, harvest: Any, bfloat16_model: Path
) -> None:
    sets = [f"model.path={str(bfloat16_model)!r}", "train.start=last", "train.epochs=1", "train.min_examples=1", "filters=[]"]
    with context(*sets) as ctx:
        on, curated, made = ground(ctx), [], []
        last = on.base
        for iteration in (1, 2):
            curated.append(curate(ctx.store, ctx.recipe, harvest(ctx, on, iteration)))
            _, last = finetune(ctx, curated, last, on.base, iteration)
            made.append(Path(last.path))
        assert finetune(ctx, curated[:1], on.base, on.base, 1)[1].path == str(made[0]), "what is done is found again"
        root = ctx.store.root
    first, second = made
    assert [policy.master(folder) is not None for folder in made] == [False, True]
    rows = {row["iteration"]: row for row in Run(root).store.read("policies").to_pylist()}
    assert rows[0]["master_digest"] is rows[0]["start_digest"] is None
    assert rows[1]["start_digest"] == rows[0]["weights_digest"]
    assert rows[2]["start_digest"] == rows[1]["master_digest"] != rows[1]["weights_digest"]
    store = Store.open(root)
    assert repair.problems(store) == []
    assert repair.strays(store) == []

    shutil.copytree(second / "master", first / "master")
    assert repair.strays(store) == [f"policies/{first.name}/master"]
    weights = second / "master" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    problems = repair.problems(store)
    assert len(problems) == 2
    assert f"weights in {first / 'master'} have digest" in problems[0], "another policy's"
    assert f"{weights} is truncated" in problems[1]
