"""A run in numbers: one row a round, read from the live tables; starts nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from ratoon import sql
from ratoon.pipelines.recipe.budget import PriceConfig, spent
from ratoon.pipelines.runtime.stage import shard_of
from ratoon.store.store import Manifest, Store

_EVALS = """
select e.iteration, e.metric, e.value, e.lo, e.hi, e.n_tasks, e.n_samples, e.policy_id, p.iteration as against
from evals e left join policies p on p.policy_id = e.against_policy_id
where e.suite = '{suite}' order by e.iteration, e.metric
"""


def rounds(store: Store, suite: str = "heldout") -> list[dict[str, Any]]:
    """One dict per iteration: what was asked, what passed, what was kept and trained, how the policy did.

    Rates are null where nothing was judged. `mixed` counts groups of right and wrong rollouts,
    of which the recipe wanted `mixed_wanted`;
    `retry` counts tasks that no rollout solved. `gain` is the paired difference of held-out pass@1 against the base,
    `step` against the policy before. `update_kept` is the share of the update that the written weights keep. `gate` is what
    the training gate said.
    """
    live = list(store.live().values())
    evals = sql.query(store, _EVALS.format(suite=suite.replace("'", "''"))).to_pylist()
    return [_round(store, live, evals, i) for i in sorted({m.key.iteration for m in live if m.key.iteration is not None})]


def _round(store: Store, live: list[Manifest], evals: list[dict[str, Any]], iteration: int) -> dict[str, Any]:
    here = [m for m in live if m.key.iteration == iteration]

    def of(stage: str, shard: str | None = None) -> list[Manifest]:
        return [m for m in here if m.key.stage == stage and shard in (None, m.key.shard)]

    train = [m for m in of("rollouts") if shard_of(m, "train")]
    groups = of("groups", "train")
    curated = of("curate", "default")
    policy = of("policy")
    mine = [e for e in evals if e["iteration"] == iteration and not str(e["policy_id"]).startswith("trivial")]
    return {
        "round": iteration,
        "tasks": sum(m.counts.rows_out for m in of("assign") if (m.shard or "").partition("+")[0] == "train") or None,
        "proposed": sum(m.counts.rows_out for m in of("propose")) if of("propose") else None,
        "rollouts": sum(m.counts.rows_planned for m in train) or None,
        "pass_rate": _pass_rate(store, groups),
        "mixed": sum(m.extra["mixed"] for m in groups) if groups and "mixed" in groups[0].extra else None,
        "mixed_wanted": groups[0].extra.get("wanted") if groups else None,
        "retry": sum(m.rows("state") for m in curated) if any("state" in m.digests for m in curated) else None,
        "accepted": sum(int(m.extra.get("passed", 0)) for m in of("scores") if shard_of(m, "train")) if train else None,
        "kept": sum(m.counts.rows_out for m in curated) if curated else None,
        "cost": _cost(here),
        "sampled_tokens": sum(m.counts.sampled_tokens for m in of("rollouts")),
        "trained_tokens": sum(m.counts.trained_tokens for m in policy) if policy else None,
        "update_kept": policy[0].extra.get("update_kept") if policy else None,
        "pass@1": _metric(mine, "pass@1"),
        "finished": _metric(mine, "finished_share"),
        "gain": _metric(mine, "pass@1_diff", 0) if iteration else None,
        "step": _metric(mine, "pass@1_diff", iteration - 1) if iteration else None,
        "gate": _gate(store, of("gate")),
    }


def _pass_rate(store: Store, groups: list[Manifest]) -> float | None:
    if not groups:
        return None
    table = store.read("groups", groups, columns=["n_passed", "n_valid"])
    valid = sum(v or 0 for v in table["n_valid"].to_pylist())
    return sum(v or 0 for v in table["n_passed"].to_pylist()) / valid if valid else None


def _gate(store: Store, made: list[Manifest]) -> str | None:
    """`passed`, or what was refused or overridden before training; null where no gate was."""
    found = {row["key"]: json.loads(row["value"])["outcome"] for row in store.read("state", made).to_pylist()} if made else {}
    if not found:
        return None
    said = [f"{outcome}: {reason}" for reason, outcome in sorted(found.items()) if outcome in ("refused", "overridden")]
    return ", ".join(said) or "passed"


def _metric(evals: list[dict[str, Any]], metric: str, against: int | None = None) -> dict[str, Any] | None:
    """One metric's value and interval, or null when it was not computed."""
    for row in evals:
        if row["metric"] == metric and (against is None or row["against"] == against):
            return {name: row[name] for name in ("value", "lo", "hi", "n_tasks", "n_samples")}
    return None


