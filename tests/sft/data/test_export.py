"""Exports: what other trainers read, and nothing overwritten."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ratoon.errors import ConfigError, DataError
from ratoon.messages import compact
from ratoon.sft.data import dataset
from ratoon.sft.data.export import EXPORTS, export
from ratoon.sft.data.push import push


@pytest.mark.parametrize("format", EXPORTS)
def test_every_format_loads_by_datasets_with_every_row(format: str, make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    out = export(make_dataset(5), format, tmp_path / "out" / format)
    loaded = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
    assert loaded["train"].num_rows == 5
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["format"], manifest["rows"]) == (format, {"train": 5})


def test_every_export_loads_as_itself_whatever_was_loaded_before(make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    few, more = make_dataset(2, iteration=1), make_dataset(3, iteration=2)
    given = [(few, "sharegpt"), (more, "sharegpt"), (few, "axolotl"), (few, "jsonl")]
    outs = [export(folder, format, tmp_path / str(i) / "out") for i, (folder, format) in enumerate(given)]
    for out in (*outs, *outs):
        loaded = datasets.load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache")).to_list()
        assert loaded == [json.loads(line) for line in (out / "data" / "train.jsonl").read_text().splitlines()]


def _first(out: Path) -> dict:
    return json.loads((out / "data" / "train.jsonl").read_text().splitlines()[0])


def test_each_format_says_the_same_conversation(make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_dataset(5)
    row = dataset.read_dataset(folder).to_pylist()[0]
    told = {name: compact(row[name]) for name in ("prompt", "completion")}
    asked, answered = row["prompt"][0]["content"], row["completion"][0]["content"]
    assert _first(export(folder, "trl-sft", tmp_path / "a")) == told
    assert _first(export(folder, "sharegpt", tmp_path / "b")) == {
        "conversations": [{"from": "human", "value": asked}, {"from": "gpt", "value": answered}]
    }
    turns = _first(export(folder, "axolotl", tmp_path / "c"))["messages"]
    assert [(t["role"], t["content"], t["training"]) for t in turns] == [("user", asked, False), ("assistant", answered, True)]
    assert _first(export(folder, "jsonl", tmp_path / "d")) == row | told


def test_the_exact_variant_trains_the_sampled_ids_and_only_them(make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_dataset(5)
    row, out = dataset.read_dataset(folder).to_pylist()[0], _first(export(folder, "trl-sft-ids", tmp_path / "a"))
    assert out["input_ids"] == row["prompt_token_ids"] + row["token_ids"]
    assert [t for t in out["labels"] if t != -100] == row["token_ids"]
    assert set(out["labels"][: len(row["prompt_token_ids"])]) == {-100}


def test_axolotl_and_llama_factory_are_told_what_they_do_not_guess(make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    export(make_dataset(), "axolotl", tmp_path / "axolotl")
    assert "eot_tokens:\n  - " in (tmp_path / "axolotl" / "README.md").read_text()
    out = export(make_dataset(), "sharegpt", tmp_path / "sharegpt")
    entry = json.loads((out / "dataset_info.json").read_text())["default"]
    turns = json.loads((out / entry["file_name"]).read_text().splitlines()[0])[entry["columns"]["messages"]]
    speakers = {turn[entry["tags"]["role_tag"]] for turn in turns}
    assert speakers == {entry["tags"]["user_tag"], entry["tags"]["assistant_tag"]}
    assert all(turn[entry["tags"]["content_tag"]] for turn in turns)


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


def _rename_split(folder: Path, split: str) -> None:
    """The dataset says that all its rows are of `split`, as a folder of strangers may; its one part keeps its file."""
    part, info = folder / "data" / "train-00000.parquet", folder / dataset.INFO
    rows = pq.read_table(part)
    renamed = pa.array([split] * rows.num_rows, pa.string())
    pq.write_table(rows.set_column(rows.column_names.index("split"), "split", renamed), part)
    info.write_text(json.dumps(json.loads(info.read_text()) | {"splits": {split: rows.num_rows}}))


def _files(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


_STEPS = st.sampled_from(["..", ".", "data", "victim", "README.md", "/", "\\", "", "~", "a\n", "é", "*", "link"])
_NAMES = st.one_of(st.lists(_STEPS, max_size=5).map("/".join), st.text(st.characters(codec="utf-8"), max_size=8))


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_NAMES)
@example("../../victim")
@example("../../../victim")
@example("ROOT/victim")
@example("train")
def test_whatever_a_split_is_called_an_export_writes_into_its_folder_only(two: Path, tmp_path: Path, name: str) -> None:
    split = name.replace("ROOT", str(tmp_path))
    with tempfile.TemporaryDirectory(dir=tmp_path) as place:
        folder, out, error = Path(place, "given"), Path(place, "out"), ""
        shutil.copytree(two, folder)
        _rename_split(folder, split)
        for victim in (Path(place), tmp_path):
            (victim / "victim.jsonl").write_text("precious")
        before = _files(tmp_path)
        try:
            export(folder, "jsonl", out)
        except DataError as refused:
            error = str(refused)
        made = _files(out)
        assert {name: data for name, data in _files(tmp_path).items() if not (tmp_path / name).is_relative_to(out)} == before
        assert f"data/{split}.jsonl" in made if not error else repr(split) in error and not made


@pytest.fixture
def two(make_dataset: Callable[..., Path]) -> Path:
    return make_dataset(2)


def test_a_link_where_an_export_is_made_is_not_followed(make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    folder, elsewhere = make_dataset(2), tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "to").symlink_to(tmp_path / "nowhere")
    (tmp_path / f".out.{os.getpid()}").symlink_to(elsewhere)
    with pytest.raises(ConfigError, match="exists"):
        export(folder, "jsonl", tmp_path / "to")
    assert export(folder, "jsonl", tmp_path / "out").is_dir()
    assert list(elsewhere.iterdir()) == []


def test_only_files_of_the_folder_are_pushed(make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    folder, secret = make_dataset(2), tmp_path / "secret"
    secret.write_text("mine")
    (folder / "data" / "more.parquet").symlink_to(secret)
    with pytest.raises(DataError, match=r"more\.parquet is a link to .*secret"):
        push(folder, "me/mine")
