"""Dataset folders: Parquet and a card, loadable by `datasets.load_dataset(folder)` as they lie; and mixes of several rounds.

A folder is RUN/datasets/<name>/<iteration>/: `data/<split>-00000.parquet`, `README.md` (the card), `croissant.json`
(what machines read of it) and `dataset.json` (provenance). It appears under its name only when it is whole. Which rows to
keep was decided elsewhere.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ratoon.errors import DataError
from ratoon.messages import narrowed
from ratoon.sft.data import card, croissant, examples
from ratoon.store import digests, faults
from ratoon.store.files import explained, new_folder

INFO = "dataset.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SPLIT = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")  # what `datasets` takes as a split's name
_DIGEST = re.compile(r"[0-9a-f]*")
_ROWS_PER_FILE = 50_000


@dataclass(frozen=True)
class DatasetInfo:
    """Provenance. `made` is free JSON: how the rows were chosen; `sources` says of rows of view `group` who sampled them and
    how: policies, samplings, stop rules, votes. The other fields are filled in where left empty.

    Name, round, splits and digest become names of files and lines of YAML, so each is checked here. Raises DataError.
    """

    dataset_id: str
    name: str
    iteration: int
    run_id: str | None = None
    made: Mapping[str, Any] = field(default_factory=dict)
    content_digest: str = ""
    splits: Mapping[str, int] = field(default_factory=dict)
    schema_version: int = 1
    sources: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_folder(self.name, self.iteration)
        if not _DIGEST.fullmatch(self.content_digest):
            raise DataError(f"{self.content_digest!r} is no content digest", "it has hexadecimal digits only")
        for split, rows in self.splits.items():
            if not _SPLIT.fullmatch(split):
                raise DataError(f"{split!r} is no name of a split", "letters, digits and `_`, with single `.` between them")
            if type(rows) is not int or rows < 0:
                raise DataError(f"split {split!r} has {rows!r} rows", "a count is a whole number")


def check_name(name: str) -> None:
    """Raises DataError on a dataset's name that is no plain folder's."""
    if not _NAME.fullmatch(name):
        raise DataError(f"{name!r} is no name of a dataset", "letters, digits, `.`, `_` and `-`; a letter or digit first")


def _check_folder(name: str, iteration: int) -> None:
    check_name(name)
    if type(iteration) is not int or iteration < 0:
        raise DataError(f"{iteration!r} is no round of a dataset", "a round is a whole number")


def folder_of(root: Path, name: str, iteration: int) -> Path:
    """RUN/datasets/<name>/<iteration>; RUN/datasets may be a link, nothing below it.

    Raises DataError on a name that is no plain folder's, or a link that leads elsewhere.
    """
    _check_folder(name, iteration)
    folder, home = root / "datasets" / name / str(iteration), (root / "datasets").resolve()
    if folder.resolve() != home / name / str(iteration):
        raise DataError(f"{folder} is a link to {folder.resolve()}", "remove the link: a dataset's folder lies in its run")
    return folder


def folder_at(root: Path, relative: str) -> Path:
    """The same from a manifest's `datasets/<name>/<iteration>`. Raises DataError on any other text."""
    parts = re.fullmatch("datasets/([^/]+)/([0-9]+)", relative)
    if parts is None:
        raise DataError(f"{relative!r} is no dataset of the run {root}", "it is datasets/<name>/<iteration>")
    return folder_of(root, parts[1], int(parts[2]))


def content_digest(rows: pa.Table) -> str:
    """The digest of every column of the rows, texts and token ids included, whatever their order."""
    return digests.content_digest(rows, keys=examples.KEYS, volatile=frozenset())


def write_dataset(root: Path, name: str, iteration: int, rows: pa.Table, info: DatasetInfo) -> Path:
    """RUN/datasets/<name>/<iteration>/, whole or not at all; left alone when it already holds this content.

    Raises DataError on a name or split that is no plain folder's or file's, a link in the folder's place, or when the rows
    are not of `examples.ROWS` or repeat an example_id.
    """
    if rows.schema.names != examples.ROWS.names:
        raise DataError(f"a dataset's columns are {examples.ROWS.names}, not {rows.schema.names}", "build them by sft.examples")
    if pc.count_distinct(rows["example_id"]).as_py() != rows.num_rows:
        raise DataError(f"dataset {name!r} has the same example_id twice", "keep one row per rollout and view")
    folder = folder_of(root, name, iteration)
    splits = {s["values"]: s["counts"] for s in pc.value_counts(rows["split"].combine_chunks()).to_pylist()}
    info = DatasetInfo(
        dataset_id=info.dataset_id, name=name, iteration=iteration, run_id=info.run_id, made=_plain(info.made),
        content_digest=content_digest(rows), splits=dict(sorted(splits.items())), sources=_plain(info.sources),
    )  # fmt: skip
    if is_whole(folder, info.content_digest) and read_info(folder) == info:
        return folder
    with explained(folder):
        temporary = new_folder(folder.with_name(f".{iteration}.{os.getpid()}"))
        stored = as_stored(rows)
        _write_parts(temporary / "data", stored, sorted(splits))
        (temporary / "README.md").write_text(card.render(rows, asdict(info)), encoding="utf-8")
        _write_croissant(temporary, stored.schema, info)
        (temporary / INFO).write_text(json.dumps(asdict(info), indent=2, ensure_ascii=False), encoding="utf-8")
        swap(temporary, folder)
    return folder


