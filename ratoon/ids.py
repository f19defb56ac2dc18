"""Ids and seeds, both by hashing; nothing here knows what a row means beyond its coordinates.

An id is a letter for its kind, `_`, and 24 hex digits of BLAKE2b over canonical content, so that the same
content has the same id on every machine and a reader of `ratoon explain RUN ID` sees what it names.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

KINDS = {
    "task": "t",
    "prompt": "p",
    "sampling": "s",
    "policy": "m",
    "group": "g",
    "rollout": "r",
    "example": "e",
    "dataset": "d",
    "curation": "c",
    "artifact": "a",
    "run": "x",
}
_SEPARATOR = "\x1f"


def canonical_json(value: Any) -> str:
    """JSON with sorted keys, no spaces, no NaN: equal content is equal text. Raises ValueError on NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """32 hex digits over the canonical JSON of `value`."""
    return blake2b(canonical_json(value).encode(), digest_size=16).hexdigest()


def _id(kind: str, *parts: str | int) -> str:
    text = _SEPARATOR.join(map(str, parts))
    return f"{KINDS[kind]}_{blake2b(text.encode(), digest_size=12).hexdigest()}"


def task_id(
    messages: Sequence[dict[str, Any]], answer: str | None, verifier: str | None, verifier_args: Any, tools: str | None = None
) -> str:
    """A task is its messages (`messages.compact`), answer, verifier, the verifier's arguments, and its tools if it has any."""
    parts = [list(messages), answer, verifier, verifier_args]
    return _id("task", canonical_json(parts if tools is None else [*parts, tools]))


def prompt_id(
    task_id: str, role: str, template_digest: str, token_ids: Sequence[int], parent_rollout_id: str | None = None
) -> str:
    """A prompt is a task as one role sees it: the rendered token ids under one template, after one parent rollout."""
    return _id("prompt", task_id, role, template_digest, parent_rollout_id or "", ",".join(map(str, token_ids)))


def sampling_id(fields: dict[str, Any]) -> str:
    """A sampling is every field of it."""
    return _id("sampling", canonical_json(fields))


def group_id(prompt_id: str, policy_id: str, sampling_id: str) -> str:
    """A group is one prompt asked of one policy under one sampling."""
    return _id("group", prompt_id, policy_id, sampling_id)


def rollout_id(prompt_id: str, policy_id: str, sampling_id: str, sample: int) -> str:
    """A rollout is its coordinates, never its text."""
    return _id("rollout", prompt_id, policy_id, sampling_id, sample)


def policy_id(parent_policy_id: str | None, dataset_digest: str | None, train_config: Any, seed: int) -> str:
    """A policy is its parent, its data's content, the semantic training config and the seed.

    The base has no parent and no data; `train_config` is then its weights' and tokenizer's digests.
    """
    return _id("policy", parent_policy_id or "", dataset_digest or "", canonical_json(train_config), seed)


def example_id(dataset_id: str, view: str, rollout_ids: Sequence[str]) -> str:
    """An example is a view over rollouts inside one dataset."""
    return _id("example", dataset_id, view, *rollout_ids)


def content_id(kind: str, content: Any) -> str:
    """The id of anything else (artifact, curation, dataset): its kind and canonical content."""
    return _id(kind, canonical_json(content))


def derive_seed(run_seed: int, stage: str, item: str | int = "") -> int:
    """A seed below 2**63 for one item of one stage; changing one item never shifts another's."""
    text = _SEPARATOR.join(("seed", str(run_seed), stage, str(item)))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
