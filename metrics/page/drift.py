"""The section of drift: what moved against the other side, how far, and which rows came and went."""

from __future__ import annotations

from ratoon.metrics.page import charts
from ratoon.metrics.page.blocks import Book, figure, missing, section, table
from ratoon.metrics.page.markup import Markup, el
from ratoon.metrics.page.number_format import interval, share, short, words
from ratoon.metrics.report import Drift, RegionRow, Test

# Drift tests by the name that the audit gives them: what a person calls each, and how its number is read.
TESTS = {
    "auc": ("classifier between the sides (AUC)", "0.5: cannot be told apart; 1: nothing in common"),
    "mmd2": ("distance of the vectors (MMD²)", "0: alike; read its p"),
    "region_psi": ("shift between regions (PSI)", "0: none; above 0.25: large"),
    "length_psi": ("shift of lengths (PSI)", "0: none; above 0.25: large"),
}


def drift(book: Book) -> Markup:
    """What moved against the other side, and where it came from and went."""
    found = book.report["sections"]["drift"]
    if not found:
        return section("drift", "Drift", missing(book, "drift"))
    head = ("test", "value", "interval", "p", "n", "how to read it")
    tests = [_test(t) for t in found["tests"]]
    parts = [table(head, tests, "drift tests")] if tests else []
    parts += [_occupancy(book, found)] if found["clusters"] else []
    sides = [
        _region("Lost regions", "rows of the other side without a neighbour here", found["lost_share"], found["lost"]),
        _region("New regions", "rows here without a neighbour there", found["new_share"], found["new"]),
    ]
    return section("drift", "Drift", *parts, el("div", *sides, class_="columns"))


def _test(one: Test) -> list[object]:
    name = one["name"].removeprefix("drift.")
    told, read = TESTS.get(name, (words(name), one["unit"]))
    return [told, one["value"], interval(one["lo"], one["hi"]), one["p"], one["n"], read]


def _occupancy(book: Book, found: Drift) -> Markup:
    body = [[str(c["cluster"]), c["label"], share(c["was"]), share(c["now"])] for c in found["clusters"]]
    drawn = book.chart(charts.occupancy(found), f"Share of rows in {len(body)} regions, before and now")
    most = f"The {charts.MOST_REGIONS} regions that changed most." if len(body) > charts.MOST_REGIONS else None
    return figure(drawn, most, table(("region", "label", "was", "now"), body, "regions"))


def _region(title: str, what: str, part: float | None, rows: list[RegionRow]) -> Markup:
    lines = [
        el(
            "li",
            el("code", row["row_id"][:12]),
            el("bdi", f" {row['text'][:220]} "),
            el("span", f"nearest {short(row['similarity'])}", class_="beside"),
        )
        for row in rows[:8]
    ]
    shown = el("ul", *lines, class_="lines") if lines else el("p", "none", class_="unknown")
    return el("div", el("h3", title), el("p", f"{what}: {share(part)}", class_="beside"), shown)
