"""One SELECT over a run or over tables in memory, by DuckDB; the only file that imports it.

A query may come from a model or a stranger, so it can neither write nor reach outside: one SELECT by DuckDB's own parser,
no external access, no Python variables, configuration locked; tables are Arrow datasets, never paths. (Were the run folder
an allowed directory, COPY could overwrite a part.)
"""

from __future__ import annotations

import difflib
import json
import re
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from ratoon import schema
from ratoon.errors import CorruptPart, SqlError
from ratoon.render_table import FORMATS, render
from ratoon.store import parts
from ratoon.store.store import Store

__all__ = ["FORMATS", "check", "connect", "ledger", "over", "query", "relation", "render"]

_HINT = "ask one SELECT, or EXPLAIN of one; `show tables` lists the tables"
_SETTINGS = (
    "python_enable_replacements = false",
    "python_scan_all_frames = false",
    "autoinstall_known_extensions = false",
    "autoload_known_extensions = false",
    "allow_community_extensions = false",
    "allow_persistent_secrets = false",
    "enable_external_access = false",
    "lock_configuration = true",
)
_SPACE = r"(?:\s|--[^\n]*(?:\n|$)|/\*.*?\*/)"
_EXPLAIN = re.compile(rf"{_SPACE}*explain\b{_SPACE}*", re.IGNORECASE | re.DOTALL)
_ANALYZE = re.compile(rf"analyze\b{_SPACE}*", re.IGNORECASE | re.DOTALL)
_OPTIONS = re.compile(rf"\([^()]*\){_SPACE}*", re.DOTALL)

LEDGER = pa.schema(
    [
        ("n", pa.int64()), ("at", pa.string()), ("why", pa.string()), ("artifact_id", pa.string()), ("stage", pa.string()),
        ("iteration", pa.int32()), ("shard", pa.string()), ("rows_planned", pa.int64()), ("rows_out", pa.int64()),
        ("dropped", pa.int64()), ("failed", pa.int64()), ("prompt_tokens", pa.int64()), ("sampled_tokens", pa.int64()),
        ("trained_tokens", pa.int64()), ("seconds", pa.float64()), ("cost", pa.float64()), ("bytes", pa.int64()),
        ("content_digest", pa.string()), ("inputs", pa.list_(pa.string())), ("live", pa.bool_()), ("removed_by", pa.int64()),
    ]
)  # fmt: skip


def query(store: Store, text: str, *, memory_limit: str = "2GB") -> pa.Table:
    """The answer to one SELECT over a run. Raises SqlError, CorruptPart when a part it read is damaged."""
    check(text)
    connection = connect(store, memory_limit=memory_limit)
    try:
        return _run(connection, text)
    except SqlError as error:
        if isinstance(error.__cause__, duckdb.InvalidInputException | duckdb.IOException):
            _blame_a_part(store, text)
        raise
    finally:
        connection.close()


def relation(store: Store, text: str, *, memory_limit: str = "2GB") -> duckdb.DuckDBPyRelation:
    """The same as a DuckDB relation, run when it is asked for rows; it keeps its connection open. Raises SqlError."""
    check(text)
    return _bound(connect(store, memory_limit=memory_limit), text)


def over(tables: Mapping[str, pa.Table], text: str, *, memory_limit: str = "1GB", spill: Path | None = None) -> pa.Table:
    """The answer to one SELECT over Arrow tables; beyond `memory_limit` DuckDB spills to the folder `spill`."""
    check(text)
    connection = _locked(tables, memory_limit, spill)
    try:
        return _run(connection, text)
    finally:
        connection.close()


def connect(store: Store, *, memory_limit: str = "2GB") -> duckdb.DuckDBPyConnection:
    """A locked connection: each table as it is live, `all_<table>` as it ever was, and `ledger`, the log flattened."""
    live, history = list(store.live().values()), store.history()
    tables: dict[str, Any] = {"ledger": ledger(store)}
    for name in schema.TABLES:
        for view, manifests in ((name, live), (f"all_{name}", history)):
            found = store.parts_of(name, manifests)
            tables[view] = parts.dataset(name, store.root, found) if found else schema.empty(name)
    return _locked(tables, memory_limit, None)


def ledger(store: Store) -> pa.Table:
    """One row per artifact that a commit added, with the commit that removed it, null while it is live."""
    manifests, live = {m.artifact_id: m for m in store.history()}, store.live()
    rows: list[dict[str, Any]] = []
    for commit in store.commits():
        for row in rows:
            if row["removed_by"] is None and row["artifact_id"] in commit.remove:
                row["removed_by"] = commit.n
        for artifact_id in commit.add:
            m = manifests[artifact_id]
            rows.append(
                vars(m.counts) | {
                    "n": commit.n, "at": commit.at, "why": commit.why, "artifact_id": artifact_id, "stage": m.stage,
                    "iteration": m.iteration, "shard": m.shard, "bytes": sum(p.bytes for p in m.parts), "removed_by": None,
                    "content_digest": m.content_digest, "inputs": list(m.key.inputs),
                }
            )  # fmt: skip
    live_rows = ({**row, "live": row["removed_by"] is None and row["artifact_id"] in live} for row in rows)
    return pa.Table.from_pylist(list(live_rows), schema=LEDGER)


