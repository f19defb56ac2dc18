"""One stage: find its live artifact or build it and commit; knows no table's meaning.

What makes an artifact what it is goes into its key. A slot is (stage, iteration, shard): when a slot's artifact changes,
the old one and everything made from it leave the live set in the same commit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from ratoon.store.store import ArtifactKey, Counts, Manifest, Store

# Raise a stage's version when its code changes what it writes: its artifacts are then made anew.
VERSIONS = {
    "tasks": "1", "prompts": "1", "base": "1", "sampling": "1", "assign": "1", "rollouts": "1", "scores": "1",
    "groups": "1", "calibrate": "1", "curate": "1", "policy": "1", "evals": "2", "verifiers": "1", "override": "1",
    "ask": "1", "propose": "1", "judge": "1", "judged": "1", "appeal": "1", "appealed": "1",
    "lint": "1", "near": "1", "embed": "1", "like": "1", "matched": "1", "benchmarks": "1", "review": "1",
    "map": "1", "measure": "1", "gate": "1", "bare": "1",
}  # fmt: skip


# One artifact or several of a kind: a round is asked the tasks of the recipe and those that models proposed.
Manifests = Manifest | Sequence[Manifest]


def several(manifests: Manifests) -> list[Manifest]:
    """As a list."""
    return [manifests] if isinstance(manifests, Manifest) else list(manifests)


@dataclass(frozen=True)
class Built:
    """What a stage made: its tables, its row and token counts, and free facts for the manifest."""

    tables: dict[str, pa.Table]
    counts: Counts
    extra: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, table: str, rows: pa.Table, extra: dict[str, Any] | None = None, **more: pa.Table) -> Built:
        """The result of a stage whose rows are those of one table; `more` are tables beside it."""
        return cls({table: rows, **more}, Counts(rows.num_rows, rows.num_rows), extra or {})


def key(
    stage: str,
    iteration: int | None,
    shard: str | None = None,
    *,
    config: Any = None,
    inputs: Mapping[str, str] | Iterable[Manifest] = (),
    versions: Mapping[str, str] | None = None,
) -> ArtifactKey:
    """The key of an artifact; `inputs` are manifests, or digests by artifact id where only a part of an input counts."""
    digests = dict(inputs) if isinstance(inputs, Mapping) else {m.artifact_id: m.content_digest for m in inputs}
    return ArtifactKey(
        stage=stage, iteration=iteration, shard=shard, config=config, inputs=digests,
        versions={stage: VERSIONS[stage], **(versions or {})},
    )  # fmt: skip


def run_stage(store: Store, wanted: ArtifactKey, build: Callable[[], Built], *, why: str = "") -> Manifest:
    """The artifact of `wanted`: live, removed once and added back, or made by `build`; what it replaces goes in its commit."""
    found = store.get(wanted.artifact_id)
    if found is not None:
        return found
    stale = replaced(store, wanted)
    revived = store.revive(wanted.artifact_id, remove=stale, why=f"{describe(wanted)} again")
    if revived is not None:
        return revived
    built = build()
    made = store.put(wanted, built.tables, built.counts, extra=built.extra, remove=stale, why=why or describe(wanted))
    del built
    release()
    return made


def release() -> None:
    """Give back what Arrow keeps of the memory it once used: the next stage's peak would come on top of it."""
    pa.default_memory_pool().release_unused()


def describe(wanted: ArtifactKey) -> str:
    """A stage as a person names it: `rollouts 2 train-0001`."""
    return " ".join(str(part) for part in (wanted.stage, wanted.iteration, wanted.shard) if part is not None)


def replaced(store: Store, wanted: ArtifactKey) -> list[str]:
    """Live artifacts in the slot of `wanted`, and all that was made from them."""
    slot = (wanted.stage, wanted.iteration, wanted.shard)
    live = store.live()
    gone = {id for id, m in live.items() if (m.key.stage, m.key.iteration, m.key.shard) == slot and id != wanted.artifact_id}
    return sorted(with_descendants(live, gone))


def with_descendants(live: Mapping[str, Manifest], gone: set[str]) -> set[str]:
    """`gone` and every live artifact with an input in it, at any remove. Inputs precede their users in commit order."""
    gone = set(gone)
    for artifact_id, manifest in live.items():
        if gone.intersection(manifest.key.inputs):
            gone.add(artifact_id)
    return gone


def shard_of(manifest: Manifest, purpose: str) -> bool:
    """Whether an artifact is a numbered shard of exactly this purpose: `suite-a-hard-0001` is none of `suite-a`'s."""
    return (manifest.shard or "").rpartition("-")[0] == purpose


def drop_extra(store: Store, stage: str, iteration: int, purpose: str, keep: Iterable[str]) -> None:
    """Remove live shards of a stage and purpose that the present config no longer plans."""
    live, wanted = store.live(), set(keep)
    extra = {
        id for id, m in live.items()
        if m.key.stage == stage and m.key.iteration == iteration and shard_of(m, purpose) and id not in wanted
    }  # fmt: skip
    if extra:
        store.commit(add=[], remove=sorted(with_descendants(live, extra)), why=f"{stage} {iteration}: no longer planned")
