"""What a text shows of itself without a model: length, repetition, lines, script, refusal, echo. Numbers only: filters decide.

The repetition shares are Gopher's (Rae et al., 2112.11446, table A1): the share of a text's characters inside its most frequent
2-, 3- and 4-gram of words (0 where none comes twice), and inside any 5- to 10-gram that came before, counted once. They were
set for web prose: code and long sums repeat by nature. An `echo` or a `leaked` answer may be right and proper (the largest of
three numbers stands in the question). `script` is not a language: a wrong language in the same script is not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ratoon.columns import strings
from ratoon.errors import DataError
from ratoon.metrics.text import hashed_words as words
from ratoon.metrics.text.hashed_words import Batch, Pieces
from ratoon.text import tokenise

VERSION = "1"
TOP, DUP = (2, 3, 4), (5, 6, 7, 8, 9, 10)
ECHO = 4  # words of a run that counts as taken from the prompt
STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
SCRIPTS = ("none", "latin", "greek", "cyrillic", "hebrew", "arabic", "indic", "thai", "hangul", "kana", "han", "other")
REFUSAL = (
    r"(?i)^\W*(?:(?:i['’]?m|i am) (?:very |really |so )?(?:sorry|afraid|unable|not able)"
    r"|(?:sorry|apologies|unfortunately),? (?:but )?i"
    r"|i (?:cannot|can['’]?t|can not|won['’]?t|must decline|am not able to|do not feel comfortable|don['’]?t feel comfortable)"
    r"|as an? (?:ai|artificial intelligence|large language model|language model))\b"
)

_COUNTS = ("chars", "words", "lines", "stop_words")
_SHARES = (
    "word_chars", "alpha_share", "hash_share", "ellipsis_share", "bullet_line_share", "ellipsis_line_share",
    "dup_line_share", "dup_line_char_share", "dup_paragraph_share", "dup_paragraph_char_share",
    *(f"top_{n}" for n in TOP), *(f"dup_{n}" for n in DUP), "script_share",
)  # fmt: skip
COLUMNS = (*_COUNTS, *_SHARES, "script", "empty", "refusal")

_LETTER = np.array([chr(b).isalpha() if b < 128 else b >= 0xC3 for b in range(256)])
_STOP = np.array([words.word_hash(word) for word in STOP_WORDS], np.uint64)
Columns = dict[str, NDArray[Any]]


def lint(texts: pa.Array | pa.ChunkedArray) -> pa.Table:
    """`COLUMNS` of each text, in order; every number of a null text is null. Shares are 0 to 1, `word_chars` is a mean.

    `words` counts words that are not mere signs; `script` is that of most letters, `script_share` its share of them.
    Raises DataError where `texts` holds no strings.
    """
    texts = strings(texts)
    found = [_batch(batch) for batch in words.batches(texts)]
    columns = {name: _joined([f[name] for f in found], name in _COUNTS) for name in (*_COUNTS, *_SHARES, "_script")}
    gone = np.asarray(pc.is_null(texts))
    table: dict[str, Any] = {name: pa.array(columns[name], mask=gone) for name in (*_COUNTS, *_SHARES)}
    codes = pa.array(columns["_script"].astype(np.int8), pa.int8(), mask=gone)
    table["script"] = pa.DictionaryArray.from_arrays(codes, pa.array(SCRIPTS)).cast(pa.string())
    table["empty"] = pa.array(columns["words"] + _signs(found) == 0, mask=gone)
    table["refusal"] = refusal(texts)
    return pa.table({name: table[name] for name in COLUMNS})


def refusal(texts: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    """Whether a text begins as refusals do (English only); null for a null."""
    return pc.match_substring_regex(pc.utf8_slice_codeunits(strings(texts), 0, 80), REFUSAL)


def echo(texts: pa.Array | pa.ChunkedArray, prompts: pa.Array | pa.ChunkedArray) -> pa.Array:
    """The share of a text's runs of 4 words that stand in its prompt; null where it has no such run, or a side is null."""
    texts, prompts = strings(texts), strings(prompts)
    if len(texts) != len(prompts):
        raise DataError(f"{len(texts)} texts beside {len(prompts)} prompts", "give one prompt a text")
    shares = []
    for start in range(0, len(texts), 2048):
        shares.append(_echo(texts.slice(start, 2048), prompts.slice(start, 2048)))
    share = np.concatenate(shares) if shares else np.zeros(0)
    return pa.array(share, mask=np.isnan(share) | np.asarray(pc.is_null(texts)) | np.asarray(pc.is_null(prompts)))