def check(text: str) -> None:
    """Raise SqlError unless `text` is exactly one SELECT, or EXPLAIN [ANALYZE] of one, by DuckDB's own parser."""
    with duckdb.connect(":memory:") as connection:
        kind = _only_statement(connection, text)
        if kind == duckdb.StatementType.EXPLAIN:
            _check_explained(connection, text)
        elif kind == duckdb.StatementType.SELECT:
            _check_reads_only(connection, text)
        else:
            raise SqlError(f"{_kind_name(kind)} is not allowed: {_short(text)}", _HINT)


def _only_statement(connection: duckdb.DuckDBPyConnection, text: str) -> duckdb.StatementType:
    try:
        statements = connection.extract_statements(text)
    except duckdb.Error as error:
        raise SqlError(_first_lines(error), _HINT) from None
    if len(statements) != 1:
        raise SqlError(f"{len(statements)} statements, not one: {_short(text)}", _HINT)
    return statements[0].type


def _check_explained(connection: duckdb.DuckDBPyConnection, text: str) -> None:
    """Every reading of what follows EXPLAIN must be a SELECT: `explain analyze create …` would create."""
    readable = 0
    for rest in _after_explain(text):
        try:
            kind = _only_statement(connection, rest)
        except SqlError:
            continue
        if kind != duckdb.StatementType.SELECT:
            raise SqlError(f"EXPLAIN of {_kind_name(kind)} is not allowed: {_short(text)}", _HINT)
        _check_reads_only(connection, rest)
        readable += 1
    if not readable:
        raise SqlError(f"EXPLAIN of what is no SELECT is not allowed: {_short(text)}", _HINT)


def _after_explain(text: str) -> Iterator[str]:
    """What follows EXPLAIN, without and with ANALYZE and a bracket of options taken for part of it."""
    head = _EXPLAIN.match(text)
    rests = [text[head.end() :]] if head else []
    for pattern in (_ANALYZE, _OPTIONS):
        rests += [rest[found.end() :] for rest in rests if (found := pattern.match(rest))]
    yield from rests


def _check_reads_only(connection: duckdb.DuckDBPyConnection, text: str) -> None:
    """Refuse `with x as (insert …)` and the like: to the parser's statement type they are SELECTs."""
    serialized = connection.sql("select json_serialize_sql($1::varchar)", params=[text]).fetchall()[0][0]
    tree = json.loads(serialized)
    if tree["error"]:
        hint = "a PIVOT needs its values: pivot t on column in ('a', 'b') using count(*)"
        raise SqlError(f"not one plain SELECT: {_short(text)}", hint)
    for kind in _node_types(tree):
        if kind.endswith("_QUERY_NODE"):
            raise SqlError(f"{kind.split('_')[0]} inside WITH is not allowed: {_short(text)}", _HINT)


def _node_types(tree: Any) -> Iterator[str]:
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if isinstance(node.get("type"), str):
                yield node["type"]
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node


def _locked(tables: Mapping[str, Any], memory_limit: str, spill: Path | None) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:")
    for name, table in tables.items():
        connection.register(name, table)
    # DuckDB makes this folder when it spills and removes it on closing.
    folder = Path(spill or tempfile.gettempdir()) / f"ratoon-spill-{uuid.uuid4().hex}"
    connection.execute("set memory_limit = $1", [memory_limit])
    connection.execute("set temp_directory = $1", [str(folder)])
    for setting in _SETTINGS:
        connection.execute(f"set {setting}")
    return connection


def _run(connection: duckdb.DuckDBPyConnection, text: str) -> pa.Table:
    try:
        return _bound(connection, text).to_arrow_table()
    except duckdb.Error as error:
        raise SqlError(_first_lines(error), _advice(error)) from error


def _bound(connection: duckdb.DuckDBPyConnection, text: str) -> duckdb.DuckDBPyRelation:
    try:
        return connection.sql(text)
    except duckdb.CatalogException as error:
        raise SqlError(_first_lines(error).split("\nDid you mean")[0], _nearest(connection, str(error))) from error
    except duckdb.Error as error:
        raise SqlError(_first_lines(error), _advice(error)) from error


def _nearest(connection: duckdb.DuckDBPyConnection, message: str) -> str:
    wrong = re.search(r"Table with name (\S+) does not exist", message)
    if not wrong:
        return _HINT
    names = [row[0] for row in connection.sql("select view_name from duckdb_views() where not internal").fetchall()]
    near = difflib.get_close_matches(wrong[1].lower(), names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"the tables are {', '.join(sorted(names))}"


def _advice(error: duckdb.Error) -> str:
    if isinstance(error, duckdb.PermissionException):
        return "a query sees the run's tables and nothing else: no files, no network"
    if isinstance(error, duckdb.OutOfMemoryException):
        return "select fewer columns or rows, or aggregate"
    return "" if "Candidate" in str(error) else _HINT


def _blame_a_part(store: Store, text: str) -> None:
    """When a query failed: raise CorruptPart if it was a damaged part, which DuckDB cannot name."""
    for name in schema.TABLES:
        if re.search(rf"\b(all_)?{name}\b", text, re.IGNORECASE):
            for part in store.parts_of(name, store.history()):
                found = parts.problem(store.root, part)
                if found is not None:
                    raise CorruptPart(found, parts.HINT)


def _kind_name(kind: Any) -> str:
    return str(getattr(kind, "name", kind)).replace("_", " ")


def _first_lines(error: duckdb.Error) -> str:
    return str(error).split("\n\nLINE")[0].strip()


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 80 else line[:77] + "…"
