"""Datasets in the shapes other trainers read: TRL, Axolotl, ShareGPT, plain JSON lines; whole groups by
sft/data/export_groups.py, prompts to train on by reinforcement by sft/data/export_prompts.py.

Each folder loads by `datasets.load_dataset(folder)` and says in its README.md what it came from. Weights and token ids have no
place in the chat formats: `trl-sft-ids` keeps the exact ids, `jsonl` keeps everything. Formats whose trainer renders the
messages again are only as exact as that trainer's template.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ratoon import ids, messages
from ratoon.errors import ConfigError, DataError
from ratoon.sft.data import card, dataset
from ratoon.sft.data.export_groups import GROUP_EXPORTS, GROUP_USE
from ratoon.sft.data.export_prompts import PROMPT_EXPORTS, PROMPT_USE, write_prompts
from ratoon.sft.data.prompt_sets import prompts
from ratoon.store.files import explained, new_folder
from ratoon.store.store import Store

Row = Mapping[str, Any]


def trl_sft(row: Row) -> dict[str, Any]:
    """TRL's conversational prompt-completion: only the completion is trained on."""
    return {"prompt": row["prompt"], "completion": row["completion"]}


def trl_sft_ids(row: Row) -> dict[str, Any]:
    """TRL's pre-tokenised form: the ids exactly as sampled, -100 where nothing is trained."""
    prompt, sampled = row["prompt_token_ids"], row["token_ids"]
    if prompt is None or sampled is None:
        raise DataError(
            "the dataset carries no token ids", "its rollouts came from an endpoint that gives text only; take trl-sft"
        )
    labels = [token if kept else -100 for token, kept in zip(sampled, row["loss_mask"], strict=True)]
    return {"input_ids": prompt + sampled, "labels": [-100] * len(prompt) + labels}


def sharegpt(row: Row) -> dict[str, Any]:
    """ShareGPT turns: from system, human, gpt or observation (a tool's), as LLaMA-Factory names them."""
    return {"conversations": messages.sharegpt(row["prompt"] + row["completion"])}


def axolotl(row: Row) -> dict[str, Any]:
    """Axolotl's chat_template type; `training` marks the completion, so that few-shot turns are not trained on."""
    marked = [(turn, False) for turn in row["prompt"]] + [(turn, True) for turn in row["completion"]]
    return {"messages": [turn | {"training": training} for turn, training in marked]}


def jsonl(row: Row) -> dict[str, Any]:
    """Every column as it is."""
    return dict(row)


EXPORTS: dict[str, Callable[[Row], dict[str, Any]]] = {
    "trl-sft": trl_sft, "trl-sft-ids": trl_sft_ids, "sharegpt": sharegpt, "axolotl": axolotl, "jsonl": jsonl,
}  # fmt: skip
_USE = {
    "trl-sft": "`SFTTrainer(train_dataset=load_dataset(FOLDER, split=\"train\"))`; raise `max_length`, keep `packing=False`.",
    "trl-sft-ids": "`SFTTrainer` takes `input_ids` and `labels` as they are; raise `max_length`, keep `packing=False`.",
    "sharegpt": "Any trainer that reads ShareGPT `conversations`. LLaMA-Factory: `dataset_dir: FOLDER`, and as `dataset` a "
                "name in `dataset_info.json`.",
    "axolotl": "```yaml\ndatasets:\n  - path: FOLDER\n    type: chat_template\n    field_messages: messages\n"
               "    roles_to_train: []\n    message_field_training: training\n"
               "eot_tokens:\n  - \"<|im_end|>\"  # what ends a turn in your model's template\n```\n\n"
               "Without `eot_tokens` only the tokenizer's eos counts as an end, which in many templates (Gemma, Phi, GLM, "
               "ChatML on a base model) is another token.",
    "jsonl": "One object per row, every column of the dataset.",
} | GROUP_USE | PROMPT_USE  # fmt: skip
_WANTED = {
    "sft": "it takes view sft with weight above 0; jsonl takes every row",
    "group": "it takes view group: `ratoon curate RUN --set train.method=nft --name groups` writes it from stored scores",
}
_PROMPT_COLUMNS = """Each prompt carries its verifier and its arguments, the pass rate over `n` replies of the newest
round that asked it, and `difficulty` (1 - pass rate; null where nobody asked).
"""
FORMATS = (*EXPORTS, *GROUP_EXPORTS, *PROMPT_EXPORTS)


