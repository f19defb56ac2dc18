"""What `ratoon train` is pointed at: a run, a dataset folder, or a file of replies with no run behind it; as dataset folders.

NFT must start from the policy that sampled. A run knows where that one lies; a file does not, so whoever brings one names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from ratoon import ids
from ratoon.errors import DataError
from ratoon.generators import imported, imported_tables
from ratoon.generators.imported import Row
from ratoon.messages import assistant
from ratoon.render import Renderer
from ratoon.rows.source import kind_of
from ratoon.sft.data import dataset, examples
from ratoon.store.store import Store

_TEMPERATURE = 1.0  # where a file names none


class Source(NamedTuple):
    """Dataset folders, oldest first; where a model may be made; the folder of the policy that sampled the newest, where known;
    and the round whose policy training makes."""

    folders: list[Path]
    root: Path
    sampler: Path | None
    iteration: int
    told: tuple[str, ...] = ()  # what was made of a file's rows that its owner should know


def is_file(source: Path) -> bool:
    """Whether it is a file of replies: a folder is a run or a dataset."""
    return kind_of(source) not in (None, "text") and not source.is_dir()


def tree(source: Path) -> dict[str, Any]:
    """The recipe of a run; of a run's dataset folder how it was prompted; of anything else an empty one."""
    if (source / "run.json").exists():
        return Store.open(source).config()
    around = _run_around(source)
    prompt = Store.open(around).config().get("prompt", {}) if around is not None and not is_file(source) else {}
    return {"train": {}, "model": {}, "prompt": prompt}


def _run_around(source: Path) -> Path | None:
    """The run whose datasets/NAME/ROUND a folder is; None where it lies in no run."""
    above = source.resolve().parents
    return above[2] if len(above) > 2 and (above[2] / "run.json").exists() else None


def of_folder(source: Path, name: str) -> Source:
    """A run's datasets `name`, or one dataset folder; the sampler is looked up in the run, or in the run the folder lies in."""
    if (source / "run.json").exists():
        store = Store.open(source)
        made = sorted((m for m in store.find("curate") if m.shard == name), key=lambda m: m.iteration or 0)
        if not made:
            raise DataError(f"{source} has no dataset {name!r}", "`ratoon run` it first, or `ratoon curate` with that --name")
        return _sampled([dataset.folder_at(source, m.extra["folder"]) for m in made], source, source)
    dataset.read_info(source)
    return _sampled([source], source, _run_around(source))


def _sampled(folders: list[Path], root: Path, run: Path | None) -> Source:
    info = dataset.read_info(folders[-1])
    told = info.sources.get("policies", [])
    iteration = max([info.iteration, *(p["iteration"] + 1 for p in told if p["iteration"] is not None)])
    if run is None or len(told) != 1:
        return Source(folders, root, None, iteration)
    rows = Store.open(run).read("policies", columns=["policy_id", "uri", "iteration"]).to_pylist()
    uris = [row["uri"] for row in rows if row["policy_id"] == told[0]["policy_id"] and row["iteration"] is not None]
    folder = run.resolve() / uris[0] if uris else None
    return Source(folders, root, folder if folder is not None and folder.is_dir() else None, iteration)


def of_file(
    file: Path, columns: Iterable[str], model: Path, out: Path, picked: bool = False,
    chat_template_kwargs: Mapping[str, Any] | None = None,
) -> Source:  # fmt: skip
    """The dataset OUT-data/datasets/<name>/1 of a file of replies that `model` sampled, under its tokenizer and template.

    Columns: prompt, completion, label; group (the prompt, if there is none), token ids, log-probs and how it was sampled, where
    there are any. `picked`: where no column is a label, every reply is one to learn from. Raises DataError, and writes
    nothing, when a single row cannot be used: its group would have another rate.
    """
    mapped = imported.column_map(file, columns)
    rows, bad, read = imported.read(file, mapped)
    total, plain = len(rows) + len(bad), picked and "label" not in mapped
    if plain:
        rows = [replace(row, label=True) for row in rows]
    bad = bad + [(row.where, "it has no label") for row in rows if row.label is None]
    if bad:
        raise DataError(
            f"{file}: {len(bad)} of {total} rows cannot be used, such as {bad[0][0]}: {bad[0][1]}",
            "mend or drop them, whole groups at a time: labels are true and false (or 1 and 0), and rates count every row",
        )
    if len(named := sorted({row.policy for row in rows if row.policy is not None})) > 1:
        raise DataError(
            f"{file} holds replies of several policies: {', '.join(named)}", "train on those of one model at a time"
        )
    made = _rows(file, rows, Renderer(model, chat_template_kwargs))
    source = sha256(file.read_bytes()).hexdigest()
    root, name = out.with_name(f"{out.name}-data"), _name(file)
    info = dataset.DatasetInfo(
        ids.content_id("dataset", [source, mapped]), name, 1, made={"file": file.name, "sha256": source, "columns": mapped},
        sources={"samplings": _samplings(rows)},
    )  # fmt: skip
    return Source([dataset.write_dataset(root, name, 1, made, info)], root, None, 1, (*read, *_told(file, rows, plain)))


