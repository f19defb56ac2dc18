import gzip
import json
import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ratoon import config, schema
from ratoon.errors import ConfigError, DataError
from ratoon.generators.tasks.dataset import DatasetConfig, propose
from ratoon.messages import compact

ROWS = [{"prompt": f"What is {i} + 1?", "answer": i + 1, "side": "test" if i % 2 else "train"} for i in range(6)]


def write(folder, kind, rows=ROWS):
    path = folder / f"sums.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        path.write_text("\n".join([",".join(rows[0]), *[",".join(map(str, row.values())) for row in rows]]))
    return path


def arm(path, **fields):
    return config.parse(DatasetConfig, {"path": str(path), "verifier": "numeric"} | fields, "tasks.0")


def failures(proposal):
    return {row["subject_id"].split("/")[1]: row["message"] for row in proposal.failures.to_pylist()}


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"path": ""}, "at least 1 character"),
        ({"limit": 0}, "greater than or equal to 1"),
        ({"wording": "x"}, "must hold {prompt}"),
        ({"splits": {"a": "dev"}}, "'train', 'probe' or 'eval'"),
        ({"columns": {"promt": "q"}}, "did you mean 'prompt'"),
        ({"answer_regex": "("}, "answer_regex '\\(' is no regular expression"),
    ],
)
def test_a_bad_config_is_refused_by_field(tree, message):
    with pytest.raises(ConfigError, match=message):
        config.parse(DatasetConfig, {"path": "x.csv"} | tree, "tasks.0")


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "csv"])
def test_every_kind_of_file_gives_the_same_whole_tasks(tmp_path, kind):
    proposal = propose(arm(write(tmp_path, kind), columns={"split": "side", "level": "side"}), 0)
    assert proposal.tasks.schema == schema.TABLES["tasks"]
    row = proposal.tasks.to_pylist()[1]
    assert compact(row["messages"]) == [{"role": "user", "content": "What is 1 + 1?"}]
    assert (row["answer"], row["problem_key"], row["split"], row["level"]) == ("2", "what is 1 + 1?", "eval", "test")
    assert (row["family"], row["verifier"], row["verifier_args"]) == ("sums", "numeric", "{}")
    assert proposal.tasks["split"].to_pylist() == ["train", "eval"] * 3
    assert proposal.oracles["oracle"].to_pylist() == ["1", "2", "3", "4", "5", "6"]


def test_the_task_ids_do_not_hang_on_the_file_type(tmp_path):
    found = [propose(arm(write(tmp_path, kind)), 0).tasks["task_id"].to_pylist() for kind in ("parquet", "jsonl", "csv")]
    assert found[0] == found[1] == found[2]


def test_a_folder_of_files_is_read_whole(tmp_path):
    write(tmp_path, "jsonl", ROWS[:3])
    write(tmp_path, "csv", ROWS[3:])
    assert propose(arm(tmp_path), 0).tasks.num_rows == 6


def test_a_folders_splits_are_sides_and_what_was_read_is_told_in_one_line(tmp_path):
    for split, rows in (("train", ROWS[:3]), ("test", ROWS[3:])):
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "scores.xlsx").write_text("")
    proposal = propose(arm(tmp_path), 0)
    assert sorted(proposal.tasks["split"].to_pylist()) == ["eval"] * 3 + ["train"] * 3
    (line,) = proposal.told
    assert "6 rows of 2 files" in line
    assert "left out: scores.xlsx" in line
    assert "splits" in line
    assert "prompt, answer" in line
    assert "text not looked at: side" in line


@pytest.mark.parametrize("name", ["gsm.json", "gsm.jsonl.gz", "gsm.tsv", "gsm.arrow"])
def test_rows_of_any_kind_of_file_are_tasks_with_the_ids_they_have_as_jsonl(tmp_path, name):
    rows = [{"prompt": f"What is {i} + 1?", "answer": str(i + 1)} for i in range(6)]
    path = tmp_path / name
    if path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=1))
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    elif path.suffix == ".tsv":
        path.write_text("prompt\tanswer\n" + "".join(f"{row['prompt']}\t{row['answer']}\n" for row in rows))
    else:
        table = pa.Table.from_pylist(rows)
        with pa.ipc.new_file(path, table.schema) as out:
            out.write_table(table)
    expected = propose(arm(write(tmp_path, "jsonl", rows)), 0).tasks["task_id"]
    assert propose(arm(path), 0).tasks["task_id"].equals(expected)


@pytest.mark.parametrize(
    ("row", "question"),
    [
        ({"question": "2 + 2?", "answer": "4"}, "2 + 2?"),
        ({"instruction": "Add.", "input": "2 and 2", "output": "It is 4.", "answer": "4"}, "Add.\n\n2 and 2"),
        ({"problem": "2 + 2?", "generated_solution": "It is 4.", "expected_answer": "4"}, "2 + 2?"),
        ({"conversations": [{"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": "4"}], "answer": "4"}, "2 + 2?"),
        ({"messages": [{"role": "user", "content": "2 + 2?"}], "gold": "4"}, "2 + 2?"),
    ],
)
def test_where_no_column_is_called_prompt_the_layout_says_which_it_is(tmp_path, row, question):
    made = propose(arm(write(tmp_path, "jsonl", [row])), 0)
    assert [compact(messages) for messages in made.tasks["messages"].to_pylist()] == [[{"role": "user", "content": question}]]
    assert made.tasks["answer"].to_pylist() == ["4"]
    assert "layout" in made.told[0]


