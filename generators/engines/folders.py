"""What an engine must know of a model folder before it loads it; knows no engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ratoon.engine import Policy
from ratoon.errors import ModelError

_IGNORED = ("_name_or_path", "_model_name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache")


def weights(policy: Policy) -> str:
    """The folder of the policy's full weights: for an adapter, of the model below it. Raises ModelError where there is none."""
    folder = (policy.base_path or "") if policy.kind == "lora" else policy.path
    if not (Path(folder) / "config.json").is_file():
        raise ModelError(f"{folder or policy.path} holds no model: config.json is missing", "check [model] in the recipe")
    return folder


def shape(folder: str) -> Any:
    """What must agree for one folder's weights to be loaded in place of another's; null for no folder."""
    if not folder:
        return None
    config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    return {k: v for k, v in config.items() if k not in _IGNORED and not k.endswith("_token_id")}
