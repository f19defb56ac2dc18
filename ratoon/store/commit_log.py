"""The commit log of a run, read and appended: what exists now, what ever did, and why; knows no table and no lock.

`commits/000001.json` and so on, each created exclusively and never changed. Reading is incremental: a reader that looks
again sees what a writer has added since.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from ratoon.errors import RunLocked, StoreError
from ratoon.store.files import LocalFiles
from ratoon.store.manifest import Commit, Manifest

_RESTORE = "restore that file from a copy of the run; `ratoon verify RUN` names all that is damaged"
Read = TypeVar("Read")


class History:
    """`commits` oldest first; `known` every artifact ever added and `live` those that exist now, in commit order."""

    def __init__(self, root: Path) -> None:
        self.root, self.files = root, LocalFiles(root)
        self.commits: list[Commit] = []
        self.known: dict[str, Manifest] = {}
        self.live: dict[str, Manifest] = {}
        self._check_gapless()
        self.catch_up()

    def catch_up(self) -> None:
        """Read the commits written since the last look. Raises StoreError naming a damaged file."""
        while (self.root / _name(n := len(self.commits) + 1)).exists():
            commit = _parsed(self.root / _name(n), Commit.from_json)
            if commit.n != n:
                raise StoreError(f"commit {self.root / _name(n)} says it is number {commit.n}", _RESTORE)
            self._apply(commit, {a: self._manifest(a, commit) for a in commit.add if a not in self.known})

    @property
    def config(self) -> str | None:
        """The digest of the recipe under which the newest commit was made; None where none says it."""
        return next((commit.config for commit in reversed(self.commits) if commit.config is not None), None)

    def append(self, add: Sequence[Manifest], remove: Sequence[str], why: str, config: str | None = None) -> Commit:
        """The commit point: once this file has its name, what it adds exists. Raises RunLocked when another wrote it."""
        sums = {m.artifact_id: sha256(m.to_json()).hexdigest() for m in add if m.artifact_id not in self.known}
        commit = Commit(len(self.commits) + 1, tuple(m.artifact_id for m in add), tuple(remove), why, now(), sums, config)
        try:
            self.files.put_new(_name(commit.n), commit.to_json())
        except FileExistsError:
            raise RunLocked(
                f"another process wrote commit {commit.n} of {self.root}", "stop that process, then start again"
            ) from None
        self._apply(commit, {m.artifact_id: m for m in add})
        return commit

    def _apply(self, commit: Commit, new: dict[str, Manifest]) -> None:
        for artifact_id, manifest in new.items():
            self.known.setdefault(artifact_id, manifest)
        for artifact_id in commit.remove:
            self.live.pop(artifact_id, None)
        for artifact_id in commit.add:
            self.live[artifact_id] = self.known[artifact_id]
        self.commits.append(commit)

    def _manifest(self, artifact_id: str, commit: Commit) -> Manifest:
        paths = sorted(self.root.glob(f"artifacts/*/{artifact_id}/manifest.json"))
        if not paths:
            message = f"commit {commit.n} adds {artifact_id}, which has no manifest under {self.root / 'artifacts'}"
            raise StoreError(message, "restore that folder from a copy of the run")
        manifest = _parsed(paths[0], lambda text: Manifest.from_json(_whole(text, commit.sums.get(artifact_id))))
        if manifest.artifact_id != artifact_id:
            raise StoreError(f"manifest {paths[0]} is of {manifest.artifact_id}", _RESTORE)
        return manifest

    def _check_gapless(self) -> None:
        """Raise StoreError when a commit is missing: what follows it would silently not exist."""
        names = [name for name in self.files.list("commits") if name.endswith(".json")]
        for n, name in enumerate(names, 1):
            if name != _name(n):
                raise StoreError(f"{self.root / _name(n)} is missing, though {name} is there", _RESTORE)


def _whole(text: bytes, sum: str | None) -> bytes:
    if sum is not None and sha256(text).hexdigest() != sum:
        raise ValueError("its checksum is not the one that its commit says")
    return text


def now() -> str:
    """The time in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _name(n: int) -> str:
    return f"commits/{n:06d}.json"


def _parsed(path: Path, parse: Callable[[bytes], Read]) -> Read:
    try:
        return parse(path.read_bytes())
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StoreError(f"{path} is damaged: {type(error).__name__}: {error}", _RESTORE) from None
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}", "make the run folder readable") from None
