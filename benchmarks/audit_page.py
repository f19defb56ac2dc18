"""How soon an audit's page opens and how large it is: `python benchmarks/audit_page.py [--file | --report report.json]`.

`--file` writes a Parquet file of `--rows` judged replies (50,000), one task in four with a wrong answer key, and opens the page
that `ratoon audit` made of it; `--tier cheap` embeds nothing, and the page has no map then. `--report` opens the page of a
`report.json`. Without either, a made-up report of 50,000 rows: 2,000 in the table with long texts, 50,000 dots on the map.

The bars: opens under 3 s in Chromium, under 15 MB, nothing on the console, no request but the file's own. Open means that the
load event is over and the row table holds its first rows; the map, the slowest chart, is drawn when it comes into view and is
timed apart. Then every chart is brought into view, so that whatever it has to complain of is heard.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from audit_corpus import bad_verifier, pool

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


def file_of(path: Path, rows: int, replies: int = 4) -> Path:
    """A stranger's file: prompts, replies, answer keys of which some are wrong, and verdicts that follow them."""
    tasks = pool(rows // replies, replies, seed=0)
    columns = ("prompt", "completion", "gold", "passed")
    made = [{name: row[name] for name in columns} for row in bad_verifier(tasks, np.random.default_rng(0))]
    pq.write_table(pa.Table.from_pylist(made), path)
    return path


def audited(folder: Path, rows: int, tier: str) -> tuple[Path, dict[str, Any]]:
    """The page that the command wrote of such a file, and what that took."""
    data, out = file_of(folder / "rows.parquet", rows), folder / "audit" / "report.html"
    start = time.perf_counter()
    told = [sys.executable, "-m", "ratoon", "audit", str(data), "--out", str(out), "--set", f"tier={tier}", "--quiet"]
    subprocess.run(told, check=True, stdout=subprocess.DEVNULL)
    took = round(time.perf_counter() - start, 1)
    report = json.loads(out.with_name("report.json").read_text(encoding="utf-8"))
    found = report["sections"]["map"]
    facts = {"audited": report["subject"]["rows"], "tier": tier, "rows": len(report["rows"])}
    return out, {**facts, "dots": len(found["points"]) if found else 0, "audit_s": took}


def rendered(folder: Path, report: Report) -> tuple[Path, dict[str, Any]]:
    """The page of a report, and how long drawing it took."""
    path, start = folder / "report.html", time.perf_counter()
    path.write_text(render(report), encoding="utf-8")
    return path, {"rows": len(report["rows"]), "render_s": round(time.perf_counter() - start, 2)}


def opened(path: Path, runs: int) -> dict[str, Any]:
    """Medians, in seconds, of opening the file in a fresh context and of drawing its map; what it said and asked for."""
    from playwright.sync_api import sync_playwright

    loads: list[float] = []
    maps: list[float] = []
    said: list[str] = []
    asked: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for _ in range(runs):
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.on("request", lambda request: asked.append(request.url))
            start = time.perf_counter()
            page.goto(path.as_uri(), wait_until="load")
            page.wait_for_selector("#body tr", state="attached")
            loads.append(time.perf_counter() - start)
            maps += _drawn(page)
            page.close()
        browser.close()
    figures: dict[str, Any] = {"open_s": round(median(loads), 2), "open_worst_s": round(max(loads), 2)}
    figures |= {"map_s": round(median(maps), 2) if maps else None}
    return figures | {"console": said[:5], "requests_beyond": sorted(set(asked) - {path.as_uri()})[:5]}


def _drawn(page: Any) -> list[float]:
    """Seconds until the map is drawn, where there is one; then every other chart is."""
    took: list[float] = []
    if page.locator("#map .chart").count():
        start = time.perf_counter()
        page.locator("#map .chart").scroll_into_view_if_needed()
        page.wait_for_selector("#map .chart.on")
        took.append(time.perf_counter() - start)
    for place in range(page.locator(".chart").count()):
        page.locator(f".chart[data-chart='{place}']").scroll_into_view_if_needed()
        page.locator(f".chart.on[data-chart='{place}']").wait_for(state="attached")  # a function to wait for would need `eval`
    return took


def held(figures: dict[str, Any]) -> bool:
    silent = not figures["console"] and not figures["requests_beyond"]
    return bool(figures["open_s"] < OPEN_BAR and figures["megabytes"] < SIZE_BAR and silent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", action="store_true", help="audit a file of --rows rows and open the page of that")
    parser.add_argument("--rows", type=int, default=DOTS, help="rows of that file")
    parser.add_argument("--tier", choices=["cheap", "medium"], default="medium", help="tier of that audit")
    parser.add_argument("--report", type=Path, help="a report.json that `ratoon audit` wrote")
    parser.add_argument("--folder", type=Path, help="keep file, report and page here")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if options.file:
            path, figures = audited(folder, options.rows, options.tier)
        else:
            report = json.loads(options.report.read_text(encoding="utf-8")) if options.report else planted()
            path, figures = rendered(folder, report)
        figures["megabytes"] = round(path.stat().st_size / 1e6, 2)
        figures |= opened(path, options.runs)
    figures |= {"load_average": round(os.getloadavg()[0], 1), "date": f"{datetime.now(UTC):%Y-%m-%d}"}
    print(json.dumps(figures, indent=2))
    print("bars", "held" if held(figures) else "MISSED")


if __name__ == "__main__":
    main()
