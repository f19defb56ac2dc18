"""Which policies a server serves: by its list of models or, where a router cannot give one, by a reply of one token.

A router in front of several servers may answer `/models` with 500 as long as one of them is down; what counts is whether it
answers for the policy. Agents beside the servers (`ratoon serve`) are told which policy comes next, with the digest that its
weights must have. The served name of a policy is its folder (what `vllm serve FOLDER` calls it) or its policy_id; `model`
is the name of the base (iteration 0) only, so that a trained policy is never mistaken for the model it came from.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ratoon.engine import Policy, Request, Sampling
from ratoon.generators.engines import openai_wire as wire
from ratoon.generators.engines.openai_config import OpenAIConfig
from ratoon.generators.engines.openai_http import HttpClient
from ratoon.generators.engines.openai_wire import Refused

_MODELS_S = 10.0  # a server that is up lists its models at once
_MODELS_BYTES = 16 << 20
_ASK_S = 120.0  # an agent reads all weights before it answers
_MOST_BYTES = 1 << 20


async def served_as(client: HttpClient, config: OpenAIConfig, url: str, policy: Policy) -> tuple[str | None, str]:
    """The name a server has for the policy, null where it does not serve it; and what it serves, in words. Raises Refused."""
    names = _names(policy, config.model)
    try:
        listed = await _models(client, config, url)
    except Refused as error:
        if (error.status or 0) < 500:
            raise
        for name in names:
            if await _answers(client, config, url, name):
                return name, f"{url} answers as {name} and lists no models"
        raise
    return next((name for name in names if name in listed), None), f"{url} serves {', '.join(listed) or 'no model'}"


def how_to_serve(config: OpenAIConfig, policy: Policy) -> str:
    """The commands that serve the policy at the config's addresses, and what else may be amiss."""
    commands = [_command(config, url, policy) for url in config.urls()]
    amiss = "" if policy.iteration else ", or set engine.openai.model to its name there"
    return f"{' ; '.join(commands)}{amiss}; check engine.openai.base_url and api_key_env"


def _command(config: OpenAIConfig, url: str, policy: Policy) -> str:
    parts = urlsplit(url)
    folder = policy.path if policy.kind != "lora" else str(policy.base_path)
    words = ["vllm", "serve", folder, "--served-model-name", policy.policy_id, "--host", parts.hostname or "127.0.0.1"]
    words += ["--port", str(parts.port or 8000), "--logprobs-mode", config.served_logprobs, "--generation-config", "vllm"]
    if policy.kind == "lora":
        words[4] = "base"
        words += ["--enable-lora", "--lora-modules", f"{policy.policy_id}={policy.path}"]
    return shlex.join(words)


def _names(policy: Policy, base_name: str | None) -> Sequence[str]:
    """What a server may call the policy, likeliest first."""
    return [*([base_name] if base_name and policy.iteration == 0 else []), policy.policy_id, policy.path]


async def _models(client: HttpClient, config: OpenAIConfig, url: str) -> list[str]:
    limit = min(config.timeout_s, _MODELS_S)
    listed = await client.send("GET", url + "/models", None, limit, _MODELS_BYTES)
    try:
        return [str(model["id"]) for model in listed["data"]]
    except (KeyError, TypeError):
        raise Refused("Garbage", "no list of models") from None


async def _answers(client: HttpClient, config: OpenAIConfig, url: str, name: str) -> bool:
    """Whether a reply of one token comes under this name."""
    chat = config.mode == "chat"
    messages = ({"role": "user", "content": "Say yes."},)
    request = Request("", "", [1], Sampling(max_tokens=1), messages=messages if chat else None)
    try:
        body = wire.body(config, request, name, 1)
        answer: Any = await client.send("POST", url + wire.PATHS[config.mode], body, config.timeout_s, _MODELS_BYTES)
        wire.choices(answer, 1)
    except Refused:
        return False
    return answer.get("model", name) == name


async def tell(client: HttpClient, config: OpenAIConfig, policy: Policy) -> list[str]:
    """Ask every agent to load a trained policy; how far each is, or why it does not. Asking again is harmless."""
    wish = {"policy_id": policy.policy_id, "path": policy.path, "weights_digest": _digest(policy)}
    if not wish["weights_digest"]:
        return []
    return [await _tell(client, url, json.dumps(wish).encode()) for url in config.agents]


async def _tell(client: HttpClient, url: str, body: bytes) -> str:
    try:
        told: Any = await client.send("POST", f"{url}/ratoon/policy", body, _ASK_S, _MOST_BYTES)
        return f"the agent at {url}: {told['state']} {told['reason']}".strip()
    except Refused as error:
        return f"the agent at {url}: {error.message}"
    except (KeyError, TypeError):
        return f"the agent at {url} is no `ratoon serve`"


def _digest(policy: Policy) -> str | None:
    """What the policy's own manifest says of its weights; null for a base, which has none."""
    try:
        told = json.loads((Path(policy.path) / "policy.json").read_text(encoding="utf-8"))
        return str(told["weights_digest"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
