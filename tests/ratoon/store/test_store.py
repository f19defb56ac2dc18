"""What the log adds exists, whole, and nothing else does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from ratoon import schema
from ratoon.errors import Conservation, CorruptPart, DataError, RunLocked, SchemaMismatch, StoreError
from ratoon.store.store import ArtifactKey, Counts, Manifest, Store

KILLED_WRITER = """
import os, signal, sys
from pathlib import Path
from ratoon import schema
from ratoon.store import files
from ratoon.store import commit_log as history
from ratoon.store import ArtifactKey, Counts, Store

where, root = sys.argv[1], Path(sys.argv[2])
def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)
with Store.writer(root, {}) as store:
    if where == "parts":
        files._claim = die
    if where == "manifest":
        history.History.append = die
    rows = schema.from_rows("oracles", [{"task_id": "a", "oracle": "stale"}])
    store.put(ArtifactKey("tasks", 0), {"oracles": rows}, Counts(1, 1))
    die()
"""

FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from ratoon import schema
from ratoon.errors import StoreError
from ratoon.store import ArtifactKey, Counts, Store

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
small = schema.from_rows("oracles", [{"task_id": "t", "oracle": "1"}])
n = 5000
large = schema.from_columns("oracles", {"task_id": [f"{i * 2654435761 % 2**32:x}" for i in range(n)]})
with Store.writer(Path(sys.argv[1]), {}) as store:
    store.put(ArtifactKey("tasks", 0), {"oracles": small}, Counts(1, 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    try:
        store.put(ArtifactKey("tasks", 1), {"oracles": large}, Counts(n, n))
    except StoreError as error:
        print(error.message)
    print(len(store.commits()), len(store.sweep(dry_run=True)))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    store.put(ArtifactKey("tasks", 1), {"oracles": large}, Counts(n, n))
    print(len(store.commits()), store.verify(), store.sweep())
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.writer(tmp_path / "run", {"shard_size": 4}) as opened:
        yield opened


def oracles(*answers: str) -> pa.Table:
    return schema.from_rows("oracles", [{"task_id": f"t{i}", "oracle": a} for i, a in enumerate(answers)])


def put(store: Store, name: str, *answers: str, remove: tuple[str, ...] = ()) -> Manifest:
    key = ArtifactKey("tasks", 0, name)
    return store.put(key, {"oracles": oracles(*answers)}, Counts(len(answers), len(answers)), remove=remove)


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_what_was_put_is_read_back_by_a_reader(store: Store) -> None:
    made = put(store, "a", "1", "2")
    reader = Store.open(store.root)
    assert reader.live() == {made.artifact_id: made}
    assert reader.read("oracles").equals(oracles("1", "2"))
    assert reader.get(made.artifact_id) == made
    assert reader.get("a_none") is None


def test_a_reader_sees_what_is_committed_after_it_opened(store: Store) -> None:
    reader = Store.open(store.root)
    assert reader.read("oracles").num_rows == 0
    put(store, "a", "1")
    assert reader.read("oracles").num_rows == 1


def test_live_is_in_commit_order_and_history_keeps_what_was_removed(store: Store) -> None:
    first, second = put(store, "a", "1"), put(store, "b", "2")
    third = put(store, "c", "3", remove=(first.artifact_id,))
    assert list(store.live()) == [second.artifact_id, third.artifact_id]
    assert [m.artifact_id for m in store.history()] == [first.artifact_id, second.artifact_id, third.artifact_id]
    assert store.read("oracles")["oracle"].to_pylist() == ["2", "3"]
    assert store.read("oracles", store.history())["oracle"].to_pylist() == ["1", "2", "3"]
    assert [len(store.parts("oracles")), len(store.parts("oracles", history=True))] == [2, 3]


def test_one_put_is_one_commit_that_says_why(store: Store) -> None:
    first = put(store, "a", "1")
    key = ArtifactKey("tasks", 0, "b")
    second = store.put(key, {"oracles": oracles("2")}, Counts(1, 1), remove=[first.artifact_id], why="better")
    commit = store.commits()[-1]
    assert (commit.n, commit.add, commit.remove, commit.why) == (2, (second.artifact_id,), (first.artifact_id,), "better")
    assert sorted(p.name for p in (store.root / "commits").iterdir()) == ["000001.json", "000002.json"]


def test_stage_and_iteration_find_live_artifacts(store: Store) -> None:
    made = {}
    for stage, iteration in [("tasks", 0), ("rollouts", 1), ("rollouts", 2)]:
        key = ArtifactKey(stage, iteration)
        made[stage, iteration] = store.put(key, {}, Counts(0, 0)).artifact_id
    assert [m.artifact_id for m in store.find("rollouts")] == [made["rollouts", 1], made["rollouts", 2]]
    assert [m.artifact_id for m in store.find("rollouts", 2)] == [made["rollouts", 2]]
    assert [m.artifact_id for m in store.find(iteration=0)] == [made["tasks", 0]]
    assert len(store.find()) == 3


def test_the_id_knows_every_part_of_the_key_but_not_the_ids_of_inputs() -> None:
    key = ArtifactKey("s", 1, "x", {"s": "1"}, {"a": 1}, {"a_1": "digest"})
    others = [
        ArtifactKey("t", 1, "x", {"s": "1"}, {"a": 1}, {"a_1": "digest"}),
        ArtifactKey("s", 2, "x", {"s": "1"}, {"a": 1}, {"a_1": "digest"}),
        ArtifactKey("s", 1, "y", {"s": "1"}, {"a": 1}, {"a_1": "digest"}),
        ArtifactKey("s", 1, "x", {"s": "2"}, {"a": 1}, {"a_1": "digest"}),
        ArtifactKey("s", 1, "x", {"s": "1"}, {"a": 2}, {"a_1": "digest"}),
        ArtifactKey("s", 1, "x", {"s": "1"}, {"a": 1}, {"a_1": "other"}),
    ]
    assert len({k.artifact_id for k in [key, *others]}) == 7
    assert ArtifactKey("s", 1, "x", {"s": "1"}, {"a": 1}, {"a_2": "digest"}).artifact_id == key.artifact_id


def test_rows_must_be_conserved(store: Store) -> None:
    with pytest.raises(Conservation, match="5 rows planned, but 3 out \\+ 1 dropped \\+ 0 failed"):
        store.put(ArtifactKey("tasks"), {"oracles": oracles("1")}, Counts(5, 3, dropped=1))
    assert store.commits() == []


def test_the_same_artifact_put_again_is_no_new_commit(store: Store) -> None:
    assert put(store, "a", "1") == put(store, "a", "1")
    assert len(store.commits()) == 1


def test_an_artifact_never_changes_its_content(store: Store) -> None:
    put(store, "a", "1")
    with pytest.raises(StoreError, match=r"tasks 0 a is already recorded .* with other content"):
        put(store, "a", "2")
    assert store.read("oracles")["oracle"].to_pylist() == ["1"]


def test_a_removed_artifact_can_be_revived_or_put_again(store: Store) -> None:
    first = put(store, "a", "1")
    second = put(store, "b", "2", remove=(first.artifact_id,))
    assert store.revive("a_unknown") is None
    assert store.revive(first.artifact_id, remove=[second.artifact_id]) == first
    assert list(store.live()) == [first.artifact_id]
    assert put(store, "b", "2") == second
    assert store.read("oracles")["oracle"].to_pylist() == ["1", "2"]


def test_a_commit_of_nothing_is_no_commit_and_of_the_unknown_is_refused(store: Store) -> None:
    made = put(store, "a", "1")
    assert store.commit(add=[made.artifact_id]) is None
    with pytest.raises(StoreError, match="never known"):
        store.commit(remove=["a_unknown"])
    removed = store.commit(remove=[made.artifact_id], why="gone")
    assert removed is not None
    assert store.live() == {}


def test_threads_may_put_at_once(store: Store) -> None:
    threads = [threading.Thread(target=put, args=(store, f"shard{i}", str(i))) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(store.read("oracles")["oracle"].to_pylist(), key=int) == [str(i) for i in range(12)]
    assert [c.n for c in store.commits()] == list(range(1, 13))
    assert Store.open(store.root).live() == store.live()


def test_a_reader_cannot_write(store: Store) -> None:
    reader = Store.open(store.root)
    for act in (lambda: put(reader, "a", "1"), lambda: reader.journal("a"), lambda: reader.commit(), reader.sweep):
        with pytest.raises(StoreError, match="open for reading only"):
            act()


def test_a_second_writer_is_kept_out_and_the_next_one_goes_on(tmp_path: Path) -> None:
    with Store.writer(tmp_path / "run", {"shard_size": 4}) as first:
        put(first, "a", "1")
        with pytest.raises(RunLocked), Store.writer(tmp_path / "run", {}):
            pass
    with Store.writer(tmp_path / "run", {"shard_size": 9}) as again:
        assert again.run_id == first.run_id
        assert again.frozen == {"shard_size": 4}, "what the first start fixed stays"
        put(again, "b", "2")
    assert len(Store.open(tmp_path / "run").commits()) == 2
    with pytest.raises(StoreError, match="reading only"):
        put(again, "c", "3")


def test_a_writer_that_lost_its_lock_commits_nothing(store: Store) -> None:
    (store.root / "lock").unlink()
    with pytest.raises(RunLocked, match="took over"):
        put(store, "a", "1")
    assert store.live() == {}


@pytest.mark.parametrize("where", ["parts", "manifest", "end"])
def test_a_writer_killed_anywhere_leaves_a_whole_run(tmp_path: Path, where: str) -> None:
    root = tmp_path / "run"
    with Store.writer(root, {}):
        pass
    done = subprocess.run([sys.executable, "-c", KILLED_WRITER, where, str(root)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert Store.open(root).read("oracles")["oracle"].to_pylist() == (["stale"] if where == "end" else [])
    with Store.writer(root) as store:
        if where != "end":
            half = [name.split("/")[0] for name in store.sweep(dry_run=True)]
            assert half == (["artifacts"] if where == "parts" else []), "a whole artifact may have been paid for"
            fresh = store.put(ArtifactKey("tasks", 0), {"oracles": oracles("new")}, Counts(1, 1))
            assert len(list((root / "artifacts" / "tasks").iterdir())) == 1, "the leftover folder was replaced"
            assert store.read("oracles", [fresh])["oracle"].to_pylist() == ["new"]
        assert store.sweep() == []
        assert store.verify() == []


def test_a_full_disk_loses_nothing_and_the_next_try_succeeds(tmp_path: Path) -> None:
    """A file size limit gives the same system error as a full disk does, without needing one."""
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path / "run")], capture_output=True, text=True, check=True)
    message, before, after = done.stdout.splitlines()
    assert message.startswith("disk full: cannot write")
    assert before == "1 1", "one commit, one leftover folder"
    assert after == "2 [] []"


def test_sweeping_removes_what_no_commit_names_and_nothing_else(store: Store) -> None:
    made = put(store, "a", "1")
    stray = store.root / "artifacts" / "tasks" / "a_stray"
    stray.mkdir()
    (stray / "oracles-000.parquet").write_bytes(b"x")
    (store.root / "artifacts" / "tasks" / made.artifact_id / ".p.1.tmp").write_bytes(b"x")
    (store.root / "commits" / ".000002.json.1.tmp").write_bytes(b"x")
    store.journal("a_unfinished").append([{"id": 1}])
    expected = [f"artifacts/tasks/{made.artifact_id}/.p.1.tmp", "artifacts/tasks/a_stray", "commits/.000002.json.1.tmp"]
    assert store.sweep(dry_run=True) == expected
    assert stray.exists()
    assert store.sweep() == expected
    assert not stray.exists()
    assert store.sweep() == []
    assert store.read("oracles").num_rows == 1
    assert store.journal("a_unfinished").records() == [{"id": 1}]


def test_the_journal_of_an_artifact_goes_when_it_is_committed(store: Store) -> None:
    key = ArtifactKey("tasks", 0, "a")
    journal = store.journal(key.artifact_id)
    journal.append([{"id": 1}])
    assert store.journal(key.artifact_id) is journal
    store.put(key, {}, Counts(0, 0))
    assert not journal.path.exists()


@pytest.mark.parametrize("at", [0.1, 0.3, 0.5, 0.7])
def test_a_flipped_bit_is_refused_by_name(store: Store, at: float) -> None:
    put(store, "good", "1")
    made = put(store, "bad", *(str(i * 7919) for i in range(3000)))
    path = store.root / made.parts[0].path
    flip(path, int(path.stat().st_size * at))
    with pytest.raises(CorruptPart, match=path.name) as caught:
        store.read("oracles")
    assert "ratoon verify RUN" in caught.value.hint
    assert str(path) in caught.value.message
    assert [str(path) in problem for problem in store.verify()] == [True]


def test_a_truncated_or_missing_part_is_refused_by_name(store: Store) -> None:
    path = store.root / put(store, "a", "1").parts[0].path
    os.truncate(path, path.stat().st_size - 3)
    with pytest.raises(CorruptPart, match=f"{path.name} holds .* bytes, its manifest says"):
        store.read("oracles")
    path.unlink()
    with pytest.raises(CorruptPart, match="No such file"):
        next(store.scan("oracles"))
    assert len(store.verify()) == 1


def test_verify_finds_other_content_behind_right_checksums(store: Store) -> None:
    made = put(store, "a", "1")
    manifest = store.root / "artifacts" / "tasks" / made.artifact_id / "manifest.json"
    manifest.write_text(manifest.read_text().replace(made.digests["oracles"], "0" * 32))
    commit = store.root / "commits" / "000001.json"
    tree = json.loads(commit.read_text())
    commit.write_text(json.dumps({name: value for name, value in tree.items() if name not in ("sum", "sums")}))
    assert any("another content digest" in problem for problem in Store.open(store.root).verify())


@pytest.mark.parametrize("file", ["commits/000001.json", "artifacts/*/*/manifest.json"])
def test_a_bit_that_flipped_in_a_commit_or_a_manifest_is_found_wherever_it_is(store: Store, file: str) -> None:
    put(store, "a", "1")
    (path,) = store.root.glob(file)
    whole = path.read_bytes()
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(StoreError, match=path.name):
            Store.open(store.root)
    path.write_bytes(whole[:-1])
    with pytest.raises(StoreError, match=path.name):
        Store.open(store.root)
    path.write_bytes(whole)
    assert Store.open(store.root).verify() == []


def test_a_run_json_that_is_not_as_it_was_written_is_found(store: Store) -> None:
    path = store.root / "run.json"
    path.write_text(path.read_text().replace('"created_at": "2', '"created_at": "3'))
    assert ["run.json is damaged" in problem for problem in Store.open(store.root).verify()] == [True]


@pytest.mark.parametrize(
    "garbage", [b"", b"{", b"[]", b'{"n": 1}', b'{"n":5,"add":[],"remove":[],"why":"","at":""}', b"\xff\x00"]
)
def test_a_garbled_commit_is_named(store: Store, garbage: bytes) -> None:
    put(store, "a", "1")
    (store.root / "commits" / "000001.json").write_bytes(garbage)
    with pytest.raises(StoreError, match=r"commits/000001\.json"):
        Store.open(store.root)


def test_a_missing_commit_is_named_rather_than_its_followers_forgotten(store: Store) -> None:
    for name in "abc":
        put(store, name, "1")
    (store.root / "commits" / "000002.json").unlink()
    with pytest.raises(StoreError, match=r"000002\.json is missing"):
        Store.open(store.root)


def test_a_missing_or_garbled_manifest_is_named(store: Store) -> None:
    made = put(store, "a", "1")
    manifest = store.root / "artifacts" / "tasks" / made.artifact_id / "manifest.json"
    manifest.write_text("{}")
    with pytest.raises(StoreError, match=r"manifest\.json is damaged"):
        Store.open(store.root)
    manifest.unlink()
    with pytest.raises(StoreError, match=f"commit 1 adds {made.artifact_id}"):
        Store.open(store.root)


def test_a_run_of_another_schema_version_is_refused_with_what_to_do(store: Store) -> None:
    path = store.root / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 99, "ratoon_version": "9.9"}))
    with pytest.raises(SchemaMismatch, match="schema version 99") as caught:
        Store.open(store.root)
    assert "9.9" in caught.value.hint
    with pytest.raises(SchemaMismatch), Store.writer(store.root, {}):
        pass


def test_a_folder_that_is_no_run_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is no run") as caught:
        Store.open(tmp_path / "none")
    assert "ratoon run" in caught.value.hint
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(StoreError, match=r"run\.json is damaged"):
        Store.open(tmp_path)


def test_a_run_is_created_once_and_never_over_orphaned_commits(tmp_path: Path) -> None:
    Store.create(tmp_path / "a", {})
    with pytest.raises(StoreError, match="already holds a run"):
        Store.create(tmp_path / "a", {})
    (tmp_path / "b" / "commits").mkdir(parents=True)
    (tmp_path / "b" / "commits" / "000001.json").write_text("{}")
    with pytest.raises(StoreError, match=r"no run\.json"):
        Store.create(tmp_path / "b", {})


def test_every_run_has_its_own_id(tmp_path: Path) -> None:
    assert Store.create(tmp_path / "a", {}).run_id != Store.create(tmp_path / "b", {}).run_id


def test_work_over_parts_comes_back_in_commit_order_and_each_part_knows_its_first_row(store: Store) -> None:
    put(store, "a", "1", "2", "3")
    put(store, "none")
    put(store, "b", *map(str, range(100_000)))
    put(store, "c", "4")
    told = store.over("oracles", None, ["oracle"], lambda first, batches: (first, sum(b.num_rows for b in batches)))
    assert told == [(0, 3), (3, 100_000), (100_003, 1)]


def test_rows_among_ids_are_those_of_the_whole_table_and_damage_is_told(store: Store) -> None:
    put(store, "a", "1", "2", "3")
    last = put(store, "b", "4", "5")
    found = store.among("oracles", None, "task_id", pa.array(["t0", "t2", "t9"]), ["oracle", "task_id"])
    whole = store.read("oracles", columns=["oracle", "task_id"])
    assert found.equals(whole.filter(pc.is_in(whole["task_id"], value_set=pa.array(["t0", "t2", "t9"]))))
    assert found["oracle"].to_pylist() == ["1", "3", "4"]
    assert store.among("oracles", [], "task_id", pa.array(["t0"])).equals(schema.empty("oracles"))
    path = store.root / last.parts[0].path
    os.truncate(path, path.stat().st_size - 3)
    with pytest.raises(CorruptPart, match=path.name):
        store.among("oracles", None, "task_id", pa.array(["t0"]))


def test_columns_come_in_the_order_asked_and_unknown_ones_are_named(store: Store) -> None:
    put(store, "a", "1", "2")
    assert store.read("oracles", columns=["oracle", "task_id"]).to_pylist()[1] == {"oracle": "2", "task_id": "t1"}
    assert store.read("oracles", columns=["oracle"]).column_names == ["oracle"]
    with pytest.raises(DataError, match="'orcale'"):
        store.read("oracles", columns=["orcale"])
    with pytest.raises(DataError, match="no table 'oracle'") as caught:
        store.read("oracle")
    assert "'oracles'" in caught.value.hint


def test_no_rows_are_a_table_without_a_part(store: Store) -> None:
    made = store.put(ArtifactKey("tasks"), {"failures": schema.empty("failures")}, Counts(0, 0))
    assert made.parts == ()
    assert store.read("failures").equals(schema.empty("failures"))
    assert store.verify() == []


def test_a_table_must_be_its_schema_but_may_have_narrower_types(store: Store) -> None:
    with pytest.raises(DataError, match="task_id"):
        store.put(ArtifactKey("x"), {"oracles": pa.table({"oracle": ["1"]})}, Counts(1, 1))
    with pytest.raises(DataError, match="other types"):
        store.put(ArtifactKey("x"), {"oracles": pa.table({"task_id": [["a"]], "oracle": ["1"]})}, Counts(1, 1))
    with pytest.raises(DataError, match="no table"):
        store.put(ArtifactKey("x"), {"orcales": oracles("1")}, Counts(1, 1))
    large = pa.table({"oracle": pa.array(["1"], pa.large_string()), "task_id": ["t0"]})
    assert put(store, "a", "1").digests == store.put(ArtifactKey("y"), {"oracles": large}, Counts(1, 1)).digests


def test_seconds_are_in_no_digest(store: Store) -> None:
    rows = [schema.from_rows("rollouts", [{"rollout_id": "r", "text": "x", "seconds": s}]) for s in (0.1, 9.0)]
    made = [store.put(ArtifactKey("r", i), {"rollouts": row}, Counts(1, 1)) for i, row in enumerate(rows)]
    assert made[0].content_digest == made[1].content_digest


def test_parts_are_zstd_with_64k_groups_and_page_checksums(store: Store) -> None:
    n = 70_000
    table = schema.from_columns("oracles", {"task_id": [f"t{i}" for i in range(n)]})
    made = store.put(ArtifactKey("tasks"), {"oracles": table}, Counts(n, n))
    metadata = pq.ParquetFile(store.root / made.parts[0].path).metadata
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [65_536, n - 65_536]
    assert metadata.row_group(0).column(0).compression == "ZSTD"
    assert [b.num_rows for b in store.scan("oracles")] == [65_536, n - 65_536]


def test_the_resolved_recipe_is_kept_and_overwritten(store: Store) -> None:
    assert store.config() == {}
    store.put_config({"seed": 1})
    store.put_config({"seed": 2})
    assert Store.open(store.root).config() == {"seed": 2}


def test_a_manifest_says_the_same_after_its_file(store: Store) -> None:
    key = ArtifactKey("curate", 2, "default", {"curate": "1"}, {"steps": [1, None, "é"]}, {"a_1": "d"})
    made = store.put(key, {"oracles": oracles("1")}, Counts(4, 1, 2, 1, cost=0.5), extra={"dataset": "default/2"})
    assert Manifest.from_json(made.to_json()) == made
    assert (made.stage, made.iteration, made.shard, made.rows("oracles")) == ("curate", 2, "default", 1)
    assert Store.open(store.root).get(made.artifact_id) == made
