"""What trainers get wrong without a word: each of these was a silent loss once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ratoon.errors import ModelError, Stopped
from ratoon.sft.data import dataset
from ratoon.sft.models import base_models, policy
from ratoon.sft.training import launch
from ratoon.sft.training import process as training
from ratoon.sft.training.callbacks import METRICS, PROGRESS
from ratoon.sft.training.job import Job
from ratoon.sft.training.selection import training_rows

torch = pytest.importorskip("torch")
Jobs = Callable[..., Job]
END = 258


def _train(job: Job) -> policy.PolicyManifest:
    """What the training process does, in this one."""
    Path(job.work).mkdir(parents=True)
    (Path(job.work) / PROGRESS).touch()
    training.run(job)
    return policy.verify_policy(Path(job.out))


def _change(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_a_trained_model_stops_at_the_templates_end_of_turn_though_its_start_had_no_generation_config(
    make_job: Jobs, tiny: Path
) -> None:
    from transformers import AutoModelForCausalLM

    (tiny / "generation_config.json").unlink()
    _change(tiny / "config.json", eos_token_id=256)
    job = make_job(epochs=1)
    _train(job)
    model = AutoModelForCausalLM.from_pretrained(job.out)
    assert model.generation_config.eos_token_id == [256, END]
    with torch.no_grad():
        model.lm_head.weight = torch.nn.Parameter(torch.zeros_like(model.lm_head.weight))
        model.lm_head.weight[END] = 1.0  # of equals the first wins: hidden states decide whether that is the end
        model.model.norm.weight.fill_(1.0)
    prompt = torch.tensor([[10, 11, 12]])
    hidden = model.model(prompt).last_hidden_state[0, -1]
    with torch.no_grad():
        model.lm_head.weight[END] = hidden
    assert model.generate(prompt, max_new_tokens=5, do_sample=False)[0, 3:].tolist() == [END]


def test_generation_settings_are_kept_byte_for_byte_where_they_end_turns_already(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    own, written = source / "generation_config.json", target / "generation_config.json"
    own.write_text('{"temperature":  0.6, "eos_token_id": [2, 7]}')
    policy.write_generation_config(source, target, (7, 2))
    assert written.read_bytes() == own.read_bytes()
    policy.write_generation_config(source, target, (9,))
    assert json.loads(written.read_text()) == {"temperature": 0.6, "eos_token_id": [2, 7, 9]}


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_without_dropout_training_mode_computes_what_evaluation_does_and_the_config_keeps_its_own(kind: str) -> None:
    from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

    from ratoon.sft.training.model_io import without_dropout

    torch.manual_seed(0)
    small = {"vocab_size": 64, "bos_token_id": 0, "eos_token_id": 1}
    if kind == "gpt2":
        config: Any = GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=32, **small)
    else:
        sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
        config = LlamaConfig(**sizes, attention_dropout=0.5, **small)
    model, tokens = AutoModelForCausalLM.from_config(config), torch.arange(12)[None]
    model.train()
    assert not torch.equal(model(tokens).logits, model(tokens).logits), "the model drops something to begin with"
    before = model.config.to_dict()
    without_dropout(model)
    in_training = model(tokens).logits
    assert torch.equal(in_training, model.eval()(tokens).logits)
    assert model.config.to_dict() == before


def test_nft_begins_at_ratio_one_though_the_models_config_asks_for_dropout(
    make_job: Jobs, group_rows: Callable[..., pa.Table], tiny: Path, tmp_path: Path
) -> None:
    _change(tiny / "config.json", attention_dropout=0.5)
    info = dataset.DatasetInfo("d_nft", "groups", 1)
    folder = dataset.write_dataset(tmp_path, "groups", 1, group_rows(), info)
    job = make_job([folder], method="nft", bf16=False, epochs=1, batch_size=24, nft={"max_logprob_gap": 100.0})
    manifest = _train(job)
    first = json.loads((Path(job.out) / METRICS).read_text().splitlines()[0])
    assert first["ratio"] == pytest.approx(1, abs=1e-4)
    assert first["kl"] < 1e-6
    assert manifest.start_kl == first["kl"]


def test_rows_without_a_token_to_train_on_are_left_out_and_counted(
    make_job: Jobs, make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    rows = dataset.read_dataset(make_dataset(12)).to_pylist()
    for row in rows[:2]:
        row |= {"token_ids": [], "loss_mask": []}
    rows[2] |= {"loss_mask": [0] * len(rows[2]["loss_mask"])}
    table = pa.Table.from_pylist(rows, schema=dataset.read_dataset(make_dataset(12)).schema)
    folder = dataset.write_dataset(tmp_path, "holes", 1, table, dataset.DatasetInfo("d", "holes", 1))
    chosen = training_rows(make_job([folder]))
    assert (chosen.rows.num_rows, chosen.skipped, chosen.untrained) == (9, 0, 3)
    with pytest.raises(Stopped, match="9 examples; 3 more hold no token to train on"):
        training_rows(make_job([folder], min_examples=10))


def test_examples_beyond_the_models_positions_are_left_out_with_their_number(make_job: Jobs, tiny: Path) -> None:
    _change(tiny / "config.json", max_position_embeddings=20)
    with pytest.raises(Stopped, match="12 more are longer than the positions of the model, 20"):
        launch.train(make_job(max_length=4096))


def test_a_model_of_more_than_text_is_refused_before_training_loses_the_rest(make_job: Jobs, tiny: Path) -> None:
    base_models.refuse_multimodal(tiny)
    (tiny / "preprocessor_config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"LlamaForCausalLM, with preprocessor_config\.json"):
        launch.train(make_job())
    (tiny / "preprocessor_config.json").unlink()
    _change(tiny / "config.json", architectures=["Gemma3ForConditionalGeneration"], vision_config={"hidden_size": 8})
    with pytest.raises(ModelError, match=r"Gemma3ForConditionalGeneration, with vision_config") as refusal:
        launch.train(make_job())
    assert "AutoModelForCausalLM" in refusal.value.hint


def test_attention_is_eager_where_logits_are_capped_and_the_librarys_choice_elsewhere() -> None:
    from transformers import Gemma2Config, LlamaConfig

    from ratoon.sft.training.model_io import capped_attention

    assert capped_attention(Gemma2Config()) == "eager"
    assert capped_attention(LlamaConfig()) is None


@pytest.mark.parametrize(
    ("code", "last_line", "memory"),
    [
        (1, "ZeroDivisionError: division by zero", False),
        (1, "torch.OutOfMemoryError: CUDA out of memory.", True),
        (1, "RuntimeError: [enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory", True),
        (-9, "", True),
        (-11, "", False),
    ],
)
def test_less_memory_is_advised_where_memory_was_the_cause(code: int, last_line: str, memory: bool) -> None:
    assert ("micro_batch_tokens" in launch.hint(code, [last_line])) is memory


def test_the_share_of_an_update_that_a_cast_keeps_is_its_projection(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from ratoon.sft.training.rounding import cast_to
    from ratoon.sft.training.update_kept import update_kept

    start = torch.ones(1000)
    save_file({"w": start, "elsewhere": start.clone()}, tmp_path / "model.safetensors")
    exact, rounded = cast_to(torch.float32), cast_to(torch.bfloat16)
    assert update_kept({"w": start + 1e-4}, tmp_path, exact) == pytest.approx(1)
    assert update_kept({"w": start + 1e-4}, tmp_path, rounded) == 0, "half a bfloat16 step at 1 is 2e-3 upwards"
    assert update_kept({"w": start + 1 / 128}, tmp_path, rounded) == 1, "a whole step"
    torch.manual_seed(0)
    assert update_kept({"w": start + torch.rand(1000)}, tmp_path, rounded) == pytest.approx(1, abs=0.01)
    assert update_kept({"w": start}, tmp_path, rounded) is None
    assert update_kept({"unnamed": start}, tmp_path, rounded) is None


def test_a_small_update_that_rounding_takes_is_told(make_job: Jobs, tiny: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(tiny / "model.safetensors")
    save_file({n: w.to(torch.bfloat16) for n, w in weights.items()}, tiny / "model.safetensors", {"format": "pt"})
    _change(tiny / "config.json", dtype="bfloat16")
    small = _train(make_job(epochs=1, learning_rate=1e-6, warmup=0.0))
    assert 0 <= small.update_kept < 0.5
    assert f"only {small.update_kept:.0%} of the update" in (policy.lost_update(small) or "")
    whole = _train(make_job(epochs=1, learning_rate=1e-6, warmup=0.0, save_dtype="float32"))
    assert whole.update_kept == pytest.approx(1, abs=1e-6)
    chance = _train(make_job(epochs=1, learning_rate=1e-6, warmup=0.0, save_rounding="stochastic"))
    assert chance.update_kept == pytest.approx(1, abs=0.15)
    assert policy.lost_update(whole) is None
