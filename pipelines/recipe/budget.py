"""`[budget]`: what a run may spend, and what tokens cost. Every field is operational: a budget changes no digest."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import dataclass
from typing import Self

from pydantic import Field, model_validator

from ratoon.config import Config, operational
from ratoon.store.journal import Journal
from ratoon.store.store import Manifest, Store


class PriceConfig(Config):
    """The price table, per million tokens, in whatever currency; a price that is not given is not known, and no cost is."""

    prompt: float | None = operational(None, ge=0, description="price of a million prompt tokens")
    sampled: float | None = operational(None, ge=0, description="price of a million sampled tokens")
    cached: float | None = operational(
        None, ge=0, description="price of a million prompt tokens that the server had cached; absent: as any other"
    )
    trained: float = operational(0.0, ge=0, description="price of a million trained tokens")

    @property
    def known(self) -> bool:
        return self.prompt is not None and self.sampled is not None

    def cost(self, prompt: int, sampled: int, trained: int = 0, cached: int = 0) -> float | None:
        """What so many tokens cost, `cached` of the prompt's among them; null where a price is not known."""
        if self.prompt is None or self.sampled is None:
            return None
        a_cached = self.prompt if self.cached is None else self.cached
        prompts = (prompt - cached) * self.prompt + cached * a_cached
        return (prompts + sampled * self.sampled + trained * self.trained) / 1e6


class BudgetConfig(Config):
    """Limits that end a run cleanly with exit code 3. A run that goes on counts what it spent before."""

    max_tokens: int | None = operational(None, ge=0, description="prompt and sampled tokens of the whole run; absent: no limit")
    max_cost: float | None = operational(None, ge=0, description="cost of the whole run, by `prices`; absent: no limit")
    max_time_s: float | None = operational(None, ge=0, description="seconds of one start; absent: no limit")
    prices: PriceConfig = Field(PriceConfig(), description="what tokens cost")

    @model_validator(mode="after")
    def _priced(self) -> Self:
        if self.max_cost is not None and not self.prices.known:
            raise ValueError("max_cost needs budget.prices.prompt and budget.prices.sampled, per million tokens")
        return self


@dataclass
class Spent:
    """Tokens paid for; `cached` are prompt tokens that a server had at hand."""

    prompt: int = 0
    sampled: int = 0
    trained: int = 0
    cached: int = 0

    @property
    def tokens(self) -> int:
        """What `max_tokens` limits."""
        return self.prompt + self.sampled

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            self.prompt + other.prompt,
            self.sampled + other.sampled,
            self.trained + other.trained,
            self.cached + other.cached,
        )

    def __sub__(self, other: Spent) -> Spent:
        return self + Spent(-other.prompt, -other.sampled, -other.trained, -other.cached)

    def cost(self, prices: PriceConfig) -> float | None:
        """What it cost; null where a price is not known."""
        return prices.cost(self.prompt, self.sampled, self.trained, self.cached)


def paid(manifest: Manifest) -> Spent:
    """The tokens that one artifact took: a retried shard paid only for what it asked again."""
    counts = manifest.counts
    told = manifest.extra.get("paid", (counts.prompt_tokens, counts.sampled_tokens))
    prompt, sampled, cached = (*map(int, told), 0)[:3]  # runs of before told no cached tokens
    return Spent(prompt, sampled, counts.trained_tokens, cached)


def spent(store: Store) -> Spent:
    """The tokens a run paid for so far: those of every artifact its log ever added, and of unfinished shards' journals."""
    known = {m.artifact_id: m for m in store.history()}
    total = sum(map(paid, known.values()), Spent())
    for path in store.root.glob("journal/*.log"):
        if path.stem not in known:
            total = sum((_of_record(record) for record in Journal(path).records()), total)
    return total


def _of_record(record: dict[str, object]) -> Spent:
    usage = record.get("usage")
    if isinstance(usage, dict):
        return Spent(usage["prompt"], usage["sampled"], cached=usage["cached"])
    ids, prompt = record.get("ids"), record.get("p")
    return Spent(prompt if isinstance(prompt, int) else 0, len(b64decode(ids)) // 4 if isinstance(ids, str) else 0)
