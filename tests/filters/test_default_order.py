"""Filters that read numbers from beside the candidates: each drops for its reason, and says what it saw."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ratoon import schema
from ratoon.config import Config
from ratoon.filters.consensus import ConsensusConfig
from ratoon.filters.decide import decide
from ratoon.filters.decontaminate import DecontaminateConfig
from ratoon.filters.dpp import DppConfig
from ratoon.filters.lint import LintConfig
from ratoon.filters.quality_floor import QualityFloorConfig
from ratoon.filters.semantic import SemanticFilterConfig

COLUMNS = {
    "task_id": "t1", "family": "add", "level": "1", "value": 1.0, "pass_rate": 0.5, "label_source": "vote", "answer": "7",
    "vote": "7", "vote_share": 0.75, "vote_margin": 0.5, "vote_status": "accepted",
}  # fmt: skip


def rows(*changes: dict[str, object]) -> pa.Table:
    table = pa.Table.from_pylist([{"rollout_id": f"r{i:03d}"} | COLUMNS | change for i, change in enumerate(changes)])
    for at, name in enumerate(table.column_names):
        if table[name].type == pa.null():
            kind = pa.float64() if isinstance(COLUMNS[name], float) else pa.string()
            table = table.set_column(at, name, table[name].cast(kind))
    return table


def told(table: pa.Table, config: Config, **side: object) -> dict[str, dict[str, object]]:
    kind = str(config.kind)  # type: ignore[attr-defined]
    made = decide(table, [(kind, config)], "c", side=side).to_pylist()
    assert len(made) == table.num_rows
    return {r["subject_id"]: r for r in made if not r["keep"]}


def reasons(table: pa.Table, config: Config, **side: object) -> dict[str, object]:
    return {name: row["reason"] for name, row in told(table, config, **side).items()}


def linted(*numbers: dict[str, object]) -> pa.Table:
    return schema.from_rows("lint", [{"rollout_id": f"r{i:03d}", "words": 50} | row for i, row in enumerate(numbers)])


def test_lint_drops_for_the_first_limit_a_text_breaks_and_unknown_breaks_none() -> None:
    table = rows({}, {}, {}, {}, {}, {})
    numbers = linted({"empty": True, "refusal": True}, {"refusal": True}, {"top_2": 0.5}, {"top_2": 0.5, "words": 10}, {})
    found = told(table, LintConfig(), lint=numbers)
    assert {k: v["reason"] for k, v in found.items()} == {"r000": "lint:empty", "r001": "lint:refusal", "r002": "lint:top_2"}
    assert (found["r002"]["value"], found["r002"]["threshold"]) == (0.5, 0.20)
    assert reasons(table, LintConfig(empty=False, refusal=False, repetition=False), lint=numbers) == {}
    assert reasons(table, LintConfig(least={"words": 20}, most={"top_2": 0.6}), lint=numbers)["r003"] == "lint:words"


def test_lint_refuses_a_number_nobody_measures() -> None:
    with pytest.raises(ValidationError, match="beauty"):
        LintConfig(most={"beauty": 1})


def match(a: str, item: str, tier: str, share: float) -> dict[str, object]:
    return {"kind": "contamination", "a_id": a, "b_id": item, "similarity": share, "evidence": json.dumps({"tier": tier})}


def test_contamination_counts_for_the_task_and_for_the_reply_and_names_the_item() -> None:
    table = rows({"task_id": "t1"}, {"task_id": "t2"}, {"task_id": "t2"}, {"task_id": "t3"})
    edges = schema.from_rows(
        "edges",
        [match("t1", "bench:4", "exact", 1.0), match("r001", "bench:5", "coverage", 0.6), match("r003", "b", "coverage", 0.4)],
    )
    found = told(table, DecontaminateConfig(), edges=edges)
    assert {k: (v["reason"], v["evidence_id"], v["value"]) for k, v in found.items()} == {
        "r000": ("contaminated:exact", "bench:4", 1.0), "r001": ("contaminated:coverage", "bench:5", 0.6),
    }  # fmt: skip
    assert set(reasons(table, DecontaminateConfig(coverage=0.3), edges=edges)) == {"r000", "r001", "r003"}
    assert reasons(table, DecontaminateConfig(tiers=("long",)), edges=edges) == {}


def test_a_vote_counts_only_where_no_verifier_judged() -> None:
    table = rows({}, {"vote_status": "tie"}, {"vote_share": 0.4}, {"answer": "8"}, {"vote_status": None},
                 {"label_source": "verifier", "vote_status": "none"}, {"vote_margin": 0.01})  # fmt: skip
    assert reasons(table, ConsensusConfig(min_share=0.5, min_margin=0.1)) == {
        "r001": "consensus:tie", "r002": "consensus:share", "r003": "consensus:disagrees", "r004": "consensus:unknown",
        "r006": "consensus:margin",
    }  # fmt: skip


def test_like_vectors_are_told_from_stored_edges() -> None:
    edges = schema.from_rows("edges", [{"kind": "semantic", "a_id": "r000", "b_id": "r001", "similarity": 0.93}])
    past = pa.table({"subject_id": pa.array([], pa.string())})
    assert reasons(rows({}, {}), SemanticFilterConfig(), edges=edges, past=past) == {"r001": "semantic_duplicate"}
    assert reasons(rows({}, {}), SemanticFilterConfig(threshold=0.95), edges=edges, past=past) == {}


def test_the_floor_is_a_rank_inside_the_stratum_and_equals_share_a_fate() -> None:
    table = rows(
        *({"value": v, "family": f} for f, v in [("a", 0.1), ("a", 0.5), ("a", 0.9), ("a", 0.9), ("b", 5.0), ("b", 5.0)])
    )
    found = told(table, QualityFloorConfig(share=0.5))
    assert {k: (v["value"], v["threshold"]) for k, v in found.items()} == {"r000": (0.1, 0.9), "r001": (0.5, 0.9)}
    assert reasons(table, QualityFloorConfig(share=0.3, stratum="all")) == {"r000": "quality_floor"}
    assert reasons(rows({"value": None}, {"value": 1.0}), QualityFloorConfig(share=0.9)) == {}


def vectors(x: np.ndarray):  # type: ignore[no-untyped-def]
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    return lambda ids: unit[[int(i[1:]) for i in ids.to_pylist()]].astype(np.float32)


def test_the_unlike_are_chosen_before_the_copies() -> None:
    rng = np.random.default_rng(0)
    x = np.repeat(rng.normal(size=(5, 16)), 4, axis=0) + rng.normal(size=(20, 16)) * 1e-3
    table = rows(*({"task_id": f"t{i}"} for i in range(20)))
    lost = reasons(table, DppConfig(n=5), vectors=vectors(x))
    kept = [i for i in range(20) if f"r{i:03d}" not in lost]
    assert sorted(i // 4 for i in kept) == [0, 1, 2, 3, 4]
    assert set(lost.values()) == {"dpp"}


def test_greedy_gains_are_those_of_the_determinant() -> None:
    """Each choice is the one that adds most to log det of the chosen rows' kernel, by numpy's own slogdet."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(30, 8))
    table = rows(*({"task_id": f"t{i}"} for i in range(30)))
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    kernel = unit @ unit.T + 1e-3 * np.eye(30)
    chosen: list[int] = []
    for n in range(1, 7):
        best = max(
            (i for i in range(30) if i not in chosen),
            key=lambda i: (round(float(np.linalg.slogdet(kernel[np.ix_([*chosen, i], [*chosen, i])])[1]), 6), -i),
        )
        chosen.append(best)
        lost = reasons(table, DppConfig(n=n, strength=0.0), vectors=vectors(x))
        assert {i for i in range(30) if f"r{i:03d}" not in lost} == set(chosen)


