"""The base model's folder: where it comes from, and what is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from ratoon.config import parse
from ratoon.errors import ConfigError, ModelError
from ratoon.sft.models.base_models import ModelConfig, check_model, prepare
from ratoon.sft.models.tiny import make_tiny


def _bytes(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


def test_the_tiny_model_is_made_from_its_seed_byte_for_byte(tmp_path: Path) -> None:
    first, second, other = (make_tiny(tmp_path / name, seed) for name, seed in (("a", 7), ("b", 7), ("c", 8)))
    assert _bytes(first) == _bytes(second)
    assert _bytes(first)["model.safetensors"] != _bytes(other)["model.safetensors"]


def test_the_tiny_model_is_complete_and_lies_in_the_run_folder(tmp_path: Path) -> None:
    folder = prepare(ModelConfig(kind="tiny-random", seed=3), tmp_path)
    check_model(folder)
    assert tmp_path in folder.parents


def test_the_tiny_tokenizer_gives_back_any_bytes_and_pads_with_the_end_of_turn(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(make_tiny(tmp_path / "tiny"))
    text = "naïve \x00\t\n 1+2=3 — 日本 🌱"
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(ids) == text
    assert len(ids) == len(text.encode())
    assert tokenizer.pad_token_id == tokenizer.eos_token_id == tokenizer.encode("<|im_end|>")[0]


def test_the_tiny_model_loads_and_is_close_to_uniform(tmp_path: Path) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(make_tiny(tmp_path / "tiny"))
    ids = torch.arange(64)[None]
    with torch.no_grad():
        loss = model(ids, labels=ids).loss.item()
    assert abs(loss - 5.557) < 0.1  # log(259)


def _break(folder: Path, how: str) -> None:
    weights = folder / "model.safetensors"
    if how == "config":
        (folder / "config.json").unlink()
    elif how == "weights":
        weights.unlink()
    elif how == "truncated":
        weights.write_bytes(weights.read_bytes()[:-5])
    elif how == "tokenizer":
        (folder / "tokenizer.json").unlink()
    else:
        (folder / "chat_template.jinja").unlink()


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("config", "config.json"),
        ("weights", "no safetensors weights"),
        ("truncated", "truncated"),
        ("tokenizer", "no tokenizer"),
        ("template", "no chat template"),
    ],
)
def test_an_incomplete_model_folder_is_refused_by_what_it_lacks(tmp_path: Path, how: str, says: str) -> None:
    folder = make_tiny(tmp_path / "tiny")
    _break(folder, how)
    with pytest.raises(ModelError, match=says) as caught:
        prepare(ModelConfig(kind="path", path=str(folder)), tmp_path)
    assert caught.value.hint


def test_a_missing_model_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nowhere"):
        prepare(ModelConfig(kind="path", path=str(tmp_path / "nowhere")), tmp_path)


def test_an_index_that_names_a_missing_shard_is_refused(tmp_path: Path) -> None:
    folder = make_tiny(tmp_path / "tiny")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"x": "model-00002-of-00002.safetensors"}}')
    with pytest.raises(ModelError, match="00002-of-00002"):
        check_model(folder)


@pytest.mark.parametrize("tree", [{"kind": "path"}, {"kind": "hub"}, {"kind": "packaged", "path": "x"}, {"revision": "main"}])
def test_a_kind_without_its_field_or_with_anothers_is_refused(tree: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="kind"):
        parse(ModelConfig, tree, "[model]")


def test_a_hub_id_that_cannot_be_reached_is_a_model_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constants = pytest.importorskip("huggingface_hub").constants
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="nobody/nothing"):
        prepare(ModelConfig(kind="hub", hub_id="nobody/nothing"), tmp_path)
