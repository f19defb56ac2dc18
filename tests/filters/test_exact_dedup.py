import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratoon.filters import exact_dedup
from ratoon.filters.exact_dedup import ExactDedupConfig
from ratoon.text import normalise


def rows(*triples):
    """(rollout_id, prompt_id and problem_key as "p/k", text)"""
    return pa.table(
        {
            "rollout_id": pa.array([t[0] for t in triples], pa.string()),
            "prompt_id": pa.array([t[1] and t[1].split("/")[0] for t in triples], pa.string()),
            "problem_key": pa.array([t[1] and t[1].split("/")[1] for t in triples], pa.string()),
            "text": pa.array([t[2] for t in triples], pa.string()),
        }
    )


def test_the_smallest_id_survives_and_is_the_evidence():
    verdicts = exact_dedup.keep(
        rows(("r3", "p/k", "It is 7."), ("r1", "p/k", "it  IS 7. "), ("r2", "p/k", "It is 8.")), ExactDedupConfig()
    )
    assert verdicts.reason.to_pylist() == ["duplicate", None, None]
    assert verdicts.evidence_id.to_pylist() == ["r1", None, None]


@pytest.mark.parametrize(("scope", "dropped"), [("prompt", ["r2"]), ("problem", ["r2", "r3"]), ("all", ["r2", "r3", "r4"])])
def test_the_scope_says_where_equal_texts_count_as_one(scope, dropped):
    table = rows(("r1", "p1/k1", "7"), ("r2", "p1/k1", "7"), ("r3", "p2/k1", "7"), ("r4", "p3/k2", "7"))
    verdicts = exact_dedup.keep(table, ExactDedupConfig(scope=scope))
    assert [r for r, keep in zip(table["rollout_id"].to_pylist(), verdicts.keep, strict=True) if not keep] == dropped
    assert set(verdicts.evidence_id.to_pylist()) == {None, "r1"}


def test_unknown_texts_and_scopes_are_no_duplicates():
    table = rows(("r1", "p/k", None), ("r2", "p/k", None), ("r3", None, "7"), ("r4", None, "7"))
    assert exact_dedup.keep(table, ExactDedupConfig()).keep.all()


def test_no_rows_give_no_verdicts():
    assert len(exact_dedup.keep(rows(), ExactDedupConfig()).keep) == 0


@settings(deadline=None)
@given(st.lists(st.sampled_from(["7", "seven", " SEVEN ", "８", "8", None]), max_size=12), st.randoms())
def test_survivors_are_distinct_and_do_not_hang_on_row_order(texts, rng):
    made = [(f"r{i}", "p/k", text) for i, text in enumerate(texts)]
    shuffled = rng.sample(made, len(made))

    def kept(triples):
        keep = exact_dedup.keep(rows(*triples), ExactDedupConfig()).keep
        return {t[0] for t, k in zip(triples, keep, strict=True) if k}

    assert kept(made) == kept(shuffled)
    distinct = len({normalise(t) for t in texts if t is not None})
    assert len(kept(made)) == distinct + texts.count(None)
