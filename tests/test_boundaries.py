"""Imports go one way, heavy libraries have one home each, files and functions stay small: walked, lazy imports included."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAP: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["package-dir"]

# `Run` is `ratoon.run.Run` by its short name.
TOP = {"run", "Run", "__main__", "doctor", "cli"}
MIDDLE = {"generators", "metrics", "filters", "sft"}
FOLDERS = {folder for folder in MAP.values() if "/" not in folder and folder != "ratoon"}
FLOOR = {"ground": 0, "middle": 1, "pipelines": 2, "top": 3}

# Where each heavy library may be imported: module prefixes without `ratoon.`.
HOMES: dict[str, tuple[str, ...]] = {
    "vllm": ("generators.engines.vllm",),
    "prefect": ("pipelines",),
    "prefect_ray": ("pipelines",),
    "ray": (),
    "duckdb": ("sql", "metrics.verifiers.inside_sql"),  # the second is a script for the sandbox, imported by nothing
    "torch": ("sft", "generators.engines.transformers", "generators.engines.vllm", "metrics.embeddings"),
    "peft": ("sft", "generators.engines.transformers"),
    "accelerate": ("sft",),
    "sentence_transformers": ("metrics",),
    "vl_convert": ("metrics.page.draw",),
}
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 50


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of the package under its name without `ratoon.`, the package itself as the empty string."""
    for package, folder in MAP.items():
        for path in sorted((ROOT / folder).glob("*.py")):
            parts = [*package.split(".")[1:], *([] if path.stem == "__init__" else [path.stem])]
            yield ".".join(parts), path


def floor(module: str) -> str:
    """The floor a module (without `ratoon.`) stands on."""
    first = module.split(".")[0]
    if first in TOP or first.startswith("cli"):
        return "top"
    if first in MIDDLE:
        return "middle"
    return "pipelines" if first == "pipelines" else "ground"


def imports(source: str, module: str, is_package: bool = False) -> Iterator[tuple[str, int]]:
    """Every imported dotted name with its line, at any depth, relative ones resolved; `module` is without `ratoon.`."""
    own = ["ratoon", *filter(None, module.split("."))]
    package = own if is_package else own[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            prefix = ".".join([*base, *([node.module] if node.module else [])])
            # `from ratoon import sql` imports ratoon.sql, `from ratoon.sql import query` imports ratoon.sql.
            names = [f"{prefix}.{a.name}" for a in node.names] if prefix == "ratoon" else [prefix]
            yield from ((name, node.lineno) for name in names)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
            if called in {"import_module", "__import__"} and node.args and isinstance(node.args[0], ast.Constant):
                yield str(node.args[0].value), node.lineno


def import_problems(source: str, module: str, is_package: bool = False) -> list[str]:
    """What is wrong with the imports of one module."""
    checks = [_problem(module, name) for name, _ in imports(source, module, is_package)]
    return [problem for problem in checks if problem]


def _problem(module: str, imported: str) -> str | None:
    first = imported.split(".")[0]
    if first in FOLDERS:
        return f"bare import of {imported}: write ratoon.{imported}"
    if first in HOMES:
        at_home = any(module == home or module.startswith(f"{home}.") for home in HOMES[first])
        return None if at_home else f"{imported} imported outside its home {HOMES[first] or '(it has none)'}"
    if first != "ratoon":
        return None
    target = imported.partition(".")[2]
    # The package's own __init__ is the face: it hands out `Run`, lazily.
    if module and FLOOR[floor(target)] > FLOOR[floor(module)]:
        return f"{floor(module)} floor imports ratoon.{target} of the {floor(target)} floor"
    packages = {module.split(".")[0], target.split(".")[0]}
    if floor(module) == floor(target) == "middle" and len(packages) == 2:
        return f"ratoon.{target} imported: {' and '.join(sorted(packages))} never import one another"
    return None


def size_problems(source: str) -> list[str]:
    """A file over 400 lines, a function over 50."""
    lines = len(source.splitlines())
    found = [f"{lines} lines, at most {MAX_FILE_LINES}"] if lines > MAX_FILE_LINES else []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                found.append(f"function {node.name} has {length} lines, at most {MAX_FUNCTION_LINES}")
    return found


def test_imports_go_one_way_and_heavy_libraries_stay_at_home() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {problem}"
        for module, path in modules()
        for problem in import_problems(path.read_text(encoding="utf-8"), module, path.stem == "__init__")
    ]
    assert not found, "\n".join(found)


