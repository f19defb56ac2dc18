"""The stages of an import: rows of a file as tasks, prompts, assignments, rollouts, scores and groups of a run.

What is there already is found. A row without a gold answer is judged by the label it came with.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from ratoon import ids, schema
from ratoon.errors import DataError
from ratoon.generators import imported_tables
from ratoon.generators.imported import Row
from ratoon.generators.imported_tables import Known, Placed
from ratoon.metrics.verifiers.pool import VerifierPool
from ratoon.metrics.verifiers.score import score
from ratoon.metrics.voting import groups as grouping
from ratoon.pipelines.recipe.recipe import Recipe
from ratoon.pipelines.runtime.stage import Built, key, run_stage
from ratoon.render import Renderer
from ratoon.store.store import Counts, Manifest, Store

SCORER = "imported"


class Target(NamedTuple):
    """Where a file goes: into a run, as the round `iteration`; `earlier` are the run's manifests of before, by stage."""

    store: Store
    recipe: Recipe
    renderer: Renderer | None
    pool: VerifierPool
    options: dict[str, Any]
    name: str
    tag: str
    iteration: int
    earlier: Mapping[str, Sequence[Manifest]]


class Arrivals(NamedTuple):
    """Each row with its ids, the rows of tasks and prompts by id, and the rows whose prompt the template refuses."""

    placed: list[Placed]
    tasks: dict[str, dict[str, Any]]
    prompts: dict[str, dict[str, Any]]
    refused: list[tuple[str, str]]


def place(to: Target, rows: Sequence[Row], known: Known) -> Arrivals:
    """Give each row its ids; `known` notes the problem keys and splits of all."""
    tasks = imported_tables.tasks(rows, to.options["verifier"], to.iteration, known)
    prompts = imported_tables.prompts(rows, [task["task_id"] for task in tasks], to.renderer)
    policies = _policies(to, rows)
    placed, refused = [], []
    for row, task, prompt in zip(rows, tasks, prompts, strict=True):
        if isinstance(prompt, DataError):
            refused.append((row.where, prompt.message))
            continue
        policy, sampling = policies[row.policy], ids.sampling_id(imported_tables.sampling_fields(row))
        group = ids.group_id(prompt["prompt_id"], policy, sampling)
        held = task["split"] != "train"
        placed.append(Placed(row, task["task_id"], prompt["prompt_id"], policy, sampling, group, held))
    by_prompt = {p["prompt_id"]: p for p in prompts if isinstance(p, dict)}
    by_task = {task["task_id"]: task for task in reversed(tasks)}
    return Arrivals(placed, by_task, by_prompt, refused)


def _policies(to: Target, rows: Sequence[Row]) -> dict[str | None, str]:
    """The policy_id of each name: a policy of the run when it is named by its id."""
    have = set(to.store.read("policies", columns=["policy_id"])["policy_id"].to_pylist())
    names = dict.fromkeys(row.policy for row in rows)
    return {n: n if n in have else ids.policy_id(None, None, {"import": n}, 0) for n in names}  # type: ignore[misc]


def add_rollouts(to: Target, known: Known, groups: set[str]) -> None:
    """Tell `known` of the rollouts that the run has in these groups."""
    ids_of_groups = pa.array(sorted(groups), pa.string())
    for batch in to.store.scan("rollouts", to.earlier["rollouts"], columns=["group_id", "text", "sample"]):
        known.add_rollouts(pa.Table.from_batches([batch]).filter(pc.is_in(batch["group_id"], value_set=ids_of_groups)))


def tasks(to: Target, rows: Sequence[dict[str, Any]], bad: Sequence[tuple[str, str]], total: int) -> list[Manifest]:
    """Artifacts that hold the tasks of the file: its own, with what could not be used, and earlier ones."""
    by_id = {row["task_id"]: row for row in rows}
    earlier, have = _holding(to.store, "tasks", "task_id", to.earlier["tasks"], by_id)
    new_tasks = schema.from_rows("tasks", [by_id[i] for i in sorted(by_id.keys() - have)])
    failures = [
        {
            "stage": "import",
            "subject_id": f"{to.tag}/{where}",
            "attempt": 0,
            "error_class": "BadRow",
            "message": why[:500],
        }
        for where, why in bad
    ]
    counts = Counts(total, new_tasks.num_rows, dropped=total - new_tasks.num_rows - len(bad), failed=len(bad))
    judged = {row["verifier"] for row in by_id.values() if row["verifier"]}
    extra = {"verifiers": sorted(judged), "imported": to.name}
    tables = {"tasks": new_tasks, "failures": schema.from_rows("failures", failures)}
    wanted_key = key("tasks", to.iteration, to.tag, config=to.options, versions={"import": "1"})
    return [*earlier, run_stage(to.store, wanted_key, lambda: Built(tables, counts, extra))]


def prompts(to: Target, rows: Sequence[dict[str, Any]], pools: Sequence[Manifest]) -> list[Manifest]:
    by_id = {row["prompt_id"]: row for row in rows}
    earlier, have = _holding(to.store, "prompts", "prompt_id", to.earlier["prompts"], by_id)
    new_prompts = schema.from_rows("prompts", [by_id[i] for i in sorted(by_id.keys() - have)])
    counts = Counts(len(by_id), new_prompts.num_rows, dropped=len(by_id) - new_prompts.num_rows)
    template = to.renderer and to.renderer.template_digest
    wanted_key = key("prompts", to.iteration, to.tag, config={"template": template}, inputs=pools)
    return [*earlier, run_stage(to.store, wanted_key, lambda: Built({"prompts": new_prompts}, counts))]


