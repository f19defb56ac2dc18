"""A run that an earlier version wrote: it opens, verifies, answers SQL, curates, audits and goes on."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from ratoon import Run, schema
from ratoon.config import apply_sets, parse
from ratoon.pipelines.audit import audit as auditing
from ratoon.pipelines.flows.runner import improve
from ratoon.pipelines.recipe.recipe import Recipe
from ratoon.store.digests import content_digest
from ratoon.store.store import Store

ARCHIVE = Path(__file__).resolve().parents[1] / "data" / "old_run.tar.gz"
CURATE_AGAIN = ["filters.4.k=1"]


@pytest.fixture
def old_run(tmp_path: Path) -> Path:
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "old_run"


def test_it_opens_and_every_byte_of_it_is_what_was_written(old_run: Path) -> None:
    run = Run(old_run)
    assert run.verify() == []
    assert run.status()["policy"] == "m_84a2651ee4e1d7146791526e"
    assert [(d["name"], d["round"], d["rows"]) for d in run.datasets()] == [("default", 1, 13), ("default", 2, 15)]


def test_its_ids_and_content_digests_are_those_of_today(old_run: Path) -> None:
    store = Store.open(old_run)
    for made in store.history():
        assert made.key.artifact_id == made.artifact_id, made.stage
        for table, digest in made.digests.items():
            rows = store.read(table, [made])
            volatile = schema.VOLATILE.get(table, frozenset())
            assert content_digest(rows, schema.KEYS[table], volatile) == digest, (made.stage, table)


def test_sql_reads_its_tables(old_run: Path) -> None:
    run = Run(old_run)
    decided = "select count(*), sum(keep::int) from decisions where subject_kind = 'rollout'"
    assert run.sql(decided).fetchall() == [(208, 172)]
    gains = "select iteration, value from evals where metric = 'pass@1' and policy_id like 'm_%' order by 1"
    assert run.sql(gains).fetchall() == [(0, 0.5625), (1, 0.5625), (2, 0.53125)]
    assert run.dataset(iteration=2).num_rows == 15


def test_it_is_curated_anew_and_its_own_datasets_stay(old_run: Path) -> None:
    before = {m.artifact_id for m in Store.open(old_run).find("curate")}
    told = Run(old_run).curate("strict", sets=CURATE_AGAIN)
    assert [(t["round"], t["kept"]) for t in told if t["dataset"] == "strict"] == [(1, 7), (2, 8)]
    assert before < {m.artifact_id for m in Store.open(old_run).find("curate")}
    assert Run(old_run).verify() == []


def test_it_is_audited(old_run: Path) -> None:
    config = auditing.configured(old_run, ["tier=cheap"])
    report = auditing.audit(old_run, config=config).report
    assert [w["code"] for w in report["warnings"]] == ["verifier_fpr"]


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_here", "trained_here")
def test_it_goes_on_from_where_it_stood(old_run: Path) -> None:
    before = Store.open(old_run)
    recipe = parse(Recipe, apply_sets(before.config(), ["run.iterations=3"]), "the old run's recipe")
    improve(old_run, recipe, quiet=True)
    run = Run(old_run)
    assert list(run.store.live())[: len(before.live())] == list(before.live()), "nothing old was made again"
    assert [r["round"] for r in run.rounds()] == [0, 1, 2, 3]
    policies = run.store.read("policies").sort_by("iteration").to_pylist()
    assert policies[3]["parent_policy_id"] == policies[2]["policy_id"]
    assert run.verify() == []
