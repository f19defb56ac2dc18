"""What the command line prints: tables and texts that fit 80 columns, control characters stripped from what a model wrote."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table

from ratoon.cli import echo
from ratoon.terminal import plain


def _console() -> Console:
    return Console(highlight=False, markup=False, emoji=False)


def print_rows(rows: Sequence[dict[str, Any]], title: str) -> None:
    """Rows as a table; columns that are null or zero throughout are left out."""
    if not rows:
        echo.line(f"{title}: none")
        return
    names = [n for n in rows[0] if any(r.get(n) not in (None, 0) for r in rows)]
    table = _table(title)
    for name in names:
        numeric = all(isinstance(r.get(name), int | float | None) for r in rows)
        table.add_column(plain(name), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(cell(row.get(n)) for n in names))
    _console().print(table)


def print_live(rows: Callable[[], Sequence[dict[str, Any]]], title: str) -> None:
    """Rows as a table that is drawn anew once a second until Ctrl-C; once, where nobody looks at a terminal."""
    console = _console()
    if not console.is_terminal:
        print_rows(rows(), title)
        return
    with Live(console=console, auto_refresh=False) as live, suppress(KeyboardInterrupt):
        while True:
            live.update(_all_columns(rows(), title), refresh=True)
            time.sleep(1.0)


def _all_columns(rows: Sequence[dict[str, Any]], title: str) -> Table:
    table = _table(title if rows else f"{title}: none is asked at the moment")
    for name in rows[0] if rows else ():
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*map(cell, row.values()))
    return table


def print_records(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Rows one under another, a field a line: for wide rows."""
    console = _console()
    for row in rows:
        console.rule(title, align="left", characters="─")
        for name, value in row.items():
            if value is not None:
                console.print(f"{name:>18}  {cell(value)}", soft_wrap=False)


