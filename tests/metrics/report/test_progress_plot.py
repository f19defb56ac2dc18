import struct
from pathlib import Path
from typing import Any

import pytest

from ratoon import schema
from ratoon.errors import DataError
from ratoon.metrics.report.progress_plot import plot


def rows(rounds: int = 4, arms: int = 5) -> list[dict[str, Any]]:
    found = []
    for i in range(rounds):
        value = 0.18 + 0.07 * i
        base = {"iteration": i, "policy_id": f"m{i}", "suite": "heldout", "n_tasks": 240, "n_samples": 960}
        found.append(base | {"metric": "pass@1", "value": value, "lo": value - 0.04, "hi": value + 0.04})
        found.append(base | {"metric": "finished_share", "value": 0.7 + 0.08 * i})
        found.append(base | {"metric": "pass@1_finished", "value": value / (0.7 + 0.08 * i)})
        found += [base | {"metric": f"pass@1/arm number {a} of many", "value": value * (0.5 + 0.2 * a)} for a in range(arms)]
    trivial = {"iteration": 0, "suite": "heldout", "metric": "pass@1"}
    return found + [trivial | {"policy_id": f"trivial:{name}", "value": v} for name, v in (("echo", 0.06), ("constant", 0.03))]


def size(path: Path) -> tuple[int, int]:
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", head[16:24])


def test_the_picture_has_its_size(tmp_path: Path) -> None:
    assert size(plot(rows(), tmp_path / "a.png")) == (1200, 700)


def test_a_table_and_its_rows_give_the_same_picture(tmp_path: Path) -> None:
    table = schema.from_rows("evals", rows())
    assert plot(table, tmp_path / "a.png").read_bytes() == plot(table.to_pylist(), tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(("rounds", "arms"), [(1, 0), (1, 1), (2, 12)])
def test_few_rounds_and_many_arms_are_drawn_too(tmp_path: Path, rounds: int, arms: int) -> None:
    assert size(plot(rows(rounds, arms), tmp_path / "a.png")) == (1200, 700)


def test_void_rounds_are_left_out_and_nothing_at_all_is_refused(tmp_path: Path) -> None:
    void = [row | {"value": None, "lo": None, "hi": None} if row["iteration"] == 1 else row for row in rows()]
    assert size(plot(void, tmp_path / "a.png")) == (1200, 700)
    for nothing in ([], [row for row in rows() if row["policy_id"].startswith("trivial:")]):
        with pytest.raises(DataError, match=r"no pass@1"):
            plot(nothing, tmp_path / "b.png")
