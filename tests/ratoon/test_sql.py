"""A query reads the run and nothing else: it cannot write, reach a file, or see a Python variable."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ratoon import schema, sql
from ratoon.errors import CorruptPart, SqlError
from ratoon.store.store import ArtifactKey, Counts, Store

ALLOWED = [
    "select 1", "select 1;", "select 1 -- ; drop view tasks", "values (1)", "from tasks", "table tasks", "show tables",
    "describe tasks", "summarize oracles", "with a as (select 1 i) select * from a",
    "with recursive a as (select 1 i union all select i + 1 from a where i < 3) from a",
    "select * from (pivot oracles on oracle in ('1', '2') using count(*))",
    "explain select 1", "EXPLAIN ANALYZE select 1", "explain (format json) select 1", "explain (analyze) from tasks",
    "/* a */ explain -- b\n analyze /* c */ select 1", "explain (select 1)", "select 'create table x(i int)'",
]  # fmt: skip
REFUSED = [
    "", ";", "-- nothing", "select 1; select 2", "select 1; drop view tasks", "select from", "selec 1",
    "create table x(i int)", "create view x as select 1", "drop view tasks", "insert into tasks values (1)",
    "update tasks set source = 'x'", "delete from tasks", "merge into tasks using oracles on true when matched then delete",
    "copy (select 1) to '{file}'", "copy tasks to '{file}'", "attach '{file}'", "use x", "export database '{folder}'",
    "import database '{folder}'", "pragma version", "call pragma_version()", "install httpfs", "load httpfs", "set threads = 1",
    "reset threads", "begin", "vacuum", "checkpoint", "prepare p as select 1", "execute p", "alter view tasks rename to x",
    "explain analyze create table x as select 1", "explain create table x(i int)", "explain (analyze) create table x(i int)",
    "explain analyze insert into tasks values (1)", "explain analyze copy (select 1) to '{file}'", "explain analyze",
    "explain /* ( */ analyze create table x as select 1", "EXPLAIN\nANALYZE\nDROP VIEW tasks", "explain explain select 1",
    "with a as (insert into tasks values (1) returning 1) select * from a", "with a as (delete from tasks) select 1",
    "with a as (update tasks set source = 'x') select 1", "with a as (copy (select 1) to '{file}') select 1",
    "select * from (with b as (delete from tasks returning 1) from b)",
    "explain analyze with a as (copy (select 1) to '{file}') select 1",
]  # fmt: skip
OUT_OF_REACH = [
    "from '{file}'", "from read_parquet('{file}')", "from parquet_scan('{file}')", "from parquet_metadata('{file}')",
    "from read_csv('{file}')", "from read_json('{file}')", "from read_text('{file}')", "from read_blob('{file}')",
    "from glob('{folder}/*')", "from sniff_csv('{file}')", "from 'https://example.com/x.parquet'",
    "from query('drop view tasks')", "select getenv('HOME')", "from enable_logging()", "from spare", "from arrow_scan(1, 2, 3)",
    "from python_map_function((select 1))",
]  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with Store.writer(tmp_path_factory.mktemp("sql") / "run", {}) as opened:
        old = put(opened, "a", [("t0", "0")])
        put(opened, "a2", [("t0", "1"), ("t1", "2")], remove=[old])
        yield opened


def put(store: Store, name: str, rows: list[tuple[str, str]], remove: list[str] | None = None) -> str:
    table = schema.from_rows("oracles", [{"task_id": task, "oracle": answer} for task, answer in rows])
    counts = Counts(len(rows), len(rows), sampled_tokens=7, seconds=0.5)
    return store.put(ArtifactKey("tasks", 0, name), {"oracles": table}, counts, remove=remove or [], why=name).artifact_id


def fingerprint(root: Path) -> dict[str, str]:
    return {
        str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(root.rglob("*")) if p.is_file() and p.name != "lock"
    }


@pytest.mark.parametrize("text", ALLOWED)
def test_a_select_or_its_explanation_runs(store: Store, text: str) -> None:
    assert sql.query(store, text).num_columns > 0


@pytest.mark.parametrize("text", REFUSED)
def test_anything_else_is_refused_before_it_runs(tmp_path: Path, text: str) -> None:
    with pytest.raises(SqlError) as caught:
        sql.check(text.format(file=tmp_path / "x.csv", folder=tmp_path))
    assert caught.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", OUT_OF_REACH)
def test_a_select_reaches_no_file_no_network_and_no_variable(store: Store, tmp_path: Path, text: str) -> None:
    spare = pa.table({"secret": [1]})
    pq.write_table(spare, tmp_path / "x.parquet")
    with pytest.raises(SqlError):
        sql.query(store, text.format(file=tmp_path / "x.parquet", folder=tmp_path))


@pytest.mark.parametrize("text", REFUSED + OUT_OF_REACH)
def test_even_past_the_check_nothing_outside_changes(store: Store, tmp_path: Path, text: str) -> None:
    """The connection itself is the second fence: run what the check refuses, and see that no file changes or appears."""
    before = fingerprint(store.root)
    connection = sql.connect(store)
    victim = store.parts("oracles")[0]
    with contextlib.suppress(duckdb.Error):
        connection.execute(text.format(file=victim, folder=tmp_path))
    connection.close()
    assert fingerprint(store.root) == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("setting", ["enable_external_access = true", "lock_configuration = false", "temp_directory = '/tmp'"])
def test_the_configuration_stays_locked(store: Store, setting: str) -> None:
    with sql.connect(store) as connection, pytest.raises(Exception, match="locked"):
        connection.execute(f"set {setting}")


def test_live_tables_and_their_whole_history_are_views(store: Store) -> None:
    assert sql.query(store, "select oracle from oracles order by 1")["oracle"].to_pylist() == ["1", "2"]
    assert sql.query(store, "select oracle from all_oracles order by 1")["oracle"].to_pylist() == ["0", "1", "2"]
    names = sql.query(store, "show tables")["name"].to_pylist()
    assert sorted(names) == sorted([*schema.TABLES, *(f"all_{n}" for n in schema.TABLES), "ledger"])


def test_the_ledger_is_the_log(store: Store) -> None:
    rows = sql.query(
        store, "select n, stage, shard, rows_out, sampled_tokens, why, live, removed_by from ledger order by n"
    ).to_pylist()
    common = {"stage": "tasks", "sampled_tokens": 7}
    assert rows == [
        common | {"n": 1, "shard": "a", "rows_out": 1, "why": "a", "live": False, "removed_by": 2},
        common | {"n": 2, "shard": "a2", "rows_out": 2, "why": "a2", "live": True, "removed_by": None},
    ]


def test_a_missing_table_gets_the_nearest_name(store: Store) -> None:
    with pytest.raises(SqlError, match="rolouts does not exist") as caught:
        sql.query(store, "select * from rolouts")
    assert caught.value.hint == "did you mean 'rollouts'?"
    with pytest.raises(SqlError) as caught:
        sql.query(store, "from xyzzy")
    assert "ledger" in caught.value.hint


def test_a_missing_column_gets_candidates_and_an_error_says_no_traceback(store: Store) -> None:
    with pytest.raises(SqlError, match="oracle") as caught:
        sql.query(store, "select orcle from oracles")
    assert "Candidate" in caught.value.message
    assert "LINE 1" not in caught.value.message


def test_a_relation_is_lazy_and_outlives_its_call(store: Store) -> None:
    relation = sql.relation(store, "select count(*) as n from oracles")
    assert relation.to_arrow_table().to_pylist() == [{"n": 2}]
    with pytest.raises(SqlError):
        sql.relation(store, "drop view tasks")


def test_tables_in_memory_are_queried_by_the_same_rules() -> None:
    rows = pa.table({"g": ["a", "b", "a"], "v": [1, 2, 3]})
    made = sql.over({"rows": rows}, "select g, max(v) as v from rows group by g order by g")
    assert made.to_pylist() == [{"g": "a", "v": 3}, {"g": "b", "v": 2}]
    for text in ("create table x as from rows", "from '/etc/passwd'", "from other"):
        with pytest.raises(SqlError):
            sql.over({"rows": rows}, text)


def test_a_reduce_beyond_its_memory_spills_and_cleans_up(tmp_path: Path) -> None:
    n = 1_000_000
    rows = pa.table({"k": pa.array(range(n)), "s": pa.array([f"{i * 2654435761 % 2**32:032d}" for i in range(n)])})
    made = sql.over({"rows": rows}, "select s from rows order by s, k", memory_limit="60MB", spill=tmp_path)
    assert made.num_rows == n
    assert made["s"][0].as_py() == "0" * 32
    assert list(tmp_path.iterdir()) == []


def test_a_query_over_a_damaged_part_names_it(tmp_path: Path) -> None:
    with Store.writer(tmp_path / "run", {}) as store:
        put(store, "a", [(f"t{i}", str(i * 7919)) for i in range(500)])
        path = store.parts("oracles")[0]
        whole = path.read_bytes()
        path.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
        with pytest.raises(CorruptPart, match=path.name):
            sql.query(store, "select max(oracle), max(task_id) from oracles")
        path.write_bytes(whole[:-1])
        with pytest.raises(CorruptPart, match=path.name):
            sql.query(store, "select count(*) from oracles")
