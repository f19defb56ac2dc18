"""Write docs/cli.md from the commands, docs/config.md from the models of recipes and verifiers, docs/code-map.md from heads.

    .venv/bin/python tools/gen_docs.py [--check]    # --check writes nothing and exits 1 where a page is not current

Knows typer's command tree and pydantic's fields, no single command and no single component.
"""

from __future__ import annotations

import ast
import inspect
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

ROOT = Path(__file__).resolve().parent.parent
# From the ground floor up.
PACKAGES = ("ratoon", "generators", "metrics", "filters", "sft", "pipelines")
NOTE = "<!-- Written by tools/gen_docs.py: change the code, then `make docs`. -->"
SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "min_length": "length ≥", "max_length": "length ≤", "pattern": "like"}
NAMES = {str: "string", int: "integer", float: "number", bool: "true or false", type(None): "null", Any: "any", Path: "path"}


class Section(NamedTuple):
    """One TOML table of the reference: its heading, model, and the path of keys that leads to it."""

    heading: str
    model: type[BaseModel]
    path: str
    depth: int


# ------------------------------------------------------------------------------------------------ commands


def cli_page(app: Any) -> str:
    """The reference of every command of a typer app, as Markdown."""
    import typer.main

    root = typer.main.get_command(app)
    lines = [NOTE, "", "# Commands", "", _text(root.help), ""]
    lines += [
        "Exit codes: 0 done, 1 failed, 2 wrong use, 3 stopped by a budget, gate or rule.",
        "",
        *_command_table(root),
        "",
    ]
    for name, command in _commands(root, "ratoon"):
        lines += _command(name, command)
    return "\n".join(lines).rstrip() + "\n"