def _cost(manifests: Iterable[Manifest]) -> float | None:
    """The cost of artifacts by the prices they were made under; null where no price was known."""
    known = [m.counts.cost for m in manifests if m.counts.cost is not None]
    return sum(known) if known else None


def spending(store: Store) -> dict[str, Any]:
    """Tokens that were paid for over the whole run, replaced artifacts and unfinished shards too, and their cost today."""
    budget = store.config().get("budget", {})
    prices = PriceConfig(**budget.get("prices", {}))
    total = spent(store)
    return {"prompt_tokens": total.prompt, "sampled_tokens": total.sampled, "trained_tokens": total.trained,
            "cost": total.cost(prices),
            "max_tokens": budget.get("max_tokens"), "max_cost": budget.get("max_cost")}  # fmt: skip


def stages(store: Store) -> list[dict[str, Any]]:
    """One dict per iteration and stage: shards, rows, yield (rows out of those planned), tokens, seconds of work, cost."""
    rows: dict[tuple[int, str], dict[str, Any]] = {}
    costs: dict[tuple[int, str], list[Manifest]] = {}
    for m in store.live().values():
        at = (m.iteration or 0, m.stage)
        costs.setdefault(at, []).append(m)
        row = rows.setdefault(at, {"iteration": at[0], "stage": at[1]} | dict.fromkeys(_COUNTED, 0))
        counts = m.counts
        found = (1, counts.rows_planned, counts.rows_out, counts.dropped, counts.failed, counts.sampled_tokens,
                 counts.trained_tokens, counts.seconds)  # fmt: skip
        for name, value in zip(_COUNTED, found, strict=True):
            row[name] += value
    more = {at: {"seconds": round(row["seconds"], 1), "yield": row["out"] / row["planned"] if row["planned"] else None,
                 "cost": _cost(costs[at])} for at, row in rows.items()}  # fmt: skip
    return [row | more[at] for at, row in sorted(rows.items(), key=lambda item: item[0][0])]


_COUNTED = ("shards", "planned", "out", "dropped", "failed", "sampled_tokens", "trained_tokens", "seconds")


_HEADLINES = {
    "pass": ("quality.pass_rate_corrected", "quality.pass_rate"), "difficulty": ("complexity.difficulty",),
    "steps": ("complexity.steps",), "duplicates": ("diversity.duplicates",), "gzip": ("diversity.compression_gzip",),
    "vendi": ("diversity.vendi",), "rke": ("diversity.rke",), "clusters": ("diversity.clusters",),
    "alpha": ("diversity.alpha",), "beta": ("diversity.beta",), "novelty": ("diversity.novelty",),
}  # fmt: skip


def headlines(store: Store) -> list[dict[str, Any]]:
    """One dict per round and per dataset: quality, diversity and complexity, each a value with its interval and n, or null.

    `rollouts` is how many there are; the pass rate is the corrected one where the verifier was measured.
    """
    measured = store.find("measure")
    table = store.read("measures", measured, ["scope_kind", "scope_id", "iteration", "metric", "value", "lo", "hi", "n"])
    scopes: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}
    for row in table.to_pylist():
        at = (row["iteration"], row["scope_kind"] == "dataset", row["scope_id"])
        scopes.setdefault(at, {})[row["metric"]] = {name: row[name] for name in ("value", "lo", "hi", "n")}
    return [
        {"round": at[0], "of": "dataset" if at[1] else "round", "id": at[2],
         "rollouts": found.get("complexity.chars", {}).get("n"),
         **{name: next((found[m] for m in metrics if m in found), None) for name, metrics in _HEADLINES.items()}}
        for at, found in sorted(scopes.items(), key=lambda item: item[0])
    ]  # fmt: skip
