"""The Python face on a finished run: each verb says what the command line says, in plain Python values."""

from __future__ import annotations

import gc
import shutil
from pathlib import Path

import pytest

from ratoon import Run
from ratoon.errors import ConfigError, DataError, SqlError, StoreError, UsageError
from ratoon.run import evaluate, plan


@pytest.fixture
def run(smoke_run: Path) -> Run:
    return Run(smoke_run)


@pytest.fixture
def copy(smoke_run: Path, tmp_path: Path) -> Run:
    return Run(shutil.copytree(smoke_run, tmp_path / "run"))


def test_a_query_is_a_relation_whose_table_outlives_the_call(run: Run) -> None:
    relation = run.sql("select status, count(*) as n from scores where subject_kind = 'rollout' group by all")
    gc.collect()
    table = relation.to_arrow_table()
    assert sum(table["n"].to_pylist()) == run.sql("select count(*) from rollouts").fetchall()[0][0]
    assert set(table["status"].to_pylist()) == {"pass", "fail"}


def test_a_query_that_is_no_select_is_refused(run: Run) -> None:
    with pytest.raises(SqlError):
        run.sql("drop view tasks")


def test_rendered_csv_has_one_header_line_and_plain_values(run: Run) -> None:
    assert run.render("select 1 as a, true as b, null as c", "csv") == "a,b,c\n1,true,\n"


def test_rounds_and_status_agree(run: Run) -> None:
    state = run.status()
    assert [row["round"] for row in run.rounds()] == [0, 1, 2]
    assert state["rounds"] == run.rounds()
    assert state["policy"] == run.sql("select policy_id from policies where iteration = 2").fetchall()[0][0]
    assert state["commits"] >= 8


def test_kept_and_dropped_rows_are_what_they_say(run: Run) -> None:
    assert {row["keep"] for row in run.show("kept", n=3)} == {True}
    dropped = run.show("dropped", n=3)
    assert {row["keep"] for row in dropped} == {False}
    assert all(row["reason"] for row in dropped)
    with pytest.raises(UsageError, match="cannot show"):
        run.show("all")


def test_a_kept_rollout_is_explained_up_to_the_policy_it_made(run: Run) -> None:
    rollout = run.sql("select rollout_ids[1] from examples order by all limit 1").fetchall()[0][0]
    found = run.explain(rollout)
    assert {"tasks", "prompts", "rollouts", "scores", "groups", "decisions", "examples", "policies", "evals"} <= found.keys()
    assert found == run.explain(rollout[:14])


def test_curating_returns_one_dict_a_round_and_leaves_the_default_alone(copy: Run) -> None:
    before = copy.dataset()
    told = copy.curate("all", sets=["filters=[]"])
    assert [(row["round"], row["dataset"]) for row in told] == [(1, "all"), (2, "all")]
    assert all(row["kept"] == row["candidates"] for row in told)
    assert copy.dataset().equals(before)
    assert copy.curate("all", sets=["filters=[]"]) == told
    assert {d["name"] for d in copy.datasets()} == {"default", "all"}


def test_a_dataset_is_of_the_newest_round_unless_one_is_named(run: Run) -> None:
    assert set(run.dataset()["iteration"].to_pylist()) == {2}
    assert set(run.dataset(iteration=1)["iteration"].to_pylist()) == {1}
    with pytest.raises(DataError) as caught:
        run.dataset("nope")
    assert "default/1, default/2" in caught.value.hint


def test_an_export_is_a_folder_of_the_newest_dataset(run: Run, tmp_path: Path) -> None:
    out = run.export("jsonl", tmp_path / "out")
    lines = (out / "data" / "train.jsonl").read_text().splitlines()
    assert len(lines) == run.dataset().num_rows


@pytest.mark.usefixtures("trained_here")
def test_a_model_is_trained_from_a_dataset_of_the_run(copy: Run, tmp_path: Path) -> None:
    trained = copy.train(tmp_path / "model", sets=["train.data=this"])
    assert (tmp_path / "model" / "model.safetensors").exists()
    assert trained.trained_tokens > 0
    assert trained.steps > 0


def test_an_import_in_python_is_a_run(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"q": "1 + 1?", "completion": "2", "answer": "2"}\n')
    run = Run.bring(path, tmp_path / "run", columns={"prompt": "q"})
    assert run.dataset().num_rows == 1
    assert run.status()["policy"] is None


def test_an_import_takes_the_round_after_the_runs_own_and_changes_none_of_them(copy: Run, tmp_path: Path) -> None:
    rounds, datasets = copy.rounds(), copy.curate("same")
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "1 + 1?", "completion": "2", "answer": "2", "finish_reason": "stop"}\n')
    run = Run.bring(path, copy.root)
    assert run.rounds()[:-1] == rounds
    assert run.rounds()[-1]["round"] == 3
    assert run.curate("same")[:-1] == datasets
    assert run.status()["policy"] == copy.status()["policy"]
    assert run.verify() == []


def test_a_prompt_the_run_holds_out_is_held_out_of_an_import_too(copy: Run, tmp_path: Path) -> None:
    import json

    query = "select messages, answer from tasks where split = 'eval' and verifier = 'numeric' limit 1"
    task = copy.sql(query).to_arrow_table().to_pylist()[0]
    path = tmp_path / "leak.jsonl"
    path.write_text(json.dumps({"prompt": task["messages"], "completion": task["answer"], "answer": task["answer"]}) + "\n")
    run = Run.bring(path, copy.root)
    assert run.sql("select count(*) from rollouts where iteration = 3").fetchall() == [(1,)]
    assert run.sql("select count(*) from examples e join tasks t using (task_id) where t.split = 'eval'").fetchall() == [(0,)]


def test_a_whole_run_has_no_problems(run: Run) -> None:
    assert run.verify() == []


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"no run\.json"):
        Run(tmp_path)


def test_a_plan_asks_nothing_and_names_every_round(tmp_path: Path) -> None:
    assert [row["round"] for row in plan("smoke", ["run.iterations=3"])] == [0, 1, 2, 3]
    with pytest.raises(ConfigError, match="no recipe"):
        plan(tmp_path / "absent.toml")


def test_a_run_is_compared_with_its_own_policies_only(run: Run) -> None:
    with pytest.raises(UsageError, match="its own base"):
        evaluate(run.root, against="other")
    with pytest.raises(UsageError, match="kept in it"):
        evaluate(run.root, root=run.root.with_name("other"))