def _commands(group: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, command in getattr(group, "commands", {}).items():
        if getattr(command, "hidden", False):
            continue
        yield f"{prefix} {name}", command
        yield from _commands(command, f"{prefix} {name}")


def _command_table(root: Any) -> list[str]:
    rows = [
        (f"[`{name}`](#{name.replace(' ', '-')})", _text(command.help).split("\n")[0])
        for name, command in _commands(root, "ratoon")
    ]
    return _table(("command", "what it does"), rows)


def _command(name: str, command: Any) -> list[str]:
    params = [p for p in command.params if not getattr(p, "hidden", False) and p.name != "help"]
    arguments = [_argument(p) for p in params if p.param_type_name == "argument"]
    has_options = any(p.param_type_name == "option" for p in params)
    usage = " ".join([name, *arguments, *(["[OPTIONS]"] if has_options else [])])
    lines = [f"## `{name}`", "", f"    {usage}", "", _text(command.help), ""]
    rows = [(_spelling(p), _cell(_text(p.help)), _default(p)) for p in params]
    lines += [*_table(("argument or option", "what it is", "default"), rows), ""] if rows else []
    example = _text(getattr(command, "epilog", "")).removeprefix("Example: ")
    return lines + ([f"    {example}", ""] if example else [])


def _argument(param: Any) -> str:
    name = (param.metavar or param.name).upper() + ("..." if param.nargs == -1 else "")
    return name if param.required else f"[{name}]"


def _spelling(param: Any) -> str:
    if param.param_type_name == "argument":
        return f"`{_argument(param)}`"
    names = ", ".join(f"`{name}`" for name in [*param.opts, *param.secondary_opts])
    if getattr(param, "is_flag", False):
        return names
    return f"{names} `{param.metavar or param.name.upper()}`" + (" (may be repeated)" if param.multiple else "")


def _default(param: Any) -> str:
    default = getattr(param.default, "value", param.default)
    if param.required:
        return "required"
    if default in (None, False, (), []):
        return ""
    return f"`{default}`"


# ------------------------------------------------------------------------------------------------ config


def config_page(model: type[BaseModel]) -> str:
    """The reference of every table and key of a recipe, as Markdown."""
    lines = [
        NOTE,
        "",
        "# Recipe",
        "",
        "A recipe is TOML. Every key has a default unless it says *required*; an unknown key is refused with the nearest name.",
        "Keys marked *where/how fast* are operational: they may change between starts of a run and are in no digest.",
        "On the command line: `--set table.key=value`, as often as you like; `--set filters.0.key=value` reaches into a list.",
        "",
    ]
    for section in _sections(model):
        if section.depth:
            lines += [f"{'#' * min(section.depth + 1, 4)} {section.heading}", "", _text(section.model.__doc__), ""]
        rows = [_field_row(name, field) for name, field in section.model.model_fields.items()]
        lines += [*_table(("key", "kind", "default", "what it is"), rows), ""] if rows else []
    return "\n".join(lines).rstrip() + "\n"


def arguments_page(verifiers: Mapping[str, Any]) -> str:
    """The arguments of every verifier of the catalogue, as Markdown."""
    lines = ["# Verifiers' arguments", "", "What `verifier_args` of a task, or of an arm of tasks, may say.", ""]
    for name, verifier in verifiers.items():
        about = _text(inspect.getmodule(verifier.verify).__doc__).split("\n\n")[0]  # type: ignore[union-attr]
        lines += [f'## `verifier = "{name}"`', "", " ".join(about.split()), ""]
        for section in _sections(verifier.args):
            if section.depth:
                lines += [f"### {section.heading} of `{name}`", "", _text(section.model.__doc__), ""]
            rows = [_field_row(key, field) for key, field in section.model.model_fields.items()]
            lines += [*_table(("argument", "kind", "default", "what it is"), rows), ""]
    return "\n".join(lines).rstrip() + "\n"


def _sections(model: type[BaseModel], path: str = "", heading: str = "", depth: int = 0) -> Iterator[Section]:
    yield Section(heading, model, path, depth)
    for name, field in model.model_fields.items():
        below = f"{path}.{name}" if path else name
        for nested, shape in _nested(field.annotation):
            key = f"{below}.NAME" if shape == "table of tables" else below
            title = f"`[[{key}]]`" if shape == "list" else f"`[{key}]`"
            yield from _sections(nested, key, title + _tag(nested, field), depth + 1)


def _nested(annotation: Any, shape: str = "one") -> list[tuple[type[BaseModel], str]]:
    """The models inside an annotation, with how often they may stand there: one, list, or table of tables."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [(annotation, shape)]
    origin = get_origin(annotation)
    if origin in (list, tuple, set, frozenset):
        shape = "list"
    elif origin is dict:
        shape = "table of tables"
    found = [pair for arg in get_args(annotation) for pair in _nested(arg, shape)]
    return list(dict.fromkeys(found))


def _tag(model: type[BaseModel], field: FieldInfo) -> str:
    """` key = "value"` for one model of a tagged union, so that its heading says which it is."""
    if len(_nested(field.annotation)) < 2:
        return ""
    for name, own in model.model_fields.items():
        if get_origin(own.annotation) is Literal and len(get_args(own.annotation)) == 1:
            return f' with `{name} = "{get_args(own.annotation)[0]}"`'
    return f" as {model.__name__}"


def _field_row(name: str, field: FieldInfo) -> tuple[str, str, str, str]:
    kind = " or ".join(_kinds(field.annotation)) + _limits(field)
    return f"`{name}`", _cell(kind), _cell(_field_default(field)), _cell(_meaning(field))


def _meaning(field: FieldInfo) -> str:
    extra = field.json_schema_extra
    operational = isinstance(extra, dict) and extra.get("operational")
    return _text(field.description) + (" *(where/how fast)*" if operational else "")


def _kinds(annotation: Any) -> list[str]:
    """How a person names a type, in order and without repeats."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return list(dict.fromkeys(kind for arg in args for kind in _kinds(arg)))
    if origin is Annotated:
        return _kinds(args[0])
    if origin is Literal:
        return [f"`{json.dumps(arg)}`" for arg in args]
    if origin in (list, tuple, set, frozenset):
        inner = [kind for arg in args if arg is not Ellipsis for kind in _kinds(arg)]
        fixed = origin is tuple and Ellipsis not in args
        return [f"[{', '.join(inner)}]" if fixed else f"list of {_plural(inner)}"]
    if origin is dict:
        return [f"table of {_plural(_kinds(args[1]))}"]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return ["table, below"]
    return [NAMES.get(annotation, getattr(annotation, "__name__", str(annotation)))]


def _plural(kinds: list[str]) -> str:
    """`list of tables, below` reads better than `list of table, below`; what has no plural stays as it is."""
    plurals = {
        "table, below": "tables, below",
        "string": "strings",
        "integer": "integers",
        "number": "numbers",
        "path": "paths",
    }
    return " or ".join(plurals.get(kind, kind) for kind in dict.fromkeys(kinds))


def _limits(field: FieldInfo) -> str:
    found = [
        f"{sign} {f'`{value}`' if name == 'pattern' else value}"
        for item in field.metadata
        for name, sign in SIGNS.items()
        if (value := getattr(item, name, None)) is not None
    ]
    return f", {', '.join(dict.fromkeys(found))}" if found else ""


def _field_default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined or _nested(field.annotation):
        return "" if not isinstance(value, tuple | list) or value else "`[]`"
    return f"`{_toml(value)}`"


def _toml(value: Any) -> str:
    if isinstance(value, Path):
        value = str(value)
    return json.dumps(list(value) if isinstance(value, tuple | set | frozenset) else value, ensure_ascii=False)


# ------------------------------------------------------------------------------------------------ pages


def _table(head: tuple[str, ...], rows: list[Any]) -> list[str]:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *lines]


