"""The `[train]` config and the identity of what it makes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ratoon.config import parse
from ratoon.engine import Policy
from ratoon.errors import ConfigError, DataError, TrainError
from ratoon.sft.training.job import Job, TrainConfig, plan, replay_share


def test_a_job_travels_as_json(make_job: Callable[..., Job]) -> None:
    job = make_job(lora={"rank": 4}, data="replay(.25)")
    assert Job.from_json(job.to_json()) == job


def test_a_policys_id_depends_on_what_is_computed_and_not_on_how_fast(
    make_job: Callable[..., Job], make_dataset: Callable[..., Path]
) -> None:
    data = [make_dataset()]
    same = {
        make_job(data, **fields).policy_id
        for fields in ({}, {"threads": 2}, {"micro_batch_tokens": 64}, {"checkpoint_every": 1})
    }
    assert len(same) == 1
    others = [make_job(data, epochs=3), make_job(data, seed=1), make_job([make_dataset(13, iteration=2)])]
    others.append(make_job(data, start="last", last=Policy("m_last", "/nowhere")))
    assert len(same | {job.policy_id for job in others}) == 5


def test_this_takes_the_last_dataset_and_all_takes_every_one(
    make_job: Callable[..., Job], make_dataset: Callable[..., Path]
) -> None:
    rounds = [make_dataset(9), make_dataset(9, iteration=2, first=9)]
    assert make_job(rounds).datasets == (str(rounds[1].resolve()),)
    assert make_job(rounds, data="all").datasets == tuple(str(folder.resolve()) for folder in rounds)


@pytest.mark.parametrize("data", ["that", "replay", "replay(0)", "replay(0.0)", "replay(1)", "replay(1.5)", "replay(.3) "])
def test_an_unknown_mix_is_refused(data: str) -> None:
    with pytest.raises(ConfigError, match="replay"):
        parse(TrainConfig, {"data": data}, "[train]")


@pytest.mark.parametrize(("data", "share"), [("replay(0.3)", 0.3), ("replay(.25)", 0.25), ("all", None), ("this", None)])
def test_a_replay_share_is_read(data: str, share: float | None) -> None:
    assert replay_share(TrainConfig(data=data).data) == share


def test_a_folder_that_is_no_dataset_and_no_dataset_at_all_are_refused(tmp_path: Path) -> None:
    base = Policy("m_0", str(tmp_path))
    rest = {
        "root": tmp_path,
        "base": base,
        "last": base,
        "seed": 0,
        "iteration": 1,
        "tokenizer_digest": "k",
        "template_digest": "t",
    }
    with pytest.raises(TrainError, match="no dataset"):
        plan(TrainConfig(), datasets=[], **rest)
    with pytest.raises(DataError, match="no dataset folder"):
        plan(TrainConfig(), datasets=[tmp_path], **rest)


def test_what_a_method_does_not_use_changes_no_policys_id(
    make_job: Callable[..., Job], make_dataset: Callable[..., Path]
) -> None:
    data = [make_dataset()]
    plain = make_job(data)
    assert make_job(data, nft={"negative_clip": 0.1}).policy_id == plain.policy_id
    assert make_job(data, method=["rft", "nft"]).policy_id == plain.policy_id
    assert make_job(data, method="nft").policy_id != make_job(data, method="nft", nft={"negative_clip": 0.1}).policy_id
    assert make_job(data, steps=3).policy_id != plain.policy_id


def test_a_schedule_names_the_method_of_each_round_and_its_last_repeats() -> None:
    config = TrainConfig(method=["rft", "nft"])
    assert [config.in_round(i).method for i in (1, 2, 3, 9)] == ["rft", "nft", "nft", "nft"]
    assert config.uses("nft")
    assert not TrainConfig().uses("nft")
    with pytest.raises(ConfigError, match="at least one round"):
        parse(TrainConfig, {"method": []}, "[train]")


def test_nft_starts_from_the_policy_that_sampled_whatever_start_says(
    make_job: Callable[..., Job], make_dataset: Callable[..., Path]
) -> None:
    data, last = [make_dataset()], Policy("m_last", "/nowhere")
    assert make_job(data, method="nft", start="base", last=last).parent_policy_id == "m_last"
    assert make_job(data, method="rft", start="base", last=last).parent_policy_id != "m_last"
