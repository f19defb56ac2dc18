"""What a model or a stranger wrote reaches no terminal, path or query but as text; a key reaches nothing that is kept."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ratoon import Run

Start = Callable[..., Any]
HOSTILE = {
    "ansi": "\x1b[31m\x1b]0;owned\x07\x1b[2J",
    "control": "\x00\x08\x7f\x9b31m\r",
    "bidi": "\u202e\u2066desrever\u2069",
    "markup": "</script><script>alert(1)</script><img src=x onerror=alert(1)>",
    "path": "../../../../tmp/ratoon-escaped",
    "sql": "'; drop table rollouts; copy tasks to '/tmp/ratoon-escaped'; --",
    "toml": '"]\n[run]\nname = "x',
    "format": "{0.__class__} %s %n $(touch /tmp/ratoon-escaped) `id`",
    "surrogate": "\ufffd\U000e0041",
    "long": "x" * 10_000_000,
}
NEVER_PRINTED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]")
SECRET = "sk-planted-7f3a9c"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of imported rows, hostile in every column."""
    folder = tmp_path_factory.mktemp("hostile")
    said = {"answer": "2", "finish_reason": "stop"}
    rows = [said | {"prompt": f"1 + 1 = ? {text}", "completion": f"{text} 2", "family": text[:99]} for text in HOSTILE.values()]
    (folder / "theirs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Run.bring(folder / "theirs.jsonl", folder / "run", verifier="numeric")
    return folder / "run"


def test_every_hostile_row_is_kept_whole(hostile: Path) -> None:
    texts = Run(hostile).sql("select text from rollouts").to_arrow_table()["text"].to_pylist()
    assert sorted(texts) == sorted(f"{text} 2" for text in HOSTILE.values())
    assert Run(hostile).verify() == []


def test_no_command_prints_what_moves_colours_or_reorders(hostile: Path, here: Start) -> None:
    rollout = Run(hostile).sql("select rollout_id from rollouts").to_arrow_table()["rollout_id"][0].as_py()
    for command in (
        ["status", hostile],
        ["show", hostile, "-n", "20"],
        ["show", hostile, "--kept", "-n", "20"],
        ["sql", hostile, "select text, messages from rollouts join tasks using (task_id)"],
        ["sql", hostile, f"select * from rollouts where text = '{HOSTILE['ansi']}'"],
        ["explain", hostile, rollout],
        ["explain", hostile, HOSTILE["ansi"]],
        ["curate", hostile, "--name", HOSTILE["ansi"]],
        ["curate", hostile, "--name", "fine"],
    ):
        told = here(*command)
        assert not NEVER_PRINTED.search(told.out + told.err), command[0]


def test_no_text_becomes_a_path_or_a_statement(hostile: Path, here: Start, tmp_path: Path) -> None:
    names = {path.name for path in hostile.rglob("*")}
    assert not [name for name in names if not re.fullmatch(r"[A-Za-z0-9._+-]+", name)]
    assert here("curate", hostile, "--name", HOSTILE["path"]).code == 2
    assert here("sql", hostile, f"select 1 {HOSTILE['sql']}").code == 2
    assert here("export", hostile / "datasets" / "default" / "1", "--format", "jsonl", "--out", tmp_path / "out").code == 0
    assert not Path("/tmp/ratoon-escaped").exists()


NEWEST = b'{"sort": "START_TIME_DESC"}'


def test_a_key_is_sent_and_kept_nowhere(
    endpoint: Any, start: Start, prefect_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANTED_KEY", SECRET)
    with endpoint(lambda body, n: "500" if n % 7 == 3 else "ok", models=("base",)) as server:
        told = start(
            tmp_path / "run", "engine.kind=openai", f"engine.openai.base_url={server.url!r}", "engine.openai.model=base",
            "engine.openai.api_key_env=PLANTED_KEY", "engine.openai.max_retries=0", "run.max_failed_share=1.0",
        )  # fmt: skip
        assert SECRET in server.headers[-1]["authorization"]
    assert told.code == 0, told.err
    assert SECRET not in told.out + told.err
    assert not [path for path in (tmp_path / "run").rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    request = urllib.request.Request(f"{prefect_server}/flow_runs/filter", NEWEST, {"Content-Type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
        assert SECRET.encode() not in answer.read()
