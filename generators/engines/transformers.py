"""Plain transformers: for machines without vLLM, and the judge of another engine's log-probs.

Requests of one sampling are sorted by length and sampled in batches; log-probs are those of the processed scores, at the
sampling temperature. `logprobs` scores with the kernels the trainer uses. One lock around the model: callers take turns.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ratoon import ids
from ratoon.config import Config, operational
from ratoon.engine import Completion, Policy, Request, Sampling, failed
from ratoon.errors import EngineDead, EngineError, MissingExtra, ModelError
from ratoon.generators.engines import folders
from ratoon.generators.engines.requestlog import RequestLog
from ratoon.machine import processor


class TransformersConfig(Config):
    """How the model is held and how many sequences go through it at once."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="of the weights; auto: as they are stored (float32 where a CPU would emulate bfloat16)"
    )
    device: str = operational("auto", description="cpu, cuda, cuda:1 …; auto: a GPU where there is one")
    batch_size: int = operational(32, ge=1, description="sequences sampled or scored together")


class TransformersEngine:
    """Holds one policy's model; seeds differ for every start and policy."""

    name = "transformers"

    def __init__(self, config: TransformersConfig, seed: int, request_log: Path | None = None) -> None:
        self._config, self._seed, self._uses = config, seed, 0
        self._log = RequestLog(request_log)
        self._lock = threading.Lock()
        self._policy: Policy | None = None
        self._model: Any = None
        self._generator: Any = None

    def __enter__(self) -> TransformersEngine:
        _require()
        return self

    def __exit__(self, *exc: object) -> None:
        with self._lock:
            self._unload()
        self._log.close()

    def use(self, policy: Policy) -> None:
        """Load the model in evaluation mode; an adapter is merged in. Raises ModelError."""
        import torch

        with self._lock:
            self._unload()
            device = self._device()
            dtype = processor.computed_in(self._config.dtype, on_cpu=device == "cpu")
            self._model = _load(policy, dtype).to(device).eval()
            self._uses += 1
            seed = ids.derive_seed(self._seed, "engine", f"{policy.policy_id}/{self._uses}")
            self._generator = torch.Generator(device=device).manual_seed(seed)
            self._policy = policy

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Completions batch by batch, shortest prompts first."""
        groups: dict[Sampling, list[Request]] = {}
        for request in requests:
            if refusal := self._refusal(request):
                yield failed(request, *refusal)
            else:
                groups.setdefault(request.sampling, []).append(request)
        for sampling, group in groups.items():
            group.sort(key=lambda request: len(_prompt(request)))
            for start in range(0, len(group), self._config.batch_size):
                yield from self._batch(group[start : start + self._config.batch_size], sampling)

    def logprobs(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        """Log-probs of each completion given its prompt, at temperature 1, in float32 over the model's logits."""
        order = sorted(range(len(sequences)), key=lambda i: len(sequences[i][0]) + len(sequences[i][1]))
        scores: list[list[float]] = [[] for _ in sequences]
        with self._lock:
            if self._model is None:
                raise EngineDead("the engine has no policy loaded", "call use(policy) first")
            for start in range(0, len(order), self._config.batch_size):
                chosen = order[start : start + self._config.batch_size]
                for i, values in zip(chosen, _score(self._model, [sequences[i] for i in chosen]), strict=True):
                    scores[i] = values
        return scores

    def _refusal(self, request: Request) -> tuple[str, str] | None:
        """Error class and message of a request that is not sampled."""
        if self._policy is None or request.policy_id != self._policy.policy_id:
            return "WrongPolicy", f"asked for {request.policy_id}, in use is {self._policy and self._policy.policy_id}"
        sampling, n = request.sampling, len(_prompt(request))
        if n == 0:
            return "BadRequest", "the prompt has no tokens"
        if request.schema is not None or sampling.presence_penalty or sampling.frequency_penalty:
            return "Unsupported", 'JSON schemas, presence and frequency penalties need engine.kind = "vllm"'
        if sampling.logprobs_mode == "raw_logprobs":
            return "Unsupported", "the transformers engine gives processed_logprobs only"
        limit = getattr(self._model.config, "max_position_embeddings", None)
        if limit is not None and n + sampling.max_tokens > limit:
            return "PromptTooLong", (
                f"{n} prompt tokens and {sampling.max_tokens} new ones exceed the context of {limit}; lower sampling.max_tokens"
            )
        return None

    def _batch(self, batch: list[Request], sampling: Sampling) -> list[Completion]:
        for request in batch:
            self._log.sent(request.request_id)
        started = time.monotonic()
        with self._lock:
            if self._model is None:
                raise EngineDead("the engine was closed while requests were under way", "close it after the last reply")
            try:
                rows = _sample(self._model, [_prompt(request) for request in batch], sampling, self._generator)
            except (RuntimeError, ValueError) as error:
                raise EngineError(f"transformers could not sample: {error}", "lower engine.transformers.batch_size") from error
        seconds = time.monotonic() - started
        return [replace(_completion(r, *row), seconds=seconds) for r, row in zip(batch, rows, strict=True)]

    def _device(self) -> str:
        import torch

        return ("cuda" if torch.cuda.is_available() else "cpu") if self._config.device == "auto" else self._config.device

    def _unload(self) -> None:
        if self._model is not None:
            import torch

            self._model = self._generator = self._policy = None
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def _require() -> None:
    try:
        import torch  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as error:
        raise MissingExtra(error.name or "transformers", "train") from None


