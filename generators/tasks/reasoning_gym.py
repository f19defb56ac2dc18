"""Tasks of any reasoning-gym generator; knows its catalogue only by asking the library.

reasoning-gym makes item i from `seed + i`, so neighbouring seeds share items: the seed is derived by hash, and items are told
apart by their normalised question. The entry travels in `verifier_args`, as plain JSON, for the generator's own scorer.
"""

from __future__ import annotations

import difflib
import importlib.metadata
import json
from collections.abc import Mapping
from types import ModuleType
from typing import Any, Literal

from pydantic import Field, field_validator

from ratoon import ids
from ratoon.config import Config
from ratoon.errors import ConfigError, MissingExtra
from ratoon.generators.tasks.task_rows import Proposal, failure_row, oracle_row, proposal, task_row, text_key
from ratoon.messages import user

_TRIES_PER_TASK = 10


class ReasoningGymConfig(Config):
    """One arm of a reasoning-gym generator."""

    source: Literal["reasoning_gym"] = Field("reasoning_gym", description="this task source")
    name: str = Field("", description="the arm's name, `family` of its tasks; the generator's name if not set")
    dataset: str = Field(description="the generator, for example `chain_sum`")
    config: dict[str, Any] = Field(default_factory=dict, description="the generator's own settings, without seed and size")
    n: int = Field(ge=1, description="how many distinct questions")
    level: str | None = Field(None, description="level of all tasks, free text")
    wording: str = Field("{question}", description="the prompt, with {question} in it")
    verifier_args: dict[str, Any] = Field(
        default_factory=dict, description="added to the verifier's arguments `dataset` and `entry`, for example `extract`"
    )

    @field_validator("wording")
    @classmethod
    def _has_question(cls, wording: str) -> str:
        if "{question}" not in wording:
            raise ValueError("must hold {question}")
        return wording

    @field_validator("config", "verifier_args")
    @classmethod
    def _leaves_ours(cls, settings: dict[str, Any]) -> dict[str, Any]:
        if ours := sorted({"seed", "size", "dataset", "entry"} & set(settings)):
            raise ValueError(f"{', '.join(ours)} is set by ratoon; use the arm's own fields and the run's seed")
        return settings

    @property
    def family(self) -> str:
        return self.name or self.dataset


def version() -> str | None:
    """The installed library's version, None where it is absent: it decides what a seed makes."""
    try:
        return importlib.metadata.version("reasoning-gym")
    except importlib.metadata.PackageNotFoundError:
        return None


def versions(config: ReasoningGymConfig) -> dict[str, str | None]:
    """What decides the tasks beside config and seed."""
    return {"reasoning-gym": version()}


def verifiers(config: ReasoningGymConfig) -> tuple[str, ...]:
    """The generator's own scorer."""
    return ("reasoning_gym",)


def propose(config: ReasoningGymConfig, seed: int) -> Proposal:
    """`config.n` tasks of distinct questions; repeats are counted as dropped, items that cannot be made as failures.

    Raises ConfigError on an unknown generator, on settings it refuses, or when it has fewer distinct questions.
    """
    items = _dataset(config, ids.derive_seed(seed, "reasoning_gym", ids.digest([config.dataset, config.config])))
    rows: dict[str, dict[str, Any]] = {}
    oracles, failures, repeats = [], [], 0
    for i in range(_TRIES_PER_TASK * config.n):
        try:
            row = _row(config, items[i])
        except Exception as error:
            failures.append(failure_row(f"{config.family}/{i}", type(error).__name__, str(error)))
            continue
        if row["problem_key"] in rows:
            repeats += 1
            continue
        rows[row["problem_key"]] = row
        if row["answer"] is not None:
            oracles.append(oracle_row(row, row["answer"]))
        if len(rows) == config.n:
            return proposal(rows.values(), oracles, failures, repeats)
    why = f"; {len(failures)} items failed, the first: {failures[0]['message']}" if failures else ""
    raise ConfigError(
        f"arm {config.family!r}: n = {config.n}, but {_TRIES_PER_TASK * config.n} items of {config.dataset!r} hold only "
        f"{len(rows)} distinct questions{why}",
        f"set n to at most {len(rows)}, or widen the generator in `config`",
    )


def _library() -> ModuleType:
    try:
        import reasoning_gym
    except ImportError:
        raise MissingExtra("reasoning-gym", "tasks") from None
    return reasoning_gym


def _dataset(config: ReasoningGymConfig, seed: int) -> Any:
    library = _library()
    names = list(library.factory.DATASETS)
    if config.dataset not in names:
        near = difflib.get_close_matches(config.dataset, names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(names))}"
        raise ConfigError(f"reasoning-gym has no generator {config.dataset!r}", hint)
    try:
        return library.create_dataset(config.dataset, seed=seed, size=_TRIES_PER_TASK * config.n, **config.config)
    except Exception as error:
        message = str(error) or type(error).__name__
        raise ConfigError(
            f"arm {config.family!r}: {config.dataset!r} refuses its settings: {message}", "mend the arm's `config`"
        ) from error


def _row(config: ReasoningGymConfig, entry: Mapping[str, Any]) -> dict[str, Any]:
    question = str(entry["question"])
    answer = None if entry["answer"] is None else str(entry["answer"])
    return task_row(
        source="reasoning_gym",
        family=config.family,
        level=config.level,
        messages=[user(config.wording.replace("{question}", question))],
        problem_key=text_key(question),
        answer=answer,
        verifier="reasoning_gym",
        verifier_args={**config.verifier_args, "dataset": config.dataset, "entry": _plain(entry)},
        meta={"dataset": config.dataset},
    )


def _plain(entry: Mapping[str, Any]) -> Any:
    """The entry in JSON types: sets sorted, what JSON lacks as text. The gold check tells whether it still scores."""
    return json.loads(json.dumps(entry, default=lambda v: sorted(v) if isinstance(v, set | frozenset) else str(v)))
