"""The report's pictures as plain Vega-Lite specs: data in, dict out; nothing is drawn here.

Colours are the style sheet's variables: `--s1` to `--s7` after Okabe and Ito (2008), told apart by colour-blind readers too.
"""

from __future__ import annotations

from typing import Any

from ratoon.metrics.page.number_format import clipped, interval, words
from ratoon.metrics.page.vega import whole
from ratoon.metrics.report import Bin, Correlations, Drift, Map, MapCluster, MapPoint, Neighbours, Number, Plane, Series

Spec = dict[str, Any]
SMALL = (300, 132)
WIDE = (600, 360)
MOST_REGIONS = 16
MOST_PAIRS = 14
MOST_NAMES = 14
CLUSTER_COLOURS = [f"var(--s{number})" for number in range(1, 8)]
_FIFTHS = ("0–20", "20–40", "40–60", "60–80", "80–100")
# A browser's letters may be wider than those the still picture was measured with: room for names left of an axis.
_ROOM = {"left": 20, "right": 5, "top": 5, "bottom": 5}
_COLUMNS = {"top_2": "commonest word pair"}  # columns whose names tell nothing


def rounds(series: Series) -> Spec:
    """One metric over the rounds: the interval as a band, the estimates as dots, x named by round and policy."""
    values = [
        {
            "at": f"{p['iteration']}\n{(p['policy'] or '')[:7]}".strip(),
            **{name: p[name] for name in ("value", "lo", "hi", "n", "policy")},
            "interval": interval(p["lo"], p["hi"]),
        }
        for p in series["points"]
    ]
    labels = {"labelAngle": 0, "labelExpr": "split(datum.label, '\\n')", "ticks": False, "labelPadding": 6}
    x = {"field": "at", "type": "ordinal", "sort": None, "title": None, "axis": labels}
    axis = {"tickCount": 4, "format": "%"} if series["unit"] == "share" else {"tickCount": 4}
    y = {"type": "quantitative", "title": None, "scale": {"zero": False, "nice": True}, "axis": axis}
    within, here = {"y": {**y, "field": "lo"}, "y2": {"field": "hi"}}, {"y": {**y, "field": "value"}}
    tooltip = _tooltip(value="value", interval="interval", n="n", policy="policy")
    layers: list[Spec] = [
        {"mark": {"type": "area", "color": "var(--s1)", "opacity": 0.16}, "encoding": within},
        {"mark": {"type": "rule", "color": "var(--s1)", "opacity": 0.55}, "encoding": within},
        {"mark": {"type": "line", "color": "var(--s1)", "strokeWidth": 1.5}, "encoding": here},
        {
            "mark": {"type": "point", "filled": True, "color": "var(--s1)", "size": 42, "opacity": 1},
            "encoding": {**here, "tooltip": tooltip},
        },
    ]
    known = any(p["lo"] is not None and p["hi"] is not None for p in series["points"])
    return whole({"data": {"values": values}, "encoding": {"x": x}, "layer": layers if known else layers[2:]}, *SMALL)


def level(name: str, numbers: list[Number]) -> Series:
    """One level of diversity as a series of rounds."""
    points = [
        {"iteration": r["iteration"] or 0, "policy": None, "value": r["value"], "lo": r["lo"], "hi": r["hi"], "n": r["n"]}
        for r in numbers
        if r["value"] is not None
    ]
    return {"metric": name, "unit": "", "points": points}  # type: ignore[typeddict-item]


def plane(section: Plane) -> Spec:
    """Candidate subsets on quality and diversity: the front, the chosen one, and the random controls."""
    values = [
        {**p, "x interval": interval(p["x_lo"], p["x_hi"]), "y interval": interval(p["y_lo"], p["y_hi"])}
        for p in section["points"]
    ]
    x, y = _axis("x", section["x"]), _axis("y", section["y"])
    line = {"type": "line", "color": "var(--s1)", "strokeDash": [3, 3], "opacity": 0.8}
    rule = {"type": "rule", "opacity": 0.35}
    name = {"type": "text", "align": "left", "dx": 9, "dy": -7}
    layers = [
        {"mark": line, "transform": [{"filter": "datum.front"}], "encoding": {"x": x, "y": y, "order": {"field": "x"}}},
        {"mark": rule, "encoding": {"x": {**x, "field": "x_lo"}, "x2": {"field": "x_hi"}, "y": y}},
        {"mark": rule, "encoding": {"y": {**y, "field": "y_lo"}, "y2": {"field": "y_hi"}, "x": x}},
        {"mark": {"type": "point", "filled": True, "opacity": 1, "size": 90}, "encoding": {"x": x, "y": y, **_looks(section)}},
        {
            "mark": name,
            "transform": [{"filter": "datum.kind == 'chosen'"}],
            "encoding": {"x": x, "y": y, "text": {"field": "name"}},
        },
    ]
    return whole({"data": {"values": values}, "layer": layers}, *WIDE)


