"""What NFT refuses to train on, and how groups keep their balance when they lose rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratoon.errors import DataError, Stopped, TrainError
from ratoon.sft.data import dataset
from ratoon.sft.training import job, launch
from ratoon.sft.training.job import TrainConfig
from ratoon.sft.training.nft_rows import check_rows, mixed, reweight, without
from ratoon.sft.training.selection import training_rows

Rows = Callable[..., pa.Table]
_NFT = TrainConfig(method="nft")
_COUNT = 24  # rows of six groups of four


def _but_last(value: Any, last: Any) -> list[Any]:
    return [value] * (_COUNT - 1) + [last]


def test_whole_mixed_groups_pass(group_rows: Rows) -> None:
    check_rows(group_rows(), _NFT)
    check_rows(group_rows(label=[int(i % 4 == 0) for i in range(_COUNT)]), _NFT)


def test_rows_without_policy_and_log_probs_pass_where_the_user_vouches_for_them(group_rows: Rows) -> None:
    rows = group_rows(policy_id=[None] * _COUNT, logprobs=[None] * _COUNT)
    vouched = TrainConfig(method="nft", nft={"assume_on_policy": True})
    check_rows(rows, vouched)
    with pytest.raises(DataError, match="no policy_id") as caught:
        check_rows(rows, _NFT)
    assert "assume_on_policy" in caught.value.hint
    with pytest.raises(DataError, match="no label"):
        check_rows(group_rows(label=[None] * _COUNT), vouched)


@pytest.mark.parametrize(("column", "value", "told"), [
    ("policy_id", _but_last("m_1", "m_2"), "g_005 .* unlike policy_id"),
    ("temperature", _but_last(1.0, 0.7), "unlike temperature"),
    ("pass_rate", _but_last(0.25, 0.5), "unlike pass_rate"),
    ("prompt_token_ids", _but_last([1, 2], [1, 3]), "unlike"),
    ("logprobs", [None] * _COUNT, "24 of 24 rows have no logprobs, such as e_000_00"),
    ("logprobs", [[-0.5]] * _COUNT, "number of logprobs than"),
    ("loss_mask", [[1]] * _COUNT, "number of loss_mask than"),
    ("label", [1 if i % 4 == 0 else -1 for i in range(_COUNT)], "18 of 24 rows have a label other than 0 and 1"),
    ("label", [i % 4 < 2 for i in range(_COUNT)], "labels give another pass rate"),
    ("pass_rate", [None] * _COUNT, "no pass_rate"),
    ("pass_rate", [math.nan] * _COUNT, "pass rate outside"),
    ("pass_rate", [1.25] * _COUNT, "pass rate outside"),
    ("pass_rate", [0.0] * _COUNT, "label that their pass rate rules out"),
    ("temperature", [math.nan] * _COUNT, "not finite"),
    ("temperature", [0.0] * _COUNT, "temperature 0"),
    ("weight", [math.nan] * _COUNT, "weight"),
    ("token_ids", [None] * _COUNT, "no token_ids"),
])  # fmt: skip
def test_rows_that_would_train_the_wrong_thing_are_refused(group_rows: Rows, column: str, value: Any, told: str) -> None:
    with pytest.raises(DataError, match=told) as caught:
        check_rows(group_rows(**{column: value}), _NFT)
    assert caught.value.hint


@pytest.mark.parametrize(("junk", "told"), [(0.01, "above 0"), (math.nan, "NaN"), (-math.inf, "infinite"), (None, "null")])
def test_a_single_impossible_log_prob_is_refused_and_one_rounded_above_zero_is_not(
    group_rows: Rows, junk: float | None, told: str
) -> None:
    logprobs = group_rows()["logprobs"].to_pylist()
    check_rows(group_rows(logprobs=[*logprobs[:-1], [1e-7, *logprobs[-1][1:]]]), _NFT)
    with pytest.raises(DataError, match=f"1 of 24 rows .*{told}.*e_005_03"):
        check_rows(group_rows(logprobs=[*logprobs[:-1], [junk, *logprobs[-1][1:]]]), _NFT)


def test_unlike_samplings_in_a_group_are_refused_where_the_rows_name_them(group_rows: Rows) -> None:
    rows = group_rows().append_column("sampling_id", pa.array(_but_last("s_1", "s_2")))
    with pytest.raises(DataError, match="unlike sampling_id"):
        check_rows(rows, _NFT)


@pytest.mark.parametrize("right", [0, 4])
def test_a_dataset_whose_every_group_is_all_right_or_all_wrong_is_refused(group_rows: Rows, right: int) -> None:
    with pytest.raises(DataError, match="each of the 6 groups is all right or all wrong") as caught:
        check_rows(group_rows(right=right), _NFT)
    assert "rft" in caught.value.hint


def test_solved_and_hopeless_groups_are_left_out_beside_mixed_ones(group_rows: Rows) -> None:
    rows = pa.concat_tables([group_rows(groups=2, right=r) for r in (0, 4)])
    other = group_rows(groups=9).slice(8)
    rows = pa.concat_tables([rows.slice(0, 4), rows.slice(12, 4), other])
    check_rows(rows, _NFT)
    assert set(mixed(rows)["group_id"].to_pylist()) == {f"g_{i:03d}" for i in range(2, 9)}


@given(st.data())
def test_left_out_rows_are_made_up_for_by_the_rest_of_their_side(data: st.DataObject) -> None:
    k = data.draw(st.integers(2, 8))
    groups = data.draw(st.integers(1, 4))
    right = data.draw(st.integers(1, k - 1))
    labels = np.array([i < right for _ in range(groups) for i in range(k)])
    ids = [f"g_{g}" for g in range(groups) for _ in range(k)]
    rows = pa.table({"group_id": ids, "label": labels, "weight": np.ones(len(ids))})
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=len(ids), max_size=len(ids))))
    weight, kept = reweight(rows, keep)
    assert not (kept & ~keep).any()
    for g in range(groups):
        mine = kept & (np.array(ids) == f"g_{g}")
        if mine.any():
            assert weight[mine & labels].sum() == pytest.approx(right)
            assert weight[mine & ~labels].sum() == pytest.approx(k - right)
        else:
            of_group = np.array(ids) == f"g_{g}"
            assert not (keep & of_group & labels).any() or not (keep & of_group & ~labels).any()


def test_a_group_that_loses_its_only_right_row_goes_whole(group_rows: Rows) -> None:
    rows = group_rows(groups=2)
    left = without(rows, np.arange(8) != 0)
    assert left["group_id"].to_pylist() == ["g_001"] * 4


@pytest.fixture
def nft_job(make_job: Callable[..., job.Job], tmp_path: Path) -> Callable[..., job.Job]:
    def make(rows: pa.Table, **fields: Any) -> job.Job:
        info = dataset.DatasetInfo("d_nft", "groups", 1)
        folder = dataset.write_dataset(tmp_path, "groups", 1, rows, info)
        return make_job([folder], method="nft", **fields)

    return make


def test_only_the_policy_that_sampled_may_be_trained(group_rows: Rows, nft_job: Callable[..., job.Job]) -> None:
    task = nft_job(group_rows(policy_id="m_other"))
    with pytest.raises(TrainError, match=f"sampled by m_other, and training starts from {task.parent_policy_id}") as caught:
        launch.train(task)
    assert 'train.start = "last"' in caught.value.hint
    assert not Path(task.out).exists()
    assert not Path(task.work).exists()


def test_rows_too_long_to_train_on_leave_their_groups_in_balance(group_rows: Rows, nft_job: Callable[..., job.Job]) -> None:
    rows = group_rows()
    ids = (rows[name].to_pylist() for name in ("prompt_token_ids", "token_ids"))
    longest = max(len(prompt) + len(sampled) for prompt, sampled in zip(*ids, strict=True))
    chosen = training_rows(nft_job(rows, max_length=longest - 1))
    assert 0 < chosen.skipped < rows.num_rows
    sums = chosen.rows.group_by(["group_id", "label"]).aggregate([("weight", "sum")]).to_pylist()
    assert {(s["label"], round(s["weight_sum"], 9)) for s in sums} == {(True, 1.0), (False, 3.0)}


def test_too_few_rows_of_mixed_groups_stop_the_round(group_rows: Rows, nft_job: Callable[..., job.Job]) -> None:
    with pytest.raises(Stopped, match="has 4 examples"):
        launch.train(nft_job(group_rows(groups=1)))


def test_dropout_is_refused_where_it_would_pass_for_a_change_of_policy() -> None:
    with pytest.raises(ValueError, match="dropout"):
        TrainConfig(method="nft", lora={"dropout": 0.1})
