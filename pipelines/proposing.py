"""A round's proposals, wave by wave: ask, sample, ask again where an arm wants it, accept. The engine's work is handed in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ratoon.pipelines import propose_model
from ratoon.pipelines.context import Context
from ratoon.pipelines.propose_model import Wave
from ratoon.store import Manifest

Sampled = Callable[[Manifest, Mapping[str, str]], list[Manifest]]
Stage = Callable[[Callable[..., Any]], Callable[..., Any]]


class Made(NamedTuple):
    """Tasks that models proposed in the rounds so far, and their prompts, artifact by artifact."""

    tasks: list[Manifest]
    prompts: list[Manifest]


def propose_tasks(ctx: Context, pool: Sequence[Manifest], before: Made, iteration: int, stage: Stage, sampled: Sampled) -> Made:
    """`before` and what this round's arms add. `sampled(asked, schemas)` gives the rollouts of an `ask` artifact."""
    tasks, prompts, waves = list(before.tasks), list(before.prompts), list[Wave]()
    for arm in ctx.recipe.propose.arms:
        for number in range(arm.waves):
            wave = Wave(arm, iteration, number, tuple(pool), tuple(tasks))
            made = _wave(ctx, wave, stage, sampled)
            waves.append(wave)
            tasks.append(made)
            prompts.append(stage(propose_model.prompts)(ctx, made))
    propose_model.drop_unplanned(ctx, iteration, waves)
    return Made(tasks, prompts)


def _wave(ctx: Context, wave: Wave, stage: Stage, sampled: Sampled) -> Manifest:
    asked = stage(propose_model.ask)(ctx, wave)
    rollouts = sampled(asked.manifest, asked.schemas)
    closed = stage(propose_model.ask_without_passages)(ctx, wave, asked, rollouts)
    replies = sampled(closed, {}) if closed is not None else []
    made: Manifest = stage(propose_model.accept)(ctx, wave, asked, rollouts, closed, replies)
    return made
