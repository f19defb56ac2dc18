"""Exports: what other trainers read, and nothing overwritten."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ratoon.errors import ConfigError, DataError
from ratoon.sft import dataset
from ratoon.sft.export import EXPORTS, export


@pytest.mark.parametrize("format", EXPORTS)
def test_every_format_loads_by_datasets_with_every_row(format: str, make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    out = export(make_dataset(5), format, tmp_path / "out" / format)
    loaded = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
    assert loaded["train"].num_rows == 5
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["format"], manifest["rows"]) == (format, {"train": 5})


def _first(out: Path) -> dict:
    return json.loads((out / "data" / "train.jsonl").read_text().splitlines()[0])


def test_each_format_says_the_same_conversation(make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_dataset(5)
    row = dataset.read_dataset(folder).to_pylist()[0]
    asked, answered = row["prompt"][0]["content"], row["completion"][0]["content"]
    assert _first(export(folder, "trl-sft", tmp_path / "a")) == {"prompt": row["prompt"], "completion": row["completion"]}
    assert _first(export(folder, "sharegpt", tmp_path / "b")) == {
        "conversations": [{"from": "human", "value": asked}, {"from": "gpt", "value": answered}]
    }
    turns = _first(export(folder, "axolotl", tmp_path / "c"))["messages"]
    assert [(t["role"], t["content"], t["training"]) for t in turns] == [("user", asked, False), ("assistant", answered, True)]
    assert _first(export(folder, "jsonl", tmp_path / "d")) == row


def test_the_exact_variant_trains_the_sampled_ids_and_only_them(make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_dataset(5)
    row, out = dataset.read_dataset(folder).to_pylist()[0], _first(export(folder, "trl-sft-ids", tmp_path / "a"))
    assert out["input_ids"] == row["prompt_token_ids"] + row["token_ids"]
    assert [t for t in out["labels"] if t != -100] == row["token_ids"]
    assert set(out["labels"][: len(row["prompt_token_ids"])]) == {-100}


def test_an_existing_folder_and_an_unknown_format_are_refused(make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_dataset(5)
    (tmp_path / "there").mkdir()
    with pytest.raises(ConfigError, match="exists"):
        export(folder, "jsonl", tmp_path / "there")
    with pytest.raises(ConfigError, match="no export format 'trl'"):
        export(folder, "trl", tmp_path / "new")


def test_without_token_ids_the_exact_variant_is_refused_and_leaves_nothing(
    make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_dataset(5, keep_tokens=False)
    with pytest.raises(DataError, match="no token ids"):
        export(folder, "trl-sft-ids", tmp_path / "out" / "x")
    assert list((tmp_path / "out").iterdir()) == []


def test_rows_of_no_weight_are_not_imitated_but_kept_by_jsonl(make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_dataset(5, weight=0.0)
    with pytest.raises(DataError, match="no row"):
        export(folder, "trl-sft", tmp_path / "a")
    assert len((export(folder, "jsonl", tmp_path / "b") / "data" / "train.jsonl").read_text().splitlines()) == 5
