"""NFT in the trainer: old log-probs by its own kernels, gradients, what is measured, dropped and left behind."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pyarrow as pa
import pytest
from safetensors.numpy import load_file

from ratoon.errors import TrainError
from ratoon.sft.data import dataset
from ratoon.sft.models import policy
from ratoon.sft.training import job, launch
from ratoon.sft.training.collate import collate, encode_groups, plan_steps
from ratoon.sft.training.launch import Progress
from ratoon.sft.training.selection import training_rows

if TYPE_CHECKING:
    from ratoon.sft.training.rescore import Rescored

torch = pytest.importorskip("torch")
Rows = Callable[..., pa.Table]
Jobs = Callable[..., job.Job]


def _logprobs(folder: Path, rows: pa.Table, temperature: float = 1.0) -> list[list[float]]:
    """Each row's completion log-probs by the plainest means: one sequence, all logits, float32."""
    from transformers import AutoModelForCausalLM

    model, found = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval(), []
    for prompt, sampled in zip(rows["prompt_token_ids"].to_pylist(), rows["token_ids"].to_pylist(), strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([prompt + sampled])).logits[0, len(prompt) - 1 : -1] / temperature
        found.append(torch.log_softmax(logits, -1)[torch.arange(len(sampled)), torch.tensor(sampled)].tolist())
    return found


@pytest.fixture
def sampled(tiny: Path, group_rows: Rows) -> Rows:
    """`group_rows` with the log-probs that the tiny model gives them."""

    def make(groups: int = 6, temperature: float = 1.0, **changes: Any) -> pa.Table:
        rows = group_rows(groups=groups, temperature=temperature, **changes)
        return group_rows(groups=groups, temperature=temperature, **changes, logprobs=_logprobs(tiny, rows, temperature)).cast(
            rows.schema
        )

    return make


@pytest.fixture
def nft_job(make_job: Jobs, tmp_path: Path) -> Jobs:
    def make(rows: pa.Table, **fields: Any) -> job.Job:
        folder = dataset.write_dataset(tmp_path, "groups", 1, rows, dataset.DatasetInfo("d_nft", "groups", 1))
        return make_job([folder], **({"method": "nft", "bf16": False, "epochs": 1, "batch_size": 8} | fields))

    return make


