"""A recipe: the component configs composed into one run; knows every config, runs nothing.

A recipe is TOML. `load` reads it, applies `--set`s and returns a frozen `Recipe`; a shipped recipe is named without its folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from ratoon.config import Config, added, apply_sets, operational, parse, read_toml, semantic
from ratoon.engine import LogprobsMode, Sampling
from ratoon.errors import ConfigError
from ratoon.filters import FilterConfig
from ratoon.generators.engines import EngineConfig
from ratoon.generators.proposers.catalogue import ProposerConfig
from ratoon.generators.splits import SplitConfig
from ratoon.generators.tasks import TaskConfig
from ratoon.generators.waves import WaveConfig
from ratoon.metrics.embeddings.embed import EmbeddingConfig
from ratoon.metrics.qdc.tiers import TierConfig
from ratoon.metrics.verifier_errors.error_rates import MeasureConfig
from ratoon.metrics.verifiers.appeal import AppealConfig
from ratoon.metrics.verifiers.judge import JudgeConfig
from ratoon.metrics.voting.consensus import ConsensusConfig
from ratoon.pipelines.recipe.budget import BudgetConfig
from ratoon.pipelines.recipe.sections import AuditConfig, CurationConfig, GateConfig
from ratoon.sft.models.base_models import ModelConfig
from ratoon.sft.training.job import TrainConfig
from ratoon.sft.training.nft_gate import MOST_NEGATIVE, bent

SHIPPED = Path(__file__).resolve().parents[2] / "recipes"


class RunConfig(Config):
    """What the run is called, how long it is, and how its work is cut."""

    name: str = Field("run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="name of the run; the folder is runs/<name>")
    seed: int = Field(0, ge=0, description="every other seed is derived from this one by hashing")
    task_seed: int | None = Field(
        None,
        ge=0,
        description="seed of tasks and splits; absent: `seed`. Set it to repeat a run on one frozen evaluation split",
    )
    iterations: int = operational(
        1, ge=0, description="rounds of generate, verify, curate, train, evaluate; 0 only evaluates the base"
    )
    evaluate_every: int = operational(
        1, ge=1, description="rounds between evaluations, for many small rounds; the base and the last round always are"
    )
    shard_size: int = operational(32, ge=1, description="tasks in a shard; frozen at the first start of a run")
    workers: int = operational(4, ge=1, description="shards worked on at once")
    max_failed_share: float = operational(
        0.1, ge=0, le=1, description="share of failed rollouts of a stage beyond which the run stops"
    )

    @model_validator(mode="before")
    @classmethod
    def _without_runner(cls, given: Any) -> Any:
        """Runs of before hold `runner = "local"`, the one value there was."""
        if isinstance(given, dict) and given.get("runner") == "local":
            return {name: value for name, value in given.items() if name != "runner"}
        return given


class SamplingConfig(Config):
    """Every sampling field, explicit; the model's own generation config is never consulted."""

    temperature: float = Field(1.0, ge=0, description="softmax temperature; 0 is greedy")
    top_p: float = Field(1.0, gt=0, le=1, description="nucleus mass; 1 keeps all")
    top_k: int = Field(0, ge=0, description="tokens kept; 0 keeps all")
    min_p: float = Field(0.0, ge=0, le=1, description="least probability relative to the top token")
    presence_penalty: float = Field(0.0, description="penalty on tokens already present")
    frequency_penalty: float = Field(0.0, description="penalty by count of a token")
    repetition_penalty: float = Field(1.0, gt=0, description="multiplicative penalty; 1 is none")
    max_tokens: int = Field(256, ge=1, description="most tokens sampled for one rollout")
    stop_token_ids: tuple[int, ...] = Field((), description="ids that end a rollout; empty means the model's end-of-turn ids")
    logprobs_mode: LogprobsMode = Field(
        "processed_logprobs", description="log-probs of the distribution sampled from, or the raw one"
    )

    def build(self, end_of_turn_ids: tuple[int, ...], chat_template_kwargs: dict[str, Any]) -> Sampling:
        """The engine's Sampling, with the model's end-of-turn ids where no stop ids are given."""
        fields = self.model_dump() | {"stop_token_ids": self.stop_token_ids or end_of_turn_ids}
        return Sampling(**fields, chat_template_kwargs=json.dumps(chat_template_kwargs, sort_keys=True))


class PromptConfig(Config):
    """How a task becomes a conversation."""

    system: str | None = Field(None, description="system prompt put before every task")
    few_shot: tuple[tuple[str, str], ...] = Field((), description="worked examples as (user, assistant) turns before the task")
    chat_template_kwargs: dict[str, str | int | float | bool] = Field({}, description="passed to the chat template")


