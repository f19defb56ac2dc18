"""The SQL verifier: equal results pass in any words, others fail with a share, and a query reaches nothing but its database."""

from __future__ import annotations

import shutil

import pytest

from ratoon.metrics.verifiers.formats import queries
from ratoon.metrics.verifiers.sql import specimen, verify

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="no sandbox: sudo apt install bubblewrap")
LONG = {"timeout_s": 30.0}  # a busy machine is no wrong query
ARGS = {"database": "create table t (a int, b varchar); insert into t values (1, 'x'), (2, 'y'), (3, 'y');"} | LONG
GOLD = "select b, count(*) from t group by b"


def judged(query: str, gold: str = GOLD, args: dict = ARGS) -> tuple[str, str | None]:
    verdict = verify(f"```sql\n{query}\n```", gold, args)
    return verdict.status, verdict.detail


def test_the_gold_passes_its_own_verifier() -> None:
    assert verify(specimen(GOLD, ARGS), GOLD, ARGS).status == "pass"


def test_another_query_with_the_same_rows_passes_in_any_order_and_number_type() -> None:
    query = "with c as (select b, sum(1)::double n from t group by 1) select * from c order by n desc"
    assert judged(query) == ("pass", None)
    assert verify(query, GOLD, ARGS).status == "pass"  # a bare query is its own block


@pytest.mark.parametrize(
    "reply",
    [
        "The table:\n```text\nt(a, b)\n```\nThe query:\n```sql\n{}\n```",
        "```python\nprint(1)\n```\nor\n```SQL for the table\n{}\n```\nIt gives:\n```text\nx | 1\n```",
        "```t``` is read once:\n~~~sql\n{}\n~~~",
        "-- all of them\n/* by b */ {}",
        "({})",
    ],
)
def test_a_query_is_found_beside_other_blocks_and_behind_a_comment(reply: str) -> None:
    assert verify(reply.format(GOLD), GOLD, ARGS).status == "pass"


def test_a_float_beside_a_whole_number_is_that_number_and_a_whole_number_is_exact() -> None:
    assert judged("select (0.1::double + 0.7::double) * 10", "select 8") == ("pass", None)
    assert judged("select 12345678901", "select 12345678902")[0] == "fail"


def test_order_counts_where_the_gold_orders_its_rows_unless_the_task_says_otherwise() -> None:
    up, down = GOLD + " order by b", GOLD + " order by b desc"
    assert judged(down, up) == ("fail", "wrong: 2 rows, 0% as the gold's in their places")
    assert judged(down, up, ARGS | {"ordered": False})[0] == "pass"
    assert judged(down, GOLD)[0] == "pass"
    assert judged(down, GOLD, ARGS | {"ordered": True})[0] == "fail"


@pytest.mark.parametrize(
    ("query", "ordered"),
    [
        ("select a from t order by b", True),
        ("(select a from t ORDER\n BY b);", True),
        ("with c as (select a from t order by a limit 1) select a from c", False),
        ("select sum(a) over (order by b) from t", False),
        ("select 'order by', \"order by\" from t -- order by a", False),
        ("select a from t where b in (select b from t) /* ( */ order by a", True),
        ("select ')' from t order by 1", True),
    ],
)
def test_a_query_is_ordered_where_it_orders_its_own_rows(query: str, ordered: bool) -> None:
    assert queries.is_ordered(query) is ordered


def test_columns_may_stand_in_any_order_where_the_task_says_so() -> None:
    gold, turned = "select a, b from t", "select b, a from t"
    assert judged(turned, gold)[0] == "fail"
    assert judged(turned, gold, ARGS | {"columns": "any_order"})[0] == "pass"
    assert judged("select b, b from t", gold, ARGS | {"columns": "any_order"})[0] == "fail"


def test_columns_are_placed_together_not_each_for_itself() -> None:
    args = {"database": "create table t(a int, b int); insert into t values (1, 2), (2, 1)", "columns": "any_order"} | LONG
    assert judged("select a, a from t", "select a, b from t", args)[0] == "fail"
    assert judged("select b, a, a + b from t", "select a + b, a, b from t", args)[0] == "pass"


SQLITE = {"database": "create table t(n text, p int); insert into t values ('Bem', 1), ('Ada', 2);", "engine": "sqlite"} | LONG


