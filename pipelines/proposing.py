"""A round's proposals, wave by wave: ask, sample, ask again where an arm wants it, accept. The engine's work is handed in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ratoon.errors import Stopped
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
    _enough(ctx, iteration, tasks[len(before.tasks) :])
    return Made(tasks, prompts)


def _enough(ctx: Context, iteration: int, made: Sequence[Manifest]) -> None:
    """Raise Stopped where a round's arms gave fewer tasks than the recipe wants."""
    new, least = sum(m.counts.rows_out for m in made), ctx.recipe.propose.min_tasks
    if made and new < least:
        planned = sum(m.counts.rows_planned for m in made)
        reasons = Counter(ctx.store.read("decisions", made, ["reason"])["reason"].to_pylist())
        worst = ", ".join(f"{reason} {n}" for reason, n in reasons.most_common(3) if reason is not None) or "replies failed"
        raise Stopped(
            f"round {iteration}: proposers gave {new} tasks of {planned} candidates, propose.min_tasks is {least} ({worst})",
            "look at their replies (table rollouts, role 'proposer'), mend [propose], or ask a stronger model",
        )


def _wave(ctx: Context, wave: Wave, stage: Stage, sampled: Sampled) -> Manifest:
    asked = stage(propose_model.ask)(ctx, wave)
    rollouts = sampled(asked.manifest, asked.schemas)
    closed = stage(propose_model.ask_without_passages)(ctx, wave, asked, rollouts)
    replies = sampled(closed, {}) if closed is not None else []
    made: Manifest = stage(propose_model.accept)(ctx, wave, asked, rollouts, closed, replies)
    return made
