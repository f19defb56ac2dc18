"""The Python face: the verbs of the command line for notebooks and programs.

    from ratoon import Run

    run = Run.start("smoke", "runs/try")
    run.sql("select status, count(*) from scores group by all").to_arrow_table()
    run.curate("certain", sets=["filters.2.lo=0.5"])
    run.train("models/mine", name="certain")

Every verb reads the run as it is now. Errors are those of `ratoon.errors`: what happened, and what mends it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from ratoon import sql as sqls
from ratoon.errors import DataError, UsageError
from ratoon.store.store import Store


class Run:
    """A run's folder, opened for reading; verbs that write take its lock for as long as they last."""

    def __init__(self, root: str | Path) -> None:
        """Raises StoreError when the folder holds no run, SchemaMismatch when another schema version wrote it."""
        self.root = Path(root)
        self.store = Store.open(self.root)

    @classmethod
    def start(
        cls,
        recipe: str | Path,
        root: str | Path | None = None,
        *,
        sets: Iterable[str] = (),
        retry_failed: bool = False,
        verifiers: Mapping[str, Callable[..., Any]] | None = None,
        quiet: bool = False,
    ) -> Self:
        """Run a recipe or go on with it: what is done is found, not made again. Returns the run.

        `recipe` is a TOML file or the name of one that ships, `root` defaults to runs/<its name>, `sets` are KEY=VALUE as on
        the command line. `verifiers` are functions for names the recipe uses; worker processes import them, so they live in
        a module, not in the running script. Raises Stopped when a rule of the recipe ends the run.
        """
        from ratoon.pipelines.flows.runner import improve
        from ratoon.pipelines.recipe.recipe import load

        loaded = load(recipe, sets)
        folder = Path(root) if root is not None else Path("runs") / loaded.run.name
        improve(folder, loaded, verifiers=verifiers, retry_failed=retry_failed, quiet=quiet)
        return cls(folder)

    @classmethod
    def bring(
        cls,
        file: str | Path,
        root: str | Path,
        *,
        recipe: str | None = None,
        columns: Mapping[str, str] | Iterable[str] = (),
        verifier: str = "numeric",
        finish_reason: str | None = None,
        verifiers: Mapping[str, Callable[..., Any]] | None = None,
        gold: Mapping[str, Any] | None = None,
        verifier_args: Mapping[str, Any] | None = None,
        arguments: Mapping[str, str | tuple[str, ...]] | None = None,
    ) -> Self:
        """Take in rollouts made elsewhere, in any layout, as a round of the run at `root`. Returns the run.

        `gold` may hold `after`, `regex`, `boxed` and `index_into`; `arguments` are columns by the verifier's argument.
        """
        from ratoon.generators.imported import Judged
        from ratoon.pipelines.flows.import_rollouts import bring
        from ratoon.rows.golds import GoldRule

        judged = Judged(GoldRule(**(gold or {})), verifier_args or {}, arguments or {})
        bring(Path(file), Path(root), recipe=recipe, columns=columns, verifier=verifier, finish_reason=finish_reason,
              verifiers=verifiers or {}, judged=judged)  # fmt: skip
        return cls(root)

    def sql(self, query: str) -> Any:
        """A DuckDB relation over the live tables: `.to_arrow_table()`, `.df()`, `.fetchall()`. One SELECT only."""
        return sqls.relation(self.store, query)

    def render(self, query: str, format: str = "table") -> str | bytes:
        """A query's result as text: table, json, csv, or parquet bytes."""
        return sqls.render(sqls.query(self.store, query), format)

    def rounds(self) -> list[dict[str, Any]]:
        """One dict per round: asked, passed, kept, trained, held-out pass@1 with its interval, paired gain."""
        from ratoon.pipelines.views.summary import rounds

        return rounds(self.store)

    def status(self) -> dict[str, Any]:
        """Stages, shards, rows, yield, tokens and cost; rounds; the gate's words; what was spent; newest policy; commits."""
        from ratoon.pipelines.flows.firings import firings
        from ratoon.pipelines.training.gate import outcomes
        from ratoon.pipelines.views.summary import headlines, spending, stages

        rows = self.store.read("policies", columns=["policy_id", "iteration"]).to_pylist()
        made = [row for row in rows if row["iteration"] is not None]  # an imported policy has none: nobody here can serve it
        newest = max(made, key=lambda row: row["iteration"])["policy_id"] if made else None
        return {"run_id": self.store.run_id, "commits": len(self.store.commits()), "policy": newest,
                "spent": spending(self.store), "stages": stages(self.store), "rounds": self.rounds(),
                "measures": headlines(self.store), "gates": outcomes(self.store),
                "firings": firings(self.root)[-5:]}  # fmt: skip

    def servers(self) -> list[dict[str, Any]]:
        """How the servers of an openai engine do now: replies allowed, under way, answered; none where none is asked."""
        from ratoon.generators.engines.live_file import read_live
        from ratoon.pipelines.runtime.context import SERVERS

        return read_live(self.root / "logs" / SERVERS)

    def show(self, which: str = "any", n: int = 5) -> list[dict[str, Any]]:
        """Rollouts with prompt, verdict and, for `dropped`, the reason. `which`: any, failed, kept, dropped."""
        from ratoon.pipelines.views.rows import show

        return show(self.store, which, n)

    def explain(self, id: str) -> dict[str, list[dict[str, Any]]]:
        """Every row of every table that names an id, or the one id that begins so."""
        from ratoon.pipelines.views.rows import explain

        return explain(self.store, id)

    def measure(self, *, sets: Iterable[str] = ()) -> list[dict[str, Any]]:
        """Quality, diversity and complexity of every round and dataset, measured anew where `sets` change how."""
        from ratoon.pipelines.evaluation.remeasure import remeasure

        return remeasure(self.root, sets)

    def curate(self, name: str, *, sets: Iterable[str] = ()) -> list[dict[str, Any]]:
        """New decisions and datasets `name` for every round, from stored numbers. One dict per round."""
        from ratoon.pipelines.curation.recurate import replay

        return replay(self.root, name, sets)

    def dataset(self, name: str = "default", iteration: int | None = None) -> pa.Table:
        """The rows of a dataset: of one round, or of the newest."""
        from ratoon.sft.data.dataset import as_stored, read_dataset

        return as_stored(read_dataset(self._folder(name, iteration)))

    def _folder(self, name: str, iteration: int | None) -> Path:
        from ratoon.sft.data.dataset import folder_at

        made = [m for m in self.store.find("curate") if m.shard == name and iteration in (None, m.iteration)]
        if not made:
            which = "" if iteration is None else f" of round {iteration}"
            known = ", ".join(sorted({f"{m.shard}/{m.iteration}" for m in self.store.find("curate")})) or "none"
            raise DataError(f"no dataset {name!r}{which}", f"this run has: {known}")
        newest = max(made, key=lambda m: m.iteration or 0)
        return folder_at(self.root, newest.extra["folder"])

    def datasets(self) -> list[dict[str, Any]]:
        """Name, round, rows and folder of every live dataset."""
        return [
            {"name": m.key.shard, "round": m.key.iteration, "rows": m.counts.rows_out, "of": m.counts.rows_planned,
             "folder": str(self.root / m.extra["folder"])}
            for m in self.store.find("curate")
        ]  # fmt: skip

    def export(self, format: str, out: str | Path, *, name: str = "default", iteration: int | None = None) -> Path:
        """One dataset, the newest round's if none is said, as a new folder `out` in another trainer's format."""
        from ratoon.sft.data.export import export

        return export(self._folder(name, iteration), format, Path(out))

    def train(
        self, out: str | Path, *, name: str = "default", model: str | None = None, sets: Iterable[str] = (), quiet: bool = True
    ) -> Any:
        """A model folder `out`, trained on this run's datasets `name` from its base or `model`; steps, loss, tokens."""
        from ratoon.pipelines.flows.standalone import train

        return train(self.root, Path(out), model=model, name=name, sets=sets, quiet=quiet)

    def evaluate(
        self, suite: str = "heldout", *, sets: Iterable[str] = (), quiet: bool = True, trust: bool = False
    ) -> list[dict[str, Any]]:
        """Rows of `evals` of one suite, after asking the base and the newest policy what they were not asked yet.

        `trust` a run that you did not start here: its recipe names the server asked and the secret sent there.
        """
        return evaluate(self.root, suite, sets=sets, quiet=quiet, trust=trust)

    def verify(self) -> list[str]:
        """Problems found by re-reading every part, dataset and policy; none is an empty list."""
        from ratoon.pipelines.views.integrity import problems

        return problems(self.store)

    def __repr__(self) -> str:
        return f"Run({str(self.root)!r})"


