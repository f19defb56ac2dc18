"""The SQL verifier: equal results pass in any words, others fail with a share, and a query reaches nothing but its database."""

from __future__ import annotations

import shutil

import pytest

from ratoon.metrics.verifiers.sql import specimen, verify

pytestmark = pytest.mark.skipif(shutil.which("bwrap") is None, reason="no sandbox: sudo apt install bubblewrap")
ARGS = {"database": "create table t (a int, b varchar); insert into t values (1, 'x'), (2, 'y'), (3, 'y');"}
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


def test_order_counts_only_where_it_is_asked_for() -> None:
    up, down = GOLD + " order by b", GOLD + " order by b desc"
    assert judged(down, up)[0] == "pass"
    assert judged(down, up, ARGS | {"ordered": True}) == ("fail", "wrong: 2 rows, 0% as the gold's in their places")


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
    assert judged(endless, args=ARGS | {"timeout_s": 1.0}) == ("fail", "timeout")


def test_a_gold_that_fails_abstains() -> None:
    status, detail = judged("select 1", "select nope from t")
    assert status == "abstain"
    assert detail is not None
    assert detail.startswith("the gold query fails: Binder Error")


@pytest.mark.parametrize(("reply", "detail"), [("", "empty"), ("I do not know.", "unparsed: no query")])
def test_replies_without_a_query_fail_and_say_so(reply: str, detail: str) -> None:
    assert verify(reply, GOLD, ARGS)[::3] == ("fail", detail)
