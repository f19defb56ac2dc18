"""A talk with a run's newest policy and, to compare, its base: each keeps its own history; nothing is stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from ratoon import messages
from ratoon.config import apply_sets, parse
from ratoon.engine import Completion, Engine, Policy, Request
from ratoon.errors import UsageError
from ratoon.generators.engines import open_engine
from ratoon.pipelines.recipe.recipe import Recipe
from ratoon.pipelines.runtime import trust
from ratoon.render import Renderer
from ratoon.sft.models import base_models
from ratoon.sft.models import policy as policies
from ratoon.store.store import Store


class Chat:
    """Opens the engine of the run's recipe; to be used in a `with` block.

    Raises UsageError for a scripted engine, and for what the run's own recipe asks that the user never used with it.
    """

    def __init__(self, root: Path, *, against_base: bool = False, sets: Iterable[str] = (), trusted: bool = False) -> None:
        store, sets = Store.open(root), list(sets)
        self._recipe = parse(Recipe, apply_sets(store.config(), sets), f"the recipe of {root}")
        engine = self._recipe.engine
        if engine.kind == "scripted":
            raise UsageError("a scripted engine has nothing to say but planted answers", "--set engine.kind=vllm")
        if not trusted:
            trust.check(root, store.run_id, trust.of_engine(engine), trust.of_model(self._recipe.model), given=sets)
        folder = base_models.prepare(self._recipe.model, root)
        kwargs = dict(self._recipe.prompt.chat_template_kwargs)
        self._renderer = Renderer(folder, kwargs, self._recipe.verify.thinking)
        base, newest = _base(self._renderer), _newest(store, root, folder)
        self._policies = list(dict.fromkeys([newest or base, *([base] if against_base else [])]))
        sampling = self._recipe.sampling.build(self._renderer.end_of_turn_ids, kwargs)
        self._sampling = replace(sampling, logprobs_mode="none")
        self._engine: Engine = open_engine(engine, seed=self._recipe.run.seed, renderer=self._renderer)
        self._in_use: Policy | None = None
        self.start_over()

    def __enter__(self) -> Self:
        self._engine.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._engine.__exit__(*exc)

    def start_over(self) -> None:
        """Forget what was said."""
        system = self._recipe.prompt.system
        opening = [] if system is None else [messages.system(system)]
        self._said: dict[Policy, list[dict[str, Any]]] = {policy: list(opening) for policy in self._policies}

    def ask(self, question: str) -> Iterator[tuple[str, str]]:
        """Who answers and the answer, one after the other; a reply that failed is its error, and is not remembered."""
        for policy in self._policies:
            said = [*self._said[policy], messages.user(question)]
            reply = self._reply(policy, said)
            text = reply.error or (self._renderer.decode(reply.token_ids) if reply.text is None else reply.text)
            if reply.error is None:
                self._said[policy] = [*said, messages.assistant(text)]
            yield ("base" if policy.iteration == 0 else f"round {policy.iteration}"), text

    def _reply(self, policy: Policy, said: list[dict[str, Any]]) -> Completion:
        if policy != self._in_use:
            self._in_use = None
            self._engine.use(policy)
            self._in_use = policy
        ids = self._renderer.render([said])[0]
        request = Request("chat", policy.policy_id, ids, self._sampling, messages=tuple(said))
        (reply,) = self._engine.generate([request])
        return reply


def _base(renderer: Renderer) -> Policy:
    made = policies.base_manifest(renderer.folder, renderer.tokenizer_digest, renderer.template_digest)
    return Policy(made.policy_id, str(renderer.folder), 0, "base")


def _newest(store: Store, root: Path, base: Path) -> Policy | None:
    """The newest policy that the run trained; null before any training. Raises ModelError where its weights were changed."""
    made = max(store.find("policy"), key=lambda m: m.iteration or 0, default=None)
    if made is None:
        return None
    folder = root.resolve() / store.read("policies", [made], columns=["uri"]).to_pylist()[0]["uri"]
    return policies.as_policy(policies.verify_policy(folder), folder, base)
