"""Two sides of any kind compared: ids inside a run, contents elsewhere, decisions, contamination, exit codes."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ratoon.pipelines.audit.diff import diff
from ratoon.pipelines.curation.curate import control, curate
from ratoon.sft.data.dataset import read_dataset

Start = Callable[..., Any]
WORDS = ("sum", "product", "apples", "trains", "speed", "water", "light", "river", "counting", "money", "share", "garden",
         "bus", "ticket", "lamp", "stone", "cloud", "paper")  # fmt: skip


def row(i: int) -> dict[str, Any]:
    draw = random.Random(i)
    asked = f"How many {draw.choice(WORDS)} if {draw.randint(1, 99)} {draw.choice(WORDS)} and {draw.randint(1, 99)} more?"
    return {"prompt": asked, "completion": " ".join(draw.choices(WORDS, k=30)) + f" {draw.randint(0, 99)}."}


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, Sequence[dict[str, Any]]], str]:
    def to(name: str, rows: Sequence[dict[str, Any]]) -> str:
        path = tmp_path / f"{name}.jsonl"
        path.write_text("\n".join(map(json.dumps, rows)))
        return str(path)

    return to


def test_rows_of_files_are_matched_by_content_whatever_their_order_and_counted(write: Callable[..., str]) -> None:
    rows = [row(i) for i in range(60)]
    a = write("a", [*rows, rows[0]])
    b = write("b", [*rows[:0:-1], rows[0], *(row(i) for i in range(100, 105))])
    told = diff(a, b).told
    assert told["matched_by"] == "content"
    assert (told["rows"]["added"], told["rows"]["removed"], told["rows"]["common"]) == (5, 1, 60)
    assert told["examples"]["removed"][0]["completion"] == rows[0]["completion"]


def test_a_dataset_beside_itself_has_no_difference(write: Callable[..., str]) -> None:
    a = write("a", [row(i) for i in range(40)])
    told = diff(a, a, ["rows_added>0", "gzip>0%", "words<0"])
    assert not told.failed
    assert all(one["change"] == 0 for one in told.told["differences"])


def test_collapsed_replies_fail_a_rule_and_the_halves_of_one_set_do_not(write: Callable[..., str]) -> None:
    rows = [row(i) for i in range(400)]
    a, b = write("a", rows[:200]), write("b", rows[200:])
    same = write("same", [one | {"completion": rows[0]["completion"]} for one in rows[:200]])
    rules = ["gzip>10%", "distinct_2<-10%", "near_duplicates>0.05", "words>5%"]
    assert not diff(a, b, rules).failed
    told = diff(a, same, rules).told["rules"]
    assert [one["fails"] for one in told] == [True, True, True, False]


def test_new_rows_that_hold_a_benchmark_item_are_counted(write: Callable[..., str]) -> None:
    from ratoon.pipelines.recipe.sections import AuditConfig

    item = "A ticket collector counts forty two passengers on each of nine trains; how many passengers does she count in all?"
    bench = write("bench", [{"question": item}])
    rows = [row(i) for i in range(30)]
    a, b = write("a", rows), write("b", [*rows, {"prompt": item, "completion": "378"}])
    config = AuditConfig(tier="cheap", benchmarks=(bench,))
    assert diff(a, b, ["contamination>0"], config=config).told["rows"]["contamination"] == 1
    assert diff(a, b, ["contamination>0"], config=config).failed
    assert not diff(a, a, ["contamination>0"], config=config).failed


def test_datasets_of_one_run_are_matched_by_id_and_removed_rows_say_why(
    context: Start, ground: Start, harvest: Start, tmp_path: Path
) -> None:
    with context() as ctx:
        crop = harvest(ctx, ground(ctx))
        curate(ctx.store, ctx.recipe, crop)
        curate(ctx.store, control(ctx.recipe, 3), crop, "short")
    folders = [tmp_path / "run" / "datasets" / name / "1" for name in ("default", "short")]
    was, now = (set(read_dataset(folder)["rollout_id"].to_pylist()) for folder in folders)
    assert was - now
    told = diff(*map(str, folders)).told
    assert told["matched_by"] == "id"
    assert told["rows"]["removed"] == len(was - now)
    assert told["rows"]["decided_anew"] >= len(was - now)
    assert all(one["why"].startswith("dropped") for one in told["examples"]["removed"])
    assert told["rows"]["contamination"] is not None, "the run's held-out tasks are known"
    rounds = diff(str(tmp_path / "run"), f"{tmp_path / 'run'}@1", ["decisions_changed>0"])
    assert (rounds.failed, rounds.told["rows"]["added"]) == (False, 0)


def test_the_command_exits_3_on_a_failed_rule_2_on_a_bad_one_and_prints_what_was_asked(
    here: Start, write: Callable[..., str]
) -> None:
    a, b = write("a", [row(i) for i in range(40)]), write("b", [row(i) for i in range(20)])
    told = here("diff", a, b, "--fail-on", "rows_removed>0.05", "--json")
    assert told.code == 3
    assert json.loads(told.out)["rules"][0]["value"] == 0.5
    fine = here("diff", a, b, "--fail-on", "rows_removed>0.6", "--markdown")
    assert fine.code == 0
    assert fine.out.startswith("### ratoon diff: 0 of 1 rules failed")
    plain = here("diff", a, b, "--fail-on", "rows_removed>0.05")
    assert "FAILS  rows_removed>0.05" in plain.out
    bad = here("diff", a, b, "--fail-on", "vendy>1")
    assert (bad.code, "the names:" in bad.err) == (2, True)
    gone = here("diff", a, "nowhere.jsonl")
    assert (gone.code, "there is no nowhere.jsonl" in gone.err) == (2, True)