def leaked(prompts: Sequence[str | None], answers: Sequence[str | None]) -> pa.Array:
    """Whether the whole answer stands in its prompt, word for word; null where either is unknown or the answer is empty."""
    if len(prompts) != len(answers):
        raise DataError(f"{len(prompts)} prompts beside {len(answers)} answers", "give one answer a prompt")
    return pa.array([_stands_in(p, a) for p, a in zip(prompts, answers, strict=True)], pa.bool_())


def _stands_in(prompt: str | None, answer: str | None) -> bool | None:
    if prompt is None or answer is None or not answer.strip():
        return None
    if answer.strip() not in prompt:
        return False
    whole, part = tokenise(prompt), tokenise(answer)
    return any(whole[i : i + len(part)] == part for i in range(len(whole) - len(part) + 1))


def _joined(parts: list[NDArray[Any]], counts: bool) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.zeros(0, np.int64 if counts else np.float64)


def _signs(found: list[Columns]) -> NDArray[Any]:
    return _joined([f["_signs"] for f in found], True)


def _batch(batch: Batch) -> Columns:
    kind = words.kinds(batch)
    pieces = words.words(batch, kind)
    chars = _sums((batch.data & 0xC0) != 0x80, batch)
    return {
        "chars": chars,
        **_vocabulary(batch, kind, pieces),
        **_lines(batch, chars),
        **_repetition(batch, pieces, np.maximum(chars, 1)),
        **_scripts(batch),
    }


def _sums(flags: NDArray[Any], batch: Batch) -> NDArray[np.int64]:
    """How many flagged bytes each row has."""
    return np.diff(np.concatenate([[0], np.cumsum(flags, dtype=np.int64)])[batch.starts])


def _vocabulary(batch: Batch, kind: NDArray[np.uint8], pieces: Pieces) -> Columns:
    if not len(pieces.at):
        none = np.zeros(batch.rows)
        shares = dict.fromkeys(("word_chars", "alpha_share", "hash_share", "ellipsis_share"), none)
        return {"words": none.astype(np.int64), "_signs": none.astype(np.int64), "stop_words": none.astype(np.int64), **shares}
    letters = np.logical_or.reduceat(
        _LETTER[batch.data[pieces.at[0] :]] & (kind[pieces.at[0] :] != words.SPACE), pieces.at - pieces.at[0]
    )
    wordy = (kind[pieces.at] == words.WORD) | letters
    rows, row = batch.rows, pieces.row
    n, signs = words.count_by(row[wordy], rows), words.count_by(row[~wordy], rows)
    some, all_ = np.maximum(n, 1), np.maximum(n + signs, 1)
    stops = np.isin(pieces.hashes, _STOP)
    at = np.flatnonzero(stops)
    new = words.first_of(words.salted(pieces)[at]) == np.arange(len(at))
    dots = batch.data == ord(".")
    three = dots.copy()
    three[2:] &= dots[1:-1] & dots[:-2]
    ellipses = _sums(three, batch) + _sums(_ellipsis(batch), batch)
    return {
        "words": n,
        "_signs": signs,
        "stop_words": words.count_by(row[at[new]], rows),
        "word_chars": words.count_by(row[wordy], rows, pieces.chars[wordy]) / some,
        "alpha_share": words.count_by(row[letters], rows) / all_,
        "hash_share": _sums(batch.data == ord("#"), batch) / all_,
        "ellipsis_share": ellipses / all_,
    }


def _ellipsis(batch: Batch) -> NDArray[np.bool_]:
    """The bytes that begin `…`."""
    d, found = batch.data, np.zeros(len(batch.data), bool)
    found[:-2] = (d[:-2] == 0xE2) & (d[1:-1] == 0x80) & (d[2:] == 0xA6)
    return found


