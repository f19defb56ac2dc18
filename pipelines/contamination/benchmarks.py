"""Benchmarks as texts: read from files, folders or the hub, frozen in a run before its first round; matched elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from ratoon import schema
from ratoon.errors import DataError
from ratoon.pipelines.runtime.stage import Built, key, run_stage
from ratoon.rows import record as records
from ratoon.rows.reading import Reading
from ratoon.rows.record import Record
from ratoon.rows.rows import open_rows
from ratoon.rows.turns import joined as all_text
from ratoon.store.store import Counts, Manifest, Store

_INSTRUCTIONS = ("Alpaca", "Dolly")


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
    return opened(name)[0]


def opened(name: str) -> tuple[pa.Table, Reading]:
    """The same, with the report of how it was read. Raises DataError when half of it cannot be read, too."""
    rows = open_rows(name)
    label = Path(name).name if Path(name).exists() else name
    columns = records.columns(rows)
    found = [
        {"item_id": f"{label}/{row.where}:{part}", "benchmark": label, "part": part.split("-")[0], "text": text}
        for item in rows.items() if item.problem is None
        for row in (records.record(item.where, item.split, item.row, _asked(columns, rows.reading)),)
        for part, text in _texts(row)
    ]  # fmt: skip
    rows.reading.check()
    if not found:
        raise DataError(
            f"benchmark {name} holds no question; its columns are {', '.join(rows.columns()) or 'none'}",
            "name its column question or problem, or give a text file, an item a line",
        )
    return schema.from_rows("benchmarks", found), rows.reading


def _asked(columns: dict[str, str], reading: Reading) -> dict[str, str]:
    """The question without its passage, which many items share; an instruction with its input."""
    left_out = {"options"} if reading.layout in _INSTRUCTIONS else {"options", "input"}
    return {role: name for role, name in columns.items() if role not in left_out}


def _texts(row: Record) -> Iterator[tuple[str, str]]:
    """The question, and the answers, each once."""
    question = all_text([turn for turn in row.prompt if turn["role"] == "user"])
    answers = list(dict.fromkeys(text for text in (*row.answers, *row.texts) if text and text.strip()))
    if not question:
        answers, question = answers[1:], next(iter(answers), None)
    if question and question.strip():
        yield "question", question
    yield from ((f"answer-{n}" if n else "answer", text) for n, text in enumerate(answers))