def _cell(text: str) -> str:
    """`text` on one line of a table; outside code, `<name>` would be taken for HTML and vanish."""
    parts = " ".join(text.split()).replace("|", "\\|").split("`")
    return "`".join(part if i % 2 else part.replace("<", "&lt;") for i, part in enumerate(parts))


def _text(text: str | None) -> str:
    return inspect.cleandoc(text or "").replace("\b", "").strip()


# ------------------------------------------------------------------------------------------------ code map


def code_map_page(root: Path, packages: Sequence[str]) -> str:
    """One line a file, folder by folder: the first sentence of each module's docstring, as Markdown."""
    head = "Every file in one line, the ground floor first. Which room may import which: `tests/test_boundaries.py`."
    lines = [NOTE, "", "# Code map", "", head, ""]
    for folder in [path.parent for top in packages for path in sorted((root / top).rglob("__init__.py"))]:
        lines += [f"## {folder.relative_to(root).as_posix()}", "", _head(folder / "__init__.py"), ""]
        files = [path for path in sorted(folder.glob("*.py")) if path.stem != "__init__"]
        lines += [*_table(("file", "what it does"), [(f"`{path.name}`", _head(path)) for path in files]), ""] if files else []
    return "\n".join(lines).rstrip() + "\n"


def _head(path: Path) -> str:
    """The first paragraph of a module's docstring."""
    return " ".join((ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n\n")[0].split())


def pages() -> dict[Path, str]:
    """Every generated page with its text as of now."""
    from ratoon.cli.app import app
    from ratoon.metrics.verifiers import VERIFIERS
    from ratoon.pipelines.recipe.recipe import Recipe

    return {
        ROOT / "docs" / "cli.md": cli_page(app),
        ROOT / "docs" / "config.md": config_page(Recipe) + "\n" + arguments_page(VERIFIERS),
        ROOT / "docs" / "code-map.md": code_map_page(ROOT, PACKAGES),
    }


def main(check: bool) -> int:
    """Write the pages that changed; with `check` write nothing and return 1 when one has."""
    stale = {path: text for path, text in pages().items() if not path.exists() or path.read_text(encoding="utf-8") != text}
    for path, text in stale.items():
        print(f"{path.relative_to(ROOT)} {'is not current: make docs' if check else 'written'}")
        if not check:
            path.write_text(text, encoding="utf-8")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
