"""Single stages on their own: train on a dataset, evaluate a run's policies or any model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ratoon import sql
from ratoon.config import apply_sets, parse, read_toml
from ratoon.engine import Policy
from ratoon.errors import ConfigError, UsageError
from ratoon.pipelines.flows.runner import opened, prefect_environment, run_flow
from ratoon.pipelines.recipe.recipe import Recipe
from ratoon.pipelines.runtime import trust
from ratoon.pipelines.runtime.context import Context
from ratoon.pipelines.tasks import pool as propose
from ratoon.pipelines.training import data_source as train_source
from ratoon.progress import Progress
from ratoon.render import Renderer
from ratoon.sft.models import adapters, base_models
from ratoon.sft.models import policy as policies
from ratoon.sft.models.base_models import ModelConfig, model_config
from ratoon.sft.training import job as jobs
from ratoon.sft.training import launch
from ratoon.sft.training.job import TrainConfig
from ratoon.store.store import Store

# What may differ from one evaluation of a run to the next: it changes neither tasks nor prompts nor rounds.
_FREE = ("suites.", "engine.", "verify.")
_EVALS = """
select e.iteration as round, if(e.policy_id like 'trivial:%', e.policy_id, 'policy ' || e.iteration) as policy, e.metric,
       round(e.value, 4) as value, round(e.lo, 4) as lo, round(e.hi, 4) as hi, e.n_tasks as tasks, e.n_samples as samples,
       'policy ' || p.iteration as against, e.policy_id, e.against_policy_id
