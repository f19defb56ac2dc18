"""The sections made of texts: repetition, correlations, examples, twins, the row table, provenance."""

from __future__ import annotations

from itertools import zip_longest

from ratoon.metrics.page import charts
from ratoon.metrics.page.blocks import Book, bar, coded, figure, first, glue, missing, plural, row_card, said, section, table
from ratoon.metrics.page.markup import Markup, el
from ratoon.metrics.page.number_format import count, share, short, words
from ratoon.metrics.report import TITLES, Correlations, Fact, Opening, Repetition, Twin, VerbNoun

_MOST_GRAMS = 20
_SHOWN_EXAMPLES = 4
_SHOWN_TWINS = 5
_MOST_TWINS = 25
_DEEPEST = 4
_OPEN = 0.1  # a word that so many rows open with is unfolded
CHOICES = {"best": "Best", "worst": "Worst", "random": "Random", "borderline": "Borderline"}


def repetition(book: Book) -> Markup:
    """What is said over and over, and how near the rows lie to one another."""
    found = book.report["sections"]["repetition"]
    if not found or not any(found.values()):
        return section("repetition", "Repetition", missing(book, "repetition"))
    parts = [_grams(found), _openings(found), _verbs(found["verb_nouns"]), _neighbours(book, found)]
    return section("repetition", "Repetition", el("div", *parts, class_="columns"))


def _grams(found: Repetition) -> Markup | None:
    if not found["ngrams"]:
        return None
    most = max(gram["share"] for gram in found["ngrams"]) or 1
    body = [
        [el("bdi", gram["text"]), bar(gram["share"] / most), gram["count"], share(gram["share"])]
        for gram in found["ngrams"][:_MOST_GRAMS]
    ]
    return el("div", el("h3", "Runs of words"), table(("words", "", "rows", "share"), body, "repeated runs of words"))


def _openings(found: Repetition) -> Markup | None:
    if not found["openings"]:
        return None
    total = sum(opening["rows"] for opening in found["openings"]) or 1
    return el("div", el("h3", "How rows open"), _tree(found["openings"], total, 0))


def _tree(openings: list[Opening], total: int, depth: int) -> Markup:
    return el("ul", *[el("li", _word(opening, total, depth)) for opening in openings[:8]], class_="tree")


def _word(opening: Opening, total: int, depth: int) -> Markup:
    """A word and, folded unless many rows open with it, what follows it."""
    part = opening["rows"] / total
    told = glue(bar(part), el("bdi", opening["word"]), " ", el("span", count(opening["rows"]), class_="beside"))
    if not opening["next"] or depth >= _DEEPEST:
        return el("span", told, class_="leaf")
    return el("details", el("summary", told), _tree(opening["next"], total, depth + 1), open=part >= _OPEN and depth < 2)


def _verbs(found: list[VerbNoun]) -> Markup | None:
    if not found:
        return None
    verbs: dict[str, list[VerbNoun]] = {}
    for pair in found:
        verbs.setdefault(pair["verb"], []).append(pair)
    ranked = sorted(verbs.items(), key=lambda item: -sum(pair["rows"] for pair in item[1]))[:_MOST_GRAMS]
    most = max(sum(pair["rows"] for pair in pairs) for _, pairs in ranked) or 1
    body = [
        [
            el("bdi", verb),
            bar(sum(p["rows"] for p in pairs) / most, "s3"),
            sum(p["rows"] for p in pairs),
            el("bdi", ", ".join(f"{p['noun']} {count(p['rows'])}" for p in pairs[:6])),
        ]
        for verb, pairs in ranked
    ]
    return el("div", el("h3", "What is asked for"), table(("verb", "", "rows", "of what"), body, "verbs and their nouns"))


def _neighbours(book: Book, found: Repetition) -> Markup | None:
    curve = [point for point in found["neighbour_curve"] if point["share"] is not None]
    if not curve:
        return None
    body = [[point["similarity"], share(point["share"])] for point in curve]
    drawn = book.chart(charts.neighbours(curve), "Share of rows whose nearest neighbour is at least that similar")
    numbers = table(("similarity, at least", "share of rows"), body, "neighbour curve")
    return el("div", el("h3", "How near the nearest row is"), figure(drawn, None, numbers))


def correlations(book: Book) -> Markup:
    """What moves together, and what is left of it once length is out."""
    found = book.report["sections"]["correlations"]
    if not found or len(found["names"]) < 2:
        return section("correlations", "Correlations", missing(book, "correlations"))
    about = "A pair that falls to zero without length was about length."
    caption = f"Spearman's rank correlation over {plural(found['n'], 'row')}. {about}"
    drawn = book.chart(
        charts.pairs(found), f"Rank correlations of {len(found['names'])} columns, raw and with length taken out"
    )
    return section("correlations", "Correlations", figure(drawn, caption, _matrices(found)))