def test_a_task_keeps_its_cap_and_the_rest_of_the_share_goes_to_others() -> None:
    x = np.random.default_rng(2).normal(size=(12, 8))
    table = rows(*({"task_id": "t1" if i < 8 else f"u{i}"} for i in range(12)))
    lost = reasons(table, DppConfig(n=8, cap=4), vectors=vectors(x))
    assert sum(f"r{i:03d}" not in lost for i in range(8)) == 4
    assert sum(f"r{i:03d}" not in lost for i in range(8, 12)) == 4
    assert "dpp:cap" in lost.values()


def test_quality_weighs_and_rows_without_a_vector_are_told() -> None:
    x = np.ones((3, 4))
    table = rows({"value": 0.1, "task_id": "a"}, {"value": 0.9, "task_id": "b"}, {"value": 0.5, "task_id": "c"})
    assert set(reasons(table, DppConfig(n=1), vectors=vectors(x))) == {"r000", "r002"}
    blind = vectors(x)
    assert reasons(table, DppConfig(n=3), vectors=lambda ids: blind(ids) * np.array([[1], [np.nan], [0]])) == {
        "r001": "dpp:no_vector", "r002": "dpp:no_vector",
    }  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 60), st.integers(1, 40), st.integers(1, 5), st.integers(0, 99))
def test_exactly_n_are_kept_where_caps_allow_whatever_the_order(size: int, n: int, cap: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(max(size, 1), 6))
    tasks = rng.integers(0, 12, size)
    table = (
        rows(*({"task_id": f"t{t}", "family": f"f{t % 3}", "value": float(t)} for t in tasks)) if size else rows({}).slice(1)
    )
    config = DppConfig(n=n, cap=cap, block=8)
    lost = reasons(table, config, vectors=vectors(x))
    possible = sum(min(cap, count) for count in np.bincount(tasks, minlength=1)) if size else 0
    assert size - len(lost) == min(n, possible)
    turned = table.take(pa.array(rng.permutation(size)))
    assert reasons(turned, config, vectors=vectors(x)) == lost
