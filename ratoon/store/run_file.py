"""`run.json`: what a run is, and the newest commit its log had, so that commits lost from the log's end are noticed.

It is written anew behind each commit: one that was killed in between is behind by one commit, never ahead of the log.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ratoon import schema
from ratoon.errors import SchemaMismatch, StoreError
from ratoon.store.manifest import Commit, summed

NAME = "run.json"
_UNSUMMED = {"run_id", "schema_version", "ratoon_version", "created_at", "frozen"}


def read(root: Path) -> dict[str, Any]:
    """The run at `root`. Raises StoreError where there is none or it is damaged, SchemaMismatch for another version's."""
    path = root / NAME
    try:
        run = json.loads(path.read_bytes())
        version = run["schema_version"]
        run["run_id"], run["frozen"]
    except (FileNotFoundError, NotADirectoryError):
        raise StoreError(
            f"{root} is no run: it has no run.json", "give the folder of a run, or make one with `ratoon run`"
        ) from None
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}", "make the run folder readable") from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise StoreError(
            f"{path} is damaged: {type(error).__name__}: {error}", "restore that file from a copy of the run"
        ) from None
    if version != schema.SCHEMA_VERSION:
        wrote = run.get("ratoon_version", "another version")
        hint = f"open it with ratoon {wrote}, which wrote it, or start a new run folder with --run"
        raise SchemaMismatch(f"{root} has schema version {version}, this ratoon reads version {schema.SCHEMA_VERSION}", hint)
    return dict(run)


def text(run: Mapping[str, Any]) -> bytes:
    """The file's bytes, its checksum included."""
    return json.dumps(summed(run), indent=1).encode() + b"\n"


def with_newest(run: Mapping[str, Any], commit: Commit) -> dict[str, Any]:
    """The run, saying that its log reaches to that commit."""
    return {**run, "newest": {"commit": commit.n, "digest": commit.digest}}


def damage(root: Path) -> list[str]:
    """What is wrong with the file itself, in words; one written before there was a checksum is taken as it is."""
    whole = (root / NAME).read_bytes()
    run = json.loads(whole)
    if run.keys() == _UNSUMMED or whole == text(run):
        return []
    return [f"{root / NAME} is damaged: its checksum is another"]


def lost(root: Path, run: Mapping[str, Any], commits: list[Commit]) -> str | None:
    """What the log no longer holds though run.json saw it; None where it holds all, or nobody wrote down how far it went."""
    newest = run.get("newest")
    if not isinstance(newest, Mapping):
        return None
    n, digest = newest.get("commit"), newest.get("digest")
    if not isinstance(n, int) or n < 1:
        return None
    if n > len(commits):
        which = f"commit {n}" if n == len(commits) + 1 else f"commits {len(commits) + 1} to {n}"
        return f"the log of {root} ends too early: {which} of it are lost"
    if commits[n - 1].digest != digest:
        return f"commit {n} of {root} is another than the one that run.json saw"
    return None
