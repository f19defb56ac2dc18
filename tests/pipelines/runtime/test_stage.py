"""A stage finds its live artifact or makes it; what replaces an artifact takes everything made from it out of the live set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ratoon import schema
from ratoon.pipelines.runtime.stage import Built, drop_extra, key, run_stage, with_descendants
from ratoon.store.store import ArtifactKey, Counts, Manifest, Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.writer(tmp_path / "run") as writer:
        yield writer


def make(store: Store, wanted: ArtifactKey) -> Manifest:
    """An artifact whose content follows from its id alone."""
    row = {"task_id": wanted.artifact_id, "oracle": wanted.stage}
    return run_stage(store, wanted, lambda: Built({"oracles": schema.from_rows("oracles", [row])}, Counts(1, 1)))


def never() -> Built:
    pytest.fail("built again")


def chain(store: Store, seed: int, shards: int = 2) -> list[Manifest]:
    """Tasks, then rollouts and scores in shards, then groups, each made from the one before."""
    tasks = make(store, key("tasks", 0, config=seed))
    rollouts = [make(store, key("rollouts", 1, f"train-{i}", inputs=[tasks])) for i in range(shards)]
    scores = [make(store, key("scores", 1, f"train-{i}", inputs=[r])) for i, r in enumerate(rollouts)]
    return [tasks, *rollouts, *scores, make(store, key("groups", 1, "train", inputs=scores))]


def test_a_live_artifact_is_found_and_not_made_again(store: Store) -> None:
    made = make(store, key("tasks", 0, config=1))
    assert run_stage(store, key("tasks", 0, config=1), never) == made
    assert len(store.commits()) == 1


def test_a_new_config_replaces_the_artifact_of_its_slot_and_all_made_from_it_in_one_commit(store: Store) -> None:
    old = chain(store, seed=1)
    other = make(store, key("prompts", 0))
    new = make(store, key("tasks", 0, config=2))
    assert set(store.live()) == {other.artifact_id, new.artifact_id}
    last = store.commits()[-1]
    assert set(last.add) == {new.artifact_id}
    assert set(last.remove) == {m.artifact_id for m in old}


def test_switching_back_revives_what_there_was_without_building(store: Store) -> None:
    old = chain(store, seed=1)
    make(store, key("tasks", 0, config=2))
    for manifest in old:
        run_stage(store, manifest.key, never)
    assert set(store.live()) == {m.artifact_id for m in old}
    assert store.verify() == []


def test_another_shard_or_iteration_is_another_slot(store: Store) -> None:
    for wanted in (key("rollouts", 1, "train-0"), key("rollouts", 1, "train-1"), key("rollouts", 2, "train-0")):
        make(store, wanted)
    assert len(store.live()) == 3


def test_a_stage_version_makes_another_artifact_and_its_inputs_count_by_content(store: Store) -> None:
    first, same = key("scores", 1, "a", versions={"verifier": "1"}), key("scores", 1, "a", versions={"verifier": "2"})
    assert first.artifact_id != same.artifact_id
    assert key("scores", 1, inputs={"a_1": "digest"}).artifact_id == key("scores", 1, inputs={"a_2": "digest"}).artifact_id
    assert key("scores", 1, inputs={"a_1": "digest"}).artifact_id != key("scores", 1, inputs={"a_1": "other"}).artifact_id


def test_descendants_are_found_at_any_remove(store: Store) -> None:
    made = chain(store, seed=1)
    tasks, first, *_, groups = made
    assert with_descendants(store.live(), {tasks.artifact_id}) == {m.artifact_id for m in made}
    assert with_descendants(store.live(), {first.artifact_id}) == {
        first.artifact_id, *(m.artifact_id for m in made[3:4]), groups.artifact_id
    }  # fmt: skip


def test_shards_that_are_no_longer_planned_leave_with_what_was_made_from_them(store: Store) -> None:
    made = chain(store, seed=1, shards=3)
    keep = [m.artifact_id for m in made if m.stage == "rollouts" and m.shard != "train-2"]
    drop_extra(store, "rollouts", 1, "train", keep)
    live = {(m.stage, m.shard) for m in store.live().values()}
    assert ("rollouts", "train-2") not in live
    assert ("scores", "train-2") not in live
    assert ("groups", "train") not in live
    assert {("rollouts", "train-0"), ("scores", "train-1")} <= live
    before = len(store.commits())
    drop_extra(store, "rollouts", 1, "train", keep)
    assert len(store.commits()) == before, "nothing to drop is no commit"


def test_a_suite_whose_name_begins_with_anothers_keeps_its_shards(store: Store) -> None:
    _mine, other = (make(store, key("rollouts", 1, f"suite-{name}-0000")) for name in ("heldout", "heldout-hard"))
    drop_extra(store, "rollouts", 1, "suite-heldout", [])
    assert set(store.live()) == {other.artifact_id}


def test_a_build_that_fails_leaves_what_it_would_have_replaced(store: Store) -> None:
    old = chain(store, seed=1)

    def broken() -> Built:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        run_stage(store, key("tasks", 0, config=2), broken)
    assert set(store.live()) == {m.artifact_id for m in old}
