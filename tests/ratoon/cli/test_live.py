"""`ratoon status --live`: how the servers of a run do, as its engine last told."""

from __future__ import annotations

import json
import time
from pathlib import Path

from typer.testing import CliRunner

from ratoon.cli.app import app
from ratoon.store.store import Store


def told(run: Path, at: float) -> str:
    """What is printed of a run whose engine told of one server at that time."""
    row = {
        "server": "http://a:8000/v1",
        "allowed": 24,
        "under way": 7,
        "most at once": 31,
        "answers": 512,
        "state": "asked as m",
    }
    (run / "logs").mkdir(exist_ok=True)
    (run / "logs" / "servers.json").write_text(json.dumps({"at": at, "rows": [row]}))
    return CliRunner().invoke(app, ["status", str(run), "--live"], env={"COLUMNS": "120"}, catch_exceptions=False).output


def test_allowed_and_reached_concurrency_of_each_server_is_shown_while_it_is_asked(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with Store.writer(run, {"shard_size": 1}) as store:
        store.put_config({})
    shown = told(run, time.time())
    assert all(value in shown for value in ("http://a:8000/v1", "24", "31", "512"))
    assert "none" in told(run, time.time() - 60), "its engine was killed"
