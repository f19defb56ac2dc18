"""The picture of a run: held-out rates per round, and each task arm by itself; draws stored numbers and computes none.

Left: pass@1 with its interval, the share of finished replies and the pass rate among them, trivial policies dotted. Right:
one line per arm. Colours are Okabe and Ito's, which colour-blind readers can tell apart; every line also has its own marker
and its name at its end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from ratoon.errors import DataError, MissingExtra

Row = Mapping[str, Any]
Point = tuple[int, float, float | None, float | None]

_BLACK, _GREY = "#1a1a1a", "#767676"
_PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5C00", "#000000")
_MARKERS = "osD^vPXh"
_WHOLE = (
    ("pass@1", "pass@1", _PALETTE[0], "o"),
    ("finished_share", "finished", _GREY, "s"),
    ("pass@1_finished", "of the finished", _PALETTE[1], "D"),
)
_ARM = "pass@1/"


def plot(evals: Sequence[Row] | pa.Table, path: Path | str) -> Path:
    """Write the PNG (1200 x 700) of one suite's rows of table `evals`. Raises DataError when no round has a pass@1."""
    rows = evals.to_pylist() if isinstance(evals, pa.Table) else list(evals)
    mine = [row for row in rows if not str(row["policy_id"]).startswith("trivial:")]
    if not _points(mine, "pass@1"):
        raise DataError("there is no pass@1 to draw", "evaluate a suite first: ratoon eval RUN --suite heldout")
    figure, (left, right) = _canvas()
    _draw_whole(left, mine)
    _draw_trivial(left, [row for row in rows if row not in mine])
    _draw_arms(right, mine)
    for axes in (left, right):
        _dress(axes, [point[0] for point in _points(mine, "pass@1")])
    figure.suptitle(_title(mine), x=0.06, ha="left", fontsize=15, color=_BLACK)
    figure.savefig(path, dpi=100)
    return Path(path)


def _canvas() -> tuple[Any, Any]:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra("matplotlib", "run") from None
    figure = Figure(figsize=(12, 7), facecolor="white")  # no pyplot: it keeps figures in a global, and threads draw here
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.06, right=0.82, top=0.85, bottom=0.09, wspace=0.62)
    return figure, axes


def _points(rows: Sequence[Row], metric: str) -> list[Point]:
    """One point a round, in order: iteration, value, lo, hi; rounds whose value is unknown are left out."""
    found = {row["iteration"]: row for row in rows if row["metric"] == metric and row["value"] is not None}
    return [(i, found[i]["value"], found[i].get("lo"), found[i].get("hi")) for i in sorted(found)]


def _draw_whole(axes: Any, rows: Sequence[Row]) -> None:
    labels = []
    for metric, name, colour, marker in _WHOLE:
        points = _points(rows, metric)
        if points:
            strong = metric == "pass@1"
            _line(axes, points, colour, marker, width=2.6 if strong else 1.6, band=strong)
            labels.append((points[-1], name, colour))
    axes.set_title("held-out tasks", loc="left", fontsize=12, color=_BLACK)
    axes.set_ylim(0, 1.0)
    _names(axes, labels)


def _draw_trivial(axes: Any, rows: Sequence[Row]) -> None:
    best = max(
        ((row["value"], str(row["policy_id"])) for row in rows if row["metric"] == "pass@1" and row["value"] is not None),
        default=None,
    )
    if best is not None:
        axes.axhline(best[0], color=_BLACK, linestyle=(0, (1, 2)), linewidth=1.3)
        name = f"{best[1].removeprefix('trivial:')} (trivial policy): {best[0]:.2f}"
        axes.annotate(
            name, (0.02, best[0]), xycoords=("axes fraction", "data"), xytext=(0, 3), textcoords="offset points", fontsize=9
        )


def _draw_arms(axes: Any, rows: Sequence[Row]) -> None:
    arms = sorted({row["metric"].removeprefix(_ARM) for row in rows if row["metric"].startswith(_ARM)})
    labels, top = [], 0.1
    for n, arm in enumerate(arms):
        points = _points(rows, _ARM + arm)
        if points:
            colour = _PALETTE[n % len(_PALETTE)]
            _line(axes, points, colour, _MARKERS[n % len(_MARKERS)], width=1.8, band=False)
            labels.append((points[-1], arm, colour))
            top = max(top, *(point[1] for point in points))
    axes.set_title("pass@1 by task arm", loc="left", fontsize=12, color=_BLACK)
    axes.set_ylim(0, min(1.0, top * 1.15))
    _names(axes, labels)


def _line(axes: Any, points: Sequence[Point], colour: str, marker: str, *, width: float, band: bool) -> None:
    x, y = [p[0] for p in points], [p[1] for p in points]
    axes.plot(x, y, color=colour, marker=marker, markersize=7, linewidth=width, clip_on=False, zorder=3)
    known = [(i, value, lo, hi) for i, value, lo, hi in points if lo is not None and hi is not None]
    if band and known:
        # Max: a percentile interval need not hold the value itself.
        below = [max(value - lo, 0.0) for _, value, lo, _ in known]
        above = [max(hi - value, 0.0) for _, value, _, hi in known]
        at = [p[0] for p in known]
        axes.errorbar(
            at, [p[1] for p in known], yerr=[below, above], fmt="none", ecolor=colour, elinewidth=1.8, capsize=5, zorder=2
        )
        axes.fill_between(at, [p[2] for p in known], [p[3] for p in known], color=colour, alpha=0.13, linewidth=0)


def _names(axes: Any, labels: Sequence[tuple[Point, str, str]]) -> None:
    """Each line's name and last value at its end, pushed apart where they would overlap."""
    low, high = axes.get_ylim()
    gap, last = (high - low) * 0.045, -1e9
    for point, name, colour in sorted(labels, key=lambda label: label[0][1]):
        last = max(point[1], last + gap)
        place = {"xy": point[:2], "textcoords": ("axes fraction", "data"), "va": "center", "annotation_clip": False}
        # The name is black because yellow letters cannot be read; the block beside it carries the colour.
        axes.annotate("■", xytext=(1.03, last), fontsize=11, color=colour, **place)
        axes.annotate(f"{point[1]:.2f} {_short(name)}", xytext=(1.08, last), fontsize=10, color=_BLACK, **place)


def _short(name: str) -> str:
    return name if len(name) <= 18 else name[:17] + "…"


def _dress(axes: Any, rounds: Sequence[int]) -> None:
    axes.set_xticks(rounds, ["base" if i == 0 else str(i) for i in rounds])
    axes.set_xlim(min(rounds) - 0.15, max(rounds) + 0.15)
    axes.set_xlabel("round", fontsize=11)
    axes.grid(axis="y", color="#e5e5e5", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _title(rows: Sequence[Row]) -> str:
    points = _points(rows, "pass@1")
    ends = [_said(point) for point in dict.fromkeys((points[0], points[-1]))]
    n = max((row.get("n_tasks") or 0 for row in rows if row["metric"] == "pass@1"), default=0)
    return f"pass@1: {' → '.join(ends)}" + (f"   ({n} tasks, 95 % intervals)" if n else "")


def _said(point: Point) -> str:
    iteration, value, lo, hi = point
    interval = "" if lo is None or hi is None else f" [{lo:.3f}, {hi:.3f}]"
    return f"{'base' if iteration == 0 else f'round {iteration}'} {value:.3f}{interval}"