def export(source: Path, format: str, out: Path) -> Path:
    """Write the dataset folder `source` as `format` into the new folder `out`, whole or not at all; returns `out`.

    Chat formats take the rows to imitate: view `sft`, weight above 0, not labelled false. Group formats take whole groups:
    view `group`, right and wrong. Prompt formats take the tasks of a run, or those that a dataset in a run is of.

    Raises ConfigError on an unknown format or an `out` that exists, DataError when no row is left.
    """
    if format not in FORMATS:
        raise ConfigError(f"there is no export format {format!r}", f"one of {', '.join(FORMATS)}")
    if os.path.lexists(out):
        raise ConfigError(f"{out} exists already; nothing is overwritten", "name a new folder with --out, or remove that one")
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with explained(out):
            (_prompts if format in PROMPT_EXPORTS else _examples)(source, format, new_folder(temporary))
            dataset.swap(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return out


def _examples(source: Path, format: str, folder: Path) -> None:
    info, rows = dataset.read_info(source), dataset.read_dataset(source)
    (folder / "data").mkdir()
    counts = {split: _write(folder, rows, split, format) for split in info.splits}
    counts = {split: count for split, count in counts.items() if count}
    if not counts:
        raise DataError(f"{source} has no row for {format}", _WANTED["group" if format in GROUP_EXPORTS else "sft"])
    _describe(folder, info, format, counts)
    if format == "sharegpt":
        _llama_factory(folder, info.name, counts)


def _prompts(source: Path, format: str, folder: Path) -> None:
    store, only = _run_of(source)
    by_split = prompts(store.read("tasks"), store.read("prompts"), store.read("groups"), only)
    written = write_prompts(folder, format, by_split)
    if not written:
        raise DataError(f"{source} has no task for {format}", "it takes tasks that a verifier judges; see the format's page")
    files = {split: path.relative_to(folder).as_posix() for split, (path, _) in written.items()}
    counts = {split: count for split, (_, count) in written.items()}
    left_out = sum(map(len, by_split.values())) - sum(counts.values())
    digests = {name: sha256((folder / name).read_bytes()).hexdigest() for name in files.values()}
    lines = card.config_lines(files, ids.digest(digests))
    told = f"# Prompts of run {store.run_id}, as {format}\n\n{_USE[format]}\n\n{_PROMPT_COLUMNS}"
    told += f"\n{left_out} tasks are left out: nothing of {format}'s judges them.\n" if left_out else ""
    (folder / "README.md").write_text("\n".join(["---", *lines, "---", "", told]), encoding="utf-8")
    manifest = {"format": format, "run_id": store.run_id, "rows": counts, "left_out": left_out, "sha256": digests}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2), encoding="utf-8")


def _run_of(source: Path) -> tuple[Store, set[str] | None]:
    """The run, and the tasks that are wanted: all of a run's, or those of a dataset folder in it."""
    if (source / "run.json").exists():
        return Store.open(source), None
    rows, above = dataset.read_dataset(source), source.resolve().parents
    if len(above) < 3 or not (above[2] / "run.json").exists():
        raise DataError(f"{source} lies in no run, which holds golds and verifiers", "name the run, or a dataset in one")
    return Store.open(above[2]), set(rows["task_id"].to_pylist())


def _write(folder: Path, rows: pa.Table, split: str, format: str) -> int:
    """Write one split; the number of rows written, and no file where that is 0."""
    path, count = folder / "data" / f"{split}.jsonl", 0
    with path.open("w", encoding="utf-8") as file:
        for row in _made(rows, split, format):
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    if not count:
        path.unlink()
    return count


def _made(rows: pa.Table, split: str, format: str) -> Iterator[dict[str, Any]]:
    if format in EXPORTS:
        yield from map(EXPORTS[format], _chosen(rows, split, format))
        return
    chosen = rows.filter(pc.and_(pc.equal(rows["view"], "group"), pc.equal(rows["split"], split)))
    for group in _groups(
        chosen.filter(pc.greater(chosen["weight"], 0)).sort_by([("group_id", "ascending"), ("rollout_id", "ascending")])
    ):
        if {row["label"] for row in group} == {True, False}:
            yield from GROUP_EXPORTS[format](group)


def _groups(rows: pa.Table) -> Iterator[list[Row]]:
    """The rows of each group; they come together."""
    for _, members in groupby(_stream(rows), key=lambda row: row["group_id"]):
        yield list(members)


def _chosen(rows: pa.Table, split: str, format: str) -> Iterator[Row]:
    for row in _stream(rows):
        imitated = row["view"] == "sft" and row["weight"] > 0 and row["label"] is not False
        if row["split"] == split and (imitated or format == "jsonl"):
            yield row


def _stream(rows: pa.Table) -> Iterator[Row]:
    """The rows one by one, their messages without fields that they have not."""
    for batch in rows.to_batches(max_chunksize=1000):
        for row in batch.to_pylist():
            yield row | {name: messages.compact(row[name]) for name in ("prompt", "completion")}


def _llama_factory(folder: Path, name: str, counts: Mapping[str, int]) -> None:
    """`dataset_info.json`, by which LLaMA-Factory finds the files, their columns and who speaks."""
    tags = {"role_tag": "from", "content_tag": "value", "user_tag": "human", "assistant_tag": "gpt",
            "observation_tag": "observation", "function_tag": "function_call", "system_tag": "system"}  # fmt: skip
    entries = {
        name if split == "train" else f"{name}-{split}": {
            "file_name": f"data/{split}.jsonl",
            "formatting": "sharegpt",
            "columns": {"messages": "conversations"},
            "tags": tags,
        }
        for split in counts
    }
    (folder / "dataset_info.json").write_text(json.dumps(entries, indent=2), encoding="utf-8")


def _describe(folder: Path, info: dataset.DatasetInfo, format: str, counts: Mapping[str, int]) -> None:
    digests = {path.name: sha256(path.read_bytes()).hexdigest() for path in sorted((folder / "data").iterdir())}
    lines = card.config_lines({split: f"data/{split}.jsonl" for split in counts}, ids.digest(digests))
    front = "\n".join(["---", *lines, "---", ""])
    told = (
        f"# {info.name}, iteration {info.iteration}, as {format}\n\n{_USE[format]}\n\nFrom ratoon dataset `{info.dataset_id}`"
    )
    (folder / "README.md").write_text(f"{front}{told} (content `{info.content_digest}`).\n", encoding="utf-8")
    manifest = {"format": format, "dataset_id": info.dataset_id, "content_digest": info.content_digest, "run_id": info.run_id,
                "name": info.name, "iteration": info.iteration, "rows": counts, "sha256": digests}  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2), encoding="utf-8")
