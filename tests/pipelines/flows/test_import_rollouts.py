"""Rollouts made elsewhere: what becomes of a row, of a bad row, of a file brought twice, and of problems that are held out."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ratoon import Run
from ratoon.errors import DataError, UsageError
from ratoon.generators.imported import Judged
from ratoon.pipelines.flows.import_rollouts import bring
from ratoon.render import Renderer
from ratoon.rows.golds import GoldRule
from ratoon.sft.models.tiny import make_tiny

SUM = {"prompt": "1 + 1 = ?", "completion": "The answer is 2", "answer": "2", "finish_reason": "stop"}
WRONG = SUM | {"completion": "The answer is 3"}
RECIPE = '# tiny\n[model]\nkind = "tiny-random"\n[[filters]]\nkind = "verified"\n'


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    """`file(row, …)`: a JSONL file of those rows."""

    def write(*rows: dict[str, Any], name: str = "theirs.jsonl") -> Path:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return write


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    """A recipe that names a model, so that rows get token ids."""
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE)
    return str(path)


@pytest.fixture(scope="module")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> Renderer:
    return Renderer(make_tiny(tmp_path_factory.mktemp("bring") / "tiny"))


def rows(root: Path, query: str) -> list[dict[str, Any]]:
    return Run(root).sql(query).to_arrow_table().to_pylist()


def test_rows_become_a_round_that_every_verb_knows(file: Callable[..., Path], root: Path, tmp_path: Path) -> None:
    told = bring(file(SUM, WRONG, SUM | {"prompt": "2 + 2 = ?", "answer": "4"}), root)
    run = Run(root)
    assert (told["round"], told["rollouts"], told["passed"], told["kept"], told["failed"]) == (1, 3, 1, 1, 0)
    assert {row["iteration"] for row in run.show()} == {1}
    assert run.rounds()[-1]["pass_rate"] == pytest.approx(1 / 3)
    assert run.curate("all", sets=["filters=[]"])[0]["kept"] == 3
    assert run.dataset().to_pylist()[0]["completion"] == [{"role": "assistant", "content": "The answer is 2"}]
    assert (run.export("trl-sft", tmp_path / "out") / "README.md").exists()
    assert run.verify() == []
    assert run.explain(run.show(n=1)[0]["rollout_id"])["rollouts"]


def test_an_import_needs_no_prefect(file: Callable[..., Path], root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prefect", None)
    assert bring(file(SUM), root)["kept"] == 1


def test_the_same_file_twice_adds_nothing(file: Callable[..., Path], root: Path) -> None:
    bring(file(SUM, WRONG), root)
    live, commits = list(Run(root).store.live()), len(Run(root).store.commits())
    told = bring(file(SUM, WRONG), root)
    assert (told["added"], told["rollouts"]) == (0, 2)
    assert (list(Run(root).store.live()), len(Run(root).store.commits())) == (live, commits)


def test_a_longer_file_adds_only_its_new_rows_with_the_next_sample_numbers(file: Callable[..., Path], root: Path) -> None:
    bring(file(SUM, WRONG), root)
    told = bring(file(SUM, WRONG, SUM, name="longer.jsonl"), root)
    assert (told["round"], told["already there"], told["added"]) == (2, 2, 1)
    assert [r["sample"] for r in rows(root, "select sample from rollouts order by sample")] == [0, 1, 2]
    assert rows(root, "select count(*) as n, count(distinct task_id) as d from tasks") == [{"n": 1, "d": 1}]
    assert [c["kept"] for c in Run(root).curate("again")] == [1, 1]


def test_other_options_replace_what_the_file_brought(file: Callable[..., Path], root: Path) -> None:
    path = file(SUM | {"response": "The answer is 4"})
    assert bring(path, root)["passed"] == 1
    told = bring(path, root, columns=["completion=response"])
    assert (told["round"], told["passed"]) == (1, 0)
    assert [r["text"] for r in rows(root, "select text from rollouts")] == ["The answer is 4"]
    assert len(rows(root, "select distinct text from all_rollouts")) == 2


def test_parquet_and_jsonl_of_the_same_rows_give_the_same_rollouts(file: Callable[..., Path], tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist([SUM, WRONG]), tmp_path / "theirs.parquet")
    bring(tmp_path / "theirs.parquet", tmp_path / "a")
    bring(file(SUM, WRONG), tmp_path / "b")
    query = "select rollout_id, text from rollouts order by rollout_id"
    assert rows(tmp_path / "a", query) == rows(tmp_path / "b", query)


def test_token_ids_that_say_the_text_are_kept_with_their_log_probs(
    file: Callable[..., Path], root: Path, recipe: str, renderer: Renderer
) -> None:
    ids = [*renderer.encode(SUM["completion"]), *renderer.end_of_turn_ids]
    told = bring(file(SUM | {"token_ids": ids, "logprobs": [-0.5] * len(ids)}), root, recipe=recipe)
    (row,) = rows(root, "select token_ids, logprobs, logprob_source, loss_mask from rollouts")
    assert row == {"token_ids": ids, "logprobs": [-0.5] * len(ids), "logprob_source": "import", "loss_mask": [1] * len(ids)}
    assert (told["ids given"], told["ids rendered"]) == (1, 0)


def test_token_ids_of_another_tokenizer_are_not_believed(
    file: Callable[..., Path], root: Path, recipe: str, renderer: Renderer
) -> None:
    told = bring(file(SUM | {"token_ids": [1, 2, 99999], "logprobs": [-1.0, -1.0, -1.0]}), root, recipe=recipe)
    (row,) = rows(root, "select token_ids, logprobs, logprob_source from rollouts")
    assert row["token_ids"] == [*renderer.encode(SUM["completion"]), renderer.end_of_turn_ids[0]]
    assert (row["logprobs"], row["logprob_source"]) == (None, None)
    assert told["ids rendered"] == 1


@pytest.mark.parametrize(("reason", "ended"), [("stop", True), (None, True), ("length", False)])
def test_a_rendered_reply_ends_its_turn_unless_it_was_cut(
    file: Callable[..., Path], root: Path, recipe: str, renderer: Renderer, reason: str | None, ended: bool
) -> None:
    bring(file(SUM | {"finish_reason": reason}), root, recipe=recipe)
    (row,) = rows(root, "select text, token_ids, finish_reason from rollouts")
    assert (row["token_ids"][-1] in renderer.end_of_turn_ids) == ended
    assert renderer.decode(row["token_ids"]) == row["text"]
    assert row["finish_reason"] == reason


def test_a_dataset_row_carries_what_training_needs(
    file: Callable[..., Path], root: Path, recipe: str, renderer: Renderer
) -> None:
    bring(file(SUM), root, recipe=recipe)
    (row,) = Run(root).dataset().to_pylist()
    assert row["prompt_token_ids"] == renderer.render([[{"role": "user", "content": SUM["prompt"]}]])[0]
    assert row["loss_mask"] == [1] * len(row["token_ids"])
    assert (row["temperature"], row["label"], row["label_source"]) == (None, True, "verifier")


def test_without_a_model_token_ids_are_unknown_and_stay_so(file: Callable[..., Path], root: Path) -> None:
    bring(file(SUM), root)
    bring(file(SUM | {"prompt": "2 + 0 = ?"}, name="more.jsonl"), root)
    assert {r["token_ids"] for r in rows(root, "select token_ids from rollouts")} == {None}


def test_what_is_known_of_policy_and_sampling_is_kept_and_the_rest_is_null(file: Callable[..., Path], root: Path) -> None:
    bring(file(SUM | {"policy": "gpt-x", "temperature": 0.7}, SUM), root)
    known = "select p.uri, p.kind, p.iteration, s.temperature, s.max_tokens from rollouts r join policies p using (policy_id)"
    found = rows(root, f"{known} join samplings s using (sampling_id) order by p.uri nulls last")
    blank = {"uri": None, "kind": None, "iteration": None, "temperature": None, "max_tokens": None}
    assert found == [blank | {"uri": "gpt-x", "temperature": 0.7}, blank]


def test_a_system_message_belongs_to_the_prompt_and_not_to_the_task(file: Callable[..., Path], root: Path) -> None:
    asked = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1 + 1 = ?"}]
    bring(file(SUM, SUM | {"prompt": asked}), root)
    assert rows(root, "select len(messages) as n from prompts order by n") == [{"n": 1}, {"n": 2}]
    assert len(rows(root, "select * from tasks")) == 1


BAD = [
    ({"prompt": None}, "the prompt is null"),
    ({"prompt": "  "}, "the prompt is blank"),
    ({"prompt": []}, "messages is no list"),
    ({"completion": None}, "the completion is null"),
    ({"completion": 7}, "a int, not a text"),
    ({"completion": "\ud800"}, "not valid UTF-8"),
    ({"token_ids": [1, 2], "logprobs": [-1.0]}, "2 token ids, but 1 log-probs"),
    ({"logprobs": [-1.0]}, "0 token ids, but 1 log-probs"),
    ({"token_ids": [-4]}, "no token id"),
    ({"token_ids": "12"}, "no list of whole numbers"),
    ({"label": "perhaps"}, "not true or false"),
    ({"split": "test"}, "split 'test' is none of"),
    ({"answer": {"a": 2}}, "the answer is a dict"),
    ({"temperature": "warm"}, "not a number"),
]


@pytest.mark.parametrize(("change", "why"), BAD, ids=[why for _, why in BAD])
def test_a_row_that_cannot_be_used_is_a_failure_with_its_line_and_reason(
    file: Callable[..., Path], root: Path, change: dict[str, Any], why: str
) -> None:
    told = bring(file(SUM, SUM | change), root)
    (failure,) = rows(root, "select subject_id, message from failures where stage = 'import'")
    assert why in failure["message"]
    assert failure["subject_id"].endswith("theirs.jsonl:2")
    assert (told["rows"], told["failed"], told["rollouts"]) == (2, 1, 1)


def test_a_line_of_broken_bytes_or_json_costs_that_line_only(file: Callable[..., Path], root: Path) -> None:
    path = file(SUM)
    path.write_bytes(path.read_bytes() + b'{"prompt": "\xff"}\n{"prompt": \n[1]\n')
    told = bring(path, root)
    assert (told["rows"], told["failed"], told["kept"]) == (4, 3, 1)


def test_a_prompt_the_template_refuses_fails_alone(file: Callable[..., Path], root: Path, tmp_path: Path) -> None:
    model = make_tiny(tmp_path / "strict")
    (model / "chat_template.jinja").write_text(
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}{{ messages[-1]['content'] }}"
    )
    path = tmp_path / "strict.toml"
    path.write_text(f'# strict\n[model]\nkind = "path"\npath = "{model}"\n')
    system = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]
    told = bring(file(SUM, SUM | {"prompt": system}), root, recipe=str(path))
    assert (told["failed"], told["rollouts"]) == (1, 1)
    assert "refuses the roles" in rows(root, "select message from failures")[0]["message"]


@pytest.mark.parametrize(
    ("text", "name", "error"),
    [
        ("", "a.jsonl", "is empty"),
        ('{"prompt": null, "completion": "x"}\n', "a.jsonl", "none of the 1 rows can be used; a.jsonl:1: the prompt is null"),
        ('{"prompt": "x"}\n', "a.jsonl", "has no column 'completion'"),
        ('{"question": "x", "answer": "2"}\n', "a.jsonl", "has no column 'completion'"),
        ("hello", "a.txt", "its type is '.txt'"),
        ("not parquet", "a.parquet", "no readable Parquet file"),
    ],
)
def test_a_file_without_a_usable_row_makes_no_run(tmp_path: Path, root: Path, text: str, name: str, error: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError) as caught:
        bring(tmp_path / name, root)
    assert error in caught.value.message
    assert caught.value.hint
    assert not root.exists()


@pytest.mark.parametrize(
    ("columns", "verifier", "hint"),
    [
        (["anwser=answer"], "numeric", "'answer'"), (["answer"], "numeric", "final_answer=answer"),
        (["answer=golden"], "numeric", "NAME=answer"), ([], "numerc", "'numeric'"),
    ],
)  # fmt: skip
def test_a_wrong_option_is_refused_with_what_mends_it(
    file: Callable[..., Path], root: Path, columns: list[str], verifier: str, hint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        bring(file(SUM), root, columns=columns, verifier=verifier)
    assert hint in caught.value.hint
    assert not root.exists()


def test_a_label_is_a_verdict_of_its_own_scorer(file: Callable[..., Path], root: Path) -> None:
    asked = {"prompt": "Capital of France?"}
    path = file(asked | {"completion": "Paris", "label": True}, asked | {"completion": "Rome", "label": False},
                asked | {"completion": "Lyon"}, {"prompt": "And Spain?", "completion": "Madrid"})  # fmt: skip
    told = bring(path, root)
    scores = rows(root, "select text, scorer, status from scores join rollouts on rollout_id = subject_id order by text")
    assert [(s["text"], s["scorer"], s["status"]) for s in scores] == [
        ("Lyon", "imported", "abstain"), ("Paris", "imported", "pass"), ("Rome", "imported", "fail"),
    ]  # fmt: skip
    assert (told["kept"], told["unjudged"]) == (1, 2)
    assert Run(root).dataset()["label_source"].to_pylist() == ["imported"]


def test_the_verifier_decides_where_it_can_and_labels_that_differ_are_counted(file: Callable[..., Path], root: Path) -> None:
    told = bring(file(SUM | {"label": True}, WRONG | {"label": True}), root)
    assert (told["passed"], told["label disagrees"]) == (1, 1)
    assert [r["scorer"] for r in rows(root, "select distinct scorer from scores")] == ["numeric"]


def test_a_reply_cut_by_length_fails_whatever_it_holds(file: Callable[..., Path], root: Path) -> None:
    assert bring(file(SUM | {"finish_reason": "max_tokens"}), root)["passed"] == 0
    assert rows(root, "select detail from scores") == [{"detail": "length"}]


def test_problems_of_probe_and_eval_are_verified_but_reach_no_dataset(file: Callable[..., Path], root: Path) -> None:
    other = SUM | {"prompt": "3 - 1 = ?"}
    told = bring(file(SUM | {"split": "eval"}, SUM | {"split": "train", "completion": "2"}, other), root)
    assert (told["held out"], told["passed"], told["kept"]) == (2, 3, 1)
    assert Run(root).dataset()["prompt"].to_pylist() == [[{"role": "user", "content": "3 - 1 = ?"}]]
    assert bring(file(SUM | {"completion": "It is 2"}, name="later.jsonl"), root)["held out"] == 1


def test_a_run_does_not_overwrite_an_imported_round(file: Callable[..., Path], root: Path) -> None:
    bring(file(SUM), root)
    config = Run(root).store.config()
    with pytest.raises(UsageError, match=r"holds the import of theirs\.jsonl"):
        Run.start("smoke", root, quiet=True)
    assert Run(root).store.config() == config


def test_a_model_with_another_tokenizer_than_the_run_is_refused(file: Callable[..., Path], root: Path, tmp_path: Path) -> None:
    from ratoon import schema
    from ratoon.pipelines.runtime.stage import Built, key, run_stage
    from ratoon.store.store import Counts, Store

    with Store.writer(root, {"shard_size": 8}) as store:
        row = schema.from_rows("policies", [{"policy_id": "m_x", "tokenizer_digest": "other", "iteration": 0}])
        run_stage(store, key("base", 0), lambda: Built({"policies": row}, Counts(1, 1)))
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE)
    with pytest.raises(DataError, match="another tokenizer"):
        bring(file(SUM), root, recipe=str(path))


def test_a_datasets_own_rows_come_back_as_they_were(file: Callable[..., Path], root: Path, recipe: str, tmp_path: Path) -> None:
    bring(file(SUM, WRONG, SUM | {"prompt": "2 + 0 = ?", "temperature": 0.5}), root, recipe=recipe)
    (part,) = Path(Run(root).datasets()[0]["folder"]).glob("data/*.parquet")
    bring(part, tmp_path / "second", recipe=recipe, columns=["policy=policy_id"])
    names = ["prompt", "completion", "prompt_token_ids", "token_ids", "temperature", "label"]
    first, second = (Run(r).dataset().select(names).to_pylist() for r in (root, tmp_path / "second"))
    assert sorted(map(str, first)) == sorted(map(str, second))


def test_shards_hold_so_many_tasks_whatever_the_order_of_rows(file: Callable[..., Path], tmp_path: Path) -> None:
    many = [SUM | {"prompt": f"{i} + 0 = ?", "answer": str(i), "completion": str(i)} for i in range(70)]
    bring(file(*many, name="a.jsonl"), tmp_path / "a")
    bring(file(*reversed(many), name="b.jsonl"), tmp_path / "b")
    for root in (tmp_path / "a", tmp_path / "b"):
        assert [m.shard for m in Run(root).store.find("rollouts")] == ["train-0000", "train-0001", "train-0002"]
    query = "select rollout_id, text, sample from rollouts order by rollout_id"
    assert rows(tmp_path / "a", query) == rows(tmp_path / "b", query)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no"):
        bring(tmp_path / "absent.jsonl", tmp_path / "run")


SUMS = [(f"What is {i} + {i + 2}?", f"It is {2 * i + 2 + wrong}.", str(2 * i + 2), not wrong)
        for i in range(12) for wrong in (0, 1, 0, 0)]  # fmt: skip


@pytest.mark.parametrize("labels", [("True", "False"), ("TRUE", "FALSE"), ("1", "0"), ("yes", "no"), ("1.0", "0.0")])
def test_verdicts_of_a_table_are_read_as_pandas_excel_and_people_write_them(
    tmp_path: Path, root: Path, labels: tuple[str, str]
) -> None:
    lines = [f"{q},{a},{labels[0] if passed else labels[1]}" for q, a, _, passed in SUMS]
    (tmp_path / "sums.csv").write_text("\n".join(["prompt,completion,label", *lines]))
    told = bring(tmp_path / "sums.csv", root)
    assert (told["rows"], told["failed"], told["passed"]) == (48, 0, 36)


def test_rows_of_every_layout_are_the_same_rollouts(tmp_path: Path) -> None:
    def chat(q: str, a: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": q}, {"role": "assistant", "content": a}]

    layouts: list[Callable[[str, str], dict[str, Any]]] = [
        lambda q, a: {"prompt": q, "completion": a}, lambda q, a: {"messages": chat(q, a)},
        lambda q, a: {"conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": a}]},
        lambda q, a: {"instruction": q, "input": "", "output": a}, lambda q, a: {"problem": q, "generated_solution": a},
        lambda q, a: {"problem": q, "generations": [a]}, lambda q, a: {"prompt": q, "chosen": a, "rejected": "no"},
    ]  # fmt: skip
    found = []
    for number, layout in enumerate(layouts):
        data = [layout(q, a) | {"answer": gold} for q, a, gold, _ in SUMS[:8]]
        (tmp_path / f"{number}.json").write_text(json.dumps(data))
        told = bring(tmp_path / f"{number}.json", tmp_path / f"run{number}")
        assert (told["rollouts"], told["passed"]) == (8, 6)
        found.append(rows(tmp_path / f"run{number}", "select text from rollouts order by rollout_id"))
    assert all(one == found[0] for one in found)


def test_golds_are_read_as_they_lie_and_any_of_several_will_do(file: Callable[..., Path], root: Path, tmp_path: Path) -> None:
    asked = {"prompt": "1 + 1 = ?"}
    marked = file(asked | {"completion": "It is 2", "answer": "1 + 1 = <<2>>2\n#### 2"},
                  asked | {"completion": "It is 3", "answer": "1 + 1 = 2\n#### 2"}, name="marked.jsonl")  # fmt: skip
    assert bring(marked, root, judged=Judged(GoldRule(after="####")))["passed"] == 1
    several = file({"prompt": "Largest?", "completion": "NYC", "answer": ["New York", "NYC"]}, name="several.jsonl")
    assert bring(several, tmp_path / "several", verifier="exact")["passed"] == 1
    chosen = file({"prompt": "The sky?", "choices": ["red", "blue"], "completion": "blue", "answer": 1}, name="chosen.jsonl")
    assert bring(chosen, tmp_path / "chosen", verifier="exact", judged=Judged(GoldRule(index_into="choices")))["passed"] == 1


def test_a_verifiers_arguments_come_from_columns_and_from_the_caller(file: Callable[..., Path], root: Path) -> None:
    row = {"prompt": "The sky?", "completion": "B", "answer": 2, "choices": ["red", "blue"]}
    told = bring(file(row), root, verifier="choice", judged=Judged(args={"first": 1}, columns={"options": "choices"}))
    assert told["passed"] == 1
    with pytest.raises(DataError, match="has no column 'options'"):
        bring(file(row), root, verifier="choice", judged=Judged(columns={"options": "options"}))


def test_what_was_read_is_told_and_why_nothing_was_kept(file: Callable[..., Path], root: Path) -> None:
    replies = [{"question": f"{i}?", "response": "yes", "reward": i / 100, "note": "unread"} for i in range(40)]
    told = bring(file(*replies), root, columns=["label=reward"])
    assert told["kept"] == 0
    line, label, why = told["notes"]
    assert "40 rows of theirs.jsonl" in line
    assert "label = reward" in line
    assert "text not looked at: note" in line
    assert label == "column reward from 0.5 on it is true"
    assert why.startswith("kept 0 of 40: verified dropped 40 (")


def test_a_column_has_a_role_by_either_order_and_by_its_older_name(file: Callable[..., Path], tmp_path: Path) -> None:
    path = file({"q": "1 + 1 = ?", "r": "It is 2", "truth": "2"})
    pairs = [
        ["q=prompt", "r=completion", "truth=answer"], ["prompt=q", "completion=r", "answer=truth"],
        ["q=prompt", "r=completion", "truth=gold"],
    ]  # fmt: skip
    for number, columns in enumerate(pairs):
        assert bring(path, tmp_path / f"run{number}", columns=columns)["passed"] == 1
