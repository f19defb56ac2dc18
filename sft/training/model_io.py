"""Loading the model a job starts from and writing the one it made: full weights, an adapter, or an adapter merged in.

Weights are float32 in training. They are written in the type of the start's own files by default: half the bytes for an
engine to load, and exactly the numbers the engine samples from. A small step is lost in that rounding, so the float32 weights
are kept beside them (`master/`) where the next round goes on from here. Imported only in the training process.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ratoon.errors import MissingExtra, ModelError
from ratoon.render import Renderer
from ratoon.sft.models import policy
from ratoon.sft.training.job import Job, LoraConfig
from ratoon.sft.training.rounding import Cast, cast_to
from ratoon.sft.training.update_kept import update_kept


def load(job: Job, *, sampler: bool = False) -> Any:
    """The start's model in float32, with a trainable adapter where the job wants one. Raises ModelError.

    Its weights are those of the start's master where it has one, or, for a `sampler`, those that engines sampled from.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    adapter = policy.is_adapter(Path(job.start))
    master = None if adapter or sampler else policy.master(Path(job.start))
    source = job.base if adapter else str(master or job.start)
    try:
        attention = job.config.attention or capped_attention(AutoConfig.from_pretrained(source, local_files_only=True))
        model = AutoModelForCausalLM.from_pretrained(
            source, dtype=torch.float32, local_files_only=True, attn_implementation=attention, **_quantized(job)
        )
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(f"cannot load the model in {source}: {error}", "check [model] in the recipe") from None
    if job.config.liger:
        from transformers.integrations.liger import apply_liger_kernel

        # The loss is ours, of chosen positions: without Liger's own, which never makes the logits.
        apply_liger_kernel(model, {"cross_entropy": False, "fused_linear_cross_entropy": False})
    if job.method == "nft":
        without_dropout(model)
    if job.config.lora and job.config.lora.quantize:
        checkpointing = {"use_gradient_checkpointing": job.config.gradient_checkpointing}
        model = _peft().prepare_model_for_kbit_training(model, **checkpointing)
    if adapter:
        model = _peft().PeftModel.from_pretrained(model, job.start, is_trainable=job.config.lora is not None)
        return model if job.config.lora else model.merge_and_unload()
    return _with_adapter(model, job.config.lora) if job.config.lora else model


def _quantized(job: Job) -> dict[str, Any]:
    """How the model is loaded where the job wants 4 bits: NF4 with quantized scales, as in QLoRA (arXiv 2305.14314)."""
    if job.config.lora is None or job.config.lora.quantize is None:
        return {}
    import torch
    from transformers import BitsAndBytesConfig

    computed = torch.bfloat16 if job.config.bf16 and torch.cuda.is_available() else torch.float32
    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=computed
    )
    return {"quantization_config": config}


def capped_attention(config: Any) -> str | None:
    """The attention that computes what the model was trained with; None is the library's own choice.

    Gemma 2 caps its attention logits, which torch's scaled_dot_product_attention leaves out.
    """
    return "eager" if getattr(config, "attn_logit_softcapping", None) is not None else None


def without_dropout(model: Any) -> None:
    """Turn the model's own dropout off, wherever it is kept: under nft it would pass for a change of the policy.

    Its config, which is saved, stays as it is.
    """
    for module in model.modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, float) and ("drop" in name or (name == "p" and "Dropout" in type(module).__name__)):
                setattr(module, name, 0.0)


def _with_adapter(model: Any, config: LoraConfig) -> Any:
    peft = _peft()
    target = config.target_modules if isinstance(config.target_modules, str) else list(config.target_modules)
    try:
        return peft.get_peft_model(model, peft.LoraConfig(
            r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout, target_modules=target, task_type="CAUSAL_LM",
        ))  # fmt: skip
    except ValueError as error:
        raise ModelError(f"no adapter fits the model: {error}", "mend train.lora.target_modules") from None


class Saved(NamedTuple):
    """The kind of policy a folder holds, and the share of the update that its written weights keep, where that is known."""

    kind: Literal["full", "lora"]
    update_kept: float | None


def save(model: Any, job: Job, folder: Path, weights: dict[str, Any] | None = None) -> Saved:
    """Write weights, config and tokenizer into `folder`, unflushed.

    `weights` is the whole state where `model` holds only a shard of it (FSDP).
    """
    import torch
    from transformers import AutoConfig, GenerationConfig

    lora, kept = job.config.lora, None
    source = Path(job.base if policy.is_adapter(Path(job.start)) else job.start)
    stored = AutoConfig.from_pretrained(source, local_files_only=True).dtype or torch.float32
    chosen = job.config.save_dtype
    dtype = stored if chosen == "base" else getattr(torch, chosen)
    cast = cast_to(dtype, job.config.save_rounding)
    if lora is None or lora.merge:
        model = model.merge_and_unload() if lora else model
        kept = _kept(model.state_dict() if weights is None else weights, job, cast)
        model.generation_config = GenerationConfig()  # the start's own, however odd, is taken over below
        if job.master and dtype != torch.float32:
            _write(model, weights, torch.float32, cast_to(torch.float32), folder / policy.MASTER)
        _write(model, weights, dtype, cast, folder)
    else:
        model.peft_config["default"].base_model_name_or_path = None  # a path of this machine; the base is in policy.json
        model.save_pretrained(folder, state_dict=weights)
        (folder / "README.md").unlink(missing_ok=True)
    policy.copy_tokenizer(Path(job.start), folder)
    if lora is None or lora.merge:
        policy.write_generation_config(source, folder, Renderer(Path(job.start)).end_of_turn_ids)
    return Saved("lora" if lora and not lora.merge else "full", kept)


def _kept(trained: Mapping[str, Any], job: Job, cast: Cast) -> float | None:
    """See sft/training/update_kept.py; None for the child of an adapter, whose start lies in no file."""
    start = Path(job.start)
    return None if policy.is_adapter(start) else update_kept(trained, policy.master(start) or start, cast)


def _write(model: Any, weights: dict[str, Any] | None, dtype: Any, cast: Cast, folder: Path) -> None:
    """The model's config and weights in `dtype`, to which `model` itself is cast unless the weights come from outside."""
    if weights is None:
        for name, parameter in model.named_parameters():
            parameter.data = cast(name, parameter.data).to(parameter)  # exact: what is cast again below stays as it is
        model.to(dtype).save_pretrained(folder)
    else:
        model.config.dtype = dtype
        model.save_pretrained(folder, state_dict={name: cast(name, tensor) for name, tensor in weights.items()})


def _peft() -> Any:
    try:
        import peft
    except ImportError:
        raise MissingExtra("peft", "train") from None
    return peft