def _axis(field: str, metric: str) -> Spec:
    title = f"{words(metric)} →"
    return {"field": field, "type": "quantitative", "title": title, "scale": {"zero": False}, "axis": {"tickCount": 7}}


def _looks(section: Plane) -> Spec:
    """How a candidate looks and what it says: kind by colour and shape, complexity by size where it is known."""
    kinds = ["setting", "chosen", "control"]
    colours = {"domain": kinds, "range": ["var(--s1)", "var(--s2)", "var(--quiet)"]}
    shapes = {"domain": kinds, "range": ["circle", "diamond", "cross"]}
    x, y = section["x"], section["y"]
    tip = {"name": "name", "kind": "kind", x: "x", f"{x} interval": "x interval", y: "y", f"{y} interval": "y interval"}
    looks: Spec = {
        "color": {"field": "kind", "type": "nominal", "title": None, "scale": colours},
        "shape": {"field": "kind", "type": "nominal", "scale": shapes},
        "tooltip": _tooltip(**tip, n="n", complexity="complexity"),
    }
    if any(p["complexity"] is not None for p in section["points"]):
        scale = {"range": [70, 220], "zero": False}
        looks["size"] = {"field": "complexity", "type": "quantitative", "scale": scale, "legend": None}
    return looks


def cloud(section: Map, points: list[MapPoint], colour: Spec) -> Spec:
    """The map of texts: a dot a row, and the names of the larger clusters over their middle."""
    names = [{"x": c["x"], "y": c["y"], "label": clipped(c["label"], 28)} for c in _apart(section["clusters"], points)]
    # Room at both sides for the half of a name that stands over the last dots.
    x = {"field": "x", "type": "quantitative", "axis": None, "scale": {"zero": False, "padding": 40}}
    y = {"field": "y", "type": "quantitative", "axis": None, "scale": {"zero": False}}
    dots = [{**p, "group": p["cluster"] % len(CLUSTER_COLOURS)} for p in points]
    mark = {"type": "circle", "size": 14 if len(points) < 5_000 else 6, "opacity": 0.55}
    halo = {"type": "text", "fontWeight": 600, "stroke": "var(--paper)", "strokeWidth": 3, "strokeJoin": "round"}
    text = {"x": x, "y": y, "text": {"field": "label"}}
    return whole(
        {
            "layer": [
                {"data": {"values": dots, "name": "dots"}, "mark": mark, "encoding": {"x": x, "y": y, "color": colour}},
                {"data": {"values": names}, "mark": halo, "encoding": text},
                {"data": {"values": names}, "mark": {"type": "text", "fontWeight": 600}, "encoding": text},
            ]
        },
        820,
        460,
    )


def _apart(clusters: list[MapCluster], points: list[MapPoint]) -> list[MapCluster]:
    """The largest clusters whose names do not lie over one another."""
    wide = max(p["x"] for p in points) - min(p["x"] for p in points)
    high = max(p["y"] for p in points) - min(p["y"] for p in points)
    chosen: list[MapCluster] = []
    for one in sorted(clusters, key=lambda cluster: (-cluster["n"], cluster["cluster"])):
        if all(abs(one["x"] - c["x"]) > 0.24 * wide or abs(one["y"] - c["y"]) > 0.05 * high for c in chosen):
            chosen.append(one)
    return chosen[:MOST_NAMES]


def by_cluster() -> Spec:
    """Clusters by colour. Colours repeat after seven: the names on the map tell neighbours apart."""
    groups = list(range(len(CLUSTER_COLOURS)))
    return {"field": "group", "type": "nominal", "legend": None, "scale": {"domain": groups, "range": CLUSTER_COLOURS}}