def test_a_conversation_is_a_task_up_to_its_last_reply(tmp_path):
    turns = [("user", "Hi"), ("assistant", "Yes?"), ("user", "2 + 2?"), ("assistant", "4")]
    row = {"messages": [{"role": role, "content": text} for role, text in turns], "answer": "4"}
    made = propose(arm(write(tmp_path, "jsonl", [row])), 0)
    assert compact(made.tasks["messages"].to_pylist()[0]) == row["messages"][:3]


def test_new_keys_at_their_defaults_leave_the_digest_of_an_arm(tmp_path):
    plain = arm(tmp_path / "a.csv")
    added = {"answer_after", "answer_regex", "boxed", "index_into"}
    assert not added & config.semantic(plain).keys()
    assert config.semantic(arm(tmp_path / "a.csv", boxed=True))["boxed"] is True


def test_a_limit_picks_by_seed_and_counts_what_it_leaves_out(tmp_path):
    path = write(tmp_path, "jsonl")
    picked = [propose(arm(path, limit=3), seed) for seed in range(6)]
    assert {p.tasks.num_rows for p in picked} == {3}
    assert {p.dropped for p in picked} == {3}
    assert len({tuple(p.tasks["task_id"].to_pylist()) for p in picked}) > 1
    assert propose(arm(path, limit=3), 0).tasks.equals(picked[0].tasks)


def test_equal_rows_are_one_task_and_counted(tmp_path):
    proposal = propose(arm(write(tmp_path, "jsonl", [*ROWS, *ROWS[:2]])), 0)
    assert (proposal.tasks.num_rows, proposal.dropped, proposal.planned) == (6, 2, 8)


def test_wording_is_around_the_prompt_and_outside_its_key(tmp_path):
    row = propose(arm(write(tmp_path, "jsonl"), wording="{prompt} Just the number."), 0).tasks.to_pylist()[0]
    assert row["messages"][0]["content"] == "What is 0 + 1? Just the number."
    assert row["problem_key"] == "what is 0 + 1?"


def test_messages_are_kept_as_turns_and_checked(tmp_path):
    turn = {"role": "user", "content": "Hi"}
    rows = [
        {"m": [turn, {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "2+2?"}]},
        {"m": [turn, {"role": "assistant", "content": "Yes?"}]},
        {"m": [{"role": "system", "content": "Be brief"}, turn]},
        {"m": []},
        {"m": [{"content": "no role"}]},
        {"m": None},
    ]
    proposal = propose(arm(write(tmp_path, "jsonl", rows), columns={"messages": "m", "answer": ""}), 0)
    assert [compact(row) for row in proposal.tasks["messages"].to_pylist()] == [rows[0]["m"]]
    assert proposal.tasks["answer"].to_pylist() == [None]
    assert proposal.oracles.num_rows == 0
    assert failures(proposal) == {
        "sums.jsonl:2": "the last message is of role 'assistant', not 'user'",
        "sums.jsonl:3": "a system message; give it as the recipe's system prompt",
        "sums.jsonl:4": "messages is no list of {role, content}",
        "sums.jsonl:5": "a message without a role",
        "sums.jsonl:6": "messages is no list of {role, content}",
    }


def test_rows_that_cannot_be_tasks_are_failures_with_their_place(tmp_path):
    path = tmp_path / "bad.jsonl"
    good = b'{"prompt": "ok?", "answer": null}'
    lines = [
        good,
        b'{"prompt": null}',
        b'{"prompt": "  "}',
        b"{broken",
        b"[1]",
        b'{"prompt": "\xff\xfe"}',
        b"",
        b'{"prompt": 7}',
    ]
    path.write_bytes(b"\n".join([*lines, b'{"prompt": "q", "answer": {"a": 1}}', b'{"prompt": "\\ud800", "answer": "x"}']))
    proposal = propose(arm(path), 0)
    assert proposal.tasks.num_rows == 1
    assert proposal.planned == 9
    told = failures(proposal)
    assert told.pop("bad.jsonl:4").startswith("not JSON")
    assert told == {
        "bad.jsonl:2": "the prompt is null",
        "bad.jsonl:3": "the prompt is blank",
        "bad.jsonl:5": "a JSON list, not an object",
        "bad.jsonl:6": "not valid UTF-8",
        "bad.jsonl:8": "the prompt is a int, not a text",
        "bad.jsonl:9": "the answer is a dict, not a text or a number",
        "bad.jsonl:10": "the prompt is not valid UTF-8",
    }


