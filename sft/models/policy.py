"""A policy is a folder: weights, tokenizer, template and `policy.json`, written last, so that its presence means "whole".

`weights_digest` covers the safetensors files only, so it changes iff the weights do; it is volatile (two machines need not
train to the same bit) and no part of the policy's id, which covers parent, data, semantic config and seed.

Where the weights are written in fewer bits than they were trained in, `master/` holds them in float32: engines sample from the
policy's own files, the next training starts from its master. `moments/` holds what the optimizer knew, where that is kept.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

from ratoon import ids
from ratoon.engine import Policy
from ratoon.errors import ModelError
from ratoon.sft.models.base_models import check_safetensors, read_json, weight_files

MANIFEST = "policy.json"
MASTER = "master"
MOMENTS = "moments"
ADAPTER_CONFIG = "adapter_config.json"
LEAST_KEPT = 0.5  # a smaller share of the update in the written weights is told
# Everything a tokenizer needs, copied byte for byte from parent to child: their digests must stay equal.
_TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "vocab.txt", "merges.txt", "chat_template.jinja", "chat_template.json", "spiece.model", "tekken.json",
)  # fmt: skip
_GENERATION = "generation_config.json"


@dataclass(frozen=True)
class PolicyManifest:
    """What `policy.json` says. Tokens are unpadded and counted once per epoch; `seconds` is the training's wall time.

    `master_digest` is that of the float32 weights in `master/`, `moments_digest` that of Adam's moments in `moments/`: null
    where there never were any. The folders go when a later policy is there. `start_digest` is that of the weights training
    started from: the parent's master, or its own files.
    `update_kept` is the share of the update that the written weights keep (sft/training/update_kept.py), null where unknown.
    An adapter's `base` is the folder of the model it stands on, `base_digest` that of its weights; null for a whole model.
    `skipped` rows were too long, `untrained` ones held no token to train on. `held_out` rows only measured: `eval_loss` is the
    least mean loss on them, in nats a token, which the weights of step `best_step` have.
    NFT only: `start_kl` is KL(sampler ‖ trainer's start) in nats a token over the first step, not 0 where there is a master;
    `logprob_gap` is the mean |trainer − engine| log-prob in nats a token, `dropped` the rows left out for theirs.
    """

    policy_id: str
    parent_policy_id: str | None
    base_policy_id: str
    kind: Literal["base", "full", "lora"]
    method: str | None
    config_digest: str | None
    dataset_id: str | None
    dataset_digest: str | None
    seed: int | None
    iteration: int
    weights_digest: str
    tokenizer_digest: str
    template_digest: str
    trained_tokens: int = 0
    loss_tokens: int = 0
    examples: int = 0
    skipped: int = 0
    steps: int = 0
    loss: float | None = None
    seconds: float | None = None
    logprob_gap: float | None = None
    dropped: int = 0
    master_digest: str | None = None
    start_digest: str | None = None
    update_kept: float | None = None
    start_kl: float | None = None
    untrained: int = 0
    base: str | None = None
    base_digest: str | None = None
    moments_digest: str | None = None
    held_out: int = 0
    eval_loss: float | None = None
    best_step: int | None = None

    def row(self, uri: str) -> dict[str, Any]:
        """A row of table `policies`; `uri` is the folder relative to the run."""
        names = ("policy_id", "parent_policy_id", "kind", "weights_digest", "tokenizer_digest", "template_digest", "dataset_id",
                 "method", "config_digest", "seed", "iteration", "master_digest", "start_digest", "update_kept",
                 "start_kl")  # fmt: skip
        return {name: getattr(self, name) for name in names} | {"uri": uri}


def weights_digest(folder: Path) -> str:
    """32 hex digits over name and bytes of every safetensors file of the folder."""
    total = blake2b(digest_size=16)
    for path in weight_files(folder):
        total.update(f"{path.name}\x1f{path.stat().st_size}\x1f".encode())
        with path.open("rb") as file:
            while chunk := file.read(1 << 22):
                total.update(chunk)
    return total.hexdigest()


def base_manifest(folder: Path, tokenizer_digest: str, template_digest: str) -> PolicyManifest:
    """The manifest of a base model's folder, which is not written there: the folder may be shared or read-only."""
    weights = weights_digest(folder)
    identity = {"weights": weights, "tokenizer": tokenizer_digest, "template": template_digest}
    policy_id = ids.policy_id(None, None, identity, 0)
    return PolicyManifest(
        policy_id=policy_id, parent_policy_id=None, base_policy_id=policy_id, kind="base", method=None, config_digest=None,
        dataset_id=None, dataset_digest=None, seed=None, iteration=0, weights_digest=weights,
        tokenizer_digest=tokenizer_digest, template_digest=template_digest,
    )  # fmt: skip


def write_manifest(folder: Path, manifest: PolicyManifest) -> None:
    """Write `policy.json`, flushed: call it last, when the folder is otherwise complete."""
    with (folder / MANIFEST).open("w", encoding="utf-8") as file:
        json.dump(asdict(manifest), file, indent=2)
        file.flush()
        os.fsync(file.fileno())


def read_manifest(folder: Path) -> PolicyManifest:
    """What `policy.json` in `folder` says. Raises ModelError when it is missing, broken or of another version."""
    tree = read_json(folder / MANIFEST)
    names = {field.name for field in fields(PolicyManifest)}
    try:
        return PolicyManifest(**{key: value for key, value in tree.items() if key in names})
    except (TypeError, AttributeError):
        raise ModelError(f"{folder / MANIFEST} is no policy manifest", "train the policy again") from None


def verify_policy(folder: Path) -> PolicyManifest:
    """The manifest, once every weight file proved whole and unchanged. Raises ModelError naming what differs."""
    manifest = read_manifest(folder)
    for path in weight_files(folder):
        check_safetensors(path)
    found = weights_digest(folder)
    if found != manifest.weights_digest:
        raise ModelError(
            f"the weights in {folder} have digest {found}, not {manifest.weights_digest} as {MANIFEST} says",
            f"they were changed or damaged after training: remove {folder} and run again",
        )
    return manifest


def master(folder: Path) -> Path | None:
    """The folder of a policy's float32 weights; None where there are none, or none any more."""
    return _kept(folder, MASTER, "master_digest")


def moments(folder: Path) -> Path | None:
    """The folder of the optimizer's moments at a policy; None where there are none, or none any more."""
    return _kept(folder, MOMENTS, "moments_digest")


def _kept(folder: Path, name: str, digest: str) -> Path | None:
    path = folder / name
    if not path.is_dir() or not (folder / MANIFEST).exists():
        return None
    return path if getattr(read_manifest(folder), digest) is not None else None


def verify_master(folder: Path) -> None:
    """Raise ModelError where a policy's master or moments are there and not what its training wrote."""
    manifest = read_manifest(folder) if (folder / MANIFEST).exists() else None
    if manifest is None:
        return
    after = {MASTER: "training starts from the policy's own weights", MOMENTS: "Adam starts anew"}
    for path, wanted in ((master(folder), manifest.master_digest), (moments(folder), manifest.moments_digest)):
        if path is not None:
            _verify(path, str(wanted), f"it was changed or damaged: remove {path}, and {after[path.name]}")


def _verify(path: Path, wanted: str, hint: str) -> None:
    try:
        for file in weight_files(path):
            check_safetensors(file)
    except ModelError as error:
        raise ModelError(error.message, hint) from None
    digest = weights_digest(path)
    if digest != wanted:
        raise ModelError(f"the weights in {path} have digest {digest}, not {wanted} as {MANIFEST} says", hint)


def rounded_start(folder: Path) -> str | None:
    """One line where training starts from rounded weights though they were trained in float32; None where nothing is lost."""
    if not (folder / MANIFEST).exists() or master(folder) is not None:
        return None
    manifest = read_manifest(folder)
    dtype = stored_dtype(folder) if manifest.kind == "full" else "float32"
    if dtype == "float32":
        return None
    why = "older ratoons wrote none" if manifest.master_digest is None else "a later policy superseded it"
    return f"training starts from the {dtype} weights of {manifest.policy_id}: it has no float32 master ({why})"


def new_optimizer(folder: Path) -> str | None:
    """One line where a training that goes on from kept moments finds none beside a trained policy; None otherwise."""
    if not (folder / MANIFEST).exists() or moments(folder) is not None:
        return None
    manifest = read_manifest(folder)
    why = "its training kept none" if manifest.moments_digest is None else "a later policy superseded them"
    return f"Adam starts anew: {manifest.policy_id} has no moments ({why})"


def stored_dtype(folder: Path) -> str:
    """The type of a model folder's weights as its config says; float32 where it says nothing."""
    config = read_json(folder / "config.json")
    return str(config.get("dtype") or config.get("torch_dtype") or "float32")


def lost_update(manifest: PolicyManifest) -> str | None:
    """One line where most of what training moved is not in the written weights; None otherwise, or where it is unknown."""
    kept = manifest.update_kept
    if kept is None or kept >= LEAST_KEPT:
        return None
    after = (
        "the next round starts from its float32 master, but engines" if manifest.master_digest else "engines and the next round"
    )
    return (
        f"only {kept:.0%} of the update is in the written weights: {after} get the rounded ones "
        '(train.save_dtype = "float32", train.save_rounding = "stochastic", a higher train.learning_rate, or more steps)'
    )


def superseded(policies: Path, policy_id: str, iteration: int) -> list[Path]:
    """The masters and moments in a run's folder of policies that nothing starts from once this policy is there."""
    kept = [path for folder in sorted(policies.glob("*")) for path in (master(folder), moments(folder))]
    owners = [(path, read_manifest(path.parent)) for path in kept if path and not path.is_symlink()]
    return [path for path, owner in owners if owner.iteration <= iteration and owner.policy_id != policy_id]


def as_policy(manifest: PolicyManifest, folder: Path, base_folder: Path | None = None) -> Policy:
    """The policy as an engine takes it. An unmerged adapter needs the folder of the base it stands on."""
    base = str(base_folder) if manifest.kind == "lora" and base_folder is not None else None
    return Policy(manifest.policy_id, str(folder), manifest.iteration, manifest.kind, base)


def copy_tokenizer(source: Path, target: Path) -> None:
    """Copy tokenizer and template, byte for byte."""
    for name in _TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def write_generation_config(source: Path, target: Path, end_of_turn_ids: Sequence[int]) -> None:
    """The source's generation settings, which stop at every end of turn: byte for byte where they do so already.

    Without a generation_config.json the source's ends are those of its config.json.
    """
    own = source / _GENERATION
    settings = read_json(own) if own.is_file() else _generation_fields(read_json(source / "config.json"))
    listed = settings.get("eos_token_id")
    ends = list(
        dict.fromkeys([*(listed if isinstance(listed, list) else [] if listed is None else [listed]), *end_of_turn_ids])
    )
    if own.is_file() and ends == (listed if isinstance(listed, list) else [listed]):
        shutil.copyfile(own, target / _GENERATION)
        return
    settings = settings | {"eos_token_id": ends[0] if len(ends) == 1 else ends}
    (target / _GENERATION).write_text(json.dumps(settings, indent=2), encoding="utf-8")


def _generation_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    return {name: config[name] for name in names if config.get(name) is not None}


def is_adapter(folder: Path) -> bool:
    """Whether the folder holds a LoRA adapter and no model of its own."""
    return (folder / ADAPTER_CONFIG).exists()
