"""What a user or a machine can do wrong: told in words with the value and the mend, the right exit code, and nothing lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from ratoon import Run
from ratoon.store.store import Store

Start = Callable[..., Any]
Asked = Callable[[Path], list[str]]

MORE = "suites.heldout.n=40"
FULL_DISK = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)), resource.RLIM_INFINITY))
from ratoon.cli import main
main()
"""


def content(root: Path) -> dict[tuple[Any, ...], str]:
    """What a run holds: the content digest of every live artifact by its slot."""
    return {(m.stage, m.iteration, m.shard): m.content_digest for m in Store.open(root).live().values()}


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ("train.learing_rate=1e-5", ["train.learing_rate", "unknown key", "did you mean 'learning_rate'?"]),
        ("generate.n=many", ["generate.n = 'many'", "integer"]),
        ("sampling.top_p=2", ["sampling.top_p = 2", "less than or equal to 1"]),
        ("engine.kind=vlm", ["engine.kind = 'vlm'", "'vllm'"]),
        ("filters.9.k=1", ["filters.9.k=1", "count from 0"]),
    ],
)
def test_a_bad_value_is_named_before_anything_is_written(start: Start, tmp_path: Path, bad: str, says: list[str]) -> None:
    told = start(tmp_path / "run", bad)
    assert told.code == 2
    assert all(words in told.err for words in says), told.err
    assert not (tmp_path / "run").exists()


def test_a_mistake_is_told_without_a_traceback_in_a_process_of_its_own(cli: Start, tmp_path: Path) -> None:
    done = cli("run", "smok", "--run", tmp_path / "run")
    assert done.returncode == 2
    assert "no recipe 'smok'" in done.stderr
    assert "smoke" in done.stderr.split("→")[1]
    assert "Traceback" not in done.stderr + done.stdout


def test_a_missing_model_folder_is_named_and_a_mended_recipe_goes_on(start: Start, tmp_path: Path) -> None:
    told = start(tmp_path / "run", "model.path=/no/such/model")
    assert told.code == 1
    assert "/no/such/model" in told.err
    assert "model.path" in told.err.split("→")[1]
    assert start(tmp_path / "run").code == 0


def test_a_model_without_chat_template_is_refused(start: Start, tmp_path: Path, tiny_model: Path) -> None:
    bare = Path(shutil.copytree(tiny_model, tmp_path / "bare"))
    (bare / "chat_template.jinja").unlink()
    told = start(tmp_path / "run", f"model.path={str(bare)!r}")
    assert told.code == 1
    assert f"{bare} has no chat template" in told.err
    assert "instruct model" in told.err.split("→")[1]


def test_prompts_beyond_the_context_fail_alone_and_the_run_goes_on(start: Start, tmp_path: Path) -> None:
    long = "suites.heldout.sampling={max_tokens=64}"
    whole = start(tmp_path / "whole", long)
    lengths = prompt_lengths(tmp_path / "whole")
    limit = min(lengths.values()) + 64
    told = start(tmp_path / "run", long, f"engine.scripted.context_tokens={limit}", "run.max_failed_share=1.0")
    assert (whole.code, told.code) == (0, 0), told.err
    rows = Store.open(tmp_path / "run").read("rollouts").to_pylist()
    assert {r["error"] is not None for r in rows} == {True, False}
    for row in rows:
        assert (row["error"] is not None) == (lengths[row["prompt_id"]] + 64 > limit)
        assert row["error"] is None or row["error"].startswith("PromptTooLong: ")
    failures = Store.open(tmp_path / "run").read("failures")
    assert failures.num_rows == sum(r["error"] is not None for r in rows)


def prompt_lengths(root: Path) -> dict[str, int]:
    store = Store.open(root)
    used = set(store.read("rollouts", columns=["prompt_id"])["prompt_id"].to_pylist())
    rows = store.read("prompts", columns=["prompt_id", "token_ids"]).to_pylist()
    return {r["prompt_id"]: len(r["token_ids"]) for r in rows if r["prompt_id"] in used}


def test_too_many_failed_rollouts_stop_the_run_with_the_commonest_reason(start: Start, tmp_path: Path, asked: Asked) -> None:
    told = start(tmp_path / "run", "engine.scripted.errors=0.5")
    assert told.code == 3
    assert "most often a planted error" in told.err
    assert "--retry-failed" in told.err.split("→")[1]
    before = asked(tmp_path / "run")
    failed = failed_ids(tmp_path / "run")
    assert start(tmp_path / "run", flags=["--retry-failed"]).code == 0
    assert sorted(asked(tmp_path / "run")[len(before) :]) == sorted(failed)
    assert failed_ids(tmp_path / "run") == []


