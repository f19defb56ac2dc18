"""vLLM, fed by one pump thread; on a GPU or a CPU. The only file that imports vllm.

vLLM's engine core runs in its own process (vLLM's default), so that closing it gives all of the device back and its death is an
error, not the end of the run. New weights of the same architecture are loaded into the running engine and the prefix cache is
reset; another architecture starts a new one. A request never carries a seed: that kills the CPU engine of vLLM 0.32.
"""

from __future__ import annotations

import difflib
import importlib.util
import os
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from ratoon import ids
from ratoon.config import Config, operational, partly_operational
from ratoon.engine import Completion, Policy, Request, failed
from ratoon.errors import EngineDead, EngineError, MissingExtra, Unsupported
from ratoon.generators.engines import folders
from ratoon.generators.engines.child import Reaper, environment, variables, when_one_ends
from ratoon.generators.engines.pump import Pump
from ratoon.generators.engines.requestlog import RequestLog
from ratoon.generators.engines.vllm_args import CPU_ARGS, HOW_FAST
from ratoon.generators.engines.vllm_logprobs import all_per_position, first_per_position
from ratoon.machine import processor

_OURS = ("model", "seed", "dtype", "quantization", "logprobs_mode", "generation_config", "worker_extension_cls")


class VllmConfig(Config):
    """The common arguments by name; the rest of vLLM's engine arguments go into `args`."""

    dtype: str = Field(
        "bfloat16",
        description="of weights and activations: bfloat16 (float32 where a CPU would emulate it), float16, float32, auto",
    )
    quantization: str | None = Field(None, description="vLLM's name of a quantization, for example fp8")
    logprobs_mode: Literal["processed_logprobs", "raw_logprobs"] = Field(
        "processed_logprobs", description="after or before temperature, penalties, top-k and top-p; as [sampling] asks"
    )
    args: dict[str, Any] = partly_operational(
        {}, HOW_FAST, description="any other engine argument of vLLM; in no digest are max_model_len, max_num_seqs, "
        "tensor_parallel_size, enable_lora and others that only say where or how fast",
    )  # fmt: skip
    record_load: bool = operational(False, description="keep how many requests ran and waited after each step, for `stats()`")

    @field_validator("args")
    @classmethod
    def _not_ours(cls, args: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted(set(args) & set(_OURS)):
            raise ValueError(
                f"{', '.join(taken)} cannot be set here; dtype, quantization and logprobs_mode are fields of their own"
            )
        if "hf_token" in args:
            raise ValueError("hf_token would be written down with the recipe; export the environment variable HF_TOKEN instead")
        return args


class VllmEngine:
    """One vLLM engine for all shards; it starts with the first policy and is gone after the `with` block."""

    name = "vllm"

    def __init__(self, config: VllmConfig, seed: int, request_log: Path | None = None) -> None:
        self._log = RequestLog(request_log)
        self._core = _VllmCore(config, seed)
        self._pump = Pump(self._core, self._log)

    def __enter__(self) -> VllmEngine:
        if importlib.util.find_spec("vllm") is None:
            raise MissingExtra("vllm", "cpu")
        return self

    def __exit__(self, *exc: object) -> None:
        self._pump.close()
        self._core.stop()
        self._log.close()

    def use(self, policy: Policy) -> None:
        """Load `policy`'s weights once nothing is in flight. Raises EngineError, ModelError, Unsupported (LoRA not enabled)."""

        def load() -> None:
            self._core.use(policy)
            self._pump.allow_revival()

        self._pump.call(load)

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """Completions as they finish. Raises EngineDead after the second death under one policy."""
        return self._pump.generate(requests)

    def logprobs(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        """Log-probs of each completion given its prompt, at temperature 1, by one prefill each."""
        return self._pump.call(lambda: self._core.score(sequences))

    def stats(self) -> list[tuple[float, int, int]]:
        """(monotonic seconds, running, waiting) after each step, where `record_load` is on."""
        return list(self._core.load)

    def pids(self) -> list[int]:
        """The processes of the running engine, without their children."""
        return [process.pid for process in self._core.processes()]


class WorkerExtension:
    """Mixed into vLLM's worker, in its process, by the engine argument `worker_extension_cls`."""

    def ratoon_reload(self, folder: str) -> None:
        """vLLM's own reload, and what it forgets on a CPU: an output head tied to the embedding keeps its old packed copy."""
        worker: Any = self
        worker.reload_weights(weights_path=folder)
        for module in worker.model_runner.get_model().modules():
            if hasattr(module, "cpu_linear") and type(module).__name__ == "ParallelLMHead":
                module.quant_method.process_weights_after_loading(module)


class _VllmCore:
    """The engine that the pump drives; every method but `processes` on the pump's thread."""

    def __init__(self, config: VllmConfig, seed: int) -> None:
        self._config, self._seed, self._starts = config, seed, 0
        self._llm: Any = None
        self._policy: Policy | None = None
        self._weights = ""  # the folder whose weights are loaded
        self._adapters: dict[str, int] = {}
        self._max_len = self._window = 0
        self._broken = False
        self._asked: dict[str, Request] = {}
        self._reaper: Reaper | None = None
        self.load: list[tuple[float, int, int]] = []

    # -- life ------------------------------------------------------------------------------------------------------

    def use(self, policy: Policy) -> None:
        if policy.kind == "lora" and not self._config.args.get("enable_lora"):
            raise Unsupported(
                f"the engine was not started for adapters, and {policy.policy_id} is one",
                "set engine.vllm.args.enable_lora = true, or train.lora.merge = true",
            )
        weights = folders.weights(policy)
        before, self._policy = self._policy, None  # until it is loaded, nobody is answered
        if self._llm is None or self._broken or folders.shape(weights) != folders.shape(self._weights):
            self._start(weights, policy.policy_id)
        elif weights != self._weights or policy != before:
            self._reload(weights, policy.policy_id)
        self._policy = policy

    def revive(self) -> None:
        self._start(self._weights, self._policy.policy_id if self._policy else "")

    def stop(self) -> None:
        """Give the device back; what vLLM says while it goes is of no use to anyone."""
        llm, self._llm = self._llm, None
        if llm is not None:
            with suppress(Exception):
                llm.engine_core.shutdown()
        if self._reaper is not None:
            self._reaper.dismiss()
            self._reaper = None

    def processes(self) -> list[Any]:
        manager = getattr(getattr(self._llm and self._llm.engine_core, "resources", None), "engine_manager", None)
        return list(getattr(manager, "processes", ()))

    def _start(self, weights: str, policy_id: str) -> None:
        self.stop()
        self._starts += 1
        engine_args, llm_engine = _import_vllm()
        seed = ids.derive_seed(self._seed, "engine", f"{policy_id}/{self._starts}") >> 32  # numpy takes 32 bits
        args = self._args(engine_args) | {"model": weights, "seed": seed}
        self._reaper = Reaper()
        try:
            with environment(variables(weights) | self._reaper.mark):
                self._llm = llm_engine.from_engine_args(engine_args(**args), stat_loggers=self._stat_loggers())
        except Exception as error:
            self.stop()
            raise EngineError(
                f"vLLM did not start: {_first_line(error)}", "mend [engine.vllm] args; see `ratoon doctor`"
            ) from error
        self._broken, self._weights, self._asked = False, weights, {}
        self._max_len = self._llm.model_config.max_model_len
        self._window = 2 * self._llm.vllm_config.scheduler_config.max_num_seqs
        self._guard()

    def _args(self, engine_args: Any) -> dict[str, Any]:
        """Every argument of ours, over the user's, over the defaults for a CPU. Raises EngineError on an unknown name."""
        from vllm.platforms import current_platform

        known = engine_args.__dataclass_fields__
        for name in self._config.args:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                raise EngineError(
                    f"vLLM has no engine argument {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
                    "mend [engine.vllm] args",
                )
        ours = {name: getattr(self._config, name) for name in ("dtype", "quantization", "logprobs_mode")}
        cpu = CPU_ARGS if current_platform.is_cpu() else {}
        ours["dtype"] = processor.computed_in(self._config.dtype, on_cpu=bool(cpu))
        stats = {"disable_log_stats": not self._config.record_load}
        common = {"enable_prefix_caching": True, "use_tqdm_on_load": False} | stats
        fixed = {"generation_config": "vllm", "worker_extension_cls": f"{__name__}.{WorkerExtension.__name__}"}
        return common | cpu | self._config.args | ours | fixed

    def _stat_loggers(self) -> list[Any] | None:
        if not self._config.record_load:
            return None
        from vllm.v1.metrics.loggers import StatLoggerBase

        load = self.load

        class Recorder(StatLoggerBase):
            def __init__(self, vllm_config: Any, engine_index: int = 0) -> None: ...

            def record(
                self, scheduler_stats: Any, iteration_stats: Any, mm_cache_stats: Any = None, engine_idx: int = 0
            ) -> None:
                if scheduler_stats is not None:
                    load.append((time.monotonic(), scheduler_stats.num_running_reqs, scheduler_stats.num_waiting_reqs))

            def log_engine_initialized(self) -> None: ...

        return [Recorder]

    def _reload(self, weights: str, policy_id: str) -> None:
        """New weights into the running engine; a failure half-way leaves no usable engine, so start another."""
        if weights != self._weights:
            try:
                self._llm.collective_rpc("ratoon_reload", args=(weights,))
            except Exception:
                self._start(weights, policy_id)
                return
            self._weights = weights
        self._llm.reset_prefix_cache()

    def _guard(self) -> None:
        """vLLM's synchronous client never notices that the engine's process was killed."""
        client, processes = self._llm.engine_core, self.processes()
        if not processes:
            return

        def tell() -> None:
            error = EngineError("vLLM's engine process ended")
            client.outputs_queue.put_nowait(error)
            for future in list(client.utility_results.values()):
                with suppress(Exception):
                    future.set_exception(error)

        when_one_ends(processes, tell)

    # -- sampling --------------------------------------------------------------------------------------------------

    def window(self) -> int:
        return self._window or 1

    def send(self, key: str, request: Request) -> Completion | None:
        if refusal := self._refusal(request):
            return failed(request, *refusal)
        prompt = {"prompt_token_ids": [*request.prompt_token_ids, *(request.prefix_token_ids or ())]}
        try:
            self._add(key, prompt, _sampling_params(request))
        except (ValueError, TypeError, NotImplementedError) as error:
            return failed(request, "BadRequest", _first_line(error))
        self._asked[key] = request
        return None

    def _add(self, key: str, prompt: dict[str, Any], params: Any) -> None:
        try:
            self._llm.add_request(key, prompt, params, lora_request=self._lora())
        except Exception as error:
            self._broken = self._broken or not isinstance(error, ValueError | TypeError | NotImplementedError)
            raise

    def _refusal(self, request: Request) -> tuple[str, str] | None:
        """Error class and message of a request that is not sent."""
        if self._policy is None or request.policy_id != self._policy.policy_id:
            return "WrongPolicy", f"asked for {request.policy_id}, in use is {self._policy and self._policy.policy_id}"
        mode = request.sampling.logprobs_mode
        if mode not in ("none", self._config.logprobs_mode):
            return "Unsupported", f"the engine gives {self._config.logprobs_mode}, not {mode}; set engine.vllm.logprobs_mode"
        n = len(request.prompt_token_ids) + len(request.prefix_token_ids or ())
        if n + request.sampling.max_tokens > self._max_len:
            return "PromptTooLong", (
                f"{n} prompt tokens and {request.sampling.max_tokens} new ones exceed the context of {self._max_len}; "
                "raise engine.vllm.args.max_model_len or lower sampling.max_tokens"
            )
        return None

    def _lora(self) -> Any:
        if self._policy is None or self._policy.kind != "lora":
            return None
        from vllm.lora.request import LoRARequest

        number = self._adapters.setdefault(self._policy.policy_id, len(self._adapters) + 1)
        return LoRARequest(self._policy.policy_id, number, self._policy.path)

    def step(self) -> list[tuple[str, Completion]]:
        done = []
        for output in self._step():
            if output.finished and (request := self._asked.pop(output.request_id, None)) is not None:
                done.append((output.request_id, _completion(request, output.outputs[0])))
        return done

    def _step(self) -> list[Any]:
        try:
            return list(self._llm.step())
        except Exception:
            self._broken = True
            raise

    def abort(self, keys: list[str]) -> None:
        for key in keys:
            self._asked.pop(key, None)
        self._llm.abort_request(keys)

    def score(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        """Prompt log-probs come from the raw logits, so temperature plays no part."""
        if self._llm is None or self._broken:
            raise EngineDead("the engine has no policy loaded", "call use(policy) first")
        scores: dict[str, list[float]] = {}
        for i, (prompt, completion) in enumerate(sequences):
            if len(prompt) + len(completion) >= self._max_len:
                raise EngineError(
                    f"sequence {i} has {len(prompt) + len(completion)} tokens, one short of {self._max_len} is the most",
                    "raise engine.vllm.args.max_model_len",
                )
        for i, (prompt, completion) in enumerate(sequences):
            self._add(f"score-{i}", {"prompt_token_ids": [*prompt, *completion]}, _scoring_params())
        while len(scores) < len(sequences):
            for output in self._step():
                if output.finished:
                    scores[output.request_id] = first_per_position(output.prompt_logprobs)
        return [scores[f"score-{i}"][len(prompt) - 1 :] for i, (prompt, _) in enumerate(sequences)]


def _import_vllm() -> tuple[Any, Any]:
    """EngineArgs and LLMEngine, imported as quietly as vLLM can be; what it logs is the user's choice by environment."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from vllm.engine.arg_utils import EngineArgs
            from vllm.v1.engine.llm_engine import LLMEngine
        except ImportError as error:
            raise EngineError(f"vLLM cannot be imported: {error}", "see `ratoon doctor`") from error
    return EngineArgs, LLMEngine


def _sampling_params(request: Request) -> Any:
    """Every field that changes what is sampled, so that no default of vLLM or of the model's folder speaks.

    `ignore_eos` with explicit stop ids: the ids alone stop, and the sampled end-of-turn id stays in the token ids.
    """
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    sampling, schema = request.sampling, request.schema
    return SamplingParams(
        n=1, temperature=sampling.temperature, top_p=sampling.top_p, top_k=sampling.top_k, min_p=sampling.min_p, seed=None,
        presence_penalty=sampling.presence_penalty, frequency_penalty=sampling.frequency_penalty,
        repetition_penalty=sampling.repetition_penalty, max_tokens=sampling.max_tokens, min_tokens=0,
        stop=None, stop_token_ids=list(sampling.stop_token_ids), ignore_eos=True, bad_words=None, logit_bias=None,
        logprobs=None if sampling.logprobs_mode == "none" else request.top_logprobs, prompt_logprobs=None, flat_logprobs=True,
        detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY,
        structured_outputs=None if schema is None else StructuredOutputsParams(json=schema),
    )  # fmt: skip


def _scoring_params() -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        temperature=0.0, max_tokens=1, ignore_eos=True, prompt_logprobs=0, flat_logprobs=True, detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )  # fmt: skip


def _completion(request: Request, output: Any) -> Completion:
    if output.finish_reason not in ("stop", "length"):
        return failed(request, "EngineError", f"vLLM ended the request with {output.finish_reason!r}")
    logprobs = None if output.logprobs is None else first_per_position(output.logprobs)
    return Completion(
        request_id=request.request_id, token_ids=tuple(output.token_ids), logprobs=logprobs,
        finish_reason=output.finish_reason, logprob_source=None if logprobs is None else VllmEngine.name,
        prompt_tokens=len(request.prompt_token_ids) + len(request.prefix_token_ids or ()),
        top_logprobs=all_per_position(output.logprobs) if request.top_logprobs and logprobs is not None else None,
    )  # fmt: skip


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
