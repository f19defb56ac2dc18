"""Real small things to train on: a tiny model, kept rollouts of known text, their dataset and job."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ratoon import ids, schema
from ratoon.engine import Policy, Sampling
from ratoon.render import Renderer
from ratoon.sft.data import dataset, examples
from ratoon.sft.models import policy
from ratoon.sft.models.tiny import make_tiny
from ratoon.sft.training import job


def _tables(folder: Path, count: int, first: int = 0, iteration: int = 1) -> dict[str, pa.Table]:
    """Rollouts that all say the right sum and end their turn, with the tables around them."""
    renderer, sampling = Renderer(folder), Sampling(temperature=0.8, stop_token_ids=(258,))
    prompts, rollouts, groups, scores = [], [], [], []
    for i in range(first, first + count):
        messages = [{"role": "user", "content": f"{i} + {i % 7} = ?"}]
        task_id, (token_ids,) = ids.task_id(messages, str(i), "numeric", {}), renderer.render([messages])
        prompt_id = ids.prompt_id(task_id, "solver", "t", token_ids)
        group_id, text = ids.group_id(prompt_id, "m_0", sampling.sampling_id), "The answer is " + str(i + i % 7) + "!" * (i % 5)
        sampled = [*renderer.encode(text), renderer.end_of_turn_ids[0]]
        rollout_id = ids.rollout_id(prompt_id, "m_0", sampling.sampling_id, 0)
        where = {"task_id": task_id, "prompt_id": prompt_id, "group_id": group_id, "policy_id": "m_0", "iteration": iteration}
        prompts.append(
            {"prompt_id": prompt_id, "task_id": task_id, "role": "solver", "messages": messages, "token_ids": token_ids}
        )
        rollouts.append(where | {
            "rollout_id": rollout_id, "sampling_id": sampling.sampling_id, "role": "solver", "sample": 0, "text": text,
            "token_ids": sampled, "logprobs": [-0.5] * len(sampled), "logprob_source": "vllm", "loss_mask": [1] * len(sampled),
            "finish_reason": "stop",
        })  # fmt: skip
        groups.append(
            where | {"scorer": "numeric", "scorer_version": "1", "label_source": "verifier", "n": 4, "pass_rate": 0.25}
        )
        scores.append({"subject_kind": "rollout", "subject_id": rollout_id, "scorer": "numeric", "version": "1", "repeat": 0,
                       "status": "pass", "value": 1.0})  # fmt: skip
    rows = {"prompts": prompts, "rollouts": rollouts, "groups": groups, "scores": scores}
    samplings = schema.from_rows("samplings", [{"sampling_id": sampling.sampling_id} | sampling.row_fields()])
    return {name: schema.from_rows(name, values) for name, values in rows.items()} | {"samplings": samplings}


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return make_tiny(tmp_path / "models" / "tiny", seed=1)


@pytest.fixture
def tables(tiny: Path) -> Callable[..., dict[str, pa.Table]]:
    """`tables(count, first=0)`: that many kept rollouts, numbered from `first`, and the tables around them."""
    return functools.partial(_tables, tiny)


@pytest.fixture
def make_dataset(tmp_path: Path, tiny: Path) -> Callable[..., Path]:
    """Write RUN/datasets/default/<iteration>/ of `count` examples."""

    def make(count: int = 12, iteration: int = 1, first: int = 0, **changes: Any) -> Path:
        dataset_id = f"d_{iteration}_{first}"
        _, rows = examples.build(**_tables(tiny, count, first, iteration), dataset_id=dataset_id, **changes)
        return dataset.write_dataset(
            tmp_path, "default", iteration, rows, dataset.DatasetInfo(dataset_id, "default", iteration)
        )

    return make


@pytest.fixture
def make_job(tmp_path: Path, tiny: Path, make_dataset: Callable[..., Path]) -> Callable[..., job.Job]:
    """A job on the tiny model; keywords are fields of `[train]`."""
    base = policy.as_policy(policy.base_manifest(tiny, "k", "t"), tiny)

    def make(
        datasets: list[Path] | None = None, seed: int = 0, last: Policy | None = None, out: Path | None = None, **fields: Any
    ) -> job.Job:
        config = job.TrainConfig(**({"learning_rate": 3e-3, "batch_size": 4, "threads": 1} | fields))
        return job.plan(
            config, root=tmp_path, base=base, last=last or base, datasets=datasets or [make_dataset()], seed=seed, iteration=1,
            tokenizer_digest="k", template_digest="t", out=out,
        )  # fmt: skip

    return make


def _group_rows(folder: Path, groups: int, k: int, right: int, sampler: str, **changes: Any) -> pa.Table:
    """Rows of whole groups, `right` of each `k` rollouts right; a keyword replaces a column by a list or one value."""
    renderer, rows = Renderer(folder), []
    for g in range(groups):
        messages = [{"role": "user", "content": f"{g} + {g % 7} = ?"}]
        (prompt,) = renderer.render([messages])
        for i in range(k):
            text = f"{g + g % 7}" + "." * i if i < right else f"{g + i}" + "?" * i
            sampled = [*renderer.encode(text), renderer.end_of_turn_ids[0]]
            rows.append({
                "example_id": f"e_{g:03d}_{i:02d}", "rollout_id": f"r_{g:03d}_{i:02d}", "view": "group", "split": "train",
                "weight": 1.0, "task_id": f"t_{g:03d}", "group_id": f"g_{g:03d}", "policy_id": sampler, "iteration": 1,
                "prompt": messages, "completion": [{"role": "assistant", "content": text}], "prompt_token_ids": prompt,
                "token_ids": sampled, "loss_mask": [1] * len(sampled), "logprobs": [-5.5] * len(sampled),
                "logprob_source": "transformers", "temperature": 1.0, "label": i < right, "pass_rate": right / k, "n": k,
                "label_source": "verifier",
            })  # fmt: skip
    table = pa.Table.from_pylist(rows, schema=examples.ROWS)
    for name, value in changes.items():
        column = pa.array(value if isinstance(value, list) else [value] * len(rows))
        table = table.set_column(table.schema.get_field_index(name), name, column)
    return table


@pytest.fixture
def group_rows(tiny: Path) -> Callable[..., pa.Table]:
    """`group_rows(groups=6, k=4, right=1, **columns)`: whole groups sampled, as they say, by the tiny model."""
    policy_id = policy.base_manifest(tiny, "k", "t").policy_id

    def make(groups: int = 6, k: int = 4, right: int = 1, **changes: Any) -> pa.Table:
        return _group_rows(tiny, groups, k, right, policy_id, **changes)

    return make
