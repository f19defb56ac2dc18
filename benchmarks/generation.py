"""ratoon's vLLM engine beside a bare `LLM.generate`, as vLLM starts it and in one process, in turn A/B/C/A/B/C.

Every side gets a process of its own in every round, since the default engine's scheduler spins while it waits and would slow
its neighbours. All get the same prompts, the same SamplingParams, log-probs included, and replies of one fixed length; ours is
asked by several shard threads at once, and once more with replies of unlike lengths, as real ones are. Bars on a CPU: at least
1.2 of the default's tokens/s and .97 of those in one process; and, once full, never fewer running requests than half of
`max_num_seqs` until the last shard is asked.

    python benchmarks/generation.py [--rounds 2] [--max-num-seqs 64] [--prompts 256] [--tokens 32] [--shards 4] [--threads 2]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any

from ratoon.engine import Completion, Policy, Request, Sampling
from ratoon.generators.engines import child, vllm_process
from ratoon.generators.engines.vllm import VllmConfig, VllmEngine
from ratoon.sft.models import smollm2

POLICY_ID = "m_bench"
SIDES = ("default", "one process", "ratoon")
BARS = {"default": 1.2, "one process": 0.97}
BAR_RUNNING = 0.5


def main() -> int:
    options = _options()
    if options.side:
        print(json.dumps(_measure(options)), flush=True)
        os._exit(0)  # vLLM's own way out may hang
    print(f"{date.today()}  {_machine()}  load {os.getloadavg()[0]:.1f}")
    rows: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for number in range(options.rounds):
        for side in SIDES:
            row = _in_a_process(side)
            rows[side].append(row)
            print(f"round {number + 1}, {side}: " + ", ".join(f"{k} {v:.1f}" for k, v in row.items()), flush=True)
    return _verdict(rows, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name, value in {"rounds": 2, "max-num-seqs": 64, "prompts": 256, "tokens": 32, "shards": 4, "threads": 2}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--side", choices=SIDES, help="measure one side in this process and print a line of JSON")
    return parser.parse_args()


def _machine() -> str:
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU {platform.machine()}"
    return f"{device}, {os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}"


def _in_a_process(side: str) -> dict[str, float]:
    """One side measured; the default has the environment that the user has, the other two what ratoon sets."""
    ours = child.variables(str(smollm2.prepare())) | {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    quiet = {"VLLM_LOGGING_LEVEL": "ERROR", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    environment = quiet | (ours if side == "one process" else {}) | dict(os.environ)
    command = [sys.executable, __file__, *sys.argv[1:], "--side", side]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    row: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return row


def _measure(options: argparse.Namespace) -> dict[str, float]:
    prompts = _prompts(options.prompts)
    return _measure_ours(prompts, options) if options.side == "ratoon" else _measure_bare(prompts, options)


def _prompts(n: int) -> list[list[int]]:
    """Random ids, no two alike, so that the prefix cache helps no side."""
    draw = random.Random(0)
    return [[1, *(draw.randrange(100, 40_000) for _ in range(48))] for _ in range(n)]


def _arguments(options: argparse.Namespace) -> dict[str, Any]:
    return {"max_model_len": 512, "max_num_seqs": options.max_num_seqs, "kv_cache_memory_bytes": 1 << 30}


def _sampling(tokens: int) -> Sampling:
    """No stop id, so every reply has `tokens` tokens."""
    return Sampling(temperature=1.0, max_tokens=tokens)


def _measure_bare(prompts: list[list[int]], options: argparse.Namespace) -> dict[str, float]:
    started = time.perf_counter()
    from vllm import LLM
    from vllm.platforms import current_platform

    config = {name: getattr(VllmConfig(), name) for name in ("dtype", "quantization", "logprobs_mode")}
    arguments = vllm_process.engine_arguments(config, _arguments(options), current_platform.is_cpu())
    llm = LLM(**arguments | {"model": str(smollm2.prepare()), "seed": 0})
    loaded = time.perf_counter() - started
    _generate_bare(llm, prompts[: options.max_num_seqs], options.tokens)  # warm
    llm.reset_prefix_cache()
    return {"tokens/s": _generate_bare(llm, prompts, options.tokens), "seconds to load": loaded}


def _generate_bare(llm: Any, prompts: list[list[int]], tokens: int) -> float:
    """Tokens per second."""
    params = vllm_process.sampling_params(Request("", POLICY_ID, (), _sampling(tokens)))
    started = time.perf_counter()
    outputs = llm.generate([{"prompt_token_ids": ids} for ids in prompts], params, use_tqdm=False)
    seconds = time.perf_counter() - started
    assert all(len(output.outputs[0].token_ids) == tokens for output in outputs)
    return len(prompts) * tokens / seconds


def _measure_ours(prompts: list[list[int]], options: argparse.Namespace) -> dict[str, float]:
    lengths = [options.tokens // 4, options.tokens // 2, options.tokens, options.tokens * 2]
    one, two = (Policy(name, str(smollm2.prepare())) for name in (POLICY_ID, f"{POLICY_ID}_2"))
    with VllmEngine(VllmConfig(args=_arguments(options), record_load=True), seed=0) as engine:
        started = time.perf_counter()
        engine.use(one)
        loaded = time.perf_counter() - started
        _generate_ours(engine, one, prompts[: options.max_num_seqs], [options.tokens], options)  # warm
        engine.use(two)  # which empties the prefix cache
        rate, running = _generate_ours(engine, two, prompts, [options.tokens], options)
        engine.use(one)
        unlike, lowest = _generate_ours(engine, one, prompts, lengths, options)
    return {"tokens/s": rate, "seconds to load": loaded, "unlike lengths tokens/s": unlike, "running": min(running, lowest)}


def _generate_ours(
    engine: VllmEngine, policy: Policy, prompts: list[list[int]], lengths: list[int], options: argparse.Namespace
) -> tuple[float, int]:
    """Tokens per second over all shards, and the fewest running requests from the first full step to the last shard's start."""
    before = len(engine.stats())
    size = max(1, len(prompts) // options.shards)
    shards = [range(start, min(start + size, len(prompts))) for start in range(0, len(prompts), size)]
    asked_at: list[float] = []

    def work(shard: range) -> int:
        asked_at.append(time.monotonic())
        requests = [Request(str(i), policy.policy_id, prompts[i], _sampling(lengths[i % len(lengths)])) for i in shard]
        return sum(_checked(completion, lengths) for completion in engine.generate(requests))

    started = time.perf_counter()
    with ThreadPoolExecutor(options.threads) as pool:
        total = sum(pool.map(work, shards))
    rate = total / (time.perf_counter() - started)
    return rate, _lowest(engine.stats()[before:], max(asked_at), options.max_num_seqs)


def _checked(completion: Completion, lengths: list[int]) -> int:
    """The number of tokens, with a log-prob for each."""
    assert completion.error is None
    assert len(completion.logprobs or ()) == len(completion.token_ids)
    assert len(completion.token_ids) in lengths
    return len(completion.token_ids)


def _lowest(load: list[tuple[float, int, int]], last_shard: float, full: int) -> int:
    """The fewest running at once between the first step with half of the slots taken and the last shard's start."""
    first = next((i for i, (_, running, _) in enumerate(load) if running >= full / 2), 0)
    return min((running for at, running, _ in load[first:] if at <= last_shard), default=0)


def _verdict(rows: dict[str, list[dict[str, float]]], options: argparse.Namespace) -> int:
    rates = {side: statistics.mean(row["tokens/s"] for row in rows[side]) for side in SIDES}
    kept = True
    for side, bar in BARS.items():
        ratio = rates["ratoon"] / rates[side]
        kept = kept and ratio >= bar
        print(f"ratoon {rates['ratoon']:.0f} tokens/s, {side} {rates[side]:.0f}: {ratio:.2f} (bar: at least {bar})")
    lowest, half = min(row["running"] for row in rows["ratoon"]), BAR_RUNNING * options.max_num_seqs
    print(f"lowest running until the last shard: {lowest:.0f} of {options.max_num_seqs} (bar: at least {half:.0f})")
    return 0 if kept and lowest >= half else 1


if __name__ == "__main__":
    sys.exit(main())
