"""The doctor: what it sees, honest exit codes, a report that fits 80 columns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from ratoon.cli import doctor
from ratoon.machine.installed import Check


def test_an_old_python_fails() -> None:
    assert doctor._python((3, 10, 9)).status == "fail"
    assert doctor._python((3, 11, 0)).status == "ok"


def test_little_memory_is_a_note_and_unknown_memory_is_not_zero() -> None:
    assert doctor._memory(doctor.MEMORY_FOR_DEMO - 1).status == "note"
    assert doctor._memory(doctor.MEMORY_FOR_DEMO).status == "ok"
    assert doctor._memory(None).found == "unknown"


def test_disk_is_measured_where_a_folder_to_come_will_lie(tmp_path: Path) -> None:
    assert "GiB free" in doctor._disk(tmp_path / "not" / "yet").found


def test_a_prefect_server_that_does_not_answer_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    assert doctor.prefect_server().status == "fail"


def test_a_malformed_prefect_url_fails_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "not a url")
    assert doctor.prefect_server().status == "fail"


class Healthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/api/health" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_prefect_server_that_answers_is_ok(monkeypatch: pytest.MonkeyPatch) -> None:
    with HTTPServer(("127.0.0.1", 0), Healthy) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{server.server_port}/api/")
        found = doctor.prefect_server()
        server.shutdown()
    assert found.status == "ok"


def test_the_report_fits_80_columns_and_keeps_commands_whole(capsys: pytest.CaptureFixture[str]) -> None:
    long = "pip install " + " ".join(f"package-{i}" for i in range(12))
    doctor.show([Check("base", "ok", "x" * 200), Check("[run]", "note", "missing: a, b", long)])
    lines = capsys.readouterr().out.splitlines()
    assert f"  [run]  {long}" in lines
    assert all(len(line) <= 80 for line in lines if "package-0" not in line)


def test_markup_in_a_path_is_printed_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    doctor.show([Check("disk", "ok", "[red]no[/red]", "rm [bold]x")])
    out = capsys.readouterr().out
    assert "[red]no[/red]" in out
    assert "[bold]x" in out


def test_the_exit_code_follows_the_failures() -> None:
    assert doctor.is_fit([Check("a", "ok", ""), Check("b", "note", "")])
    assert not doctor.is_fit([Check("a", "ok", ""), Check("b", "fail", "")])


def test_json_says_the_same_as_the_checks() -> None:
    checks = [Check("a", "note", "b", "c")]
    assert json.loads(doctor.to_json(checks)) == {
        "fit": True,
        "checks": [{"name": "a", "status": "note", "found": "b", "mend": "c"}],
    }


def test_examining_imports_no_heavy_library() -> None:
    code = "import sys; from ratoon.cli import doctor; doctor.examine(); print(*{m.split('.')[0] for m in sys.modules})"
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert not {"torch", "transformers", "vllm", "prefect", "fastapi", "duckdb"} & set(done.stdout.split())
