"""How a run ends: what is shown of it, and which commands are worth trying next."""

from __future__ import annotations

from pathlib import Path

from ratoon import Run
from ratoon.cli.print import final_report
from ratoon.pipelines.views.final_report import before_after, next_steps


def test_the_same_held_out_question_is_shown_before_and_after_one_a_family(smoke_run: Path) -> None:
    pairs = before_after(Run(smoke_run).store, 3)
    assert len(pairs) == 2  # add and max3
    assert all(pair["before_status"] in ("pass", "fail") and pair["after"] for pair in pairs)
    assert len({pair["prompt"] for pair in pairs}) == 2


def test_the_commands_to_try_name_this_run_and_a_filter_it_has(smoke_run: Path) -> None:
    run = Run(smoke_run)
    lines = next_steps(run.store, run.rounds())
    assert f"  ratoon curate {smoke_run} --name strict --set filters.4.k=1" in lines
    assert run.store.config()["filters"][4]["kind"] == "cap_per_task"


def test_the_report_ends_with_the_round_table_and_leaves_the_plot(smoke_run: Path, capsys) -> None:
    final_report(Run(smoke_run))
    said = capsys.readouterr().out
    assert "gain paired with base" in said
    assert "before  " in said
    assert "try next:" in said
    assert (smoke_run / "reports" / "progress.png").stat().st_size > 10_000
