"""Starting: what a user is told when Prefect's server or a folder is not there for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ratoon.cli import app as cli


def test_a_prefect_server_that_does_not_answer_is_named_with_the_way_out(
    start: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    nobody = "http://127.0.0.1:9/api"
    monkeypatch.setenv("PREFECT_API_URL", nobody)
    with temporary_settings({PREFECT_API_URL: nobody}):
        told = start(tmp_path / "run")
    assert told.code == 1, told.out
    assert nobody in told.err
    assert "unset PREFECT_API_URL" in told.err
    assert "Traceback" not in told.err


def test_a_starter_recipe_is_refused_where_nobody_may_write(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["ratoon", "init", "/proc/none/first"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    assert "/proc/none/first.toml" in capsys.readouterr().err
