"""Starting: what a user is told when Prefect's server or a folder is not there for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ratoon import cli


def test_a_prefect_server_that_does_not_answer_is_named_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    monkeypatch.setattr("sys.argv", ["ratoon", "run", "smoke", "--run", str(tmp_path / "run"), "--quiet"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    said = capsys.readouterr().err
    assert stopped.value.code == 1
    assert "http://127.0.0.1:9/api" in said
    assert "unset PREFECT_API_URL" in said
    assert "Traceback" not in said


def test_a_starter_recipe_is_refused_where_nobody_may_write(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["ratoon", "init", "/proc/none/first"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    assert "/proc/none/first.toml" in capsys.readouterr().err