def plan(recipe: str | Path, sets: Iterable[str] = ()) -> list[dict[str, Any]]:
    """What a recipe would do, without doing it: one dict per round."""
    from ratoon.generators.proposers.catalogue import most_asked
    from ratoon.pipelines.recipe.recipe import load

    loaded = load(recipe, sets)
    generate, held = loaded.generate, loaded.suites["heldout"]
    most = generate.tasks * generate.n * loaded.sampling.max_tokens
    proposers = sum(map(most_asked, loaded.propose.arms))
    most += proposers * loaded.propose.sampling.max_tokens
    told: dict[str, Any] = {"to proposers": proposers} if loaded.propose.arms else {}
    first: dict[str, Any] = {"round": 0, "tasks": None, "rollouts": None, "at most sampled tokens": None, "suite n": held.n}
    rows = [first | dict.fromkeys(told)]
    for iteration in range(1, loaded.run.iterations + 1):
        rows.append({"round": iteration, "tasks": generate.tasks, "rollouts": generate.tasks * generate.n,
                     "at most sampled tokens": most, "suite n": held.n} | told)  # fmt: skip
    return rows


def predict(recipe: str | Path, sets: Iterable[str] = (), *, tasks: int | None = None) -> dict[str, Any]:
    """What a recipe will take (tokens, cost, engine seconds, yield), with intervals, from really asking a few tasks."""
    from ratoon.pipelines.flows import dry_run as dryrun
    from ratoon.pipelines.recipe.recipe import load

    return dryrun.predict(load(recipe, sets), tasks=tasks or dryrun.TASKS)


def evaluate(
    target: str | Path, suite: str = "heldout", *, against: str | None = None, root: str | Path | None = None,
    sets: Iterable[str] = (), quiet: bool = False, trust: bool = False,
) -> list[dict[str, Any]]:  # fmt: skip
    """Rows of table `evals` for a run's policies, or for a model folder or hub id, on one suite.

    `trust` is for a run: use the server, secret and engine arguments of its recipe though you never did with this run.
    """
    from ratoon.pipelines.flows.standalone import evaluate_model, evaluate_run

    if _is_run(Path(target)):
        if against is not None:
            raise UsageError("a run is compared with its own base and last policy", "leave --against out")
        if root is not None:
            raise UsageError(f"{target} is a run: its evaluations are kept in it", "leave --run out")
        return evaluate_run(Path(target), suite, sets=sets, quiet=quiet, trusted=trust)
    if trust:
        raise UsageError(f"{target} is no run: what is asked is in the suite file, which is yours", "leave --trust out")
    return evaluate_model(str(target), Path(suite), against=against, root=Path(root) if root else None, sets=sets, quiet=quiet)


def _is_run(path: Path) -> bool:
    return (path / "run.json").exists()