class GenerateConfig(Config):
    """What each round asks."""

    tasks: int = Field(128, ge=1, description="training tasks asked per round")
    n: int = Field(8, ge=1, description="rollouts per task")
    weights: dict[str, float] = Field({}, description="relative share of each task family; absent families weigh 1")
    mixed_groups: int | None = Field(
        None,
        ge=1,
        description="nft rounds: ask further tasks until so many groups hold right and wrong rollouts; null asks once",
    )
    target_accepted: int | None = operational(
        None, ge=1, description="ask further tasks, more of families that pass more, until so many rollouts are verified"
    )
    max_waves: int = Field(4, ge=1, description="most times a round asks tasks to reach `mixed_groups` or `target_accepted`")
    retry_share: float = Field(
        0.25, ge=0, le=1, description="runs with nft: most of a round's tasks that were never solved when last asked"
    )
    retry_times: int = Field(2, ge=0, description="runs with nft: most times a never solved task is asked again")
    again: tuple[WaveConfig, ...] = added((), description="rules by which a round asks some of its tasks again, each once")


class ProposeConfig(Config):
    """Tasks that the policy proposes at the beginning of each round; without arms none."""

    sampling: SamplingConfig = Field(SamplingConfig(max_tokens=512), description="how proposers are sampled")
    embedding: EmbeddingConfig | None = Field(None, description="model of the vectors by which new tasks are compared too")
    max_cosine: float = Field(0.9, ge=-1, le=1, description="cosine to a task of the pool above which a task is no longer new")
    min_tasks: int = Field(1, ge=0, description="fewest new tasks a round's arms must give together; fewer stop the run")
    arms: tuple[ProposerConfig, ...] = Field((), description="proposers, in the order they are asked")

    @field_validator("arms")
    @classmethod
    def _named_apart(cls, arms: tuple[ProposerConfig, ...]) -> tuple[ProposerConfig, ...]:
        names = [arm.name for arm in arms]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two arms are called {twice[0]!r}; give each its own `name`")
        return arms


class VerifyConfig(Config):
    """How rollouts are verified."""

    workers: int = operational(2, ge=1, description="verifier processes")
    timeout_s: float = Field(5.0, gt=0, description="seconds one verification may take; beyond, its worker is killed")
    thinking: tuple[str, str] | Literal["none"] | None = Field(
        None, description="the tags around a reply's thinking, or \"none\"; null reads them from the tokenizer's own files"
    )
    max_unjudged: float = Field(0.02, ge=0, le=1, description="share of abstain and error beyond which an evaluation is void")
    measure: MeasureConfig = Field(MeasureConfig(), description="verifiers measured on planted replies before a model is asked")
    appeal: AppealConfig | None = Field(
        None, description="a model that is asked about what the rules failed; nobody is without this table"
    )


class SuiteConfig(Config):
    """An evaluation: a split of the tasks, samples per task, and a sampling."""

    split: Literal["eval", "probe", "train"] = Field("eval", description="which tasks")
    n: int = Field(4, ge=1, description="rollouts per task")
    tasks: int | None = Field(None, ge=1, description="at most so many tasks, chosen by hash; null takes all of the split")
    sampling: SamplingConfig = Field(SamplingConfig(temperature=0.7), description="how the suite samples")


