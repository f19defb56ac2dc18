"""Dataset folders: whole, loadable, the same for the same content."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ratoon import ids
from ratoon.errors import DataError, StoreError
from ratoon.messages import compact
from ratoon.sft.data import dataset, examples
from ratoon.sft.data.dataset import DatasetInfo
from ratoon.store import faults

Tables = Callable[..., dict[str, pa.Table]]


def _rows(tables: Tables, count: int, first: int = 0, dataset_id: str = "d_1") -> pa.Table:
    return examples.build(**tables(count, first), dataset_id=dataset_id)[1]


def test_a_dataset_folder_loads_by_datasets_as_it_lies(tmp_path: Path, make_dataset: Callable[..., Path]) -> None:
    datasets = pytest.importorskip("datasets")
    folder = make_dataset(7)
    loaded = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert {split: rows.num_rows for split, rows in loaded.items()} == {"train": 7}
    assert loaded["train"].column_names == examples.ROWS.names
    ours = {row["example_id"]: row for row in dataset.read_dataset(folder).to_pylist()}
    assert {row["example_id"]: row["token_ids"] for row in loaded["train"]} == {i: row["token_ids"] for i, row in ours.items()}
    first = loaded["train"][0]
    assert first["completion"] == compact(ours[first["example_id"]]["completion"])


def test_every_dataset_loads_as_itself_whatever_was_loaded_before(tables: Tables, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")

    def write(run: str, count: int) -> Path:
        return dataset.write_dataset(tmp_path / run, "default", 1, _rows(tables, count), DatasetInfo("d", "default", 1))

    def loaded(folder: Path) -> list[str]:
        return datasets.load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))["example_id"]

    a, b = write("a", 3), write("b", 5)
    for folder in (a, b, a, write("a", 4)):  # the last is another curation in the place of the first
        assert sorted(loaded(folder)) == dataset.read_dataset(folder)["example_id"].to_pylist()
    assert datasets.get_dataset_default_config_name(str(a)) == f"default-{dataset.read_info(a).content_digest[:16]}"


def test_splits_are_files_of_their_own_and_in_the_card(tables: Tables, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = _rows(tables, 6)
    split = pa.array(["train", "test"] * 3)
    rows = rows.set_column(rows.column_names.index("split"), examples.ROWS.field("split"), split)
    folder = dataset.write_dataset(tmp_path, "v", 2, rows, DatasetInfo("d", "v", 2, made={"filters": ["length"]}))
    loaded = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert {name: part.num_rows for name, part in loaded.items()} == {"train": 3, "test": 3}
    assert dataset.read_dataset(folder, "test").num_rows == 3
    assert '"length"' in (folder / "README.md").read_text()


def _shared(a: Path, b: Path, block: int = 4096) -> float:
    """The share of the first file's blocks that occur anywhere in the second: what a store of chunks has already."""
    first, second = a.read_bytes(), b.read_bytes()
    blocks = [first[at : at + block] for at in range(0, len(first) - block, block)]
    return sum(one in second for one in blocks) / len(blocks)


def test_a_version_that_drops_some_rows_shares_its_bytes_with_the_one_before(tables: Tables, tmp_path: Path) -> None:
    base = _rows(tables, 1, dataset_id="d").to_pylist()[0]
    texts = [random.Random(i).randbytes(750).hex() for i in range(3000)]
    rollouts = [f"r_{i:04d}" for i in range(3000)]

    def version(dataset_id: str, kept: list[int]) -> pa.Table:
        return pa.Table.from_pylist(
            [base | {"example_id": ids.example_id(dataset_id, "sft", [rollouts[i]]), "rollout_id": rollouts[i],
                     "completion": [{"role": "assistant", "content": texts[i]}]} for i in kept], examples.ROWS,
        ).sort_by("example_id")  # fmt: skip

    parts = []
    for name, kept in (("a", list(range(3000))), ("b", [i for i in range(3000) if i != 7])):
        folder = dataset.write_dataset(tmp_path / name, "v", 1, version(name, kept), DatasetInfo(name, "v", 1))
        parts.append(folder / "data" / "train-00000.parquet")
    assert _shared(*parts) > 0.5
    for path, rows in zip(parts, map(pq.read_table, parts), strict=True):
        pq.write_table(rows, path, compression="zstd")
    assert _shared(*parts) < 0.2, "without it the first dropped row moves all that follow"


def test_the_folders_croissant_is_valid_and_names_every_column_and_file(
    tmp_path: Path, make_dataset: Callable[..., Path]
) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    folder = make_dataset(5)
    told = mlcroissant.Dataset(jsonld=folder / "croissant.json")
    assert not told.metadata.ctx.issues.errors
    (rows,) = told.metadata.record_sets
    stored = pq.read_schema(folder / "data" / "train-00000.parquet")
    assert [field.id for field in rows.fields] == [f"rows/{name}" for name in stored.names]
    digest = sha256((folder / "data" / "train-00000.parquet").read_bytes()).hexdigest()
    assert digest in {getattr(one, "sha256", None) for one in told.metadata.distribution}