def _lines(batch: Batch, chars: NDArray[np.int64]) -> Columns:
    newline = batch.data == ord("\n")
    double = newline.copy()
    double[1:] &= newline[:-1]
    double[:-1] |= double[1:] & newline[:-1]
    found = words.segments(batch, newline)
    out: Columns = {"lines": words.count_by(found.row, batch.rows)}
    some, size = np.maximum(out["lines"], 1), np.maximum(chars, 1)
    for name, runs in (("line", found), ("paragraph", words.segments(batch, double) if double.any() else None)):
        if runs is None or not newline.any():
            out[f"dup_{name}_share"] = out[f"dup_{name}_char_share"] = np.zeros(batch.rows)
            continue
        again = words.first_of(words.salted(runs)) != np.arange(len(runs.at))
        share = words.count_by(runs.row[again], batch.rows) / np.maximum(words.count_by(runs.row, batch.rows), 1)
        out[f"dup_{name}_share"] = share
        out[f"dup_{name}_char_share"] = words.count_by(runs.row[again], batch.rows, runs.chars[again]) / size
    begin = batch.data[found.at]
    bullet = (
        (begin == ord("-"))
        | (begin == ord("*"))
        | (begin == 0xE2)
        & (batch.data[np.minimum(found.at + 1, len(batch.data) - 1)] == 0x80)
        & (batch.data[np.minimum(found.at + 2, len(batch.data) - 1)] == 0xA2)
    )
    out["bullet_line_share"] = words.count_by(found.row[bullet], batch.rows) / some
    out["ellipsis_line_share"] = words.count_by(found.row[_ends_in_dots(batch, found)], batch.rows) / some
    return out


def _ends_in_dots(batch: Batch, lines: Pieces) -> NDArray[np.bool_]:
    """Whether a line's last three bytes are `...` or `…`."""
    data = batch.data
    if len(data) < 3 or not len(lines.at):
        return np.zeros(len(lines.at), bool)
    stop = np.append(lines.at[1:], len(data))
    row_end = batch.starts[1:][lines.row]
    stop = np.minimum(stop, row_end)
    for _ in range(2):  # the separators between this line and the next
        stop = stop - (data[stop - 1] == ord("\n"))
    last = [data[np.maximum(stop - k, 0)] for k in (3, 2, 1)]
    dots = (last[0] == ord(".")) & (last[1] == ord(".")) & (last[2] == ord("."))
    return (stop - lines.at >= 3) & (dots | (last[0] == 0xE2) & (last[1] == 0x80) & (last[2] == 0xA6))


def _repetition(batch: Batch, pieces: Pieces, size: NDArray[np.int64]) -> Columns:
    """Shares of characters in repeated n-grams. One comes twice only where its first n - 1 words do: few are left to try."""
    out: Columns = {f"{'top' if n in TOP else 'dup'}_{n}": np.zeros(batch.rows) for n in (*TOP, *DUP)}
    end = pieces.starts[1:][pieces.row]
    upto = np.concatenate([[0], np.cumsum(pieces.chars)])
    grams, at = words.salted(pieces), np.arange(len(pieces.at))
    for n in range(1, DUP[-1] + 1):
        first = words.first_of(grams)
        count = np.bincount(first, minlength=len(first))[first]
        if n in TOP:
            out[f"top_{n}"] = _top(batch, pieces, at, first, count, upto, n) / size
        elif n in DUP:
            again = at[first != np.arange(len(first))]
            out[f"dup_{n}"] = _covered(batch, pieces, again, n) / size
        more = (count > 1) & (at + n < end[at])
        grams, at = words.longer(grams[more], pieces.hashes, at[more] + n), at[more]
        if not len(at):
            break
    return out


def _top(
    batch: Batch, pieces: Pieces, at: NDArray[Any], first: NDArray[Any], count: NDArray[Any], upto: NDArray[Any], n: int
) -> NDArray[Any]:
    """Characters in each row's most frequent n-gram (the earliest of equals), blanks between its words included."""
    found = np.zeros(batch.rows)
    heads = np.flatnonzero((first == np.arange(len(first))) & (count > 1))
    if len(heads):
        row = pieces.row[at[heads]]
        best = heads[np.lexsort((heads, -count[heads], row))]
        row = pieces.row[at[best]]
        best = best[np.concatenate([[True], row[1:] != row[:-1]])]
        chars = upto[at[best] + n] - upto[at[best]] + n - 1
        found[pieces.row[at[best]]] = count[best] * chars
    return found