def occupancy(section: Drift) -> Spec:
    """Each region's share of rows on both sides, the largest changes first."""
    changed = sorted(section["clusters"], key=lambda c: -abs(c["now"] - c["was"]))[:MOST_REGIONS]
    labels = [clipped(c["label"], 34) for c in changed]
    # Two regions of one name are two lines.
    told = [f"{label} ({c['cluster']})" if labels.count(label) > 1 else label for label, c in zip(labels, changed, strict=True)]
    values = [{"label": told[i], "now": c["now"], "was": c["was"], "order": i} for i, c in enumerate(changed)]
    y = {
        "field": "label",
        "type": "nominal",
        "sort": {"field": "order"},
        "title": None,
        "axis": {"ticks": False, "labelLimit": 230, "labelPadding": 8},
    }
    x = {"type": "quantitative", "title": "share of rows", "axis": {"format": "%", "tickCount": 5}}
    tip = _tooltip(region="label", was="was", now="now")
    sides = {"type": "nominal", "title": None, "scale": {"domain": ["was", "now"], "range": ["var(--quiet)", "var(--s2)"]}}
    return whole(
        {
            "padding": _ROOM,
            "data": {"values": values},
            "encoding": {"y": y},
            "layer": [
                {
                    "mark": {"type": "rule", "strokeWidth": 2, "opacity": 0.5},
                    "encoding": {"x": {**x, "field": "was"}, "x2": {"field": "now"}},
                },
                {
                    "transform": [{"fold": ["was", "now"], "as": ["side", "share"]}],
                    "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
                    "encoding": {"x": {**x, "field": "share"}, "color": {**sides, "field": "side"}, "tooltip": tip},
                },
            ],
        },
        560,
        22 * max(1, len(values)),
    )


def corner(bins: list[Bin]) -> Spec:
    """Groups by pass rate and agreement. The shaded corner: nothing passes, yet the rollouts agree."""
    columns = _columns(bins)
    lines = [*reversed(_FIFTHS), *(["no vote"] if any(b["consensus_bin"] is None for b in bins) else [])]
    values = [{"pass": _range(b["lo"], b["hi"]), "agree": _fifth(b["consensus_bin"]), "groups": b["groups"]} for b in bins]
    x = {
        "field": "pass",
        "type": "ordinal",
        "sort": columns,
        "title": "pass rate of the group, %",
        "axis": {"labelAngle": 0, "labelOverlap": "greedy"},
        "scale": {"domain": columns},
    }
    y = {"field": "agree", "type": "ordinal", "sort": lines, "title": "rollouts that agree, %", "scale": {"domain": lines}}
    suspects = [{"pass": columns[0], "agree": line} for line in lines[:2]] if columns else []
    size = {"field": "groups", "type": "quantitative", "scale": {"range": [0, 900], "zero": True}, "legend": None}
    tip = _tooltip(**{"pass rate": "pass", "agreement": "agree", "groups": "groups"})
    shade = {"type": "rect", "color": "var(--stop)", "opacity": 0.12}
    return whole(
        {
            "encoding": {"x": x, "y": y},
            "layer": [
                {"data": {"values": suspects}, "mark": shade},
                {
                    "data": {"values": [v for v in values if v["groups"]]},
                    "mark": {"type": "circle", "color": "var(--s1)", "opacity": 0.3},
                    "encoding": {"size": size, "tooltip": tip},
                },
                {
                    "data": {"values": [v for v in values if v["groups"]]},
                    "mark": {"type": "text"},
                    "encoding": {"text": {"field": "groups", "format": ","}, "tooltip": tip},
                },
            ],
        },
        560,
        44 * len(lines),
    )


def _columns(bins: list[Bin]) -> list[str]:
    """All columns from 0 to 1, also those without a group: else the axis hides a gap, and the shade may lie elsewhere."""
    known = sorted({(b["lo"], b["hi"]) for b in bins})
    wide = known[0][1] - known[0][0] if known else 0.0
    if wide <= 0 or any(abs(high - low - wide) > 1e-9 for low, high in known):
        return [_range(low, high) for low, high in known]
    return [_range(i * wide, (i + 1) * wide) for i in range(round(1 / wide))]


