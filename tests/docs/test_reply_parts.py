"""Which part of a reply each number, verdict and filter reads: docs/metrics.md names every one of them, once, and rightly."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ratoon.filters import FILTERS
from ratoon.generators.proposers.catalogue import PROPOSERS
from ratoon.metrics.verifiers import VERIFIERS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
SECTION = PAGE.read_text(encoding="utf-8").partition("## Whole reply, answer, or thinking")[2].partition("\n## ")[0]
ROWS = [(cells[1].strip(), cells[2].strip()) for line in SECTION.splitlines() if len(cells := line.split("|")) == 5][2:]


def part(kind: str, name: str) -> str:
    """The part that the page's one row of this kind gives to a name."""
    (found,) = {part for what, part in ROWS if what.startswith(kind) and re.search(rf"\b{name}\b", what)}
    return found


@pytest.mark.parametrize("name", VERIFIERS)
def test_every_verifier_reads_the_answer(name: str) -> None:
    assert part("verifiers", name) == "answer"


@pytest.mark.parametrize("name", PROPOSERS)
def test_every_proposer_is_read_by_its_answer(name: str) -> None:
    assert part("proposers", name) == "answer"


@pytest.mark.parametrize("name", FILTERS)
def test_every_filter_s_row_says_whether_it_reads_text(name: str) -> None:
    reads = bool({"text", "n_tokens"} & {*FILTERS[name].needs}) or bool(FILTERS[name].side)
    assert part("filter", name) == ("whole reply" if reads else "no text")