def _told(file: Path, rows: Sequence[Row], plain: bool) -> tuple[str, ...]:
    cut = sum(_cut(row) for row in rows)
    lines = [f"{file.name} has no labels: each of its {len(rows)} replies is taken as right"] if plain else []
    if not any(row.label for row in rows):
        lines.append(f"none of the {len(rows):,} replies is right: rft has nothing to imitate")
    if cut:
        lines.append(f"{cut} right replies were cut by length: rft leaves them out, they would teach not to end")
    return tuple(lines)


def _cut(row: Row) -> bool:
    """Whether a right reply never came to its end."""
    return bool(row.label) and row.finish_reason == "length"


def _rows(file: Path, rows: Sequence[Row], renderer: Renderer) -> pa.Table:
    """Rows of both views: `group` every reply, `sft` those that passed."""
    groups: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault(row.group or ids.canonical_json(row.messages), []).append(i)
    names = [ids.content_id("group", name) for name in groups]
    tasks = [""] * len(rows)
    for name, members in zip(names, groups.values(), strict=True):
        for i in members:
            tasks[i] = name
    prompts = imported_tables.prompts(rows, tasks, renderer)
    made = []
    for (name, members), group_id in zip(groups.items(), names, strict=True):
        asked = [prompts[i] for i in members]
        if refused := next((p for p in asked if isinstance(p, DataError)), None):
            raise DataError(f"{file}: {rows[members[0]].where}: {refused.message}", refused.hint)
        if len({p["prompt_id"] for p in asked if isinstance(p, dict)}) > 1:
            raise DataError(
                f"{file}: group {name} holds replies to several prompts", "a group is one prompt, asked several times"
            )
        rate = sum(bool(rows[i].label) for i in members) / len(members)
        for number, i in enumerate(members):
            made += _views(rows[i], group_id, prompts[i], renderer, (number, rate, len(members)))  # type: ignore[arg-type]
    return pa.Table.from_pylist(made, schema=examples.ROWS).sort_by("example_id")


def _views(
    row: Row, group_id: str, prompt: dict[str, Any], renderer: Renderer, place: tuple[int, float, int]
) -> list[dict[str, Any]]:
    """Write one reply as a row of view `group` and, if it is right and whole, as a row of view `sft` too.

    `place` is its number, its group's pass rate and size.
    """
    number, rate, n = place
    rollout_id = ids.rollout_id(prompt["prompt_id"], "file", group_id, number)
    token_ids, logprobs, _ = imported_tables.completion_ids(row, renderer)
    shared = {
        "split": "train", "weight": 1.0, "task_id": group_id, "group_id": group_id, "rollout_id": rollout_id,
        "prompt": row.messages, "completion": [assistant(row.text)],
        "prompt_token_ids": prompt["token_ids"], "token_ids": token_ids, "loss_mask": [1] * len(token_ids or ()),
        "logprobs": logprobs, "logprob_source": row.logprob_source if logprobs else None,
        "temperature": _TEMPERATURE if row.sampling[0] is None else row.sampling[0],
        "label": row.label, "pass_rate": rate, "n": n, "label_source": "imported",
    }  # fmt: skip
    views = ["group", "sft"] if row.label and not _cut(row) else ["group"]
    return [shared | {"view": view, "example_id": ids.example_id(group_id, view, [rollout_id])} for view in views]


def _samplings(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The unlike samplings of a file; what it does not tell is null."""
    found = {row.sampling: imported_tables.sampling_fields(row) for row in rows}
    return sorted(found.values(), key=ids.canonical_json)


def _name(file: Path) -> str:
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in file.stem)
    return kept if kept[:1].isalnum() else "file"
