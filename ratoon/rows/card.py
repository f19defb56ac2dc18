"""Which files a folder's README.md names by config and split, as a Hugging Face dataset card does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ratoon.errors import DataError

Configs = dict[str, dict[str, list[str]]]
_FRONT = re.compile(r"\A\ufeff?---\s*\n(.*?)\n---\s*(?:\n|\Z)", re.DOTALL)
_DEFAULT = "default"


def configs(folder: Path) -> tuple[Configs, str | None]:
    """Patterns of file names by config and split, and the config that is the default; none where no card names files.

    Raises DataError where the card is no YAML.
    """
    tree = _front(folder / "README.md")
    named = tree.get("configs") if isinstance(tree, dict) else None
    found: Configs = {}
    default = None
    for entry in named if isinstance(named, list) else ():
        if not isinstance(entry, dict) or "data_files" not in entry:
            continue
        name = str(entry.get("config_name", _DEFAULT))
        below = str(entry.get("data_dir") or "")
        found[name] = {
            split: [f"{below}/{path}".lstrip("/") for path in paths] for split, paths in _splits(entry["data_files"]).items()
        }
        default = name if entry.get("default") or (name == _DEFAULT and default is None) else default
    return found, default


def _front(card: Path) -> Any:
    if not card.is_file():
        return {}
    match = _FRONT.match(card.read_text(encoding="utf-8", errors="replace"))
    if match is None:
        return {}
    import yaml

    try:
        return yaml.safe_load(match[1])
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # an impossible date is a ValueError
        raise DataError(f"{card} does not begin with YAML: {error}", "mend what stands between the lines of ---") from None


def _splits(files: Any) -> dict[str, list[str]]:
    """Patterns by split; what names no split is train."""
    if isinstance(files, str):
        return {"train": [files]}
    if isinstance(files, dict):
        return {str(split): _paths(paths) for split, paths in files.items()}
    found: dict[str, list[str]] = {}
    for entry in files if isinstance(files, list) else ():
        if isinstance(entry, str):
            found.setdefault("train", []).append(entry)
        elif isinstance(entry, dict):
            found.setdefault(str(entry.get("split", "train")), []).extend(_paths(entry.get("path")))
    return found


def _paths(paths: Any) -> list[str]:
    return [paths] if isinstance(paths, str) else [str(path) for path in paths or ()]
