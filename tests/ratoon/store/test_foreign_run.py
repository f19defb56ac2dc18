"""A run's folder from a stranger: paths, links, logs and recipes that no start of ours wrote are found or refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from ratoon import schema
from ratoon.errors import CorruptPart, StoreError
from ratoon.store import links, lost, manifest, parts
from ratoon.store.manifest import Commit, Manifest, summed
from ratoon.store.store import ArtifactKey, Counts, Store


def put(store: Store, shard: str) -> Manifest:
    rows = schema.from_rows("oracles", [{"task_id": shard, "oracle": shard}])
    return store.put(ArtifactKey("tasks", 0, shard), {"oracles": rows}, Counts(1, 1))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of three commits and a recipe."""
    root = tmp_path / "run"
    with Store.writer(root, {}) as store:
        store.put_config({"run": {"name": "ours"}})
        for shard in "abc":
            put(store, shard)
    return root


def forge(root: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the first artifact's manifest and make every checksum fit again, as a stranger can."""
    commit = root / "commits" / "000001.json"
    tree = json.loads(commit.read_text())
    (artifact_id,) = tree["add"]
    path = next(root.glob(f"artifacts/*/{artifact_id}/manifest.json"))
    told = json.loads(path.read_text())
    change(told)
    path.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    tree["sums"][artifact_id] = sha256(path.read_bytes()).hexdigest()
    commit.write_text(json.dumps(summed(tree), ensure_ascii=False) + "\n")


def part_at(path: str) -> Callable[[dict[str, Any]], None]:
    return lambda told: told["parts"][0].update(path=path)


OUTSIDE = ["/etc/passwd", "../outside.parquet", "artifacts/../../outside.parquet", "artifacts/tasks/a/../../../../out",
           "artifacts/tasks//oracles-000.parquet", "config.json", "", ".", "artifacts/tasks/\x00", "~/x.parquet"]  # fmt: skip


@pytest.mark.parametrize("path", OUTSIDE)
def test_a_manifest_names_no_part_outside_its_artifact(run: Path, path: str) -> None:
    forge(run, part_at(path))
    with pytest.raises(StoreError, match="does not lie in"):
        Store.open(run)


def test_without_that_guard_a_part_outside_the_run_is_read(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Store.open(run).history()[0]
    shutil.copy(run / made.parts[0].path, tmp_path / "outside.parquet")
    forge(run, part_at("../outside.parquet"))
    monkeypatch.setattr(manifest.Manifest, "check_paths", lambda self: None)
    assert Store.open(run).read("oracles").num_rows == 3


@pytest.mark.parametrize("stage", ["../..", "a/b", "", ".", "..", "/tmp", "x\x00"])
def test_a_manifest_names_no_stage_that_is_a_path(run: Path, stage: str) -> None:
    forge(run, lambda told: told["key"].update(stage=stage))
    with pytest.raises(StoreError, match="is no folder of an artifact"):
        Store.open(run)


@pytest.mark.parametrize("id", ["../../x", "*", "a_", "a_" + "0" * 23 + "/", "", 7])
def test_a_commit_names_only_ids(run: Path, id: object) -> None:
    commit = run / "commits" / "000003.json"
    tree = json.loads(commit.read_text()) | {"add": [id]}
    commit.write_text(json.dumps(summed(tree), ensure_ascii=False) + "\n")
    with pytest.raises(StoreError, match=r"000003\.json is damaged"):
        Store.open(run)


@pytest.mark.parametrize("which", ["part", "artifact"])
def test_a_part_that_is_a_link_is_refused_and_found(run: Path, tmp_path: Path, which: str) -> None:
    path = run / Store.open(run).history()[0].parts[0].path
    if which == "artifact":
        path = path.parent
    shutil.move(path, tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CorruptPart, match="is a link"):
        Store.open(run).read("oracles")
    assert any("is a link" in problem for problem in Store.open(run).verify())


def test_without_that_guard_a_link_is_read(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = run / Store.open(run).history()[0].parts[0].path
    shutil.move(path, tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    monkeypatch.setattr(parts, "check_size", lambda root, part: None)
    assert Store.open(run).read("oracles").num_rows == 3


LINKS = ["journal", "logs", "children", "commits/x", "logs/requests.log", "journal/a.log", "config.json", "lock", ".lock.guard",
         "artifacts/tasks/more", "datasets/default/2", "policies/m_x/policy.json", "reports/x.html"]  # fmt: skip


@pytest.mark.parametrize("name", LINKS)
def test_a_link_out_of_the_run_is_found_and_nothing_is_written_into_such_a_run(run: Path, tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (run / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(run / name, ignore_errors=True)
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(outside)
    assert any(f"{name} is a link" in problem for problem in Store.open(run).verify())
    with pytest.raises(StoreError, match="leads out of the run"), Store.writer(run):
        pass
    assert list(outside.iterdir()) == []


def test_without_that_guard_a_journal_is_written_where_the_link_leads(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (run / "journal").symlink_to(outside)
    monkeypatch.setattr(links, "leading_out", lambda root: [])
    with Store.writer(run) as store:
        store.journal("a_x").append([{"x": 1}])
    assert list(outside.iterdir()) != []


def test_folders_of_what_is_large_may_lie_on_another_disk_and_links_may_stay_inside(run: Path, tmp_path: Path) -> None:
    for name in ("artifacts", "datasets"):
        (run / name).mkdir(exist_ok=True)
        shutil.move(run / name, tmp_path / name)
        (run / name).symlink_to(tmp_path / name)
    (run / "latest").symlink_to("commits")
    (run / "here").symlink_to(run / "commits")
    with Store.writer(run) as store:
        put(store, "d")
    assert Store.open(run).verify() == []


def test_a_recipe_that_is_not_the_one_of_the_log_is_found(run: Path) -> None:
    config = run / "config.json"
    config.write_text(config.read_text().replace("ours", "theirs"))
    assert ["config.json is not the recipe" in problem for problem in Store.open(run).verify()] == [True]
    config.unlink()
    assert ["config.json is not the recipe" in problem for problem in Store.open(run).verify()] == [True]


def test_a_changed_recipe_of_the_users_own_is_one_more_commit_and_the_same_one_is_none(run: Path) -> None:
    with Store.writer(run) as store:
        store.put_config({"run": {"name": "ours"}})
        assert len(store.commits()) == 3
        store.put_config({"run": {"name": "another"}})
        assert [commit.why for commit in store.commits()[3:]] == ["another recipe"]
    assert Store.open(run).verify() == []


def test_a_verb_that_wrote_no_recipe_does_not_vouch_for_a_strangers(run: Path) -> None:
    (run / "config.json").write_text("{}")
    with Store.writer(run) as store:
        put(store, "d")
    assert ["config.json is not the recipe" in problem for problem in Store.open(run).verify()] == [True]


def lose(root: Path, n: int) -> None:
    for path in sorted((root / "commits").glob("*.json"))[-n:]:
        path.unlink()


@pytest.mark.parametrize("n", [1, 2, 3])
def test_commits_lost_from_the_end_are_told_their_work_is_never_litter_and_it_comes_back(run: Path, n: int) -> None:
    before = Store.open(run).read("oracles").to_pylist()
    lose(run, n)
    store = Store.open(run)
    assert "ends too early" in str(store.lost())
    assert any("ends too early" in problem for problem in store.verify())
    assert store.sweep(dry_run=True) == []
    assert len(lost.unnamed(store)) == n
    with pytest.raises(StoreError, match="ends too early"), Store.writer(run):
        pass
    assert len(lost.add_back(run)) == n
    assert Store.open(run).verify() == []
    assert Store.open(run).read("oracles").to_pylist() == before
    with Store.writer(run) as store:
        put(store, "d")
    assert lost.add_back(run) == []


def test_a_last_commit_that_is_another_is_told(run: Path) -> None:
    path = run / "commits" / "000003.json"
    commit = Commit.from_json(path.read_bytes())
    path.write_bytes(Commit(3, commit.add, commit.remove, "theirs", commit.at, commit.sums, commit.config).to_json())
    assert "another than the one that run.json saw" in str(Store.open(run).lost())


def test_a_run_of_before_says_nothing_of_its_end_and_gains_it_with_the_next_commit(run: Path) -> None:
    tree = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({name: tree[name] for name in tree if name not in ("newest", "sum")}))
    assert Store.open(run).verify() == []
    with Store.writer(run) as store:
        put(store, "d")
    assert json.loads((run / "run.json").read_text())["newest"]["commit"] == 4


@pytest.mark.parametrize(
    "newest", [None, 3, [], {}, {"commit": "9"}, {"commit": -1}, {"commit": True, "digest": []}, {"commit": 2**70}]
)
def test_an_odd_word_about_the_end_of_the_log_ends_nothing(run: Path, newest: Any) -> None:
    tree = json.loads((run / "run.json").read_text()) | {"newest": newest}
    (run / "run.json").write_bytes(json.dumps(tree).encode())
    assert any("run.json is damaged" in problem for problem in Store.open(run).verify())


@pytest.mark.parametrize("file", ["run.json", "config.json", "commits/000002.json", "manifest"])
@pytest.mark.parametrize("text", ["[" * 100_000, "{}", "null", '{"a":' * 5_000, "\ud800"])
def test_a_file_of_another_shape_is_told_by_name(run: Path, file: str, text: str) -> None:
    path = run / Store.open(run).history()[0].parts[0].path if file == "manifest" else run / file
    path = path.with_name("manifest.json") if file == "manifest" else path
    path.write_bytes(text.encode(errors="surrogatepass"))
    try:
        problems = Store.open(run).verify()
    except StoreError as error:
        problems = [error.message]
    assert any(path.name in problem for problem in problems)
