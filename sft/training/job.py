"""What to train: the `[train]` config, and the job that one training process carries out. No torch here.

A job is planned where the run is known and carried out in a process of its own (sft/training/launch.py,
sft/training/process.py); it travels as JSON. Starting each round from the base is what STaR (arXiv 2203.14465) and ReST-EM
(arXiv 2312.06585) do; `start = "last"` continues from the newest policy.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from ratoon import ids
from ratoon.config import Config, operational, semantic
from ratoon.engine import Policy
from ratoon.errors import TrainError
from ratoon.sft.data import dataset
from ratoon.sft.training.nft import PromptWeight

Method = Literal["rft", "nft"]
Rounding = Literal["nearest", "stochastic"]
# By the names that transformers' Trainer gives them; "constant" rises over `warmup` first, as "constant_with_warmup" there.
Schedule = Literal[
    "constant", "constant_with_warmup", "linear", "cosine", "cosine_with_restarts", "polynomial", "inverse_sqrt",
    "cosine_with_min_lr", "cosine_warmup_with_min_lr", "warmup_stable_decay",
]  # fmt: skip
Optimizer = Literal[
    "adamw_torch_fused", "adamw_torch", "adafactor", "sgd", "adagrad", "rmsprop", "adamw_8bit", "paged_adamw_8bit",
    "paged_adamw_32bit", "lion_8bit", "lion_32bit", "paged_lion_8bit", "paged_lion_32bit",
]  # fmt: skip
_PLAIN = ("adamw_torch_fused", "adamw_torch", "adafactor", "sgd", "adagrad", "rmsprop")  # the others are bitsandbytes'
# Fields that came after the first policies: at their default they are in no digest.
_LATER = (
    "steps", "keep_moments", "save_rounding", "holdout", "evaluate_every", "optim", "optim_args", "adam_beta1", "adam_beta2",
    "adam_epsilon", "lr_scheduler_kwargs",
)  # fmt: skip
_REPLAY = re.compile(r"replay\((0?\.\d+)\)")


class LoraConfig(Config):
    """`[train.lora]`: train a low-rank adapter instead of all weights (by peft)."""

    rank: int = Field(16, ge=1, description="rank of the adapter")
    alpha: float = Field(32.0, gt=0, description="scale: the adapter counts alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout on the adapter's input")
    target_modules: tuple[str, ...] | Literal["all-linear"] = Field("all-linear", description="modules that get an adapter")
    merge: bool = Field(True, description="write the merged model, which every engine can serve, instead of the adapter")
    quantize: Literal["nf4"] | None = Field(
        None,
        description="QLoRA: hold the weights below the adapter in 4 bits (bitsandbytes, extra `qlora`); needs merge = false",
    )

    @model_validator(mode="after")
    def _merged_are_exact_weights_only(self) -> Self:
        if self.quantize and self.merge:
            raise ValueError(
                "quantize needs merge = false: merged into 4 bits the adapter would be lost in the rounding; "
                "`ratoon merge ADAPTER` merges it into the exact weights"
            )
        return self


class NftConfig(Config):
    """`[train.nft]`: negative-aware fine-tuning (method nft)."""

    prompt_weight: PromptWeight = Field(
        "linear", description="weight of a prompt with pass rate r: one: 1; linear: 1 - r; sqrt: sqrt((1 - r) / r)"
    )
    negative_clip: float = Field(1.0, gt=0, description="least value of the negative policy's ratio; small ones punish harshly")
    negative_weight: float = Field(1.0, ge=0, description="weight of wrong answers beside right ones; 0 leaves them out")
    max_logprob_gap: float = Field(
        0.5,
        gt=0,
        description="nats: rollouts whose log-probs by engine and trainer differ by more, mean over tokens, are dropped",
    )
    max_staleness: int = Field(
        0,
        ge=0,
        description="policies between the one that sampled a group and the one training starts from; older groups are left out",
    )
    assume_on_policy: bool = Field(
        False, description="take rows that name no policy or carry no log-probs as samples of the policy training starts from"
    )


class TrainConfig(Config):
    """`[train]`: how a dataset becomes the next policy."""

    method: Method | tuple[Method, ...] = Field(
        "rft",
        description="rft: cross-entropy on the kept rollouts; nft: right and wrong ones of mixed groups; or a list by round, "
        'whose last repeats: ["rft", "nft"]',
    )
    start: Literal["base", "last"] = Field(
        "base", description="the policy an rft round starts from; nft always starts from the last, which sampled its data"
    )
    data: str = Field("this", description='"this" round\'s dataset, "all" rounds\', or "replay(0.3)": this and 30 % of earlier')
    learning_rate: float = Field(2e-5, gt=0, description="peak learning rate of AdamW")
    epochs: int = Field(2, ge=1, description="passes over the data")
    batch_size: int = Field(16, ge=1, description="examples per optimizer step, over all devices")
    steps: int | None = Field(
        None, ge=1, description="optimizer steps per epoch, to compare methods at equal steps: batch_size then follows"
    )
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the steps over which the learning rate rises")
    schedule: Schedule = Field("constant", description="the learning rate after warm-up; also as `lr_scheduler_type`")
    lr_scheduler_kwargs: dict[str, float | str] = Field({}, description="what the schedule takes besides, by Trainer's names")
    optim: Optimizer = Field(
        "adamw_torch_fused", description="the optimizer; those of 8 bits, 32 bits and pages come from bitsandbytes"
    )
    optim_args: str | None = Field(None, description='what the optimizer takes besides, as Trainer reads it: "key=value,…"')
    adam_beta1: float = Field(0.9, ge=0, lt=1, description="decay of Adam's mean of gradients")
    adam_beta2: float = Field(0.999, ge=0, lt=1, description="decay of Adam's mean of their squares")
    adam_epsilon: float = Field(1e-8, gt=0, description="added to the root of Adam's mean of squares")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's weight decay")
    max_grad_norm: float = Field(1.0, ge=0, description="gradients are scaled down to this norm; 0 never")
    max_length: int = Field(1024, ge=2, description="longer examples (prompt and completion) are left out, never cut")
    holdout: float = Field(
        0.0, ge=0, le=0.5, description="share of the problems that are held out of training to measure its loss on; the best "
        "checkpoint becomes the policy. 0: none, and the last step does",
    )  # fmt: skip
    evaluate_every: int | None = Field(
        None,
        ge=1,
        description="optimizer steps between these measurements, each of which writes a checkpoint; absent: an epoch",
    )
    min_examples: int = Field(8, ge=1, description="a round with fewer examples stops")
    bf16: bool = Field(
        True, description="bfloat16 autocast over float32 weights, where a CPU need not emulate it; false: float32 throughout"
    )
    save_dtype: Literal["base", "float32", "bfloat16", "float16"] = Field(
        "base", description="type of the written weights: the start's own, or another"
    )
    save_rounding: Rounding = Field(
        "nearest",
        description="how weights are written in 16 bits; stochastic: up or down by chance, so that small steps are kept in sum",
    )
    master: bool = operational(
        True,
        description="keep the newest policy's weights in float32 too where the next round starts from it: small steps are lost "
        "in a bfloat16 file; 4 bytes a weight of disk",
    )
    keep_moments: bool = Field(
        False,
        description="keep AdamW's moments with the newest policy, where the next round starts from it, and go on from them; "
        "false: Adam starts anew each round. 8 bytes a weight of disk",
    )
    attention: Literal["eager", "sdpa", "flash_attention_2", "flex_attention"] | None = operational(
        None, description="attention kernel; absent: transformers' choice, eager where the model caps its attention logits"
    )
    lora: LoraConfig | None = Field(None, description="train an adapter; absent: all weights")
    nft: NftConfig = Field(NftConfig(), description="settings of method nft")
    micro_batch_tokens: int = operational(2048, ge=1, description="padded tokens per forward pass; memory, not result")
    packing: bool = operational(
        False, description="examples one behind the other without padding, where the model's attention keeps them apart"
    )
    liger: bool = operational(
        False, description="Liger's Triton kernels for norms, rotary positions and gates (extra `liger`); needs a GPU"
    )
    gradient_checkpointing: bool = operational(False, description="recompute activations: less memory, more time")
    checkpoint_every: int = operational(50, ge=1, description="optimizer steps between checkpoints, from which a kill resumes")
    threads: int = operational(0, ge=0, description="CPU threads; 0: every core this process may use")
    processes: int = operational(0, ge=0, description="training processes (accelerate); 0: one per visible GPU, else one")
    accelerate: str | None = operational(
        None, description="an `accelerate config` file, for FSDP or several machines; it then says how many processes"
    )
    report_to: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = operational((), description="trackers, where installed")

    @field_validator("data")
    @classmethod
    def _data_is_a_known_mix(cls, value: str) -> str:
        if value not in ("this", "all") and not (_REPLAY.fullmatch(value) and (replay_share(value) or 0) > 0):
            raise ValueError('must be "this", "all" or "replay(SHARE)" with 0 < SHARE < 1, such as "replay(0.3)"')
        return value

    @model_validator(mode="after")
    def _nft_trains_without_noise(self) -> Self:
        if self.uses("nft") and self.lora is not None and self.lora.dropout > 0:
            raise ValueError("nft needs lora.dropout = 0: dropout would pass for a change of the policy")
        if self.uses("nft") and self.lora is not None and self.lora.quantize:
            raise ValueError("nft needs the weights that sampled, and lora.quantize rounds them to 4 bits")
        return self

    @model_validator(mode="after")
    def _moments_fit_the_next_rounds_weights(self) -> Self:
        if self.keep_moments and self.lora is not None:
            raise ValueError("keep_moments needs whole weights: the next round's adapter is another one than this round's")
        if self.keep_moments and self.holdout:
            raise ValueError("keep_moments keeps the last step's moments, and holdout may choose an earlier step's weights")
        if self.keep_moments and not self.optim.startswith("adamw_torch"):
            raise ValueError(f"keep_moments keeps those of adamw_torch and adamw_torch_fused; optim is {self.optim!r}")
        return self

    @model_validator(mode="before")
    @classmethod
    def _trainers_name_of_the_schedule(cls, tree: Any) -> Any:
        if isinstance(tree, dict) and "lr_scheduler_type" in tree and "schedule" not in tree:
            return {"schedule" if name == "lr_scheduler_type" else name: value for name, value in tree.items()}
        return tree

    @field_validator("method")
    @classmethod
    def _a_schedule_has_a_first_round(cls, value: Method | tuple[Method, ...]) -> Method | tuple[Method, ...]:
        if not value:
            raise ValueError('a schedule names at least one round, such as ["rft", "nft"]')
        return value

    @property
    def packages(self) -> dict[str, str]:
        """The optional packages that this training needs, each with the extra that brings it."""
        wanted = {"peft": "train"} if self.lora is not None else {}
        if self.optim not in _PLAIN or (self.lora is not None and self.lora.quantize):
            wanted["bitsandbytes"] = "qlora"
        return wanted | ({"liger_kernel": "liger"} if self.liger else {})

    @property
    def methods(self) -> tuple[Method, ...]:
        """The method of each round, the last of which repeats."""
        return (self.method,) if isinstance(self.method, str) else self.method

    @property
    def from_last(self) -> bool:
        """Whether a round of the first method starts from the newest policy, not from the base."""
        return self.start == "last" or self.methods[0] == "nft"

    def uses(self, method: Method) -> bool:
        """Whether any round is trained by `method`."""
        return method in self.methods

    def in_round(self, iteration: int) -> Self:
        """The config of one round (counted from 1), its method resolved: what it does not use is in no digest of its policy."""
        return self.model_copy(update={"method": self.methods[min(iteration, len(self.methods)) - 1]})


def replay_share(data: str) -> float | None:
    """The share in `replay(share)`; None for any other mix."""
    match = _REPLAY.fullmatch(data)
    return float(match[1]) if match else None


@dataclass(frozen=True)
class Job:
    """All that one training process needs; folders are absolute. `datasets` are oldest first, this round's last."""

    policy_id: str
    parent_policy_id: str
    base_policy_id: str
    start: str
    base: str
    datasets: tuple[str, ...]
    dataset_id: str
    dataset_digest: str
    tokenizer_digest: str
    template_digest: str
    config: TrainConfig
    seed: int
    iteration: int
    out: str
    work: str
    log: str
    master: bool = False  # whether float32 weights are kept beside those that engines load
    moments: bool = False  # whether Adam's moments are kept beside them

    @property
    def method(self) -> Method:
        """The method of this one training."""
        return self.config.methods[0]

    def to_json(self) -> str:
        tree = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)} | {
            "config": self.config.model_dump(mode="json")
        }
        return json.dumps(tree, indent=2)

    @staticmethod
    def from_json(text: str) -> Job:
        tree: dict[str, Any] = json.loads(text)
        tree |= {"datasets": tuple(tree["datasets"]), "config": TrainConfig.model_validate(tree["config"])}
        return Job(**tree)


