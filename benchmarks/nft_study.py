"""NFT beside rejection sampling at equal optimizer steps and equal sampled rollouts, under three seeds: writes docs/results.md.

    python benchmarks/nft_study.py [--root runs/nft-study] [--scale cpu|gpu|tiny] [--rounds N] [--seeds 0 1 2] [--only PART]

First each method's settings are chosen on probe tasks (at most six settings, one seed, one round); then the chosen ones run
under every seed on one frozen evaluation split. Both methods start each round from the last policy, sample as many rollouts of
as many tasks, and take as many optimizer steps; the first round's rollouts are the base's, so one run of a seed samples them
and the others begin with them. Resumable: a run goes on where it was ended, its result is written to ROOT/results as it ends,
and a result that is there is not computed again. `--scale tiny` proves the script in minutes without a real model.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

sys.path.insert(0, str(Path(__file__).resolve().parent))

from results_page import machine, write_section

from ratoon.metrics.evaluation.evaluate import pooled
from ratoon.metrics.evaluation.outcomes import Outcomes, outcomes
from ratoon.pipelines.curation.curate import crop_of
from ratoon.run import Run
from ratoon.store.store import Manifest, Store
from ratoon.text import normalise

MARK = "<!-- nft study: written by benchmarks/nft_study.py -->"
METHODS = ("rft", "nft")


@dataclass(frozen=True)
class Scale:
    """How much is asked: training tasks, rollouts each, rounds, steps a round; tasks and rollouts each on probe and finally."""

    recipe: str
    tasks: int
    n: int
    rounds: int
    steps: int
    probe: tuple[int, int]
    final: tuple[int, int]
    sets: tuple[str, ...] = ()


_REAL = ("sampling.max_tokens=32", "engine.keep_open=true")
SCALES = {
    "cpu": Scale("demo", 200, 8, 3, 24, (60, 4), (200, 8), _REAL),
    "gpu": Scale("demo", 400, 20, 6, 60, (60, 8), (220, 64), (*_REAL, "run.shard_size=100")),
    "tiny": Scale("smoke", 6, 4, 2, 2, (4, 2), (8, 8), (
        "tasks.0.n=20", "tasks.1.n=20", "splits.eval=5", "splits.probe=3", "run.shard_size=6", "train.min_examples=2",
        "train.nft.max_logprob_gap=100", "engine.scripted.pass_rate={'*'=0.5}",
    )),
}  # fmt: skip

# At most six settings a method, each a `--set` per field; the first is the default.
GRID: dict[str, list[dict[str, Any]]] = {
    "rft": [{"learning_rate": rate} for rate in (3e-5, 1e-5, 6e-5, 1e-4)],
    "nft": [
        {"learning_rate": 1e-5}, {"learning_rate": 3e-6}, {"learning_rate": 3e-5},
        {"learning_rate": 1e-5, "nft.prompt_weight": "sqrt"}, {"learning_rate": 1e-5, "nft.prompt_weight": "one"},
        {"learning_rate": 1e-5, "nft.negative_clip": 0.5},
    ],
}  # fmt: skip
_SAMPLED = ("assign", "rollouts", "scores", "groups", "lint")
FILTERS = 'filters=[{kind="finish_reason"}, {kind="verified"}, {kind="exact_dedup"}, {kind="cap_per_task", k=2}]'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("runs/nft-study"))
    parser.add_argument("--scale", choices=SCALES, default="cpu")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", choices=["probe", "final", "report"], help="one part; the others as they lie")
    parser.add_argument("--rounds", type=int, help="fewer or more rounds than the scale has")
    parser.add_argument("--settings", type=int, help="at most so many settings a method on probe")
    parser.add_argument("--out", type=Path, default=Path("docs/results.md"))
    parser.add_argument("--plot", type=Path, default=Path("docs/img/nft-study.png"))
    options = parser.parse_args()
    study(options)


def study(options: argparse.Namespace) -> None:
    """Probe, choose, run, report; what has a result already is left alone."""
    study = Study(options.root, options.scale, options.rounds)
    if options.only in (None, "probe"):
        for method in METHODS:
            for number, setting in enumerate(GRID[method][: options.settings]):
                study.run(f"probe-{method}-{number}", method, setting, seed=0, probing=True)
    if options.only in (None, "final"):
        for seed in options.seeds:
            for method in METHODS:
                study.run(f"final-{method}-{seed}", method, study.chosen(method)["settings"], seed=seed)
    if options.only in (None, "report"):
        results = study.results()
        draw(results, options.plot)
        write(options.out, report(study, results, options.seeds, options.plot, options.out))


class Study:
    """One folder of runs and their results."""

    def __init__(self, root: Path, scale: str, rounds: int | None = None) -> None:
        self.root, self.name, self.scale = root, scale, SCALES[scale]
        self.command = f"python benchmarks/nft_study.py --scale {scale}"
        if rounds is not None:
            self.scale, self.command = replace(self.scale, rounds=rounds), f"{self.command} --rounds {rounds}"
        (root / "results").mkdir(parents=True, exist_ok=True)

    def run(self, name: str, method: str, setting: dict[str, Any], *, seed: int, probing: bool = False) -> dict[str, Any]:
        """One run gone through to its end, and its result; both are found again."""
        path = self.root / "results" / f"{name}.json"
        if path.exists():
            return dict(json.loads(path.read_text(encoding="utf-8")))
        folder = self.root / name
        if not folder.exists():
            begin(folder, self._sampled(seed, probing))
        sets = [*self._sets(seed, probing), *(f"train.{k}={_toml(v)}" for k, v in setting.items()), f"train.method={method}"]
        run = Run.start(
            self.scale.recipe, folder, sets=[*sets, f"run.iterations={1 if probing else self.scale.rounds}"], quiet=True
        )
        told = {"name": name, "method": method, "seed": seed, "probing": probing, "settings": setting} | measured(run)
        told |= {"scale": self.name, "machine": machine(), "asked": asdict(self.scale)}
        whole = path.with_suffix(".tmp")
        whole.write_text(json.dumps(told, indent=2), encoding="utf-8")
        whole.rename(path)
        print(f"{name}: pass@1 {told['rounds'][-1]['pass@1']:.3f}", flush=True)
        return told

    def _sampled(self, seed: int, probing: bool) -> Path:
        """A finished run of that seed, whose first round was sampled from the base; before there is one, the base's own."""
        done = sorted(self.root.glob(f"results/{'probe-*' if probing else f'final-*-{seed}'}.json"))
        if done:
            return self.root / done[0].stem
        folder = self.root / f"base-{'probe' if probing else seed}"
        Run.start(self.scale.recipe, folder, sets=[*self._sets(seed, probing), "run.iterations=0"], quiet=True)
        return folder

    def _sets(self, seed: int, probing: bool) -> list[str]:
        scale = self.scale
        tasks, n = scale.probe if probing else scale.final
        held = (
            f"{{split={'probe' if probing else 'eval'!r}, n={n}, tasks={tasks}, sampling={{temperature=0.7, max_tokens=32}}}}"
        )
        return [
            *scale.sets, FILTERS, f"suites={{heldout={held}}}", f"run.seed={seed}", "run.task_seed=0", "train.start=last",
            "train.data=this", "train.epochs=1", f"train.steps={scale.steps}", f"generate.tasks={scale.tasks}",
            f"generate.n={scale.n}", "generate.retry_share=0.0", "sampling.temperature=1.0",
        ]  # fmt: skip

    def chosen(self, method: str) -> dict[str, Any]:
        """The probe run of most pass@1; among equals the earlier setting."""
        found = [r for r in self.results() if r["probing"] and r["method"] == method]
        if not found:
            return {"settings": GRID[method][0], "name": "not probed"}
        return max(sorted(found, key=lambda r: r["name"]), key=lambda r: r["rounds"][-1]["pass@1"])

    def results(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text(encoding="utf-8")) for path in sorted((self.root / "results").glob("*.json"))]

    def pairs(self, ours: str, theirs: str | None, seeds: list[int]) -> list[tuple[Outcomes, Outcomes]]:
        """Task by task, each seed's last policy of one method and that of another, or the base."""
        found = []
        for seed in seeds:
            run = Run(self.root / f"final-{ours}-{seed}")
            other = Run(self.root / f"final-{theirs}-{seed}") if theirs else run
            found.append((of_policy(run, self.scale.rounds), of_policy(other, self.scale.rounds if theirs else 0)))
        return found


