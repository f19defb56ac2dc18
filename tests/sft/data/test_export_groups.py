"""Groups for KTO, preferences and GRPO: what is right stays right, and TRL itself loads each and takes a step."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ratoon.errors import DataError
from ratoon.messages import compact
from ratoon.sft.data import dataset, examples
from ratoon.sft.data.export import export
from ratoon.sft.data.export_groups import GROUP_EXPORTS, trl_pref


@pytest.fixture
def groups(tmp_path: Path, group_rows: Callable[..., pa.Table]) -> Path:
    """A dataset of six groups of four, one right reply in each."""
    return dataset.write_dataset(tmp_path, "default", 1, group_rows(), dataset.DatasetInfo("d_1", "default", 1))


def _lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "data" / "train.jsonl").read_text().splitlines()]


def test_every_reply_of_every_group_is_labelled_for_kto(groups: Path, tmp_path: Path) -> None:
    lines = _lines(export(groups, "trl-kto", tmp_path / "out"))
    assert sorted(line["label"] for line in lines) == [False] * 18 + [True] * 6
    rows = dataset.read_dataset(groups).to_pylist()
    assert {json.dumps(line["completion"]) for line in lines if line["label"]} == {
        json.dumps(compact(row["completion"])) for row in rows if row["label"]
    }


def test_a_preference_sets_the_surest_right_reply_against_the_surest_wrong_one() -> None:
    def row(name: str, label: bool, logprobs: list[float] | None, mask: list[int] | None = None) -> dict[str, Any]:
        return {
            "rollout_id": name,
            "label": label,
            "logprobs": logprobs,
            "token_ids": [1, 2],
            "loss_mask": mask,
            "prompt": "p",
            "completion": name,
        }

    rows = [row("a", True, [-2.0, -2.0]), row("b", True, [-0.5, -0.1]), row("c", False, [-3.0]), row("d", False, [-1.0, -1.0]),
            row("e", False, None)]  # fmt: skip
    assert trl_pref(rows) == trl_pref(rows[::-1]) == [{"prompt": "p", "chosen": "b", "rejected": "d", "margin": 1.0}]
    given = row("f", False, [-0.75, -9.0], [1, 0])
    assert trl_pref([*rows, given])[0]["rejected"] == "f", "what the policy did not sample says nothing of how sure it was"


def test_a_replay_holds_each_group_whole_with_its_ids_log_probs_and_rewards(groups: Path, tmp_path: Path) -> None:
    lines = _lines(export(groups, "grpo-replay", tmp_path / "out"))
    rows = dataset.read_dataset(groups).sort_by("rollout_id").to_pylist()
    assert len(lines) == 6
    for line in lines:
        mine = [row for row in rows if row["group_id"] == line["group_id"]]
        assert line["replay_ids"] == [row["token_ids"] for row in mine]
        assert line["replay_logprobs"] == [row["logprobs"] for row in mine]
        assert line["replay_rewards"] == [float(row["label"]) for row in mine]
        assert (line["prompt"], line["replay_prompt_ids"]) == (compact(mine[0]["prompt"]), mine[0]["prompt_token_ids"])


@pytest.mark.parametrize("format", GROUP_EXPORTS)
def test_a_dataset_without_groups_says_how_to_get_them(format: str, make_dataset: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"no row for {format}") as caught:
        export(make_dataset(5), format, tmp_path / "out")
    assert "train.method=nft" in caught.value.hint
    assert not (tmp_path / "out").exists()


def test_a_replay_without_log_probs_is_refused(tmp_path: Path, group_rows: Callable[..., pa.Table]) -> None:
    rows = group_rows(logprobs=[None] * 24).cast(examples.ROWS)
    folder = dataset.write_dataset(tmp_path, "default", 1, rows, dataset.DatasetInfo("d_1", "default", 1))
    with pytest.raises(DataError, match="log-probs"):
        export(folder, "grpo-replay", tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("format", GROUP_EXPORTS)
def test_trl_loads_the_export_and_takes_a_step(format: str, groups: Path, tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("trl")
    datasets = pytest.importorskip("datasets")
    out = export(groups, format, tmp_path / "out")
    loaded = datasets.load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))
    trainer = _trainer(format, out, loaded, tiny, tmp_path / "trained")
    before = trainer.model.get_input_embeddings().weight.detach().clone()
    trainer.train()
    assert trainer.state.global_step == 1
    assert not before.equal(trainer.model.get_input_embeddings().weight)


def _trainer(format: str, out: Path, loaded: Any, tiny: Path, work: Path) -> Any:
    import trl
    from transformers import AutoModelForCausalLM, AutoTokenizer

    common = {"output_dir": str(work), "max_steps": 1, "per_device_train_batch_size": 4, "learning_rate": 1e-2, "bf16": False,
              "use_cpu": True, "report_to": [], "save_strategy": "no", "disable_tqdm": True}  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(tiny)
    rest = {"model": model, "processing_class": AutoTokenizer.from_pretrained(tiny), "train_dataset": loaded}
    if format == "trl-kto":
        return trl.KTOTrainer(args=trl.KTOConfig(**common), ref_model=AutoModelForCausalLM.from_pretrained(tiny), **rest)
    if format == "trl-pref":
        return trl.DPOTrainer(args=trl.DPOConfig(**common), ref_model=AutoModelForCausalLM.from_pretrained(tiny), **rest)
    shown = re.search(r"```python\n(.*?)```", (out / "README.md").read_text(), re.DOTALL)
    assert shown is not None
    names: dict[str, Any] = {"FOLDER": str(out)}
    exec(shown[1], names)
    arguments = trl.GRPOConfig(**common, num_generations=4, max_completion_length=64)
    return trl.GRPOTrainer(args=arguments, reward_funcs=names["reward_func"], rollout_func=names["rollout_func"], **rest)
