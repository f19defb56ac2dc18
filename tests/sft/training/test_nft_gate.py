"""What a dataset says of its sources decides whether NFT may touch it; every refusal names the values and the way out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ratoon.engine import Policy
from ratoon.errors import TrainError
from ratoon.sft.data import dataset
from ratoon.sft.models import policy
from ratoon.sft.training.job import Job, TrainConfig, plan
from ratoon.sft.training.nft_gate import bent
from ratoon.sft.training.selection import training_rows

Make = Callable[..., Job]
FREE = {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "min_p": 0.0, "presence_penalty": 0.0, "frequency_penalty": 0.0,
        "repetition_penalty": 1.0}  # fmt: skip


@pytest.fixture
def nft_job(tmp_path: Path, tiny: Path, group_rows: Callable[..., pa.Table]) -> Make:
    """`nft_job(rows=…, nft={…}, iteration=1, policies=…, samplings=…)`: a job on six groups, their sources as said."""
    base = policy.as_policy(policy.base_manifest(tiny, "k", "t"), tiny)
    made = {"policy_id": base.policy_id, "iteration": 0, "weights_digest": policy.weights_digest(tiny),
            "tokenizer_digest": "k", "template_digest": "t"}  # fmt: skip

    def make(
        rows: dict[str, Any] | None = None, nft: dict[str, Any] | None = None, iteration: int = 1, start: Policy = base,
        sampler: dict[str, Any] | None = None, **sources: Any,
    ) -> Job:  # fmt: skip
        said = {"policies": [made | (sampler or {})], "samplings": [FREE]} | sources
        table = group_rows(**(rows or {}))
        folder = dataset.write_dataset(tmp_path, "default", 1, table, dataset.DatasetInfo("d_1", "default", 1, sources=said))
        return plan(
            TrainConfig(method="nft", nft=nft or {}), root=tmp_path, base=base, last=start, datasets=[folder], seed=0,
            iteration=iteration, tokenizer_digest="k", template_digest="t",
        )  # fmt: skip

    return make


def test_groups_that_the_start_sampled_from_its_own_softmax_pass(nft_job: Make) -> None:
    assert training_rows(nft_job()).rows.num_rows == 24


def test_the_same_weights_under_another_policy_id_are_the_same_policy(nft_job: Make) -> None:
    elsewhere = {"rows": {"policy_id": "m_copy"}, "sampler": {"policy_id": "m_copy"}}
    assert training_rows(nft_job(**elsewhere)).rows.num_rows == 24


@pytest.mark.parametrize(("changes", "told", "way_out"), [
    ({"rows": {"policy_id": "m_2"}, "sampler": {"policy_id": "m_2", "weights_digest": "ffff"}}, "m_2 .* ffff", "--model"),
    ({"sampler": {"tokenizer_digest": "other"}}, "tokenizer other, and the model to train has tokenizer k", "its tokenizer"),
    ({"sampler": {"template_digest": "other"}}, "template other, and the model to train has template t", "chat template"),
    ({"samplings": [FREE, FREE | {"top_p": 0.9}]}, r"top_p = 0\.9", r"\[sampling\]"),
    ({"samplings": [FREE | {"top_k": 40}]}, "top_k = 40", "rft"),
    ({"samplings": [FREE | {"min_p": 0.1}]}, r"min_p = 0\.1", "rft"),
    ({"samplings": [FREE | {"repetition_penalty": 1.1}]}, r"repetition_penalty = 1\.1", "rft"),
    ({"samplings": [FREE | {"presence_penalty": 0.5, "frequency_penalty": 0.1}]}, "presence_penalty = 0.5, frequency", "rft"),
    ({"constrained": 3}, "3 rollouts were sampled under a grammar or schema", "verifier"),
    ({"stop_rules": ["curtail"]}, r"stop rule ended them \(curtail\)", "generate.n"),
    ({"label_sources": ["consensus"], "vote_threshold": 0.5}, "negative_weight is 1.0", "0.5 or less"),
    ({"label_sources": ["consensus"], "nft": {"negative_weight": 0.5}}, "threshold is not set", "consensus.share"),
])  # fmt: skip
def test_what_the_loss_does_not_hold_for_is_refused(nft_job: Make, changes: dict[str, Any], told: str, way_out: str) -> None:
    with pytest.raises(TrainError, match=told) as caught:
        training_rows(nft_job(**changes))
    assert way_out.replace("\\", "") in caught.value.hint


def test_votes_above_a_threshold_teach_gently(nft_job: Make) -> None:
    votes = {"label_sources": ["consensus"], "vote_threshold": 0.6, "nft": {"negative_weight": 0.5}}
    assert training_rows(nft_job(**votes)).rows.num_rows == 24


def test_groups_older_than_the_cap_are_left_out_and_those_within_it_need_no_equal_weights(nft_job: Make) -> None:
    old = {"rows": {"policy_id": "m_old"}, "sampler": {"policy_id": "m_old", "weights_digest": "ffff"}, "iteration": 3}
    with pytest.raises(TrainError, match="more than 1 policies before"):  # sampled in round 1, trained in round 3
        training_rows(nft_job(**old, nft={"max_staleness": 1}))
    assert training_rows(nft_job(**old, nft={"max_staleness": 2})).rows.num_rows == 24


def test_a_cap_does_not_excuse_another_policy_of_no_known_round(nft_job: Make) -> None:
    other = {"rows": {"policy_id": "m_2"}, "sampler": {"policy_id": "m_2", "weights_digest": "ffff", "iteration": None}}
    with pytest.raises(TrainError, match="weights ffff"):
        training_rows(nft_job(**other, nft={"max_staleness": 5}))


def test_a_dataset_of_rft_says_how_to_make_groups_of_it(nft_job: Make) -> None:
    with pytest.raises(TrainError, match="curated for rft") as caught:
        training_rows(nft_job(rows={"view": "sft"}))
    assert "ratoon curate" in caught.value.hint


def test_what_is_not_known_of_a_sampling_bends_nothing() -> None:
    assert bent(dict.fromkeys(FREE)) == bent(FREE) == bent({}) == []
    assert bent(FREE | {"temperature": 0}) == ["temperature = 0"]
