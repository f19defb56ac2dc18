"""The catalogue of engines: one config with a section per kind, and `open_engine`, the only door to them.

Configs are light; an engine's library is imported when that engine is opened. Adding one: its file (a frozen config, the
engine), its section and its line here, its test, and its place in the contract's tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field

from ratoon.config import Config, operational
from ratoon.engine import Engine
from ratoon.errors import EngineError
from ratoon.generators.engines.openai import OpenAIEngine
from ratoon.generators.engines.openai_config import OpenAIConfig
from ratoon.generators.engines.scripted import Plant, ScriptedConfig, ScriptedEngine
from ratoon.generators.engines.transformers import TransformersConfig, TransformersEngine
from ratoon.generators.engines.vllm import VllmConfig, VllmEngine
from ratoon.render import Renderer


class EngineConfig(Config):
    """What samples. Only the section that `kind` names is read."""

    kind: Literal["vllm", "openai", "transformers", "scripted"] = Field("vllm", description="which engine")
    keep_open: bool = operational(False, description="keep the engine, and the device it holds, open while a model is trained")
    vllm: VllmConfig = Field(VllmConfig(), description="vLLM, on GPU or CPU")
    openai: OpenAIConfig = Field(OpenAIConfig(), description="a server that speaks OpenAI's protocol")
    transformers: TransformersConfig = Field(TransformersConfig(), description="plain transformers, for machines without vLLM")
    scripted: ScriptedConfig = Field(ScriptedConfig(), description="no model: planted replies")

    @property
    def section(self) -> Config:
        """The config of the kind that was chosen: what else is set changes nothing, so hash this."""
        section: Config = getattr(self, self.kind)
        return section


class Opening(NamedTuple):
    """What an engine is opened with beside its section; only `scripted` reads `plants`, only `openai` writes `live`."""

    seed: int
    request_log: Path | None = None
    renderer: Renderer | None = None
    plants: Mapping[str, Plant] | None = None
    live: Path | None = None


class EngineKind(NamedTuple):
    """A catalogue entry: its section's config, `open(section, opening)`, whether it decodes under a request's JSON schema."""

    config: type[Config]
    open: Callable[[Any, Opening], Engine]
    takes_schema: bool


def _vllm(config: VllmConfig, opening: Opening) -> Engine:
    return VllmEngine(config, opening.seed, opening.request_log)


def _openai(config: OpenAIConfig, opening: Opening) -> Engine:
    vocabulary = None if opening.renderer is None else opening.renderer.vocabulary
    return OpenAIEngine(config, opening.request_log, vocabulary, opening.live)


def _transformers(config: TransformersConfig, opening: Opening) -> Engine:
    return TransformersEngine(config, opening.seed, opening.request_log)


def _scripted(config: ScriptedConfig, opening: Opening) -> Engine:
    if opening.renderer is None or opening.plants is None:
        raise EngineError(
            "the scripted engine needs a renderer and the planted answers", "pass renderer and plants to open_engine"
        )
    return ScriptedEngine(config, opening.renderer, opening.plants, opening.request_log)


ENGINES: dict[str, EngineKind] = {
    "vllm": EngineKind(VllmConfig, _vllm, takes_schema=True),
    "openai": EngineKind(OpenAIConfig, _openai, takes_schema=True),
    "transformers": EngineKind(TransformersConfig, _transformers, takes_schema=False),
    "scripted": EngineKind(ScriptedConfig, _scripted, takes_schema=True),
}


def open_engine(
    config: EngineConfig,
    *,
    seed: int,
    renderer: Renderer | None = None,
    plants: Mapping[str, Plant] | None = None,
    request_log: Path | None = None,
    live: Path | None = None,
) -> Engine:
    """The engine `config.kind` names, to be used in a `with` block; `seed` is the engine's, never a request's.

    Only `scripted` reads `plants`; `openai` takes the size of the vocabulary from
    `renderer`, and tells in the file `live` how its servers do. `request_log` receives every request id when it is sent.
    """
    return ENGINES[config.kind].open(config.section, Opening(seed, request_log, renderer, plants, live))
