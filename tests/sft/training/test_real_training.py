"""A few steps on the packaged SmolLM2."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ratoon.render import Renderer
from ratoon.sft.models import policy
from ratoon.sft.models.base_models import check_model
from ratoon.sft.training import launch
from ratoon.sft.training.job import Job
from ratoon.sft.training.launch import Progress


@pytest.fixture
def tiny(smollm2: Path) -> Path:
    """What the other fixtures stand on: here the real model."""
    return smollm2


def _dtypes(folder: Path) -> set[str]:
    with (folder / "model.safetensors").open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return {entry["dtype"] for name, entry in header.items() if name != "__metadata__"}


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.usefixtures("trained_here")
def test_smollm2_learns_from_a_few_examples_and_is_written_as_it_was_found(
    make_job: Callable[..., Job], make_dataset: Callable[..., Path], smollm2: Path
) -> None:
    seen: list[Progress] = []
    trained = launch.train(make_job([make_dataset(8)], learning_rate=5e-5, epochs=2, threads=0), seen.append)
    assert seen[-1].loss < 0.8 * seen[0].loss
    assert trained.weights_digest != policy.weights_digest(smollm2)
    assert _dtypes(trained.folder) == _dtypes(smollm2) == {"BF16"}
    check_model(trained.folder)
    mine, theirs = Renderer(trained.folder), Renderer(smollm2)
    assert (mine.tokenizer_digest, mine.template_digest) == (theirs.tokenizer_digest, theirs.template_digest)
    assert mine.end_of_turn_ids == theirs.end_of_turn_ids