def test_one_bad_byte_of_a_csv_or_parquet_costs_one_row(tmp_path):
    path = tmp_path / "bad.csv"
    path.write_bytes(b'\xef\xbb\xbfprompt,answer\nfine?,1\n\xff?,2\nshort\n"two\nlines, one field",4\n,5\n')
    proposal = propose(arm(path), 0)
    assert [m[0]["content"] for m in proposal.tasks["messages"].to_pylist()] == ["fine?", "two\nlines, one field"]
    assert failures(proposal) == {
        "bad.csv:row 3": "not valid UTF-8",
        "bad.csv:row 4": "1 fields under a header of 2",
        "bad.csv:row 6": "the prompt is null",
    }
    text = pa.array([b"good?", b"\xff", b"fine?"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"prompt": text, "answer": ["1", "2", "3"]}), tmp_path / "bad.parquet")
    proposal = propose(arm(tmp_path / "bad.parquet"), 0)
    assert proposal.tasks.num_rows == 2
    assert failures(proposal) == {"bad.parquet:1": "not valid UTF-8"}


def test_a_split_nobody_mapped_is_a_failure(tmp_path):
    rows = [{"prompt": "a", "answer": "1", "side": "dev"}, {"prompt": "b", "answer": "1", "side": "test"}]
    proposal = propose(arm(write(tmp_path, "jsonl", rows), columns={"split": "side"}), 0)
    assert proposal.tasks["split"].to_pylist() == ["eval"]
    assert "split 'dev' is not in the arm's `splits`" in failures(proposal)["sums.jsonl:1"]


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "csv"])
def test_a_missing_column_is_named_with_those_there_are(tmp_path, kind):
    with pytest.raises(DataError, match="no column 'question'; its columns are prompt, answer, side"):
        propose(arm(write(tmp_path, kind), columns={"prompt": "question"}), 0)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b"", "is empty"),
        ("a.csv", b" \n", "is empty"),
        ("a.csv", b"prompt,answer\n", "holds no row"),
        ("a.csv", b'prompt,answer\n"open,1\n', "no readable CSV"),
        ("a.parquet", b"PAR1 but not really", "no readable Parquet"),
        ("a.jsonl", b'{"prompt": null, "answer": 1}\n', "none of the 1 rows.*the prompt is null"),
    ],
)
def test_a_file_that_holds_nothing_usable_is_refused(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        propose(arm(path), 0)


def test_an_absent_file_or_empty_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"there is no .*none\.csv"):
        propose(arm(tmp_path / "none.csv"), 0)
    with pytest.raises(DataError, match="holds no data file"):
        propose(arm(tmp_path), 0)


def test_a_hub_that_cannot_be_reached_is_told_with_the_way_out():
    code = (
        "from ratoon.generators.tasks.dataset import *\n"
        "try: propose(DatasetConfig(path='nobody/nothing'), 0)\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    env = os.environ | {"HF_HUB_OFFLINE": "1"}
    out = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120, check=True).stdout
    assert out.startswith("DataError cannot load 'nobody/nothing'")
    assert "or give a local file" in out


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_a_rows_own_verifier_arguments_win_over_the_arms(tmp_path, kind):
    rows = [
        {"prompt": "add", "answer": "a", "args": {"tests": ["assert f(1) == 2"], "setup": None}},
        {"prompt": "sub", "answer": "b", "args": {"tests": ["assert f(1) == 0"], "setup": "import math"}},
    ]
    made = propose(arm(write(tmp_path, kind, rows), columns={"verifier_args": "args"}, verifier_args={"timeout_s": 1.0}), 0)
    args = {row["answer"]: json.loads(row["verifier_args"]) for row in made.tasks.to_pylist()}
    assert args["a"] == {"tests": ["assert f(1) == 2"], "timeout_s": 1.0}
    assert args["b"] == {"tests": ["assert f(1) == 0"], "setup": "import math", "timeout_s": 1.0}


def test_arguments_that_are_no_object_are_a_failure_with_their_row(tmp_path):
    rows = [{"prompt": f"q{i}", "answer": "a", "args": args} for i, args in enumerate(['{"a": 1}', "{", "[1]", None])]
    made = propose(arm(write(tmp_path, "jsonl", rows), columns={"verifier_args": "args"}), 0)
    assert sorted(failures(made).values()) == ["verifier_args is no JSON", "verifier_args is no object"]
    assert made.tasks.num_rows == 2


def test_a_data_set_without_answers_has_no_verifier_unless_one_is_named(tmp_path):
    path = write(tmp_path, "jsonl")
    bare = config.parse(DatasetConfig, {"path": str(path), "columns": {"answer": ""}}, "tasks.0")
    made = propose(bare, 0)
    assert {(t["answer"], t["verifier"]) for t in made.tasks.to_pylist()} == {(None, None)}
    assert made.oracles.num_rows == 0
    assert config.parse(DatasetConfig, bare.model_dump(mode="json"), "tasks.0") == bare, "the stored recipe says the same"
    assert arm(path, columns={"answer": ""}).verifier == "numeric"
    assert config.parse(DatasetConfig, {"path": str(path)}, "tasks.0").verifier == "exact"