def _steps(trained: launch.Trained) -> list[dict[str, float]]:
    return [json.loads(line) for line in (trained.folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.usefixtures("trained_here")
def test_training_moves_right_from_wrong_and_leaves_its_measures_and_old_log_probs(sampled: Rows, nft_job: Jobs) -> None:
    rows, seen = sampled(temperature=0.7), list[Progress]()
    trained = launch.train(nft_job(rows, epochs=4), seen.append)
    steps = _steps(trained)
    assert [s["step"] for s in steps] == [p.step for p in seen] == list(range(1, 13))
    assert abs(steps[0]["loss"]) < 1e-5
    assert steps[0]["grad_norm"] > 1e-3
    assert steps[0]["ratio"] == pytest.approx(1, abs=1e-4)
    assert steps[0]["kl"] < 1e-6 < steps[-1]["kl"]
    assert all(s["positives"] == 0.25 and 0 <= s["clip_fraction"] <= 1 and 0 < s["entropy"] < math.log(259) for s in steps)
    tables = launch.records(trained.folder)
    by_id = {r["rollout_id"]: r for r in tables["rescored"].to_pylist()}
    for row in rows.to_pylist():
        stored = by_id[row["rollout_id"]]
        assert (stored["policy_id"], stored["source"], stored["temperature"]) == (row["policy_id"], "trainer", 0.7)
        assert stored["logprobs"] == pytest.approx(row["logprobs"], abs=1e-4)
    assert trained.manifest.logprob_gap < 1e-4
    assert (trained.manifest.dropped, tables["failures"].num_rows) == (0, 0)
    new, right = _logprobs(trained.folder, rows, 0.7), np.array(rows["label"])
    moved = np.array([sum(a) - sum(b) for a, b in zip(new, rows["logprobs"].to_pylist(), strict=True)])
    assert moved[right].mean() > 0 > moved[~right].mean()


def _rescored(task: job.Job) -> Rescored:
    from ratoon.sft.training.model_io import load
    from ratoon.sft.training.rescore import rescore

    Path(task.work).mkdir(parents=True)
    return rescore(task, lambda: load(task, sampler=True), training_rows(task).rows)


def _with(rows: pa.Table, name: str, values: list[Any]) -> pa.Table:
    field = rows.field(name)
    return rows.set_column(rows.schema.get_field_index(name), field, pa.array(values, field.type))


def test_a_row_whose_log_probs_are_not_this_models_is_dropped_with_a_reason(sampled: Rows, nft_job: Jobs) -> None:
    rows = sampled()
    logprobs = rows["logprobs"].to_pylist()
    logprobs[1] = [value - 1 for value in logprobs[1]]  # a wrong one of group 0
    logprobs[4] = [value - 1 for value in logprobs[4]]  # the only right one of group 1
    task = nft_job(_with(rows, "logprobs", logprobs))
    found = _rescored(task)
    tables = launch.records(Path(task.work))
    failures = {f["subject_id"]: f for f in tables["failures"].to_pylist()}
    assert {f["error_class"] for f in failures.values()} == {"LogprobGap", "GroupIncomplete"}
    assert "1.000 nats" in failures["r_000_01"]["message"]
    assert {i for i, f in failures.items() if f["error_class"] == "GroupIncomplete"} == {f"r_001_{i:02d}" for i in (1, 2, 3)}
    assert (found.rows.num_rows, found.dropped, tables["rescored"].num_rows) == (19, 5, 24)
    assert not set(found.rows["rollout_id"].to_pylist()) & set(failures)
    assert found.rows["weight"].to_pylist()[:3] == [1.0, 1.5, 1.5]
    for row, old in zip(found.rows.to_pylist(), found.logprobs, strict=True):
        assert old.tolist() == pytest.approx(row["logprobs"], abs=1e-4)


def test_log_probs_of_another_policy_train_nothing(group_rows: Rows, nft_job: Jobs) -> None:
    rows = group_rows()
    task = nft_job(_with(rows, "logprobs", [[-0.1] * len(t) for t in rows["token_ids"].to_pylist()]))
    with pytest.raises(TrainError, match=r"24 of 24 rows are more than 0\.5 nats") as caught:
        _rescored(task)
    assert "policy that sampled" in caught.value.hint


def test_rows_that_carry_no_log_probs_get_the_trainers_own(group_rows: Rows, nft_job: Jobs, tiny: Path) -> None:
    rows = _with(_with(group_rows(), "policy_id", [None] * 24), "logprobs", [None] * 24)
    found = _rescored(nft_job(rows, nft={"assume_on_policy": True}))
    assert math.isnan(found.gap)
    assert found.dropped == 0
    for old, plain in zip(found.logprobs, _logprobs(tiny, rows), strict=True):
        assert old.tolist() == pytest.approx(plain, abs=1e-4)


def test_weights_brought_together_from_shards_are_written_as_a_whole_model_is(tiny: Path, nft_job: Jobs, sampled: Rows) -> None:
    from ratoon.sft.training.model_io import load, save

    task, written = nft_job(sampled()), []
    for whole in (False, True):
        model, folder = load(task), Path(task.work) / str(whole)
        folder.mkdir(parents=True)
        assert save(model, task, folder, model.state_dict() if whole else None).kind == "full"
        written.append({p.name: p.read_bytes() for p in folder.iterdir()})
    assert written[0] == written[1]


def test_an_accelerate_file_that_is_not_there_is_named(nft_job: Jobs, sampled: Rows) -> None:
    with pytest.raises(TrainError, match=r"nowhere\.yaml"):
        launch.train(nft_job(sampled(), accelerate="nowhere.yaml"))


def test_rows_of_an_earlier_round_keep_the_log_probs_they_were_sampled_with(sampled: Rows, nft_job: Jobs, tiny: Path) -> None:
    rows = sampled()
    far = [[value - 2 for value in values] if i < 4 else values for i, values in enumerate(rows["logprobs"].to_pylist())]
    earlier = _with(_with(rows, "logprobs", far), "iteration", [1] * 4 + [2] * 20)
    task = dataclasses.replace(nft_job(earlier, nft={"max_staleness": 1}), iteration=2)
    found = _rescored(task)
    assert (found.dropped, found.rows.num_rows) == (0, 24)
    assert found.gap < 1e-4
    assert found.logprobs[0].tolist() == pytest.approx(far[0], abs=1e-4)
    assert launch.records(Path(task.work))["rescored"]["logprobs"][0].as_py() == pytest.approx(
        _logprobs(tiny, rows)[0], abs=1e-4
    )


def _gradient(folder: Path, rows: pa.Table, budget: int, config: job.NftConfig) -> tuple[float, Any, dict[str, float]]:
    from transformers import AutoModelForCausalLM, TrainingArguments

    from ratoon.sft.training import nft_step
    from ratoon.sft.training.trainer import Steps, StepTrainer

    old = [np.array(values, np.float32) - 0.3 * (i % 3) for i, values in enumerate(rows["logprobs"].to_pylist())]
    encoded = encode_groups(rows, old)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    arguments = TrainingArguments(output_dir=str(folder.parent / "out"), use_cpu=True, report_to="none", max_steps=1)
    steps = Steps(encoded, plan_steps(encoded, epochs=1, batch_size=64, world=1, seed=0), budget)
    trainer = StepTrainer(
        step_loss=nft_step.step_loss(config), measure=nft_step.measured, bf16_autocast=False, model=model,
        train_dataset=steps, args=arguments,
    )  # fmt: skip
    assert len(steps[0]["micro"]) == (16 if budget == 1 else 1)
    loss, measured = trainer.training_step(model, steps[0]), nft_step.measured(trainer._sums)
    return loss.item(), torch.cat([p.grad.flatten() for p in model.parameters()]), measured


def test_one_micro_batch_of_sixteen_and_sixteen_of_one_give_one_gradient_and_one_measure(tiny: Path, sampled: Rows) -> None:
    rows, config = sampled(groups=4), job.NftConfig(negative_clip=0.5)
    whole_loss, whole, whole_measured = _gradient(tiny, rows, 10_000, config)
    cut_loss, cut, cut_measured = _gradient(tiny, rows, 1, config)
    assert abs(whole_loss - cut_loss) < 1e-6
    assert torch.allclose(whole, cut, atol=1e-6)
    assert whole_measured == pytest.approx(cut_measured, abs=1e-4)


def test_the_trainers_loss_is_the_public_one_over_all_trained_tokens(tiny: Path, sampled: Rows) -> None:
    from ratoon.sft.training.nft import nft_loss

    rows = sampled(groups=4)
    masks = [[1 - (i + j) % 5 // 4 for j in range(len(t))] for i, t in enumerate(rows["token_ids"].to_pylist())]
    rows = _with(rows, "loss_mask", masks)
    loss, _, _ = _gradient(tiny, rows, 10_000, job.NftConfig(prompt_weight="sqrt"))
    new = rows["logprobs"].to_pylist()
    width = max(len(values) for values in new)
    padded = [torch.tensor([v + [math.nan] * (width - len(v)) for v in values]) for values in (new, masks)]
    shift = torch.tensor([0.3 * (i % 3) for i in range(16)])[:, None]
    whole = nft_loss(
        padded[0], padded[0] - shift, padded[1].nan_to_num(0), torch.from_numpy(np.array(rows["label"])),
        torch.full((16,), 0.25), prompt_weight="sqrt",
    )  # fmt: skip
    assert loss == pytest.approx(whole.item() / sum(map(sum, masks)), abs=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_what_a_step_measures_is_what_its_names_say(group_rows: Rows, temperature: float) -> None:
    from ratoon.sft.training import nft_step

    rows = group_rows(temperature=temperature)
    old = [np.full(len(ids), -5.0, np.float32) - i % 3 for i, ids in enumerate(rows["token_ids"].to_pylist())]
    batch = collate(encode_groups(rows, old))
    logits = torch.randn(len(batch["targets"]), 259, generator=torch.Generator().manual_seed(0))
    _, sums = nft_step.step_loss(job.NftConfig())(logits, batch)
    logp = torch.log_softmax(logits / temperature, -1)
    log_ratio = logp[torch.arange(len(logits)), batch["targets"]] - batch["old"]
    wrong, ratio = ~batch["right"], log_ratio.exp()
    found = nft_step.measured(sums)
    assert found["ratio"] == pytest.approx(ratio.mean().item(), rel=1e-4)
    assert found["kl"] == pytest.approx((ratio - 1 - log_ratio).mean().item(), rel=1e-4)
    assert found["entropy"] == pytest.approx(-(logp.exp() * logp).sum(-1).mean().item(), rel=1e-4)
    assert found["clip_fraction"] == pytest.approx((0.25 * ratio[wrong] >= 1).float().mean().item(), abs=1e-6)
    assert found["positives"] == 0.25


def test_a_micro_batch_without_a_trained_token_measures_nothing(group_rows: Rows) -> None:
    from ratoon.sft.training import nft_step

    rows = group_rows(loss_mask=[[0] * len(t) for t in group_rows()["token_ids"].to_pylist()])
    batch = collate(encode_groups(rows, [np.zeros(len(t), np.float32) for t in rows["token_ids"].to_pylist()]))
    loss, sums = nft_step.step_loss(job.NftConfig())(torch.zeros(0, 259), batch)
    assert loss == 0
    assert nft_step.measured(sums) == {"positives": 0.25}


def test_without_negatives_and_prompt_weight_a_step_is_rfts(group_rows: Rows) -> None:
    from ratoon.sft.training import nft_step, rft

    rows = group_rows(right=4)
    old = [np.array(v, np.float32) for v in rows["logprobs"].to_pylist()]
    batch = collate(encode_groups(rows, old))
    logits = torch.randn(len(batch["targets"]), 259, generator=torch.Generator().manual_seed(0), requires_grad=True)
    config = job.NftConfig(prompt_weight="one", negative_weight=0.0)
    gradients = [torch.autograd.grad(step(logits, batch)[0], logits)[0] for step in (rft.step_loss, nft_step.step_loss(config))]
    assert (gradients[0] - gradients[1]).norm() <= 1e-6 * gradients[0].norm()


def test_groups_share_a_step_and_padding_hides_no_signal(sampled: Rows) -> None:
    rows = sampled(groups=5)
    encoded = encode_groups(rows, [np.array(v, np.float32) for v in rows["logprobs"].to_pylist()])
    plan = plan_steps(encoded, epochs=1, batch_size=8, world=1, seed=0)
    assert sorted(len(step.indices) for step in plan) == [4, 8, 8]
    for step in plan:
        members = [encoded[i] for i in step.indices]
        assert all(sum(e.group == m.group for e in members) == 4 for m in members)
        batch = collate(members)
        assert batch["old"].tolist() == [v for m in members for v in m.signal.old.tolist()]
        assert len(batch["right"]) == len(batch["pass_rate"]) == len(batch["targets"]) == int(batch["positions"].sum())
        assert batch["sequences"].tolist() == [len(members), len(members) // 4]


@pytest.mark.slow
def test_killed_it_goes_on_from_its_old_log_probs_and_another_job_does_not(
    sampled: Rows, nft_job: Jobs, tmp_path: Path, training_here: Callable[[], AbstractContextManager[None]]
) -> None:
    rows, fields = sampled(), {"epochs": 30, "checkpoint_every": 4, "processes": 1, "out": tmp_path / "policy"}
    task, kept = nft_job(rows, **fields), list[bytes]()

    def kill_at_six(progress: Progress) -> None:
        if progress.step == 6:
            (trainer,) = [p for p in psutil.Process().children(recursive=True) if "ratoon.sft.training.process" in p.cmdline()]
            os.kill(trainer.pid, signal.SIGKILL)
            kept.append((Path(task.work) / "rescored.parquet").read_bytes())

    with pytest.raises(TrainError, match="signal 9"):
        launch.train(task, kill_at_six)
    other, resumed = nft_job(rows, **fields | {"learning_rate": 1e-3}), list[Progress]()
    another = f"checkpoint of policy {task.policy_id}, and this would train {other.policy_id}"
    with training_here():
        with pytest.raises(TrainError, match=another):
            launch.train(other)
        trained = launch.train(task, resumed.append)
    assert resumed[0].step > 4
    assert (trained.folder / "rescored.parquet").read_bytes() == kept[0]
    steps = _steps(trained)
    assert [s["step"] for s in steps] == list(range(1, 91))
    assert all(after["kl"] > 0 for after in steps[2:])
    assert not Path(task.work).exists()


@pytest.mark.slow
def test_two_devices_by_an_accelerate_file_and_an_adapter_end_where_one_does(
    sampled: Rows, nft_job: Jobs, tmp_path: Path, training_here: Callable[[], AbstractContextManager[None]]
) -> None:
    pytest.importorskip("peft")
    setup = tmp_path / "accelerate.yaml"
    setup.write_text(
        "distributed_type: MULTI_CPU\nuse_cpu: true\nnum_processes: 2\nmain_process_port: 0\nmixed_precision: bf16\n"
    )
    rows, fields = sampled(), {"lora": {"rank": 4}}
    with training_here():
        one = launch.train(nft_job(rows, **fields, out=tmp_path / "one"))
    two = launch.train(nft_job(rows, **fields, out=tmp_path / "two", accelerate=str(setup)))
    weights = [load_file(trained.folder / "model.safetensors") for trained in (one, two)]
    assert max(float(abs(weights[0][name] - weights[1][name]).max()) for name in weights[0]) < 1e-4
    assert policy.verify_policy(two.folder).logprob_gap == pytest.approx(one.manifest.logprob_gap, abs=1e-6)
    assert [s["kl"] for s in _steps(one)] == pytest.approx([s["kl"] for s in _steps(two)], abs=1e-4)
