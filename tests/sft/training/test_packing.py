"""Examples one behind the other: the same numbers without the padding, or a refusal."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratoon.errors import TrainError
from ratoon.sft.data import dataset
from ratoon.sft.training import collate, launch
from ratoon.sft.training.callbacks import METRICS
from ratoon.sft.training.job import Job

torch = pytest.importorskip("torch")
Jobs = Callable[..., Job]


@given(st.lists(st.integers(1, 60), max_size=40), st.integers(1, 100))
def test_every_example_is_packed_once_and_no_pack_of_several_is_over_the_budget(lengths: list[int], budget: int) -> None:
    groups = collate.packs(lengths, budget)
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    sizes = [sum(lengths[i] for i in group) for group in groups]
    assert all(size <= budget or len(group) == 1 for size, group in zip(sizes, groups, strict=True))
    assert sum(a + b <= budget for a, b in itertools.pairwise(sizes)) == 0, "two packs that fit one would be one"


def _example(ids: list[int]) -> collate.Encoded:
    return collate.Encoded(str(ids), np.array(ids), np.arange(len(ids)) > 1, 1.0)


def test_a_pack_holds_the_tokens_of_its_examples_and_positions_that_begin_anew() -> None:
    batch = collate.packed([_example([5, 6, 7]), _example([8, 9])])
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 9]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1]]
    assert batch["positions"].tolist() == [[False, True, False, False, False]]
    assert batch["targets"].tolist() == [7]
    assert "attention_mask" not in batch


@pytest.mark.slow
@pytest.mark.usefixtures("trained_here")
@pytest.mark.parametrize("method", ["rft", "nft"])
def test_packed_training_has_the_losses_of_padded_training(
    make_job: Jobs, make_dataset: Callable[..., Path], group_rows: Callable[..., Any], tmp_path: Path, method: str
) -> None:
    if method == "rft":
        data = make_dataset(20)
    else:
        data = dataset.write_dataset(tmp_path, "groups", 1, group_rows(), dataset.DatasetInfo("d", "groups", 1))
    fields = {"method": method, "bf16": False, "epochs": 1, "micro_batch_tokens": 150, "nft": {"max_logprob_gap": 100.0}}
    found = []
    for packing in (False, True):
        done = launch.train(make_job([data], out=tmp_path / f"{packing}", packing=packing, **fields))
        found.append([json.loads(line) for line in (done.folder / METRICS).read_text().splitlines()])
    for name in ("loss", "grad_norm", *(("kl", "ratio") if method == "nft" else ())):
        padded, packed = ([line[name] for line in lines] for lines in found)
        assert packed == pytest.approx(padded, abs=1e-5, rel=1e-4)
    assert len(found[0]) >= 5


def test_a_model_that_sees_one_example_from_the_next_is_refused_and_one_that_does_not_is_not(tiny: Path) -> None:
    from transformers import AutoModelForCausalLM, BloomConfig

    from ratoon.sft.training.forward import check_packing

    examples = [_example([3, 4, 5, 6]), _example([7, 8, 9]), _example(list(range(3, 30)))]
    check_packing(AutoModelForCausalLM.from_pretrained(tiny), examples)
    torch.manual_seed(0)
    bloom = AutoModelForCausalLM.from_config(
        BloomConfig(vocab_size=64, hidden_size=32, n_layer=2, n_head=2, initializer_range=0.5)
    )
    with pytest.raises(TrainError, match="BloomForCausalLM does not keep packed examples apart"):
        check_packing(bloom, examples)
