"""What a run's own recipe asks of this machine and a stranger could have written: refused until the user has used it.

A run folder brings its recipe along (`config.json`), and with it the address of a server, the name of the variable whose
value is sent there, arguments of vLLM that can run code, a model's folder, and trackers that are told of a training. Who
starts a run from a recipe of their own uses these: that is remembered outside the folder, by run id and by all of a kind
together, so that neither another folder nor another address or secret in the same one passes for it. It knows no stage.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ratoon import ids
from ratoon.config import apply_sets
from ratoon.errors import UsageError
from ratoon.generators.engines import EngineConfig
from ratoon.generators.engines.vllm_args import HOW_FAST
from ratoon.machine import state
from ratoon.sft.models.base_models import ModelConfig
from ratoon.sft.training.job import TrainConfig

_SECTIONS = ("engine", "model", "train")
_SHOWN = 200  # characters of a value that are printed


Claims = Mapping[tuple[str, ...], Any]  # what is asked for, by its path in the recipe


def remember(run_id: str, *asked: Claims) -> None:
    """The user has used these with this run. What cannot be written is asked for again (`--trust`)."""
    for claims in filter(None, asked):
        with suppress(OSError, RuntimeError):  # a home that is read-only, or none at all, stops no run
            path = _record(run_id, claims)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"run_id": run_id, "engine": _words(claims)}, indent=1) + "\n")


def check(root: Path, run_id: str, *asked: Claims, given: Iterable[str] = ()) -> None:
    """Raise UsageError where a run's own recipe asks for what the user never used with this run.

    `given` are the user's own `--set`s: what they give whole is not asked about.
    """
    sets = list(given)
    strange = [claims for claims in asked if claims and not all_given(claims, sets) and not _is_remembered(run_id, claims)]
    if not strange:
        return
    shown = "\n".join(f"  {word[:_SHOWN]}" for claims in strange for word in _words(claims))
    raise UsageError(
        f"the recipe inside {root} asks for what you never used with this run:\n{shown}",
        "if you trust who wrote that recipe, run the same command with --trust; or --set each of these yourself",
    )


def all_given(claims: Claims, sets: Iterable[str]) -> bool:
    """Whether the user's own `--set`s give all that `check` would ask about."""
    tree = apply_sets({}, [item for item in sets if item.strip().startswith(_SECTIONS)])
    return all(_gives(tree, path) for path in claims)


def of_engine(engine: EngineConfig) -> Claims:
    """What the engine of the chosen kind asks for; what only says how fast is left out."""
    if engine.kind == "openai":
        section = engine.openai.model_dump(mode="json")  # as config.json holds them
        names = ("base_url", "base_urls", "base_urls_file", "agents", "api_key_env")
        return {("engine", "openai", name): section[name] for name in names if section[name]}
    if engine.kind == "vllm":
        args = engine.vllm.model_dump(mode="json")["args"]  # as config.json holds them
        harmless = {name for name in args if name in HOW_FAST and isinstance(args[name], bool | int | float)}
        return {("engine", "vllm", "args", name): value for name, value in args.items() if name not in harmless}
    return {}


def of_model(model: ModelConfig) -> Claims:
    """The folder that would be read as a model."""
    return {("model", "path"): str(model.path)} if model.kind == "path" else {}


def of_training(train: TrainConfig) -> Claims:
    """The trackers that would be told of a training, under the user's own account."""
    return {("train", "report_to"): list(train.report_to)} if train.report_to else {}


def _words(claims: Claims) -> list[str]:
    """Each claim as `path = value`, in ASCII: nothing a stranger wrote moves the cursor or fails to be written."""
    return sorted(f"{ascii('.'.join(path))[1:-1]} = {value!a}" for path, value in claims.items())


def _record(run_id: str, claims: Claims) -> Path:
    return state.folder() / "trusted" / f"{ids.digest([run_id, _words(claims)])}.json"


def _is_remembered(run_id: str, claims: Claims) -> bool:
    try:
        return _record(run_id, claims).exists()
    except (OSError, RuntimeError):
        return False


def _gives(tree: Any, path: tuple[str, ...]) -> bool:
    """Whether a `--set` replaced the value at a path, or a table around it."""
    for key in path:
        if not isinstance(tree, dict):
            return True
        if key not in tree:
            return False
        tree = tree[key]
    return True
