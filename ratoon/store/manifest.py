"""What an artifact says of itself: key, parts, digests and counts, to JSON and back; reads and writes nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any

from ratoon import ids
from ratoon.errors import Conservation

_ID = re.compile(r"a_[0-9a-f]{24}")
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class ArtifactKey:
    """The identity of an artifact: equal keys name the same one.

    `versions` are those of the components used, `config` is semantic and plain JSON, `inputs` maps the id of each input to
    the digest of what was used of it. Only the digests enter the id: the same rows made elsewhere are the same input.
    """

    stage: str
    iteration: int | None = None
    shard: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    config: Any = None
    inputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def artifact_id(self) -> str:
        return ids.content_id("artifact", asdict(self) | {"inputs": sorted(self.inputs.values())})


@dataclass(frozen=True)
class Counts:
    """Rows and tokens. `rows_planned` is fixed before the work; `seconds` is wall time; unknown `cost` is null."""

    rows_planned: int
    rows_out: int
    dropped: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    sampled_tokens: int = 0
    trained_tokens: int = 0
    seconds: float = 0.0
    cost: float | None = None

    def check(self, what: str) -> None:
        """Raise Conservation unless every planned row is out, dropped or failed."""
        if self.rows_planned != self.rows_out + self.dropped + self.failed:
            sum_ = f"{self.rows_out} out + {self.dropped} dropped + {self.failed} failed"
            raise Conservation(
                f"{what}: {self.rows_planned} rows planned, but {sum_}", "a stage lost or made rows: please report it"
            )


@dataclass(frozen=True)
class Part:
    """One Parquet file: `path` is relative to the run, `bytes` and `sha256` are of the file."""

    table: str
    path: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """An artifact on disk. `digests` are content digests by table, `content_digest` is one over all of them."""

    artifact_id: str
    key: ArtifactKey
    parts: tuple[Part, ...]
    digests: Mapping[str, str]
    content_digest: str
    counts: Counts
    schema_version: int
    extra: Mapping[str, Any]
    created_at: str

    @property
    def stage(self) -> str:
        return self.key.stage

    @property
    def iteration(self) -> int | None:
        return self.key.iteration

    @property
    def shard(self) -> str | None:
        return self.key.shard

    def rows(self, table: str) -> int:
        """Rows of one table."""
        return sum(part.rows for part in self.parts if part.table == table)

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"

    @classmethod
    def from_json(cls, text: bytes) -> Manifest:
        """Raises ValueError, KeyError or TypeError when `text` is no manifest."""
        tree = json.loads(text)
        tree["key"] = ArtifactKey(**tree["key"])
        tree["parts"] = tuple(Part(**part) for part in tree["parts"])
        tree["counts"] = Counts(**tree["counts"])
        manifest = cls(**tree)
        manifest.check_paths()
        return manifest

    def check_paths(self) -> None:
        """Raise ValueError unless every part is a file of a plain name in the artifact's own folder."""
        folder = f"artifacts/{self.key.stage}/{self.artifact_id}"
        if not _ID.fullmatch(self.artifact_id) or not _PLAIN.fullmatch(self.key.stage):
            raise ValueError(f"{folder!r} is no folder of an artifact")
        for part in self.parts:
            name = part.path.removeprefix(f"{folder}/")
            if name == part.path or not _PLAIN.fullmatch(name):
                raise ValueError(f"part {part.path!r} does not lie in {folder}")


@dataclass(frozen=True)
class Commit:
    """One step of a run's history: what it added and removed, why and when (UTC).

    `sums` are the checksums of the manifests it added for the first time, `config` that of the recipe it was made under.
    """

    n: int
    add: tuple[str, ...]
    remove: tuple[str, ...]
    why: str
    at: str
    sums: Mapping[str, str] = field(default_factory=dict)
    config: str | None = None

    @property
    def digest(self) -> str:
        """What tells this commit from any other."""
        return text_digest(self.to_json())

    def to_json(self) -> bytes:
        tree = asdict(self)
        if self.config is None:  # as commits were written before they said it
            del tree["config"]
        return json.dumps(summed(tree), ensure_ascii=False).encode() + b"\n"

    @classmethod
    def from_json(cls, text: bytes) -> Commit:
        """Raises ValueError, KeyError or TypeError when `text` is no commit, or not the one that was written."""
        tree = json.loads(text)
        told = (str(tree["why"]), str(tree["at"]), dict(tree.get("sums", {})))
        commit = cls(int(tree["n"]), tuple(tree["add"]), tuple(tree["remove"]), *told, tree.get("config"))
        if odd := [id for id in commit.add if not _ID.fullmatch(str(id))]:
            raise ValueError(f"{odd[0]!r} is no artifact's id")
        if tree.keys() & {"sum", "sums"} and commit.to_json() != text:
            raise ValueError("its checksum is another")
        return commit


def summed(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object with a checksum of all else in it, as `sum`."""
    rest = {name: value for name, value in tree.items() if name != "sum"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return {**rest, "sum": text_digest(text.encode())}


def text_digest(text: bytes) -> str:
    """32 hex digits over the bytes of a file."""
    return sha256(text).hexdigest()[:32]
