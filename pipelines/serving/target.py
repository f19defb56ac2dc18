"""What is to be served: a run's newest policy, a policy's folder or a model, checked before a server gets to see it.

The digest of the weights is that of the policy's manifest, the weights are safetensors; nothing here or in the servers runs
code that came with a model.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ratoon.config import parse
from ratoon.errors import ModelError
from ratoon.pipelines.recipe.recipe import Recipe
from ratoon.render import Renderer
from ratoon.sft.models import base_models
from ratoon.sft.models import policy as policies
from ratoon.store.store import Store


class Served(NamedTuple):
    """A whole model in a folder, under the id by which a run asks for it."""

    policy_id: str
    folder: Path

    @property
    def names(self) -> list[str]:
        """What a server calls it: its id, and its folder, by which `openai` engines find a base too."""
        return [self.policy_id, str(self.folder)]


def target(text: str) -> Served:
    """A run's newest policy (its base before any training), the policy in a folder, or a model. Raises ModelError."""
    folder = Path(text)
    if (folder / "run.json").exists():
        return newest(folder)
    if (folder / policies.MANIFEST).exists():
        return checked(folder)
    return checked(base_models.prepare(base_models.model_config(text), Path.cwd()))


def newest(root: Path) -> Served:
    """The newest policy of a run, as it is now. Raises StoreError where the folder holds no run."""
    if (trained := newer(root, None)) is not None:
        return trained
    recipe = parse(Recipe, Store.open(root).config(), f"the recipe of {root}")
    return checked(base_models.prepare(recipe.model, root), dict(recipe.prompt.chat_template_kwargs))


def newer(root: Path, policy_id: str | None) -> Served | None:
    """The newest policy that a run trained, where it is another than this one; its weights are read only then."""
    store = Store.open(root)
    made = max(store.find("policy"), key=lambda m: m.iteration or 0, default=None)
    if made is None:
        return None
    row = store.read("policies", [made], columns=["policy_id", "uri"]).to_pylist()[0]
    return None if row["policy_id"] == policy_id else checked(root.resolve() / row["uri"])


def checked(folder: Path, template_kwargs: dict[str, str | int | float | bool] | None = None) -> Served:
    """The model of a folder once its weights proved whole and, for a policy, those it was trained to. Raises ModelError."""
    folder = folder.resolve()
    if policies.is_adapter(folder):
        raise ModelError(f"{folder} is an adapter", "`ratoon merge` makes a model of it; or train with train.lora.merge = true")
    base_models.check_model(folder)
    if (folder / policies.MANIFEST).exists():
        return Served(policies.verify_policy(folder).policy_id, folder)
    renderer = Renderer(folder, template_kwargs or {})
    return Served(policies.base_manifest(folder, renderer.tokenizer_digest, renderer.template_digest).policy_id, folder)


def asked_for(policy_id: str, folder: str, digest: str) -> Served:
    """The trained policy that a run asks for by id, folder and digest. Raises ModelError where what lies there is another."""
    found = policies.read_manifest(Path(folder))
    if (found.policy_id, found.weights_digest) != (policy_id, digest):
        raise ModelError(
            f"{folder} holds {found.policy_id} with weights {found.weights_digest}, asked for is {policy_id} with {digest}",
            "the run and its servers must see the same folder",
        )
    return checked(Path(folder))
