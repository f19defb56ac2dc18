"""Pictures of an audit's page: `python tools/page_pictures.py report.html docs/img [NAME ...]` (needs Chromium, Pillow)."""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path
from typing import Any

# Name of the picture: what of the page it shows, from the top of the first section to the end of the last, and how dark it is.
PICTURES = {
    "audit": ("light", ["verdict", "warnings"]),
    "audit-dark": ("dark", ["verdict", "warnings"]),
    "audit-funnel": ("light", ["funnel"]),
    "audit-rounds": ("light", ["iterations", "levels"]),
    "audit-map": ("light", ["plane", "map"]),
    "audit-drift": ("light", ["drift"]),
    "audit-passes": ("light", ["passes"]),
    "audit-words": ("light", ["repetition", "correlations"]),
    "audit-rows": ("light", ["examples"]),
    "audit-twins": ("light", ["twins"]),
}
HIGHEST = 1_900  # pixels
COLOURS = 220


def main(page_file: str, out: str, *names: str) -> None:
    from PIL import Image
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, (scheme, sections) in ((name, PICTURES[name]) for name in names or PICTURES):
            page = browser.new_page(viewport={"width": 1180, "height": 900}, color_scheme=scheme)
            page.goto(Path(page_file).resolve().as_uri())
            for section in sections:
                page.locator(f"#{section}").scroll_into_view_if_needed()
                page.wait_for_timeout(600)
            page.evaluate("scrollTo(0, 0)")
            shot = page.screenshot(
                full_page=True, clip=_clip(page, sections, whole=name.startswith("audit") and "verdict" in sections)
            )
            picture = Image.open(io.BytesIO(shot)).convert("RGB").quantize(COLOURS)
            picture.save(Path(out, f"{name}.png"), optimize=True)
            page.close()
        browser.close()


def _clip(page: Any, sections: list[str], whole: bool) -> dict[str, float]:
    """The rectangle of the sections; with the page's head and its contents where `whole`."""
    boxes = [page.locator(f"#{section}").bounding_box() for section in sections]
    top = 0.0 if whole else boxes[0]["y"]
    left = 0.0 if whole else boxes[0]["x"] - 16
    bottom = boxes[-1]["y"] + boxes[-1]["height"]
    return {"x": left, "y": top, "width": 1180 - left, "height": min(HIGHEST, bottom - top)}


if __name__ == "__main__":
    main(*sys.argv[1:])
