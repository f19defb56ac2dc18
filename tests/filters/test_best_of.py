"""One reply per group, the one its model likes best: the mechanism of sharpening, exactly."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratoon.filters import best_of
from ratoon.filters.best_of import BestOfConfig


def rows(*made):
    """(group, answer, log-prob of the whole, tokens, finish reason), ids in order."""
    columns = list(zip(*((*row, "stop")[:5] for row in made), strict=True)) or [()] * 5
    kinds = {"group_id": pa.string(), "answer": pa.string(), "logprob": pa.float64(), "n_tokens": pa.int32(),
             "finish_reason": pa.string()}  # fmt: skip
    table = pa.table({name: pa.array(column, kind) for (name, kind), column in zip(kinds.items(), columns, strict=True)})
    return table.append_column("rollout_id", pa.array([f"r{i:04d}" for i in range(table.num_rows)], pa.string()))


def reasons(*made, by="logprob_per_token"):
    return best_of.keep(rows(*made), BestOfConfig(by=by)).reason.to_pylist()


def test_a_sum_prefers_short_replies_and_a_mean_does_not():
    made = [("g", "7", -2.0, 2), ("g", "8", -3.0, 10)]
    assert reasons(*made, by="logprob") == [None, "not_best"]
    assert reasons(*made) == ["not_best", None]


def test_the_majority_wins_whatever_the_surest_reply_says():
    made = [("g", "7", -0.1, 2), ("g", "8", -3.0, 2), ("g", "8", -2.0, 2), ("g", None, -0.01, 2)]
    assert reasons(*made, by="majority") == ["not_best", "not_best", None, "no_answer"]


def test_what_was_cut_or_has_no_log_prob_takes_no_part_and_the_evidence_is_the_best():
    made = [("g", "7", -0.1, 2, "length"), ("g", "7", None, 2), ("g", "7", -1.0, 2), ("g", "7", -2.0, 2), ("h", "7", None, 2)]
    verdicts = best_of.keep(rows(*made), BestOfConfig())
    assert verdicts.reason.to_pylist() == ["cut", "no_logprob", None, "not_best", "no_logprob"]
    assert verdicts.evidence_id.to_pylist() == [None, None, None, "r0002", None]
    assert verdicts.value.to_pylist() == [None, None, -0.5, -1.0, None]


reply = st.tuples(st.sampled_from("gh"), st.sampled_from(["7", "8"]), st.integers(-4, 0), st.integers(1, 3))


@given(st.lists(reply, max_size=12), st.sampled_from(["logprob", "logprob_per_token", "majority"]), st.randoms())
def test_each_group_keeps_exactly_one_and_no_order_changes_it(made, by, random):
    table = rows(*made)
    order = pa.array(random.sample(range(len(made)), len(made)), pa.int64())
    config = BestOfConfig(by=by)
    here, there = (
        t.filter(pa.array(best_of.keep(t, config).keep))["rollout_id"].to_pylist() for t in (table, table.take(order))
    )
    assert sorted(here) == sorted(there)
    assert len(here) == len({row[0] for row in made})


@pytest.mark.parametrize(("n", "mass"), [(4, 0.344), (16, 0.815)])
def test_mass_on_the_best_answer_is_one_minus_all_misses(n, mass):
    """p = .1 on the answer with the highest log-prob, as a step of exact best-of-n sharpening makes it."""
    assert 1 - (1 - 0.1) ** n == pytest.approx(mass, abs=5e-4)
    random, groups = np.random.default_rng(0), 4_000
    best = random.uniform(size=(groups, n)) < 0.1
    logprob = np.where(best, -0.5, -1.0 - random.uniform(size=best.shape))
    each = zip(np.repeat(np.arange(groups), n).tolist(), best.ravel().tolist(), logprob.ravel().tolist(), strict=True)
    made = [(f"g{g}", "best" if b else "other", lp, 1) for g, b, lp in each]
    table = rows(*made)
    kept = table.filter(pa.array(best_of.keep(table, BestOfConfig(by="logprob")).keep))
    share = kept["answer"].to_pylist().count("best") / groups
    assert abs(share - mass) < 4 * math.sqrt(mass * (1 - mass) / groups)


def test_an_answer_that_was_never_sampled_is_never_chosen():
    made = [("g", "7", -9.0, 1), ("g", "8", -8.0, 1), ("h", "9", -0.1, 1)]
    table = rows(*made)
    kept = table.filter(pa.array(best_of.keep(table, BestOfConfig()).keep)).to_pylist()
    assert {r["group_id"]: r["answer"] for r in kept} == {"g": "8", "h": "9"}
