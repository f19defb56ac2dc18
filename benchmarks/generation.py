"""vLLM behind ratoon's engine against a bare `LLM.generate`, in turn A/B/A/B in one process.

Both sides get the same prompts, the same SamplingParams, log-probs included, and replies of one fixed length. Ours is asked
by several shard threads at once. Then one pass of ours with replies of unlike lengths, as real ones are. Bars: at least 0.90
of the bare tokens/s, and, once full, never fewer running requests than half of `max_num_seqs` until the last shard is asked.

    python benchmarks/generation.py [--rounds 2] [--max-num-seqs 64] [--prompts 256] [--tokens 32] [--shards 4] [--threads 2]
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

from ratoon.engine import Completion, Policy, Request, Sampling
from ratoon.generators.engines import child
from ratoon.generators.engines import vllm as ours
from ratoon.sft.models import smollm2

POLICY_ID = "m_bench"
BAR_RATIO, BAR_RUNNING = 0.90, 0.5


def main() -> int:
    options = _options()
    folder = smollm2.prepare()
    print(f"{date.today()}  {_machine()}  load {os.getloadavg()[0]:.1f}")
    prompts = _prompts(options.prompts)
    args = {"max_model_len": 512, "max_num_seqs": options.max_num_seqs}
    config = ours.VllmConfig(args=args | {"kv_cache_memory_bytes": 1 << 30}, record_load=True)
    with ours.VllmEngine(config, seed=0) as engine:
        engine.use(Policy(POLICY_ID, str(folder)))
        reaper = child.Reaper()
        bare = _bare(engine, folder, reaper)
        rates: dict[str, list[float]] = {"bare": [], "ratoon": []}
        lowest: list[int] = []
        _time_bare(bare, prompts[: options.max_num_seqs], options.tokens)  # both warm
        _time_ours(engine, prompts[: options.max_num_seqs], [options.tokens], options)
        for number in range(options.rounds):
            rates["bare"].append(_time_bare(bare, prompts, options.tokens))
            rate, running = _time_ours(engine, prompts, [options.tokens], options)
            rates["ratoon"].append(rate)
            lowest.append(running)
            print(
                f"round {number + 1}: bare {rates['bare'][-1]:.0f} tokens/s, ratoon {rate:.0f}; lowest running {running}",
                flush=True,
            )
        bare.llm_engine.engine_core.shutdown()
        reaper.dismiss()
        lengths = [options.tokens // 4, options.tokens // 2, options.tokens, options.tokens * 2]
        rate, running = _time_ours(engine, prompts, lengths, options)
        lowest.append(running)
        print(f"unlike lengths {lengths}: ratoon {rate:.0f} tokens/s; lowest running {running}", flush=True)
    return _verdict(rates, lowest, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name, value in {"rounds": 2, "max-num-seqs": 64, "prompts": 256, "tokens": 32, "shards": 4, "threads": 2}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    return parser.parse_args()


def _machine() -> str:
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU {platform.machine()}"
    return f"{device}, {os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}"


def _prompts(n: int) -> list[list[int]]:
    """Random ids, no two alike, so that the prefix cache helps neither side."""
    draw = random.Random(0)
    return [[1, *(draw.randrange(100, 40_000) for _ in range(48))] for _ in range(n)]


def _bare(engine: ours.VllmEngine, folder: Path, reaper: child.Reaper) -> Any:
    """vLLM's own LLM with the arguments that our engine uses."""
    from vllm import LLM
    from vllm.engine.arg_utils import EngineArgs

    args = engine._core._args(EngineArgs) | {"model": str(folder), "seed": 0, "disable_log_stats": True}
    with child.environment(child.variables(str(folder)) | reaper.mark):
        return LLM(**args)


def _time_bare(llm: Any, prompts: list[list[int]], tokens: int) -> float:
    """Tokens per second."""
    llm.reset_prefix_cache()
    started = time.perf_counter()
    outputs = llm.generate(
        [{"prompt_token_ids": ids} for ids in prompts], ours._sampling_params(_sampling(tokens), None), use_tqdm=False
    )
    seconds = time.perf_counter() - started
    assert all(len(output.outputs[0].token_ids) == tokens for output in outputs)
    return len(prompts) * tokens / seconds


def _sampling(tokens: int) -> Sampling:
    """No stop id, so every reply has `tokens` tokens."""
    return Sampling(temperature=1.0, max_tokens=tokens)


def _time_ours(
    engine: ours.VllmEngine, prompts: list[list[int]], lengths: list[int], options: argparse.Namespace
) -> tuple[float, int]:
    """Tokens per second over all shards, and the fewest running requests from the first full step to the last shard's start."""
    engine._pump.call(engine._core._llm.reset_prefix_cache)
    before = len(engine.stats())
    size = max(1, len(prompts) // options.shards)
    shards = [range(start, min(start + size, len(prompts))) for start in range(0, len(prompts), size)]
    asked_at: list[float] = []

    def work(shard: range) -> int:
        asked_at.append(time.monotonic())
        requests = [Request(str(i), POLICY_ID, prompts[i], _sampling(lengths[i % len(lengths)])) for i in shard]
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


def _verdict(rates: dict[str, list[float]], lowest: list[int], options: argparse.Namespace) -> int:
    ratio = statistics.mean(rates["ratoon"]) / statistics.mean(rates["bare"])
    half = BAR_RUNNING * options.max_num_seqs
    print(f"bare   {statistics.mean(rates['bare']):.0f} tokens/s, ratoon {statistics.mean(rates['ratoon']):.0f} tokens/s")
    print(f"ratio  {ratio:.2f} (bar: at least {BAR_RATIO:.2f})")
    print(f"lowest running until the last shard: {min(lowest)} of {options.max_num_seqs} (bar: at least {half:.0f})")
    return 0 if ratio >= BAR_RATIO and min(lowest) >= half else 1


if __name__ == "__main__":
    sys.exit(main())
