"""What a task source is, as its catalogue holds it; knows no source."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple

from ratoon.config import Config
from ratoon.generators.tasks.task_rows import Proposal


def _no_versions(config: Any) -> Mapping[str, str | None]:
    return {}


def _named(config: Any) -> Iterable[str | None]:
    return (config.verifier,)


class TaskSource(NamedTuple):
    """A catalogue entry: its config, and `propose(config, seed) -> Proposal`.

    `versions(config)` names what decides the tasks beside config and seed, `verifiers(config)` the verifiers of its tasks.
    `also` is handed to `propose` besides: the problem keys that are taken, or a user's functions (to `versions` too).
    """

    config: type[Config]
    propose: Callable[..., Proposal]
    versions: Callable[..., Mapping[str, str | None]] = _no_versions
    verifiers: Callable[[Any], Iterable[str | None]] = _named
    also: Literal["taken", "functions"] | None = None