def cell(value: Any) -> str:
    """One value for a person: rates to three places, lists shortened, unknown as a dash."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list) and len(value) > 8 and not isinstance(value[0], dict):
        return f"[{', '.join(cell(v) for v in value[:6])}, … {len(value)} in all]"
    return plain(str(value))


def print_rounds(rounds: Sequence[dict[str, Any]]) -> None:
    """The round table: what was asked, kept and trained, and how the policy did on held-out tasks."""
    table = _table("rounds (trained in tokens, pass@1 held-out, gain paired with base)")
    counted = {"round": "round", "proposed": "new", "tasks": "tasks", "rollouts": "asked", "pass_rate": "pass",
               "mixed": "mixed", "retry": "retry", "kept": "kept", "trained_tokens": "trained"}  # fmt: skip
    if all(row["retry"] is None for row in rounds):  # a run without nft
        counted = {name: head for name, head in counted.items() if name not in ("mixed", "retry")}
    if all(row["proposed"] is None for row in rounds):
        del counted["proposed"]
    for name in (*counted.values(), "pass@1", "gain"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rounds:
        table.add_row(*(cell(row[n]) for n in counted), _interval(row["pass@1"]), _interval(row["gain"], signed=True))
    _console().print(table)
    for row in rounds:
        if row["mixed_wanted"] is not None and row["mixed"] < row["mixed_wanted"]:
            echo.line(
                f"round {row['round']}: {row['mixed']} of {row['mixed_wanted']} mixed groups, with all that could be asked"
            )


def print_measures(found: Sequence[dict[str, Any]]) -> None:
    """What rounds and datasets are made of: value and half the width of its interval; what was not measured is left out."""
    if not found:
        return
    names = [n for n in ("pass", "duplicates", "gzip", "vendi", "rke", "clusters") if any(row[n] for row in found)]
    table = _table("measures ± half of the 95 % interval (more in table measures)")
    for name in ("round", "of", "rollouts", *names):
        table.add_column(
            {"rollouts": "rows", "duplicates": "dup", "clusters": "regions"}.get(name, name), justify="right", no_wrap=True
        )
    for row in found:
        table.add_row(
            cell(row["round"]),
            {"dataset": "kept"}.get(row["of"], row["of"]),
            cell(row["rollouts"]),
            *(_plus_minus(row[n]) for n in names),
        )
    _console().print(table)


def print_gates(found: Sequence[dict[str, Any]]) -> None:
    """What the training gate refused, overrode or warned of; nothing where all passed."""
    for row in found:
        if row["outcome"] != "passed":
            held = "" if row["value"] is None else f" ({cell(row['value'])}, limit {cell(row['limit'])})"
            echo.line(f"gate, round {row['iteration']}: {row['outcome']} {row['reason']}{held}: {row['message']}")


def _plus_minus(metric: dict[str, Any] | None) -> str:
    if metric is None:
        return "–"
    parts = [f"{metric['value']:.3g}"]
    if metric["lo"] is not None:
        parts.append(f"{(metric['hi'] - metric['lo']) / 2:.1g}")
    return "±".join("." + part[2:] if part.startswith("0.") else part for part in parts)


def _interval(metric: dict[str, Any] | None, signed: bool = False) -> str:
    if metric is None or metric["value"] is None:
        return "–"
    sign = "+" if signed else ""
    value, lo, hi = (_short(metric[n], sign, places) for n, places in (("value", 3), ("lo", 2), ("hi", 2)))
    return value if metric["lo"] is None else f"{value} [{lo} {hi}]"


def _short(value: float, sign: str, places: int) -> str:
    """A rate without its leading zero: `.417`, `-.03`; or with a sign: `+.25`."""
    return f"{value or 0.0:{sign}.{places}f}".replace("0.", ".", 1) if abs(value or 0.0) < 1 else f"{value:{sign}.{places}f}"


def _table(title: str) -> Table:
    """The one look of our tables: no vertical lines, one space between columns."""
    return Table(
        title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False, collapse_padding=True
    )  # fmt: skip


def final_report(done: Any) -> None:
    """How a run ends: the rounds, the plot, three rollouts before and after, what to try next."""
    from ratoon.pipelines.audit.after_run import pages
    from ratoon.pipelines.views.final_report import before_after, next_steps, plot

    console = _console()
    print_rounds(done.rounds())
    picture = plot(done.store)
    if picture is not None:
        echo.line(f"plot: {picture}")
    for page in pages(done.store.root):
        worst = "" if page.worst is None else f": {plain(page.worst)}"
        echo.line(f"audit: {page.path} ({page.told}{worst})")
    for pair in before_after(done.store, 3):
        console.print(plain(pair["prompt"]), style="bold")
        for when in ("before", "after"):
            console.print(f"  {when:>6}  {pair[f'{when}_status']}  {_one_line(pair[when])}")
    for line in next_steps(done.store, done.rounds()):
        echo.line(line)


def _one_line(text: str | None, width: int = 60) -> str:
    """What a model wrote on one line, its line breaks shown, cut at `width`."""
    line = plain(text or "").replace("\n", " ⏎ ")
    return line if len(line) <= width else line[: width - 1] + "…"


def _message(message: dict[str, Any]) -> str:
    """What a message says and which tools it calls."""
    return "\n".join(part for part in (message["content"], message["tool_calls"]) if part is not None)


def rollout_text(row: dict[str, Any]) -> str:
    """One rollout as a person reads it: who was asked what, what came back, the verdict, the decision."""
    verdict = " ".join(str(row[k]) for k in ("status", "answer", "detail") if row[k] is not None) or "not scored"
    kept = {None: "", True: "  kept", False: f"  dropped by {row['filter']}: {plain(str(row['reason']))}"}[row["keep"]]
    asked = "\n".join(f"  {plain(m['role']):>9}  {plain(_message(m))}" for m in row["prompt"])
    said = plain(_said(row))
    thought = "" if row["answer_text"] == row["text"] else f"\n  {'thinking':>9}  {_thinking(row)}"
    rate = "" if row["pass_rate"] is None else f"  pass rate {row['pass_rate']:.2f} of {row['n']}"
    head = f"{row['rollout_id']}  round {row['iteration']}  {plain(str(row['family']))}{rate}"
    gold = "" if row["gold"] is None else f"  gold {plain(row['gold'])}"
    end = plain(str(row["finish_reason"]))
    return f"{head}\n{asked}{thought}\n  {'→':>9}  {said}\n  {'verdict':>9}  {plain(verdict)}{gold}  ({end}){kept}"


def _said(row: dict[str, Any]) -> str:
    """The answer, or why there is none."""
    if row["text"] is None:
        return row["error"] or ""
    return "(none: it never stopped thinking)" if row["answer_text"] is None else row["answer_text"]


def _thinking(row: dict[str, Any]) -> str:
    """How long it thought, and how that begins."""
    thoughts = row["text"][: row["answer_start"]]
    return f"{len(thoughts.split())} words: {_one_line(thoughts)}"
