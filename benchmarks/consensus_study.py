"""Learning from votes against learning from the truth: RFT on consensus labels and on true labels, same size, several seeds.

    python benchmarks/consensus_study.py [--root runs/consensus-study] [--seeds 0 1 2] [--set key=value …]

Resumable: a finished run is found again. Arm `consensus` is the recipe of that name: no training task has its gold, votes label
them. Arm `truth` asks the same problems of the same model, is labelled by the verifier, and trains in each round on at most as
many rows as the vote let through. Both are asked on one frozen evaluation split, whose gold no vote has seen. Both are shown
three worked examples, of numbers that no task has: without them half of SmolLM2's replies are cut off before they answer, and
hardly a vote is accepted. Writes its part of docs/results.md, whichever way it falls.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from demo_study import cell, evals, interval, last_round, of_policy, start
from results_page import machine, told, write_section

from ratoon.metrics.evaluation.evaluate import pooled
from ratoon.run import Run

HEADING = "## Votes against the truth"
MARK = "<!-- consensus study: written by benchmarks/consensus_study.py -->"
ARMS = ("consensus", "truth")
SHOWN = (
    'prompt.few_shot=[["What is 30 - 21?", "9"], ["Which number is the largest: 310, 588 or 127?", "588"], '
    '["Which number is the smallest: 456, 273 or 901?", "273"]]'
)
_TRUE = ('{{kind="finish_reason"}}, {{kind="verified"}}, {{kind="exact_dedup"}}, {{kind="cap_per_task", k=2}}, '
         '{{kind="random_n", n={kept}}}')  # fmt: skip
Pair = dict[str, Run]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="recipes/consensus.toml")
    parser.add_argument("--root", type=Path, default=Path("runs/consensus-study"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", action="append", default=[], dest="sets", metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path, default=Path("docs/results.md"))
    parser.add_argument("--finished", action="store_true", help="report on the runs as they lie; ask nothing")
    options = parser.parse_args()
    pairs = {seed: pair(options, seed) for seed in options.seeds}
    write(options.out, report(pairs, options.recipe, options.sets))


def pair(options: argparse.Namespace, seed: int) -> Pair:
    """Both arms of one seed; the vote's first, because it says how many rows there are."""
    own = [SHOWN, *options.sets, f"run.seed={seed}"]
    voted, _ = start(options.recipe, options.root / f"seed-{seed}" / "consensus", own, options.finished)
    sets = [*own, "consensus.labels=verifier", f"filters=[{_TRUE.format(kept=kept(voted))}]"]
    true, _ = start(options.recipe, options.root / f"seed-{seed}" / "truth", sets, options.finished)
    return {"consensus": voted, "truth": true}


def kept(run: Run) -> list[int]:
    """Rows that each round's dataset had."""
    return [row["kept"] for row in run.rounds() if row["kept"] is not None]


def report(pairs: dict[int, Pair], recipe: str, sets: Sequence[str] = ()) -> str:
    command = told("python benchmarks/consensus_study.py", sets)
    lines = [MARK, "", f"Command: `{command}`; recipe `{recipe}`; {machine()}.", ""]
    heads = ("seed", "labels", "rows by round", "label accuracy by round", "base pass@1", "last pass@1", "paired gain")
    lines += ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    lines += [row_of(seed, arm, both[arm]) for seed, both in pairs.items() for arm in ARMS]
    lines.append("")
    for arm in ARMS:
        gains = [(of_policy(both[arm], last_round(both[arm])), of_policy(both[arm], 0)) for both in pairs.values()]
        lines.append(f"Gain over the base from {arm} labels, pooled over seeds {list(pairs)}: **{interval(pooled(gains))}**.")
    between = [tuple(of_policy(both[arm], last_round(both[arm])) for arm in ARMS) for both in pairs.values()]
    lines.append(f"Consensus minus truth, paired on the same held-out tasks: **{interval(pooled(between))}**.")  # type: ignore[arg-type]
    lines += ["", "Rollouts asked: " + "; ".join(f"seed {seed}: {spent(both)}" for seed, both in pairs.items()) + "."]
    lines += ["", *measures_table(pairs)]
    return "\n".join([*lines, ""])


def row_of(seed: int, arm: str, run: Run) -> str:
    base, last = evals(run, 0), evals(run, last_round(run))
    accuracy = [cell(m) for m in measured(run, "label_accuracy") if m["value"] is not None]
    cells = [str(seed), arm, ", ".join(map(str, kept(run))), "; ".join(accuracy) or "true by construction",
             cell(base["pass@1"]), cell(last["pass@1"]), cell(last["pass@1_diff"])]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def measured(run: Run, metric: str) -> list[dict[str, Any]]:
    """One measure of the votes, oldest round first."""
    rows = [row for row in run.store.read("measures").to_pylist() if row["metric"] == f"consensus/{metric}"]
    return sorted(rows, key=lambda row: row["iteration"])


def spent(both: Pair) -> str:
    """Training rollouts of each arm: what stopping early saved, or gave to open tasks."""
    return ", ".join(f"{arm} {sum(row['rollouts'] or 0 for row in both[arm].rounds()):,}" for arm in ARMS)


def measures_table(pairs: dict[int, Pair]) -> list[str]:
    """How far each round's votes could be believed."""
    names = ("agreement", "coverage", "vote_accuracy", "rollout_accuracy", "reward_accuracy", "ece", "brier", "auroc")
    lines = ["| seed | round | " + " | ".join(names) + " |", "|---" * (len(names) + 2) + "|"]
    for seed, both in pairs.items():
        found = {name: {row["iteration"]: row["value"] for row in measured(both["consensus"], name)} for name in names}
        for i in sorted(found["agreement"]):
            values = [found[name].get(i) for name in names]
            lines.append(f"| {seed} | {i} | " + " | ".join("–" if v is None else f"{v:.3f}" for v in values) + " |")
    return lines


def write(path: Path, text: str) -> None:
    """This study's section of the page; the rest of it stays."""
    write_section(path, HEADING, MARK, text)


if __name__ == "__main__":
    main()