def failed_ids(root: Path) -> list[str]:
    rows = Store.open(root).read("rollouts", columns=["rollout_id", "error"])
    return rows.filter(pc.is_valid(rows["error"]))["rollout_id"].to_pylist()


def test_an_engine_that_dies_once_is_rebuilt_and_changes_nothing(
    start: Start, small_run: Path, tmp_path: Path, asked: Asked
) -> None:
    assert start(tmp_path / "run", "engine.scripted.dies_after=30").code == 0
    assert content(tmp_path / "run") == content(small_run)
    assert len(asked(tmp_path / "run")) == len(asked(small_run)) + 1


def test_an_engine_that_dies_again_fails_its_shard_with_the_reason_and_the_next_start_goes_on(
    start: Start, small_run: Path, tmp_path: Path, asked: Asked
) -> None:
    told = start(tmp_path / "run", "engine.scripted.dies_after=30", "engine.scripted.deaths=2", "run.workers=1")
    assert told.code == 1
    assert "a shard failed: the scripted engine died after 30 requests" in told.err
    assert "what is done is kept" in told.err.split("→")[1]
    planned = len(Store.open(tmp_path / "run").read("assignments"))
    rollouts, scores = (len(Store.open(tmp_path / "run").find(stage)) for stage in ("rollouts", "scores"))
    assert rollouts == scores == -(-planned // 6) - 1, "every other shard is sampled and scored"
    before = asked(tmp_path / "run")
    assert start(tmp_path / "run").code == 0
    again = set(before) & set(asked(tmp_path / "run")[len(before) :])
    assert len(again) == 1, "only what was in flight when it died"
    assert content(tmp_path / "run") == content(small_run)


def test_a_misbehaving_endpoint_fails_rows_with_their_reason_and_a_mended_one_is_asked_only_for_those(
    endpoint: Any, start: Start, tmp_path: Path
) -> None:
    ways = ["ok", "429", "500", "garbage", "never"]
    seen: dict[str, str] = {}

    def behave(body: dict[str, Any], n: int) -> str:
        return seen.setdefault(json.dumps(body["prompt"]), ways[len(seen) % len(ways)])

    quick = ["engine.kind=openai", "engine.openai.timeout_s=2", "engine.openai.max_retries=0",
             "engine.openai.model=base", "run.max_failed_share=1.0", "suites.heldout.n=1"]  # fmt: skip
    with endpoint(behave, models=("base",)) as server:
        where = f"engine.openai.base_url={server.url!r}"
        assert start(tmp_path / "run", where, *quick).code == 0
        rows = Store.open(tmp_path / "run").read("rollouts").to_pylist()
        classes = {(r["error"] or "ok: ").partition(":")[0] for r in rows}
        assert classes == {"ok", "RateLimited", "ServerError", "Garbage", "Timeout"}
        server.behaviour, calls = (lambda body, n: "ok"), server.calls
        told = start(tmp_path / "run", where, *quick, flags=["--retry-failed"])
        assert told.code == 0, told.err
        assert server.calls - calls == sum(r["error"] is not None for r in rows)
    assert failed_ids(tmp_path / "run") == []


def test_an_endpoint_that_sends_lone_surrogates_ends_no_run(endpoint: Any, start: Start, tmp_path: Path) -> None:
    chat = ["engine.kind=openai", "engine.openai.mode=chat", "engine.openai.model=base", "sampling.logprobs_mode=none",
            "suites.heldout.n=1", "suites.heldout.sampling={logprobs_mode='none'}"]  # fmt: skip
    with endpoint(lambda body, n: "surrogate", models=("base",)) as server:
        told = start(tmp_path / "run", f"engine.openai.base_url={server.url!r}", *chat)
    assert told.code == 0, told.err
    rows = Store.open(tmp_path / "run").read("rollouts").to_pylist()
    told_of = {(row["text"], json.loads(row["meta"])["lone_surrogates"], row["error"]) for row in rows}
    assert told_of == {("\ufffd 7", 1, None)}


def test_an_endpoint_that_is_not_there_is_told_at_once(endpoint: Any, start: Start, tmp_path: Path) -> None:
    with endpoint() as server:
        gone = server.url
    told = start(tmp_path / "run", "engine.kind=openai", f"engine.openai.base_url={gone!r}", "engine.openai.max_retries=0")
    assert told.code == 1
    assert gone in told.err
    assert "engine.openai.base_url" in told.err.split("→")[1]


@pytest.fixture(scope="module")
def larger_run(prefect_here: None, small: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small run with so many replies a shard that a journal grows beyond every other file."""
    return Run.start("smoke", tmp_path_factory.mktemp("larger") / "run", sets=[*small, MORE], quiet=True).root


@pytest.mark.parametrize(("limit", "written"), [(1_000, "config.json"), (30_000, "/journal/")])
def test_a_full_disk_is_told_and_with_room_again_nothing_is_lost(
    start: Start, prefect_server: str, small: list[str], small_copy: Path, larger_run: Path, limit: int, written: str
) -> None:
    before = content(small_copy)
    given = [argument for item in [*small, MORE] for argument in ("--set", item)]
    command = [sys.executable, "-c", FULL_DISK, str(limit), "run", "smoke", "--run", small_copy, "--quiet", *given]
    environment = os.environ | {"PREFECT_API_URL": prefect_server}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 1, done.stderr
    assert "disk full: cannot write" in done.stderr
    assert written in done.stderr
    assert "start again; nothing is lost" in done.stderr
    assert "Traceback" not in done.stderr
    kept = content(small_copy)
    assert all(kept[slot] == digest for slot, digest in before.items() if slot[0] in ("tasks", "prompts", "base"))
    assert start(small_copy, MORE).code == 0
    assert content(small_copy) == content(larger_run)
    assert Store.open(small_copy).verify() == []


@pytest.mark.parametrize("damage", ["bit", "cut"])
def test_a_damaged_part_is_refused_by_name_by_queries_and_by_the_next_run(
    start: Start, here: Start, small_copy: Path, damage: str
) -> None:
    root = small_copy
    part = Store.open(root).parts("rollouts")[0]
    whole = part.read_bytes()
    at = inside(part, "text")
    part.write_bytes(whole[:at] if damage == "cut" else whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
    more = ["run.iterations=0", "verify.max_unjudged=0.5"]  # another evaluation of the same rollouts
    for told in (here("sql", root, "select * from rollouts"), here("verify", root), start(root, *more)):
        assert told.code == 1
        assert part.name in told.err
        assert part.parent.name in told.err
    part.write_bytes(whole)
    assert here("verify", root).code == 0
    assert start(root, *more).code == 0


def inside(part: Path, column: str) -> int:
    """The offset of a byte in the middle of a column's first chunk: a run reads only the columns it needs."""
    group = pq.read_metadata(part).row_group(0)
    chunk = next(c for i in range(group.num_columns) if (c := group.column(i)).path_in_schema == column)
    return int((chunk.dictionary_page_offset or chunk.data_page_offset) + chunk.total_compressed_size // 2)


def test_two_writers_of_one_folder_are_told_of_each_other(start: Start, here: Start, small_copy: Path) -> None:
    root = small_copy
    before = content(root)
    with Store.writer(root):
        told = start(root)
        assert told.code == 1
        assert f"process {os.getpid()}" in told.err
        assert "then start again" in told.err.split("→")[1]
        assert here("sql", root, "select count(*) from rollouts").code == 0, "reading goes on meanwhile"
    assert start(root).code == 0
    assert content(root) == before


@pytest.mark.parametrize("command", ["run", "sql", "status", "curate"])
def test_a_run_of_another_schema_version_is_left_alone(start: Start, here: Start, tmp_path: Path, command: str) -> None:
    root = tmp_path / "run"
    with Store.writer(root, {"shard_size": 6}):
        pass
    path = root / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 999}))
    commands = {
        "run": lambda: start(root), "status": lambda: here("status", root), "sql": lambda: here("sql", root, "select 1"),
        "curate": lambda: here("curate", root, "--name", "other"),
    }  # fmt: skip
    before = sorted(p.name for p in root.iterdir())
    told = commands[command]()
    assert told.code == 1
    assert "schema version 999" in told.err
    assert "--run" in told.err.split("→")[1]
    assert sorted(p.name for p in root.iterdir()) == before


def test_a_round_with_too_few_examples_stops_and_a_milder_recipe_goes_on_from_there(
    start: Start, tmp_path: Path, asked: Asked
) -> None:
    one = ["run.iterations=1", "train.min_examples=1000"]
    told = start(tmp_path / "run", *one)
    assert told.code == 3
    assert "training wants at least 1000" in told.err
    assert "train.min_examples" in told.err.split("→")[1]
    before = asked(tmp_path / "run")
    assert start(tmp_path / "run", *one).code == 3
    assert asked(tmp_path / "run") == before


def test_a_held_out_split_larger_than_the_tasks_is_refused_with_the_field_to_mend(start: Start, tmp_path: Path) -> None:
    told = start(tmp_path / "run", "splits.eval=1000")
    assert told.code == 2
    assert "1000" in told.err
    assert "splits.eval" in told.err
