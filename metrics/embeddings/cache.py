"""Embeddings on disk by what was embedded: float16, one folder a model, shared by iterations and runs; knows no model.

Vectors are only ever added, a pair of files at a time: first the rows, then, by one rename, the keys that make them exist. So
processes may write at once and be killed at any moment; at worst a text is embedded twice. Row i of a pair belongs to key i.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Halves = NDArray[np.float16]
Keys = NDArray[np.void]
_KEY = np.dtype("V16")


def keys_of(texts: Sequence[str]) -> Keys:
    """The 16-byte digest of each text. A lone surrogate counts as itself."""
    digests = b"".join(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest() for text in texts)
    return np.frombuffer(digests, _KEY)


def stored_width(folder: Path) -> int | None:
    """Numbers in a stored vector; None where none is stored whole."""
    for path in sorted(folder.glob("*.rows.npy")):
        try:
            rows = np.load(path, mmap_mode="r")
        except (OSError, ValueError, EOFError):
            continue
        if rows.ndim == 2:
            return int(rows.shape[1])
    return None


class Vectors:
    """The stored vectors of one model, `width` wide; what other processes add later is not seen."""

    def __init__(self, folder: Path, width: int) -> None:
        self.folder, self.width = folder, width
        folder.mkdir(parents=True, exist_ok=True)
        self._row: dict[bytes, tuple[int, int]] = {}
        self._blocks: list[Any] = []
        for path in sorted(folder.glob("*.keys.npy")):
            self._open(path)

    def has(self, key: bytes) -> bool:
        """Whether a text of this digest was embedded."""
        return key in self._row

    def add(self, keys: Keys, rows: Halves) -> None:
        """Keep the vectors of new texts: there and whole, or not there."""
        stem = uuid.uuid4().hex
        _write(self.folder / f"{stem}.rows.npy", rows.astype(np.float16, copy=False))
        _write(self.folder / f"{stem}.keys.npy", np.frombuffer(keys.tobytes(), np.uint8).reshape(-1, 16))
        self._open(self.folder / f"{stem}.keys.npy")

    def take(self, keys: Keys) -> Halves:
        """The vectors of texts that were all embedded, in the order asked."""
        places = np.array([self._row[key.tobytes()] for key in keys], np.int64).reshape(-1, 2)
        out = np.empty((len(keys), self.width), np.float16)
        for block in np.unique(places[:, 0]):
            mine = places[:, 0] == block
            out[mine] = self._blocks[block][places[mine, 1]]
        return out

    def _open(self, path: Path) -> None:
        """One pair, unless it is damaged or of another width: its texts are then embedded again."""
        try:
            keys = np.load(path)
            rows = np.load(path.with_name(path.name.replace(".keys.", ".rows.")), mmap_mode="r")
        except (OSError, ValueError, EOFError):
            return
        if keys.dtype != np.uint8 or keys.shape != (len(rows), 16) or rows.shape[1:] != (self.width,):
            return
        self._blocks.append(rows)
        for i, key in enumerate(keys):
            self._row.setdefault(key.tobytes(), (len(self._blocks) - 1, i))


def _write(path: Path, array: NDArray[Any]) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as out:
        np.save(out, array)
        out.flush()
        os.fsync(out.fileno())
    temporary.rename(path)
