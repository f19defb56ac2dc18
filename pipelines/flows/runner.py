"""Starting a flow: the run folder locked, the context opened, Prefect told where to run; the flows themselves are plain.

With no server configured Prefect starts its embedded API, offline; with `PREFECT_API_URL` the flow shows up on that server.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pyarrow as pa

from ratoon.errors import BudgetSpent, MissingExtra, RatoonError, Refused, UsageError
from ratoon.pipelines.recipe.recipe import Recipe
from ratoon.pipelines.runtime import trust
from ratoon.pipelines.runtime.context import Context
from ratoon.pipelines.runtime.meter import signals
from ratoon.progress import Progress
from ratoon.store.store import Store

Body = Callable[[Context], Any]
_QUIET = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1", "PREFECT_LOGGING_LEVEL": "CRITICAL",
          "PREFECT_LOGGING_TO_API_ENABLED": "false", "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180"}  # fmt: skip
_BODY: ContextVar[tuple[Context, Body]] = ContextVar("body")


@contextmanager
def opened(
    root: Path, recipe: Recipe, *, verifiers: Mapping[str, Callable[..., Any]] | None = None, retry_failed: bool = False,
    quiet: bool = False, keep_config: bool = False, trusted: bool = False, given: Iterable[str] = (),
) -> Iterator[Context]:  # fmt: skip
    """The context of a run this process writes: locked against others, its engine and workers ended at the end.

    With `keep_config` the recipe is the run's own. Raises UsageError where it asks for a server, secret, engine argument or
    model folder that the user never used with this run, unless it is `trusted` or `given` by the user's own sets.
    """
    if "ARROW_DEFAULT_MEMORY_POOL" not in os.environ:  # Arrow's own pool keeps what each thread once needed; a fifth more
        pa.set_memory_pool(pa.system_memory_pool())
    with Store.writer(root, {"shard_size": recipe.run.shard_size}) as store:
        if not keep_config:
            store.put_config(recipe.model_dump(mode="json"))
        asked = (trust.of_engine(recipe.engine), trust.of_model(recipe.model))
        if trusted or not keep_config:
            trust.remember(store.run_id, *asked, trust.of_training(recipe.train))
        else:
            trust.check(root, store.run_id, *asked, given=given)
        with (
            Progress(quiet=quiet) as progress,
            Context(store, recipe, progress, verifiers=verifiers, retry_failed=retry_failed) as ctx,
        ):
            for orphan in ctx.children.end_orphans():
                progress.say(f"ended {orphan.what} (process {orphan.pid}), left by a start that was killed")
            if store.frozen["shard_size"] != recipe.run.shard_size:
                progress.say(f"shards stay at {store.frozen['shard_size']} tasks, as this run began; the recipe says otherwise")
            yield ctx


def improve(
    root: Path, recipe: Recipe, *, verifiers: Mapping[str, Callable[..., Any]] | None = None, retry_failed: bool = False,
    quiet: bool = False,
) -> None:  # fmt: skip
    """Run a recipe in a folder, or go on with it."""
    _spare_imports(root, recipe)
    with opened(root, recipe, verifiers=verifiers, retry_failed=retry_failed, quiet=quiet) as ctx:
        prefect_environment()
        from ratoon.pipelines.flows.improve import improve as body

        run_flow(ctx, body, "improve")


def _spare_imports(root: Path, recipe: Recipe) -> None:
    """Raise UsageError when a round of the recipe is one that an import took: it would be replaced."""
    if not (root / "run.json").exists():
        return
    taken = {m.iteration: m.extra["imported"] for m in Store.open(root).find("rollouts") if "imported" in m.extra}
    for iteration in range(1, recipe.run.iterations + 1):
        if iteration in taken:
            raise UsageError(
                f"round {iteration} of {root} holds the import of {taken[iteration]}",
                f"--iterations {iteration - 1} or fewer, or another --run",
            )


def _record_server(ctx: Context) -> None:
    """Prefect's embedded server outlives a flow that is killed: written down, the next start ends it."""
    from prefect.server.api.server import SubprocessASGIServer

    for server in SubprocessASGIServer._instances.values():
        if server.server_process is not None:
            ctx.children.started(server.server_process.pid, "Prefect's embedded server")


def _lost_server(error: BaseException) -> bool:
    """Whether Prefect could not reach its server: its own words, or its HTTP client's."""
    import httpx

    return isinstance(error, httpx.TransportError) or (isinstance(error, RuntimeError) and "Failed to reach API" in str(error))


def prefect_environment() -> None:
    """Quiet and offline unless the user says otherwise; before Prefect is imported."""
    for variable, value in _QUIET.items():
        os.environ.setdefault(variable, value)
    try:
        import prefect  # noqa: F401
    except ImportError:
        raise MissingExtra("prefect", "run") from None


def _told(ctx: Context, body: Body) -> Any:
    """The body's value; automations are told when a budget or the training gate ends it."""
    try:
        return body(ctx)
    except BudgetSpent as error:
        from ratoon.pipelines.flows.notify import budget_spent

        budget_spent(ctx.store, error)
        raise
    except Refused as error:
        from ratoon.pipelines.flows.notify import gate_refused

        gate_refused(ctx.store, error)
        raise


def run_flow(ctx: Context, body: Body, name: str) -> Any:
    """Call `body` as a Prefect flow called `name`, its tasks in threads of this process."""
    prefect_environment()
    from prefect import flow
    from prefect.task_runners import ThreadPoolTaskRunner

    @flow(name=name, flow_run_name="{run}", validate_parameters=False, persist_result=False)
    def ratoon_flow(run: str, recipe: dict[str, Any]) -> Any:
        ctx, body = _BODY.get()
        _record_server(ctx)
        with signals(ctx.meter, ctx.children.end_own):  # in the flow: Prefect listens for SIGTERM itself, and would cancel
            return _told(ctx, body)

    token = _BODY.set((ctx, body))
    try:
        workers = ctx.recipe.run.workers + 2  # two more, so that scoring need not wait for sampling
        configured = ratoon_flow.with_options(task_runner=ThreadPoolTaskRunner(max_workers=workers))
        return configured(run=ctx.store.root.name, recipe=ctx.recipe.semantic())
    except Exception as error:
        if not _lost_server(error):
            raise
        ctx.meter.check_signal()  # Ctrl-C reaches the embedded server too
        hint = "start it (`prefect server start`), or unset PREFECT_API_URL to run on Prefect's embedded API, and run again"
        where = os.environ.get("PREFECT_API_URL") or "the embedded one"
        raise RatoonError(f"Prefect's server does not answer: {where}; what is done is kept", hint) from None
    finally:
        _BODY.reset(token)
