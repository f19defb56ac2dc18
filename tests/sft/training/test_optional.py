"""What training can do where a further package is installed, and its refusal where it is not."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ratoon.config import parse
from ratoon.errors import ConfigError, MissingExtra, TrainError
from ratoon.sft.models import adapters, policy
from ratoon.sft.training import launch
from ratoon.sft.training.job import Job, TrainConfig, identity

QLORA = {"lora": {"rank": 4, "merge": False, "quantize": "nf4"}}


@pytest.mark.parametrize(
    ("fields", "extra"),
    [(QLORA, "qlora"), ({"optim": "adamw_8bit"}, "qlora"), ({"optim": "lion_32bit"}, "qlora"), ({"liger": True}, "liger")],
)
def test_a_package_that_is_missing_is_named_with_its_extra_before_training_starts(
    make_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch, fields: dict[str, object], extra: str
) -> None:
    job, absent = make_job(**fields), {"bitsandbytes", "liger_kernel"}
    monkeypatch.setattr(launch.importlib.util, "find_spec", lambda name: None if name in absent else name)
    with pytest.raises(MissingExtra) as caught:
        launch.train(job)
    assert caught.value.hint == f"pip install 'ratoon[{extra}]'"


@pytest.mark.skipif(any(Path("/dev").glob("nvidia[0-9]*")), reason="there is a GPU")
def test_liger_without_a_gpu_is_refused_in_words(make_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job(liger=True)
    monkeypatch.setattr(launch.importlib.util, "find_spec", lambda name: name)
    with pytest.raises(TrainError, match=r"train\.liger needs a GPU"):
        launch.train(job)


def test_four_bits_are_for_an_adapter_that_stays_one_and_never_for_nft() -> None:
    with pytest.raises(ConfigError, match="quantize needs merge = false"):
        parse(TrainConfig, {"lora": {"quantize": "nf4"}}, "[train]")
    with pytest.raises(ConfigError, match="nft needs the weights that sampled"):
        parse(TrainConfig, {"method": "nft"} | QLORA, "[train]")
    assert "quantize" not in identity(TrainConfig(lora={"rank": 4}))["lora"]
    assert identity(TrainConfig(**QLORA))["lora"]["quantize"] == "nf4"


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="no bitsandbytes: pip install 'ratoon[qlora]'")
@pytest.mark.usefixtures("trained_here")
def test_an_adapter_is_trained_over_weights_of_four_bits_and_merged_into_the_exact_ones(
    make_job: Callable[..., Job], tiny: Path, tmp_path: Path
) -> None:
    seen: list[float] = []
    done = launch.train(make_job(**QLORA, epochs=6, learning_rate=3e-2, bf16=False), lambda step: seen.append(step.loss))
    assert seen[-1] < 0.9 * seen[0]
    assert done.manifest.kind == "lora"
    assert done.manifest.base_digest == policy.weights_digest(tiny)
    adapters.merge(done.folder, tiny, tmp_path / "merged")
    assert policy.stored_dtype(tmp_path / "merged") == "float32"
    assert policy.verify_policy(tmp_path / "merged").kind == "full"
    assert os.path.getsize(tmp_path / "merged" / "model.safetensors") == os.path.getsize(tiny / "model.safetensors")