@pytest.mark.parametrize(
    ("gold", "query"),
    [
        ('SELECT p FROM t WHERE n = "Bem"', "select p from t where n = 'Bem'"),
        ("SELECT n, count(*) FROM t GROUP BY p", "select n, 1 from t"),
        ("select n from t limit 0, 1", "select n from t limit 1"),
        ("SELECT IIF(p > 1, 'x', 'y') FROM t", "select case when p > 1 then 'x' else 'y' end from t"),
        ("SELECT strftime('%Y', '2020-05-01')", "select '2020'"),
        ("SELECT `n` FROM [t] ORDER BY p", "select n from t order by p"),
        ("SELECT CAST(p AS REAL) / 2 FROM t", "select p / 2.0 from t"),
    ],
)
def test_golds_of_sqlite_run_where_the_task_names_that_engine(gold: str, query: str) -> None:
    assert judged(query, gold, SQLITE) == ("pass", None)


def test_a_gold_in_sqlites_dialect_is_refused_by_duckdb_with_a_word_on_it() -> None:
    verdict = verify("```sql\nselect 1\n```", 'SELECT p FROM t WHERE n = "Bem"', SQLITE | {"engine": "duckdb"})
    assert verdict.status == "abstain"
    assert 'engine = "sqlite"' in (verdict.detail or "")


@pytest.mark.parametrize(
    "query",
    [
        "drop table t",
        "select 1; select 2",
        "insert into t values ('z', 4)",
        "attach '/tmp/other.db' as o",
        "pragma table_info(t)",
        "select load_extension('x')",
        "select writefile('/tmp/x', 'y')",
        "with recursive c(x) as (select 1 union all select x + 1 from c) select x from c",
        "select zeroblob(1000000000)",
        "select nope from t",
        "vacuum",
        "",
    ],
)
def test_anything_but_one_small_select_fails_in_sqlite_too(query: str) -> None:
    assert judged(query, "select p from t", SQLITE)[0] == "fail"


def test_a_query_without_end_is_cut_in_sqlite_and_a_gold_without_end_abstains() -> None:
    endless = "with recursive c(x) as (select 1 union all select x + 1 from c) select count(*) from c"
    assert judged(endless, "select p from t", SQLITE | {"timeout_s": 3.0}) == ("fail", "timeout")
    assert judged("select 1", endless, SQLITE | {"timeout_s": 1.0})[0] == "abstain"


@pytest.mark.parametrize("language", ["sql", "sqlite", "postgresql", "postgres", "MySQL", "tsql", "bigquery", "plpgsql", ""])
def test_a_fence_of_any_dialect_is_a_query(language: str) -> None:
    assert verify(f"```{language}\n{GOLD}\n```", GOLD, ARGS).status == "pass"


@pytest.mark.parametrize("reply", ["```sql\n{}\n", "{}\n```", "```sql\r\n{}\r\n```\r\n", "```sql\n{}```"])
def test_a_fence_may_be_unclosed_half_or_of_windows(reply: str) -> None:
    assert verify(reply.format(GOLD), GOLD, ARGS).status == "pass"


def test_rows_in_common_are_the_value() -> None:
    verdict = verify("select b, 1 from t", GOLD, ARGS)
    assert (verdict.status, verdict.value) == ("fail", pytest.approx(1 / 3))


def test_a_repeated_row_is_not_one_row() -> None:
    assert judged("select b from t", "select distinct b from t")[0] == "fail"


@pytest.mark.parametrize(
    "query",
    [
        "drop table t",
        "select 1; select 2",
        "insert into t values (4, 'z')",
        "copy t to '/tmp/stolen.csv'",
        "attach '/tmp/other.db'",
        "install httpfs",
        "set memory_limit = '100GB'",
        "select * from read_csv('/usr/lib/os-release')",
        "select * from glob('/*')",
        "select repeat('x', 1000000000)",
        "select * from range(100000000)",
        "select nope from t",
        "",
    ],
)
def test_anything_but_one_small_select_on_the_database_fails(query: str) -> None:
    assert judged(query)[0] == "fail"


def test_a_query_without_end_is_cut() -> None:
    endless = "select count(*) from range(1000000) a, range(1000000) b"
    assert judged(endless, args=ARGS | {"timeout_s": 6.0}) == ("fail", "timeout")


def test_a_gold_that_fails_abstains() -> None:
    status, detail = judged("select 1", "select nope from t")
    assert status == "abstain"
    assert detail is not None
    assert detail.startswith("the gold query fails in duckdb: Binder Error")


@pytest.mark.parametrize(("reply", "detail"), [("", "empty"), ("I do not know.", "unparsed: no query")])
def test_replies_without_a_query_fail_and_say_so(reply: str, detail: str) -> None:
    assert verify(reply, GOLD, ARGS)[::3] == ("fail", detail)
