"""Fill `.links/ratoon/` with links, for static checkers only: they do not follow setuptools' package-dir map.

Core files are linked one by one, the other packages as folders, so that a new file in those appears by itself.
"""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINKS = ROOT / ".links"


def main() -> None:
    """Make `.links` anew."""
    map_ = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["package-dir"]
    shutil.rmtree(LINKS, ignore_errors=True)
    package = LINKS / "ratoon"
    package.mkdir(parents=True)
    for path in sorted((ROOT / map_["ratoon"]).iterdir()):
        if path.suffix in {".py", ".pyi"} or path.name == "py.typed" or (path / "__init__.py").exists():
            (package / path.name).symlink_to(path)
    for name, folder in map_.items():
        if name.count(".") == 1:
            (package / name.partition(".")[2]).symlink_to(ROOT / folder, target_is_directory=True)


if __name__ == "__main__":
    main()
