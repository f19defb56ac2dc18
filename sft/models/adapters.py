"""A LoRA adapter's folder made into a whole model: wherever a model is wanted, an adapter will do.

The base is the folder that the adapter's `policy.json` names, if it still holds those weights, or what peft's own
`adapter_config.json` names, a folder or a hub id. The merged model is written in the base's type with the float32 sums beside
it (`master/`), so that training goes on from all that the adapter learned.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path
from typing import Any

from ratoon.errors import MissingExtra, ModelError
from ratoon.render import Renderer
from ratoon.sft.models import base_models, policy


def base_of(adapter: Path) -> Path:
    """The folder of the model an adapter stands on. Raises ModelError where it is not found, or no longer what it was."""
    named = base_models.read_json(adapter / policy.ADAPTER_CONFIG).get("base_model_name_or_path")
    manifest = policy.read_manifest(adapter) if (adapter / policy.MANIFEST).exists() else None
    if manifest is not None and manifest.base is not None:
        folder = Path(manifest.base)
        _check_base(adapter, folder, manifest)
        return folder
    if named and Path(named).is_dir():
        return Path(named)
    if named and named.count("/") == 1 and not named.startswith("/"):
        return base_models.prepare(base_models.ModelConfig(kind="hub", hub_id=named), adapter)
    raise ModelError(
        f"{adapter} is an adapter, and it does not say of which model", "ratoon merge ADAPTER --base MODEL --out DIR"
    )


def _check_base(adapter: Path, folder: Path, manifest: policy.PolicyManifest) -> None:
    hint = "name it where it is now: ratoon merge ADAPTER --base MODEL --out DIR"
    if not folder.is_dir():
        raise ModelError(f"the base of adapter {adapter} is no longer in {folder}", hint)
    digest = policy.weights_digest(folder)
    if manifest.base_digest not in (None, digest):
        raise ModelError(f"the base of adapter {adapter} had weights {manifest.base_digest}, and {folder} has {digest}", hint)


def merged(adapter: Path, models: Path) -> Path:
    """The adapter merged into its base, in a folder of `models` that is made once for each adapter's weights."""
    folder = models / f"merged-{policy.weights_digest(adapter)[:16]}"
    if not folder.exists():
        merge(adapter, base_of(adapter), folder)
    return folder


def merge(adapter: Path, base: Path, out: Path) -> None:
    """Write the whole model into the new folder `out`, whole or not at all. Raises ModelError, MissingExtra."""
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        _write(adapter, base, temporary)
        if not out.exists():  # else another process was first, and its folder is as good
            temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write(adapter: Path, base: Path, folder: Path) -> None:
    import torch
    from transformers import AutoConfig, GenerationConfig

    model = _summed(adapter, base)
    dtype = AutoConfig.from_pretrained(base, local_files_only=True).dtype or torch.float32
    model.generation_config = GenerationConfig()  # the base's own, however odd, is taken over below
    if dtype != torch.float32:
        model.save_pretrained(folder / policy.MASTER)
    model.to(dtype).save_pretrained(folder)
    tokenizer = adapter if (adapter / "tokenizer_config.json").is_file() else base
    policy.copy_tokenizer(tokenizer, folder)
    renderer = Renderer(folder)
    policy.write_generation_config(base, folder, renderer.end_of_turn_ids)
    own = (adapter / policy.MANIFEST).exists()
    found = (
        policy.read_manifest(adapter)
        if own
        else policy.base_manifest(folder, renderer.tokenizer_digest, renderer.template_digest)
    )
    master = policy.weights_digest(folder / policy.MASTER) if dtype != torch.float32 else None
    whole = dataclasses.replace(
        found, kind="full", base=None, base_digest=None, weights_digest=policy.weights_digest(folder), master_digest=master
    )
    policy.write_manifest(folder, whole)


def _summed(adapter: Path, base: Path) -> Any:
    """The base's model in float32 with the adapter added to it."""
    import torch
    from transformers import AutoModelForCausalLM

    try:
        from peft import PeftModel
    except ImportError:
        raise MissingExtra("peft", "train") from None
    try:
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, local_files_only=True)
        return PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    except (OSError, ValueError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"the adapter {adapter} does not fit the model in {base}: {reason}", "name its own base by --base"
        ) from None
