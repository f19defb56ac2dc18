"""The transformers engine on a tiny random Llama: batching changes nothing, and the log-probs are those of what was sampled."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ratoon.engine import Policy, Request, Sampling
from ratoon.errors import EngineDead, ModelError
from ratoon.generators.engines.transformers import TransformersConfig, TransformersEngine
from ratoon.sft.models.tiny import make_tiny


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return Policy("m_tiny", str(make_tiny(tmp_path_factory.mktemp("tiny") / "model")))


@pytest.fixture
def engine(policy: Policy) -> Iterator[TransformersEngine]:
    with TransformersEngine(TransformersConfig(batch_size=4, dtype="float32", device="cpu"), seed=5) as opened:
        opened.use(policy)
        yield opened


def requests(n: int, sampling: Sampling) -> list[Request]:
    return [Request(f"r{i}", "m_tiny", list(range(10, 15 + 3 * i)), sampling) for i in range(n)]


def test_log_probs_at_temperature_1_are_what_one_forward_pass_over_each_whole_sequence_gives(engine) -> None:
    asked = {r.request_id: r for r in requests(9, Sampling(max_tokens=6))}
    done = list(engine.generate(asked.values()))
    scores = engine.logprobs([(asked[c.request_id].prompt_token_ids, c.token_ids) for c in done])
    assert len(done) == 9
    for completion, row in zip(done, scores, strict=True):
        assert completion.logprobs == pytest.approx(row, abs=1e-4)


def test_processed_log_probs_are_those_of_the_temperature(engine) -> None:
    (cold,) = engine.generate(requests(1, Sampling(temperature=0.2, max_tokens=20)))
    (row,) = engine.logprobs([(list(range(10, 15)), cold.token_ids)])
    assert sum(cold.logprobs) > sum(row) + 0.5


def test_with_one_token_to_choose_from_its_log_prob_is_0(engine) -> None:
    (only,) = engine.generate(requests(1, Sampling(top_k=1, max_tokens=5)))
    assert only.logprobs == pytest.approx([0.0] * 5, abs=1e-6)


def test_greedy_replies_do_not_depend_on_the_batch(policy: Policy) -> None:
    replies = []
    for size in (1, 5):
        with TransformersEngine(TransformersConfig(batch_size=size, dtype="float32", device="cpu"), seed=0) as engine:
            engine.use(policy)
            done = engine.generate(requests(5, Sampling(temperature=0.0, max_tokens=8)))
            replies.append({c.request_id: tuple(c.token_ids) for c in done})
    assert replies[0] == replies[1]


def test_a_reply_stops_at_a_stop_id_and_keeps_it(engine) -> None:
    (free,) = engine.generate(requests(1, Sampling(temperature=0.0, max_tokens=8)))
    stop = free.token_ids[3]
    (cut,) = engine.generate(requests(1, Sampling(temperature=0.0, max_tokens=8, stop_token_ids=(stop,))))
    assert cut.finish_reason == "stop"
    assert list(cut.token_ids) == list(free.token_ids[: free.token_ids.index(stop) + 1])


def test_a_repetition_penalty_lowers_what_was_seen(engine) -> None:
    (plain,) = engine.generate(requests(1, Sampling(temperature=0.0, max_tokens=12)))
    (varied,) = engine.generate(requests(1, Sampling(temperature=0.0, max_tokens=12, repetition_penalty=5.0)))
    assert len(set(varied.token_ids)) >= len(set(plain.token_ids))
    assert list(varied.token_ids) != list(plain.token_ids)


def test_what_it_cannot_do_fails_alone(engine) -> None:
    good = requests(1, Sampling(max_tokens=2))
    schema = Request("schema", "m_tiny", [1, 2], Sampling(max_tokens=2), schema="{}")
    raw = Request("raw", "m_tiny", [1, 2], Sampling(max_tokens=2, logprobs_mode="raw_logprobs"))
    errors = {c.request_id: (c.error or "").split(":")[0] for c in engine.generate([schema, *good, raw])}
    assert errors == {"r0": "", "schema": "Unsupported", "raw": "Unsupported"}


def test_another_seed_gives_other_samples_and_so_does_another_start(policy: Policy) -> None:
    def sample(seed: int, starts: int) -> list[int]:
        with TransformersEngine(TransformersConfig(device="cpu"), seed=seed) as engine:
            for _ in range(starts):
                engine.use(policy)
            (done,) = engine.generate(requests(1, Sampling(max_tokens=16)))
            return list(done.token_ids)

    assert sample(1, 1) == sample(1, 1)
    assert sample(1, 1) != sample(2, 1)
    assert sample(1, 1) != sample(1, 2)


def test_a_missing_model_and_a_closed_engine_say_so(tmp_path: Path) -> None:
    with TransformersEngine(TransformersConfig(), seed=0) as engine:
        with pytest.raises(ModelError, match=r"config\.json is missing"):
            engine.use(Policy("m_none", str(tmp_path)))
        with pytest.raises(EngineDead, match="no policy"):
            engine.logprobs([([1], [2])])
