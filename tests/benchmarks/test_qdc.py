"""The benchmark of the numbers, small: collapse shows on real embeddings, and the cheap tier measures a stored round."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from types import ModuleType

import pytest


@pytest.fixture
def qdc(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("qdc")


def test_the_cheap_tier_measures_a_round_from_bare_text(qdc: ModuleType) -> None:
    report = qdc.cheap(2000, 500)
    assert report["rows"] == 2000
    assert report["measures"] > 70
    assert 0 < report["stored_cpu_s"] < report["bare_cpu_s"]


@pytest.mark.slow
def test_a_planted_collapse_shows_in_every_headline_on_real_embeddings(
    qdc: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = qdc.collapse(150)
    for name in ("vendi", "rke", "clusters", "knn5_distance", "compression_gzip", "self_repetition", "distinct_3"):
        rising = rows[name][0] < rows[name][-1]
        assert rising == (name in qdc.RISING)
        assert all((b > a) == rising and a != b for a, b in pairwise(rows[name])), rows[name]
    assert capsys.readouterr().out.count("| True |") >= 7, "the printed table says so too"
