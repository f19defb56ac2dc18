"""A tiny random Llama with its own byte-level tokenizer and chat template, made from a seed.

It knows nothing and answers noise; it exists so that the whole loop, training included, runs anywhere in seconds with no
download. The weights come from numpy, so neither torch nor transformers is imported to make it, and the same seed gives the
same bytes. Pad is the end of turn, as in SmolLM2: whoever masks labels by `== pad_id` fails here first.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from ratoon import ids
from ratoon.errors import MissingExtra

_SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_HIDDEN, _INNER, _HEADS, _HEAD_DIM, _LAYERS, _CONTEXT = 32, 64, 2, 32, 2, 1024
_VOCAB = 256 + len(_SPECIALS)
_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_tiny(folder: Path, seed: int = 0) -> Path:
    """`folder` as a complete model folder (float32, about 100 kB), made whole or not at all; an existing one is kept."""
    if (folder / "model.safetensors").exists():
        return folder
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    _write_tokenizer(temporary)
    _write_weights(temporary, seed)
    try:
        os.rename(temporary, folder)
    except OSError:  # another process was first; the seed makes its folder the same
        shutil.rmtree(temporary)
    return folder


def _write_weights(folder: Path, seed: int) -> None:
    try:
        from safetensors.numpy import save_file
    except ImportError:
        raise MissingExtra("safetensors", "train") from None
    (folder / "config.json").write_text(json.dumps(_model_config(), indent=2, sort_keys=True))
    generation = {"bos_token_id": _VOCAB - 3, "eos_token_id": _VOCAB - 1, "pad_token_id": _VOCAB - 1}
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2))
    save_file(_weights(np.random.default_rng(ids.derive_seed(seed, "tiny"))), folder / "model.safetensors", {"format": "pt"})


def _weights(rng: np.random.Generator) -> dict[str, np.ndarray]:
    attention = _HEADS * _HEAD_DIM
    shapes = {"model.embed_tokens.weight": (_VOCAB, _HIDDEN)}
    for layer in range(_LAYERS):
        at = f"model.layers.{layer}."
        shapes |= {f"{at}self_attn.{name}_proj.weight": (attention, _HIDDEN) for name in "qkv"}
        shapes |= {f"{at}self_attn.o_proj.weight": (_HIDDEN, attention), f"{at}mlp.down_proj.weight": (_HIDDEN, _INNER)}
        shapes |= {f"{at}mlp.{name}_proj.weight": (_INNER, _HIDDEN) for name in ("gate", "up")}
    weights = {name: rng.normal(0, 0.05, shape).astype(np.float32) for name, shape in shapes.items()}
    norms = [f"model.layers.{i}.{n}_layernorm.weight" for i in range(_LAYERS) for n in ("input", "post_attention")]
    return weights | {name: np.ones(_HIDDEN, np.float32) for name in [*norms, "model.norm.weight"]}


def _model_config() -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "float32", "vocab_size": _VOCAB,
        "hidden_size": _HIDDEN, "intermediate_size": _INNER, "num_hidden_layers": _LAYERS, "head_dim": _HEAD_DIM,
        "num_attention_heads": _HEADS, "num_key_value_heads": _HEADS, "max_position_embeddings": _CONTEXT,
        "hidden_act": "silu", "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": True,
        "attention_bias": False, "mlp_bias": False, "initializer_range": 0.05, "use_cache": True,
        "bos_token_id": _VOCAB - 3, "eos_token_id": _VOCAB - 1, "pad_token_id": _VOCAB - 1,
    }  # fmt: skip


def _write_tokenizer(folder: Path) -> None:
    try:
        from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    except ImportError:
        raise MissingExtra("tokenizers", "train") from None
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())  # one printable stand-in per byte
    tokenizer = Tokenizer(models.BPE(vocab={symbol: i for i, symbol in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in _SPECIALS])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": _CONTEXT, "clean_up_tokenization_spaces": False,
        "bos_token": _SPECIALS[0], "eos_token": _SPECIALS[2], "pad_token": _SPECIALS[2], "unk_token": None,
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2))
    (folder / "chat_template.jinja").write_text(_TEMPLATE)