def _covered(batch: Batch, pieces: Pieces, again: NDArray[Any], n: int) -> NDArray[Any]:
    """Characters of the words that lie in an n-gram that came before."""
    if not len(again):
        return np.zeros(batch.rows)
    depth = (
        np.bincount(again, minlength=len(pieces.at) + 1)
        - np.bincount(again + n, minlength=len(pieces.at) + 1)[: len(pieces.at) + 1]
    )
    inside = np.cumsum(depth)[:-1] > 0
    return words.count_by(pieces.row[inside], batch.rows, pieces.chars[inside])


def _scripts(batch: Batch) -> Columns:
    """The script of most letters, by the first byte of each character."""
    rows = np.zeros((batch.rows, len(SCRIPTS)), np.int64)
    rows[:, 1] = _sums(_LETTER[batch.data] & (batch.data < 128), batch)
    if len(batch.data) and batch.data.max() >= 0x80:
        at = np.flatnonzero(batch.data >= 0xC3)
        row = np.searchsorted(batch.starts, at, "right") - 1
        code = _script_of(batch.data[at], batch.data[np.minimum(at + 1, len(batch.data) - 1)])
        counted = np.bincount(row * len(SCRIPTS) + code, minlength=rows.size)
        rows += counted.reshape(rows.shape)
    rows[:, 0] = 0
    most = rows.argmax(1)
    total = rows.sum(1)
    return {"_script": np.where(total > 0, most, 0), "script_share": rows.max(1) / np.maximum(total, 1)}


def _script_of(one: NDArray[np.uint8], two: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Indices into SCRIPTS; 0 for signs."""
    name = {script: i for i, script in enumerate(SCRIPTS)}
    out = np.full(len(one), name["other"])
    for low, high, script in (
        (0xC3, 0xC9, "latin"), (0xCD, 0xCF, "greek"), (0xD0, 0xD4, "cyrillic"), (0xD6, 0xD7, "hebrew"), (0xD8, 0xDD, "arabic"),
        (0xE2, 0xE2, "none"), (0xE4, 0xE9, "han"), (0xEA, 0xED, "hangul"), (0xEF, 0xF7, "none"),
    ):  # fmt: skip
        out[(one >= low) & (one <= high)] = name[script]
    out[(one == 0xE0) & (two >= 0xA4)] = name["indic"]
    out[(one == 0xE0) & (two >= 0xB8) & (two <= 0xB9)] = name["thai"]
    out[(one == 0xE1) & (two >= 0xB8)] = name["latin"]
    out[(one == 0xE3)] = name["han"]
    out[(one == 0xE3) & (two >= 0x81) & (two <= 0x83)] = name["kana"]
    out[(one == 0xE3) & (two == 0x80)] = name["none"]
    return out


def _echo(texts: pa.Array | pa.ChunkedArray, prompts: pa.Array | pa.ChunkedArray) -> NDArray[np.float64]:
    reply, ask = _grams(texts), _grams(prompts)
    n = len(texts)
    first = words.first_of(np.concatenate([ask[0], reply[0]]))[len(ask[0]) :]
    known = words.count_by(reply[1][first < len(ask[0])], n)
    total = words.count_by(reply[1], n)
    return np.where(total > 0, known / np.maximum(total, 1), np.nan)


def _grams(texts: pa.Array | pa.ChunkedArray) -> tuple[words.Hashes, NDArray[np.int64]]:
    """Runs of ECHO words, salted by row, and their rows."""
    keys: list[words.Hashes] = [np.zeros(0, np.uint64)]
    rows: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    for batch in words.batches(texts, 1 << 30):
        pieces = words.words(batch, words.kinds(batch))
        grams, at = words.n_grams(pieces, ECHO)
        row = pieces.row[at] + batch.first
        keys.append(words.mixed(grams + row.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)))
        rows.append(row)
    return np.concatenate(keys), np.concatenate(rows)
