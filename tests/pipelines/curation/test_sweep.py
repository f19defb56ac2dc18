"""A sweep tells what settings would keep and writes no dataset; the card is told again; a push that fails says why."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ratoon.errors import DataError, UsageError
from ratoon.pipelines.curation import dataset_card as cards
from ratoon.pipelines.curation.curate import curate
from ratoon.pipelines.curation.recurate import replay
from ratoon.pipelines.curation.sweep import sweep
from ratoon.store.store import Store


@pytest.fixture
def harvested(context: Callable[..., Any], ground: Any, harvest: Any) -> Path:
    with context("generate.tasks=20", "tasks.0.n=30", "tasks.1.n=30", "curation.licence='apache-2.0'") as ctx:
        crop = harvest(ctx, ground(ctx), 1)
        curate(ctx.store, ctx.recipe, crop)
        return Path(ctx.store.root)


def test_a_sweep_tells_of_every_setting_with_its_control_and_writes_no_dataset(harvested: Path) -> None:
    before = set(Store.open(harvested).live())
    assert [f["kind"] for f in Store.open(harvested).config()["filters"]][2::2] == ["pass_rate", "cap_per_task"]
    axes = ["filters.4.k=1,3", "filters.2.lo=0.0,0.5"]
    rows = sweep(harvested, axes)
    assert len(rows) == 4
    assert len({row["setting"] for row in rows}) == 4
    assert any(row["front"] for row in rows)
    for row in rows:
        assert row["kept"] == 0 or (row["control quality"] is not None and row["control diversity"] is not None)
    by = {row["setting"]: row["kept"] for row in rows}
    for lo in ("0.0", "0.5"):
        assert by[f"filters.4.k=1 filters.2.lo={lo}"] <= by[f"filters.4.k=3 filters.2.lo={lo}"]
    assert set(Store.open(harvested).live()) == before
    with pytest.raises(UsageError, match="no axis"):
        sweep(harvested, ["filters.3.lo"])
    with pytest.raises(DataError, match="no harvested round 7"):
        sweep(harvested, axes, iteration=7)


def test_the_card_has_licence_and_the_warnings_that_stood_and_the_folder_loads(harvested: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    told = replay(harvested, "bare", [])
    card = (Path(told[0]["folder"]) / "README.md").read_text()
    assert card.startswith('---\nlicense: "apache-2.0"\n')
    assert "## Warnings that stood" in card
    assert "no step compared it with held-out tasks or benchmarks" in card
    loaded = datasets.load_dataset(told[0]["folder"], cache_dir=str(tmp_path))
    assert loaded["train"].num_rows == told[0]["kept"]
    told = replay(harvested, "guarded", ['filters=[{kind="decontaminate"},{kind="verified"},{kind="minhash"}]'])
    with Store.writer(harvested) as store:
        made = next(m for m in store.find("curate") if m.shard == "guarded")
        assert cards.warnings(store, made, {"filters": [{"kind": k} for k in ("decontaminate", "verified", "minhash")]}) == []


def test_a_hub_that_cannot_be_reached_is_a_clear_error(harvested: Path) -> None:
    folder = next((harvested / "datasets" / "default").iterdir())
    environment = os.environ | {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0", "HF_TOKEN": "hf_none"}
    done = subprocess.run(
        [sys.executable, "-m", "ratoon", "export", str(folder), "--push", "nobody/nothing"],
        capture_output=True, text=True, env=environment, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "error: cannot push to nobody/nothing" in done.stderr
    assert "HF_ENDPOINT" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_says_what_is_missing_and_prints_the_front(harvested: Path, cli_here: Callable[..., Any]) -> None:
    assert "--name NAME" in cli_here("curate", harvested).err
    assert "--push REPO" in cli_here("export", harvested / "datasets" / "default" / "1").err
    told = json.loads(cli_here("curate", harvested, "--sweep", "curation.control=false,true", "--json").out)
    assert len(told) == 2
