"""A reply's query against a gold query on a small database, in DuckDB or SQLite inside the sandbox; knows where a query stands.

Results are compared as multisets of rows, or place by place where the gold orders them; columns by position or in any order,
numbers to nine digits. The share of rows that agree is kept as the value, so that partial credit can be had; only an equal
result passes. Whatever the reply's query does to its database or process is its own fault, and fails.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ratoon.config import Config
from ratoon.metrics.sandbox import sandbox
from ratoon.metrics.sandbox.limits import Limits, NoSandbox, Outcome
from ratoon.metrics.sandbox.sandbox import Work
from ratoon.metrics.verifiers.blocks import blocks
from ratoon.metrics.verifiers.formats import queries, wordings
from ratoon.metrics.verifiers.verdict import EMPTY, Verdict, abstained, failed, parsed_args, passed, unparsed
from ratoon.metrics.verifiers.verifier import Formats

_INSIDE = Path(__file__).parents[1] / "sandbox" / "run_sql.py"
_DIALECTS = re.compile(r"(?:[\w-]*sql[\w-]*|duckdb|postgres|mariadb|bigquery|snowflake|oracle|hive|spark|presto|trino)?")


class SqlArgs(Config):
    """What a task's `verifier_args` may say."""

    database: str = Field(min_length=1, description="SQL that makes the database: `create table …; insert into …;`")
    engine: Literal["duckdb", "sqlite"] = Field("duckdb", description="whose dialect database and gold are in")
    ordered: bool | None = Field(None, description="whether the order of rows counts; not set: where the gold has ORDER BY")
    columns: Literal["position", "any_order"] = Field("position", description="whether the order of columns counts")
    extract: Literal["block", "whole"] = Field(
        "block", description="the last block of SQL, named or not, or a reply that is a bare query"
    )
    max_rows: int = Field(10_000, ge=1, description="a result of more rows fails")
    timeout_s: float = Field(3.0, gt=0, description="seconds for both queries; keep it below verify.timeout_s")
    memory_mb: int = Field(256, ge=64, description="memory DuckDB may use")


def version() -> str:
    """This file's version and those of the engines, because all decide."""
    return f"sql-3+{importlib.metadata.version('duckdb')}+{sqlite3.sqlite_version}"


def verify(text: str, answer: str | None, args: Mapping[str, Any]) -> Verdict:
    """Pass when the reply's query gives what the gold query `answer` gives; abstain when the gold fails. Raises ConfigError,
    NoSandbox."""
    config = parsed_args(SqlArgs, args)
    if not answer or answer.isspace():
        return abstained("gold is empty")
    if not text or text.isspace():
        return EMPTY
    query = _query(text, config.extract)
    if query is None:
        return unparsed("no query")
    ordered = queries.is_ordered(answer) if config.ordered is None else config.ordered
    job = {
        "schema": config.database,
        "gold": answer,
        "query": query,
        "engine": config.engine,
        "ordered": ordered,
        "any_columns": config.columns == "any_order",
        "most": config.max_rows,
        "memory": f"{config.memory_mb}MB",
    }
    # DuckDB maps more address space than it uses: the bound on the process is wide, `memory_limit` is the narrow one.
    duckdb = config.engine == "duckdb"
    limits = Limits(wall_s=config.timeout_s, memory_mb=config.memory_mb + 1024 * duckdb)
    packages = _packages() if duckdb else []
    return _verdict(sandbox.run(Work(_INSIDE, job, packages, packages), limits), config, ordered)


def specimen(answer: str, args: Mapping[str, Any]) -> str:
    """A reply whose query is `answer`."""
    return answer if parsed_args(SqlArgs, args).extract == "whole" else f"```sql\n{answer}\n```"


def formats(args: Mapping[str, Any]) -> Formats:
    """What these args ask for."""
    return Formats(wordings.at(str(args.get("extract", "block"))), queries.right, queries.wrong)


def _query(text: str, extract: str) -> str | None:
    if extract == "whole":
        return text
    found = [block for block in blocks(text) if _DIALECTS.fullmatch(block.language)]
    named = [block for block in found if block.language]
    if found:
        return (named or found)[-1].body
    return text if queries.is_query(text) else None


def _packages() -> list[Path]:
    """The folder that DuckDB is imported from."""
    spec = importlib.util.find_spec("duckdb")
    if spec is None or spec.origin is None:
        raise NoSandbox("the package 'duckdb' is not installed", "pip install ratoon")
    return [Path(spec.origin).parent.parent]


def _verdict(outcome: Outcome, config: SqlArgs, ordered: bool) -> Verdict:
    said: dict[str, Any] = {}
    for line in outcome.output.splitlines():  # ours: no query writes here
        said |= json.loads(line)
    if "gold_error" in said:
        hint = "" if config.engine == "sqlite" else '; is it SQLite\'s dialect? verifier_args.engine = "sqlite"'
        return abstained(f"the gold query fails in {config.engine}: {said['gold_error']}{hint}")
    if "gold" not in said:
        how = outcome.ended if outcome.ended != "done" else f"status {outcome.code}"
        return abstained(f"the gold query ends with {how} and no result")
    if outcome.ended != "done":
        return failed(outcome.ended)
    if "share" not in said:
        return failed(f"wrong: {said.get('error', f'the query ended the engine with status {outcome.code}')}")
    if said["share"] == 1.0:
        return passed(said["digest"])
    where = " in their places" if ordered else ""
    return failed(f"wrong: {said['rows']} rows, {said['share']:.0%} as the gold's{where}", said["digest"], said["share"])
