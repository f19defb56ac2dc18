"""Examples: ids as stored, joins by id, nothing invented."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pytest

from ratoon import ids
from ratoon.errors import DataError
from ratoon.messages import compact
from ratoon.sft.data import examples

Tables = Callable[..., dict[str, pa.Table]]


def test_rows_carry_the_sampled_ids_and_the_rendered_prompt_unchanged(tables: Tables) -> None:
    given = tables(9)
    _, rows = examples.build(**given, dataset_id="d_1")
    by_rollout = {r["rollout_id"]: r for r in given["rollouts"].to_pylist()}
    prompts = {p["prompt_id"]: p for p in given["prompts"].to_pylist()}
    for row in rows.to_pylist():
        rollout = by_rollout[row["rollout_id"]]
        assert {k: row[k] for k in ("token_ids", "logprobs", "loss_mask", "task_id", "policy_id")} == {
            k: rollout[k] for k in ("token_ids", "logprobs", "loss_mask", "task_id", "policy_id")
        }
        assert row["prompt_token_ids"] == prompts[rollout["prompt_id"]]["token_ids"]
        assert row["prompt"] == prompts[rollout["prompt_id"]]["messages"]
        assert compact(row["completion"]) == [{"role": "assistant", "content": rollout["text"]}]
        assert (row["label"], row["pass_rate"], row["n"], row["temperature"]) == (True, 0.25, 4, 0.8)


def test_both_tables_are_in_the_order_of_example_id_whatever_the_order_of_the_rollouts(tables: Tables) -> None:
    given = tables(9)
    turned = given | {"rollouts": given["rollouts"].take(pa.array(range(8, -1, -1)))}
    (table, rows), (table_turned, rows_turned) = (examples.build(**t, dataset_id="d_1") for t in (given, turned))
    assert table["example_id"].to_pylist() == rows["example_id"].to_pylist() == sorted(rows["example_id"].to_pylist())
    assert table.equals(table_turned)
    assert rows.equals(rows_turned)
    (only,) = table["rollout_ids"][0].as_py()
    assert table["example_id"][0].as_py() == ids.example_id("d_1", "sft", [only])


def test_a_label_is_null_where_the_labelling_scorer_said_neither(tables: Tables) -> None:
    given = tables(3)
    scores = given["scores"].to_pylist()
    scores[0]["status"], scores[1]["status"], scores[2]["version"] = "fail", "abstain", "2"
    _, rows = examples.build(**given | {"scores": pa.Table.from_pylist(scores, given["scores"].schema)}, dataset_id="d")
    labels = dict(zip(rows["rollout_id"].to_pylist(), rows["label"].to_pylist(), strict=True))
    assert [labels[s["subject_id"]] for s in scores] == [False, None, None]


def test_what_is_unknown_is_null(tables: Tables) -> None:
    given = tables(3)
    _, rows = examples.build(
        **given | {"groups": given["groups"].slice(0, 0), "samplings": given["samplings"].slice(0, 0)}, dataset_id="d"
    )
    for name in ("label", "pass_rate", "n", "label_source", "temperature"):
        assert rows[name].null_count == 3


def test_without_tokens_only_the_token_columns_are_null(tables: Tables) -> None:
    _, rows = examples.build(**tables(3), dataset_id="d", keep_tokens=False)
    empty = {name for name in rows.column_names if rows[name].null_count == 3}
    assert empty == {"prompt_token_ids", "token_ids", "loss_mask", "logprobs"}


def test_weights_are_joined_by_rollout_id(tables: Tables) -> None:
    given = tables(3)
    heavy = given["rollouts"]["rollout_id"][1].as_py()
    table, rows = examples.build(**given, dataset_id="d", weight={heavy: 2.5})
    for found in (table.column("weight").to_pylist(), rows.column("weight").to_pylist()):
        assert dict(zip(rows["rollout_id"].to_pylist(), found, strict=True))[heavy] == 2.5
        assert sum(found) == 4.5


def test_a_rollout_without_its_prompt_and_a_group_met_twice_are_refused(tables: Tables) -> None:
    given = tables(3)
    with pytest.raises(DataError, match="no prompt"):
        examples.build(**given | {"prompts": given["prompts"].slice(1)}, dataset_id="d")
    with pytest.raises(DataError, match="group_id"):
        examples.build(**given | {"groups": pa.concat_tables([given["groups"]] * 2)}, dataset_id="d")
