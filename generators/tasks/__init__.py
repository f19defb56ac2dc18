"""Task sources: each turns its config and a seed into tasks; none asks a model.

Adding one: its file (a frozen config tagged by `source`, `propose`), one line here, its test. One's own is source `entry`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import pyarrow as pa
from pydantic import Field

from ratoon.errors import ConfigError
from ratoon.generators.tasks import arithmetic, dataset, entry, mix, reasoning_gym, seeds
from ratoon.generators.tasks.arithmetic import ArithmeticConfig
from ratoon.generators.tasks.dataset import DatasetConfig
from ratoon.generators.tasks.entry import EntryConfig, Functions
from ratoon.generators.tasks.mix import MixConfig
from ratoon.generators.tasks.reasoning_gym import ReasoningGymConfig
from ratoon.generators.tasks.seeds import SeedsConfig
from ratoon.generators.tasks.task_rows import Proposal, proposal

TASK_SOURCES: dict[str, Callable[..., Proposal]] = {
    "arithmetic": arithmetic.propose,
    "reasoning_gym": reasoning_gym.propose,
    "dataset": dataset.propose,
    "mix": mix.propose,
    "seeds": seeds.propose,
    "entry": entry.propose,
}

TaskConfig = Annotated[
    ArithmeticConfig | ReasoningGymConfig | DatasetConfig | MixConfig | SeedsConfig | EntryConfig,
    Field(discriminator="source"),
]


def propose(config: Any, seed: int, taken: frozenset[str] = frozenset(), functions: Functions | None = None) -> Proposal:
    """The tasks of one arm; `taken` are problem keys that arithmetic must leave to other arms, `functions` serve `entry`."""
    if isinstance(config, ArithmeticConfig):
        return arithmetic.propose(config, seed, taken)
    if isinstance(config, EntryConfig):
        return entry.propose(config, seed, functions)
    return TASK_SOURCES[config.source](config, seed)


def versions(configs: Sequence[Any], functions: Functions | None = None) -> dict[str, str]:
    """What decides the tasks beside configs and seed: users' sources, local files, libraries; nothing for a hub's data sets."""
    found: dict[str, str | None] = {}
    for config in configs:
        if isinstance(config, EntryConfig):
            found[f"tasks {config.entry}"] = entry.version(config, functions)
        elif isinstance(config, DatasetConfig):
            found[f"data {config.family}"] = dataset.version(config)
        elif isinstance(config, MixConfig):
            found[f"data {config.family}"] = mix.version(config)
        elif isinstance(config, SeedsConfig):
            found[f"seeds {config.family}"] = seeds.version(config)
        elif isinstance(config, ReasoningGymConfig):
            found["reasoning-gym"] = reasoning_gym.version()
    return {name: version for name, version in found.items() if version is not None}


def verifiers_of(configs: Sequence[Any]) -> set[str]:
    """The verifiers that the arms name; seeds have no gold and name none."""
    arms = [part for config in configs for part in (config.parts if isinstance(config, MixConfig) else (config,))]
    named = {"reasoning_gym" if isinstance(arm, ReasoningGymConfig) else getattr(arm, "verifier", None) for arm in arms}
    return {name for name in named if name is not None}


def propose_all(configs: Sequence[Any], seed: int, functions: Functions | None = None) -> Proposal:
    """All arms together, in their order: no task twice, and no arithmetic problem in two arms.

    An arm that is added at the end changes none before it. Raises ConfigError when two arms have one name.
    """
    names = [config.family for config in configs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"two task arms are called {twice[0]!r}", "give each arm its own `name`")
    found: list[Proposal] = []
    taken: set[str] = set()
    for config in configs:
        found.append(propose(config, seed, frozenset(taken), functions))
        taken |= set(found[-1].tasks["problem_key"].to_pylist())
    return _merged(found)


def _merged(found: Sequence[Proposal]) -> Proposal:
    if not found:
        return proposal(())
    rows = [row for each in found for row in each.tasks.to_pylist()]
    oracles = [row for each in found for row in each.oracles.to_pylist()]
    merged = proposal(rows, oracles, (), sum(each.dropped for each in found))
    return Proposal(merged.tasks, merged.oracles, pa.concat_tables([each.failures for each in found]), merged.dropped)


__all__ = ["TASK_SOURCES", "Proposal", "TaskConfig", "propose", "propose_all", "verifiers_of", "versions"]