class Recipe(Config):
    """One run, whole."""

    run: RunConfig = Field(RunConfig(), description="name, seed, rounds, shards")
    model: ModelConfig = Field(ModelConfig(), description="the base model")
    engine: EngineConfig = Field(EngineConfig(), description="what samples")
    tasks: tuple[TaskConfig, ...] = Field(min_length=1, description="task sources (arms)")
    splits: SplitConfig = Field(SplitConfig(), description="held-out tasks, by problem key")
    prompt: PromptConfig = Field(PromptConfig(), description="system prompt, worked examples, template arguments")
    propose: ProposeConfig = Field(ProposeConfig(), description="tasks that the policy proposes")
    sampling: SamplingConfig = Field(SamplingConfig(), description="how training rollouts are sampled")
    generate: GenerateConfig = Field(GenerateConfig(), description="tasks and rollouts per round")
    verify: VerifyConfig = Field(VerifyConfig(), description="verifier workers and limits")
    consensus: ConsensusConfig | None = Field(None, description="labels by agreement; absent: only verifiers label")
    judge: JudgeConfig | None = Field(None, description="a model that judges the training replies; none without this table")
    filters: tuple[FilterConfig, ...] = Field((), description="curation steps, in order")
    group_filters: tuple[FilterConfig, ...] = Field(
        (), description="curation steps of nft rounds, in order; none: groups stay whole. Kept rollouts are reweighted"
    )
    curation: CurationConfig = Field(CurationConfig(), description="what the numbers that filters read are measured by")
    measure: TierConfig = Field(TierConfig(), description="quality, diversity and complexity of each round and its dataset")
    audit: AuditConfig = Field(AuditConfig(), description="what `ratoon audit` looks at, and the limits of its warnings")
    gate: GateConfig = Field(GateConfig(), description="what refuses a dataset before training, and what is overridden")
    train: TrainConfig = Field(TrainConfig(), description="fine-tuning of each round")
    budget: BudgetConfig = Field(BudgetConfig(), description="what the run may spend, and what tokens cost")
    suites: dict[str, SuiteConfig] = Field(
        {"heldout": SuiteConfig()}, description="evaluations; `heldout` is run on every policy"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if "heldout" not in self.suites:
            raise ValueError("suites needs one called 'heldout': it is run on every policy")
        further = [name for name in ("mixed_groups", "target_accepted") if getattr(self.generate, name) is not None]
        if self.consensus is not None and self.consensus.wave and further:
            raise ValueError(f"consensus.wave asks the same tasks again, generate.{further[0]} others: take one of them out")
        self._asked_again_otherwise()
        if self.keeps_failures and (fields := bent(self.sampling.model_dump())):
            raise ValueError(
                f"train.method nft needs samples of the model's own distribution, and [sampling] sets {', '.join(fields)}"
            )
        if self.keeps_failures and getattr(self.engine.section, "thinking_budget", None) is not None:
            raise ValueError(
                "train.method nft needs samples of the model's own distribution, and the tokens that close thinking at "
                f"engine.{self.engine.kind}.thinking_budget are the server's: take it out"
            )
        if self.keeps_failures and self.verify.appeal is not None:
            raise ValueError("train.method nft labels whole groups by the rules alone: take verify.appeal out")
        if self.keeps_failures and self.consensus is not None:
            self._votes_fit_nft(self.consensus)
        return self

    @property
    def votes_label(self) -> bool:
        """Whether agreement labels, not the golds: then no gold may show."""
        return self.consensus is not None and self.consensus.labels == "consensus"

    @property
    def symbolic_votes(self) -> bool:
        """Whether two replies that differ in writing vote together where they are equal as mathematics."""
        return self.consensus is not None and self.consensus.equivalence == "symbolic"

    @property
    def keeps_failures(self) -> bool:
        """Whether some round learns from wrong replies too: what nobody solved is then kept, to be asked again."""
        return self.train.uses("nft")

    def learns_from_groups(self, iteration: int) -> bool:
        """Whether this round trains on whole groups, right and wrong replies together (nft), not on single replies."""
        return self.train.in_round(iteration).method == "nft"

    def _asked_again_otherwise(self) -> None:
        """Raise ValueError where a rule of `generate.again` could only repeat what the round has asked."""
        if self.generate.again and self.consensus is not None and self.consensus.wave:
            raise ValueError(
                "consensus.wave counts the replies of a task under one sampling: take generate.again out, or set it to 0"
            )
        for rule in self.generate.again:
            if getattr(rule, "temperature", None) == self.sampling.temperature:
                raise ValueError(
                    f"generate.again {rule.kind} has the temperature of [sampling], {rule.temperature}: "
                    "it would ask the same again; give another"
                )

    def _votes_fit_nft(self, consensus: ConsensusConfig) -> None:
        """Raise ValueError on what training would refuse after a round was paid for."""
        if consensus.wave:
            raise ValueError("train.method nft needs whole groups, and consensus.wave stops asking some early: set it to 0")
        weight = self.train.nft.negative_weight
        if self.votes_label and (weight > MOST_NEGATIVE or not consensus.share):
            raise ValueError(
                f"train.method nft on votes pushes the minority, perhaps the truth, down: train.nft.negative_weight is {weight}"
                f", at most {MOST_NEGATIVE}; consensus.share is {consensus.share}, above 0"
            )

    def semantic(self) -> dict[str, Any]:
        """The recipe as plain JSON without operational fields."""
        return semantic(self)


def find(name: str | Path) -> Path:
    """The file of a recipe: a path, or the bare name of one that ships with ratoon."""
    path = Path(name)
    if path.exists() and not path.is_dir():  # a folder called like a shipped recipe does not hide it
        return path
    shipped = SHIPPED / f"{path.stem}.toml"
    if shipped.exists() and path.parent in (Path(), Path("recipes")):
        return shipped
    names = sorted(p.stem for p in SHIPPED.glob("*.toml"))
    raise ConfigError(f"no recipe {str(name)!r}", f"give a path, or one that ships: {', '.join(names)}; or `ratoon init NAME`")


def load(name: str | Path, sets: Iterable[str] = ()) -> Recipe:
    """The recipe of a file with `--set`s applied. Raises ConfigError naming every bad field."""
    path = find(name)
    return parse(Recipe, apply_sets(read_toml(path), sets), str(path))
