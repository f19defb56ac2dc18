"""Does curation help? RFT on the curated set, on as many right rollouts at random, and on all of them, on the demo's arms.

    python benchmarks/curation_study.py [--recipe recipes/demo.toml] [--root runs/curation-study] [--seeds 0 1 2] [--rounds 1]

Each seed's first arm samples; the other arms begin as copies of it, so that all are trained on rollouts of the same round and
asked the same held-out tasks. Resumable: a finished run is found again. Writes its section of docs/results.md, whichever way
it falls. With more rounds than one the arms sample for themselves from round 2 on.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from demo_study import cell, evals, interval, last_round, of_policy, start
from results_page import machine, told, write_section

from ratoon.metrics.evaluation.evaluate import pooled
from ratoon.metrics.stats.estimators import Estimate
from ratoon.run import Run

MARK = "<!-- curation study: written by benchmarks/curation_study.py -->"
CORRECT = '{kind="finish_reason"},{kind="decontaminate"},{kind="verified"}'
CURATED = (
    f'{{kind="lint"}},{{kind="exact_dedup"}},{CORRECT},{{kind="pass_rate",lo_inclusive=false}},{{kind="minhash"}},'
    '{kind="cap_per_task",k=2}'
)
Arms = dict[str, dict[int, Run]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="recipes/demo.toml")
    parser.add_argument("--root", type=Path, default=Path("runs/curation-study"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], help="further KEY=VALUE for every run")
    parser.add_argument("--out", type=Path, default=Path("docs/results.md"))
    options = parser.parse_args()
    arms: Arms = {"curated": {}, "control": {}, "everything": {}}
    for seed in options.seeds:
        for arm, run in of_seed(options.recipe, options.root, seed, [f"run.iterations={options.rounds}", *options.set]).items():
            arms[arm][seed] = run
    write(options.out, report(arms, options.recipe, options.set))


def of_seed(recipe: str, root: Path, seed: int, sets: list[str]) -> dict[str, Run]:
    """The three runs of one seed; the control takes as many rollouts a round as the curated set has."""
    sets = [f"run.seed={seed}", *sets]
    first = root / f"curated-{seed}"
    curated, _ = start(recipe, first, [*sets, f"filters=[{CURATED}]"], False)
    kept = [row["kept"] for row in curated.rounds() if row["kept"] is not None]
    filters = {"control": f'{CORRECT},{{kind="random_n",n={kept},seed={seed}}}', "everything": CORRECT}
    found = {"curated": curated}
    for arm, steps in filters.items():
        folder = root / f"{arm}-{seed}"
        if not folder.exists():
            shutil.copytree(first, folder)
        found[arm], _ = start(recipe, folder, [*sets, f"filters=[{steps}]"], False)
    return found


def report(arms: Arms, recipe: str, sets: Sequence[str] = ()) -> str:
    """The section: every arm and seed, then the curated arm paired with each other one over all seeds."""
    command = told("python benchmarks/curation_study.py", sets)
    lines = [MARK, "", f"Command: `{command}`; recipe `{recipe}`; {machine()}.", ""]
    lines += ["| arm | seed | kept a round | trained tokens | base pass@1 | last pass@1 |", "|---|---|---|---|---|---|"]
    for arm, runs in arms.items():
        for seed, run in runs.items():
            rounds = [row for row in run.rounds() if row["kept"] is not None]
            kept = ", ".join(str(row["kept"]) for row in rounds)
            tokens = sum(row["trained_tokens"] or 0 for row in rounds)
            shown = [cell(evals(run, at)["pass@1"]) for at in (0, last_round(run))]
            lines.append(f"| {arm} | {seed} | {kept} | {tokens:,} | {shown[0]} | {shown[1]} |")
    lines.append("")
    for other in ("control", "everything"):
        lines.append(f"Curated against {other}, paired over seeds {list(arms[other])}: **{interval(against(arms, other))}**.")
    return "\n".join([*lines, ""])


def against(arms: Arms, other: str) -> Estimate:
    """The paired difference of pass@1 after the last round both have, tasks resampled with all their samples."""
    pairs = []
    for seed, theirs in arms[other].items():
        ours = arms["curated"][seed]
        common = min(last_round(ours), last_round(theirs))
        pairs.append((of_policy(ours, common), of_policy(theirs, common)))
    return pooled(pairs)


def write(path: Path, text: str) -> None:
    """This study's section of the page; the rest of it stays."""
    write_section(path, "## Curated, random, everything", MARK, text)


if __name__ == "__main__":
    main()