def test_writing_the_same_content_again_leaves_the_folder_alone(tables: Tables, tmp_path: Path) -> None:
    info, rows = DatasetInfo("d", "v", 1, made={"k": (1, 2)}), _rows(tables, 5)
    folder = dataset.write_dataset(tmp_path, "v", 1, rows, info)
    before = folder.stat().st_ino
    assert dataset.write_dataset(tmp_path, "v", 1, rows.take([4, 3, 2, 1, 0]), info) == folder
    assert folder.stat().st_ino == before
    dataset.write_dataset(tmp_path, "v", 1, rows.slice(1), info)
    assert dataset.read_dataset(folder).num_rows == 4
    assert [p.name for p in folder.parent.iterdir()] == ["1"]


@pytest.mark.parametrize(
    "relative",
    ["", "/etc", "datasets/v", "datasets/../1", "datasets/v/..", "datasets/v/1/..", "../datasets/v/1", "datasets//1"],
)
def test_a_manifest_names_a_folder_of_its_own_run_only(tmp_path: Path, relative: str) -> None:
    assert dataset.folder_at(tmp_path, "datasets/v/1") == tmp_path / "datasets" / "v" / "1"
    with pytest.raises(DataError, match=r"no dataset of the run|no name of a dataset"):
        dataset.folder_at(tmp_path, relative)


def test_a_dataset_is_not_written_through_a_link(tables: Tables, tmp_path: Path) -> None:
    info, rows = DatasetInfo("d", "v", 1), _rows(tables, 2)
    other = dataset.write_dataset(tmp_path / "other", "v", 1, rows, info)
    (tmp_path / "run" / "datasets").mkdir(parents=True)
    (tmp_path / "run" / "datasets" / "v").symlink_to(other.parent)
    with pytest.raises(DataError, match="is a link to"):
        dataset.write_dataset(tmp_path / "run", "v", 1, rows.slice(1), info)
    assert dataset.read_dataset(other).num_rows == 2


def test_all_datasets_of_a_run_may_lie_on_another_disk(tables: Tables, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "datasets").symlink_to(tmp_path / "disk")
    folder = dataset.write_dataset(tmp_path / "run", "v", 1, _rows(tables, 2), DatasetInfo("d", "v", 1))
    assert dataset.read_dataset(folder).num_rows == 2


def test_the_content_digest_covers_texts_and_token_ids(tables: Tables) -> None:
    rows = _rows(tables, 3)
    digests = {dataset.content_digest(rows), dataset.content_digest(rows.take([2, 0, 1]))}
    assert len(digests) == 1
    for name in ("token_ids", "completion", "prompt", "weight"):
        values = rows[name].to_pylist()
        changed = values[1:] + values[:1] if name != "weight" else [2.0, *values[1:]]
        at = rows.column_names.index(name)
        digests.add(
            dataset.content_digest(
                rows.set_column(at, examples.ROWS.field(name), pa.array(changed, examples.ROWS.field(name).type))
            )
        )
    assert len(digests) == 5


def test_a_damaged_or_missing_part_is_refused(make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_dataset(5)
    part = folder / "data" / "train-00000.parquet"
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(DataError, match="damaged"):
        dataset.read_dataset(folder)
    part.unlink()
    with pytest.raises(DataError, match="0 rows, not 5"):
        dataset.read_dataset(folder)
    with pytest.raises(DataError, match="no dataset folder"):
        dataset.read_dataset(tmp_path)


@pytest.mark.parametrize("name", ["../v", "a/b", "/v", ".v", "-v", "", "v\n"])
def test_a_name_that_is_no_plain_folders_is_refused(tables: Tables, tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="no name of a dataset"):
        dataset.write_dataset(tmp_path / "run", name, 1, _rows(tables, 2), DatasetInfo("d", name, 1))
    assert not (tmp_path / "run").exists()


def test_an_example_id_met_twice_is_refused(tables: Tables, tmp_path: Path) -> None:
    rows = _rows(tables, 2)
    with pytest.raises(DataError, match="twice"):
        dataset.write_dataset(tmp_path, "v", 1, pa.concat_tables([rows, rows]), DatasetInfo("d", "v", 1))


def test_a_replay_is_a_share_of_the_mix_chosen_by_hash_and_a_rollout_counts_once(tables: Tables) -> None:
    old, middle, this = _rows(tables, 20, 0), _rows(tables, 20, 20, "d_2"), _rows(tables, 10, 35, "d_3")
    everything = dataset.mix([old, middle, this])
    assert everything.num_rows == 45  # five of the middle round's rollouts are in this one too
    mixed = dataset.mix([old, middle, this], replay=0.5, seed=4)
    assert mixed.num_rows == 20
    assert mixed.slice(10).equals(this)
    turned = dataset.mix([middle, old, this], replay=0.5, seed=4)
    assert sorted(turned["example_id"].to_pylist()) == sorted(mixed["example_id"].to_pylist())
    assert dataset.mix([old, middle, this], replay=0.5, seed=5)["example_id"].to_pylist() != mixed["example_id"].to_pylist()
    assert dataset.mix([this], replay=0.5).equals(this)


def test_a_disk_that_fills_while_a_folder_is_swapped_is_told_and_nothing_is_half_written(
    tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(when: str, step: str, path: Path, data: object) -> None:
        if step == "swap":
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(faults, "hook", full)
    with pytest.raises(StoreError, match="disk full: cannot write"):
        dataset.write_dataset(tmp_path, "default", 1, _rows(tables, 3), DatasetInfo("d", "default", 1))
    assert not (tmp_path / "datasets" / "default" / "1").exists()
