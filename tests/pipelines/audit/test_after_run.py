"""A run ends with its audits: linked, made once, and no reason for the run to fail."""

from __future__ import annotations

import json
import shutil
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from ratoon.pipelines.audit.after_run import pages, write_audits
from ratoon.pipelines.recipe.sections import AuditConfig
from ratoon.store.store import Store

CHEAP = AuditConfig(at_end="cheap")


@pytest.fixture
def copy(smoke_run: Path, tmp_path: Path) -> Path:
    root = tmp_path / "run"
    shutil.copytree(smoke_run, root, ignore=shutil.ignore_patterns("journal", "models", "policies", "lock"))
    return root


def test_a_run_ends_with_its_last_round_and_its_last_dataset_against_the_first(smoke_run: Path) -> None:
    found = {page.path.parent.name: json.loads(page.path.with_name("report.json").read_text()) for page in pages(smoke_run)}
    assert set(found) == {"audit", "audit-dataset"}
    assert found["audit"]["subject"]["name"].endswith("round 2")
    assert found["audit"]["against"]["name"].endswith("round 1")
    assert found["audit-dataset"]["subject"]["name"].endswith("datasets/default/2")
    assert found["audit-dataset"]["against"]["name"].endswith("datasets/default/1")
    assert all(page.path.suffix == ".html" for page in pages(smoke_run))


def test_prefect_links_the_pages(smoke_run: Path, prefect_server: str) -> None:
    wanted = json.dumps({"artifacts": {"key": {"any_": ["ratoon-audit"]}}}).encode()
    request = urllib.request.Request(f"{prefect_server}/artifacts/filter", wanted, {"Content-Type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
        artifacts = json.load(answer)
    links = [artifact["data"] for artifact in artifacts]
    assert any((smoke_run / "reports" / "audit" / "report.html").as_uri() in link for link in links)


def test_an_audit_that_still_holds_is_left_as_it_was_and_made_again_when_its_settings_change(copy: Path) -> None:
    store, page = Store.open(copy), copy / "reports" / "audit" / "report.html"
    page.write_text("mine")
    write_audits(store, CHEAP, print)
    assert page.read_text() == "mine"
    write_audits(store, CHEAP.model_copy(update={"pairs": 50}), print)
    assert page.read_text().startswith("<!doctype html>")


def test_an_audit_that_fails_is_told_and_stops_nothing(copy: Path) -> None:
    shutil.rmtree(copy / "reports")
    (copy / "reports").mkdir()
    (copy / "reports" / "audit").write_text("in the way")
    said: list[str] = []
    found = write_audits(Store.open(copy), CHEAP, said.append)
    assert [page.path.parent.name for page in found] == ["audit-dataset"]
    assert len(said) == 1
    assert "the audit failed and the run did not" in said[0]


def test_switched_off_it_writes_nothing(copy: Path) -> None:
    shutil.rmtree(copy / "reports")
    assert write_audits(Store.open(copy), AuditConfig(at_end="off"), print) == []
    assert not (copy / "reports").exists()


def test_a_run_that_the_gate_stops_is_audited_as_far_as_it_came(start: Any, tmp_path: Path) -> None:
    told = start(tmp_path / "run", "run.iterations=1", "train.min_examples=1000", "audit.at_end=cheap")
    assert told.code == 3, told.err
    (page,) = pages(tmp_path / "run")
    assert json.loads(page.path.with_name("report.json").read_text())["subject"]["name"].endswith("round 1")


def test_a_start_that_is_out_of_time_is_not_held_up_by_an_audit(copy: Path, start: Any) -> None:
    shutil.rmtree(copy / "reports")
    told = start(copy, "run.iterations=3", "audit.at_end=cheap", "generate.n=5", flags=["--max-time", "0.001"])
    assert told.code == 3, told.err
    assert "of this start are over" in told.err
    assert pages(copy) == []
