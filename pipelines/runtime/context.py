"""What every stage of one run needs, opened once and closed once; knows no Prefect and no algorithm.

A `Context` is passed by reference to shard tasks that run in threads.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from ratoon.engine import Engine, Policy, Sampling
from ratoon.errors import NotServed, Stopped
from ratoon.generators.engines import open_engine
from ratoon.generators.engines.scripted import Plant, planted
from ratoon.ids import derive_seed
from ratoon.machine.children import Children
from ratoon.metrics.verifiers import math
from ratoon.metrics.verifiers.pool import VerifierPool
from ratoon.metrics.voting.consensus import Same
from ratoon.metrics.voting.equivalence import SAME, by_math
from ratoon.pipelines.recipe.budget import spent
from ratoon.pipelines.recipe.recipe import Recipe, SamplingConfig
from ratoon.pipelines.runtime.meter import GO_ON, Meter, MeteredEngine
from ratoon.pipelines.runtime.shard_rows import Lookup
from ratoon.progress import Progress
from ratoon.render import Renderer
from ratoon.sft.models import base_models
from ratoon.store.store import Store

SERVERS = "servers.json"  # in the run's logs: how its servers do, while they are asked

_ASK_EVERY_S = 2.0  # whether a server serves a new policy


class Context:
    """The store, recipe, model folder, renderer, engine and verifier pool of one run."""

    def __init__(
        self,
        store: Store,
        recipe: Recipe,
        progress: Progress,
        *,
        verifiers: Mapping[str, Callable[..., Any]] | None = None,
        retry_failed: bool = False,
        tag: str | None = None,
    ) -> None:
        """`tag` sets apart what a second model of the same run renders."""
        self.tag = tag
        self.store, self.recipe, self.progress = store, recipe, progress
        self.lookup = Lookup(store)
        self.children = Children(store.root)
        self.meter = Meter(recipe.budget, spent(store))
        self.verifiers, self.retry_failed = dict(verifiers or {}), retry_failed
        self.model_folder = base_models.prepare(recipe.model, store.root)
        if recipe.run.iterations:
            base_models.refuse_multimodal(self.model_folder)
        self.renderer = Renderer(self.model_folder, dict(recipe.prompt.chat_template_kwargs), recipe.verify.thinking)
        self._lock = threading.RLock()
        self._engine: Engine | None = None
        self._serving: Policy | None = None
        self._pool: VerifierPool | None = None
        self._planted: dict[str, Plant] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close_engine()
        with self._lock:
            if self._pool is not None:
                self._pool.__exit__(*exc)
                self._pool = None

    def sampling(self, config: SamplingConfig) -> Sampling:
        """A recipe's sampling with this model's end-of-turn ids."""
        return config.build(self.renderer.end_of_turn_ids, dict(self.recipe.prompt.chat_template_kwargs))

    def engine(self, policy: Policy) -> Engine:
        """The one engine of this process, opened at first use and serving `policy`."""
        with self._lock:
            if self._engine is None:
                self._engine = MeteredEngine(self._open(policy), self.meter).__enter__()
            if self._serving != policy:  # a shard that asked again would wait for the others' requests to drain
                self._serving = None
                self._use(self._engine, policy)
                self._serving = policy
            return self._engine

    def _use(self, engine: Engine, policy: Policy) -> None:
        """Wait for a server that serves a trained policy, as long as the recipe allows. Raises Stopped after that."""
        patience = self.recipe.engine.openai.policy_wait_s if policy.iteration else 0.0
        end, told = time.monotonic() + patience, False
        while True:
            try:
                return engine.use(policy)
            except NotServed as error:
                if not patience:
                    raise
                if time.monotonic() >= end:
                    raise Stopped(f"{error.message}, after {patience:g} s", f"{error.hint}; {GO_ON}") from None
                if not told:
                    self.progress.say(f"waiting, at most {patience:g} s: {error.message}: {error.hint}")
            told = True
            self.meter.check()
            time.sleep(min(_ASK_EVERY_S, patience))

    def engine_died(self) -> None:
        """The engine gave up on a shard: the next one has the policy loaded anew, which starts a dead engine again."""
        with self._lock:
            self._serving = None

    def close_engine(self) -> None:
        """Free the device: before training, and at the end."""
        with self._lock:
            if self._engine is not None:
                engine, self._engine, self._serving = self._engine, None, None
                engine.__exit__(None, None, None)

    def pool(self) -> VerifierPool:
        """The verifier workers of this process, started at first use."""
        with self._lock:
            if self._pool is None:
                verify = self.recipe.verify
                extra = self.verifiers | ({SAME: math.same} if self.recipe.symbolic_votes else {})
                self._pool = VerifierPool(
                    verify.workers, verify.timeout_s, extra=extra,
                    on_start=lambda pid: self.children.started(pid, "verifier workers"),
                ).__enter__()  # fmt: skip
            return self._pool

    def same(self) -> Same | None:
        """Who says whether two replies are equivalent, where votes ask for it."""
        consensus = self.recipe.consensus
        return by_math(self.pool(), consensus.reader_args) if consensus is not None and self.recipe.symbolic_votes else None

    def logs(self, name: str) -> Path:
        """A file under the run's logs folder."""
        folder = self.store.root / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name

    def relative(self, folder: Path | str) -> str:
        """A folder as the store records it: relative to the run where it lies inside, so that a run can be moved."""
        path, root = Path(folder).resolve(), self.store.root.resolve()
        return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)

    def absolute(self, uri: str) -> Path:
        """The folder of a recorded uri."""
        return self.store.root.resolve() / uri

    def before_training(self) -> None:
        """Give the device to the trainer, unless the recipe keeps the engine open beside it."""
        if not self.recipe.engine.keep_open:
            self.close_engine()

    def _open(self, policy: Policy) -> Engine:
        with self.logs("engine-starts.log").open("a+") as log:
            log.seek(0)
            starts = sum(1 for _ in log)
            log.write(f"{policy.policy_id}\n")
        seed = derive_seed(self.recipe.run.seed, "engine", f"{policy.policy_id}/{starts}") % 2**31
        return open_engine(
            self.recipe.engine,
            seed=seed,
            renderer=self.renderer,
            plants=self._plants(),
            request_log=self.logs("requests.log"),
            live=self.logs(SERVERS),
        )

    def plant(self, tasks: pa.Table) -> None:
        """Tell the scripted engine of tasks that were made after it was opened; other engines are told nothing."""
        known = self._plants()
        if known is not None:
            known |= planted(tasks.to_pylist(), known, self.recipe.engine.scripted.proposals.changed)

    def _plants(self) -> dict[str, Plant] | None:
        """What the scripted engine is told of every task, read once; grows as tasks are made."""
        if self.recipe.engine.kind != "scripted":
            return None
        with self._lock:
            if self._planted is None:
                rows: pa.Table = self.store.read("tasks", columns=["task_id", "family", "answer", "parent_ids", "meta"])
                truth = dict(zip(*(c.to_pylist() for c in self.store.read("oracles").columns), strict=True))
                told = [
                    r | {"answer": truth.get(r["task_id"]) if r["answer"] is None else r["answer"]} for r in rows.to_pylist()
                ]
                self._planted = planted(told, {}, self.recipe.engine.scripted.proposals.changed)
            return self._planted
