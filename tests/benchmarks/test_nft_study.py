"""The NFT study's numbers and bookkeeping; the runs themselves belong to the benchmark."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ratoon.config import parse
from ratoon.pipelines.recipe.recipe import Recipe, load

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "nft_study.py"


@pytest.fixture(scope="module")
def nft_study() -> ModuleType:
    spec = importlib.util.spec_from_file_location("nft_study", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["nft_study"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def result(method: str, number: int, rate: float, **more: Any) -> dict[str, Any]:
    found = {"name": f"probe-{method}-{number}", "method": method, "probing": True, "seed": 0}
    return found | {"settings": {"learning_rate": number}, "rounds": [{"pass@1": 0.0}, {"pass@1": rate}]} | more


def test_a_uniform_choice_of_four_has_an_entropy_of_log_four(nft_study: ModuleType) -> None:
    assert nft_study.entropy([[math.log(0.25)] * 3, None, [], [math.log(0.25)]]) == pytest.approx(math.log(4))


def test_right_answers_are_distinct_by_their_text_and_counted_by_task(nft_study: ModuleType) -> None:
    said = [("a", "7"), ("a", " 7 "), ("a", "It is 7"), ("a", "wrong"), ("b", "9"), ("c", "x")]
    rows = [{"rollout_id": f"r{i}", "task_id": task, "text": text} for i, (task, text) in enumerate(said)]
    assert nft_study.distinct_right(rows, {"r0", "r1", "r2", "r4"}) == pytest.approx((2 + 1 + 0) / 3)


def test_the_best_setting_on_probe_is_taken_and_the_earlier_among_equals(nft_study: ModuleType, tmp_path: Path) -> None:
    study = nft_study.Study(tmp_path, "tiny")
    assert study.chosen("nft")["settings"] == nft_study.GRID["nft"][0]
    for number, rate in enumerate([0.2, 0.4, 0.4]):
        (tmp_path / "results" / f"probe-nft-{number}.json").write_text(json.dumps(result("nft", number, rate)))
    (tmp_path / "results" / "probe-rft-0.json").write_text(json.dumps(result("rft", 0, 0.9)))
    (tmp_path / "results" / "final-nft-0.json").write_text(json.dumps(result("nft", 9, 1.0, probing=False)))
    assert study.chosen("nft")["settings"] == {"learning_rate": 1}
    assert [line.endswith("| yes |") for line in nft_study.chosen_table(study, study.results())[2:]] == [
        False,
        True,
        False,
        True,
    ]


def test_a_run_whose_result_lies_there_is_not_gone_through_again(nft_study: ModuleType, tmp_path: Path) -> None:
    study, there = nft_study.Study(tmp_path, "tiny"), result("nft", 0, 0.5)
    (tmp_path / "results" / "probe-nft-0.json").write_text(json.dumps(there))
    assert study.run("probe-nft-0", "nft", {"learning_rate": 1.0}, seed=0, probing=True) == there
    assert [p.name for p in tmp_path.iterdir()] == ["results"]


@pytest.mark.parametrize("probing", [True, False])
@pytest.mark.parametrize("scale", ["cpu", "gpu", "tiny"])
def test_both_methods_are_asked_alike_at_every_scale_and_with_every_setting(
    nft_study: ModuleType, tmp_path: Path, scale: str, probing: bool
) -> None:
    study, alike = nft_study.Study(tmp_path, scale), set()
    for method in nft_study.METHODS:
        assert 1 <= len(nft_study.GRID[method]) <= 6
        for setting in nft_study.GRID[method]:
            sets = [*study._sets(1, probing), *(f"train.{k}={nft_study._toml(v)}" for k, v in setting.items())]
            recipe = load(study.scale.recipe, [*sets, f"train.method={method}"])
            assert parse(Recipe, recipe.model_dump(), "recipe") == recipe
            held = recipe.suites["heldout"]
            alike.add(
                (
                    recipe.generate.tasks,
                    recipe.generate.n,
                    recipe.train.steps,
                    recipe.train.epochs,
                    held.tasks,
                    held.n,
                    held.split,
                )
            )
            assert held.sampling.max_tokens == 32
    assert len(alike) == 1
    assert {held for *_, held in alike} == {"probe" if probing else "eval"}


def test_a_section_of_its_own_is_added_to_the_page_and_only_that_replaced_later(nft_study: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "results.md"
    page.write_text("# Results\n\n## The demo\n\nkept\n")
    for text in ("first", "second"):
        nft_study.write(page, f"{nft_study.MARK}\n\n{text}\n")
    told = page.read_text()
    assert told.startswith("# Results\n\n## The demo\n\nkept\n\n## NFT beside rejection sampling\n")
    assert "second" in told
    assert "first" not in told
