"""The dataset card: YAML that `datasets` reads, then what a person wants to know. It counts; it judges nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

_COLUMNS = """\
| column | holds |
|---|---|
| prompt, completion | message lists, ready for a chat template |
| prompt_token_ids, token_ids | exactly what the model was given and what it sampled, the end-of-turn id included |
| loss_mask | 1 where a token of `token_ids` is trained on |
| logprobs, logprob_source, temperature | natural-log probabilities as sampled, who computed them, the sampling temperature |
| label, label_source | true: passed, false: failed, null: unknown; and who said so |
| pass_rate, n | of the group of n rollouts that this one was sampled in |
| weight, view, split | how much it counts, as what kind of example, where |
| example_id, task_id, group_id, rollout_id, policy_id, iteration | ids in the run that made it; the round |
"""


class Facts(NamedTuple):
    """What is known beside the rows: rows of table `measures`, and warnings that stood, in words."""

    measures: Sequence[Mapping[str, Any]] = ()
    warnings: Sequence[str] = ()


def render(rows: pa.Table, info: Mapping[str, Any], facts: Facts | None = None) -> str:
    """The README.md of a dataset folder from its rows, `dataset.json` and what else is known."""
    title = f"# {info['name']}, iteration {info['iteration']}\n"
    return "\n".join([_front_matter(info), title, _statistics(rows, info), _told(facts or Facts()), _made(info)])


def config_lines(files: Mapping[str, str], content: str) -> list[str]:
    """Lines of YAML that name one default config of these files by split; `content` is the digest of their rows.

    `datasets` caches a local folder under its last name and its config's name alone, so the config's name holds the digest:
    otherwise runs/a/datasets/default/1 would be loaded for runs/b/datasets/default/1.
    """
    named = [line for split, path in files.items() for line in (f'  - split: "{split}"', f"    path: {path}")]
    return ["configs:", f"- config_name: default-{content[:16]}", "  default: true", "  data_files:", *named]


def _told(facts: Facts) -> str:
    """Warnings before numbers."""
    text = "## Warnings that stood\n\n" + "".join(f"- {said}\n" for said in facts.warnings) + "\n" if facts.warnings else ""
    if facts.measures:
        head = "## Quality, diversity, complexity\n\n| metric | value | 95 % interval | n |\n|---|---|---|---|\n"
        text += head + "".join(_measured(row) for row in facts.measures)
    return text


def _measured(row: Mapping[str, Any]) -> str:
    interval = "" if row["lo"] is None or row["hi"] is None else f"{row['lo']:.4g} to {row['hi']:.4g}"
    return f"| {row['metric']} | {row['value']:.4g} | {interval} | {'' if row['n'] is None else row['n']} |\n"


def _front_matter(info: Mapping[str, Any]) -> str:
    files = {split: f"data/{split}-*.parquet" for split in info["splits"]}
    licence = (info["made"] or {}).get("licence")
    lines = [
        "---",
        *([f"license: {json.dumps(licence)}"] if licence else []),
        *config_lines(files, info["content_digest"]),
    ]
    return "\n".join([*lines, "task_categories:", "- text-generation", "tags:", "- ratoon", "- synthetic", "---", ""])


def _statistics(rows: pa.Table, info: Mapping[str, Any]) -> str:
    facts = {f"rows in split `{split}`": count for split, count in info["splits"].items()}
    facts |= {"tasks": pc.count_distinct(rows["task_id"]).as_py(), "policies": pc.count_distinct(rows["policy_id"]).as_py()}
    for name, column in (("prompt", "prompt_token_ids"), ("completion", "token_ids")):
        lengths = pc.list_value_length(rows[column])
        if lengths.null_count < len(lengths):
            facts[f"{name} tokens"] = pc.sum(lengths).as_py()
            facts[f"mean {name} tokens"] = round(pc.mean(lengths).as_py(), 1)
    mean_rate = pc.mean(rows["pass_rate"]).as_py()
    if mean_rate is not None:
        facts["mean pass rate of the rows' groups"] = round(mean_rate, 3)
    return "## Statistics\n\n| | |\n|---|---|\n" + "".join(f"| {k} | {v} |\n" for k, v in facts.items())


def _made(info: Mapping[str, Any]) -> str:
    made = json.dumps(info["made"], indent=2, sort_keys=True, ensure_ascii=False, default=str)
    names = ("dataset_id", "content_digest", "run_id", "iteration")
    provenance = "".join(f"- {name}: `{info[name]}`\n" for name in names if info[name] is not None)
    how = f"## How it was made\n\nSampled, verified and selected by ratoon with:\n\n```json\n{made}\n```\n"
    return f"{how}\n## Provenance\n\n{provenance}\n## Columns\n\n{_COLUMNS}"
