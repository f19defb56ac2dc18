"""What a run's own recipe asks of this machine and a stranger could have written: refused until the user has used it.

A run folder brings its recipe along (`config.json`), and with it the address of a server, the name of the variable whose
value is sent there, and arguments of vLLM that can run code. Who starts a run from a recipe of their own uses these: that
is remembered outside the folder, by run id and by all of them together, so that neither another folder nor another
address or secret in the same one passes for it. It knows no stage.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ratoon import ids
from ratoon.config import apply_sets
from ratoon.errors import UsageError
from ratoon.generators.engines import EngineConfig
from ratoon.generators.engines.vllm_args import HOW_FAST

_SHOWN = 200  # characters of a value that are printed


def state_folder() -> Path:
    """Where what was used is remembered: $RATOON_STATE, else $XDG_STATE_HOME/ratoon, else ~/.local/state/ratoon."""
    own, xdg = os.environ.get("RATOON_STATE"), os.environ.get("XDG_STATE_HOME")
    return Path(own) if own else (Path(xdg) if xdg else Path.home() / ".local" / "state") / "ratoon"


def remember(run_id: str, engine: EngineConfig) -> None:
    """The user has used this engine with this run. What cannot be written is asked for again (`--trust`)."""
    if not (claims := _claims(engine)):
        return
    with suppress(OSError, RuntimeError):  # a home that is read-only, or none at all, stops no run
        path = _record(run_id, claims)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"run_id": run_id, "engine": _words(claims)}, indent=1) + "\n")


def check(root: Path, run_id: str, engine: EngineConfig) -> None:
    """Raise UsageError where the engine of a run's own recipe asks for what the user never used with this run."""
    claims = _claims(engine)
    if not claims or _is_remembered(run_id, claims):
        return
    shown = "\n".join(f"  {word[:_SHOWN]}" for word in _words(claims))
    raise UsageError(
        f"the recipe inside {root} asks for what you never used with this run:\n{shown}",
        "if you trust who wrote that recipe, run the same command with --trust; or --set each of these yourself",
    )


def all_given(engine: EngineConfig, sets: Iterable[str]) -> bool:
    """Whether the user's own `--set`s give all that `check` would ask about."""
    tree = apply_sets({}, [item for item in sets if item.strip().startswith("engine")])
    return all(_gives(tree, path) for path in _claims(engine))


def _claims(engine: EngineConfig) -> dict[tuple[str, ...], Any]:
    """What the engine of the chosen kind asks for, by its path in the recipe; what only says how fast is left out."""
    if engine.kind == "openai":
        section = engine.openai.model_dump(mode="json")  # as config.json holds them
        names = ("base_url", "base_urls", "base_urls_file", "agents", "api_key_env")
        return {("engine", "openai", name): section[name] for name in names if section[name]}
    if engine.kind == "vllm":
        args = engine.vllm.model_dump(mode="json")["args"]  # as config.json holds them
        harmless = {name for name in args if name in HOW_FAST and isinstance(args[name], bool | int | float)}
        return {("engine", "vllm", "args", name): value for name, value in args.items() if name not in harmless}
    return {}


def _words(claims: dict[tuple[str, ...], Any]) -> list[str]:
    """Each claim as `path = value`, in ASCII: nothing a stranger wrote moves the cursor or fails to be written."""
    return sorted(f"{ascii('.'.join(path))[1:-1]} = {value!a}" for path, value in claims.items())


def _record(run_id: str, claims: dict[tuple[str, ...], Any]) -> Path:
    return state_folder() / "trusted" / f"{ids.digest([run_id, _words(claims)])}.json"


def _is_remembered(run_id: str, claims: dict[tuple[str, ...], Any]) -> bool:
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
