"""Charts say what is there: no gap hidden, no region lost under another's name, no dot under a dot."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from ratoon.metrics.page import SECTIONS, charts
from ratoon.metrics.page.blocks import Book


def bins(*lows: float) -> list[Any]:
    return [{"lo": low, "hi": low + 0.1, "groups": 3, "consensus_bin": 3} for low in lows]


def test_a_pass_rate_that_no_group_has_is_on_the_axis_too() -> None:
    spec = charts.corner(bins(0.3, 0.5))
    columns = spec["encoding"]["x"]["scale"]["domain"]
    assert columns[:2] == ["0–10", "10–20"]
    assert len(columns) == 10
    assert {v["pass"] for v in spec["layer"][1]["data"]["values"]} == {"30–40", "50–60"} <= set(columns)


def test_the_shaded_corner_is_where_nothing_passes_whatever_groups_there_are() -> None:
    shaded = charts.corner(bins(0.3, 0.5))["layer"][0]["data"]["values"]
    assert {suspect["pass"] for suspect in shaded} == {"0–10"}


def test_two_regions_of_one_name_are_two_lines(made: ModuleType) -> None:
    drift = made.report()["sections"]["drift"]
    for cluster in drift["clusters"][:2]:
        cluster["label"] = "same, words"
    labels = [value["label"] for value in charts.occupancy(drift)["data"]["values"]]
    assert len(set(labels)) == len(labels)


def test_a_correlation_that_keeps_its_size_shows_ring_and_dot(made: ModuleType) -> None:
    rings = [layer["mark"] for layer in charts.pairs(made.report()["sections"]["correlations"])["layer"][2:]]
    assert [mark["filled"] for mark in rings] == [False, True]
    assert rings[0]["size"] > rings[1]["size"]


def test_a_share_over_the_rounds_is_told_in_the_unit_of_its_axis(made: ModuleType) -> None:
    report = made.report()
    series = report["sections"]["iterations"][0]
    series["points"] = [{"iteration": 1, "policy": None, "value": 0.5493, "lo": 0.5, "hi": 0.6, "n": 80}]
    assert "54.9 % (50 % to 60 %; n = 80)" in SECTIONS["Rounds"](Book(report))


def test_the_rounds_begin_with_the_held_out_pass_rate_and_say_what_they_are(made: ModuleType) -> None:
    report = made.report()
    named = ("complexity.words", "quality.pass_rate", "pass@1")
    report["sections"]["iterations"] = [
        {**series, "metric": name} for series, name in zip(report["sections"]["iterations"], named, strict=False)
    ]
    markup = SECTIONS["Rounds"](Book(report))
    assert markup.index("held-out pass@1") < markup.index("pass rate in training") < markup.index("words a reply")
    assert "quality." not in markup


def test_the_drift_tests_say_how_they_are_read(made: ModuleType) -> None:
    report = made.report()
    report["sections"]["drift"]["tests"][0]["name"] = "drift.auc"
    markup = SECTIONS["Drift"](Book(report))
    assert "classifier between the sides (AUC)" in markup
    assert "0.5: cannot be told apart" in markup


def test_many_suspect_answers_are_folded_after_the_surest(made: ModuleType) -> None:
    report = made.report()
    report["sections"]["passes"]["corner"] = report["sections"]["passes"]["corner"][:1] * 50
    assert "40 groups more" in SECTIONS["Pass rate and agreement"](Book(report))


def test_near_twins_are_read_although_copies_are_many(made: ModuleType) -> None:
    report = made.report()
    ids = [row["row_id"] for row in report["rows"]]
    copies = [{"rejected": ids[i], "kept": ids[i + 1], "kind": "exact", "similarity": 1.0} for i in range(0, 80, 2)]
    report["sections"]["twins"] = [*copies, {"rejected": ids[90], "kept": ids[91], "kind": "minhash", "similarity": 0.8}]
    markup = SECTIONS["Rejected twins"](Book(report, {row["row_id"]: row for row in report["rows"]}))
    assert markup.index("exact, similarity") < markup.index("minhash, similarity") < markup.index("pairs more")


def test_a_runs_twin_of_a_cluster_claims_no_similarity_to_the_one_that_stayed(made: ModuleType) -> None:
    report = made.report()
    report["subject"]["kind"] = "run"
    markup = SECTIONS["Rejected twins"](Book(report, {row["row_id"]: row for row in report["rows"]}))
    assert "exact, similarity 1" in markup
    assert "minhash, nearest in its cluster 0.860" in markup


def test_a_twin_that_a_later_step_dropped_is_not_called_kept(made: ModuleType) -> None:
    report = made.report()
    rows = {row["row_id"]: row for row in report["rows"]}
    twin = report["sections"]["twins"][0]
    rows[twin["kept"]]["decision"] = "dropped"
    assert "kept, and dropped by a later step" in SECTIONS["Rejected twins"](Book(report, rows))
