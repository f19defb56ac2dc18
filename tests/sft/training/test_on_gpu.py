"""What only a GPU shows: `make gpu`."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ratoon.errors import TrainError
from ratoon.sft.data import dataset
from ratoon.sft.training import launch
from ratoon.sft.training.callbacks import METRICS
from ratoon.sft.training.job import Job

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.gpu, pytest.mark.slow]
Jobs = Callable[..., Job]


def _losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / METRICS).read_text().splitlines()]


def test_nft_in_bfloat16_begins_at_ratio_one(make_job: Jobs, group_rows: Callable[..., Any], tmp_path: Path) -> None:
    data = dataset.write_dataset(tmp_path, "groups", 1, group_rows(), dataset.DatasetInfo("d", "groups", 1))
    done = launch.train(make_job([data], method="nft", epochs=1, nft={"max_logprob_gap": 100.0}))
    first = json.loads((done.folder / METRICS).read_text().splitlines()[0])
    assert first["ratio"] == pytest.approx(1, abs=1e-2)
    assert first["kl"] < 1e-3


def test_the_training_process_leaves_no_memory_of_the_device_behind(make_job: Jobs) -> None:
    before = torch.cuda.mem_get_info()[0]
    launch.train(make_job(epochs=1))
    assert torch.cuda.mem_get_info()[0] >= before - 64 * 2**20


FULLY_SHARDED = """\
compute_environment: LOCAL_MACHINE
distributed_type: FSDP
num_processes: 1
num_machines: 1
main_process_port: 0
fsdp_config:
  fsdp_version: 2
  fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP
  fsdp_transformer_layer_cls_to_wrap: LlamaDecoderLayer
  fsdp_state_dict_type: FULL_STATE_DICT
  fsdp_cpu_ram_efficient_loading: false
"""


def test_a_sharded_model_has_the_losses_of_a_whole_one_and_keeps_no_moments(
    make_job: Jobs, make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    data, settings = [make_dataset()], tmp_path / "fsdp.yaml"
    settings.write_text(FULLY_SHARDED)
    plain, sharded = (
        _losses(launch.train(make_job(data, out=tmp_path / name, bf16=False, accelerate=file)).folder)
        for name, file in (("plain", None), ("sharded", str(settings)))
    )
    assert sharded == pytest.approx(plain, abs=1e-4)
    with pytest.raises(TrainError, match="sharded moments cannot be kept"):
        launch.train(make_job(data, out=tmp_path / "kept", accelerate=str(settings), keep_moments=True))


@pytest.mark.skipif(importlib.util.find_spec("liger_kernel") is None, reason="no Liger: pip install 'ratoon[liger]'")
def test_ligers_kernels_give_the_losses_of_torchs(make_job: Jobs, make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    data = [make_dataset()]
    plain, liger = (
        _losses(launch.train(make_job(data, out=tmp_path / str(on), bf16=False, liger=on)).folder) for on in (False, True)
    )
    assert liger == pytest.approx(plain, abs=1e-3)
