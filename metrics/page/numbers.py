"""The sections made of measures: funnel, rounds, levels of diversity, plane, map and pass rates."""

from __future__ import annotations

from ratoon.metrics.page import charts
from ratoon.metrics.page.blocks import Book, bar, figure, fold, glue, missing, plural, section, table
from ratoon.metrics.page.markup import Markup, el
from ratoon.metrics.page.number_format import count, full, interval, percent, share, short, words
from ratoon.metrics.report import Corner, MapPoint, Series, Stage

LEVELS = {
    "alpha": "α, within tasks",
    "beta": "β, between tasks",
    "gamma": "γ, altogether",
}
FIRST = (
    "pass@1", "quality.pass_rate", "quality.pass_rate_corrected", "train.pass_rate", "kept", "diversity.vendi",
    "diversity.alpha", "diversity.beta",
)  # fmt: skip
TITLES = {
    "pass@1": "held-out pass@1",
    "quality.pass_rate": "pass rate in training",
    "train.pass_rate": "pass rate in training",
    "quality.pass_rate_corrected": "pass rate, verifier corrected",
    "kept": "rows kept",
    "complexity.n_tokens": "tokens a reply",
    "complexity.words": "words a reply",
    "complexity.steps": "steps a reply",
}
SUSPECTS = 10  # groups that are shown unfolded
MOST_DOTS = 8_000  # a browser draws them in a second


def funnel(book: Book) -> Markup:
    """How many rows left each step, what was dropped and why, and what a kept row cost."""
    stages = book.report["sections"]["funnel"]
    if not stages:
        return section("funnel", "Funnel", missing(book, "funnel"))
    most = max(stage["rows"] for stage in stages) or 1
    spent = [s["cost"] for s in stages if s["cost"] is not None]
    tokens = [s["tokens"] for s in stages if s["tokens"] is not None]
    last = stages[-1]["rows"]
    facts = [f"{plural(last, 'row')} left of {count(stages[0]['rows'])}"]
    facts += [f"{short(sum(tokens) / last)} tokens a row left"] if tokens and last else []
    facts += [f"cost {short(sum(spent))}, {short(sum(spent) / last)} a row left"] if spent and last else []
    lines = [_stage(stage, most) for stage in stages]
    head = ("step", "", "rows", "dropped, and why", "tokens", "cost")
    return section("funnel", "Funnel", el("p", "; ".join(facts), "."), table(head, lines, "rows after each step"))


def _stage(stage: Stage, most: int) -> list[object]:
    dropped = el(
        "ul", *[el("li", words(d["reason"]), " ", el("b", count(d["rows"]))) for d in stage["dropped"]], class_="reasons"
    )
    return [stage["stage"], bar(stage["rows"] / most), stage["rows"], dropped, stage["tokens"], stage["cost"]]


def iterations(book: Book) -> Markup:
    """Each metric over the rounds, with its interval."""
    found = book.report["sections"]["iterations"]
    if not found:
        return section("iterations", "Rounds", missing(book, "iterations"))
    multiples = [_multiple(book, series, _title(series["metric"])) for series in sorted(found, key=_place)]
    note = "bands are 95 % intervals; below each round, its policy"
    return section("iterations", "Rounds", el("div", *multiples, class_="multiples"), note=note)


def _place(series: Series) -> int:
    """What is read first stands first; others stay in their order."""
    return FIRST.index(series["metric"]) if series["metric"] in FIRST else len(FIRST)


def _title(metric: str) -> str:
    return TITLES.get(metric) or words(metric.rpartition(".")[2])


def _multiple(book: Book, series: Series, title: str) -> Markup:
    points = series["points"]
    if not points:
        return figure(el("p", "no value", class_="unknown"), title)
    last = points[-1]
    number = percent if series["unit"] == "share" else short
    lo, hi = number(last["lo"]), number(last["hi"])
    between = "no interval" if last["lo"] is None or last["hi"] is None else f"{lo} to {hi}"
    told = f"{number(last['value'])} ({between}; n = {count(last['n'])})"
    head = ("round", "policy", "value", "interval", "n")
    body = [[str(p["iteration"]), p["policy"], p["value"], interval(p["lo"], p["hi"]), p["n"]] for p in points]
    drawn = book.chart(charts.rounds(series), f"{title} over {plural(len(points), 'round')}; {told}")
    caption = glue(el("b", title), el("span", told, class_="beside"))
    return figure(drawn, caption, table(head, body, title))


def levels(book: Book) -> Markup:
    """Within tasks, between tasks, altogether."""
    found = book.report["sections"]["levels"]
    title = "Diversity within and between tasks"
    if not found or not any(found[name] for name in ("alpha", "beta", "gamma")):
        return section("levels", title, missing(book, "levels"))
    parts = {name: charts.level(name, found[name]) for name in ("alpha", "beta", "gamma")}
    multiples = [_multiple(book, series, LEVELS[name]) for name, series in parts.items()]
    note = "by round, in effective numbers: 20 means as varied as 20 texts that share nothing"
    return section("levels", title, el("div", *multiples, class_="multiples"), note=note)


def plane(book: Book) -> Markup:
    """Candidate subsets on quality and diversity, the chosen one, and as many rows at random."""
    found = book.report["sections"]["plane"]
    title = "Quality and diversity"
    if not found or not found["points"]:
        return section("plane", title, missing(book, "plane"))
    head = ("subset", "kind", words(found["x"]), "interval", words(found["y"]), "interval", "n", "complexity", "on the front")
    body = [
        [
            p["name"],
            p["kind"],
            p["x"],
            interval(p["x_lo"], p["x_hi"]),
            p["y"],
            interval(p["y_lo"], p["y_hi"]),
            p["n"],
            p["complexity"],
            "yes" if p["front"] else "no",
        ]
        for p in found["points"]
    ]
    caption = (
        "Right and up is better. Dashes join the subsets that no other beats on both; a cross is as many rows drawn at random."
        " Larger is more complex."
        f" Hypervolume {short(found['hypervolume'])}."
    )
    drawn = book.chart(charts.plane(found), f"{title} of {len(found['points'])} subsets")
    return section("plane", title, figure(drawn, caption, table(head, body, title)))


