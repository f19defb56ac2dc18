"""Runs inside the sandbox: a model's query and the gold query on equal databases, compared. Never imported by ratoon.

Each query has a connection of its own; the model's one is locked (no files, no settings) and must be one SELECT.
"""

import collections
import datetime
import decimal
import hashlib
import json
import math
import os
import sys

job = json.load(sys.stdin)
channel = os.dup(1)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
sys.path[:0] = sys.argv[1:]

import duckdb  # noqa: E402, TID253


def opened() -> duckdb.DuckDBPyConnection:
    database = duckdb.connect(":memory:", config={"threads": 1, "memory_limit": job["memory"], "temp_directory": ""})
    database.execute(job["schema"])
    database.execute("set enable_external_access = false")
    database.execute("set lock_configuration = true")
    return database


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


def rows_of(query: str) -> list[str]:
    if len(statements := duckdb.extract_statements(query)) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise ValueError("not exactly one SELECT")
    rows = opened().execute(query).fetchmany(job["most"] + 1)
    if len(rows) > job["most"]:
        raise ValueError(f"more than {job['most']} rows")
    return [json.dumps([plain(cell) for cell in row]) for row in rows]


def tell(facts: dict[str, object]) -> None:
    os.write(channel, json.dumps(facts).encode())
    os._exit(0)


try:
    gold = rows_of(job["gold"])
except Exception as error:
    tell({"gold_error": str(error)[:200]})
try:
    rows = rows_of(job["query"])
except Exception as error:
    tell({"error": (str(error).strip().splitlines() or [type(error).__name__])[0][:200]})
if job["ordered"]:
    shared = sum(a == b for a, b in zip(gold, rows, strict=False))
else:
    shared = sum((collections.Counter(gold) & collections.Counter(rows)).values())
share = shared / max(len(gold), len(rows)) if gold or rows else 1.0
digest = hashlib.sha256("\n".join(rows if job["ordered"] else sorted(rows)).encode()).hexdigest()[:16]
tell({"share": share, "digest": digest, "rows": len(rows)})
