"""Which proposed tasks ask what is held out: by problem key, and by the contamination index of texts. Drops nothing itself.

Held out are the run's own tasks of other splits than train, and the benchmarks of `curation.against`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from ratoon.config import semantic
from ratoon.filters.decontaminate import DecontaminateConfig
from ratoon.generators.proposers.candidates import Candidate, Leak
from ratoon.generators.tasks.task_rows import text_key
from ratoon.messages import user_texts
from ratoon.metrics.text import contamination
from ratoon.metrics.text.contamination import ContaminationConfig
from ratoon.pipelines.contamination import benchmarks
from ratoon.pipelines.recipe.sections import CurationConfig
from ratoon.store.store import Manifest, Store

_COLUMNS = ["task_id", "problem_key", "split", "messages", "answer"]


def settings(config: CurationConfig) -> list[object]:
    """What decides which candidates are found, for the key of an artifact."""
    return [contamination.VERSION, semantic(config.contamination), sorted(config.against)]


def leaks(store: Store, config: CurationConfig, pool: Sequence[Manifest], candidates: Sequence[Candidate]) -> dict[str, Leak]:
    """The held-out task or benchmark item that each candidate asks, by `subject_id`; candidates that ask none are absent."""
    tasks = store.read("tasks", pool, _COLUMNS)
    frozen = benchmarks.frozen(store, config.against)
    known = store.read("benchmarks", [frozen]) if frozen is not None else None
    return found(candidates, tasks.filter(pc.not_equal(tasks["split"], "train")), known, config.contamination)


def found(
    candidates: Sequence[Candidate], held_out: pa.Table, known: pa.Table | None, config: ContaminationConfig
) -> dict[str, Leak]:
    """The same of tables: held-out tasks, and rows of table `benchmarks`."""
    questions = user_texts(held_out["messages"])
    by_key = _by_key(held_out, questions)
    keyed = {c.subject_id: Leak("problem_key", by_key[key]) for c in candidates for key in _keys(c) if key in by_key}
    items = [benchmarks.held_out(held_out, questions)] + ([known] if known is not None else [])
    return _matched(candidates, contamination.build(pa.concat_tables(items), config)) | keyed


def _by_key(held_out: pa.Table, questions: pa.Array) -> dict[str, str]:
    """The task of each problem key, and of each question as a key."""
    task_ids = held_out["task_id"].to_pylist()
    texts = zip(questions.to_pylist(), task_ids, strict=True)
    found = {text_key(text): task for text, task in texts if text is not None}
    return found | dict(zip(held_out["problem_key"].to_pylist(), task_ids, strict=True))


def _keys(candidate: Candidate) -> list[str]:
    texts = [text_key(text) for text in (candidate.text, candidate.message) if text]
    return [*texts, candidate.problem_key] if candidate.problem_key else texts


def _matched(candidates: Sequence[Candidate], index: contamination.Index) -> dict[str, Leak]:
    """The item of each candidate's strongest match, among the tiers that filter `decontaminate` drops by default."""
    rule = DecontaminateConfig()
    texts = [(c.subject_id, text) for c in candidates for text in (c.text, c.message) if text]
    subjects, said = (pa.array(column, pa.string()) for column in (zip(*texts, strict=True) if texts else ((), ())))
    best: dict[str, Leak] = {}
    for edge in contamination.matches(index, subjects, said).to_pylist():
        tier, share = json.loads(edge["evidence"])["tier"], edge["similarity"]
        if tier in rule.tiers and (tier != contamination.COVERAGE or share >= rule.coverage):
            threshold = rule.coverage if tier == contamination.COVERAGE else None
            best.setdefault(edge["a_id"], Leak(tier, edge["b_id"], share, threshold))
    return best