def coordinates(to: Target, placed: Sequence[Placed]) -> None:
    """Rows of policies and samplings; what is not known of them is null."""
    have = set(to.store.read("policies", columns=["policy_id"])["policy_id"].to_pylist())
    for name, policy in dict.fromkeys((one.row.policy, one.policy_id) for one in placed):
        row = schema.from_rows("policies", [{"policy_id": policy, "method": "import", "uri": name}])
        if policy not in have:
            run_stage(to.store, key("base", None, policy, config={"import": name}), _one("policies", row))
    for sampling, one in {one.sampling_id: one for one in placed}.items():
        fields = imported_tables.sampling_fields(one.row)
        row = schema.from_rows("samplings", [fields | {"sampling_id": sampling}])
        run_stage(to.store, key("sampling", None, sampling, config=fields), _one("samplings", row))


def harvest(
    to: Target,
    purpose: str,
    placed: Sequence[Placed],
    pools: Sequence[Manifest],
    prompts: Sequence[Manifest],
    known: Known,
) -> None:
    """Assignments, rollouts and scores by shard, groups."""
    plan = imported_tables.assignments(placed, to.iteration, purpose, known)
    planned = int(pc.sum(plan["n_planned"]).as_py())
    artifact_key = key("assign", to.iteration, purpose, config=to.options, inputs=[*pools, *prompts])
    counts = Counts(plan.num_rows, plan.num_rows)
    asked = run_stage(to.store, artifact_key, lambda: Built({"assignments": plan}, counts, {"planned": planned}))
    rollouts, scores = [], []
    samples = _samples(placed, known)
    for number, shard in enumerate(_shards(placed, int(to.store.frozen["shard_size"]))):
        name = f"{purpose}-{number:04d}"
        rollouts.append(_rollouts(to, name, [placed[i] for i in shard], [samples[i] for i in shard], asked))
        scores.append(_scores(to, rollouts[-1], pools))
    _groups(to, purpose, asked, rollouts, scores)


def _samples(placed: Sequence[Placed], known: Known) -> list[int]:
    """Each row's sample number in its group: they go on from those the run has."""
    following, numbers = dict(known.next_sample), []
    for one in placed:
        numbers.append(following.get(one.group_id, 0))
        following[one.group_id] = numbers[-1] + 1
    return numbers


def _rollouts(to: Target, name: str, placed: Sequence[Placed], samples: Sequence[int], asked: Manifest) -> Manifest:
    def build() -> Built:
        table = imported_tables.rollouts(placed, to.iteration, to.renderer, dict(enumerate(samples)))
        return Built({"rollouts": table}, Counts(table.num_rows, table.num_rows), {"imported": to.name})

    return run_stage(to.store, key("rollouts", to.iteration, name, config=to.options, inputs=[asked]), build)


def _scores(to: Target, rollouts: Manifest, pools: Sequence[Manifest]) -> Manifest:
    judges = {name for pool in pools for name in pool.extra.get("verifiers", [])}
    versions = {f"verifier {name}": to.pool.version(name) for name in sorted(judges)}

    def build() -> Built:
        rows = to.store.read("rollouts", [rollouts])
        tasks = to.store.read("tasks", pools, columns=["task_id", "answer", "verifier", "verifier_args"])
        verified = score(rows, tasks, to.pool)
        table = pa.concat_tables([verified, _labels(rows, verified)])
        passed = pc.sum(pc.equal(table["status"], "pass")).as_py() or 0
        return Built(
            {"scores": table},
            Counts(rows.num_rows, table.num_rows, dropped=rows.num_rows - table.num_rows),
            {"passed": passed},
        )

    config = {"timeout_s": to.recipe.verify.timeout_s}
    artifact_key = key("scores", to.iteration, rollouts.shard, config=config, inputs=[rollouts], versions=versions)
    return run_stage(to.store, artifact_key, build)


def _groups(to: Target, purpose: str, asked: Manifest, rollouts: Sequence[Manifest], scores: Sequence[Manifest]) -> Manifest:
    def build() -> Built:
        table = grouping.groups(
            to.store.read("rollouts", rollouts),
            to.store.read("scores", scores),
            to.store.read("assignments", [asked]),
            label_sources={SCORER: SCORER},
        )
        return Built({"groups": table}, Counts(table.num_rows, table.num_rows))

    return run_stage(to.store, key("groups", to.iteration, purpose, inputs=[asked, *rollouts, *scores]), build)


def _one(table: str, row: pa.Table) -> Callable[[], Built]:
    return lambda: Built({table: row}, Counts(1, 1))


def _holding(
    store: Store, table: str, column: str, manifests: Sequence[Manifest], ids_asked: Mapping[str, Any]
) -> tuple[list[Manifest], set[str]]:
    """The artifacts that hold some of the wanted ids, and those ids."""
    holding, have = [], set[str]()
    for manifest in manifests:
        held = ids_asked.keys() & set(store.read(table, [manifest], columns=[column])[column].to_pylist())
        if held:
            holding.append(manifest)
            have |= held
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
    rows = [(*row, label) for *row, label in zip(*columns, meta_values(rollouts, "label"), strict=True) if row[0] not in judged]
    labelled = {group for _, group, label in rows if label is not None}
    status = {True: "pass", False: "fail", None: "abstain"}
    return schema.from_rows("scores", [
        {"subject_kind": "rollout", "subject_id": rollout, "scorer": SCORER, "version": "1", "repeat": 0,
         "status": status[label], "value": None if label is None else float(label),
         "detail": "no label" if label is None else None}
        for rollout, group, label in rows if group in labelled
    ])  # fmt: skip


def meta_values(rollouts: pa.Table, name: str) -> list[Any]:
    return [json.loads(text).get(name) for text in rollouts["meta"].to_pylist()]
