"""`ratoon import`: rollouts made elsewhere become a round of a run, verified, grouped, curated. No model is asked, no Prefect.

A file takes one round and keeps it: brought again, it is found, not added; with other options, it is replaced. Rows of
held-out problems (split probe or eval, or a problem key the run holds out) are verified too, but lie apart as `held` and
reach no dataset.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ratoon import ids, schema
from ratoon.config import parse, read_toml
from ratoon.errors import DataError
from ratoon.generators import imported, imported_tables
from ratoon.generators.imported import AS_USUAL, Judged, Row
from ratoon.generators.imported_tables import Known, Placed
from ratoon.metrics import verifiers as catalogue
from ratoon.metrics.verifiers.pool import VerifierPool
from ratoon.metrics.verifiers.score import score
from ratoon.metrics.voting import groups as grouping
from ratoon.pipelines.curation.curate import curate
from ratoon.pipelines.recipe.recipe import Recipe, find
from ratoon.pipelines.runtime.rollout_set import crop_of
from ratoon.pipelines.runtime.stage import Built, key, run_stage
from ratoon.render import Renderer
from ratoon.sft.models import base_models
from ratoon.store.store import Counts, Manifest, Store

SCORER = "imported"
_NOTHING: Mapping[str, Callable[..., Any]] = {}


def bring(
    file: Path, run: Path, *, recipe: str | None = None, columns: Iterable[str] | Mapping[str, str] = (),
    verifier: str = "numeric", finish_reason: str | None = None, verifiers: Mapping[str, Callable[..., Any]] = _NOTHING,
    judged: Judged = AS_USUAL,
) -> dict[str, Any]:  # fmt: skip
    """Take in a file of rollouts in any layout as a round of the run at `run`, which is made if there is none.

    `columns` maps ours to theirs (`generators.imported.COLUMNS`). Rows with an answer, read as `judged` says, are judged by
    `verifier`, others by their `label`. The recipe, or the run's own, gives filters, and the model whose tokenizer makes
    training rows; without one there are no token ids. Returns the counts, and under `notes` how the file was read and why
    nothing was kept. Raises DataError when no row can be used.
    """
    mapped = imported.column_map(file, columns)
    rows, bad, notes = imported.read(file, mapped, finish_reason, judged)
    if not rows:
        raise DataError(
            f"{file}: none of the {len(bad)} rows can be used; {bad[0][0]}: {bad[0][1]}", "mend the file or --column"
        )
    if any(row.answer is not None for row in rows):
        catalogue.resolve(verifier, verifiers)
    tree, new = _tree(file, run, recipe)
    config = parse(Recipe, tree, recipe or str(run))
    with Store.writer(run, {"shard_size": config.run.shard_size}) as store:
        if new:
            dumped = config.model_dump(mode="json")
            store.put_config(dumped if "model" in tree else {k: v for k, v in dumped.items() if k != "model"})
        renderer = _renderer(store, config) if "model" in tree else None
        options = {"file": sha256(file.read_bytes()).hexdigest(), "columns": mapped, "verifier": verifier,
                   "finish_reason": finish_reason, "tokenizer": renderer and renderer.tokenizer_digest,
                   **judged.told()}  # fmt: skip
        with VerifierPool(config.verify.workers, config.verify.timeout_s, extra=verifiers) as pool:
            told = _Import(store, config, renderer, pool, options, file.name).bring(rows, bad)
    return told | {"notes": notes + told["notes"]}


def _tree(file: Path, run: Path, recipe: str | None) -> tuple[dict[str, Any], bool]:
    """The recipe's tree, or the run's, or one that only keeps what is verified; and whether the run is new."""
    new = not (run / "run.json").exists()
    tree = read_toml(find(recipe)) if recipe is not None else {} if new else Store.open(run).config()
    tree.setdefault("run", {"name": _name(run), "iterations": 0})
    tree.setdefault("tasks", [{"source": "dataset", "name": "import", "path": str(file)}])
    if not tree.get("filters"):
        tree["filters"] = [{"kind": "verified"}]
    return tree, new


def _name(run: Path) -> str:
    kept = "".join(c if c.isalnum() or c in "._-" else "-" for c in run.resolve().name)
    return kept if kept[:1].isalnum() else "run"


def _renderer(store: Store, config: Recipe) -> Renderer:
    """The model's tokenizer. Raises DataError when the run's policies have another one."""
    folder = base_models.prepare(config.model, store.root)
    renderer = Renderer(folder, dict(config.prompt.chat_template_kwargs), config.verify.thinking)
    digests = set(store.read("policies", columns=["tokenizer_digest"])["tokenizer_digest"].to_pylist()) - {None}
    if digests and renderer.tokenizer_digest not in digests:
        raise DataError(
            "the recipe's model has another tokenizer than the policies of this run",
            "import into a run of its own with --run, or give the run's own recipe",
        )
    return renderer


@dataclass
class _Import:
    """One file on its way into one run."""

    store: Store
    recipe: Recipe
    renderer: Renderer | None
    pool: VerifierPool
    options: dict[str, Any]
    name: str
    known: Known = field(default_factory=Known)
    tag: str = field(init=False)
    iteration: int = field(init=False)
    found: set[str] = field(init=False)
    before: dict[str, list[Manifest]] = field(init=False)

    def __post_init__(self) -> None:
        """The file's round, and what the run had before it."""
        self.tag = f"import-{self.options['file'][:12]}"
        self.iteration, self.found = self._round(), set(self.store.live())
        earlier = [m for m in self.store.live().values() if (m.iteration or 0) < self.iteration]
        self.before = {stage: [m for m in earlier if m.stage == stage] for stage in ("tasks", "prompts", "rollouts")}
        self.before["tasks"] += [m for m in earlier if m.stage == "propose"]

    def bring(self, rows: Sequence[Row], bad: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """Every stage in turn; what is there already is found."""
        self.known.add_tasks(self.store.read("tasks", self.before["tasks"], columns=["messages", "problem_key", "split"]))
        placed, task_rows, prompt_rows, refused = self._place(rows)
        total, bad = len(rows) + len(bad), [*bad, *refused]
        self._read_rollouts({one.group_id for one in placed})
        new = imported_tables.fresh(placed, self.known)
        if not new:
            return self._told(total, [], len(bad), len(placed), None)
        pools = self._tasks([task_rows[one.task_id] for one in new], bad, total)
        prompts = self._prompts([prompt_rows[one.prompt_id] for one in new], pools)
        self._coordinates(new)
        for purpose in ("train", "held"):
            chosen = [one for one in new if one.held == (purpose == "held")]
            if chosen:
                self._harvest(purpose, chosen, pools, prompts)
        made = curate(self.store, self.recipe, crop_of(self.store, self.iteration)) if not all(o.held for o in new) else None
        return self._told(total, new, len(bad), len(placed) - len(new), made)

    def _round(self) -> int:
        """The round this file has, or the next one after all there are and all that `ratoon run` plans here."""
        tasks = self.store.find("tasks")
        for manifest in tasks:
            if manifest.shard == self.tag:
                return manifest.iteration or 0
        planned = int(self.store.config()["run"]["iterations"]) if any(m.shard is None for m in tasks) else 0
        return max([planned, *(m.iteration or 0 for m in self.store.live().values())]) + 1

    def _place(
        self, rows: Sequence[Row]
    ) -> tuple[list[Placed], dict[str, dict[str, Any]], dict[str, dict[str, Any]], list[tuple[str, str]]]:
        """Each row's ids, tasks and prompts by id, and rows whose prompt the template refuses."""
        made = imported_tables.tasks(rows, self.options["verifier"], self.iteration, self.known)
        prompts = imported_tables.prompts(rows, [t["task_id"] for t in made], self.renderer)
        policies = self._policies(rows)
        placed, refused = [], []
        for row, task, prompt in zip(rows, made, prompts, strict=True):
            if isinstance(prompt, DataError):
                refused.append((row.where, prompt.message))
                continue
            policy, sampling = policies[row.policy], ids.sampling_id(imported_tables.sampling_fields(row))
            group = ids.group_id(prompt["prompt_id"], policy, sampling)
            held = task["split"] != "train"
            placed.append(Placed(row, task["task_id"], prompt["prompt_id"], policy, sampling, group, held))
        by_prompt = {p["prompt_id"]: p for p in prompts if isinstance(p, dict)}
        return placed, {t["task_id"]: t for t in reversed(made)}, by_prompt, refused

    def _policies(self, rows: Sequence[Row]) -> dict[str | None, str]:
        """The policy_id of each name: a policy of the run when it is named by its id."""
        have = set(self.store.read("policies", columns=["policy_id"])["policy_id"].to_pylist())
        names = dict.fromkeys(row.policy for row in rows)
        return {n: n if n in have else ids.policy_id(None, None, {"import": n}, 0) for n in names}  # type: ignore[misc]

    def _read_rollouts(self, groups: set[str]) -> None:
        wanted = pa.array(sorted(groups), pa.string())
        for batch in self.store.scan("rollouts", self.before["rollouts"], columns=["group_id", "text", "sample"]):
            self.known.add_rollouts(pa.Table.from_batches([batch]).filter(pc.is_in(batch["group_id"], value_set=wanted)))

    def _tasks(self, rows: Sequence[dict[str, Any]], bad: Sequence[tuple[str, str]], total: int) -> list[Manifest]:
        """Artifacts that hold the tasks of the file: its own, with what could not be used, and earlier ones."""
        wanted = {row["task_id"]: row for row in rows}
        earlier, have = _holding(self.store, "tasks", "task_id", self.before["tasks"], wanted)
        made = schema.from_rows("tasks", [wanted[i] for i in sorted(wanted.keys() - have)])
        failures = [
            {
                "stage": "import",
                "subject_id": f"{self.tag}/{where}",
                "attempt": 0,
                "error_class": "BadRow",
                "message": why[:500],
            }
            for where, why in bad
        ]
        counts = Counts(total, made.num_rows, dropped=total - made.num_rows - len(bad), failed=len(bad))
        judged = {row["verifier"] for row in wanted.values() if row["verifier"]}
        extra = {"verifiers": sorted(judged), "imported": self.name}
        tables = {"tasks": made, "failures": schema.from_rows("failures", failures)}
        wanted_key = key("tasks", self.iteration, self.tag, config=self.options, versions={"import": "1"})
        return [*earlier, run_stage(self.store, wanted_key, lambda: Built(tables, counts, extra))]

    def _prompts(self, rows: Sequence[dict[str, Any]], pools: Sequence[Manifest]) -> list[Manifest]:
        wanted = {row["prompt_id"]: row for row in rows}
        earlier, have = _holding(self.store, "prompts", "prompt_id", self.before["prompts"], wanted)
        made = schema.from_rows("prompts", [wanted[i] for i in sorted(wanted.keys() - have)])
        counts = Counts(len(wanted), made.num_rows, dropped=len(wanted) - made.num_rows)
        template = self.renderer and self.renderer.template_digest
        wanted_key = key("prompts", self.iteration, self.tag, config={"template": template}, inputs=pools)
        return [*earlier, run_stage(self.store, wanted_key, lambda: Built({"prompts": made}, counts))]

    def _coordinates(self, placed: Sequence[Placed]) -> None:
        """Rows of policies and samplings; what is not known of them is null."""
        have = set(self.store.read("policies", columns=["policy_id"])["policy_id"].to_pylist())
        for name, policy in dict.fromkeys((one.row.policy, one.policy_id) for one in placed):
            row = schema.from_rows("policies", [{"policy_id": policy, "method": "import", "uri": name}])
            if policy not in have:
                run_stage(self.store, key("base", None, policy, config={"import": name}), _one("policies", row))
        for sampling, one in {one.sampling_id: one for one in placed}.items():
            fields = imported_tables.sampling_fields(one.row)
            row = schema.from_rows("samplings", [fields | {"sampling_id": sampling}])
            run_stage(self.store, key("sampling", None, sampling, config=fields), _one("samplings", row))

    def _harvest(self, purpose: str, placed: Sequence[Placed], pools: Sequence[Manifest], prompts: Sequence[Manifest]) -> None:
        """Assignments, rollouts and scores by shard, groups."""
        plan = imported_tables.assignments(placed, self.iteration, purpose, self.known)
        planned = int(pc.sum(plan["n_planned"]).as_py())
        wanted = key("assign", self.iteration, purpose, config=self.options, inputs=[*pools, *prompts])
        counts = Counts(plan.num_rows, plan.num_rows)
        asked = run_stage(self.store, wanted, lambda: Built({"assignments": plan}, counts, {"planned": planned}))
        rollouts, scores = [], []
        samples = self._samples(placed)
        for number, shard in enumerate(_shards(placed, int(self.store.frozen["shard_size"]))):
            name = f"{purpose}-{number:04d}"
            rollouts.append(self._rollouts(name, [placed[i] for i in shard], [samples[i] for i in shard], asked))
            scores.append(self._scores(rollouts[-1], pools))
        self._groups(purpose, asked, rollouts, scores)

    def _samples(self, placed: Sequence[Placed]) -> list[int]:
        """Each row's sample number in its group: they go on from those the run has."""
        following, numbers = dict(self.known.next_sample), []
        for one in placed:
            numbers.append(following.get(one.group_id, 0))
            following[one.group_id] = numbers[-1] + 1
        return numbers

    def _rollouts(self, name: str, placed: Sequence[Placed], samples: Sequence[int], asked: Manifest) -> Manifest:
        def build() -> Built:
            made = imported_tables.rollouts(placed, self.iteration, self.renderer, dict(enumerate(samples)))
            return Built({"rollouts": made}, Counts(made.num_rows, made.num_rows), {"imported": self.name})

        return run_stage(self.store, key("rollouts", self.iteration, name, config=self.options, inputs=[asked]), build)

    def _scores(self, rollouts: Manifest, pools: Sequence[Manifest]) -> Manifest:
        judges = {name for pool in pools for name in pool.extra.get("verifiers", [])}
        versions = {f"verifier {name}": self.pool.version(name) for name in sorted(judges)}

        def build() -> Built:
            rows = self.store.read("rollouts", [rollouts])
            tasks = self.store.read("tasks", pools, columns=["task_id", "answer", "verifier", "verifier_args"])
            verified = score(rows, tasks, self.pool)
            made = pa.concat_tables([verified, _labels(rows, verified)])
            passed = pc.sum(pc.equal(made["status"], "pass")).as_py() or 0
            return Built(
                {"scores": made},
                Counts(rows.num_rows, made.num_rows, dropped=rows.num_rows - made.num_rows),
                {"passed": passed},
            )

        config = {"timeout_s": self.recipe.verify.timeout_s}
        wanted = key("scores", self.iteration, rollouts.shard, config=config, inputs=[rollouts], versions=versions)
        return run_stage(self.store, wanted, build)

    def _groups(self, purpose: str, asked: Manifest, rollouts: Sequence[Manifest], scores: Sequence[Manifest]) -> Manifest:
        def build() -> Built:
            made = grouping.groups(
                self.store.read("rollouts", rollouts),
                self.store.read("scores", scores),
                self.store.read("assignments", [asked]),
                label_sources={SCORER: SCORER},
            )
            return Built({"groups": made}, Counts(made.num_rows, made.num_rows))

        return run_stage(self.store, key("groups", self.iteration, purpose, inputs=[asked, *rollouts, *scores]), build)

    def _told(self, read: int, new: Sequence[Placed], bad: int, have: int, made: Manifest | None) -> dict[str, Any]:
        """What became of the file, in numbers."""
        rollouts = self.store.find("rollouts", self.iteration) if new else []
        metas = self.store.read("rollouts", rollouts, columns=["rollout_id", "meta"])
        scores = self.store.read(
            "scores", self.store.find("scores", self.iteration) if new else [], columns=["subject_id", "status"]
        )
        status, tokens = Counter(scores["status"].to_pylist()), Counter(_meta(metas, "tokens"))
        return {
            "round": self.iteration if new else None, "rows": read, "failed": bad, "already there": have, "rollouts": len(new),
            "added": sum(m.counts.rows_out for m in rollouts if m.artifact_id not in self.found),
            "held out": sum(one.held for one in new), "passed": status["pass"],
            "unjudged": len(new) - status["pass"] - status["fail"], "label disagrees": _disagreements(metas, scores),
            "ids given": tokens["given"], "ids rendered": tokens["rendered"], "kept": made.counts.rows_out if made else 0,
            "dataset": str(self.store.root / made.extra["folder"]) if made else None, "notes": self._why_nothing(new, made),
        }  # fmt: skip

    def _why_nothing(self, new: Sequence[Placed], made: Manifest | None) -> list[str]:
        """Where not one new reply was kept, which filters dropped how many, the most first."""
        if not new or (made is not None and made.counts.rows_out):
            return []
        if made is None:
            return [f"kept 0 of {len(new):,}: every reply is to a held-out problem"]
        decisions = self.store.read("decisions", [made], columns=["keep", "filter", "reason"])
        dropped = decisions.filter(pc.invert(decisions["keep"])).to_pylist()
        counts = Counter((row["filter"], row["reason"]) for row in dropped)
        why = ", ".join(f"{name} dropped {n:,} ({reason})" for (name, reason), n in counts.most_common(3))
        return [f"kept 0 of {len(new):,}: {why}"]


def _one(table: str, row: pa.Table) -> Callable[[], Built]:
    return lambda: Built({table: row}, Counts(1, 1))


def _holding(
    store: Store, table: str, column: str, manifests: Sequence[Manifest], wanted: Mapping[str, Any]
) -> tuple[list[Manifest], set[str]]:
    """The artifacts that hold some of the wanted ids, and those ids."""
    holding, have = [], set[str]()
    for manifest in manifests:
        found = wanted.keys() & set(store.read(table, [manifest], columns=[column])[column].to_pylist())
        if found:
            holding.append(manifest)
            have |= found
    return holding, have


def _shards(placed: Sequence[Placed], size: int) -> Iterator[list[int]]:
    """Positions of the rows of `size` tasks at a time, in task-id order."""
    by_task: dict[str, list[int]] = {}
    for i, one in enumerate(placed):
        by_task.setdefault(one.task_id, []).append(i)
    order = sorted(by_task)
    for start in range(0, len(order), size):
        yield [i for task in order[start : start + size] for i in by_task[task]]


def _labels(rollouts: pa.Table, verified: pa.Table) -> pa.Table:
    """Verdicts made elsewhere, for rollouts no verifier judged; beside labelled ones an unlabelled one abstains."""
    judged = set(verified["subject_id"].to_pylist())
    columns = (rollouts[name].to_pylist() for name in ("rollout_id", "group_id"))
    rows = [(*row, label) for *row, label in zip(*columns, _meta(rollouts, "label"), strict=True) if row[0] not in judged]
    labelled = {group for _, group, label in rows if label is not None}
    status = {True: "pass", False: "fail", None: "abstain"}
    return schema.from_rows("scores", [
        {"subject_kind": "rollout", "subject_id": rollout, "scorer": SCORER, "version": "1", "repeat": 0,
         "status": status[label], "value": None if label is None else float(label),
         "detail": "no label" if label is None else None}
        for rollout, group, label in rows if group in labelled
    ])  # fmt: skip


def _meta(rollouts: pa.Table, name: str) -> list[Any]:
    return [json.loads(text).get(name) for text in rollouts["meta"].to_pylist()]


def _disagreements(rollouts: pa.Table, scores: pa.Table) -> int:
    """Rollouts whose label is not what the verifier said."""
    verdicts = dict(zip(scores["subject_id"].to_pylist(), scores["status"].to_pylist(), strict=True))
    pairs = zip(rollouts["rollout_id"].to_pylist(), _meta(rollouts, "label"), strict=True)
    return sum(
        verdicts.get(i) in ("pass", "fail") and label is not None and label != (verdicts[i] == "pass") for i, label in pairs
    )
