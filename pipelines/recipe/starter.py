"""`ratoon init`: a starter recipe, every line of it explained; a copy of the shipped `starter.toml` under a new name."""

from __future__ import annotations

from pathlib import Path

from ratoon.errors import UsageError
from ratoon.pipelines.recipe.recipe import SHIPPED


def write(name: Path) -> Path:
    """Write NAME.toml. Raises UsageError when it exists already."""
    path = name if name.suffix == ".toml" else name.with_name(f"{name.name}.toml")
    text = (SHIPPED / "starter.toml").read_text(encoding="utf-8").replace('name = "starter"', f'name = "{path.stem}"')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{path} exists already", "give another NAME, or remove it") from None
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}", "give a NAME in a folder you may write to") from None
    return path
