"""A run's folder: artifacts, the append-only commit log that makes them exist, and the journals of unfinished shards.

What the log does not add does not exist. An artifact is written whole (parts, then manifest, each flushed) before the one
commit that adds it, so a process may be killed between any two lines: a half-written folder is no artifact, and the next
put of the same id replaces it. Knows tables by name only, and no stage.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from itertools import accumulate, chain
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from ratoon import ids, schema
from ratoon.errors import RunLocked, StoreError
from ratoon.store import digests, links, parts, run_file
from ratoon.store.commit_log import History, now
from ratoon.store.files import LocalFiles
from ratoon.store.journal import Journal
from ratoon.store.lock import Lock
from ratoon.store.manifest import ArtifactKey, Commit, Counts, Manifest, Part, text_digest
from ratoon.store.strays import strays

_DECODED_AT_ONCE = 2  # parts; more would hold more of them in memory
T = TypeVar("T")
__all__ = ["ArtifactKey", "Commit", "Counts", "Manifest", "Part", "Store"]


class Store:
    """One run. `Store.open` reads, `Store.writer` also writes; safe for many threads of one process."""

    def __init__(self, root: Path, lock: Lock | None = None) -> None:
        self.root = Path(root)
        self.files = LocalFiles(self.root)
        self.run: Mapping[str, Any] = run_file.read(self.root)
        self._lock = lock
        self._mutex = threading.RLock()
        self._history = History(self.root)
        self._config: str | None = None  # the digest of config.json, where this start wrote it
        self._writing: set[str] = set()
        self._journals: dict[str, Journal] = {}

    @classmethod
    def create(cls, root: Path, frozen: Mapping[str, Any]) -> Store:
        """A new run at `root`, opened for reading; `frozen` may never change in it. Raises StoreError if there is one."""
        files = LocalFiles(Path(root))
        if files.list("commits"):
            raise StoreError(
                f"{root} has commits but no run.json", "restore run.json from a copy, or give another folder with --run"
            )
        run = {
            "run_id": ids.content_id("run", uuid.uuid4().hex), "schema_version": schema.SCHEMA_VERSION,
            "ratoon_version": _version(), "created_at": now(), "frozen": dict(frozen),
        }  # fmt: skip
        try:
            files.put_new(run_file.NAME, run_file.text(run))
        except FileExistsError:
            raise StoreError(f"{root} already holds a run", "open it, or give another folder with --run") from None
        return cls(Path(root))

    @classmethod
    def open(cls, root: Path) -> Store:
        """The run at `root`, for reading. Raises StoreError where there is none, SchemaMismatch for another version's."""
        return cls(Path(root))

    @classmethod
    @contextmanager
    def writer(cls, root: Path, frozen: Mapping[str, Any] | None = None, *, short: bool = False) -> Iterator[Store]:
        """The run at `root` for writing, made if there is none; what was frozen at its first start stays.

        Raises RunLocked, and StoreError where a link leads out of the run or, unless `short`, commits are lost from its log.
        """
        root = Path(root)
        if (root / "run.json").exists():
            run_file.read(root)
        if outside := links.leading_out(root):
            raise StoreError(
                f"{root / outside[0]} is a link that leads out of the run", "put what it leads to in its place, or remove it"
            )
        with Lock(root) as lock:
            if not (root / "run.json").exists():
                cls.create(root, frozen or {})
            store = cls(root, lock)
            if not short and (lost := store.lost()):
                hint = f"restore commits/ from a copy; without one, `ratoon repair {root} --yes` adds back what is whole"
                raise StoreError(lost, hint)
            try:
                yield store
            finally:
                store._close()

    @property
    def run_id(self) -> str:
        return str(self.run["run_id"])

    @property
    def frozen(self) -> Mapping[str, Any]:
        """What the first start fixed, shard size first of all."""
        return dict(self.run["frozen"])

    def config(self) -> dict[str, Any]:
        """The resolved recipe of the latest start; empty before the first."""
        try:
            return dict(json.loads(self.files.read("config.json")))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise StoreError(
                f"{self.root / 'config.json'} is damaged: {error}", "start the run again: it is written anew"
            ) from None

    def put_config(self, config: Mapping[str, Any]) -> None:
        """Keep the resolved recipe of this start."""
        self._must_write()
        text = json.dumps(config, indent=1, ensure_ascii=False).encode() + b"\n"
        self.files.replace("config.json", text)
        with self._latest() as history:
            before, self._config = history.config, text_digest(text)
            if before not in (None, self._config):  # the first commit of a run says it by itself
                self._append([], [], "another recipe")

    def commits(self) -> list[Commit]:
        """The log, oldest first."""
        with self._latest() as history:
            return list(history.commits)

    def live(self) -> dict[str, Manifest]:
        """What exists now, by artifact id, in commit order."""
        with self._latest() as history:
            return dict(history.live)

    def history(self) -> list[Manifest]:
        """Every artifact the log ever added, in order of its first commit."""
        with self._latest() as history:
            return list(history.known.values())

    def get(self, artifact_id: str) -> Manifest | None:
        """The live artifact of that id."""
        with self._latest() as history:
            return history.live.get(artifact_id)

    def find(self, stage: str | None = None, iteration: int | None = None) -> list[Manifest]:
        """Live artifacts of a stage, an iteration, or both."""
        return [m for m in self.live().values() if stage in (None, m.stage) and iteration in (None, m.iteration)]

    def put(
        self,
        key: ArtifactKey,
        tables: Mapping[str, pa.Table],
        counts: Counts,
        *,
        extra: Mapping[str, Any] | None = None,
        remove: Iterable[str] = (),
        why: str = "",
    ) -> Manifest:
        """Write an artifact and add it, removing `remove` in the same commit; its journal is then discarded.

        An id the log has known before, with the same content, is only added again. Raises StoreError for one with other
        content, Conservation, DataError for a table that is not its schema.
        """
        self._must_write()
        artifact_id, label = key.artifact_id, _label(key)
        counts.check(label)
        with self._alone_at(artifact_id), ThreadPoolExecutor(1) as pool:
            rows = {name: parts.conform(name, table) for name, table in tables.items()}
            digesting = pool.submit(lambda: {name: _digest(name, table) for name, table in rows.items()})  # beside the writing
            manifest = self._history.known.get(artifact_id)
            if manifest is None:
                manifest = self._write(key, rows, digesting, counts, extra or {})
            elif manifest.content_digest != digests.combine(digesting.result()):
                hint = "artifacts never change: put what differs (an attempt number, a version) into its key"
                raise StoreError(f"{label} is already recorded as {artifact_id} with other content", hint)
            self._commit([manifest], remove, why or label)
        self.journal(artifact_id).discard()
        return manifest

    def revive(self, artifact_id: str, *, remove: Iterable[str] = (), why: str = "") -> Manifest | None:
        """Add back an artifact that an earlier commit removed; None when the log never knew it."""
        self._must_write()
        manifest = self._history.known.get(artifact_id)
        if manifest is not None:
            self._commit([manifest], remove, why or f"{_label(manifest.key)} again")
        return manifest

    def adopt(self, manifest: Manifest, remove: Iterable[str] = ()) -> None:
        """Add a whole artifact that lies in the run though no commit names it."""
        self._must_write()
        self._commit([manifest], remove, f"{_label(manifest.key)} added back: its commit was lost")

    def settle(self) -> None:
        """Say in run.json that the log is as it should be, however far it goes."""
        self._must_write()
        with self._latest():
            self._append([], [], "the log as it is now, after commits of it were lost")

    def commit(self, add: Iterable[str] = (), remove: Iterable[str] = (), why: str = "") -> Commit | None:
        """One commit over artifacts the log has known; None, and no commit, when it would change nothing."""
        self._must_write()
        add, remove = list(add), list(remove)
        unknown = [a for a in (*add, *remove) if a not in self._history.known]
        if unknown:
            raise StoreError(
                f"the log of {self.root} has never known {unknown}", "put an artifact before it is added or removed"
            )
        return self._commit([self._history.known[a] for a in add], remove, why)

    def read(self, table: str, manifests: Sequence[Manifest] | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of a table in those artifacts (None: all live), in commit order. Raises CorruptPart, DataError."""
        return pa.Table.from_batches(self.scan(table, manifests, columns), schema=parts.projected(table, columns))

    def scan(
        self, table: str, manifests: Sequence[Manifest] | None = None, columns: Sequence[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """The same rows, at most a row group at a time. Raises CorruptPart when it comes to the damage."""
        projection = parts.projected(table, columns)
        for part in self.parts_of(table, self.live().values() if manifests is None else manifests):
            yield from parts.batches(self.root, part, projection)

    def over(
        self,
        table: str,
        manifests: Sequence[Manifest] | None,
        columns: Sequence[str] | None,
        work: Callable[[int, Iterator[pa.RecordBatch]], T],
    ) -> list[T]:
        """The results of `work(first, batches)` on every part, in commit order; `first` counts the rows before it.

        Parts are decoded in threads, two at a time: for much that is read and little that `work` returns. Raises as `scan`.
        """
        projection = parts.projected(table, columns)
        chosen = self.parts_of(table, self.live().values() if manifests is None else manifests)
        firsts = accumulate((part.rows for part in chosen), initial=0)
        with ThreadPoolExecutor(_DECODED_AT_ONCE) as pool:
            return list(pool.map(lambda part, first: work(first, parts.batches(self.root, part, projection)), chosen, firsts))

    def among(
        self, table: str, manifests: Sequence[Manifest] | None, key: str, ids: pa.Array, columns: Sequence[str] | None = None
    ) -> pa.Table:
        """The rows whose `key`, one of the columns, is among `ids`, in commit order. Raises as `scan`."""

        def work(_: int, batches: Iterator[pa.RecordBatch]) -> list[pa.RecordBatch]:
            return [batch.filter(pc.is_in(batch[key], value_set=ids)) for batch in batches]

        by_part = self.over(table, manifests, columns, work)
        return pa.Table.from_batches(chain.from_iterable(by_part), schema=parts.projected(table, columns))

    def parts(self, table: str, history: bool = False) -> list[Path]:
        """The files of a table, live ones or all there ever were."""
        chosen = self.history() if history else self.live().values()
        return [self.root / part.path for part in self.parts_of(table, chosen)]

    @staticmethod
    def parts_of(table: str, manifests: Iterable[Manifest]) -> list[Part]:
        """The parts of a table in those artifacts."""
        return [part for manifest in manifests for part in manifest.parts if part.table == table]

    def journal(self, artifact_id: str) -> Journal:
        """The journal of an artifact in the making."""
        self._must_write()
        with self._mutex:
            if artifact_id not in self._journals:
                self._journals[artifact_id] = Journal(self.root / "journal" / f"{artifact_id}.log")
            return self._journals[artifact_id]

    def verify(self) -> list[str]:
        """Read run.json and every part that the log ever added again; the faults, in words.

        Commits and manifests are checked whenever a run is opened.
        """
        outside = [f"{self.root / name} is a link that leads out of the run" for name in links.leading_out(self.root)]
        recipe = [f"{self.root / 'config.json'} is not the recipe that the log says"] if self._config_is_another() else []
        lost = [text for text in (self.lost(),) if text]
        run = [*run_file.damage(self.root), *lost, *recipe, *outside]
        return run + [problem for manifest in self.history() for problem in self._problems(manifest)]

    def lost(self) -> str | None:
        """What the log no longer holds though run.json saw it, in words; None where it holds all."""
        run = run_file.read(self.root)  # before the log: a writer adds to that first
        with self._latest() as history:
            return run_file.lost(self.root, run, history.commits)

    def _config_is_another(self) -> bool:
        with self._latest() as history:
            return history.config is not None and text_digest(self.files.read_or("config.json", b"")) != history.config

    def sweep(self, dry_run: bool = False) -> list[str]:
        """Remove what no commit names (artifact folders, temporary files) and journals of what is committed; the names."""
        if not dry_run:
            self._must_write()
        with self._latest() as history:
            names = sorted(strays(self.root, set(history.known), self._writing))
            for name in [] if dry_run else names:
                self.files.delete(name)
        return names

    def _write(
        self, key: ArtifactKey, rows: Mapping[str, pa.Table], digesting: Future[dict[str, str]], counts: Counts,
        extra: Mapping[str, Any],
    ) -> Manifest:  # fmt: skip
        """Parts, then the manifest. No artifact yet: a kill from here on leaves a folder that nothing names."""
        folder = f"artifacts/{key.stage}/{key.artifact_id}"
        self.files.delete(folder)
        written: list[Part] = []
        for name, table in rows.items():
            for part, data in parts.encode(name, table, folder):
                self.files.put_new(part.path, memoryview(data))
                written.append(part)
        manifest = Manifest(
            key.artifact_id, key, tuple(written), digesting.result(), digests.combine(digesting.result()), counts,
            schema.SCHEMA_VERSION, dict(extra), now(),
        )  # fmt: skip
        self.files.put_new(f"{folder}/manifest.json", manifest.to_json())
        return manifest

    def _commit(self, add: Sequence[Manifest], remove: Iterable[str], why: str) -> Commit | None:
        with self._latest() as history:
            added = [m for m in add if m.artifact_id not in history.live]
            kept = {m.artifact_id for m in add}
            removed = [a for a in dict.fromkeys(remove) if a in history.live and a not in kept]
            if not added and not removed:
                return None
            return self._append(added, removed, why)

    def _append(self, added: Sequence[Manifest], removed: Sequence[str], why: str) -> Commit:
        """The commit, then run.json, which says how far the log goes."""
        if self._lock is None or not self._lock.held():
            raise RunLocked(f"another process took over {self.root}", "this process was thought dead: start again")
        commit = self._history.append(added, removed, why, self._config or self._history.config)
        self.run = run_file.with_newest(self.run, commit)
        self.files.replace(run_file.NAME, run_file.text(self.run))
        return commit

    def _problems(self, manifest: Manifest) -> list[str]:
        problems = [text for part in manifest.parts if (text := parts.problem(self.root, part)) is not None]
        for table, digest in manifest.digests.items() if not problems else ():
            try:
                if _digest(table, self.read(table, [manifest])) != digest:
                    problems.append(f"{table} of {manifest.artifact_id} has another content digest than its manifest says")
            except StoreError as error:
                problems.append(error.message)
        return problems

    def _must_write(self) -> None:
        if self._lock is None:
            raise StoreError(f"{self.root} is open for reading only", "open it with Store.writer")

    @contextmanager
    def _latest(self) -> Iterator[History]:
        with self._mutex:
            self._history.catch_up()
            yield self._history

    @contextmanager
    def _alone_at(self, artifact_id: str) -> Iterator[None]:
        with self._mutex:
            if artifact_id in self._writing:
                raise StoreError(
                    f"two threads write artifact {artifact_id} at once", "two shards have the same key: please report it"
                )
            self._writing.add(artifact_id)
        try:
            yield
        finally:
            with self._mutex:
                self._writing.discard(artifact_id)

    def _close(self) -> None:
        for journal in self._journals.values():
            journal.close()
        self._lock = None


def _digest(name: str, table: pa.Table) -> str:
    return digests.content_digest(table, schema.KEYS[name], schema.VOLATILE.get(name, frozenset()))


def _label(key: ArtifactKey) -> str:
    return " ".join(str(piece) for piece in (key.stage, key.iteration, key.shard) if piece is not None)


def _version() -> str:
    try:
        return version("ratoon")
    except PackageNotFoundError:
        return "unknown"
