"""What a reply says, read without a gold answer: one `scores` row of scorer `reading` a rollout; judges nothing.

Status is `abstain`, because nobody judged; `answer` is the canonical answer or null; a rollout that never came back is an
`error`. Reading is a verifier's own reading: it is asked with no gold. Equal replies are read once, and replies that end in a
plain whole number, as most do, are read by one regular expression over whole columns; the verifier's reading of those is
the same (a test holds the two together).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratoon import schema
from ratoon.metrics.verifiers.pool import Item, VerifierPool
from ratoon.metrics.verifiers.verdict import Verdict

READING = "reading"
# A number at the end, at the beginning or behind a letter, `=` or `:` and one blank: no separator, fraction or power is near.
_PLAIN = r"(?s)(?:^|[A-Za-z=:] )(?P<number>-?[1-9][0-9]{0,17}|0)[.!]?\s*$"


def readings(rollouts: pa.Table, reader: str, args: Mapping[str, Any], pool: VerifierPool) -> pa.Table:
    """Table `scores` for rollouts (rollout_id, text, error): what verifier `reader` reads out of each; `text` is an answer."""
    texts = pc.if_else(pc.is_null(rollouts["error"]), rollouts["text"], pa.scalar(None, pa.string())).combine_chunks()
    known = texts.dictionary_encode()
    answers, problems = read(known.dictionary, reader, args, pool)
    at, n = known.indices, rollouts.num_rows
    problem = pc.if_else(pc.is_null(texts), pa.scalar("rollout has no text"), problems.take(at))
    columns = {
        "subject_kind": pa.repeat("rollout", n), "subject_id": rollouts["rollout_id"], "scorer": pa.repeat(READING, n),
        "version": pa.repeat(version(reader, pool), n), "repeat": pa.repeat(pa.scalar(0, pa.int32()), n),
        "status": pc.if_else(pc.is_valid(problem), "error", "abstain"), "answer": answers.take(at), "detail": problem,
    }  # fmt: skip
    return schema.from_columns("scores", columns, n)


def version(reader: str, pool: VerifierPool) -> str:
    """Who reads, in which version."""
    return f"{reader} {pool.version(reader)}"


def read(texts: pa.Array, reader: str, args: Mapping[str, Any], pool: VerifierPool) -> tuple[pa.Array, pa.Array]:
    """Of each text its canonical answer, null where there is none, and what kept the reader from reading, null as a rule."""
    quick = reader == "numeric" and not args and reader not in pool.extra
    answers = _plain(texts) if quick else pa.nulls(len(texts), pa.string())
    rest = np.flatnonzero(answers.is_null().to_numpy(zero_copy_only=False))
    items = [Item(reader, text, None, args) for text in texts.take(pa.array(rest)).to_pylist()]
    verdicts = pool.run(items) if items else []
    return _filled(answers, rest, verdicts, "answer"), _filled(pa.nulls(len(texts), pa.string()), rest, verdicts, "detail")


def _plain(texts: pa.Array) -> pa.Array:
    """The number of replies that end in a plain one, else null."""
    simple = pc.and_(pc.string_is_ascii(texts), pc.invert(pc.match_substring(texts, "\\")))
    found = pc.struct_field(pc.extract_regex(texts, _PLAIN), "number")
    return pc.if_else(simple, found, pa.scalar(None, pa.string()))


def _filled(known: pa.Array, rows: np.ndarray, verdicts: list[Verdict], what: str) -> pa.Array:
    """`known` with what the verdicts on `rows` say; details only of errors."""
    said = [v.answer if what == "answer" else v.detail if v.status == "error" else None for v in verdicts]
    mask = np.zeros(len(known), bool)
    mask[rows] = True
    return pc.replace_with_mask(known, pa.array(mask), pa.array(said, pa.string()))
