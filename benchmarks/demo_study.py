"""The demo under three seeds and a control, taken apart: writes docs/results.md. Resumable: a finished run is found again.

    python benchmarks/demo_study.py [--root runs/study] [--seeds 0 1 2]

Every seed is asked on one frozen evaluation split. The control is the same loop trained on as many *unverified* finished
rollouts a round as seed 0 kept; it begins as a copy of seed 0's run, whose first round asked the same of the same model.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

sys.path.insert(0, str(Path(__file__).resolve().parent))

from results_page import machine, write_section

from ratoon.metrics.evaluation.evaluate import pooled
from ratoon.metrics.evaluation.outcomes import Outcomes, outcomes
from ratoon.metrics.stats.estimators import Estimate
from ratoon.pipelines.curation.curate import crop_of
from ratoon.run import Run

MARK = "<!-- demo study: written by benchmarks/demo_study.py -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="recipes/demo.toml")
    parser.add_argument("--root", type=Path, default=Path("runs/study"))
    parser.add_argument("--first", type=Path, default=Path("runs/demo"), help="seed 0's folder: the one `make demo` leaves")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("docs/results.md"))
    parser.add_argument("--finished", action="store_true", help="report on the runs as they lie; ask nothing")
    options = parser.parse_args()
    folders = {seed: options.first if seed == 0 else options.root / f"seed-{seed}" for seed in options.seeds}
    seeds = {seed: start(options.recipe, folder, [f"run.seed={seed}"], options.finished) for seed, folder in folders.items()}
    kept = [row["kept"] for row in next(iter(seeds.values()))[0].rounds() if row["kept"] is not None]
    filters = f'filters=[{{kind="finish_reason"}}, {{kind="random_n", n={kept}}}]'
    if not (options.root / "control").exists() and not options.finished:
        shutil.copytree(next(iter(folders.values())), options.root / "control")  # round 1 asked the same of the same model
    control = None
    if (options.root / "control").exists():
        control = start(options.recipe, options.root / "control", [f"run.seed={options.seeds[0]}", filters], options.finished)
    write(options.out, report(seeds, control, options.recipe))


def start(recipe: str, folder: Path, sets: list[str], finished: bool) -> tuple[Run, float | None]:
    """The run, gone on with unless it is taken as it lies, and its wall seconds."""
    run = Run(folder) if finished else Run.start(recipe, folder, sets=sets)
    return run, wall_seconds(run)


def wall_seconds(run: Run) -> float | None:
    """From a run's first commit to the last that added an evaluation; what was curated or asked later does not count."""
    evaluated = {m.artifact_id for m in run.store.find("evals")}
    commits = run.store.commits()
    last = [c for c in commits if evaluated.intersection(c.add)][-1:]
    return (datetime.fromisoformat(last[0].at) - datetime.fromisoformat(commits[0].at)).total_seconds() if last else None


def of_policy(run: Run, iteration: int) -> Outcomes:
    """Task by task how the policy of one round did on the held-out suite."""
    store = run.store
    crop = crop_of(store, iteration, "suite-heldout")
    rollouts = store.read("rollouts", crop.rollouts)
    tasks = store.read("tasks", crop.pool)
    tasks = tasks.filter(pc.equal(tasks["split"], "eval"))
    return outcomes(rollouts, store.read("scores", crop.scores), tasks, policy_id=rollouts["policy_id"][0].as_py())


def last_round(run: Run) -> int:
    return max(row["round"] for row in run.rounds() if row["pass@1"] is not None)


def evals(run: Run, iteration: int, against: int = 0) -> dict[str, dict[str, Any]]:
    """Metric to row: of one round's policy by itself, and paired with `against`."""
    policies = {p["iteration"]: p["policy_id"] for p in run.store.read("policies").to_pylist()}
    rows = [r for r in run.store.read("evals").to_pylist() if r["suite"] == "heldout" and r["policy_id"] == policies[iteration]]
    return {r["metric"]: r for r in rows if r["against_policy_id"] in (None, policies[against])}


