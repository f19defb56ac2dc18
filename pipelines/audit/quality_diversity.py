"""The quality-diversity plane of a round: subsets that thresholds on stored numbers would give, what was kept, and chance.

`ratoon sweep` tries filters themselves; here bands of the pass rate and of agreement stand for them, over the embedded sample.
Diversity is linear Vendi at one size for all points, so that they compare.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ratoon.columns import numbers
from ratoon.metrics.embeddings import spectrum
from ratoon.metrics.report import Plane, PlanePoint
from ratoon.metrics.stats.sketches import mean, mean_of
from ratoon.pipelines.audit.embedded import Placed
from ratoon.pipelines.audit.side import Side
from ratoon.pipelines.recipe.sections import AuditConfig

_LEAST = 20
_CUTS = (0.25, 0.5, 0.75, 1.0)


def plane(side: Side, placed: Placed, config: AuditConfig) -> Plane | None:
    """Settings, the chosen one and its control; None where fewer than two subsets are large enough."""
    rows = side.rows.take(pa.array(placed.at))
    passed, rate, agreed = (numbers(rows[name]) for name in ("passed", "pass_rate", "vote_share"))
    passed = np.where(np.isnan(passed), rate, passed)
    subsets = _subsets(rows, passed, rate, agreed, config.seed)
    least = min(100, max(_LEAST, rows.num_rows // 10))
    subsets = {name: at for name, at in subsets.items() if len(at) >= least and np.isfinite(passed[at]).any()}
    if len(subsets) < 2:
        return None
    size = max(2, spectrum.sample_size(min(map(len, subsets.values()))))
    words = np.array([len((t or "").split()) for t in rows["completion"].to_pylist()], float)
    points = [_point(name, at, placed.vectors, passed, words, size, config) for name, at in subsets.items()]
    for point in points:
        point["front"] = not any(
            o["x"] >= point["x"] and o["y"] >= point["y"] and (o["x"], o["y"]) != (point["x"], point["y"]) for o in points
        )
    return {
        "x": "pass rate of the rows",
        "y": f"linear Vendi of {size} rows",
        "points": points,
        "hypervolume": hypervolume(points),
    }


def _subsets(
    rows: pa.Table, passed: NDArray[np.float64], rate: NDArray[np.float64], agreed: NDArray[np.float64], seed: int
) -> dict[str, NDArray[np.int64]]:
    n = rows.num_rows
    subsets = {"everything": np.arange(n), "right rows": np.flatnonzero(passed == 1)}
    with np.errstate(invalid="ignore"):
        for cut in _CUTS:
            subsets[f"pass rate ≥ {cut:g}"] = np.flatnonzero(rate >= cut)
            subsets[f"right rows, agreement ≥ {cut:g}"] = np.flatnonzero((passed == 1) & (agreed >= cut))
        subsets["right rows of mixed tasks"] = np.flatnonzero((passed == 1) & (rate < 1))
    kept = np.flatnonzero(np.asarray(pc.fill_null(pc.equal(rows["decision"], "kept"), False)))
    if len(kept):
        subsets["kept"] = kept
        subsets["control of kept"] = np.sort(np.random.default_rng(seed).choice(n, len(kept), replace=False))
    return subsets


def _point(
    name: str, at: NDArray[np.int64], vectors: NDArray[np.float32], passed: NDArray[np.float64], words: NDArray[np.float64],
    size: int, config: AuditConfig,
) -> PlanePoint:  # fmt: skip
    quality = mean(mean_of("quality", passed[at], np.arange(len(at))), rate=True)
    assert quality is not None
    mine = vectors[at]
    wide = spectrum.subsampled(
        lambda some: spectrum.vendi_score(mine[some]),
        len(at),
        size=min(size, len(at)),
        draws=config.draws,
        seed=config.seed,
        least=1.0,
    )
    return {
        "name": name, "kind": "chosen" if name == "kept" else "control" if name.startswith("control") else "setting",
        "x": quality.value, "y": wide.value, "x_lo": quality.lo, "x_hi": quality.hi, "y_lo": wide.lo, "y_hi": wide.hi,
        "n": len(at), "complexity": float(words[at].mean()), "front": False,
    }  # fmt: skip


def hypervolume(points: list[PlanePoint]) -> float:
    """The area that the front dominates, from the origin.

    >>> hypervolume([{"x": 1, "y": 3}, {"x": 2, "y": 2}, {"x": 3, "y": 1}])
    6.0
    """
    area, top = 0.0, 0.0
    for point in sorted(points, key=lambda p: (-p["x"], -p["y"])):
        if point["y"] > top:
            area += point["x"] * (point["y"] - top)
            top = point["y"]
    return float(area)
