"""The page as text: whole, closed to the network, small, and there whatever could not be computed."""

from __future__ import annotations

import base64
import builtins
import copy
import hashlib
import json
import re
from types import ModuleType
from typing import Any

import pytest

from ratoon.errors import MissingExtra
from ratoon.metrics.page import SECTIONS, render
from ratoon.metrics.page import vega as draw
from ratoon.metrics.page.blocks import Book

LINK = re.compile(r"""(?:src|href|action|url)\s*=?\s*[("']?\s*(?:https?:|//)""", re.IGNORECASE)


def data(html: str) -> dict[str, Any]:
    return json.loads(html.partition('id="audit-data">')[2].partition("</script>")[0])


def without_scripts(html: str) -> str:
    return re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL)


def test_sections_come_in_the_order_in_which_they_are_read(html: str) -> None:
    found = re.findall(r'<section id="([\w-]+)"', html)
    assert found[:4] == ["verdict", "warnings", "funnel", "iterations"]
    assert found[-2:] == ["provenance", "not-computed"]
    assert len(found) == len(set(found)) == len(SECTIONS)


def test_only_the_pages_own_scripts_may_run(html: str) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)
    assert policy is not None
    assert policy[1].startswith("default-src &#x27;none&#x27;")
    assert "unsafe-eval" not in policy[1]
    scripts = re.findall(r"<script>(.*?)</script>", html, flags=re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert len(scripts) == 2
    assert all(f"sha256-{value}" in policy[1] for value in hashes)


def test_nothing_in_the_page_points_outside(html: str) -> None:
    assert not LINK.findall(without_scripts(html))


def test_the_page_is_small_the_same_bytes_again_and_leaves_the_report_alone(html: str, made: ModuleType) -> None:
    assert len(html.encode()) < 3_000_000
    report = made.report()
    before = copy.deepcopy(report)
    assert render(report) == html
    assert report == before


def test_hostile_texts_are_there_as_texts(html: str, made: ModuleType) -> None:
    bare = without_scripts(html)
    assert "<img" not in bare
    assert "onerror=&quot;window.hacked = 1&quot;" in bare
    assert not {"\x1b", "\u202e", "\x00"} & set(html)
    prompts = [row[data(html)["columns"].index("prompt")] for row in data(html)["rows"]]
    assert "</script><script>window.hacked = 1</script>" in prompts


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Funnel", "funnel"),
        ("Rounds", "iterations"),
        ("Within and between tasks", "levels"),
        ("Quality and diversity", "plane"),
        ("Map", "map"),
        ("Drift", "drift"),
        ("Pass rate and agreement", "passes"),
        ("Repetition", "repetition"),
        ("Correlations", "correlations"),
        ("Examples", "examples"),
        ("Rejected twins", "twins"),
    ],
)
def test_a_section_that_is_null_says_why(title: str, name: str, made: ModuleType) -> None:
    report = made.empty()
    report["not_computed"] = [{"what": name, "why": f"no {name} here", "mend": "run it again"}]
    assert f"Not computed: no {name} here. Run it again." in SECTIONS[title](Book(report))


def test_a_report_of_nothing_but_one_row_is_a_page(made: ModuleType) -> None:
    page = render(made.empty())
    assert page.count("<section") == len(SECTIONS) - 2, "a file has neither funnel nor rounds"
    assert 'id="funnel"' not in page
    assert "no warning" in page
    assert data(page)["columns"] == ["row_id", "completion"]


def test_a_report_of_no_row_at_all_is_a_page(made: ModuleType) -> None:
    report = {**made.empty(), "rows": []}
    assert "Not computed" in render(report)


def test_empty_lists_and_unknown_values_are_no_error(made: ModuleType) -> None:
    report = made.report(rows=60)
    sections = report["sections"]
    sections["iterations"][0]["points"] = []
    for series in sections["iterations"][1:]:
        series["points"] = [{**point, "lo": None, "hi": None, "policy": None} for point in series["points"][:1]]
    sections["plane"]["points"] = [
        {**p, "x_lo": None, "x_hi": None, "y_lo": None, "y_hi": None, "complexity": None} for p in sections["plane"]["points"]
    ]
    sections["drift"].update(clusters=[], tests=[], lost=[], new=[], lost_share=None, new_share=None)
    sections["map"]["clusters"] = []
    sections["repetition"].update(ngrams=[], openings=[], verb_nouns=[])
    sections["correlations"]["raw"][0][1] = None
    report["warnings"][0].update(sql="", action="", evidence={}, row_ids=["gone"])
    assert render(report).count("<section") == len(SECTIONS)


def test_long_texts_are_cut_until_the_table_is_small_and_the_page_says_so(made: ModuleType) -> None:
    report = made.empty()
    report["rows"] = [{**report["rows"][0], "row_id": f"r{i}", "completion": "<" * 4_000} for i in range(600)]
    page = render(report)
    assert data(page)["cut"] == 1_000
    assert len(page.encode()) < 15_000_000


def test_many_dots_are_one_path_a_colour(made: ModuleType) -> None:
    report = made.report(rows=60, dots=3_000)
    markup = SECTIONS["Map"](Book(report))
    assert 2_900 < markup.count("h0") <= 3_000
    assert markup.count("<path") < 40


def test_a_crowded_map_keeps_the_dots_of_the_row_table(made: ModuleType) -> None:
    report = made.report(rows=60, dots=20_000)
    report["sections"]["map"]["points"].reverse()
    book = Book(report, {row["row_id"]: row for row in report["rows"]})
    assert "8,000 dots are drawn" in SECTIONS["Map"](book)
    assert len(book.dots) == 8_000
    assert set(book.rows) <= {dot["row_id"] for dot in book.dots}


def test_a_picture_holds_only_shapes_and_text() -> None:
    values = [{"x": text} for text in ("</text><script>alert(1)</script>", "<a href='javascript:1'>", "\x1b[0m")]
    spec = {"data": {"values": values}, "mark": "point", "encoding": {"x": {"field": "x", "type": "nominal"}}}
    shown = draw.svg(draw.whole(spec, 300, 50), 'a "label" <b>')
    assert "<script" not in shown
    assert "<a" not in shown
    assert "⟨ESC⟩" in shown
    assert 'aria-label="a &quot;label&quot; &lt;b&gt;"' in shown


def test_without_the_drawing_package_the_error_names_the_command(made: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name == "vl_convert":
            raise ModuleNotFoundError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingExtra) as caught:
        render(made.report(rows=60))
    assert caught.value.hint == "pip install 'ratoon[audit]'"
