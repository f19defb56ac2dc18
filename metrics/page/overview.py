"""What is wrong first: the verdict strip and the warnings with their rows, actions and SQL."""

from __future__ import annotations

from typing import Any

from ratoon.metrics.page.blocks import Book, coded, copyable, fold, missing, plural, row_line, section
from ratoon.metrics.page.markup import Markup, el, join
from ratoon.metrics.page.number_format import any_value, count, full, interval, sentence, short, words
from ratoon.metrics.report import Report, Subject, Verdict, Warn

AXES = ("quality", "diversity", "complexity")
SIGNS = {"stop": "■", "warn": "▲", "note": "●", "ok": "✓"}
ARROWS = {"up": "↑", "down": "↓", "same": "→"}
_EVIDENCE_ROWS = 3


def header(report: Report) -> Markup:
    """What was audited, and in one line what is wrong with it."""
    subject, against = report["subject"], report["against"]
    return el(
        "header",
        el("p", "ratoon audit", class_="brand"),
        el("h1", el("bdi", report["title"])),
        el("p", _subject(subject), *(["; against ", _subject(against)] if against else []), class_="subject"),
        *[el("p", el("bdi", f"read {one}"), class_="subject") for one in _readings(report)],
        el("p", *_headline(report["warnings"]), class_="headline"),
    )


def _readings(report: Report) -> list[str]:
    """How the files of either side were read."""
    sides = [side for side in (report["subject"], report["against"]) if side is not None]
    return [reading for side in sides if (reading := side.get("reading"))]


def _subject(subject: Subject) -> Markup:
    sampled = subject["sampled"]
    facts = [plural(subject["rows"], "row")]
    facts += [plural(subject["tasks"], "task")] if subject["tasks"] is not None else []
    facts += [f"{count(sampled)} of them sampled"] if 0 < sampled < subject["rows"] else []
    return join(f"{subject['kind']} ", el("bdi", subject["name"]), f": {', '.join(facts)}")


def _headline(warnings: list[Warn]) -> list[Markup | str]:
    """`1 stop, 3 warnings`, then the worst one."""
    if not warnings:
        return [el("span", "✓ no warning", class_="badge ok")]
    found = {severity: sum(w["severity"] == severity for w in warnings) for severity in ("stop", "warn", "note")}
    badges = [el("span", f"{SIGNS[s]} {n} {s}", class_=f"badge {s}") for s, n in found.items() if n]
    worst = warnings[0]
    return [*badges, el("a", sentence(worst["message"]), href="#warning-0", class_="worst")]


def verdict(book: Book) -> Markup:
    """Quality, diversity, complexity: the number, its interval, what it was, and what chance gives."""
    entries = book.report["verdict"]
    if not entries:
        return section("verdict", "Verdict", missing(book, "verdict"))
    columns = [
        el("div", el("h3", axis), *[_headline_number(v) for v in entries if v["axis"] == axis], class_="axis") for axis in AXES
    ]
    return section("verdict", "Verdict", el("div", *columns, class_="strip"))


def _headline_number(entry: Verdict) -> Markup:
    light, arrow = entry["light"], entry["arrow"]
    beside = f"{interval(entry['lo'], entry['hi'])} · n = {count(entry['n'])}"
    others = [
        f"{name} {short(value)}" for name, value in (("was", entry["was"]), ("random", entry["control"])) if value is not None
    ]
    return el(
        "div",
        el("p", words(entry["metric"].removeprefix(f"{entry['axis']}.")), class_="metric"),
        el(
            "p",
            el("span", short(entry["value"]), class_="value"),
            el("span", ARROWS[arrow], class_="arrow", title=f"{arrow} against before") if arrow else None,
            el("span", f"{SIGNS[light]} {light}", class_=f"badge {light}") if light else None,
        ),
        el("p", beside, class_="beside"),
        el("p", " · ".join(others), class_="beside") if others else None,
        el("p", entry["words"], class_="words"),
        class_="number",
    )


def warnings(book: Book) -> Markup:
    """Every warning, worst first."""
    found = book.report["warnings"]
    if not found:
        nothing = el(
            "p",
            "Nothing that this audit looks for was found. What it could not look for stands under ",
            el("a", "not computed", href="#not-computed"),
            ".",
        )
        return section("warnings", "Warnings", nothing)
    cards = [_card(book, place, warning) for place, warning in enumerate(found)]
    return section("warnings", "Warnings", el("div", *cards, class_="cards"), note=f"{len(found)}, worst first")


def _card(book: Book, place: int, warning: Warn) -> Markup:
    severity = warning["severity"]
    rows = [book.rows[row_id] for row_id in warning["row_ids"] if row_id in book.rows]
    show = (
        el(
            "button",
            f"Show {'its' if len(rows) > 1 else 'the'} {plural(len(rows), 'row')} in the table",
            type="button",
            data_warning=place,
            class_="needs-script",
        )
        if rows
        else None
    )
    evidence = [el("div", el("dt", words(name)), el("dd", value)) for name, value in _evidence(warning["evidence"])]
    lines = el("ul", *[row_line(row) for row in rows[:_EVIDENCE_ROWS]], class_="lines") if rows else None
    return el(
        "article",
        el("h3", el("span", f"{SIGNS[severity]} {severity}", class_=f"badge {severity}"), " ", el("code", warning["code"])),
        el("p", coded(sentence(warning["message"])), class_="message"),
        el("p", el("b", "Do: "), coded(sentence(warning["action"])), class_="action") if warning["action"] else None,
        el("dl", *evidence, class_="evidence") if evidence else None,
        el(
            "div",
            show,
            fold("SQL", copyable(warning["sql"])) if warning["sql"] else None,
            fold(f"{plural(min(len(rows), _EVIDENCE_ROWS), 'row')} here", lines) if lines else None,
            class_="parts",
        ),
        class_=f"warning {severity}",
        id=f"warning-{place}",
        data_warning=place if rows else None,
    )


def _evidence(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Names and values; one that comes with its interval and n (`x`, `x.lo`, `x.hi`, `x.n`) is told as one."""
    parts = {f"{name}.{part}" for name in found for part in ("lo", "hi", "n")}
    return [
        (name, full(value, found[f"{name}.lo"], found.get(f"{name}.hi"), found.get(f"{name}.n")))
        if f"{name}.lo" in found
        else (name, any_value(value))
        for name, value in found.items()
        if name not in parts
    ]
