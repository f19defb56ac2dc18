"""A reply's query against a gold query on a small database, in DuckDB inside the sandbox; knows where a query stands.

Results are compared as multisets of rows, or place by place where order is asked for; columns by position, numbers to nine
digits. The share of rows that agree is kept as the value, so that partial credit can be had; only an equal result passes.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ratoon.config import Config
from ratoon.metrics.sandbox import sandbox
from ratoon.metrics.sandbox.sandbox import Limits, NoSandbox, Outcome
from ratoon.metrics.verifiers.formats import queries, wordings
from ratoon.metrics.verifiers.verdict import EMPTY, Verdict, abstained, errored, failed, parsed_args, passed, unparsed
from ratoon.metrics.verifiers.verifier import Formats

_INSIDE = Path(__file__).parents[1] / "sandbox" / "run_sql.py"
# Blocks in other languages are found too, or else the end of one would be read as the beginning of the next.
_BLOCK = re.compile(r"^[ \t]*(```+|~~~+)[ \t]*([\w+-]*)[^\n`]*\n(.*?)^[ \t]*\1", re.MULTILINE | re.DOTALL)
_BARE = re.compile(r"(?:[\s(]|--[^\n]*\n|/\*(?:[^*]|\*(?!/))*\*/)*(?:select|with|from|values)\b", re.IGNORECASE)


class SqlArgs(Config):
    """What a task's `verifier_args` may say."""

    database: str = Field(min_length=1, description="SQL that makes the database: `create table …; insert into …;`")
    ordered: bool = Field(False, description="whether the order of rows counts")
    extract: Literal["block", "whole"] = Field("block", description="the last ```sql block (or a reply that is a bare query)")
    max_rows: int = Field(10_000, ge=1, description="a result of more rows fails")
    timeout_s: float = Field(3.0, gt=0, description="seconds for both queries; keep it below verify.timeout_s")
    memory_mb: int = Field(256, ge=64, description="memory DuckDB may use")


def version() -> str:
    """This file's version and DuckDB's, because both decide."""
    return f"sql-2+{importlib.metadata.version('duckdb')}"


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
    job = {"schema": config.database, "gold": answer, "query": query, "ordered": config.ordered, "most": config.max_rows,
           "memory": f"{config.memory_mb}MB"}  # fmt: skip
    # DuckDB maps more address space than it uses: the bound on the process is wide, `memory_limit` is the narrow one.
    limits = Limits(wall_s=config.timeout_s, memory_mb=config.memory_mb + 1024)
    return _verdict(sandbox.run(_INSIDE, job, limits, _packages()), config)


def specimen(answer: str, args: Mapping[str, Any]) -> str:
    """A reply whose query is `answer`."""
    return answer if parsed_args(SqlArgs, args).extract == "whole" else f"```sql\n{answer}\n```"


def formats(args: Mapping[str, Any]) -> Formats:
    """What these args ask for."""
    return Formats(wordings.at(str(args.get("extract", "block"))), queries.right, queries.wrong)


def _query(text: str, extract: str) -> str | None:
    if extract == "whole":
        return text
    blocks = [str(body) for _, language, body in _BLOCK.findall(text) if language.lower() in ("", "sql", "duckdb")]
    if blocks:
        return blocks[-1]
    return text if _BARE.match(text) else None


def _packages() -> list[Path]:
    """The folder that DuckDB is imported from."""
    spec = importlib.util.find_spec("duckdb")
    if spec is None or spec.origin is None:
        raise NoSandbox("the package 'duckdb' is not installed", "pip install ratoon")
    return [Path(spec.origin).parent.parent]


def _verdict(outcome: Outcome, config: SqlArgs) -> Verdict:
    if outcome.ended != "done":
        return failed(outcome.ended)
    try:
        said = json.loads(outcome.output)
    except ValueError:
        return errored(f"the sandbox ended with status {outcome.code} and no result")
    if "gold_error" in said:
        return abstained(f"the gold query fails: {said['gold_error']}")
    if "error" in said:
        return failed(f"wrong: {said['error']}")
    if said["share"] == 1.0:
        return passed(said["digest"])
    where = " in their places" if config.ordered else ""
    return failed(f"wrong: {said['rows']} rows, {said['share']:.0%} as the gold's{where}", said["digest"], said["share"])
