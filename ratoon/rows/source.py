"""One file of a user: its kind by its name, its bytes without their compression, its text without their encoding."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa

from ratoon.errors import DataError

KINDS = {
    ".parquet": "parquet", ".jsonl": "json", ".ndjson": "json", ".json": "json", ".csv": "csv", ".tsv": "csv",
    ".arrow": "arrow", ".feather": "arrow", ".txt": "text", ".text": "text", ".md": "text",
}  # fmt: skip
COMPRESSIONS = {".gz", ".bz2", ".xz", ".zst"}
_DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException)
READ = ".parquet, .jsonl, .json, .csv, .tsv, .arrow, .txt, each also as .gz, .zst, .bz2 or .xz"
# Longer marks first: UTF-32's begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip


class SourceFile(NamedTuple):
    """A file; `name` is its path under what the user named, `split` the side of the data it holds, where that is known."""

    path: Path
    name: str
    split: str | None = None

    @property
    def kind(self) -> str | None:
        """A name of ratoon.rows.kinds; None for what is not read."""
        return kind_of(self.path)

    def open(self) -> BinaryIO:
        """The bytes, decompressed. Raises DataError."""
        try:
            return _opened(self.path, self.path.suffix.lower())
        except OSError as error:
            raise DataError(f"cannot read {self.path}: {error.strerror or error}", "give a file that can be read") from None

    def read(self) -> bytes:
        """All bytes. Raises DataError."""
        try:
            with self.open() as opened:
                return bytes(opened.read())
        except _DAMAGED as error:
            raise self._damaged(error) from None

    def lines(self) -> Iterator[bytes]:
        """The bytes line by line. Raises DataError."""
        try:
            with self.open() as opened:
                yield from opened
        except _DAMAGED as error:
            raise self._damaged(error) from None

    def _damaged(self, error: Exception) -> DataError:
        return DataError(f"{self.path} cannot be read: {error}", "write or download it anew")


def _opened(path: Path, suffix: str) -> BinaryIO:
    if suffix == ".zst":
        return io.BufferedReader(pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"))
    opener: Any = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}.get(suffix, open)
    return opener(path, "rb")


def kind_of(path: Path) -> str | None:
    """The kind of a file by its suffix, a compression's left aside."""
    bare = path.with_suffix("") if path.suffix.lower() in COMPRESSIONS else path
    return KINDS.get(bare.suffix.lower())


def marked_encoding(head: bytes) -> str | None:
    """The encoding that the first bytes name, None where they name none."""
    return next((name for mark, name in _MARKS if head.startswith(mark)), None)


def utf8(content: bytes, path: Path) -> tuple[bytes, str]:
    """The same text in UTF-8 without a mark, and the encoding it had; bytes without a mark are taken for UTF-8.

    Raises DataError where the text is not in the encoding its mark names.
    """
    encoding = marked_encoding(content)
    if encoding is None:
        return content, "utf-8"
    if encoding == "utf-8":
        return content.removeprefix(codecs.BOM_UTF8), "utf-8"
    try:
        return content.decode(encoding).encode("utf-8", "replace"), encoding
    except UnicodeDecodeError as error:
        raise DataError(f"{path} begins as {encoding} and is not: {error.reason}", "save it as UTF-8") from None


def text_stream(text: str) -> io.StringIO:
    """A text whose line ends are left as they are."""
    return io.StringIO(text, newline="")
