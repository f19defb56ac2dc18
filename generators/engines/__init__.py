"""The catalogue of engines: one config with a section per kind, and `open_engine`, the only door to them.

Configs are light; an engine's module is imported when that engine is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ratoon.config import Config, operational
from ratoon.engine import Engine
from ratoon.errors import EngineError
from ratoon.generators.engines.openai import OpenAIConfig, OpenAIEngine
from ratoon.generators.engines.scripted import Plant, ScriptedConfig, ScriptedEngine
from ratoon.generators.engines.transformers import TransformersConfig, TransformersEngine
from ratoon.generators.engines.vllm import VllmConfig, VllmEngine
from ratoon.render import Renderer


class EngineConfig(Config):
    """What samples. Only the section that `kind` names is read."""

    kind: Literal["vllm", "openai", "transformers", "scripted"] = Field("vllm", description="which engine")
    keep_open: bool = operational(False, description="keep the engine, and the device it holds, open while a model is trained")
    vllm: VllmConfig = Field(VllmConfig(), description="vLLM in this process, on GPU or CPU")
    openai: OpenAIConfig = Field(OpenAIConfig(), description="a server that speaks OpenAI's protocol")
    transformers: TransformersConfig = Field(TransformersConfig(), description="plain transformers, for machines without vLLM")
    scripted: ScriptedConfig = Field(ScriptedConfig(), description="no model: planted replies")

    @property
    def section(self) -> Config:
        """The config of the kind that was chosen: what else is set changes nothing, so hash this."""
        section: Config = getattr(self, self.kind)
        return section


Opener = Callable[[EngineConfig, int, Renderer | None, Mapping[str, Plant] | None, Path | None], Engine]


def _vllm(config: EngineConfig, seed: int, renderer: Any, plants: Any, request_log: Path | None) -> Engine:
    return VllmEngine(config.vllm, seed, request_log)


def _openai(config: EngineConfig, seed: int, renderer: Any, plants: Any, request_log: Path | None) -> Engine:
    return OpenAIEngine(config.openai, request_log)


def _transformers(config: EngineConfig, seed: int, renderer: Any, plants: Any, request_log: Path | None) -> Engine:
    return TransformersEngine(config.transformers, seed, request_log)


def _scripted(config: EngineConfig, seed: int, renderer: Any, plants: Any, request_log: Path | None) -> Engine:
    if renderer is None or plants is None:
        raise EngineError(
            "the scripted engine needs a renderer and the planted answers", "pass renderer and plants to open_engine"
        )
    return ScriptedEngine(config.scripted, renderer, plants, request_log)


TAKES_SCHEMA = frozenset({"vllm", "openai", "scripted"})  # engines that decode under a request's JSON schema

ENGINES: dict[str, Opener] = {"vllm": _vllm, "openai": _openai, "transformers": _transformers, "scripted": _scripted}


def open_engine(
    config: EngineConfig,
    *,
    seed: int,
    renderer: Renderer | None = None,
    plants: Mapping[str, Plant] | None = None,
    request_log: Path | None = None,
) -> Engine:
    """The engine `config.kind` names, to be used in a `with` block; `seed` is the engine's, never a request's.

    Only `scripted` reads `renderer` and `plants`. `request_log` receives every request id when it is sent.
    """
    return ENGINES[config.kind](config, seed, renderer, plants, request_log)
