"""Starting: what a user is told when Prefect's server or a folder is not there for them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ratoon.cli import app as cli


def test_a_prefect_server_that_does_not_answer_is_named_with_the_way_out(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ratoon", "run", "smoke", "--run", str(tmp_path / "run"), "--quiet"]
    environment = os.environ | {"PREFECT_API_URL": "http://127.0.0.1:9/api"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 1, done.stdout
    assert "http://127.0.0.1:9/api" in done.stderr
    assert "unset PREFECT_API_URL" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_starter_recipe_is_refused_where_nobody_may_write(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["ratoon", "init", "/proc/none/first"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    assert "/proc/none/first.toml" in capsys.readouterr().err
