"""What `ratoon train` is pointed at: a file of replies becomes groups, or nothing; a dataset's sampler is found in its run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ratoon.errors import ConfigError, DataError, Stopped, TrainError, UsageError
from ratoon.pipelines.curation.curate import curate
from ratoon.pipelines.flows.standalone import train
from ratoon.pipelines.training import data_source as train_source
from ratoon.render import Renderer
from ratoon.sft.data import dataset

Write = Callable[..., Path]
ASKED = ["2 + 3", "4 + 4", "1 + 7"]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A Parquet file of three prompts, four replies each, of which one, two and four are right; keywords replace columns."""

    def make(name: str = "theirs.parquet", **columns: Any) -> Path:
        right = [1, 2, 4]
        table: dict[str, Any] = {
            "question": [q for q in ASKED for _ in range(4)], "reply": [f"It is {i % 4}." for i in range(12)],
            "good": [i % 4 < right[i // 4] for i in range(12)], "problem": [i // 4 for i in range(12)],
        }  # fmt: skip
        pq.write_table(pa.table(table | columns), tmp_path / name)
        return tmp_path / name

    return make


COLUMNS = ["prompt=question", "completion=reply", "label=good", "group=problem"]


def _rows(found: train_source.Source) -> list[dict[str, Any]]:
    return dataset.read_dataset(found.folders[0]).to_pylist()


def test_a_file_becomes_groups_with_rates_and_the_models_own_tokens(write: Write, tiny_model: Path, tmp_path: Path) -> None:
    found = train_source.of_file(write(), COLUMNS, tiny_model, tmp_path / "out")
    rows, renderer = _rows(found), Renderer(tiny_model)
    groups = [r for r in rows if r["view"] == "group"]
    assert len(groups) == 12
    assert sorted({(r["prompt"][0]["content"], r["pass_rate"], r["n"]) for r in groups}) == [
        ("1 + 7", 1.0, 4), ("2 + 3", 0.25, 4), ("4 + 4", 0.5, 4),
    ]  # fmt: skip
    assert sorted(r["rollout_id"] for r in rows if r["view"] == "sft") == sorted(r["rollout_id"] for r in groups if r["label"])
    for row in groups:
        assert row["token_ids"][-1] == renderer.end_of_turn_ids[0]
        assert renderer.decode(row["token_ids"][:-1]) == row["completion"][0]["content"]
        assert row["prompt_token_ids"] == renderer.render([row["prompt"]])[0]
        assert (row["logprobs"], row["policy_id"], row["temperature"]) == (None, None, 1.0)


def test_replies_without_a_group_column_are_grouped_by_their_prompt(write: Write, tiny_model: Path, tmp_path: Path) -> None:
    found = train_source.of_file(write(), COLUMNS[:3], tiny_model, tmp_path / "out")
    assert {r["n"] for r in _rows(found)} == {4}
    assert len({r["group_id"] for r in _rows(found)}) == 3


def test_right_replies_that_were_cut_are_no_examples_to_imitate_and_that_is_told(
    write: Write, tiny_model: Path, tmp_path: Path
) -> None:
    file = write(good=[True] * 12, finish_reason=["length", "stop", "stop"] * 4)
    found = train_source.of_file(file, COLUMNS, tiny_model, tmp_path / "out")
    views = [r["view"] for r in _rows(found)]
    assert (views.count("sft"), views.count("group")) == (8, 12)
    assert found.told[-1] == "4 right replies were cut by length: rft leaves them out, they would teach not to end"


def test_a_file_of_wrong_replies_is_told_with_how_its_rewards_were_read(tiny_model: Path, tmp_path: Path) -> None:
    rows = [{"question": f"{i}?", "response": "yes", "reward": i / 100} for i in range(40)]
    (tmp_path / "low.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = train_source.of_file(tmp_path / "low.jsonl", ["label=reward"], tiny_model, tmp_path / "out", picked=True)
    assert found.told[1:] == (
        "column reward from 0.5 on it is true", "none of the 40 replies is right: rft has nothing to imitate",
    )  # fmt: skip


def test_a_run_is_trained_under_the_template_arguments_that_its_data_was_sampled_under(
    context: Any, ground: Any, harvest: Any, tmp_path: Path
) -> None:
    with context("train.method=nft", "prompt.chat_template_kwargs={enable_thinking=false}", "train.min_examples=2") as ctx:
        made = curate(ctx.store, ctx.recipe, harvest(ctx, ground(ctx)))
        root, folder = ctx.store.root, ctx.store.root / made.extra["folder"]
    for source in (root, folder):
        sets = ["train.method=nft", "train.min_examples=1000"]  # the gate on numbers is the first after that on digests
        with pytest.raises(Stopped, match=r"train\.min_examples is 1000"):
            train(source, tmp_path / "out", sets=sets, quiet=True)


def test_given_ids_log_probs_and_temperature_are_kept(write: Write, tiny_model: Path, tmp_path: Path) -> None:
    renderer = Renderer(tiny_model)
    ids = [[*renderer.encode(f"It is {i % 4}."), renderer.end_of_turn_ids[0]] for i in range(12)]
    file = write(token_ids=ids, logprobs=[[-0.5] * len(i) for i in ids], temperature=[0.8] * 12)
    rows = _rows(train_source.of_file(file, COLUMNS, tiny_model, tmp_path / "out"))
    assert {(len(r["logprobs"]), r["logprobs"][0], r["temperature"]) for r in rows} == {(9, -0.5, 0.8)}


@pytest.mark.parametrize(("columns", "told"), [
    ({"good": [1, 2, 3, 4] * 3}, r"9 of 12 rows cannot be used, such as .*the label is 2"),
    ({"good": [True, None, False, False] * 3}, r"3 of 12 rows cannot be used, such as .*it has no label"),
    ({"question": ["same", "same", "other", "same"] * 3}, "group 0 holds replies to several prompts"),
    ({"policy": ["a", "b"] * 6}, "several policies: a, b"),
    ({"reply": [None] + ["x"] * 11}, "1 of 12 rows cannot be used"),
])  # fmt: skip
def test_one_bad_row_and_nothing_is_written(
    write: Write, tiny_model: Path, tmp_path: Path, columns: dict[str, Any], told: str
) -> None:
    with pytest.raises(DataError, match=told):
        train_source.of_file(write(**columns), COLUMNS, tiny_model, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["theirs.parquet"]


def test_a_file_picked_by_hand_needs_no_label_for_rft_and_any_layout_will_do(tiny_model: Path, tmp_path: Path) -> None:
    chats = [{"conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": "It is 4."}]} for q in ASKED]
    (tmp_path / "chats.json").write_text(json.dumps(chats))
    found = train_source.of_file(tmp_path / "chats.json", (), tiny_model, tmp_path / "out", picked=True)
    learned = [row for row in _rows(found) if row["view"] == "sft"]
    assert sorted(row["prompt"][0]["content"] for row in learned) == sorted(ASKED)
    assert "3 rows of chats.json" in found.told[0]
    assert found.told[1:] == ("chats.json has no labels: each of its 3 replies is taken as right",)
    with pytest.raises(DataError, match="it has no label"):
        train_source.of_file(tmp_path / "chats.json", (), tiny_model, tmp_path / "nft")


def test_a_file_needs_the_model_that_sampled_it_and_a_folder_no_columns(write: Write, tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="which model sampled"):
        train(write(), tmp_path / "out", sets=["train.method=nft"], columns=COLUMNS, quiet=True)
    with pytest.raises(UsageError, match="is a folder"):
        train(tmp_path, tmp_path / "out", columns=COLUMNS, quiet=True)
    with pytest.raises(ConfigError, match="grupp=problem: neither is a role"):
        train(write(), tmp_path / "out", model=str(tiny_model), columns=["grupp=problem"], quiet=True)


def test_a_cut_distribution_and_groups_without_contrast_are_refused_before_training(
    write: Write, tiny_model: Path, tmp_path: Path
) -> None:
    nft: dict[str, Any] = {"model": str(tiny_model), "sets": ["train.method=nft"], "columns": COLUMNS, "quiet": True}
    with pytest.raises(TrainError, match=r"top_p = 0\.9"):
        train(write(top_p=[0.9] * 12), tmp_path / "a", **nft)
    with pytest.raises(DataError, match="all right or all wrong"):
        train(write(good=[True] * 12), tmp_path / "b", **nft)
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "b").exists()


def test_the_sampler_of_a_dataset_is_found_in_the_run_it_lies_in(context: Any, ground: Any, harvest: Any) -> None:
    with context("train.method=nft") as ctx:
        on = ground(ctx)
        made = curate(ctx.store, ctx.recipe, harvest(ctx, on))
        root, folder = ctx.store.root, ctx.store.root / made.extra["folder"]
        assert train_source.of_folder(root, "default") == train_source.of_folder(folder, "")._replace(
            folders=[root / made.extra["folder"]], root=root
        )
        found = train_source.of_folder(folder, "")
        assert found.sampler == Path(on.base.path).resolve()
        assert found.iteration == 1
    with pytest.raises(DataError, match="no dataset 'other'"):
        train_source.of_folder(root, "other")


def test_another_model_than_the_one_that_sampled_is_refused_with_both_digests(
    context: Any, ground: Any, harvest: Any, tmp_path: Path
) -> None:
    from ratoon.sft.models.tiny import make_tiny

    with context("train.method=nft") as ctx:
        made = curate(ctx.store, ctx.recipe, harvest(ctx, ground(ctx)))
        folder = ctx.store.root / made.extra["folder"]
    other = make_tiny(tmp_path / "other", seed=9)
    sampled_by = json.loads((folder / "dataset.json").read_text())["sources"]["policies"][0]
    with pytest.raises(TrainError, match=f"weights {sampled_by['weights_digest']}") as caught:
        train(folder, tmp_path / "out", model=str(other), sets=["train.method=nft"], quiet=True)
    assert sampled_by["policy_id"] in caught.value.hint
