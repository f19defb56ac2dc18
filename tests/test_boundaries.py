"""Imports go one way, heavy libraries have one home each, files and functions stay small: walked, lazy imports included."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles

import pytest

ROOT = Path(__file__).resolve().parent.parent
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
MAP: dict[str, str] = SETUPTOOLS["package-dir"]

# `Run` is `ratoon.run.Run` by its short name.
TOP = {"run", "Run", "__main__", "cli"}
MIDDLE = {"generators", "metrics", "filters", "sft"}
FOLDERS = {folder for folder in MAP.values() if folder != "ratoon"}
FLOOR = {"ground": 0, "middle": 1, "pipelines": 2, "top": 3}

# A room imports its own files and those of rooms further down; rooms on one line do not see each other.
ORDER: dict[str, tuple[set[str], ...]] = {
    "pipelines": (
        {"recipe"},
        {"runtime"},
        {"contamination", "views"},
        {"audit", "tasks"},
        {"rollouts"},
        {"curation"},
        {"evaluation"},
        {"training", "serving"},
        {"flows"},
    ),
    "metrics": (
        {"stats", "sandbox"},
        {"text", "verifiers"},
        {"embeddings", "voting", "verifier_errors"},
        {"qdc"},
        {"report", "evaluation"},
        {"page"},
    ),
    "generators": ({"tasks", "waves"}, {"proposers"}, {"engines"}),
    "sft": ({"data", "models"}, {"training"}),
}

# Where each heavy library may be imported: module prefixes without `ratoon.`.
HOMES: dict[str, tuple[str, ...]] = {
    "vllm": ("generators.engines.vllm_process",),
    "prefect": ("pipelines.flows",),
    "ray": (),
    "duckdb": ("sql", "metrics.sandbox.run_sql"),  # the second is a script for the sandbox, imported by nothing
    "torch": ("sft", "generators.engines.transformers", "metrics.embeddings.embed"),
    "peft": ("sft", "generators.engines.transformers"),
    "accelerate": ("sft",),
    "sentence_transformers": ("metrics.embeddings",),
    "vl_convert": ("metrics.page.vega",),
}
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 50
MAX_FOLDER_FILES = 20
# One component is one file there, however many there are.
CATALOGUES = {
    "filters",
    "metrics/verifiers",
    "generators/tasks",
    "generators/proposers",
    "generators/environments",
    "recipes",
    "ratoon/rows/layouts",
}


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of the package under its name without `ratoon.`, the package itself as the empty string."""
    for package, folder in MAP.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            below = path.relative_to(ROOT / folder).with_suffix("").parts
            yield ".".join([*package.split(".")[1:], *(part for part in below if part != "__init__")]), path


def floor(module: str) -> str:
    """The floor a module (without `ratoon.`) stands on."""
    first = module.split(".")[0]
    if first in TOP:
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
    return _room_problem(module, target)


def _room_problem(module: str, target: str) -> str | None:
    """What is wrong where one room of a package imports another."""
    (package, _, inside), (other, _, there) = module.partition("."), target.partition(".")
    if package != other or package not in ORDER:
        return None
    own, room = inside.split(".")[0], there.split(".")[0]
    height = {name: number for number, names in enumerate(ORDER[package]) for name in names}
    if own == room or own not in height or room not in height or height[room] < height[own]:
        return None
    return f"room {package}.{own} imports ratoon.{target}: the order is {_order(package)}"


