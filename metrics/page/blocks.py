"""The page's building blocks: a section, a chart with its numbers, a table, a text that folds, a row of data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ratoon.metrics.page import vega as draw
from ratoon.metrics.page.markup import Markup, el, join
from ratoon.metrics.page.number_format import count, sentence, short, words
from ratoon.metrics.report import MapPoint, Report, Row

_FOLD = 360  # characters of a text that are read without unfolding
_FOLD_LINES = 6
_LINE = 160
_FACTS = ("side", "iteration", "decision", "reason", "reward", "pass_rate", "tokens", "cluster")


@dataclass
class Book:
    """The report, its rows by id, and the charts drawn so far, which the page's script makes live."""

    report: Report
    rows: dict[str, Row] = field(default_factory=dict)
    specs: list[dict[str, Any]] = field(default_factory=list)
    dots: list[MapPoint] = field(default_factory=list)

    def chart(self, spec: dict[str, Any], label: str) -> Markup:
        """The spec drawn; its place in the page is where the live one goes."""
        self.specs.append(spec)
        return el("div", draw.svg(spec, label), class_="chart", data_chart=len(self.specs) - 1)


def section(name: str, title: str, *content: Markup | None, note: str | None = None) -> Markup:
    small = el("span", note, class_="note-beside") if note else None
    return el("section", el("h2", title, " " if small else None, small), *content, id=name)


def missing(book: Book, *names: str) -> Markup:
    """Why a section is not there, and what would mend it."""
    found = [entry for entry in book.report["not_computed"] if set(names) & set(entry["what"].split(", "))]
    lines = [
        el("p", f"Not computed: {entry['why']}. ".replace("..", "."), coded(sentence(entry["mend"])), ".") for entry in found
    ]
    return el("div", *(lines or [el("p", "Not computed: this data has nothing to compute it from.")]), class_="missing")


def figure(picture: Markup, caption: str | Markup | None, numbers: Markup | None = None) -> Markup:
    """A picture, what it says, and its numbers as a table for whoever cannot see or point."""
    shown = el("figcaption", caption) if caption else None
    return el("figure", shown, picture, fold("Numbers", numbers) if numbers else None)


def table(head: Iterable[str], body: Iterable[Iterable[Any]], label: str) -> Markup:
    """A table; numbers stand to the right. A wide one scrolls by itself."""
    rows = [el("tr", *[_cell(value) for value in line]) for line in body]
    columns = el("tr", *[el("th", name, scope="col") if name else el("td") for name in head])
    inner = el("table", el("thead", columns), el("tbody", *rows))
    return el("div", inner, class_="scroll", tabindex=0, role="region", aria_label=label)


def _cell(value: Any) -> Markup:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return el("td", count(value) if isinstance(value, int) else short(value), class_="n")
    if isinstance(value, str) and not isinstance(value, Markup) and value.endswith(" %"):
        return el("td", value, class_="n")
    return el("td", value if isinstance(value, Markup) else "–" if value is None else str(value))


def bar(part: float | None, tone: str = "s1") -> Markup:
    """A bar as long as `part` of its cell."""
    width = 0.0 if part is None else min(1.0, max(0.0, part))
    return el("span", el("span", style=f"width:{100 * width:.1f}%", class_=tone), class_="bar", aria_hidden="true")


def fold(title: str, *content: Markup | None) -> Markup:
    return el("details", el("summary", title), *content)


def coded(text: str) -> Markup:
    """Text in which what stands between back quotes is code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return join(text)
    return join(*[el("code", part) if place % 2 else part for place, part in enumerate(parts)])


def copyable(code: str) -> Markup:
    """Code with a button that copies it."""
    button = el("button", "Copy", type="button", data_copy=True, class_="needs-script")
    return el("div", el("pre", el("code", code), tabindex=0, role="region", aria_label="SQL"), button, class_="code")


def said(text: str | None, label: str) -> Markup:
    """What a person or a model wrote, in a box of its own that no direction mark leaves; a long one folds."""
    if text is None:
        return el("div", el("h4", label), el("p", "unknown", class_="unknown"))
    if len(text) <= _FOLD and text.count("\n") <= _FOLD_LINES:
        return el("div", el("h4", label), el("p", text or "(empty)", class_="said", dir="auto"))
    head = el("summary", el("span", f"{beginning(text)}…", class_="said", dir="auto"))
    rest = el("p", text, class_="said", dir="auto")
    return el("div", el("h4", label), el("details", head, rest, class_="long"))


def beginning(text: str) -> str:
    return "\n".join(text[:_FOLD].split("\n")[:_FOLD_LINES])


def row_line(row: Row) -> Markup:
    """A row in one line: enough to know it by."""
    said_first = row["completion"] if row["completion"] is not None else row["prompt"]
    return el("li", el("code", row["row_id"][:12]), " ", el("bdi", (said_first or "")[:_LINE]))


def row_card(row: Row, prompt: bool = True) -> Markup:
    """A row as a person reads it; without its prompt where that was told already."""
    facts = [f"{words(name)} {fact(row[name])}" for name in _FACTS if row.get(name) is not None and name != "side"]  # type: ignore[literal-required]
    cut = el("p", "This text was longer; the report carries its beginning.", class_="unknown") if row["cut"] else None
    return el(
        "article",
        el("p", el("code", row["row_id"][:12], title=row["row_id"]), " ", " · ".join(facts), class_="facts"),
        said(row["prompt"], "prompt") if prompt else None,
        said(row["completion"], "completion"),
        cut,
        class_="row",
    )


def first(shown: list[Markup], most: int, noun: str) -> list[Markup]:
    """The first few, and the rest folded."""
    rest = shown[most:]
    return [*shown[:most], *([fold(f"{plural(len(rest), noun)} more", *rest)] if rest else [])]


def fact(value: Any) -> str:
    return short(value) if isinstance(value, float) else str(value)


def plural(n: int, noun: str) -> str:
    return f"{count(n)} {noun}" if n == 1 else f"{count(n)} {noun}s"


def glue(*parts: str | None) -> Markup:
    return join(*parts)
