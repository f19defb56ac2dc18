"""The set-up script: finds an interpreter that works, adds an index only when it must, says what to do otherwise."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPT = ROOT / "tools" / "setup.py"
LISTING = "torch (2.15.0)\nAvailable versions: 2.15.0, {cpu}2.13.0, 2.12.1\n  INSTALLED: 2.12.1\n"


@pytest.fixture
def setup(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.delenv("PYTHON", raising=False)
    spec = importlib.util.spec_from_file_location("ratoon_tools_setup", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def program(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_a_shim_that_points_at_nothing_is_passed_over(
    setup: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "python3.11", "exit 127")
    good = program(tmp_path, "python3.12", f'exec {sys.executable} "$@"')
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert setup.find_python() == str(good)


def test_an_interpreter_with_ensurepip_is_preferred(setup: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = f'case "$2" in *ensurepip*) exit 1;; esac; exec {sys.executable} "$@"'
    program(tmp_path, "python3.11", bare)
    whole = program(tmp_path, "python3.12", f'exec {sys.executable} "$@"')
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert setup.find_python() == str(whole)


def test_no_fitting_interpreter_is_said_with_what_to_install() -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import runpy; runpy.run_path({str(SCRIPT)!r})['find_python']()"],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHON": "/nowhere/python3", "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 1
    assert "no Python of at least 3.11 among /nowhere/python3" in done.stderr
    assert "apt install python3" in done.stderr


def test_without_ensurepip_and_pip_the_package_to_install_is_named(
    setup: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = program(tmp_path, "python3.11", f'case "$2" in *pip*) exit 1;; esac; exec {sys.executable} "$@"')
    monkeypatch.setenv("PYTHON", str(bare))
    monkeypatch.setattr(setup, "VENV", tmp_path / "venv")
    monkeypatch.setattr(setup, "PYTHON", tmp_path / "venv" / "bin" / "python")
    with pytest.raises(setup.SetupError, match="apt install python3-venv"):
        setup.make_venv()


@pytest.mark.parametrize(
    ("cpu", "extras", "flags"),
    [
        ("2.13.0+cpu, ", "run,cpu", []),
        ("", "run,cpu", ["--extra-index-url", "https://download.pytorch.org/whl/cpu"]),
        ("", "run,vllm", []),
        ("12.13.0+cpu, ", "cpu", ["--extra-index-url", "https://download.pytorch.org/whl/cpu"]),
    ],
)
def test_pytorchs_index_is_added_only_where_pip_lacks_the_build(
    setup: ModuleType, cpu: str, extras: str, flags: list[str]
) -> None:
    assert setup.index_flags("torch==2.13.0   # why\n", extras, LISTING.format(cpu=cpu), "linux") == flags


def test_a_mac_needs_no_cpu_index(setup: ModuleType) -> None:
    assert setup.index_flags("torch==2.13.0\n", "cpu", "", "darwin") == []


@pytest.mark.parametrize("script", ["setup.py"])
def test_the_script_parses_on_an_old_python_and_needs_only_the_standard_library(script: str) -> None:
    tree = ast.parse((ROOT / "tools" / script).read_text(encoding="utf-8"), feature_version=(3, 8))
    names = {alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {(node.module or "").split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert names <= sys.stdlib_module_names


def test_the_repair_finds_cuda_companions_of_a_cpu_torch_only(setup: ModuleType, tmp_path: Path) -> None:
    def found(**versions: str) -> list[str]:
        for name, number in versions.items():
            info = tmp_path / "-".join(versions.values()) / f"{name}-{number}.dist-info"
            info.mkdir(parents=True)
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n")
        code = setup.COMPANIONS_PROBE.format(names=setup.COMPANIONS)
        command = [sys.executable, "-S", "-c", code]
        environment = {"PYTHONPATH": str(tmp_path / "-".join(versions.values()))}
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.split()

    assert found(torch="2.13.0+cpu", torchvision="0.28.0", torchaudio="2.13.0+cpu") == ["torchvision"]
    assert found(torch="2.13.0", torchvision="0.28.0") == []
    assert found(torchvision="0.28.0") == []
