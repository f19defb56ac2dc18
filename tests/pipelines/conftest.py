"""Small real runs: the smoke recipe cut down, its stages driven with Prefect (the session's server) or plainly."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ratoon import Run
from ratoon.cli import app as command_line
from ratoon.engine import Policy
from ratoon.pipelines.curation.curate import Crop
from ratoon.pipelines.flows.runner import opened
from ratoon.pipelines.recipe.recipe import load
from ratoon.pipelines.rollouts import askers, assign, sample, score
from ratoon.pipelines.runtime import records
from ratoon.pipelines.runtime.context import Context
from ratoon.pipelines.tasks import pool as propose
from ratoon.sft.models.tiny import make_tiny
from ratoon.store.store import Manifest

Start = Callable[..., "Told"]


class Told(NamedTuple):
    """How a command ended and what it said."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("model") / "tiny", seed=0)


@pytest.fixture(scope="session")
def small(tiny_model: Path) -> list[str]:
    """`--set`s that cut the smoke recipe down to seconds: few tasks, a model that is there, the base evaluated and no round."""
    return ["model.kind=path", f"model.path={str(tiny_model)!r}", "tasks.0.n=16", "tasks.1.n=16", "splits.eval=8",
            "splits.probe=2", "generate.tasks=12", "generate.n=4", "run.shard_size=6", "run.iterations=0",
            "audit.at_end=off"]  # fmt: skip


@pytest.fixture
def cli_here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Start:
    """`cli_here("sql", folder, …)`: the command line's own entry point, in this process."""

    def call(*arguments: str | Path) -> Told:
        monkeypatch.setattr(sys, "argv", ["ratoon", *map(str, arguments)])
        capsys.readouterr()
        code: object = 0
        try:
            command_line.main()
        except SystemExit as ended:
            code = ended.code
        out, err = capsys.readouterr()
        return Told(int(str(code or 0)), out, err)

    return call


@pytest.fixture
def here(prefect_here: None, cli_here: Start) -> Start:
    """`here("run", "smoke", …)`: the same where flows run, on the session's Prefect server."""
    return cli_here


@pytest.fixture
def start(here: Start, small: list[str]) -> Start:
    """`start(folder, "run.seed=1", retry_failed=True)`: `ratoon run` of the cut-down recipe."""

    def call(root: Path, *sets: str, flags: Sequence[str] = ()) -> Told:
        given = [argument for item in [*small, *sets] for argument in ("--set", item)]
        return here("run", "smoke", "--run", root, "--quiet", *given, *flags)

    return call


@pytest.fixture(scope="session")
def small_run(prefect_here: None, small: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished folder of `start(folder)`, unbroken. Read it; to change it, copy it."""
    return Run.start("smoke", tmp_path_factory.mktemp("small") / "run", sets=small, quiet=True).root


@pytest.fixture
def small_copy(small_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_run, tmp_path / "run"))


@pytest.fixture
def context(tmp_path: Path, small: list[str]) -> Callable[..., contextmanager[Context]]:  # type: ignore[type-arg]
    """`with context("generate.n=2") as ctx`: the cut-down recipe's context on one folder, no Prefect."""

    @contextmanager
    def open_context(*sets: str, retry_failed: bool = False) -> Iterator[Context]:
        with opened(tmp_path / "run", load("smoke", [*small, *sets]), quiet=True, retry_failed=retry_failed) as ctx:
            yield ctx

    return open_context


class Ground(NamedTuple):
    """Iteration 0: what every round stands on."""

    pool: Manifest
    prompts: Manifest
    base_row: Manifest
    base: Policy


@pytest.fixture(scope="session")
def ground() -> Callable[[Context], Ground]:
    """`ground(ctx)`: tasks, prompts and the base policy."""

    def make(ctx: Context) -> Ground:
        pool = propose.tasks(ctx)
        return Ground(pool, propose.prompts(ctx, pool), *records.base(ctx))

    return make


@pytest.fixture(scope="session")
def harvest() -> Callable[..., Crop]:
    """`harvest(ctx, on)`: a round's training rollouts of the base, or a suite's, sampled, scored and grouped shard by shard."""

    def make(ctx: Context, on: Ground, iteration: int = 1, suite: str | None = None) -> Crop:
        if suite is None:
            asked = askers.assign_round(ctx, on.pool, on.prompts, iteration)
        else:
            asked = assign.assign_suite(ctx, on.pool, on.prompts, iteration, suite, ctx.recipe.suites[suite])
        rollouts = [sample.sample_shard(ctx, s, on.prompts) for s in sample.shards(ctx, asked, on.base_row, on.base)]
        scores = [score.score_shard(ctx, r, on.pool) for r in rollouts]
        return Crop(iteration, [on.pool], [on.prompts], rollouts, scores, score.group(ctx, asked, rollouts, scores))

    return make


@pytest.fixture
def smoke_copy(smoke_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished smoke run, to be changed."""
    return Path(shutil.copytree(smoke_run, tmp_path / "smoke"))


@pytest.fixture(scope="session")
def asked() -> Callable[[Path], list[str]]:
    """`asked(folder)`: every request id the engines of a run were ever sent, in order."""

    def read(root: Path) -> list[str]:
        path = root / "logs" / "requests.log"
        return path.read_text().splitlines() if path.exists() else []

    return read


@pytest.fixture(scope="module")
def plain() -> Iterator[Any]:
    """`benchmarks/plain_loop.py`: the stages of two rounds without Prefect and torch."""
    benchmarks = str(Path(__file__).resolve().parents[2] / "benchmarks")
    sys.path.insert(0, benchmarks)
    try:
        import plain_loop

        yield plain_loop
    finally:
        sys.path.remove(benchmarks)