def cloud(book: Book) -> Markup:
    """The texts on a frozen plane."""
    found = book.report["sections"]["map"]
    if not found or not found["points"]:
        return section("map", "Map of the texts", missing(book, "map"))
    book.dots = dots = _drawn(book, found["points"])
    kept = f" {count(len(dots))} dots are drawn, those of the row table among them." if len(dots) < len(found["points"]) else ""
    caption = (
        f"{plural(found['n'], 'row')} on the two directions that explain {share(sum(found['explained']))} of the variance of"
        f" {found['fitted_on']}. Distances on this plane are not evidence: look at drift and at the rows.{kept}"
    )
    label = f"Map of {plural(len(dots), 'row')} in {plural(len(found['clusters']), 'cluster')}"
    spec = charts.cloud(found, dots, charts.by_cluster())
    drawn = book.chart(spec, label)
    # The live map gets its dots by columns, without names repeated eight thousand times.
    spec["layer"][0]["data"] = {"name": "dots"}
    body = [[str(c["cluster"]), c["label"], c["n"]] for c in sorted(found["clusters"], key=lambda c: -c["n"])]
    choose = el(
        "fieldset",
        el("legend", "Colour by"),
        *[_choice(name) for name in _colours(dots)],
        class_="needs-script choices",
        id="map-colour",
    )
    numbers = table(("cluster", "words that tell it apart", "rows"), body, "clusters")
    return section("map", "Map of the texts", choose, figure(drawn, caption, numbers))


def _drawn(book: Book, points: list[MapPoint]) -> list[MapPoint]:
    """At most MOST_DOTS: those that the row table holds, and of the others every so-manieth in their order."""
    if len(points) <= MOST_DOTS:
        return points
    others = [place for place, point in enumerate(points) if point["row_id"] not in book.rows]
    room = MOST_DOTS - (len(points) - len(others))
    left_out = set(others) - {others[i * len(others) // room] for i in range(room)}
    return [point for place, point in enumerate(points) if place not in left_out]


def _colours(dots: list[MapPoint]) -> list[str]:
    optional = [name for name in ("iteration", "quality", "difficulty") if any(dot[name] is not None for dot in dots)]
    return ["cluster", *optional, *(["side"] if len({dot["side"] for dot in dots}) > 1 else [])]


def _choice(name: str) -> Markup:
    return el("label", el("input", type="radio", name="map-colour", value=name, checked=name == "cluster"), " ", name)


def passes(book: Book) -> Markup:
    """How hard the tasks are, and where the verifier itself is suspect."""
    found = book.report["sections"]["passes"]
    title = "Pass rate and agreement"
    if not found or not found["bins"]:
        return section("passes", title, missing(book, "passes"))
    groups = sum(b["groups"] for b in found["bins"])
    shaded = "Shaded: nothing passes although the rollouts agree; there the answer key or the verifier is suspect."
    caption = f"{plural(groups, 'group')}. {shaded}"
    head = ("pass rate", "agreement", "groups")
    body = [
        [f"{short(100 * b['lo'])} to {percent(b['hi'])}", _agreement(b["consensus_bin"]), b["groups"]] for b in found["bins"]
    ]
    drawn = book.chart(charts.corner(found["bins"]), f"{plural(groups, 'group')} by pass rate and agreement")
    return section("passes", title, figure(drawn, caption, table(head, body, title)), _suspects(found["corner"]))


def _agreement(fifth: int | None) -> str:
    return "no vote" if fifth is None else f"{20 * fifth} to {20 * (fifth + 1)} %"


def _suspects(corner: list[Corner]) -> Markup | None:
    if not corner:
        return None
    head = ("task", "prompt", "answer key", "what the rollouts agree on", "agree", "pass rate", "n")
    body = [
        [
            el("code", c["task_id"][:12]),
            el("bdi", c["prompt"][:300]),
            el("bdi", c["gold"] if c["gold"] is not None else "–"),
            el("bdi", c["consensus"] if c["consensus"] is not None else "–"),
            share(c["share"]),
            share(c["pass_rate"]),
            c["n"],
        ]
        for c in corner
    ]
    label = "groups that agree and never pass"
    rest = fold(f"{plural(len(body) - SUSPECTS, 'group')} more", table(head, body[SUSPECTS:], f"more {label}"))
    return el("div", el("h3", "Suspect answers"), table(head, body[:SUSPECTS], label), rest if len(body) > SUSPECTS else None)


def numbers(book: Book) -> Markup:
    """Every number by name, with the query that gives it again."""
    found = book.report["numbers"]
    if not found:
        return section("numbers", "Every number", missing(book, "numbers"))
    body = [
        [
            name,
            full(n["value"], n["lo"], n["hi"], n["n"]),
            None if n["iteration"] is None else str(n["iteration"]),
            f"{n['metric']} {n['version']}",
            el("code", n["sql"]) if n["sql"] else None,
        ]
        for name, n in sorted(found.items())
    ]
    head = ("name", "value", "round", "metric", "SQL")
    shown = el("details", el("summary", plural(len(body), "number"), " with interval, n and SQL"), table(head, body, "numbers"))
    return section("numbers", "Every number", shown)
