"""Benchmarks as texts: read from files, folders or the hub, frozen in a run before its first round; matched elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from ratoon import schema
from ratoon.errors import DataError, MissingExtra
from ratoon.generators.tasks.files import SUFFIXES, read_file
from ratoon.messages import all_text, turns_in
from ratoon.pipelines.runtime.stage import Built, key, run_stage
from ratoon.store.store import Counts, Manifest, Store

QUESTIONS = ("question", "problem", "prompt", "messages", "instruction", "query", "input", "task", "text", "content")
ANSWERS = ("answer", "solution", "completion", "response", "output", "target", "reasoning")
_TEXTS = (".txt", ".text", ".md")


def frozen(store: Store, names: Sequence[str]) -> Manifest | None:
    """Table benchmarks: every question and answer of those benchmarks, as they were when the run first read them."""
    if not names:
        return None

    def build() -> Built:
        rows = pa.concat_tables([items(name) for name in names])
        return Built({"benchmarks": rows}, Counts(rows.num_rows, rows.num_rows))

    return run_stage(store, key("benchmarks", 0, config=sorted(names)), build)


def held_out(tasks: pa.Table, questions: pa.Array) -> pa.Table:
    """Rows of table benchmarks from a run's own held-out tasks; `questions` stand beside them."""
    columns = [tasks["task_id"], tasks["split"], questions, tasks["answer"]]
    rows = [
        {"item_id": f"{split}/{task_id}:{part}", "benchmark": split, "part": part, "text": text}
        for task_id, split, question, answer in zip(*(column.to_pylist() for column in columns), strict=True)
        for part, text in (("question", question), ("answer", answer))
        if text
    ]
    return schema.from_rows("benchmarks", rows)


def items(name: str) -> pa.Table:
    """Rows of table benchmarks from a file, a folder or a Hugging Face id. Raises DataError when it holds no text."""
    found: list[dict[str, Any]] = []
    label = Path(name).name if Path(name).exists() else name
    for where, row in rows_of(name):
        for part, names in (("question", QUESTIONS), ("answer", ANSWERS)):
            text = _text(row, names)
            if text:
                found.append({"item_id": f"{label}/{where}:{part}", "benchmark": label, "part": part, "text": text})
    if not found:
        raise DataError(
            f"benchmark {name} holds no question",
            f"name its column one of {', '.join(QUESTIONS)}; or give a text file, an item a line",
        )
    return schema.from_rows("benchmarks", found)


def texts_of(row: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Every text of a row by column: strings, and the contents of message lists."""
    for name, value in row.items():
        if isinstance(value, str) and value:
            yield name, value
        elif isinstance(value, list) and value and all(isinstance(m, dict) and "content" in m for m in value):
            yield name, all_text(turns_in(value)) or ""


def rows_of(name: str, unreadable: list[str] | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Where each readable row stands, and the row; of text files a row a line. Raises DataError, MissingExtra.

    What is wrong with a row that cannot be read is added to `unreadable`.
    """
    path = Path(name)
    if not path.exists():
        if path.is_absolute() or path.suffix in (*SUFFIXES, *_TEXTS):
            raise DataError(f"there is no {name}", "give a file, a folder, or a Hugging Face id")
        yield from _hub(name)
        return
    files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.suffix in (*SUFFIXES, *_TEXTS[:2]))
    if not files:
        raise DataError(f"{name} holds no data file", f"files that are read: {', '.join((*SUFFIXES, *_TEXTS))}")
    for file in files:
        prefix = "" if path.is_file() else f"{file.parent.relative_to(path).as_posix()}/".removeprefix("./")
        yield from ((f"{prefix}{where}", row) for where, row in _file(file, unreadable))


def _file(file: Path, unreadable: list[str] | None) -> Iterator[tuple[str, dict[str, Any]]]:
    if file.suffix in _TEXTS:
        for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if line.strip():
                yield f"{file.name}:{number}", {"text": line}
        return
    if file.suffix not in SUFFIXES:
        raise DataError(f"{file} is of no kind that is read", f"files that are read: {', '.join((*SUFFIXES, *_TEXTS))}")
    for item in read_file(file):
        if item.problem is None:
            yield item.where, item.row
        elif unreadable is not None:
            unreadable.append(f"{item.where}: {item.problem}")


def _hub(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        from datasets import load_dataset
    except ImportError:
        raise MissingExtra("datasets", "tasks") from None
    repo, _, config = name.partition(":")
    try:
        loaded = load_dataset(repo, config or None)
    except Exception as error:  # the hub's errors share no base
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"cannot read {name}: {reason}", "give a local file or folder, or ID:CONFIG of the hub") from None
    for split, rows in loaded.items():
        yield from ((f"{split}:{i}", dict(row)) for i, row in enumerate(rows))


def _text(row: dict[str, Any], names: Iterable[str]) -> str | None:
    """The text of the first of these columns that has one; options of a multiple-choice item are no part of it."""
    for name in names:
        value = row.get(name)
        if isinstance(value, str | int | float) and not isinstance(value, bool) and str(value).strip():
            return str(value)
        if isinstance(value, list) and (found := dict(texts_of({name: value}))):
            return found[name]
    return None
