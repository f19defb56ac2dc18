"""The process that holds a vLLM engine, told over a socket what to do. The only file that imports vllm.

A process of its own gives all of the device back when it ends, and its death is an error, not the end of the run. On a CPU of
few cores the engine runs in this very process: vLLM's two further ones would spin on their queue for half a core. It ends when
the socket does, so a parent that is killed leaves no model behind.
"""

from __future__ import annotations

import difflib
import os
import threading
import time
import warnings
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any, Literal, NamedTuple

from ratoon.engine import Completion, Request, failed
from ratoon.errors import EngineError, RatoonError
from ratoon.generators.engines.child import few_cores, when_one_ends
from ratoon.generators.engines.vllm_args import CPU_ARGS
from ratoon.generators.engines.vllm_logprobs import all_per_position, first_per_position
from ratoon.machine import processor

ENGINE = "vllm"
_REFUSALS = (ValueError, TypeError, NotImplementedError)  # what vLLM raises for one bad request
_MANY = ("data_parallel_size", "pipeline_parallel_size", "tensor_parallel_size")


class Message(NamedTuple):
    """From the process: `answer` to a command or its `error`, replies `done`, or that the engine `died` and why."""

    kind: Literal["answer", "error", "done", "died"]
    content: Any


class Started(NamedTuple):
    """What a running engine can hold: tokens of prompt and reply together, requests in flight."""

    max_len: int
    window: int


class Adapter(NamedTuple):
    """A LoRA adapter: its name, its number in this engine, its folder."""

    name: str
    number: int
    folder: str


class Process:
    """The loop: commands in, completions out. Every public method is a command; what it returns is the answer to it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._out: SimpleQueue[Message | None] = SimpleQueue()
        self._llm: Any = None
        self._asked: dict[str, Request] = {}
        self._load: list[tuple[float, int, int]] = []

    def serve(self) -> None:
        """Do what is told until the socket ends or says so; a step that raises ends it too, after its reason was told."""
        sender = threading.Thread(target=self._send, daemon=True)
        sender.start()
        with suppress(EOFError, OSError):
            self._work()
        self._out.put(None)
        sender.join()

    def _send(self) -> None:
        """A thread of its own sends, so that this side always reads: two that both wait for a reader would wait for ever."""
        with suppress(OSError):
            while (message := self._out.get()) is not None:
                self._connection.send(message)

    def _work(self) -> None:
        while True:
            while not self._asked or self._connection.poll():
                if (command := self._connection.recv()) is None:
                    return
                self._obey(*command)
            try:
                done = self._step()
            except Exception as error:
                self._out.put(Message("died", f"{type(error).__name__}: {first_line(error)}"))
                return
            if done or self._load:
                self._tell(done)

    def _obey(self, name: str, arguments: tuple[Any, ...]) -> None:
        try:
            answer = getattr(self, name)(*arguments)
        except RatoonError as error:
            self._out.put(Message("error", (error.message, error.hint)))
            return
        except Exception as error:
            self._out.put(Message("error", (first_line(error), "")))
            return
        if name not in ("ask", "abort"):  # the two that nobody waits for
            self._out.put(Message("answer", answer))

    def _tell(self, done: list[tuple[str, Completion]]) -> None:
        load, self._load[:] = list(self._load), []
        self._out.put(Message("done", (done, load)))

    # -- commands --------------------------------------------------------------------------------------------------

    def start(self, args: dict[str, Any], user_args: dict[str, Any], record_load: bool) -> Started:
        """The engine of `args` over `user_args` over the defaults. Raises EngineError for an argument vLLM does not have."""
        from vllm.platforms import current_platform

        on_cpu = current_platform.is_cpu()
        if on_cpu and few_cores() and all(user_args.get(name, 1) == 1 for name in _MANY):
            os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")  # with it unset vLLM turns `uni` into `mp`
        engine_args, llm_engine = _import_vllm()
        _check_names(user_args, set(engine_args.__dataclass_fields__))
        every = engine_arguments(args, user_args, on_cpu) | {"disable_log_stats": not record_load}
        loggers = [_recorder(self._load)] if record_load else None
        self._llm = llm_engine.from_engine_args(engine_args(**every), stat_loggers=loggers)
        when_one_ends(self._children(), lambda: os._exit(1))  # vLLM's synchronous client never notices that they ended
        scheduler = self._llm.vllm_config.scheduler_config
        return Started(self._llm.model_config.max_model_len, 2 * scheduler.max_num_seqs)

    def reload(self, folder: str) -> None:
        """The weights in `folder`, of the same architecture, and no cached prefix of the old ones."""
        self._llm.collective_rpc("ratoon_reload", args=(folder,))
        self._llm.reset_prefix_cache()

    def reset(self) -> None:
        """No cached prefix."""
        self._llm.reset_prefix_cache()

    def ask(self, key: str, request: Request, adapter: Adapter | None) -> None:
        """Sample for `request`; one that vLLM refuses is done at once, with its error."""
        prompt = [*request.prompt_token_ids, *(request.prefix_token_ids or ())]
        try:
            self._add(key, prompt, sampling_params(request), adapter)
        except _REFUSALS as error:
            self._tell([(key, failed(request, "BadRequest", first_line(error)))])
        else:
            self._asked[key] = request

    def abort(self, keys: list[str]) -> None:
        """Forget these requests."""
        for key in keys:
            self._asked.pop(key, None)
        self._llm.abort_request(keys)

    def score(self, sequences: list[tuple[list[int], list[int]]], adapter: Adapter | None) -> list[list[float]]:
        """Log-probs of each completion given its prompt, from the raw logits, so temperature plays no part."""
        scores: dict[str, list[float]] = {}
        for i, (prompt, completion) in enumerate(sequences):
            self._add(f"score-{i}", [*prompt, *completion], _scoring_params(), adapter)
        while len(scores) < len(sequences):
            for output in self._llm.step():
                if output.finished:
                    scores[output.request_id] = first_per_position(output.prompt_logprobs)
        return [scores[f"score-{i}"][len(prompt) - 1 :] for i, (prompt, _) in enumerate(sequences)]

    # -- vLLM ------------------------------------------------------------------------------------------------------

    def shut_down(self) -> None:
        """End vLLM's own processes, where it has some; what it says while it goes is of no use to anyone."""
        if self._llm is not None:
            with suppress(Exception):
                self._llm.engine_core.shutdown()

    def _children(self) -> list[Any]:
        manager = getattr(getattr(self._llm and self._llm.engine_core, "resources", None), "engine_manager", None)
        return list(getattr(manager, "processes", ()))

    def _add(self, key: str, prompt: list[int], params: Any, adapter: Adapter | None) -> None:
        self._llm.add_request(key, {"prompt_token_ids": prompt}, params, lora_request=_lora(adapter))

    def _step(self) -> list[tuple[str, Completion]]:
        done = []
        for output in self._llm.step():
            if output.finished and (request := self._asked.pop(output.request_id, None)) is not None:
                done.append((output.request_id, _completion(request, output.outputs[0])))
        return done


