"""A verifier passed in Python, no package needed: `python examples/own_verifier.py [FOLDER]`, under a minute.

Verifiers run in worker processes, which import them by name. So the function lives in a module; this file is one, and the
script below imports itself.
"""

from __future__ import annotations

import sys
from pathlib import Path


def ends_with(text: str, answer: str | None, args: dict[str, object]) -> bool | None:
    """Pass when the reply's last word is the answer. None: there is no gold, so nobody can judge."""
    if answer is None:
        return None
    words = text.rstrip(" .\n").split()
    return bool(words) and words[-1] == answer


def main(folder: Path, sets: list[str]) -> None:
    import own_verifier  # workers find it under this name, not under __main__

    from ratoon import Run

    own = ["tasks.0.verifier=ends_with", "tasks.0.verifier_args={}"]
    run = Run.start("smoke", folder, sets=[*own, *sets], verifiers={"ends_with": own_verifier.ends_with}, quiet=True)
    print(run.sql("select scorer, status, count(*) as n from scores group by all order by all"))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/own-verifier"), sys.argv[2:])