from evals e left join policies p on p.policy_id = e.against_policy_id
where e.suite = '{suite}' order by e.policy_id like 'trivial:%', e.iteration, e.metric, against
"""


def train(
    source: Path, out: Path, *, model: str | None = None, name: str = "default", sets: Iterable[str] = (),
    columns: Iterable[str] = (), quiet: bool = False, trusted: bool = False,
) -> launch.Trained:  # fmt: skip
    """A model folder `out` trained on a run's datasets `name`, on one dataset folder, or on a file of replies.

    rft starts from `model` or the run's base; nft from the policy that sampled the data, found in its run, or `model`. Raises
    UsageError if `out` exists, and where a run's own recipe names a model folder or trackers that the user never used with it,
    unless it is `trusted`.
    """
    sets = list(sets)
    if out.exists():
        raise UsageError(f"{out} exists already", "give another --out, or remove it")
    if list(columns) and not train_source.is_file(source):
        raise UsageError("--column maps the columns of a file", f"{source} is a folder: leave it out")
    tree = apply_sets(train_source.tree(source), sets)
    config = parse(TrainConfig, tree["train"], "[train]").in_round(1)
    _check_trust(source, tree, config, model, sets, trusted)
    kwargs = dict(tree.get("prompt", {}).get("chat_template_kwargs", {}))
    given = base_models.prepare(model_config(model), out.parent) if model else None
    out.parent.mkdir(parents=True, exist_ok=True)
    if train_source.is_file(source):
        if given is None:
            raise UsageError(f"{source} does not say which model sampled it", "name that model: --model FOLDER")
        found = train_source.of_file(source, columns, given, out, picked=not config.uses("nft"), chat_template_kwargs=kwargs)
        if config.uses("nft"):  # --model is the user's word for who sampled
            config = config.model_copy(update={"nft": config.nft.model_copy(update={"assume_on_policy": True})})
    else:
        found = train_source.of_folder(source, name)
    sampler = found.sampler if config.uses("nft") and given is None else None
    folder = sampler or given or base_models.prepare(parse(ModelConfig, tree["model"], "[model]"), found.root)
    below = (
        base_models.prepare(parse(ModelConfig, tree["model"], "[model]"), found.root) if policies.is_adapter(folder) else folder
    )
    job = _job(config, found, folder, below, out, int(tree.get("run", {}).get("seed", 0)), kwargs)
    with Progress(quiet=quiet) as progress, progress.task("train", None, "step") as bar:
        for line in [*launch.start_notes(job), *found.told]:
            progress.say(line)
        trained = launch.train(job, lambda event: bar.update(event.step, event.total))
        if lost := policies.lost_update(trained.manifest):
            progress.say(f"warning: {lost}")
        return trained


def _check_trust(
    source: Path, tree: dict[str, Any], config: TrainConfig, model: str | None, sets: list[str], trusted: bool
) -> None:
    """Raise UsageError where the recipe of a run brings along what the user never used with it."""
    if not (source / "run.json").exists():
        return
    asked = [trust.of_training(config)]
    if model is None and tree.get("model"):
        asked.append(trust.of_model(parse(ModelConfig, tree["model"], "[model]")))
    run_id = Store.open(source).run_id
    if trusted:
        trust.remember(run_id, *asked)
    else:
        trust.check(source, run_id, *asked, given=sets)


def merge(adapter: Path, out: Path, *, base: str | None = None) -> None:
    """The whole model of an adapter, in the new folder `out`. Raises ModelError where the base is not found."""
    if not policies.is_adapter(adapter):
        raise UsageError(f"{adapter} is no adapter: it has no {policies.ADAPTER_CONFIG}", "a whole model needs no merging")
    below = base_models.prepare(model_config(base), out.parent) if base else adapters.base_of(adapter)
    adapters.merge(adapter, below, out)


def _job(
    config: TrainConfig, found: train_source.Source, folder: Path, below: Path, out: Path, seed: int, kwargs: dict[str, Any],
) -> jobs.Job:  # fmt: skip
    """The job on the model in `folder`; `below` is the model an adapter stands on, else the same.

    `kwargs` are the template's arguments as the data was sampled under them.
    """
    last, renderer = _policy(folder, known=config.uses("nft")), Renderer(folder, kwargs)
    base = last if below == folder else _policy(below)
    job = jobs.plan(
        config, root=found.root, base=base, last=last, datasets=found.folders, seed=seed, iteration=1, out=out,
        tokenizer_digest=renderer.tokenizer_digest, template_digest=renderer.template_digest,
    )  # fmt: skip
    iteration = found.iteration if config.uses("nft") else 1  # of the policy that is made, as staleness counts
    return replace(job, log=str(out.with_name(f"{out.name}.log").resolve()), iteration=iteration)


def _policy(folder: Path, known: bool = False) -> Policy:
    """A model folder as a policy of its own; where it should be `known`, under the id its training gave it."""
    if known and (folder / policies.MANIFEST).exists():
        return policies.as_policy(policies.verify_policy(folder), folder)
    renderer = Renderer(folder)
    found = policies.base_manifest(folder, renderer.tokenizer_digest, renderer.template_digest)
    return policies.as_policy(found, folder)


def evaluate_run(
    root: Path, suite: str, *, sets: Iterable[str] = (), quiet: bool = False, trusted: bool = False
) -> list[dict[str, Any]]:
    """Table `evals` of one suite, after evaluating a run's base and newest policy on it.

    Raises UsageError on a set of what the run is made of: its tasks would change under its own rounds; and on a server,
    secret or engine argument of the run's own recipe that the user never used with this run, unless it is `trusted`.
    """
    sets = list(sets)
    for item in sets:
        path = item.partition("=")[0].strip()
        if not path.startswith(_FREE) and path != "run.workers":
            raise UsageError(
                f"--set {item!r} would change the run: its tasks and rounds are frozen by its recipe",
                f"with a run only {', '.join(_FREE)} and run.workers; for other tasks a suite file and a model folder",
            )
    store = Store.open(root)
    recipe = parse(Recipe, apply_sets(store.config(), sets), f"the recipe of {root}")
    if suite not in recipe.suites:
        raise ConfigError(f"the recipe of {root} has no suite {suite!r}", f"its suites: {', '.join(recipe.suites)}")
    with opened(root, recipe, quiet=quiet, keep_config=True, trusted=trusted, given=sets) as ctx:
        prefect_environment()
        from ratoon.pipelines.flows.improve import evaluate_newest

        run_flow(ctx, lambda ctx: evaluate_newest(ctx, suite), "evaluate")
        return _evals(ctx.store, suite)


def evaluate_model(
    target: str, suite: Path, *, against: str | None, root: Path | None, sets: Iterable[str], quiet: bool
) -> list[dict[str, Any]]:
    """Table `evals` of a model on the suite of a TOML file; with `against`, both models are asked the same tasks.

    Raises UsageError where `root` is a run that trains: its recipe and tasks would be replaced.
    """
    tree = apply_sets(read_toml(suite), sets)
    tree["suites"] = tree.get("suites") or {"heldout": {}}
    names = list(tree["suites"])
    tree["suites"].setdefault("heldout", tree["suites"][names[0]])
    tree.setdefault("run", {}).update(iterations=0)
    recipe = parse(Recipe, tree, str(suite))
    folder = root or Path("runs") / f"eval-{suite.stem}"
    _spare_training(folder)
    mine = recipe.model_copy(update={"model": model_config(target)})
    other = recipe.model_copy(update={"model": model_config(against)}) if against else None
    with opened(folder, mine, quiet=quiet) as ctx:
        prefect_environment()
        run_flow(ctx, lambda ctx: _both(ctx, other, names), "evaluate")
        return [row for name in names for row in _evals(ctx.store, name)]


def _spare_training(folder: Path) -> None:
    if not (folder / "run.json").exists():
        return
    store = Store.open(folder)
    if store.find("policy") or any(m.shard == "train" for m in store.find("assign")):
        raise UsageError(
            f"{folder} is a run with rounds of its own; a suite file's recipe and tasks would replace its own",
            f"give another --run, or `ratoon eval {folder}` for its own policies",
        )


def _both(ctx: Context, other: Recipe | None, suites: list[str]) -> None:
    from ratoon.pipelines.flows.improve import evaluate_base

    if other is not None:
        propose.prompts(ctx, propose.tasks(ctx))  # first, so that the other shares them and nothing of its is replaced later
        with Context(ctx.store, other, ctx.progress, tag="against") as against:
            evaluate_base(against, suites, 0)
    evaluate_base(ctx, suites, 1 if other is not None else 0)


def _evals(store: Store, suite: str) -> list[dict[str, Any]]:
    return sql.query(store, _EVALS.format(suite=suite.replace("'", "''"))).to_pylist()
