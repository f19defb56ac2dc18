"""Which side a problem is on: train, probe or eval; knows problem keys, never wordings or rollouts.

A side is given to a problem key, not to a task, so the same problem in other words, or in another family, is never on two
sides. Keys are ordered by hash of (seed, key): neither row order nor other families change which come first. Sides that a
source fixed come before all counts; a key it put on two sides goes to the more protected one (eval, probe, train).
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, field_validator

from ratoon import ids
from ratoon.config import Config
from ratoon.errors import ConfigError, DataError
from ratoon.generators.tasks.task_rows import SPLITS

_PROTECTED = {"eval": 2, "probe": 1, "train": 0}


class SplitConfig(Config):
    """How many problem keys of each family are held out; the rest is for training."""

    eval: int | float = Field(0, description="problem keys per family for the frozen evaluation: a count (50) or a share (0.1)")
    probe: int | float = Field(0, description="problem keys per family for choosing hyper-parameters: a count or a share")

    @field_validator("eval", "probe")
    @classmethod
    def _count_or_share(cls, size: int | float) -> int | float:
        if size < 0 or (isinstance(size, float) and size > 1):
            raise ValueError(f"{size} is neither a count (a whole number) nor a share between 0.0 and 1.0")
        return size


def assign_splits(tasks: pa.Table, config: SplitConfig, seed: int) -> pa.Table:
    """`tasks` with every `split` set; per family exactly the keys asked for, counting those already decided elsewhere.

    Only keys that a source fixed or that families share can make a side larger than asked. Raises ConfigError naming family,
    count and field when a family has too few keys, DataError on an unknown split or a null key.
    """
    side = _fixed(tasks)
    fixed = set(side)
    for family, keys in _families(tasks).items():
        if keys <= fixed:
            continue
        _check_sizes(family, len(keys), config)
        free = sorted(keys - set(side), key=lambda key: (ids.derive_seed(seed, "split", key), key))
        for name in ("eval", "probe"):
            lacking = _count(getattr(config, name), len(keys)) - sum(side.get(key) == name for key in keys)
            taken, free = free[: max(lacking, 0)], free[max(lacking, 0) :]
            _check_free(family, name, lacking, len(taken))
            side |= dict.fromkeys(taken, name)
    column = pa.array([side.get(key, "train") for key in tasks["problem_key"].to_pylist()], pa.string())
    return tasks.set_column(tasks.schema.get_field_index("split"), tasks.schema.field("split"), column)


def leaks(tasks: pa.Table) -> dict[str, tuple[str, ...]]:
    """The problem keys on more than one side, each with its sides; empty when nothing leaks.

    Rows without a split count as train.
    """
    sides: dict[str, set[str]] = {}
    for key, split in zip(tasks["problem_key"].to_pylist(), tasks["split"].to_pylist(), strict=True):
        sides.setdefault(key, set()).add(split or "train")
    return {key: tuple(sorted(found)) for key, found in sides.items() if len(found) > 1}


def _fixed(tasks: pa.Table) -> dict[str, str]:
    """The side of each key that a source fixed."""
    if tasks["problem_key"].null_count:
        raise DataError(f"{tasks['problem_key'].null_count} tasks have no problem_key", "the task source must give one")
    given = tasks.filter(pc.is_valid(tasks["split"]))
    side: dict[str, str] = {}
    for key, split in zip(given["problem_key"].to_pylist(), given["split"].to_pylist(), strict=True):
        if split not in SPLITS:
            raise DataError(f"a task has split {split!r}", f"splits are {', '.join(SPLITS)}")
        side[key] = max(split, side.get(key, split), key=_PROTECTED.__getitem__)
    return side


def _families(tasks: pa.Table) -> dict[str, set[str]]:
    """Family to its problem keys, families in the order of their names."""
    found: dict[str, set[str]] = {}
    for family, key in zip(tasks["family"].to_pylist(), tasks["problem_key"].to_pylist(), strict=True):
        found.setdefault(family or "", set()).add(key)
    return dict(sorted(found.items()))


def _count(size: int | float, keys: int) -> int:
    return size if isinstance(size, int) else int(size * keys + 0.5)


def _check_sizes(family: str, keys: int, config: SplitConfig) -> None:
    asked = {name: _count(getattr(config, name), keys) for name in ("eval", "probe")}
    if sum(asked.values()) > keys:
        raise ConfigError(
            f"family {family!r} has {keys} problem keys, but eval takes {asked['eval']} and probe {asked['probe']}",
            "lower splits.eval or splits.probe, or give the family more tasks (n)",
        )


def _check_free(family: str, name: str, lacking: int, taken: int) -> None:
    if taken < lacking:
        raise ConfigError(
            f"family {family!r} lacks {lacking - taken} problem keys for {name}: the others are already on another side, "
            "fixed by a source or shared with another family",
            f"lower splits.{name}, or give the family more tasks (n)",
        )