def begin(folder: Path, other: Path) -> None:
    """A copy of another run up to where its first policy was trained: the base's evaluation and the first round's rollouts."""
    temporary = folder.with_name(f".{folder.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(other, temporary, ignore=shutil.ignore_patterns("policies", "datasets", "logs"))
    with Store.writer(temporary) as store:
        store.commit(remove=[m.artifact_id for m in store.live().values() if not _sampled_from_base(m)], why="begun anew")
    temporary.rename(folder)


def _sampled_from_base(made: Manifest) -> bool:
    of_round = made.iteration == 1 and made.stage in _SAMPLED and not (made.shard or "").startswith("suite-")
    return not made.iteration or of_round


def _toml(value: Any) -> str:
    return json.dumps(value) if isinstance(value, str) else repr(value)


def measured(run: Run) -> dict[str, Any]:
    """What a finished run says: every evaluated policy, and what it cost."""
    store, rounds = run.store, run.rounds()
    policies = store.find("policy")
    return {
        "rounds": [at_round(run, row["round"]) for row in rounds if row["pass@1"] is not None],
        "steps": sum(int(m.extra["steps"]) for m in policies),
        "rollouts": sum(row["rollouts"] or 0 for row in rounds),
        "sampled_tokens": sum(row["sampled_tokens"] for row in rounds),
        "trained_tokens": sum(row["trained_tokens"] or 0 for row in rounds),
        "train_s": sum(m.counts.seconds for m in policies), "kept": [row["kept"] for row in rounds if row["kept"] is not None],
    }  # fmt: skip


def at_round(run: Run, iteration: int) -> dict[str, Any]:
    """One policy on the held-out suite: rates from `evals`, entropy and distinct right answers from its rollouts."""
    store = run.store
    crop = crop_of(store, iteration, "suite-heldout")
    rollouts = store.read("rollouts", crop.rollouts, columns=["rollout_id", "task_id", "policy_id", "text", "logprobs"])
    policy = rollouts["policy_id"][0].as_py()
    rows = [r for r in store.read("evals").to_pylist() if r["policy_id"] == policy and r["against_policy_id"] is None]
    rates = {r["metric"]: r["value"] for r in rows if r["suite"] == "heldout"}
    most = max((int(name[5:]) for name in rates if name.startswith("pass@") and name[5:].isdigit()), default=1)
    right = set(_passed(run, crop.scores))
    return {
        "round": iteration, "pass@1": rates["pass@1"], f"pass@{most}": rates[f"pass@{most}"], "k": most,
        "finished": rates["finished_share"], "entropy": entropy(rollouts["logprobs"].to_pylist()),
        "distinct_right": distinct_right(rollouts.to_pylist(), right),
    }  # fmt: skip


def _passed(run: Run, scores: Any) -> list[str]:
    table = run.store.read("scores", scores, columns=["subject_id", "status"])
    return list(table.filter(pc.equal(table["status"], "pass"))["subject_id"].to_pylist())


def entropy(logprobs: list[list[float] | None]) -> float:
    """Entropy of the sampled distribution in nats a token, estimated by the log-probs of what was sampled."""
    known = [values for values in logprobs if values]
    return -sum(map(sum, known)) / max(sum(map(len, known)), 1)


def distinct_right(rows: list[dict[str, Any]], right: set[str]) -> float:
    """Right replies of unlike normalised text, mean over tasks."""
    texts: dict[str, set[str]] = {row["task_id"]: set() for row in rows}
    for row in rows:
        if row["rollout_id"] in right:
            texts[row["task_id"]].add(normalise(row["text"]))
    return sum(map(len, texts.values())) / len(texts)


def of_policy(run: Run, iteration: int) -> Outcomes:
    """Task by task how the policy of one round did."""
    crop = crop_of(run.store, iteration, "suite-heldout")
    rollouts = run.store.read("rollouts", crop.rollouts)
    tasks = run.store.read("tasks", crop.pool)
    return outcomes(rollouts, run.store.read("scores", crop.scores), tasks, policy_id=rollouts["policy_id"][0].as_py())


def report(study: Study, results: list[dict[str, Any]], seeds: list[int], plot: Path, out: Path) -> str:
    """The section of docs/results.md."""
    scale = study.scale
    final = [r for r in results if not r["probing"] and r["seed"] in seeds]
    rft, nft = ([r for r in final if r["method"] == method] for method in METHODS)
    k = final[0]["rounds"][-1]["k"]
    lines = [
        MARK, "",
        f"Command: `{study.command}`; recipe `{scale.recipe}`; {final[0]['machine']}.", "",
        f"Rounds: {scale.rounds}, each of {scale.tasks} tasks x {scale.n} rollouts and {scale.steps} optimizer steps; seeds "
        f"{seeds}; evaluated on {scale.final[0]} tasks x {scale.final[1]}. Steps: rft {_each(rft, 'steps')}, "
        f"nft {_each(nft, 'steps')}; sampled rollouts: rft {_each(rft, 'rollouts')}, nft {_each(nft, 'rollouts')}.", "",
        f"| policy | pass@1 | pass@{k} | entropy, nats a token | distinct right answers a task | finished | trained tokens |",
        "|---|---|---|---|---|---|---|",
        _row("base", final, 0, 0), _row("rft, last round", rft, -1), _row("nft, last round", nft, -1), "",
        f"Paired, problem keys resampled, all seeds: rft − base {_interval(study, 'rft', None, seeds)}; "
        f"nft − base {_interval(study, 'nft', None, seeds)}; nft − rft {_interval(study, 'nft', 'rft', seeds)}.", "",
        f"![pass@1 and pass@{k} by round]({os.path.relpath(plot, out.parent)})", "", *chosen_table(study, results),
    ]  # fmt: skip
    return "\n".join([*lines, *cut(study, results), ""])


def cut(study: Study, results: list[dict[str, Any]]) -> list[str]:
    """What the scale asks and this run left out."""
    tried = [(r["method"], r["settings"]) for r in results if r["probing"]]
    left = [f"{method} `{setting}`" for method, grid in GRID.items() for setting in grid if (method, setting) not in tried]
    found = [f"not tried on probe: {', '.join(left)}"] if left else []
    whole = SCALES[study.name].rounds
    if study.scale.rounds < whole:
        found.append(f"rounds: {study.scale.rounds} of the scale's {whole}")
    return ["", f"Cut: {'; '.join(found)}."] if found else []


def _each(rows: list[dict[str, Any]], name: str) -> str:
    return ", ".join(str(row[name]) for row in rows)


def _row(name: str, rows: list[dict[str, Any]], at: int, tokens: int | None = None) -> str:
    last = [row["rounds"][at] for row in rows]
    cells = [f"{_mean(last, m):.3f}" for m in ("pass@1", f"pass@{last[0]['k']}", "entropy", "distinct_right", "finished")]
    trained = sum(row["trained_tokens"] for row in rows) // len(rows) if tokens is None else tokens
    return f"| {name} | {' | '.join(cells)} | {trained:,} |"


def _mean(rows: list[dict[str, Any]], name: str) -> float:
    return float(sum(row[name] for row in rows) / len(rows))


def _interval(study: Study, ours: str, theirs: str | None, seeds: list[int]) -> str:
    found = pooled(study.pairs(ours, theirs, seeds))
    return f"{found.value:+.3f} [{found.lo:+.3f}, {found.hi:+.3f}]"


def chosen_table(study: Study, results: list[dict[str, Any]]) -> list[str]:
    """What was tried on probe, and what was taken."""
    lines = ["| method | settings tried on probe | pass@1 on probe | taken |", "|---|---|---|---|"]
    for row in (r for r in results if r["probing"]):
        taken = "yes" if row["name"] == study.chosen(row["method"])["name"] else ""
        lines.append(f"| {row['method']} | `{row['settings']}` | {row['rounds'][-1]['pass@1']:.3f} | {taken} |")
    return lines


def draw(results: list[dict[str, Any]], path: Path) -> None:
    """pass@1 and pass@k by round: a thin line a seed, a thick one their mean."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    final = [r for r in results if not r["probing"]]
    k = final[0]["rounds"][-1]["k"]
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.4), sharex=True)
    for axis, metric in zip(axes, ("pass@1", f"pass@{k}"), strict=True):
        for method, colour in zip(METHODS, ("tab:orange", "tab:blue"), strict=True):
            lines = [[r[metric] for r in row["rounds"]] for row in final if row["method"] == method]
            for line in lines:
                axis.plot(line, color=colour, alpha=0.3, linewidth=1)
            mean = [sum(values) / len(values) for values in zip(*lines, strict=False)]
            axis.plot(mean, color=colour, linewidth=2.5, label=method)
        axis.set(title=f"held-out {metric}", xlabel="round", xticks=range(len(mean)))
    axes[0].legend(frameon=False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def write(path: Path, text: str) -> None:
    """This study's section of the page; the rest of it stays."""
    write_section(path, "## NFT beside rejection sampling", MARK, text)


if __name__ == "__main__":
    main()