def test_files_and_functions_stay_small() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {problem}"
        for _, path in modules()
        for problem in size_problems(path.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(found)


def test_the_walk_reaches_every_package() -> None:
    seen = {module for module, _ in modules()}
    assert {package.partition(".")[2] for package in MAP} <= seen
    assert {"errors", "schema", "config"} <= seen


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("ids", "from ratoon.filters import length", "ground floor imports"),
        ("ids", "from ratoon import filters", "ground floor imports"),
        ("ids", "def f():\n    import ratoon.pipelines.flows.improve", "ground floor imports"),
        ("sql", "from ratoon.doctor import check", "ground floor imports"),
        ("filters.length", "from ratoon import Run", "middle floor imports"),
        ("filters.length", "from ratoon.metrics.voting.groups import groups", "never import one another"),
        ("metrics.score", "def f():\n    from ratoon.generators import prompts", "never import one another"),
        ("metrics.report.progress", "from ...sft import policy", "never import one another"),
        ("sft.train", "from ratoon.pipelines import recipe", "middle floor imports"),
        ("pipelines.improve", "from ratoon import cli", "pipelines floor imports"),
        ("pipelines.improve", "import vllm", "outside its home"),
        ("generators.rollouts", "def f():\n    from vllm import LLM", "outside its home"),
        ("generators.engines.openai", "import torch.nn", "outside its home"),
        ("generators.engines.transformers_extra", "import torch", "outside its home"),
        ("store", "import duckdb", "outside its home"),
        ("run", "from prefect import flow", "outside its home"),
        ("pipelines.improve", "import ray", "it has none"),
        ("cli", "import filters", "bare import"),
        ("pipelines.improve", "from metrics.score import score", "bare import"),
        ("store", "import importlib\nimportlib.import_module('torch')", "outside its home"),
    ],
)
def test_a_planted_import_is_refused(module: str, source: str, complaint: str) -> None:
    problems = import_problems(source, module)
    assert len(problems) == 1
    assert complaint in problems[0]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("filters.length", "from ratoon.config import Config\nimport pyarrow"),
        ("filters.decide", "from ratoon import schema, sql\nfrom ratoon.filters import length"),
        ("pipelines.improve", "import prefect\nfrom ratoon.sft import launch\nfrom ratoon import store"),
        ("cli", "from ratoon.pipelines import recipe\nfrom ratoon import run"),
        ("doctor", "from ratoon.sft import smollm2"),
        ("", "from ratoon.run import Run"),
        ("sft.train", "import torch, peft"),
        ("generators.engines.vllm", "import vllm, torch"),
        ("generators.engines.transformers", "import torch"),
        ("sql", "import duckdb"),
    ],
)
def test_a_rightful_import_passes(module: str, source: str) -> None:
    assert import_problems(source, module) == []


def test_a_relative_import_inside_a_package_init_stays_in_the_package() -> None:
    assert import_problems("from .length import keep", "filters", is_package=True) == []


def test_a_long_file_and_a_long_function_are_refused() -> None:
    body = "\n".join(["    pass"] * MAX_FUNCTION_LINES)
    assert size_problems(f"def f():\n{body}") == ["function f has 51 lines, at most 50"]
    assert size_problems("x = 1\n" * (MAX_FILE_LINES + 1)) == ["401 lines, at most 400"]
    assert size_problems("x = 1\n" * MAX_FILE_LINES) == []


def loaded_by(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded after `statement`."""
    code = f"import sys\n{statement}\nprint(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_importing_ratoon_is_light() -> None:
    heavy = {"duckdb", "pyarrow", "numpy", "pydantic", "torch", "transformers", "prefect", "vllm", "rich", "typer"}
    assert not heavy & loaded_by("import ratoon")


def test_the_command_line_loads_nothing_heavy_before_a_command_runs() -> None:
    heavy = {"duckdb", "pyarrow", "numpy", "pydantic", "torch", "transformers", "prefect", "vllm", "httpx", "matplotlib"}
    assert not heavy & loaded_by("import ratoon.cli.app")
