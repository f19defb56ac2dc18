"""Task sources: each turns its config and a seed into tasks; none asks a model.

Adding one: its file (a frozen config tagged by `source`, `propose`), one line here, its test. One's own is source `entry`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa

from ratoon.config import one_of
from ratoon.errors import ConfigError
from ratoon.generators.tasks import arithmetic, dataset, entry, mix, reasoning_gym, seeds
from ratoon.generators.tasks.entry import Functions
from ratoon.generators.tasks.source import TaskSource
from ratoon.generators.tasks.task_rows import Proposal, proposal

TASK_SOURCES: dict[str, TaskSource] = {
    "arithmetic": TaskSource(arithmetic.ArithmeticConfig, arithmetic.propose, also="taken"),
    "reasoning_gym": TaskSource(
        reasoning_gym.ReasoningGymConfig, reasoning_gym.propose, reasoning_gym.versions, reasoning_gym.verifiers
    ),
    "dataset": TaskSource(dataset.DatasetConfig, dataset.propose, dataset.versions),
    "mix": TaskSource(mix.MixConfig, mix.propose, mix.versions, mix.verifiers),
    "seeds": TaskSource(seeds.SeedsConfig, seeds.propose, seeds.versions, seeds.verifiers),
    "entry": TaskSource(entry.EntryConfig, entry.propose, entry.versions, also="functions"),
}

if TYPE_CHECKING:
    TaskConfig: TypeAlias = Any
else:
    TaskConfig = one_of([source.config for source in TASK_SOURCES.values()], "source")


def propose(config: Any, seed: int, taken: frozenset[str] = frozenset(), functions: Functions | None = None) -> Proposal:
    """The tasks of one arm; `taken` are problem keys that arithmetic must leave to other arms, `functions` serve `entry`."""
    source = TASK_SOURCES[config.source]
    if source.also is None:
        return source.propose(config, seed)
    return source.propose(config, seed, taken if source.also == "taken" else functions)


def versions(configs: Sequence[Any], functions: Functions | None = None) -> dict[str, str]:
    """What decides the tasks beside configs and seed: users' sources, local files, libraries; nothing for a hub's data sets."""
    found: dict[str, str | None] = {}
    for config in configs:
        source = TASK_SOURCES[config.source]
        found |= source.versions(config, functions) if source.also == "functions" else source.versions(config)
    return {name: version for name, version in found.items() if version is not None}


def verifiers_of(configs: Sequence[Any]) -> set[str]:
    """The verifiers that the arms name; seeds have no gold and name none."""
    named = {name for config in configs for name in TASK_SOURCES[config.source].verifiers(config)}
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
    failures, told = pa.concat_tables([each.failures for each in found]), tuple(line for each in found for line in each.told)
    return Proposal(merged.tasks, merged.oracles, failures, merged.dropped, told)


__all__ = ["TASK_SOURCES", "Proposal", "TaskConfig", "propose", "propose_all", "verifiers_of", "versions"]
