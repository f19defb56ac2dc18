"""Rows that say what a run stands on: its base policy, and each way it samples. Written once, found ever after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from ratoon import schema
from ratoon.engine import Policy, Sampling
from ratoon.errors import DataError
from ratoon.pipelines.runtime.context import Context
from ratoon.pipelines.runtime.stage import Built, key, run_stage
from ratoon.sft.models import policy as policies
from ratoon.store.store import Counts, Manifest


def base(ctx: Context, folder: Path | None = None, iteration: int = 0) -> tuple[Manifest, Policy]:
    """The row of a policy that no training here made: the digests of its weights, tokenizer and template make its id."""
    folder = folder or ctx.model_folder
    renderer = ctx.renderer
    found = policies.base_manifest(folder, renderer.tokenizer_digest, renderer.template_digest)
    row = schema.from_rows("policies", [found.row(ctx.relative(folder)) | {"iteration": iteration}])
    manifest = run_stage(
        ctx.store, key("base", iteration, config=found.policy_id), lambda: Built({"policies": row}, Counts(1, 1))
    )
    return manifest, Policy(found.policy_id, str(folder), iteration, "base")


def sampling(ctx: Context, fields: dict[str, Any], sampling_id: str) -> Manifest:
    """The row of one sampling; samplings are never replaced."""
    row = schema.from_rows("samplings", [fields | {"sampling_id": sampling_id}])
    return run_stage(
        ctx.store, key("sampling", None, sampling_id, config=fields), lambda: Built({"samplings": row}, Counts(1, 1))
    )


def sampling_of(ctx: Context, sampling_id: str) -> Sampling:
    """The recorded sampling of that id. Raises DataError where the run has none."""
    rows = ctx.store.read("samplings")
    found = rows.filter(pc.equal(rows["sampling_id"], sampling_id)).to_pylist()
    if not found:
        raise DataError(f"no sampling {sampling_id} is recorded", "ratoon verify RUN tells which part is missing")
    return Sampling.of_row(found[0])
