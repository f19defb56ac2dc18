"""The page as a whole: sections in order, policy, style, data and scripts."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any

from ratoon.metrics.page import drift as moved
from ratoon.metrics.page import evidence, overview
from ratoon.metrics.page import numbers as measured
from ratoon.metrics.page import vega as draw
from ratoon.metrics.page.blocks import Book
from ratoon.metrics.page.markup import Markup, el, island, json_text, seen
from ratoon.metrics.report import Map, Report, Row

# In the order in which they are read: what is wrong first.
SECTIONS: dict[str, Callable[[Book], Markup]] = {
    "Verdict": overview.verdict,
    "Warnings": overview.warnings,
    "Funnel": measured.funnel,
    "Rounds": measured.iterations,
    "Within and between tasks": measured.levels,
    "Quality and diversity": measured.plane,
    "Map": measured.cloud,
    "Drift": moved.drift,
    "Pass rate and agreement": measured.passes,
    "Repetition": evidence.repetition,
    "Correlations": evidence.correlations,
    "Examples": evidence.examples,
    "Rejected twins": evidence.twins,
    "Rows": evidence.rows,
    "Every number": measured.numbers,
    "Provenance": evidence.provenance,
    "Not computed": evidence.not_computed,
}
_COLUMNS = (
    "row_id",
    "prompt",
    "completion",
    "iteration",
    "decision",
    "reason",
    "reward",
    "pass_rate",
    "tokens",
    "cluster",
    "side",
    "task_id",
)
MOST_BYTES = 6_000_000  # of texts in the row table
_CUTS = (4_000, 2_000, 1_000, 500, 250)


def render(report: Report) -> str:
    """The report as one HTML file that asks the network for nothing and stays under 15 MB.

    Raises MissingExtra where vl-convert is not installed. Bytes follow from the report and the versions of vl-convert alone.
    """
    book = Book(report, {row["row_id"]: row for row in report["rows"]})
    made = {title: build(book) for title, build in SECTIONS.items() if title not in _left_out(report)}
    data = island("audit-data", _data(book))
    scripts = [draw.script(), _asset("script.js")]
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=policy(scripts)),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="referrer", content="no-referrer"),
        el("title", f"{report['title']}: ratoon audit"),
        el("style", Markup(_asset("style.css"))),
    )
    main = el("main", *made.values(), id="main")
    tail = [data, *[el("script", Markup(script)) for script in scripts]]
    skip = el("a", "Skip to the warnings", href="#warnings", class_="skip")
    body = el("body", skip, overview.header(report), _contents(made), main, *tail)
    return f"<!doctype html>\n{el('html', head, body, lang='en')}\n"


def _left_out(report: Report) -> tuple[str, ...]:
    """Titles of sections that only a run can have, where what was audited is a file."""
    return ("Funnel", "Rounds") if report["subject"]["kind"] in ("file", "folder") else ()


def policy(scripts: list[str]) -> str:
    """Nothing is loaded, sent or run but these scripts; styles are inline and hold nothing of the report's."""
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    named = " ".join(f"'sha256-{value}'" for value in hashes)
    return (
        f"default-src 'none'; script-src {named}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    )


def _contents(made: dict[str, Markup]) -> Markup:
    links = [el("li", el("a", title, href=f"#{_anchor(markup)}")) for title, markup in made.items()]
    return el("nav", el("ul", *links), aria_label="Sections")


def _anchor(markup: Markup) -> str:
    return markup.partition('<section id="')[2].partition('"')[0]


def _data(book: Book) -> dict[str, Any]:
    """What the script needs: rows, which of them each warning points to, specs, and the dots of the map."""
    rows, cut = _rows(book.report["rows"])
    places = {row["row_id"]: place for place, row in enumerate(book.report["rows"])}
    warned = [[places[i] for i in warning["row_ids"] if i in places] for warning in book.report["warnings"]]
    found = book.report["sections"]["map"]
    codes = [warning["code"] for warning in book.report["warnings"]]
    return {**rows, "cut": cut, "codes": codes, "warned": warned, "specs": book.specs, "dots": _dots(book, found, places)}


def _rows(rows: list[Row]) -> tuple[dict[str, Any], int]:
    """Columns that hold anything, and the values; texts cut as far as the page's size asks."""
    names = [name for name in _COLUMNS if any(row.get(name) is not None for row in rows)]
    if len({row["side"] for row in rows}) == 1:
        names.remove("side")
    packed: dict[str, Any] = {}
    for cut in _CUTS:
        values = [[_short(seen(row.get(name)), cut) for name in names] for row in rows]
        packed = {"columns": names, "rows": values}
        if len(json_text(packed).encode()) <= MOST_BYTES:
            return packed, cut
    return packed, _CUTS[-1]


def _short(value: Any, most: int) -> Any:
    return f"{value[:most]}…" if isinstance(value, str) and len(value) > most else value


def _dots(book: Book, found: Map | None, places: dict[str, int]) -> dict[str, list[Any]]:
    """The map by columns. `row` is the place in the row table, where there is one."""
    points = book.dots
    rounded = ("x", "y", "quality", "difficulty")
    columns: dict[str, list[Any]] = {
        name: [round(point[name], 3) if point[name] is not None else None for point in points]  # type: ignore[literal-required]
        for name in rounded
    }
    columns |= {name: [point[name] for point in points] for name in ("cluster", "iteration", "side")}
    labels = {cluster["cluster"]: cluster["label"] for cluster in found["clusters"]} if found else {}
    columns["labels"] = seen([[cluster, label] for cluster, label in labels.items()])
    return columns | {"row": [places.get(point["row_id"], -1) for point in points]}


@cache
def _asset(name: str) -> str:
    return files("ratoon.metrics.page").joinpath(name).read_text(encoding="utf-8")
