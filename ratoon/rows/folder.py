"""Which files of a folder are its rows: those its card names, those `save_to_disk` lists, or all of a known kind.

Every other file is told with its reason. Splits come from the card, from `dataset_dict.json`, or from names (`train-0.jsonl`,
`data/test/x.csv`); a file whose name says none stands with train.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from ratoon.errors import DataError
from ratoon.rows import card
from ratoon.rows.source import READ, SourceFile

SPLITS = {"valid": "validation", "val": "validation", "dev": "validation"}
_SPLIT = re.compile(r"(?:^|[^a-z])(train|test|validation|valid|val|dev|eval)(?:[^a-z]|$)")
# Written by tools beside rows; none of them is one.
_NOT_ROWS = {
    "dataset_info.json", "dataset_infos.json", "state.json", "dataset_dict.json", "dataset.json", "config.json",
    "matches.json", "report.json", "review.json", "croissant.json", "metadata.json", "requirements.txt", "license.txt",
    "notice.txt", "readme.txt",
}  # fmt: skip


class Folder(NamedTuple):
    """Files in order, others by reason, configs there are, the one that is read, and whether a card or list named the files."""

    files: list[SourceFile]
    left_out: dict[str, str]
    configs: list[str]
    config: str | None
    named: bool


def folder(path: Path, config: str | None = None) -> Folder:
    """The data files under `path`. Raises DataError where there is none, or where `config` is none of its own."""
    every = sorted(
        f for f in path.rglob("*")
        if f.is_file() and not any(part.startswith(".") for part in f.relative_to(path).parts)
    )  # fmt: skip
    named, default = card.configs(path)
    if config is not None and config not in named:
        raise DataError(f"{path} has no config {config!r}", f"its configs: {', '.join(named) or 'none'}")
    if named:
        found = _of_card(path, every, named, config or default or next(iter(named)))
    elif (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
        found = _of_disk(path, every)
    else:
        found = _of_kinds(path, every)
    if not found.files:
        told = "; ".join(f"{name}: {why}" for name, why in list(found.left_out.items())[:4])
        raise DataError(f"{path} holds no data file" + (f" ({told})" if told else ""), f"kinds that are read: {READ}")
    return found


def _of_card(path: Path, every: list[Path], named: card.Configs, config: str) -> Folder:
    files: dict[Path, SourceFile] = {}
    for split, patterns in named[config].items():
        for pattern in patterns:
            matched = _globbed(path, pattern)
            if not matched:
                raise DataError(f"{path}/README.md names {pattern}, which is not there", "mend its `data_files`, or the folder")
            for file in matched:
                files.setdefault(file, SourceFile(file, _name(path, file), split))
    others = {
        file: other
        for other in named if other != config
        for patterns in named[other].values()
        for pattern in patterns
        for file in _globbed(path, pattern)
    }  # fmt: skip
    left_out = {
        _name(path, f): f"config {others[f]}" if f in others else "not in the card's data_files"
        for f in every if f not in files and _is_data(f)
    }  # fmt: skip
    kept, unread = _readable(list(files.values()))
    return Folder(kept, unread | left_out, list(named), config, True)


def _globbed(path: Path, pattern: str) -> list[Path]:
    """Files under `path` that match; a pattern that leads out of it matches none."""
    if pattern.startswith("/") or ".." in Path(pattern).parts:
        return []
    return [file for file in sorted(path.glob(pattern)) if file.is_file()]


def _of_disk(path: Path, every: list[Path]) -> Folder:
    """What `datasets.save_to_disk` wrote: the files that each `state.json` names."""
    index = path / "dataset_dict.json"
    splits = _json(index).get("splits", []) if index.is_file() else [None]
    files: list[SourceFile] = []
    for split in splits:
        below = path / split if split else path
        for entry in _json(below / "state.json").get("_data_files", []):
            file = below / str(entry.get("filename"))
            if not file.is_file():
                raise DataError(f"{below / 'state.json'} names {file.name}, which is not there", "save the data set anew")
            files.append(SourceFile(file, _name(path, file), split))
    taken = {file.path for file in files}
    left_out = {_name(path, f): "not in state.json" for f in every if f not in taken and _is_data(f)}
    return Folder(files, left_out, [], None, True)


def _of_kinds(path: Path, every: list[Path]) -> Folder:
    rows: list[SourceFile] = []
    left_out: dict[str, str] = {}
    for file in every:
        name = _name(path, file)
        if "removed" in file.relative_to(path).parts[:-1]:
            left_out[name] = "in a folder of removed rows"
        elif _is_data(file):
            rows.append(SourceFile(file, name, split_of(Path(name))))
    kept, unread = _readable(rows)
    if tables := [file for file in kept if file.kind != "text"]:
        left_out |= {file.name: "text beside tables" for file in kept if file.kind == "text"}
        kept = tables
    if any(file.split is not None for file in kept):
        kept = [file if file.split else file._replace(split="train") for file in kept]
    return Folder(kept, unread | left_out, [], None, False)


def split_of(path: Path) -> str | None:
    """The split that a file's name says, or else the nearest folder's."""
    for part in (path.name.split(".")[0], *(p.name for p in path.parents)):
        match = _SPLIT.search(part.lower())
        if match is not None:
            return SPLITS.get(match[1], match[1])
    return None


def _readable(files: list[SourceFile]) -> tuple[list[SourceFile], dict[str, str]]:
    kept = [file for file in files if file.kind is not None]
    return kept, {file.name: f"{file.path.suffix or 'no suffix'} is not read" for file in files if file.kind is None}


def _is_data(file: Path) -> bool:
    """Whether it could hold rows: neither a card, nor code, nor what tools write beside rows."""
    return file.name.lower() not in _NOT_ROWS and file.suffix.lower() not in _OTHER


_OTHER = {"", ".md", ".py", ".yaml", ".yml", ".toml", ".cfg", ".ini", ".html", ".css", ".js", ".png", ".jpg", ".jpeg", ".svg",
          ".pdf", ".lock", ".sh", ".ipynb", ".log", ".bib", ".cff", ".gitattributes"}  # fmt: skip


def _name(path: Path, file: Path) -> str:
    return file.relative_to(path).as_posix()


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}", "save the data set anew") from None
    return value if isinstance(value, dict) else {}