def plan(
    config: TrainConfig, *, root: Path, base: Policy, last: Policy, datasets: Sequence[Path], seed: int, iteration: int,
    tokenizer_digest: str, template_digest: str, out: Path | None = None,
) -> Job:  # fmt: skip
    """The job that makes this round's policy; `datasets` are all rounds' folders, oldest first, this round's last.

    Tokenizer and template are copied from the start, so their digests are the base's. `out` defaults to
    RUN/policies/<policy_id>. Raises TrainError when there is no dataset.
    """
    if not datasets:
        raise TrainError("there is no dataset to train on", "run a round first, or name a dataset folder")
    following, config = config.in_round(iteration + 1), config.in_round(iteration)
    root, used = root.resolve(), [*(datasets[-1:] if config.data == "this" else datasets)]
    infos = [dataset.read_info(folder) for folder in used]
    digests = [info.content_digest for info in infos]
    data_digest = digests[0] if len(digests) == 1 else ids.digest(digests)
    start = last if config.from_last else base
    policy_id = ids.policy_id(start.policy_id, data_digest, identity(config), seed)
    folder = (out or root / "policies" / policy_id).resolve()
    return Job(
        policy_id=policy_id, parent_policy_id=start.policy_id, base_policy_id=base.policy_id, start=_absolute(start.path),
        base=_absolute(base.path), datasets=tuple(_absolute(f) for f in used), dataset_id=infos[-1].dataset_id,
        dataset_digest=data_digest, tokenizer_digest=tokenizer_digest, template_digest=template_digest, config=config,
        seed=seed, iteration=iteration, out=str(folder), work=str(folder.with_name(f".{folder.name}.work")),
        log=str(root / "logs" / f"train-{policy_id}.log"), master=config.master and following.from_last,
        moments=config.keep_moments and following.from_last,
    )  # fmt: skip


def _absolute(path: str | Path) -> str:
    return str(Path(path).resolve())


def identity(config: TrainConfig) -> dict[str, Any]:
    """What the config computes: semantic fields, without those that its one method does not use or that are not set."""
    unused = {"nft"} if config.methods == ("rft",) else set()
    unused |= {name for name in _LATER if getattr(config, name) == TrainConfig.model_fields[name].default}
    tree = {name: value for name, value in semantic(config).items() if name not in unused}
    if config.lora is not None and config.lora.quantize is None:
        tree["lora"].pop("quantize")
    return tree


def config_digest(config: TrainConfig) -> str:
    """The digest of what the config computes, not of where or how fast."""
    return ids.digest(identity(config))
