"""Files that hold what does not fit in memory: shingles by row, band keys by partition. Both leave their folder empty."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np

from ratoon.metrics.text.shingles import Shingles

_PARTITIONS = 8
_BUFFER = 1 << 22


class ShingleFile:
    """Shingle hashes (32 bits of each) of rows in the order they are appended."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "shingles.u32"
        self._lengths: list[np.ndarray] = []
        self._offsets = np.zeros(1, np.int64)

    def __enter__(self) -> Self:
        self._file = self._path.open("wb", buffering=_BUFFER)
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def append(self, found: Shingles) -> None:
        """The next rows."""
        self._file.write((found.hashes & np.uint64(0xFFFFFFFF)).astype(np.uint32).data)
        self._lengths.append(np.diff(found.offsets))

    def counts(self, rows: np.ndarray) -> np.ndarray:
        """Shingles of those rows, repeats included."""
        if self._lengths:
            self._offsets = np.concatenate([self._offsets, self._offsets[-1] + np.cumsum(np.concatenate(self._lengths))])
            self._lengths = []
        return self._offsets[rows + 1] - self._offsets[rows]

    def distinct(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The distinct hashes of each row, ascending, as uint64, and where each row's begin; `rows` ascend."""
        sizes = self.counts(rows)
        self._file.flush()
        held = np.memmap(self._path, np.uint32, mode="r") if sizes.sum() else np.zeros(0, np.uint32)
        ends = np.cumsum(sizes)
        at = np.repeat(self._offsets[rows] - (ends - sizes), sizes) + np.arange(ends[-1] if len(ends) else 0)
        words = np.repeat(np.arange(len(rows), dtype=np.uint64) << np.uint64(32), sizes) | held[at]
        words.sort()
        words = words[np.concatenate([[True], words[1:] != words[:-1]])] if len(words) else words
        offsets = np.searchsorted(words, np.arange(len(rows) + 1, dtype=np.uint64) << np.uint64(32))
        return words & np.uint64(0xFFFFFFFF), offsets


class BandFiles:
    """(key, row) records of every band, cut by the key's first bits."""

    def __init__(self, folder: Path, bands: int) -> None:
        self._paths = [[folder / f"band-{band:03d}-{part}.u64" for part in range(_PARTITIONS)] for band in range(bands)]
        self._waiting: list[tuple[np.ndarray, np.ndarray]] = []
        self._held = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for path in (path for paths in self._paths for path in paths):
            path.unlink(missing_ok=True)

    def append(self, bands: np.ndarray, rows: np.ndarray) -> None:
        """Keys `[n, bands]` uint32 of `rows`."""
        self._waiting.append((bands, rows))
        self._held += bands.size
        if self._held > _BUFFER:
            self._flush()

    def keys(self, band: int) -> np.ndarray:
        """Every key of one band."""
        return np.concatenate([_split(self._read(path))[0] for path in self._paths[band]])

    def partitions(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Keys and rows, one partition at a time: equal keys of a band are in one partition."""
        for paths in self._paths:
            for path in paths:
                yield _split(self._read(path))

    def _read(self, path: Path) -> np.ndarray:
        self._flush()
        return np.fromfile(path, np.uint64) if path.exists() else np.zeros(0, np.uint64)

    def _flush(self) -> None:
        if not self._waiting:
            return
        rows = np.concatenate([rows for _, rows in self._waiting]).astype(np.uint64)
        for band, paths in enumerate(self._paths):
            keys = np.concatenate([bands[:, band] for bands, _ in self._waiting])
            words = keys.astype(np.uint64) << np.uint64(32) | rows
            part = keys >> np.uint32(32 - _PARTITIONS.bit_length() + 1)
            for number, path in enumerate(paths):
                with path.open("ab") as file:
                    file.write(words[part == number].data)
        self._waiting, self._held = [], 0


def _split(words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return (words >> np.uint64(32)).astype(np.uint32), (words & np.uint64(0xFFFFFFFF)).astype(np.int64)
