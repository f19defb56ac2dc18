"""Vega-Lite specs drawn to inline SVG that follows the page's colours; knows no report.

vl-convert (Vega in Rust) draws without a browser, and carries the same Vega as a script for the page. Colours are
`currentColor` and the style sheet's variables, which an SVG inside a page resolves:
one drawing serves light, dark and print.
"""

from __future__ import annotations

import functools
import json
import re
import xml.etree.ElementTree as ET
from typing import Any

from ratoon.errors import MissingExtra
from ratoon.metrics.page.markup import Markup, seen

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
_SVG = "http://www.w3.org/2000/svg"
_ELEMENTS = frozenset({"svg", "g", "path", "text", "tspan", "line", "rect", "defs", "clipPath", "linearGradient", "stop"})
_MANY = 400  # marks of one colour that become one path
CONFIG: dict[str, Any] = {
    "background": None,
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--quiet)", "titleColor": "var(--quiet)", "domainColor": "var(--line)", "tickColor": "var(--line)",
        "gridColor": "var(--hair)", "labelFontSize": 11, "titleFontSize": 11, "titleFontWeight": "normal", "labelLimit": 200,
    },
    "legend": {
        "labelColor": "var(--quiet)", "titleColor": "var(--quiet)", "labelFontSize": 11, "titleFontSize": 11,
        "titleFontWeight": "normal", "orient": "top", "symbolStrokeWidth": 1.5,
    },
    "text": {"color": "currentColor", "fontSize": 11},
    "rule": {"color": "var(--quiet)"},
}  # fmt: skip


def whole(spec: dict[str, Any], width: int, height: int) -> dict[str, Any]:
    """A spec with its size, the page's look and every text made visible; the live chart is given the same one."""
    frame = {"$schema": SCHEMA, "width": width, "height": height, "autosize": {"type": "fit-x", "contains": "padding"}}
    return seen({**frame, **spec, "config": CONFIG})


def svg(spec: dict[str, Any], label: str) -> Markup:
    """The spec as an SVG element named `label`. Raises MissingExtra without vl-convert."""
    root = ET.fromstring(_converter().vegalite_to_svg(json.dumps(spec)))
    _only_pictures(root)
    for group in [g for g in root.iter(f"{{{_SVG}}}g") if "mark-symbol" in g.get("class", "")]:
        _merge(group)
    for name in ("version", "class", "width", "height"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("aria-label", seen(label))
    root.set("style", f"max-width:{root.get('viewBox', '').split(' ')[2]}px")
    ET.register_namespace("", _SVG)
    return Markup(ET.tostring(root, encoding="unicode"))


@functools.cache
def script() -> str:
    """Vega, Vega-Lite and Vega-Embed (with the interpreter that needs no `eval`) as one script."""
    return _converter().javascript_bundle()


def _converter() -> Any:
    try:
        import vl_convert
    except ModuleNotFoundError:
        raise MissingExtra("vl-convert-python", "audit") from None
    return vl_convert


def _only_pictures(root: ET.Element) -> None:
    """Nothing but shapes and text stays, whatever a label held: a second wall behind Vega's own escaping."""
    for parent in root.iter():
        for child in list(parent):
            if child.tag.removeprefix(f"{{{_SVG}}}") not in _ELEMENTS:
                parent.remove(child)
        # Roles go too: the picture has one name, and beside it a table of its numbers.
        for name in [n for n in parent.attrib if n.lower().startswith(("on", "aria-", "role")) or n.lower().endswith("href")]:
            del parent.attrib[name]


def _merge(group: ET.Element) -> None:
    """Thousands of dots as one path a colour: dots of a round pen take ten bytes each instead of a hundred."""
    if len(group) <= _MANY:
        return
    dots: dict[tuple[str, str], list[str]] = {}
    for mark in group:
        place = re.match(r"translate\(([-\d.]+),([-\d.]+)\)", mark.get("transform", ""))
        if place:
            key = (mark.get("fill", "currentColor"), mark.get("opacity", mark.get("fill-opacity", "1")))
            dots.setdefault(key, []).append(f"M{float(place[1]):.1f} {float(place[2]):.1f}h0")
    for mark in list(group):
        group.remove(mark)
    for (colour, opacity), places in dots.items():
        look = {"fill": "none", "stroke": colour, "stroke-opacity": opacity, "stroke-width": "2.5", "stroke-linecap": "round"}
        ET.SubElement(group, f"{{{_SVG}}}path", {"d": "".join(places), **look})
