"""How soon an audit's page opens and how large it is: `python benchmarks/audit_page.py [--report report.json] [--runs 5]`.

Without `--report`, a made-up report of 50,000 rows: 2,000 in the table with long texts, 50,000 dots on the map. The bars: opens
under 3 s in Chromium, and under 15 MB. Open means that the load event is over and the row table holds its first rows; the map,
the slowest chart, is drawn when it comes into view and timed apart.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

from ratoon.metrics.page import render
from ratoon.metrics.report import Report

ROWS, DOTS = 2_000, 50_000
OPEN_BAR, SIZE_BAR = 3.0, 15.0
MADE = Path(__file__).resolve().parents[1] / "tests" / "metrics" / "page" / "made.py"


def made() -> ModuleType:
    spec = importlib.util.spec_from_file_location("made_reports", MADE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def planted() -> Report:
    """A report whose row texts are about a thousand characters long."""
    report: Report = made().report(rows=ROWS, dots=DOTS)
    for row in report["rows"]:
        row["completion"] = f"{row['completion']}\n" * (1 + 900 // len(row["completion"] or "x"))
    return report


def opened(path: Path, runs: int) -> dict[str, float]:
    """Medians, in seconds, of opening the file in a fresh context and of drawing its map."""
    from playwright.sync_api import sync_playwright

    loads, maps = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for _ in range(runs):
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            start = time.perf_counter()
            page.goto(path.as_uri(), wait_until="load")
            page.wait_for_selector("#body tr", state="attached")
            loads.append(time.perf_counter() - start)
            start = time.perf_counter()
            page.locator("#map .chart").scroll_into_view_if_needed()
            page.wait_for_selector("#map .chart.on")
            maps.append(time.perf_counter() - start)
            page.close()
        browser.close()
    return {"open_s": round(median(loads), 2), "open_worst_s": round(max(loads), 2), "map_s": round(median(maps), 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--report", type=Path, help="a report.json that `ratoon audit` wrote")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    report = json.loads(options.report.read_text(encoding="utf-8")) if options.report else planted()
    start = time.perf_counter()
    html = render(report)
    figures: dict[str, Any] = {"rows": len(report["rows"]), "render_s": round(time.perf_counter() - start, 2)}
    figures["megabytes"] = round(len(html.encode()) / 1e6, 2)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "report.html")
        path.write_text(html, encoding="utf-8")
        figures |= opened(path, options.runs)
    figures |= {"load_average": round(os.getloadavg()[0], 1), "date": f"{datetime.now(UTC):%Y-%m-%d}"}
    print(json.dumps(figures, indent=2))
    print("bars", "held" if figures["open_s"] < OPEN_BAR and figures["megabytes"] < SIZE_BAR else "MISSED")


if __name__ == "__main__":
    main()
