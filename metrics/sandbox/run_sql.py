"""Runs inside the sandbox: a model's query and the gold query on equal databases, compared. Never imported by ratoon.

Each query has a database of its own; the model's one is locked (no files, no settings) and must be one SELECT. What the gold
gave is told before the model's query runs, so that a query which ends this process is known to have done so.
"""

import collections
import datetime
import decimal
import hashlib
import json
import math
import os
import sqlite3
import sys

job = json.load(sys.stdin)
channel = os.dup(1)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
sys.path[:0] = sys.argv[1:]

READS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, 33}  # 33: SQLITE_RECURSIVE


def asked_of_duckdb(query: str) -> list[tuple[object, ...]]:
    import duckdb

    statements = duckdb.extract_statements(query)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise ValueError("not exactly one SELECT")
    database = duckdb.connect(":memory:", config={"threads": 1, "memory_limit": job["memory"], "temp_directory": ""})
    database.execute(job["schema"])
    database.execute("set enable_external_access = false")
    database.execute("set lock_configuration = true")
    return database.execute(query).fetchmany(job["most"] + 1)


def asked_of_sqlite(query: str) -> list[tuple[object, ...]]:
    database = sqlite3.connect(":memory:")
    database.executescript(job["schema"])
    database.set_authorizer(lambda action, *_: sqlite3.SQLITE_OK if action in READS else sqlite3.SQLITE_DENY)
    cursor = database.execute(query)  # refuses more than one statement
    if cursor.description is None:
        raise ValueError("not exactly one SELECT")
    return cursor.fetchmany(job["most"] + 1)


def plain(value: object) -> object:
    """Numbers that are equal are one number, to nine digits; dates and everything else as text."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float, decimal.Decimal)):
        number = float(value)
        if not math.isfinite(number):
            return str(number)
        if value == int(value):
            return int(value)
        number = float(f"{number:.9g}")
        return int(number) if number == int(number) else number  # 7.999999999999999 is 8
    if isinstance(value, (datetime.date, datetime.datetime, datetime.time)):
        return value.isoformat()
    return repr(value)


def rows_of(query: str) -> list[tuple[str, ...]]:
    rows = (asked_of_sqlite if job["engine"] == "sqlite" else asked_of_duckdb)(query)
    if len(rows) > job["most"]:
        raise ValueError(f"more than {job['most']} rows")
    return [tuple(json.dumps(plain(cell)) for cell in row) for row in rows]


def shared(gold: list[tuple[str, ...]], rows: list[tuple[str, ...]]) -> int:
    """How many rows agree: in their places, or in any order."""
    if job["ordered"]:
        return sum(a == b for a, b in zip(gold, rows, strict=False))
    return sum((collections.Counter(gold) & collections.Counter(rows)).values())


def like_gold(gold: list[tuple[str, ...]], rows: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """`rows` with its columns in the order in which they give most of the gold's rows; as they are where none gives all.

    Columns are placed from the left, and only where the rows so far have as many of each kind as the gold's have.
    """
    if not gold or not rows or len(gold) != len(rows) or len(gold[0]) != len(rows[0]):
        return rows
    width, tries = len(gold[0]), 0

    def placed(order: tuple[int, ...]) -> tuple[int, ...] | None:
        nonlocal tries
        tries += 1
        part = [tuple(row[i] for i in order) for row in rows]
        if tries > 500 or shared([row[: len(order)] for row in gold], part) < len(rows):
            return None
        if len(order) == width:
            return order
        further = (placed((*order, i)) for i in range(width) if i not in order)
        return next((whole for whole in further if whole is not None), None)

    order = placed(())
    return rows if order is None else [tuple(row[i] for i in order) for row in rows]


def tell(facts: dict[str, object]) -> None:
    os.write(channel, (json.dumps(facts) + "\n").encode())


def why(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def judge() -> dict[str, object]:
    try:
        gold = rows_of(job["gold"])
    except BaseException as error:
        return {"gold_error": why(error)}
    tell({"gold": len(gold)})
    try:
        rows = rows_of(job["query"])
    except BaseException as error:
        return {"error": why(error)}
    if job["any_columns"]:
        rows = like_gold(gold, rows)
    share = shared(gold, rows) / max(len(gold), len(rows)) if gold or rows else 1.0
    said = rows if job["ordered"] else sorted(rows)
    digest = hashlib.sha256("\n".join(f"[{', '.join(row)}]" for row in said).encode()).hexdigest()[:16]
    return {"share": share, "digest": digest, "rows": len(rows)}


tell(judge())
os._exit(0)
