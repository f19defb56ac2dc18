"""The command line, one file a command; every heavy import waits inside its command. `main` is its face."""

from __future__ import annotations


def main() -> None:
    """Run the command that `sys.argv` names; see `ratoon.cli.app`."""
    from ratoon.cli.app import main as run

    run()