def _plain(made: Mapping[str, Any]) -> Any:
    """As it will be read back, so that equal content compares equal."""
    return json.loads(json.dumps(dict(made), default=str, sort_keys=True))


def _write_parts(data: Path, rows: pa.Table, splits: Sequence[str]) -> None:
    """The files of each split. Pages end where the content says, and rows lie in the order of their rollouts, which another
    curation leaves: what two versions share lies in equal bytes, and a hub that stores by chunks is sent the rest only.
    """
    data.mkdir()
    for split in splits:
        part = rows.filter(pc.equal(rows["split"], split)).sort_by([("rollout_id", "ascending"), ("view", "ascending")])
        for number, start in enumerate(range(0, max(part.num_rows, 1), _ROWS_PER_FILE)):
            path = data / f"{split}-{number:05d}.parquet"
            pq.write_table(
                part.slice(start, _ROWS_PER_FILE), path, compression="zstd", write_page_checksum=True,
                use_content_defined_chunking=True,
            )  # fmt: skip


def _write_croissant(folder: Path, schema: pa.Schema, info: DatasetInfo) -> None:
    digests = {f"data/{path.name}": sha256(path.read_bytes()).hexdigest() for path in sorted((folder / "data").iterdir())}
    told = croissant.metadata(asdict(info), schema, digests)
    (folder / croissant.FILE).write_text(json.dumps(told, indent=2, ensure_ascii=False), encoding="utf-8")


def as_stored(rows: pa.Table) -> pa.Table:
    """The rows with those fields of messages that one of them has: what lies in the folder, and what people are given."""
    for name in ("prompt", "completion"):
        rows = rows.set_column(rows.schema.get_field_index(name), name, narrowed(rows[name]))
    return rows


def swap(temporary: Path, folder: Path) -> None:
    """Put `temporary` in the place of `folder`: flushed first; an older folder goes only once the new one is there."""
    for path in [*temporary.rglob("*"), temporary]:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        faults.after("fsync", path)
    old = folder.with_name(f".{folder.name}.old.{os.getpid()}")
    if folder.exists():
        faults.before("swap", old)
        os.rename(folder, old)
    faults.before("swap", folder)
    os.rename(temporary, folder)
    faults.after("swap", folder)
    shutil.rmtree(old, ignore_errors=True)


def read_info(folder: Path) -> DatasetInfo:
    """The provenance of a dataset folder. Raises DataError when it is none, or when a name in it is not plain."""
    try:
        return DatasetInfo(**json.loads((folder / INFO).read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise DataError(f"{folder} is no dataset folder: it has no {INFO}", "name RUN/datasets/<name>/<iteration>") from None
    except DataError as error:
        raise DataError(f"{folder / INFO}: {error.message}", error.hint) from None
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{folder / INFO} cannot be read: {error}", "build the dataset again: ratoon curate RUN") from None


def read_dataset(folder: Path, split: str | None = None) -> pa.Table:
    """The rows of a dataset folder, of one split or all, by split and example_id.

    Raises DataError when they are not what `dataset.json` says.
    """
    info = read_info(folder)
    paths = sorted((folder / "data").glob(f"{split or '*'}-*.parquet"))
    try:
        tables = [pq.read_table(path, schema=examples.ROWS, page_checksum_verification=True) for path in paths]
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"a part of {folder} is damaged: {error}", "build the dataset again: ratoon curate RUN") from None
    rows = pa.concat_tables(tables) if tables else examples.ROWS.empty_table()
    planned = info.splits.get(split, 0) if split else sum(info.splits.values())
    if rows.num_rows != planned:
        raise DataError(f"{folder} has {rows.num_rows} rows, not {planned} as {INFO} says", "build the dataset again")
    return rows.sort_by([("split", "ascending"), ("example_id", "ascending")])


def is_whole(folder: Path, digest: str) -> bool:
    """Whether the folder's rows can be read and are those of this content digest."""
    try:
        return content_digest(read_dataset(folder)) == digest
    except DataError:
        return False


def mix(datasets: Sequence[pa.Table], replay: float | None = None, seed: int = 0) -> pa.Table:
    """One table from the rounds' rows, oldest first: all of them, or the last and a `replay` share of earlier ones.

    With `replay` = s the earlier rows are s of the result (fewer where there are not enough), those with the lowest hash of
    seed and example_id: the choice does not depend on order. A rollout met in several rounds counts once, in the newest.
    """
    seen: set[str] = set()
    unique: list[pa.Table] = []
    for rows in reversed(datasets):
        ids = rows["rollout_id"].to_pylist()
        unique.insert(0, rows.filter(pa.array([i not in seen for i in ids], pa.bool_())))
        seen.update(ids)
    *earlier, this = unique
    if replay is None or not earlier:
        return pa.concat_tables(unique)
    pool = pa.concat_tables(earlier)
    keyed = sorted((_rank(seed, example), i) for i, example in enumerate(pool["example_id"].to_pylist()))
    chosen = sorted(i for _, i in keyed[: round(this.num_rows * replay / (1 - replay))])
    return pa.concat_tables([pool.take(pa.array(chosen, pa.int64())), this])


def _rank(seed: int, example_id: str) -> bytes:
    return blake2b(f"{seed}\x1f{example_id}".encode(), digest_size=8).digest()
