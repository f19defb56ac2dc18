"""The base of every component's config: frozen, unknown keys refused with the nearest name; knows no component.

A field is *semantic* (its value changes what is computed; it is hashed) unless it is declared with `operational()`, or, key by
key of a table, with `partly_operational()`.
A later default must not change the hash of an older recipe, so digests cover resolved values, defaults included. A field that
came later must not either: one declared with `added()` is hashed where it is not at its default.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ratoon import ids
from ratoon.errors import ConfigError

_OPERATIONAL: dict[str, Any] = {"operational": True}
_KEYS = "operational_keys"
_ADDED = "hashed_unless"
_NONE: Any = object()
Model = TypeVar("Model", bound="Config")


class Config(BaseModel):
    """A frozen config; give every field a description, it becomes the reference."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


def operational(default: Any = ..., **field: Any) -> Any:
    """A field that says where or how fast, never what: endpoints, concurrency, paths. Not hashed."""
    return Field(default, json_schema_extra=_OPERATIONAL, **field)


def partly_operational(default: Any, keys: Iterable[str], **field: Any) -> Any:
    """A table of free keys, of which `keys` say where or how fast: they are not hashed, and a table of nothing else is not."""
    names: dict[str, Any] = {_KEYS: sorted(keys)}
    return Field(default, json_schema_extra=names, **field)


def added(default: Any, **field: Any) -> Any:
    """A field that older recipes lack: at its default it is not hashed, so their digests stay."""
    unhashed: dict[str, Any] = {_ADDED: default}
    return Field(default, json_schema_extra=unhashed, **field)


def one_of(configs: Iterable[type[Config]], tag: str) -> Any:
    """The type of a config that is one of `configs`, told apart by the value of its field `tag`."""
    types = tuple(configs)
    return types[0] if len(types) == 1 else Annotated[Union[types], Field(discriminator=tag)]  # noqa: UP007


def semantic(value: Any) -> Any:
    """`value` as plain JSON types without its operational fields, at every depth."""
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        found = {k: _hashed(getattr(value, k), f.json_schema_extra) for k, f in fields.items()}
        return {k: semantic(v) for k, v in found.items() if v is not _NONE}
    if isinstance(value, Mapping):
        return {str(k): semantic(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [semantic(v) for v in value]
    return value


def _hashed(value: Any, extra: Any) -> Any:
    """What of a field's value counts, by how the field was declared; `_NONE` where nothing does."""
    if extra == _OPERATIONAL:
        return _NONE
    if isinstance(extra, dict) and _KEYS in extra:
        return {k: v for k, v in value.items() if k not in extra[_KEYS]} or _NONE
    if isinstance(extra, dict) and _ADDED in extra and value == extra[_ADDED]:
        return _NONE
    return value


def semantic_digest(value: Any) -> str:
    """The digest of what `semantic` keeps."""
    return ids.digest(semantic(value))


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file as a dict. Raises ConfigError that names the file and line."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", "give the path of a recipe, or `ratoon init NAME`") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}", "mend that line") from None


def apply_sets(tree: dict[str, Any], sets: Iterable[str]) -> dict[str, Any]:
    """`tree` with each `a.b.c=value` applied; values are TOML, a bare word is a string, `filters.0.x` indexes a list."""
    tree = _copy(tree)
    for item in sets:
        path, equals, text = item.partition("=")
        if not equals or not path:
            raise ConfigError(f"--set {item!r} is not KEY=VALUE", "for example --set train.learning_rate=1e-5")
        _assign(tree, path.strip().split("."), _toml_value(text.strip()), item)
    return tree


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _copy(v) for k, v in value.items()}
    return [_copy(v) for v in value] if isinstance(value, list) else value


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _assign(tree: Any, keys: list[str], value: Any, item: str) -> None:
    for depth, key in enumerate(keys):
        last = depth == len(keys) - 1
        if isinstance(tree, list):
            if not key.isdigit() or int(key) >= len(tree):
                raise ConfigError(f"--set {item!r}: {key!r} is no index of a list of {len(tree)}", "count from 0")
            step: Any = int(key)
        elif not isinstance(tree, dict):
            raise ConfigError(f"--set {item!r}: {'.'.join(keys[:depth])!r} holds a value, not a table", "shorten the path")
        else:
            step = key
        if last:
            tree[step] = value
        else:
            tree = tree[step] if isinstance(tree, list) else tree.setdefault(step, {})


def parse(model: type[Model], tree: Mapping[str, Any], where: str) -> Model:
    """`tree` as a `model`. Raises ConfigError listing every bad field: path, value, reason, nearest name."""
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        lines = [_explain(model, dict(detail)) for detail in error.errors(include_url=False)]
        raise ConfigError(f"{where} is not valid:\n" + "\n".join(f"  {line}" for line in lines), "see docs/config.md") from None


def _explain(model: type[BaseModel], detail: dict[str, Any]) -> str:
    loc = [str(part) for part in detail["loc"]]
    path, kind = ".".join(loc), detail["type"]
    if kind == "extra_forbidden":
        names = _field_names(model, loc[:-1])
        near = difflib.get_close_matches(loc[-1], names, n=1, cutoff=0.5)
        return f"{path}: unknown key" + (f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(sorted(names))}")
    if kind == "missing":
        return f"{path}: required, but absent"
    # A whole table is not quoted: it is long, and may hold what nobody should read.
    given = detail.get("input")
    return f"{path}{'' if isinstance(given, dict) else f' = {given!r}'}: {detail['msg'].removeprefix('Value error, ')}"


def _field_names(model: type[BaseModel], path: list[str]) -> list[str]:
    """The field names of the model that `path` leads to, looking through lists, unions and tags."""
    models: list[type[BaseModel]] = [model]
    for part in path:
        nested = [m for owner in models if part in owner.model_fields for m in _models_in(owner.model_fields[part].annotation)]
        tagged = [m for m in models if any(getattr(f.annotation, "__args__", None) == (part,) for f in m.model_fields.values())]
        models = nested or tagged or models
    return sorted({name for m in models for name in m.model_fields})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, UnionType) or get_args(annotation):
        return [m for arg in get_args(annotation) for m in _models_in(arg)]
    return []


def check_range(low: float, high: float, what: str) -> None:
    """Raise ValueError unless low ≤ high: for validators of bands."""
    if low > high:
        raise ValueError(f"{what}: {low} is above {high}")