def trivial(run: Run) -> dict[str, float]:
    rows = run.store.read("evals").to_pylist()
    return {r["policy_id"]: r["value"] for r in rows if r["policy_id"].startswith("trivial") and r["metric"] == "pass@1"}


def report(seeds: dict[int, tuple[Run, float | None]], control: tuple[Run, float | None] | None, recipe: str) -> str:
    lines = [MARK, "", f"Command: `python benchmarks/demo_study.py`; recipe `{recipe}`; {machine()}.", ""]
    heads = ("run", "wall s", "sampled tokens", "trained tokens", "base pass@1", "last pass@1", "paired gain", "by finishing",
             "by accuracy")  # fmt: skip
    lines += ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    named = {f"seed {seed}": pair for seed, pair in seeds.items()} | ({"control (unverified)": control} if control else {})
    lines += [row_of(name, run, seconds) for name, (run, seconds) in named.items()]
    pairs = [(of_policy(run, last_round(run)), of_policy(run, 0)) for run, _ in seeds.values()]
    lines += ["", f"Pooled over seeds {list(seeds)}: paired gain **{interval(pooled(pairs))}** (problem keys resampled)."]
    if control:
        lines += against_control(*next(iter(seeds.items())), control[0])
    for policy, value in trivial(next(iter(seeds.values()))[0]).items():
        lines.append(f"`{policy}` scores {value:.3f} on the same tasks.")
    for name, (run, _) in named.items():
        lines += ["", f"### {name}", "", *rounds_table(run), "", *family_table(run)]
    return "\n".join([*lines, ""])


def against_control(seed: int, first: tuple[Run, float | None], control: Run) -> list[str]:
    """The seed that the control began as, paired with it after the last round both have."""
    common = min(last_round(control), last_round(first[0]))
    found = pooled([(of_policy(first[0], common), of_policy(control, common))])
    return [f"Seed {seed} against the control, both after round {common}, paired: {interval(found)}.", ""]


def row_of(name: str, run: Run, seconds: float | None) -> str:
    last = evals(run, last_round(run))
    base = evals(run, 0)
    rounds = run.rounds()
    cells = [
        name, f"{seconds:.0f}" if seconds is not None else "–", f"{sum(r['sampled_tokens'] for r in rounds):,}",
        f"{sum(r['trained_tokens'] or 0 for r in rounds):,}", cell(base["pass@1"]), cell(last["pass@1"]),
        cell(last["pass@1_diff"]), cell(last["gain_finishing"]), cell(last["gain_accuracy"]),
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def cell(row: dict[str, Any]) -> str:
    return "void" if row["value"] is None else f"{row['value']:.3f} [{row['lo']:.3f}, {row['hi']:.3f}]"


def interval(found: Estimate) -> str:
    return f"{found.value:+.3f} [{found.lo:+.3f}, {found.hi:+.3f}]"


def rounds_table(run: Run) -> list[str]:
    lines = [
        "| round | tasks | rollouts | pass rate | kept | trained tokens | pass@1 | finished |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in run.rounds():
        shown = [r["round"], r["tasks"], r["rollouts"], r["pass_rate"], r["kept"], r["trained_tokens"]]
        cells = ["–" if v is None else f"{v:.3f}" if isinstance(v, float) else f"{v:,}" for v in shown]
        cells += [cell(r["pass@1"]), cell(r["finished"])]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def family_table(run: Run) -> list[str]:
    """Held-out pass@1 of each arm, base and every round."""
    rounds = [r["round"] for r in run.rounds() if r["pass@1"] is not None]
    found = {i: evals(run, i) for i in rounds}
    arms = sorted(m for m in found[rounds[0]] if m.startswith("pass@1/"))
    lines = ["| arm | " + " | ".join(f"round {i}" if i else "base" for i in rounds) + " |", "|---" * (len(rounds) + 1) + "|"]
    return lines + ["| " + " | ".join([arm[7:], *(f"{found[i][arm]['value']:.3f}" for i in rounds)]) + " |" for arm in arms]


def write(path: Path, text: str) -> None:
    """This study's section of the page; the rest of it stays."""
    write_section(path, "## The demo", MARK, text)


if __name__ == "__main__":
    main()