def _prompt(request: Request) -> list[int]:
    return [*request.prompt_token_ids, *(request.prefix_token_ids or ())]


def _load(policy: Policy, dtype: str) -> Any:
    from transformers import AutoModelForCausalLM

    folder = folders.weights(policy)
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot load the model in {folder}: {error}", "check [model] in the recipe") from None
    return _merged(model, policy.path) if policy.kind == "lora" else model


def _merged(model: Any, adapter: str) -> Any:
    try:
        from peft import PeftModel
    except ImportError:
        raise MissingExtra("peft", "train") from None
    return PeftModel.from_pretrained(model, adapter).merge_and_unload()


def _sample(model: Any, prompts: list[list[int]], sampling: Sampling, generator: Any) -> list[tuple[list[int], list[float]]]:
    """Ids and log-probs of one batch, sampled by hand: HF's `generate` takes no generator and adds defaults of its own.

    Prompts are padded on the left; rows that have stopped go on with a token that is thrown away.
    """
    import torch

    device = model.device
    width = max(map(len, prompts))
    tokens = torch.tensor([[0] * (width - len(p)) + p for p in prompts], device=device)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=device)
    warp = _processors(sampling)
    stops, open_rows = set(sampling.stop_token_ids), set(range(len(prompts)))
    rows: list[tuple[list[int], list[float]]] = [([], []) for _ in prompts]
    seen, cache = tokens, None
    with torch.inference_mode():
        while open_rows:
            positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
            out = model(
                input_ids=tokens,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            cache = out.past_key_values
            scores = torch.log_softmax(warp(seen, mask, out.logits[:, -1].float()), -1)
            tokens = (
                scores.argmax(-1, True)
                if sampling.temperature == 0
                else torch.multinomial(scores.exp(), 1, generator=generator)
            )
            chosen, values = tokens[:, 0].tolist(), scores.gather(1, tokens)[:, 0].tolist()
            for i in list(open_rows):
                rows[i][0].append(chosen[i])
                rows[i][1].append(values[i])
                if chosen[i] in stops or len(rows[i][0]) == sampling.max_tokens:
                    open_rows.discard(i)
            seen = torch.cat([seen, tokens], 1)
            mask = torch.cat([mask, torch.ones_like(tokens)], 1)
    return rows


def _processors(sampling: Sampling) -> Any:
    """(ids, mask, logits) -> processed logits: repetition penalty, temperature, top-k, top-p, min-p, in vLLM's order."""
    from transformers.generation import logits_process as lp

    warpers: list[Any] = []
    if sampling.temperature not in (0.0, 1.0):
        warpers.append(lp.TemperatureLogitsWarper(sampling.temperature))
    if sampling.min_p > 0:
        warpers.append(lp.MinPLogitsWarper(sampling.min_p))
    if sampling.top_k > 0:
        warpers.append(lp.TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        warpers.append(lp.TopPLogitsWarper(sampling.top_p))

    def warp(seen: Any, mask: Any, logits: Any) -> Any:
        if sampling.repetition_penalty != 1:
            logits = _penalised(seen, mask, logits, sampling.repetition_penalty)
        for warper in warpers:
            logits = warper(seen, logits)
        return logits

    return warp


def _penalised(seen: Any, mask: Any, logits: Any, penalty: float) -> Any:
    """Logits of tokens in the prompt or the reply over (under zero: times) the penalty; padding counts for nothing."""
    import torch

    counts = torch.zeros_like(logits).scatter_add_(1, seen, mask.to(logits.dtype))
    return torch.where(counts > 0, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def _completion(request: Request, token_ids: list[int], logprobs: list[float]) -> Completion:
    stopped = token_ids[-1] in request.sampling.stop_token_ids
    none = request.sampling.logprobs_mode == "none"
    return Completion(
        request_id=request.request_id, token_ids=tuple(token_ids), logprobs=None if none else logprobs,
        finish_reason="stop" if stopped else "length", logprob_source=None if none else TransformersEngine.name,
        prompt_tokens=len(_prompt(request)),
    )  # fmt: skip


def _score(model: Any, batch: list[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
    """Padded on the right, as the trainer pads; one forward pass for the batch."""
    import torch

    rows = [[*prompt, *completion] for prompt, completion in batch]
    width = max(map(len, rows))
    tokens = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=model.device)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=model.device)
    with torch.inference_mode():
        logits = model(input_ids=tokens, attention_mask=mask).logits[:, :-1]
        scores = torch.log_softmax(logits.float(), -1).gather(2, tokens[:, 1:, None])[..., 0]
    return [scores[i, len(p) - 1 : len(p) + len(c) - 1].tolist() for i, (p, c) in enumerate(batch)]
