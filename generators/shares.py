"""A whole number parted by weight, where each part holds only so many."""

from __future__ import annotations

from collections.abc import Mapping


def parted(n: int, weights: Mapping[str, float], sizes: Mapping[str, int]) -> dict[str, int]:
    """`n` parted by weight; what a family cannot fill goes to those that can."""
    shares = dict.fromkeys(weights, 0)
    left = min(n, sum(sizes.values()))
    while left:
        room = {family: weight for family, weight in weights.items() if shares[family] < sizes[family]}
        for family, part in _by_largest_remainder(left, room).items():
            part = min(part, sizes[family] - shares[family])
            shares[family] += part
            left -= part
    return shares


def _by_largest_remainder(n: int, weights: Mapping[str, float]) -> dict[str, int]:
    total = sum(weights.values())
    exact = {family: n * weight / total for family, weight in weights.items()}
    parts = {family: int(value) for family, value in exact.items()}
    by_remainder = sorted(exact, key=lambda family: (parts[family] - exact[family], family))
    for family in by_remainder[: n - sum(parts.values())]:
        parts[family] += 1
    return parts
