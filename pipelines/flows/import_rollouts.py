"""`ratoon import`: rollouts made elsewhere become a round of a run, verified, grouped, curated. No model is asked, no Prefect.

A file takes one round and keeps it: brought again, it is found, not added; with other options, it is replaced. Rows of
held-out problems (split probe or eval, or a problem key the run holds out) are verified too, but lie apart as `held` and
reach no dataset.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ratoon.config import parse, read_toml
from ratoon.errors import DataError
from ratoon.generators import imported, imported_tables
from ratoon.generators.imported import AS_USUAL, Judged, Row
from ratoon.generators.imported_tables import Known, Placed
from ratoon.metrics import verifiers as catalogue
from ratoon.metrics.verifiers.pool import VerifierPool
from ratoon.pipelines.curation.curate import curate
from ratoon.pipelines.recipe.recipe import Recipe, find
from ratoon.pipelines.rollouts import imported as imports
from ratoon.pipelines.runtime import trust
from ratoon.pipelines.runtime.rollout_set import crop_of
from ratoon.render import Renderer
from ratoon.sft.models import base_models
from ratoon.store.store import Manifest, Store

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
            trust.remember(store.run_id, trust.of_model(config.model), trust.of_training(config.train))
        renderer = _renderer(store, config) if "model" in tree else None
        options = {"file": sha256(file.read_bytes()).hexdigest(), "columns": mapped, "verifier": verifier,
                   "finish_reason": finish_reason, "tokenizer": renderer and renderer.tokenizer_digest,
                   **judged.told()}  # fmt: skip
        with VerifierPool(config.verify.workers, config.verify.timeout_s, extra=verifiers) as pool:
            told = _take_in(_target(store, config, renderer, pool, options, file.name), rows, bad)
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


def _target(
    store: Store, recipe: Recipe, renderer: Renderer | None, pool: VerifierPool, options: dict[str, Any], name: str
) -> imports.Target:
    """The file's round, and what the run had before it."""
    tag = f"import-{options['file'][:12]}"
    iteration = _round(store, tag)
    before = [m for m in store.live().values() if (m.iteration or 0) < iteration]
    stages = {"tasks": ("tasks", "propose"), "prompts": ("prompts",), "rollouts": ("rollouts",)}
    earlier = {table: [m for stage in of for m in before if m.stage == stage] for table, of in stages.items()}
    return imports.Target(store, recipe, renderer, pool, options, name, tag, iteration, earlier)


def _round(store: Store, tag: str) -> int:
    """The round this file has, or the next one after all there are and all that `ratoon run` plans here."""
    tasks = store.find("tasks")
    for manifest in tasks:
        if manifest.shard == tag:
            return manifest.iteration or 0
    planned = int(store.config()["run"]["iterations"]) if any(m.shard is None for m in tasks) else 0
    return max([planned, *(m.iteration or 0 for m in store.live().values())]) + 1


def _take_in(to: imports.Target, rows: Sequence[Row], bad: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Every stage in turn; what is there already is found."""
    live = set(to.store.live())
    known = Known()
    known.add_tasks(to.store.read("tasks", to.earlier["tasks"], columns=["messages", "problem_key", "split"]))
    arrivals = imports.place(to, rows, known)
    placed = arrivals.placed
    total, bad = len(rows) + len(bad), [*bad, *arrivals.refused]
    imports.add_rollouts(to, known, {one.group_id for one in placed})
    new = imported_tables.fresh(placed, known)
    if not new:
        return _told(to, total, [], len(bad), len(placed), None, live)
    pools = imports.tasks(to, [arrivals.tasks[one.task_id] for one in new], bad, total)
    prompts = imports.prompts(to, [arrivals.prompts[one.prompt_id] for one in new], pools)
    imports.coordinates(to, new)
    for purpose in ("train", "held"):
        chosen = [one for one in new if one.held == (purpose == "held")]
        if chosen:
            imports.harvest(to, purpose, chosen, pools, prompts, known)
    trained_on = not all(one.held for one in new)
    curated = curate(to.store, to.recipe, crop_of(to.store, to.iteration)) if trained_on else None
    return _told(to, total, new, len(bad), len(placed) - len(new), curated, live)


def _told(
    to: imports.Target,
    read: int,
    new: Sequence[Placed],
    bad: int,
    have: int,
    made: Manifest | None,
    live: Collection[str],
) -> dict[str, Any]:
    """What became of the file, in numbers; `live` are the artifacts there were before."""
    rollouts = to.store.find("rollouts", to.iteration) if new else []
    metas = to.store.read("rollouts", rollouts, columns=["rollout_id", "meta"])
    scores = to.store.read("scores", to.store.find("scores", to.iteration) if new else [], columns=["subject_id", "status"])
    status, tokens = Counter(scores["status"].to_pylist()), Counter(imports.meta_values(metas, "tokens"))
    return {
        "round": to.iteration if new else None, "rows": read, "failed": bad, "already there": have, "rollouts": len(new),
        "added": sum(m.counts.rows_out for m in rollouts if m.artifact_id not in live),
        "held out": sum(one.held for one in new), "passed": status["pass"],
        "unjudged": len(new) - status["pass"] - status["fail"], "label disagrees": _disagreements(metas, scores),
        "ids given": tokens["given"], "ids rendered": tokens["rendered"], "kept": made.counts.rows_out if made else 0,
        "dataset": str(to.store.root / made.extra["folder"]) if made else None, "notes": _why_nothing(to, new, made),
    }  # fmt: skip


def _why_nothing(to: imports.Target, new: Sequence[Placed], made: Manifest | None) -> list[str]:
    """Where not one new reply was kept, which filters dropped how many, the most first."""
    if not new or (made is not None and made.counts.rows_out):
        return []
    if made is None:
        return [f"kept 0 of {len(new):,}: every reply is to a held-out problem"]
    decisions = to.store.read("decisions", [made], columns=["keep", "filter", "reason"])
    dropped = decisions.filter(pc.invert(decisions["keep"])).to_pylist()
    counts = Counter((row["filter"], row["reason"]) for row in dropped)
    why = ", ".join(f"{name} dropped {n:,} ({reason})" for (name, reason), n in counts.most_common(3))
    return [f"kept 0 of {len(new):,}: {why}"]


def _disagreements(rollouts: pa.Table, scores: pa.Table) -> int:
    """Rollouts whose label is not what the verifier said."""
    verdicts = dict(zip(scores["subject_id"].to_pylist(), scores["status"].to_pylist(), strict=True))
    pairs = zip(rollouts["rollout_id"].to_pylist(), imports.meta_values(rollouts, "label"), strict=True)
    return sum(
        verdicts.get(i) in ("pass", "fail") and label is not None and label != (verdicts[i] == "pass") for i, label in pairs
    )