def _matrices(found: Correlations) -> Markup:
    head = ("", *[words(name) for name in found["names"]])
    raw, partial = (
        table(head, [[words(n), *line] for n, line in zip(found["names"], values, strict=True)], label)
        for label, values in (("raw", found["raw"]), ("length taken out", found["partial"]))
    )
    return glue(el("h4", "raw"), raw, el("h4", "length taken out"), partial)


def examples(book: Book) -> Markup:
    """Best, worst, random and borderline rows side by side."""
    found = book.report["sections"]["examples"]
    title = "Best, worst, random, borderline"
    if not found or not any(found[kind] for kind in CHOICES):  # type: ignore[literal-required]
        return section("examples", title, missing(book, "examples"))
    columns = []
    for kind, name in CHOICES.items():
        rows = [book.rows[row_id] for row_id in found[kind] if row_id in book.rows]  # type: ignore[literal-required]
        cards = first([row_card(row) for row in rows], _SHOWN_EXAMPLES, "row") or [el("p", "none", class_="unknown")]
        columns.append(el("div", el("h3", name), *cards))
    note = f"best and worst by {words(found['by'])}" if found["by"] else None
    return section("examples", title, el("div", *columns, class_="columns four"), note=note)


def twins(book: Book) -> Markup:
    """Each rejected row beside the kept one that it resembles."""
    found = book.report["sections"]["twins"]
    if not found:
        return section("twins", "Rejected twins", missing(book, "twins"))
    shown = _in_turn([twin for twin in found if twin["rejected"] in book.rows and twin["kept"] in book.rows])[:_MOST_TWINS]
    note = f"{len(shown)} of {plural(len(found), 'pair')}"
    return section("twins", "Rejected twins", *first([_pair(book, twin) for twin in shown], _SHOWN_TWINS, "pair"), note=note)


def _in_turn(found: list[Twin]) -> list[Twin]:
    """One of each kind after another, so that near ones are read too: copies are the most alike and would fill the section."""
    kinds: dict[str, list[Twin]] = {}
    for twin in found:
        kinds.setdefault(twin["kind"], []).append(twin)
    return [twin for turn in zip_longest(*kinds.values()) for twin in turn if twin is not None]


def _pair(book: Book, twin: Twin) -> Markup:
    rejected, kept = book.rows[twin["rejected"]], book.rows[twin["kept"]]
    shared = rejected["prompt"] == kept["prompt"]
    stayed = "kept, and dropped by a later step" if kept["decision"] == "dropped" else "kept"
    sides = [
        el("div", el("h4", name), row_card(row, prompt=not shared)) for name, row in (("rejected", rejected), (stayed, kept))
    ]
    # A run's filter keeps the best of a whole cluster and tells how near the nearest of it is: that may be another row.
    near = "nearest in its cluster" if book.report["subject"]["kind"] == "run" and twin["kind"] != "exact" else "similarity"
    title = f"{twin['kind']}, {near} {short(twin['similarity'])}"
    prompt = said(rejected["prompt"], "prompt of both") if shared else None
    return el("div", el("h3", title), prompt, el("div", *sides, class_="columns"), class_="pair")


def rows(book: Book) -> Markup:
    """The frame of the row table; the script fills it, text node by text node."""
    carried = len(book.report["rows"])
    if not carried:
        return section("rows", "Rows", missing(book, "rows"))
    note = f"{count(carried)} of {count(book.report['subject']['rows'])}: those that a section points to, and a random sample"
    search = el("label", "Search ", el("input", type="search", id="search", placeholder="in every column", autocomplete="off"))
    tools = el("div", search, el("span", id="filters"), el("span", id="pill"), class_="tools")
    status = el("p", id="shown", role="status")
    frame = el("table", el("thead", el("tr", id="heads")), el("tbody", id="body"))
    more = el("p", el("button", "Show more", type="button", id="more"))
    live = el(
        "div",
        tools,
        status,
        el("div", frame, class_="scroll", tabindex=0, role="region", aria_label="rows"),
        more,
        class_="needs-script",
    )
    plain = el(
        "noscript",
        el("p", "The table is filled by a script. Without one, the same rows are in ", el("code", "report.json"), "."),
    )
    return section("rows", "Rows", live, plain, note=note)


def provenance(book: Book) -> Markup:
    """What made this page."""
    report = book.report
    facts: list[Fact] = [*report["sections"]["provenance"], {"name": "format", "value": report["format"]}]
    facts += [{"name": f"column {role}", "value": name} for role, name in (report["subject"]["columns"] or {}).items()]
    lines = [el("div", el("dt", f["name"]), el("dd", el("bdi", f["value"]))) for f in facts]
    return section("provenance", "Provenance", el("dl", *lines, class_="facts-list"))


def not_computed(book: Book) -> Markup:
    """What this audit did not look at, why, and what would mend it."""
    found = book.report["not_computed"]
    if not found:
        return section("not-computed", "Not computed", el("p", "Everything was."))
    body = [[TITLES.get(entry["what"], words(entry["what"])), entry["why"], coded(entry["mend"])] for entry in found]
    return section("not-computed", "Not computed", table(("what", "why", "what mends it"), body, "what was not computed"))
