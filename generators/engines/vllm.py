"""vLLM, fed by one pump thread; on a GPU or a CPU. What imports vllm is its process, `vllm_process.py`.

New weights of the same architecture are loaded into the running engine and the prefix cache is reset; another architecture
starts a new one. A request never carries a seed: that kills the CPU engine of vLLM 0.32.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from ratoon import ids
from ratoon.config import Config, operational, partly_operational
from ratoon.engine import Completion, Policy, Request, failed
from ratoon.errors import EngineDead, EngineError, MissingExtra, Unsupported
from ratoon.generators.engines import folders, vllm_process
from ratoon.generators.engines.child import Reaper, variables
from ratoon.generators.engines.pump import Pump
from ratoon.generators.engines.requestlog import RequestLog
from ratoon.generators.engines.vllm_args import HOW_FAST
from ratoon.generators.engines.vllm_process import ENGINE, Adapter, Message, Started

_OURS = ("model", "seed", "dtype", "quantization", "logprobs_mode", "generation_config", "worker_extension_cls")
_SECONDS_TO_END = 20.0  # vLLM's own processes, where it has some, end in order
_SECONDS_TO_WAIT = 0.02


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

    name = ENGINE

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
        return self._core.pids()


class _VllmCore:
    """The engine that the pump drives: it lives in a process of its own. Every method but `pids` on the pump's thread."""

    def __init__(self, config: VllmConfig, seed: int) -> None:
        self._config, self._seed, self._starts = config, seed, 0
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._reaper: Reaper | None = None
        self._policy: Policy | None = None
        self._weights = ""  # the folder whose weights are loaded
        self._adapters: dict[str, int] = {}
        self._room = Started(0, 0)
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
        if self._connection is None or folders.shape(weights) != folders.shape(self._weights):
            self._start(weights, policy.policy_id)
        elif weights != self._weights:
            self._reload(weights, policy.policy_id)
        elif policy != before:
            self._call("reset")
        self._policy = policy

    def revive(self) -> None:
        self._start(self._weights, self._policy.policy_id if self._policy else "")

    def stop(self) -> None:
        """Give the device back: the process ends with its socket, or is ended."""
        process, self._process = self._process, None
        self._hang_up()
        if process is not None:
            try:
                process.wait(_SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._reaper is not None:
            self._reaper.dismiss()
            self._reaper = None

    def pids(self) -> list[int]:
        return [] if self._process is None else [self._process.pid]

    def _start(self, weights: str, policy_id: str) -> None:
        self.stop()
        self._starts += 1
        seed = ids.derive_seed(self._seed, "engine", f"{policy_id}/{self._starts}") >> 32  # numpy takes 32 bits
        args = {name: getattr(self._config, name) for name in ("dtype", "quantization", "logprobs_mode")}
        self._open(weights)
        try:
            asked = args | {"model": weights, "seed": seed}
            self._room = self._call("start", asked, self._config.args, self._config.record_load)
        except EngineError as error:
            self.stop()
            if error.hint:
                raise
            raise EngineError(f"vLLM did not start: {error.message}", "mend [engine.vllm] args; see `ratoon doctor`") from error
        self._weights = weights

    def _open(self, weights: str) -> None:
        """The process, in a session of its own: Ctrl-C in a terminal is for its parent, which still collects what it asked."""
        self._connection, theirs = Pipe()
        self._reaper = Reaper()
        code = f"from {vllm_process.__name__} import main; main({theirs.fileno()})"
        environment = variables(weights) | dict(os.environ) | self._reaper.mark
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", code], pass_fds=[theirs.fileno()], env=environment,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def _reload(self, weights: str, policy_id: str) -> None:
        """New weights into the running engine; a failure half-way leaves no usable engine, so start another."""
        try:
            self._call("reload", weights)
        except EngineError:
            self._start(weights, policy_id)
        else:
            self._weights = weights

    # -- the process -----------------------------------------------------------------------------------------------

    def _call(self, name: str, *arguments: Any) -> Any:
        """What the process answers. Raises EngineError, without a hint where the message is vLLM's own."""
        self._tell(name, *arguments)
        while True:
            kind, answer = self._hear()
            if kind == "answer":
                return answer
            if kind == "error":
                raise EngineError(*answer)

    def _tell(self, name: str, *arguments: Any) -> None:
        if self._connection is None:
            raise EngineDead("the engine has no policy loaded", "call use(policy) first")
        try:
            self._connection.send((name, arguments))
        except OSError:
            raise self._gone() from None

    def _hear(self) -> Message:
        """The next message but a death, which is raised."""
        if self._connection is None:
            raise EngineError("vLLM's process ended")
        try:
            message: Message = self._connection.recv()
        except (EOFError, OSError):
            raise self._gone() from None
        if message.kind == "died":
            self._hang_up()
            raise EngineError(message.content)
        return message

    def _gone(self) -> EngineError:
        self._hang_up()
        return EngineError("vLLM's process ended")

    def _hang_up(self) -> None:
        if self._connection is not None:
            with suppress(OSError):
                self._connection.send(None)  # a forked process may hold the socket open
            self._connection.close()
            self._connection = None

    # -- sampling --------------------------------------------------------------------------------------------------

    def window(self) -> int:
        return self._room.window or 1

    def send(self, key: str, request: Request) -> Completion | None:
        if refusal := self._refusal(request):
            return failed(request, *refusal)
        self._tell("ask", key, request, self._adapter())
        return None

    def step(self) -> list[tuple[str, Completion]]:
        """What finished, waiting a moment for it: meanwhile other requests may have come in."""
        if self._connection is not None and not self._connection.poll(_SECONDS_TO_WAIT):
            return []
        kind, content = self._hear()
        if kind != "done":
            return []
        done, load = content
        self.load.extend(load)
        return list(done)

    def abort(self, keys: list[str]) -> None:
        self._tell("abort", keys)

    def score(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        for i, (prompt, completion) in enumerate(sequences):
            if self._connection is not None and len(prompt) + len(completion) >= self._room.max_len:
                raise EngineError(
                    f"sequence {i} has {len(prompt) + len(completion)} tokens, one short of {self._room.max_len} is the most",
                    "raise engine.vllm.args.max_model_len",
                )
        scores: list[list[float]] = self._call("score", [(list(p), list(c)) for p, c in sequences], self._adapter())
        return scores

    def _refusal(self, request: Request) -> tuple[str, str] | None:
        """Error class and message of a request that is not sent."""
        if self._policy is None or request.policy_id != self._policy.policy_id:
            return "WrongPolicy", f"asked for {request.policy_id}, in use is {self._policy and self._policy.policy_id}"
        mode = request.sampling.logprobs_mode
        if mode not in ("none", self._config.logprobs_mode):
            return "Unsupported", f"the engine gives {self._config.logprobs_mode}, not {mode}; set engine.vllm.logprobs_mode"
        n = len(request.prompt_token_ids) + len(request.prefix_token_ids or ())
        if n + request.sampling.max_tokens > self._room.max_len:
            return "PromptTooLong", (
                f"{n} prompt tokens and {request.sampling.max_tokens} new ones exceed the context of {self._room.max_len}; "
                "raise engine.vllm.args.max_model_len or lower sampling.max_tokens"
            )
        return None

    def _adapter(self) -> Adapter | None:
        if self._policy is None or self._policy.kind != "lora":
            return None
        number = self._adapters.setdefault(self._policy.policy_id, len(self._adapters) + 1)
        return Adapter(self._policy.policy_id, number, self._policy.path)
