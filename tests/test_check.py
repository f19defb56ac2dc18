"""What `make check` asks of the code, asked by `make test` too, so that nothing else needs to run in CI."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def check(*command: str) -> None:
    """Fail with what the tool says unless it is content."""
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"


def test_ruff_has_nothing_to_say() -> None:
    check("-m", "ruff", "check", "--output-format", "concise", ".")


def test_the_code_is_formatted() -> None:
    check("-m", "ruff", "format", "--check", ".")


@pytest.mark.slow
def test_the_types_of_every_package_hold() -> None:
    check("tools/links.py")
    check("-m", "mypy", "-p", "ratoon")