def neighbours(curve: list[Neighbours]) -> Spec:
    """How many rows have a neighbour at least that similar: the whole curve, for one cut can move the wrong way."""
    x = {
        "field": "similarity",
        "type": "quantitative",
        "title": "similarity of the nearest neighbour, at least",
        "scale": {"zero": False, "nice": False},
        "axis": {"tickCount": 6},
    }
    y = {"field": "share", "type": "quantitative", "title": "share of rows", "axis": {"format": "%", "tickCount": 4}}
    tip = _tooltip(similarity="similarity", share="share")
    return whole(
        {
            "data": {"values": [point for point in curve if point["share"] is not None]},
            "mark": {"type": "line", "color": "var(--s1)", "point": {"filled": True, "size": 32, "color": "var(--s1)"}},
            "encoding": {"x": x, "y": y, "tooltip": tip},
        },
        440,
        190,
    )


def pairs(section: Correlations) -> Spec:
    """The strongest rank correlations, each beside what is left of it when length is taken out."""
    values = sorted(_pairs(section), key=lambda pair: -abs(pair["raw"]))[:MOST_PAIRS]
    x = {"type": "quantitative", "scale": {"domain": [-1, 1]}, "title": "rank correlation", "axis": {"tickCount": 5}}
    y = {
        "field": "pair",
        "type": "nominal",
        "sort": None,
        "title": None,
        "axis": {"ticks": False, "labelLimit": 240, "labelPadding": 8},
    }
    return whole(
        {
            "padding": _ROOM,
            "data": {"values": values},
            "encoding": {"y": y},
            "layer": [
                {
                    "data": {"values": [{}]},
                    "mark": {"type": "rule", "opacity": 0.4},
                    "encoding": {"x": {"datum": 0}, "y": None},
                },
                {
                    "mark": {"type": "rule", "strokeWidth": 2, "opacity": 0.4},
                    "encoding": {"x": {**x, "field": "raw"}, "x2": {"field": "length taken out"}},
                },
                *_rings_and_dots(x),
            ],
        },
        560,
        22 * max(1, len(values)),
    )


def _rings_and_dots(x: Spec) -> list[Spec]:
    """The raw correlation as a ring, larger than the dot of what is left: where nothing changes both are seen."""
    kinds = ["raw", "length taken out"]
    colour = {
        "field": "kind",
        "type": "nominal",
        "title": None,
        "scale": {"domain": kinds, "range": ["var(--quiet)", "var(--s1)"]},
        "legend": {"columns": 1},  # side by side they would be cut in a narrow window
    }
    tip = _tooltip(pair="pair", raw="raw", **{"length taken out": "length taken out"})
    fold = [{"fold": kinds, "as": ["kind", "rho"]}, {"filter": "isValid(datum.rho)"}]
    looks: dict[str, Spec] = {
        "raw": {"filled": False, "size": 110, "strokeWidth": 1.5},
        "length taken out": {"filled": True, "size": 45},
    }
    return [
        {
            "transform": [*fold, {"filter": f"datum.kind === '{kind}'"}],
            "mark": {"type": "point", "opacity": 1, **look},
            "encoding": {"x": {**x, "field": "rho"}, "color": colour, "tooltip": tip},
        }
        for kind, look in looks.items()
    ]


def _pairs(section: Correlations) -> list[dict[str, Any]]:
    names = section["names"]
    return [
        {"pair": f"{_column(a)} · {_column(b)}", "raw": section["raw"][i][j], "length taken out": section["partial"][i][j]}
        for i, a in enumerate(names)
        for j, b in enumerate(names[:i])
        if section["raw"][i][j] is not None
    ]


def _column(name: str) -> str:
    return _COLUMNS.get(name) or words(name)


def _tooltip(**fields: str) -> list[dict[str, str]]:
    return [{"field": field, "title": title} for title, field in fields.items()]


def _range(low: float, high: float) -> str:
    """Of shares, in percent."""
    return f"{100 * low:.3g}" if low == high else f"{100 * low:.3g}–{100 * high:.3g}"


def _fifth(number: int | None) -> str:
    return "no vote" if number is None else _FIFTHS[number]
