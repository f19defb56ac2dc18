"""The audit's page: a report in, one self-contained HTML file out, no network and nothing computed.

    markup     texts that cannot become markup          figures    numbers as a person reads them
    draw       Vega-Lite to inline SVG                  charts     the pictures as specs
    blocks     section, chart, table, row               overview, measured, evidence    the sections

The page runs two scripts, both named by their hash in its Content-Security-Policy: Vega, and `script.js`. Everything a model
wrote reaches the page as escaped text or as JSON that the script puts into text nodes. The still pictures and every table but
that of the rows are there without scripts.
"""

from __future__ import annotations

from ratoon.metrics.page.page import SECTIONS, render

__all__ = ["SECTIONS", "render"]