def _order(package: str) -> str:
    return " ◄ ".join(", ".join(sorted(names)) for names in ORDER[package])


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Each circle of imports once, as the modules on it; `edges` are the imports made when a module is loaded."""
    done, path, rings = set[str](), list[str](), list[list[str]]()

    def walk(module: str) -> None:
        if module in path:
            rings.append([*path[path.index(module) :], module])
        elif module not in done:
            path.append(module)
            for target in sorted(edges.get(module, ())):
                walk(target)
            done.add(path.pop())

    for module in sorted(edges):
        walk(module)
    return rings


def function_lengths(source: str) -> list[int]:
    functions = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return [(node.end_lineno or node.lineno) - node.lineno + 1 for node in functions]


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


def test_most_functions_are_read_at_a_glance() -> None:
    lengths = [length for _, path in modules() for length in function_lengths(path.read_text(encoding="utf-8"))]
    assert median(lengths) <= 8
    assert quantiles(lengths, n=10)[-1] <= 20


def test_no_folder_has_more_files_than_one_looks_through() -> None:
    folders = Counter(path.parent.relative_to(ROOT).as_posix() for _, path in modules() if path.stem != "__init__")
    assert not {folder: n for folder, n in folders.items() if n > MAX_FOLDER_FILES and folder not in CATALOGUES}


def test_every_room_says_what_it_is() -> None:
    rooms = [path for _, path in modules() if path.stem == "__init__"]
    assert not [str(path) for path in rooms if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]


def test_every_room_has_its_place_in_the_order() -> None:
    for package, order in ORDER.items():
        rooms = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
        assert rooms == set().union(*order)


def test_no_import_goes_in_a_circle() -> None:
    names = {module for module, _ in modules()}
    edges = {module: _loaded(path, module, names) for module, path in modules()}
    assert circles(edges) == []
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == [["b", "c", "b"]]


def _loaded(path: Path, module: str, names: set[str]) -> set[str]:
    """The modules of ratoon that loading this one loads: imports at the top of the file, not those inside functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], [])
    loaded = set[str]()
    for node in top.body:
        source = ast.unparse(node)
        targets = {name.partition(".")[2] for name, _ in imports(source, module, path.stem == "__init__")}
        if isinstance(node, ast.ImportFrom):  # `from package import module` needs the module, not the package's own names
            inner = {f"{target}.{alias.name}" for target in targets for alias in node.names} & names
            targets = inner or targets
        loaded |= targets & names
    return loaded - {module}


def test_the_walk_reaches_every_package() -> None:
    seen = {module for module, _ in modules()}
    assert {".".join(package.split(".")[1:]) for package in SETUPTOOLS["packages"]} <= seen
    assert {"errors", "schema", "config"} <= seen


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("ids", "from ratoon.filters import length", "ground floor imports"),
        ("ids", "from ratoon import filters", "ground floor imports"),
        ("ids", "def f():\n    import ratoon.pipelines.flows.improve", "ground floor imports"),
        ("sql", "from ratoon.cli.doctor import check", "ground floor imports"),
        ("filters.length", "from ratoon import Run", "middle floor imports"),
        ("filters.length", "from ratoon.metrics.voting.groups import groups", "never import one another"),
        ("metrics.verifiers.score", "def f():\n    from ratoon.generators import prompts", "never import one another"),
        ("metrics.report.progress_plot", "from ...sft import policy", "never import one another"),
        ("sft.training.process", "from ratoon.pipelines import recipe", "middle floor imports"),
        ("pipelines.flows.improve", "from ratoon import cli", "pipelines floor imports"),
        ("pipelines.flows.improve", "import vllm", "outside its home"),
        ("generators.rollouts", "def f():\n    from vllm import LLM", "outside its home"),
        ("generators.engines.openai", "import torch.nn", "outside its home"),
        ("generators.engines.transformers_extra", "import torch", "outside its home"),
        ("store.store", "import duckdb", "outside its home"),
        ("run", "from prefect import flow", "outside its home"),
        ("pipelines.flows.improve", "import ray", "it has none"),
        ("cli.app", "import filters", "bare import"),
        ("pipelines.runtime.stage", "import prefect", "outside its home"),
        ("pipelines.recipe.recipe", "from ratoon.pipelines.runtime.context import Context", "the order is recipe ◄"),
        ("pipelines.audit.side", "from ratoon.pipelines.tasks import pool", "the order is recipe ◄"),
        ("metrics.text.lint", "def f():\n    from ratoon.metrics.qdc import tiers", "the order is sandbox, stats ◄"),
        ("pipelines.flows.improve", "from metrics.verifiers.score import score", "bare import"),
        ("store.store", "import importlib\nimportlib.import_module('torch')", "outside its home"),
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
        ("pipelines.flows.improve", "import prefect\nfrom ratoon.sft import launch\nfrom ratoon import store"),
        ("pipelines.curation.curate", "from ratoon.pipelines.runtime.stage import run_stage"),
        ("cli.app", "from ratoon.pipelines import recipe\nfrom ratoon import run"),
        ("cli.doctor", "from ratoon.sft.models import smollm2"),
        ("", "from ratoon.run import Run"),
        ("sft.training.process", "import torch, peft"),
        ("generators.engines.vllm_process", "import vllm"),
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
    heavy = {
        "duckdb",
        "pyarrow",
        "numpy",
        "pydantic",
        "torch",
        "transformers",
        "prefect",
        "vllm",
        "aiohttp",
        "httpx",
        "matplotlib",
    }
    assert not heavy & loaded_by("import ratoon.cli.app")
