"""Draw docs/img/nft.svg, how hard NFT pushes a token of a right and of a wrong reply; `--check` only says if it is current.

    .venv/bin/python tools/nft_svg.py [--check]

Left: the push on a token's log-prob against its ratio R, new over old probability; right: at R = 1, where every round starts,
by pass rate. The formulas are those of docs/nft.md; a test holds them against the loss's own gradient.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "docs" / "img" / "nft.svg"
_INK, _GREY, _PAPER = "#1b2430", "#7d8896", "#ffffff"
_RIGHT, _WRONG, _HARSH = "#1f8a4c", "#c0392b", "#e59866"
_W, _H, _LEFT, _TOP = 380, 250, 56, 46
WEIGHTS: dict[str, Callable[[float], float]] = {
    "one": lambda r: 1.0,
    "linear": lambda r: 1 - r,
    "sqrt": lambda r: math.sqrt((1 - r) / r),
}


def push(ratio: float, right: bool, rate: float, weight: str = "linear", clip: float = 1.0) -> float:
    """What one token adds to the ascent direction, as a factor on the gradient of its log-prob."""
    if right:
        return WEIGHTS[weight](rate)
    return -WEIGHTS[weight](rate) * rate / (1 - rate) * ratio / max((1 - rate * ratio) / (1 - rate), clip)


def svg() -> str:
    """The whole picture."""
    width, height = 2 * (_W + _LEFT) + 60, _H + _TOP + 62
    ratios, rates = [i / 50 for i in range(1, 126)], [i / 100 for i in range(2, 99)]
    left = _panel(0, "A token's push by its ratio R, at pass rate 0.5", "R = new / old probability", (0, 2.5), (-2, 0.75), [
        ("right: the same whatever R", _RIGHT, "", [(x, push(x, True, 0.5)) for x in ratios]),
        ("wrong, negative_clip 1: never beyond R · r", _WRONG, "", [(x, push(x, False, 0.5)) for x in ratios]),
        ("wrong, negative_clip 0.1: runs away", _HARSH, "6 4", [(x, push(x, False, 0.5, clip=0.1)) for x in ratios]),
    ], [0, 0.5, 1, 1.5, 2, 2.5], [-2, -1.5, -1, -0.5, 0, 0.5])  # fmt: skip
    right = _panel(_W + _LEFT + 40, "At the start of a round (R = 1)", "pass rate r of the group", (0, 1), (-2, 2), [
        ("linear: right 1 − r, wrong −r", _RIGHT, "", [(r, push(1, True, r)) for r in rates]),
        ("", _WRONG, "", [(r, push(1, False, r)) for r in rates]),
        ("sqrt: GRPO's, rare ones count more", _RIGHT, "6 4", [(r, push(1, True, r, "sqrt")) for r in rates]),
        ("", _WRONG, "6 4", [(r, push(1, False, r, "sqrt")) for r in rates]),
    ], [0, 0.25, 0.5, 0.75, 1], [-2, -1, 0, 1, 2])  # fmt: skip
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12" '
        'role="img" aria-label="The push of right and wrong replies under NFT">',
        f'<rect width="{width}" height="{height}" rx="8" fill="{_PAPER}"/>', *left, *right, "</svg>", "",
    ])  # fmt: skip


Line = tuple[str, str, str, list[tuple[float, float]]]


def _panel(
    x0: float, title: str, below: str, xs: tuple[float, float], ys: tuple[float, float], lines: Iterable[Line],
    xticks: list[float], yticks: list[float],
) -> list[str]:  # fmt: skip
    def at(x: float, y: float) -> tuple[float, float]:
        clipped = min(max(y, ys[0]), ys[1])
        return (
            round(x0 + _LEFT + (x - xs[0]) / (xs[1] - xs[0]) * _W, 1),
            round(_TOP + (ys[1] - clipped) / (ys[1] - ys[0]) * _H, 1),
        )

    made = [f'<text x="{x0 + _LEFT}" y="26" font-weight="bold" fill="{_INK}">{title}</text>']
    for tick in yticks:
        (x1, y), (x2, _) = at(xs[0], tick), at(xs[1], tick)
        wide = 1.4 if tick == 0 else 0.4
        made.append(f'<path d="M{x1} {y}H{x2}" stroke="{_GREY}" stroke-width="{wide}"/>')
        made.append(f'<text x="{x1 - 8}" y="{y + 4}" text-anchor="end" fill="{_GREY}">{tick:g}</text>')
    for tick in xticks:
        x, y = at(tick, ys[0])
        made.append(f'<text x="{x}" y="{y + 18}" text-anchor="middle" fill="{_GREY}">{tick:g}</text>')
    made.append(f'<text x="{x0 + _LEFT + _W / 2}" y="{_TOP + _H + 38}" text-anchor="middle" fill="{_INK}">{below}</text>')
    told = 0
    for name, colour, dash, points in lines:
        inside = [p for p in points if ys[0] <= p[1] <= ys[1]]
        path = "L".join(f"{x} {y}" for x, y in (at(*p) for p in inside))
        made.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2.2" stroke-dasharray="{dash}"/>')
        if name:
            y = _TOP + _H - 42 + 15 * told
            made.append(
                f'<path d="M{x0 + _LEFT + 8} {y - 4}h22" stroke="{colour}" stroke-width="2.2" stroke-dasharray="{dash}"/>'
            )
            made.append(f'<text x="{x0 + _LEFT + 36}" y="{y}" fill="{_INK}">{name}</text>')
            told += 1
    return made


def main(check: bool) -> int:
    text = svg()
    if check:
        return int(not OUT.exists() or OUT.read_text(encoding="utf-8") != text)
    OUT.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
