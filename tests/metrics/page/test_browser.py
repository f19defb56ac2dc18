"""The page in a real Chromium: silent, alone, harmless, filterable, readable by everyone."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

Visit = Callable[..., Any]


def scroll_through(page: Any) -> None:
    """So that every chart comes into view and is drawn."""
    height = page.evaluate("document.documentElement.scrollHeight")
    for top in range(0, height, 700):
        page.evaluate(f"scrollTo(0, {top})")
        page.wait_for_timeout(20)
    while page.locator(".chart:not(.on)").count():  # on a busy machine a frame may come only after the page has gone on
        chart = page.locator(".chart:not(.on)").first.get_attribute("data-chart")
        page.locator(f'[data-chart="{chart}"]').scroll_into_view_if_needed()
        page.wait_for_selector(f'[data-chart="{chart}"].on')


def shown(page: Any) -> int:
    return int(page.locator("#shown").inner_text().split(" ")[0].replace(",", ""))


def problems(page: Any) -> list[str]:
    """What axe-core has against the page."""
    page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [f"{v['id']}: {v['nodes'][0]['html'][:200]} {json.dumps(v['nodes'][0]['any'])[:300]}" for v in found]


@pytest.fixture(scope="module")
def light(visit_shared: Visit, page_file: Path) -> Any:
    """The page with every chart drawn, for the tests below in turn: each leaves it as the next may find it."""
    page = visit_shared(page_file)
    scroll_through(page)
    return page


@pytest.fixture(scope="module")
def dark(visit_shared: Visit, page_file: Path) -> Any:
    page = visit_shared(page_file, color_scheme="dark")
    scroll_through(page)
    return page


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_against_contrast_names_or_keyboard(request: pytest.FixtureRequest, scheme: str) -> None:
    assert problems(request.getfixturevalue(scheme)) == []


def test_the_map_is_coloured_anew(light: Any) -> None:
    page = light
    before = page.locator("#map canvas").evaluate("canvas => canvas.toDataURL()")
    page.locator("#map-colour input[value=quality]").check()
    page.wait_for_function("before => document.querySelector('#map canvas').toDataURL() !== before", arg=before)
    assert page.complaints == []


def test_every_chart_draws_nothing_is_asked_for_and_no_text_runs(light: Any, page_file: Path) -> None:
    page = light
    for button in page.locator("#body button").all()[:20]:
        button.click()
    assert page.complaints == []
    assert page.requests == [page_file.as_uri()]
    assert page.evaluate("window.hacked") is None
    assert page.locator("main img, main a[href^='javascript']").count() == 0


def test_print_is_black_on_white_with_the_still_pictures(dark: Any) -> None:
    page = dark
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator(".chart > svg").first.is_visible()
    assert not page.locator("nav").is_visible()


def test_what_a_model_wrote_reorders_nothing(visit: Visit, page_file: Path) -> None:
    page = visit(page_file)
    text = page.evaluate("document.body.innerText")
    assert "⟨RLO⟩order" in text
    assert "⟨ESC⟩[31mred" in text
    assert page.evaluate(r"/[\u202a-\u202e\u2066-\u2069\u001b]/.test(document.documentElement.outerHTML)") is False


def test_a_click_on_a_warning_leaves_its_rows(visit: Visit, page_file: Path) -> None:
    page = visit(page_file)
    everything = shown(page)
    page.locator("#warning-1 button[data-warning]").click()
    assert shown(page) == 40
    assert page.locator("#pill button").inner_text() == "only vendi_down ✕"
    page.locator("#pill button").click()
    assert shown(page) == everything == 240
    page.locator("#warning-0 .message").click()
    assert shown(page) == 3


def test_search_and_filters_narrow_the_rows_and_more_are_shown_on_demand(visit: Visit, page_file: Path) -> None:
    page = visit(page_file)
    assert page.locator("#body > tr").count() == 25
    page.locator("#more").click()
    assert page.locator("#body > tr").count() == 50
    page.locator("#search").fill("TRAIN covers")
    trains = shown(page)
    assert 0 < trains < 240
    page.locator("select[name=decision]").select_option(label="kept")
    assert 0 < shown(page) < trains
    page.locator("#search").fill("no such words anywhere")
    assert shown(page) == 0


def test_a_column_sorts_both_ways(visit: Visit, page_file: Path) -> None:
    page = visit(page_file)
    names = page.locator("#heads th").all_inner_texts()
    place = names.index("tokens")
    button = page.locator("#heads button").nth(place)

    def values() -> list[int]:
        return [int(text) for text in page.locator(f"#body tr td:nth-child({place + 1})").all_inner_texts()]

    button.click()
    assert values() == sorted(values())
    button.click()
    assert values() == sorted(values(), reverse=True)
    assert page.locator("#heads th").nth(place).get_attribute("aria-sort") == "descending"


def test_the_keyboard_alone_reaches_a_warnings_rows(visit: Visit, page_file: Path) -> None:
    page = visit(page_file)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.locator("#warning-1 button[data-warning]").focus()
    page.keyboard.press("Enter")
    assert shown(page) == 40
    assert page.evaluate("document.activeElement.id") == "search"


def test_a_pointer_over_a_dot_is_told_its_number(visit: Visit, page_file: Path) -> None:
    page = visit(page_file)
    page.locator("#iterations").scroll_into_view_if_needed()
    dot = page.locator("#iterations .live .mark-symbol path").first
    dot.hover()
    assert "value" in page.locator(".tip").inner_text()


def test_no_width_makes_the_page_scroll_sideways(visit: Visit, page_file: Path) -> None:
    page = visit(page_file, viewport={"width": 360, "height": 800})
    scroll_through(page)
    for width in (360, 768, 1920):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_narrow_table_breaks_no_word(visit: Visit, page_file: Path) -> None:
    page = visit(page_file, viewport={"width": 360, "height": 800})
    cell = page.locator("#funnel td", has_text="generated").first
    assert cell.bounding_box()["height"] < 40
    prompt = page.locator("#passes td bdi").first
    assert prompt.bounding_box()["width"] > 70


def test_a_still_picture_shows_what_a_wider_font_pushes_over_its_edge(visit: Visit, page_file: Path) -> None:
    page = visit(page_file, java_script_enabled=False)
    assert page.locator("#drift .chart > svg").evaluate("svg => getComputedStyle(svg).overflow") == "visible"


def test_without_scripts_pictures_and_warnings_are_read(visit: Visit, page_file: Path) -> None:
    page = visit(page_file, java_script_enabled=False)
    assert page.locator(".chart > svg").count() == page.locator(".chart").count() > 15
    assert page.locator("#warning-0 .message").is_visible()
    assert "report.json" in page.locator("#rows").inner_text()
    assert page.locator("button:visible").count() == 0
