"""The vLLM engine on the packaged model: what its tokens and log-probs are, new weights, and death."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import pytest

from ratoon.config import parse, semantic
from ratoon.engine import Completion, Policy, Request, Sampling
from ratoon.errors import ConfigError, EngineError, ModelError, Unsupported
from ratoon.generators.engines.child import few_cores
from ratoon.generators.engines.transformers import TransformersConfig, TransformersEngine
from ratoon.generators.engines.vllm import VllmConfig, VllmEngine
from ratoon.metrics.verifiers import judge as judging
from ratoon.render import Renderer

Pairs = list[tuple[Request, Completion]]


def prompts(folder: Path, n: int) -> list[list[int]]:
    return Renderer(folder).render([[{"role": "user", "content": f"What is {i} + {i % 5 + 2}?"}] for i in range(n)])


def ask(engine: VllmEngine, policy: Policy, folder: Path, n: int, sampling: Sampling, tag: str = "r") -> Pairs:
    asked = {f"{tag}{i}": Request(f"{tag}{i}", policy.policy_id, ids, sampling) for i, ids in enumerate(prompts(folder, n))}
    return [(asked[c.request_id], c) for c in engine.generate(asked.values())]


def sequences(pairs: Pairs) -> list[tuple[Sequence[int], Sequence[int]]]:
    return [(request.prompt_token_ids, completion.token_ids) for request, completion in pairs]


def difference(pairs: Pairs, scores: list[list[float]]) -> float:
    """Mean |Δ log-prob| over all tokens."""
    return fmean(
        abs(a - b) for (_, c), row in zip(pairs, scores, strict=True) for a, b in zip(c.logprobs or (), row, strict=True)
    )


def rescored(policy: Policy, pairs: Pairs) -> list[list[float]]:
    with TransformersEngine(TransformersConfig(batch_size=8), seed=0) as judge:
        judge.use(policy)
        return judge.logprobs(sequences(pairs))


@pytest.fixture(scope="module")
def base(smollm2: Path) -> Policy:
    return Policy("m_base", str(smollm2))


@pytest.fixture(scope="module")
def other(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Policy:
    """The same model with larger embeddings, to which its output head is tied, and a little noise."""
    import torch
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("other") / "model"
    model = AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.bfloat16)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weights in model.parameters():
            weights += 0.01 * weights.std() * torch.randn(weights.shape, generator=generator).to(weights.dtype)
        model.get_input_embeddings().weight *= 1.3
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(smollm2 / name, folder / name)
    return Policy("m_other", str(folder), 1, "full")


def test_an_argument_that_has_a_field_of_its_own_is_refused_in_args() -> None:
    with pytest.raises(ConfigError, match="seed cannot be set here"):
        parse(VllmConfig, {"args": {"seed": 1}}, "recipe")


def test_arguments_that_change_what_is_sampled_are_in_the_digest_and_those_of_speed_are_not() -> None:
    plain = semantic(VllmConfig())
    assert semantic(VllmConfig(args={"max_model_len": 256, "max_num_seqs": 128, "tensor_parallel_size": 2})) == plain
    for args in ({"hf_overrides": {"rope_theta": 1.0}}, {"kv_cache_dtype": "fp8"}, {"speculative_config": {"n": 2}}):
        assert semantic(VllmConfig(args={"max_num_seqs": 8, **args})) == plain | {"args": args}


def test_a_token_of_the_hub_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError, match="HF_TOKEN") as caught:
        parse(VllmConfig, {"args": {"hf_token": "hf_secret"}}, "recipe")
    assert "secret" not in str(caught.value)


def test_a_folder_without_a_model_is_refused_before_vllm_starts(tmp_path: Path) -> None:
    with VllmEngine(VllmConfig(), seed=0) as engine, pytest.raises(ModelError, match=r"config\.json is missing"):
        engine.use(Policy("m_none", str(tmp_path)))


def test_an_adapter_is_refused_where_the_engine_was_not_told_of_adapters(tmp_path: Path) -> None:
    with VllmEngine(VllmConfig(), seed=0) as engine, pytest.raises(Unsupported, match="not started for adapters"):
        engine.use(Policy("m_lora", str(tmp_path), 1, "lora", base_path=str(tmp_path)))


@pytest.mark.slow
def test_an_unknown_engine_argument_is_refused_with_the_nearest_name(base: Policy) -> None:
    with VllmEngine(VllmConfig(args={"max_num_seq": 4}), seed=0) as engine, pytest.raises(EngineError, match="max_num_seqs"):
        engine.use(base)


@pytest.mark.slow
def test_a_transformers_rescore_of_twenty_rollouts_agrees(vllm_engine: VllmEngine, base: Policy, smollm2: Path) -> None:
    vllm_engine.use(base)
    pairs = ask(vllm_engine, base, smollm2, 20, Sampling(max_tokens=24, stop_token_ids=(2,)))
    assert difference(pairs, rescored(base, pairs)) < 0.05
    assert difference(pairs, vllm_engine.logprobs(sequences(pairs))) < 0.05


@pytest.mark.slow
def test_log_probs_are_those_of_the_distribution_sampled_from(vllm_engine: VllmEngine, base: Policy, smollm2: Path) -> None:
    vllm_engine.use(base)
    only = ask(vllm_engine, base, smollm2, 4, Sampling(max_tokens=8, top_k=1, stop_token_ids=(2,)))
    assert all(abs(value) < 1e-3 for _, c in only for value in c.logprobs or ()), "one token to choose from has log-prob 0"
    cold = ask(vllm_engine, base, smollm2, 8, Sampling(temperature=0.5, max_tokens=12, stop_token_ids=(2,)))
    assert difference(cold, vllm_engine.logprobs(sequences(cold))) > 0.05, "at temperature 1 they are others"


@pytest.mark.slow
def test_new_weights_answer_and_no_cached_prefix_of_the_old_ones_does(
    vllm_engine: VllmEngine, base: Policy, other: Policy, smollm2: Path
) -> None:
    sampling = Sampling(max_tokens=16, stop_token_ids=(2,))
    vllm_engine.use(base)
    old = ask(vllm_engine, base, smollm2, 12, sampling)
    vllm_engine.use(other)
    new = ask(vllm_engine, other, smollm2, 12, sampling)
    assert difference(new, rescored(other, new)) < 0.07, "every layer is new, the tied output head too"
    assert difference(old, vllm_engine.logprobs(sequences(old))) > 0.1, "the new weights think otherwise of the old replies"
    vllm_engine.use(base)
    assert difference(old, vllm_engine.logprobs(sequences(old))) < 0.05, "and the old ones come back as they were"


@pytest.mark.slow
def test_what_is_decoded_is_the_text_and_the_prefix_is_no_part_of_it(
    vllm_engine: VllmEngine, base: Policy, smollm2: Path
) -> None:
    renderer = Renderer(smollm2)
    vllm_engine.use(base)
    schema = '{"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}'
    prompt, prefix = prompts(smollm2, 1)[0], renderer.encode('{"sum"')
    asked = Request("json", base.policy_id, prompt, Sampling(max_tokens=40, stop_token_ids=(2,)), schema=schema)
    led = Request("led", base.policy_id, prompt, Sampling(max_tokens=4, stop_token_ids=(2,)), prefix_token_ids=prefix)
    done = {c.request_id: c for c in vllm_engine.generate([asked, led])}
    assert renderer.decode(done["json"].token_ids).lstrip().startswith("{")
    assert done["led"].prompt_tokens == len(prompt) + len(prefix)
    assert len(done["led"].token_ids) <= 4


@pytest.mark.slow
def test_on_few_cores_of_a_cpu_the_engine_is_one_process(vllm_engine: VllmEngine, base: Policy) -> None:
    if not few_cores() or any(Path("/dev").glob("nvidia[0-9]*")):
        pytest.skip("vLLM has processes of its own on a GPU and on many cores")
    vllm_engine.use(base)
    (pid,) = vllm_engine.pids()
    assert Path(f"/proc/{pid}/task/{pid}/children").read_text() == ""


@pytest.mark.slow
def test_closing_the_engine_ends_its_process(base: Policy, smollm2: Path) -> None:
    config = VllmConfig(args={"max_model_len": 256, "max_num_seqs": 4, "kv_cache_memory_bytes": 1 << 28})
    with VllmEngine(config, seed=0) as engine:
        engine.use(base)
        pids = engine.pids()
        assert len(ask(engine, base, smollm2, 2, Sampling(max_tokens=4, stop_token_ids=(2,)))) == 2
    assert engine.pids() == []
    assert not any(map(alive, pids))


@pytest.mark.slow
def test_an_engine_whose_process_is_killed_is_started_again_and_answers_everything(
    vllm_engine: VllmEngine, base: Policy, smollm2: Path
) -> None:
    vllm_engine.use(base)
    before = vllm_engine.pids()
    assert len(before) == 1
    answers = vllm_engine.generate(
        Request(f"k{i}", base.policy_id, ids, Sampling(max_tokens=32, stop_token_ids=(2,)))
        for i, ids in enumerate(prompts(smollm2, 40))
    )
    first = next(answers)
    threading.Thread(target=lambda: os.kill(before[0], 9)).start()
    rest = list(answers)
    assert {c.request_id for c in [first, *rest]} == {f"k{i}" for i in range(40)}
    assert [c.error for c in rest] == [None] * 39
    assert vllm_engine.pids() != before
    assert not alive(before[0])


def alive(pid: int) -> bool:
    """Whether the process still runs a little later; a zombie does not."""
    for _ in range(50):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return False
        except FileNotFoundError:
            return False
        time.sleep(0.1)
    return True


@pytest.mark.slow
@pytest.mark.real
def test_the_likeliest_ids_of_each_place_hold_the_sampled_one_and_a_judges_digits(
    vllm_engine: VllmEngine, base: Policy, smollm2: Path
) -> None:
    vllm_engine.use(base)
    renderer = Renderer(smollm2)
    asked = judging.messages(judging.JudgeConfig(), "What is 3 + 4?", "It is 7.")
    how = judging.sampling(judging.JudgeConfig(), renderer.end_of_turn_ids)
    request = Request("j", base.policy_id, renderer.render([asked])[0], how, role="judge", top_logprobs=20)
    (found,) = vllm_engine.generate([request])
    assert found.top_logprobs is not None
    assert len(found.top_logprobs) == len(found.token_ids)
    for id, logprob, top in zip(found.token_ids, found.logprobs or (), found.top_logprobs, strict=True):
        assert 20 <= len(top) <= 21
        assert top[id] == logprob
        assert max(top.values()) <= 0.0
    (judgment,) = judging.judge(vllm_engine, renderer, base, [("What is 3 + 4?", "It is 7.")], judging.JudgeConfig())
    assert judgment.status in (None, "abstain")
    assert judgment.value is None or 1 <= judgment.value <= 5
