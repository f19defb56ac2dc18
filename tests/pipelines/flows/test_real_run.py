"""One round of the demo, small, on the real model: what lies in the run folder is what the model said and was taught."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from ratoon import Run
from ratoon.engine import Policy
from ratoon.generators.engines import EngineConfig
from ratoon.generators.engines.transformers import TransformersConfig, TransformersEngine
from ratoon.generators.engines.vllm import VllmEngine
from ratoon.pipelines.runtime import context
from ratoon.render import Renderer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SMALL = ("run.iterations=1", "run.shard_size=8", "generate.tasks=16", "generate.n=4", "splits.eval=2", "splits.probe=1",
         "suites.heldout.n=2", "train.min_examples=1", "train.epochs=1")  # fmt: skip


class Lent:
    """An engine that a run may use but does not close."""

    name = "vllm"

    def __init__(self, engine: VllmEngine) -> None:
        self.use, self.generate, self.logprobs = engine.use, engine.generate, engine.logprobs

    def __enter__(self) -> Lent:
        return self

    def __exit__(self, *exc: object) -> None: ...


@pytest.fixture(scope="module")
def real(
    prefect_here: None, vllm_engine: VllmEngine, training_here: Callable[[], AbstractContextManager[None]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Run:  # fmt: skip
    """The run on the session's vLLM engine: another one would start for a minute."""

    def lend(config: EngineConfig, **_: object) -> Lent:
        assert config.kind == "vllm"
        return Lent(vllm_engine)

    with pytest.MonkeyPatch.context() as patch, training_here():
        patch.setattr(context, "open_engine", lend)
        return Run.start("demo", tmp_path_factory.mktemp("real") / "run", sets=list(SMALL), quiet=True)


def test_each_real_rollout_is_whole_and_ends_its_turn_iff_it_stopped(real: Run, smollm2: Path) -> None:
    renderer = Renderer(smollm2)
    rows = real.store.read("rollouts").to_pylist()
    assert len(rows) == 10 * 2 + 16 * 4 + 10 * 2
    assert {row["finish_reason"] for row in rows} == {"stop", "length"}
    for row in rows:
        assert len(row["token_ids"]) == len(row["logprobs"]) == len(row["loss_mask"])
        assert (row["token_ids"][-1] in renderer.end_of_turn_ids) == (row["finish_reason"] == "stop")
        assert renderer.decode(row["token_ids"]) == row["text"]


def test_the_trainers_kernels_agree_with_the_stored_log_probs(real: Run, smollm2: Path) -> None:
    query = """
        select p.token_ids as prompt, r.token_ids, r.logprobs, r.policy_id
        from rollouts r join prompts p using (prompt_id) join samplings s using (sampling_id)
        where s.temperature = 1 order by rollout_id limit 20"""
    rows = real.sql(query).to_arrow_table().to_pylist()
    assert len(rows) == 20
    with TransformersEngine(TransformersConfig(batch_size=8), seed=0) as judge:
        judge.use(Policy(rows[0]["policy_id"], str(smollm2)))
        again = judge.logprobs([(row["prompt"], row["token_ids"]) for row in rows])
    gaps = [abs(a - b) for row, mine in zip(rows, again, strict=True) for a, b in zip(row["logprobs"], mine, strict=True)]
    assert statistics.mean(gaps) < 0.05


def test_a_real_policy_has_other_weights_and_no_held_out_problem_reached_it(real: Run) -> None:
    policies = real.store.read("policies").to_pylist()
    assert len({row["weights_digest"] for row in policies}) == len(policies) == 2
    held = real.sql("select count(*) as n from examples join tasks using (task_id) where tasks.split <> 'train'")
    assert held.to_arrow_table().to_pylist() == [{"n": 0}]
    assert real.dataset().num_rows > 0
