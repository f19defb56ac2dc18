"""Model families by their own code, tiny and random: each is trained, written in its own shape, loaded, and stops by itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ratoon.sft.data import dataset
from ratoon.sft.models.base_models import check_model
from ratoon.sft.models.policy import copy_tokenizer
from ratoon.sft.models.tiny import make_tiny
from ratoon.sft.training import launch
from ratoon.sft.training.job import Job

torch = pytest.importorskip("torch")
END_OF_TEXT, END_OF_TURN = 256, 258
_SIZES: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
    "max_position_embeddings": 512,
}  # fmt: skip
_OF_GPT2: dict[str, Any] = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 512}
_HEAD = _SIZES | {"head_dim": 16}
_WIDE = {"initializer_range": 0.2}  # those that learn slowly from the small weights of their config
_NO_GROUPS = {name: value for name, value in _SIZES.items() if name != "num_key_value_heads"}
FAMILIES: dict[str, dict[str, Any]] = {
    "gemma2": _HEAD | _WIDE | {"query_pre_attn_scalar": 16},
    "gpt2": _OF_GPT2,
    "mixtral": _SIZES | {"num_local_experts": 2, "num_experts_per_tok": 1},
    "llama": _SIZES,
    "mistral": _SIZES,
    "qwen2": _SIZES,
    "qwen3": _HEAD,
    "qwen3_moe": _HEAD | {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 32},
    "gemma": _HEAD | _WIDE,
    "gemma3_text": _HEAD | _WIDE | {"query_pre_attn_scalar": 16},
    "phi": _NO_GROUPS | _WIDE,
    "phi3": _SIZES | _WIDE,
    "gpt_neox": _NO_GROUPS,
    "olmo2": _SIZES | _WIDE,
    "falcon": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 512},
    "starcoder2": _SIZES,
    "granite": _SIZES,
    "glm4": _HEAD | _WIDE,
    "cohere": _SIZES | {"logit_scale": 1.0},
    "stablelm": _SIZES,
    "smollm3": _SIZES,
}
SMALL = ("gemma2", "gpt2", "mixtral")  # capped attention, learned positions and dropout, experts


@pytest.fixture
def tiny(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A random model of the family named, whose eos is not what its template ends a turn with."""
    from transformers import AutoConfig, AutoModelForCausalLM

    ends = {"bos_token_id": END_OF_TEXT, "eos_token_id": END_OF_TEXT, "pad_token_id": END_OF_TEXT}
    config = AutoConfig.for_model(request.param, **FAMILIES[request.param], **ends, vocab_size=259)
    torch.manual_seed(0)
    folder = tmp_path / "models" / "tiny"
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    copy_tokenizer(make_tiny(tmp_path / "llama"), folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"eos_token": "<|endoftext|>"}))
    return folder


def _tensors(folder: Path) -> dict[str, tuple[int, ...]]:
    from safetensors.torch import load_file

    return {name: tuple(tensor.shape) for name, tensor in load_file(folder / "model.safetensors").items()}


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.usefixtures("trained_here")
@pytest.mark.parametrize("tiny", FAMILIES, indirect=True)
def test_a_family_is_trained_written_and_generates_until_the_templates_end_of_turn(
    request: pytest.FixtureRequest, make_job: Callable[..., Job], make_dataset: Callable[..., Path], tiny: Path, full_size: bool
) -> None:
    from transformers import AutoModelForCausalLM

    family = request.node.callspec.params["tiny"]
    if not (full_size or family in SMALL):
        pytest.skip("make soak")
    data = [make_dataset(1, iteration=i, first=5 * i) for i in range(2, 10)]  # "The answer is 13", all of one length
    done = launch.train(make_job(data, data="all", epochs=25, learning_rate=1e-2, schedule="linear", bf16=False))
    assert done.loss is not None
    assert done.loss < 1
    check_model(done.folder)
    assert _tensors(done.folder) == _tensors(tiny)
    configs = [json.loads((folder / "config.json").read_text()) for folder in (tiny, done.folder)]
    assert configs[0]["architectures"] == configs[1]["architectures"]

    model = AutoModelForCausalLM.from_pretrained(done.folder)
    prompt = torch.tensor([dataset.read_dataset(data[0])["prompt_token_ids"][0].as_py()])
    reply = model.generate(prompt, max_new_tokens=60, do_sample=False)[0, prompt.shape[1] :].tolist()
    assert len(reply) < 60
    assert reply[-1] == END_OF_TURN
    assert END_OF_TEXT not in reply
