"""Runs filters one after the other and writes down every decision; knows neither where rows come from nor what becomes of them.

A row dropped at one step does not reach the next, so a row's last decision says why it went, or that it stayed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from ratoon import schema
from ratoon.columns import whole
from ratoon.config import Config
from ratoon.errors import ConfigError, DataError
from ratoon.filters import FILTERS, entry
from ratoon.filters.entry import EntryConfig
from ratoon.filters.filter import Functions, Side, Verdicts, ascends

_CHUNK = 65_536


def decide(
    candidates: pa.Table,
    steps: Sequence[tuple[str, Config]],
    curation_id: str,
    functions: Functions | None = None,
    side: Side | None = None,
) -> pa.Table:
    """Table `decisions`: one row per candidate and step it reached, in step and then id order; steps count from 0.

    `steps` are (kind, config) pairs. `functions` are filters passed in Python, for kind `entry`. `side` are the tables that
    some filters read beside the candidates: `edges`, and `past`, the ids (subject_id) that earlier datasets hold.
    Raises DataError on a missing column or a rollout that comes twice, ConfigError on an unknown kind.
    """
    _check(candidates, steps, side or {})
    left = _once_in_order(candidates.select(_needed(candidates, steps)))
    tables = [schema.empty("decisions")]
    for step, (kind, config) in enumerate(steps):
        verdicts = _judge(left, kind, config, functions, side or {})
        tables.append(
            _rows(left["rollout_id"], verdicts, step, _name(kind, config), _version(kind, config, functions), curation_id)
        )
        left = left.select(_needed(left, steps[step + 1 :]))
        left = left if verdicts.keep.all() else left.filter(pa.array(verdicts.keep))
    return pa.concat_tables(tables)


def _needed(candidates: pa.Table, steps: Sequence[tuple[str, Config]]) -> list[str]:
    """The columns that the steps read, so that filters copy no others; a user's own filter is given all."""
    if any(kind not in FILTERS for kind, _ in steps):
        return candidates.column_names
    needs = {"rollout_id", *(name for kind, config in steps for name in FILTERS[kind].columns(config, candidates.column_names))}
    return [name for name in candidates.column_names if name in needs]


def _once_in_order(candidates: pa.Table) -> pa.Table:
    """The rows in id order, not copied where they lie so. Raises DataError on a rollout that comes twice."""
    ids = whole(candidates["rollout_id"])
    if ascends(ids):
        return candidates
    if pc.count_distinct(ids).as_py() < len(ids):
        raise DataError("a rollout comes twice among the candidates", "join one score and one group per rollout")
    return candidates.sort_by("rollout_id")


def survivors(candidates: pa.Table, decisions: pa.Table) -> pa.Table:
    """The candidates that no decision dropped, in id order."""
    last = pc.max(decisions["step"]).as_py()
    if last is None:  # no step, or no candidate
        return candidates.sort_by("rollout_id")
    stayed = decisions.filter(pc.and_(pc.equal(decisions["step"], last), decisions["keep"]))["subject_id"].combine_chunks()
    return candidates.filter(pc.is_in(candidates["rollout_id"], value_set=stayed)).sort_by("rollout_id")


def versions(steps: Sequence[tuple[str, Config]], functions: Functions | None = None) -> Mapping[str, str]:
    """The component version of each step, for the id of the curation's artifact: `0.length` -> `1`."""
    return {f"{i}.{_name(kind, config)}": _version(kind, config, functions) for i, (kind, config) in enumerate(steps)}


def _check(candidates: pa.Table, steps: Sequence[tuple[str, Config]], side: Side) -> None:
    for kind, config in steps:
        if kind not in FILTERS and kind != "entry":
            raise ConfigError(f"no filter is called {kind!r}", f"filters: {', '.join([*FILTERS, 'entry'])}")
        needs = {"rollout_id", *(FILTERS[kind].columns(config, candidates.column_names) if kind in FILTERS else ())}
        if absent := sorted(needs - set(candidates.column_names)):
            raise DataError(f"filter {kind!r} needs column {absent}", f"the candidates have {candidates.column_names}")
        if absent := sorted(set(FILTERS[kind].side if kind in FILTERS else ()) - set(side)):
            raise DataError(f"filter {kind!r} needs table {absent}", f"the tables given are {sorted(side)}")


def _judge(rows: pa.Table, kind: str, config: Config, functions: Functions | None, side: Side) -> Verdicts:
    if isinstance(config, EntryConfig):
        return entry.keep(rows, config, functions)
    component = FILTERS[kind]
    return component.keep(rows, config, side) if component.side else component.keep(rows, config)


def _version(kind: str, config: Config, functions: Functions | None) -> str:
    return entry.version(config, functions) if isinstance(config, EntryConfig) else FILTERS[kind].version


def _name(kind: str, config: Config) -> str:
    return config.entry if isinstance(config, EntryConfig) else kind


def _rows(ids: pa.ChunkedArray, verdicts: Verdicts, step: int, name: str, version: str, curation_id: str) -> pa.Table:
    n = len(ids)
    columns = {
        "curation_id": _everywhere(curation_id, n),
        "step": _everywhere(pa.scalar(step, pa.int32()), n),
        "subject_kind": _everywhere("rollout", n),
        "subject_id": ids,
        "filter": _everywhere(name, n),
        "version": _everywhere(version, n),
        "keep": pa.array(verdicts.keep),
        "reason": verdicts.reason,
        "value": verdicts.value,
        "threshold": verdicts.threshold,
        "evidence_id": verdicts.evidence_id,
    }
    return schema.from_columns("decisions", columns, n)


def _everywhere(value: str | pa.Scalar, n: int) -> pa.ChunkedArray:
    """A column of one value whose chunks share their memory: of a million rows and ten steps it is hundreds of megabytes."""
    whole, rest = divmod(n, _CHUNK)
    one = pa.repeat(value, min(n, _CHUNK))
    return pa.chunked_array([*[one] * whole, one.slice(0, rest)], one.type)
