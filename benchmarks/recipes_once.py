"""Each recipe without a gold answer once, on the packaged model, with what it really yielded: writes docs/results.md.

    python benchmarks/recipes_once.py [RECIPE …] [--root runs/recipes-once] [--seed 0] [--set KEY=VALUE …]

Resumable: a finished run is found again, one that stopped itself is told with its reason. Yield is rows kept for training
over rollouts asked. Where the truth of a task is known (to an oracle that the run does not see), the labels that trained are
compared with it. One seed and one round: this says that a recipe runs and what it gives, not whether it helps.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from results_page import machine, told, write_section

from ratoon.errors import RatoonError
from ratoon.run import Run

HEADING, MARK = "## The recipes once each", "<!-- recipes once: written by benchmarks/recipes_once.py -->"
RECIPES = (
    "consensus", "sharpening", "co_reward", "knowrl", "self_instruct", "self_guide", "self_specialize", "demo-nft", "nft",
)  # fmt: skip
_CANDIDATES = "select count(*) as n, count(*) filter (where keep) as accepted from decisions where subject_kind = 'proposal'"
_WHY = """
select reason, count(*) as n from decisions where not keep and subject_kind = '{kind}' group by reason order by n desc, reason
limit 3
"""
_LABELS = (
    "select metric, value, lo, hi, n from measures where metric = 'consensus/label_accuracy' order by iteration desc limit 1"
)
Rows = list[dict[str, Any]]


def once(recipe: str, root: Path, sets: list[str]) -> dict[str, Any]:
    """One run to its end, or to where it stopped itself, and what it says of itself."""
    folder, stopped = root / recipe, None
    try:
        run = Run.start(f"recipes/{recipe}.toml", folder, sets=sets, quiet=True)
    except RatoonError as error:
        if not (folder / "run.json").exists():  # it never began: a setting of this call is wrong
            raise
        stopped, run = error.message, Run(folder)
    return read(recipe, run, stopped)


def read(recipe: str, run: Run, stopped: str | None) -> dict[str, Any]:
    """What the page says of a run."""
    rounds = run.rounds()
    base = next((row["pass@1"] for row in rounds if row["pass@1"] is not None), None)
    last: dict[str, Any] = next((row for row in reversed(rounds) if row["rollouts"]), {})
    return {
        "recipe": recipe, "stopped": stopped, "base": base, "last": last.get("pass@1"), "gain": last.get("gain"),
        "tasks": last.get("tasks"), "rollouts": last.get("rollouts"), "kept": last.get("kept"),
        "proposed": rows(run, _CANDIDATES), "not_proposed": rows(run, _WHY.format(kind="proposal")),
        "dropped": rows(run, _WHY.format(kind="rollout")), "labels": rows(run, _LABELS),
    }  # fmt: skip


def rows(run: Run, query: str) -> Rows:
    """A query's rows."""
    return list(run.sql(query).to_arrow_table().to_pylist())


def line(one: dict[str, Any]) -> str:
    """A recipe's line of the table."""
    labels = one["labels"][0] if one["labels"] else None
    asked = one["proposed"][0]
    cells = [
        f"`{one['recipe']}`", f"{asked['accepted']:,} of {asked['n']:,}" if asked["n"] else "–",
        number(one["tasks"]), number(one["rollouts"]), number(one["kept"]),
        f"{one['kept'] / one['rollouts']:.3f}" if one["kept"] is not None and one["rollouts"] else "–",
        interval(labels), interval(one["base"]), interval(one["last"]), interval(one["gain"], "+"),
        why(one["dropped"]) if one["stopped"] is None else f"stopped: {one['stopped']}",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def number(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def interval(found: dict[str, Any] | None, sign: str = "") -> str:
    if found is None or found["value"] is None:
        return "–"
    if found["lo"] is None:
        return f"{found['value']:{sign}.3f}"
    return f"{found['value']:{sign}.3f} [{found['lo']:{sign}.3f}, {found['hi']:{sign}.3f}]"


def why(found: Rows) -> str:
    return ", ".join(f"{row['reason']} {row['n']:,}" for row in found) or "–"


def report(found: list[dict[str, Any]], sets: list[str]) -> str:
    """The section of docs/results.md."""
    command = told(" ".join(["python benchmarks/recipes_once.py", *(one["recipe"] for one in found)]), sets)
    columns = ["recipe", "proposals taken", "tasks", "rollouts", "kept", "yield", "labels right", "base pass@1", "trained",
               "gain", "mostly dropped for"]  # fmt: skip
    proposed = [f"`{one['recipe']}` {why(one['not_proposed'])}" for one in found if one["not_proposed"]]
    lines = [
        MARK, "", f"Command: `{command}`; the packaged SmolLM2-135M-Instruct; {machine()}.", "",
        f"| {' | '.join(columns)} |", "|" + "---|" * len(columns), *map(line, found), "",
        *([f"Proposals not taken, mostly: {'; '.join(proposed)}.", ""] if proposed else []),
        "Tasks, rollouts, kept and yield are the last round's; pass@1 on the recipe's own held-out suite, gain paired.", "",
    ]  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    """Parse, run each, write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", default=RECIPES)
    parser.add_argument("--root", type=Path, default=Path("runs/recipes-once"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], dest="sets", metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path, default=Path("docs/results.md"))
    options = parser.parse_args()
    found = []
    for recipe in options.recipes:
        found.append(once(recipe, options.root, [f"run.seed={options.seed}", *options.sets]))
        print(line(found[-1]), flush=True)
    write_section(options.out, HEADING, MARK, report(found, options.sets))


if __name__ == "__main__":
    main()