class WorkerExtension:
    """Mixed into vLLM's worker, in its process, by the engine argument `worker_extension_cls`."""

    def ratoon_reload(self, folder: str) -> None:
        """vLLM's own reload, and what it forgets on a CPU: an output head tied to the embedding keeps its old packed copy."""
        worker: Any = self
        worker.reload_weights(weights_path=folder)
        for module in worker.model_runner.get_model().modules():
            if hasattr(module, "cpu_linear") and type(module).__name__ == "ParallelLMHead":
                module.quant_method.process_weights_after_loading(module)


def engine_arguments(args: dict[str, Any], user_args: dict[str, Any], on_cpu: bool) -> dict[str, Any]:
    """Every argument of ours, over the user's, over the defaults for a CPU."""
    common = {"enable_prefix_caching": True, "use_tqdm_on_load": False}
    fixed = {"generation_config": "vllm", "worker_extension_cls": f"{WorkerExtension.__module__}.{WorkerExtension.__name__}"}
    dtype = {"dtype": processor.computed_in(args["dtype"], on_cpu=on_cpu)}
    return common | (CPU_ARGS if on_cpu else {}) | user_args | args | dtype | fixed


def first_line(error: Exception) -> str:
    """What a message of vLLM's says before its details."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def sampling_params(request: Request) -> Any:
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


def _check_names(user_args: dict[str, Any], known: set[str]) -> None:
    for name in user_args:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise EngineError(
                f"vLLM has no engine argument {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
                "mend [engine.vllm] args",
            )


def _recorder(load: list[tuple[float, int, int]]) -> Any:
    """A logger of vLLM's that adds (monotonic seconds, running, waiting) to `load` after each step."""
    from vllm.v1.metrics.loggers import StatLoggerBase

    class Recorder(StatLoggerBase):
        def __init__(self, vllm_config: Any, engine_index: int = 0) -> None: ...

        def record(self, scheduler_stats: Any, iteration_stats: Any, mm_cache_stats: Any = None, engine_idx: int = 0) -> None:
            if scheduler_stats is not None:
                load.append((time.monotonic(), scheduler_stats.num_running_reqs, scheduler_stats.num_waiting_reqs))

        def log_engine_initialized(self) -> None: ...

    return Recorder


def _lora(adapter: Adapter | None) -> Any:
    if adapter is None:
        return None
    from vllm.lora.request import LoRARequest

    return LoRARequest(*adapter)


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
        finish_reason=output.finish_reason, logprob_source=None if logprobs is None else ENGINE,
        prompt_tokens=len(request.prompt_token_ids) + len(request.prefix_token_ids or ()),
        top_logprobs=all_per_position(output.logprobs) if request.top_logprobs and logprobs is not None else None,
    )  # fmt: skip


def main(fd: int) -> None:
    """Serve the socket `fd` until its other end is gone."""
    process = Process(Connection(fd))
    process.serve()
    process.shut_down()
    os._exit(0)  # torch's own way out takes a second, and there is nothing to save
