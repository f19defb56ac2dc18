"""An adapter will do wherever a model is wanted: it is merged into the base that it names, if that is still the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ratoon.errors import ModelError, UsageError
from ratoon.pipelines.flows.standalone import merge
from ratoon.sft.models import adapters, policy
from ratoon.sft.models.base_models import ModelConfig, prepare
from ratoon.sft.training import process as training
from ratoon.sft.training.callbacks import PROGRESS
from ratoon.sft.training.job import Job

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
TOKENS = [[5, 6, 7, 8, 9]]


@pytest.fixture
def adapter(make_job: Callable[..., Job]) -> Path:
    """A trained adapter of the tiny model."""
    job = make_job(lora={"rank": 4, "merge": False}, epochs=1)
    Path(job.work).mkdir(parents=True)
    (Path(job.work) / PROGRESS).touch()
    training.run(job)
    return Path(job.out)


def _logits(folder: Path, adapter: Path | None = None) -> torch.Tensor:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if adapter is not None:
        model = peft.PeftModel.from_pretrained(model, str(adapter))
    with torch.no_grad():
        return model.eval()(torch.tensor(TOKENS)).logits


def test_an_adapter_as_a_model_is_merged_once_into_what_both_compute_together(
    adapter: Path, tiny: Path, tmp_path: Path
) -> None:
    folder = prepare(ModelConfig(kind="path", path=str(adapter)), tmp_path / "run")
    both = _logits(tiny, adapter)
    assert torch.allclose(_logits(folder), both, atol=1e-5)
    assert not torch.allclose(_logits(tiny), both, atol=1e-3), "the adapter learned something"
    made = (folder / "model.safetensors").stat().st_mtime_ns
    assert prepare(ModelConfig(kind="path", path=str(adapter)), tmp_path / "run") == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == made
    manifest = policy.verify_policy(folder)
    assert (manifest.kind, manifest.policy_id) == ("full", policy.read_manifest(adapter).policy_id)


def test_a_merged_model_of_a_rounded_base_keeps_the_exact_sums_to_train_from(adapter: Path, tiny: Path, tmp_path: Path) -> None:
    exact, rounded = _logits(tiny, adapter), Path(shutil.copytree(tiny, tmp_path / "rounded"))
    config = json.loads((rounded / "config.json").read_text())
    (rounded / "config.json").write_text(json.dumps(config | {"dtype": "bfloat16"}))
    merge(adapter, tmp_path / "out", base=str(rounded))
    assert policy.stored_dtype(tmp_path / "out") == "bfloat16"
    policy.verify_master(tmp_path / "out")
    master = policy.master(tmp_path / "out")
    assert master is not None
    assert torch.allclose(_logits(master), exact, atol=1e-5)


def test_an_adapter_of_peft_alone_names_its_base_in_its_own_config(adapter: Path, tiny: Path) -> None:
    (adapter / "policy.json").unlink()
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": None}))
    with pytest.raises(ModelError, match="does not say of which model"):
        adapters.base_of(adapter)
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": str(tiny)}))
    assert adapters.base_of(adapter) == tiny


def test_a_base_that_is_gone_or_another_is_refused_with_what_mends_it(adapter: Path, tiny: Path, tmp_path: Path) -> None:
    weights = tiny / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ModelError, match="had weights"):
        adapters.base_of(adapter)
    tiny.rename(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="no longer in") as refusal:
        adapters.base_of(adapter)
    assert "ratoon merge ADAPTER --base MODEL" in refusal.value.hint


def test_a_whole_model_is_not_merged(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no adapter"):
        merge(tiny, tmp_path / "out")
