"""How hard a task or a text is, in numbers: difficulty from rollouts, steps, operators, tokens, behaviours, IFD.

Difficulty is relative to the policy and its temperature; a pass rate of 0 mixes what is hard with what is broken. Everything
counted in text grows with its length: compare right answers only, and take length out before claiming complexity. The four
behaviours (Gandhi et al., 2503.01307) are counted here by cheap English patterns, which a model can learn to print: they are
no quality. IFD has two definitions under one name, and both are given: the ratio of mean losses (Li et al., 2308.12032) and
the ratio of perplexities (Superfiltering, 2402.00530); above 1 the instruction did not help.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ratoon.columns import strings
from ratoon.engine import Engine
from ratoon.errors import DataError
from ratoon.metrics.stats.estimators import Estimate, bootstrap, unanimous_rate
from ratoon.metrics.text.lexical_diversity import Texts

VERSION = "1"
_DRAWS = 2000

_COUNTED = {
    "sentences": r"[^\s.!?](?:[.!?]+[\"'”’)\]]*)(?:\s|$)|[。！？]",
    "blocks": r"\S[^\n]*(?:\n|$)",
    "equations": r"[\d)\]}][ \t]*=[ \t]*[-+$\\(]*\d",
    "operators": r"[\d)\]}][ \t]*(?:[-+*/×÷·−^%]|\*\*|\\times|\\div|\\cdot)[ \t]*[-(\\{]*[\da-zA-Z]",
}
_KINDS = {
    "plus": r"[\d)][ \t]*\+", "minus": r"[\d)][ \t]*[-−][ \t]*\d", "times": r"[\d)][ \t]*(?:[*×·]|\\times|\\cdot)",
    "divide": r"[\d)][ \t]*(?:[/÷]|\\div)", "power": r"[\d)a-z][ \t]*\^", "modulo": r"[\d)][ \t]*(?:%|mod\b)",
}  # fmt: skip
_WORDED = {
    "verification": (
        r"let['’]?s (?:check|verify)", r"let me (?:check|verify|double[- ]check)", r"(?:to|we can|i['’]ll) (?:check|verify)",
        r"double[- ]check", r"verify(?:ing)? (?:this|that|the|our|my)", r"this (?:checks out|is correct)",
        r"plug(?:ging)? (?:it |this )?back",
    ),
    "backtracking": (
        r"wait", r"hold on", r"that['’]?s (?:wrong|incorrect|not right)", r"i made a mistake",
        r"let me (?:try again|start over|reconsider|rethink)", r"let['’]?s (?:try again|start over)",
        r"this (?:doesn['’]t|does not) work",
    ),
    "subgoals": (
        r"step \d+", r"(?:first|next|then),? (?:we|i|let|find|compute|calculate)", r"we (?:first|then|now) need",
        r"the (?:first|next) step", r"to (?:do|find|get|solve) this,? we",
    ),
    "backward_chaining": (
        r"work(?:ing)? backwards?", r"to (?:get|reach|obtain) (?:the |a )?(?:answer|target|result|total|\d+),? (?:we|i)",
        r"start(?:ing)? from the (?:answer|target|result|end|goal)", r"we (?:want|need) (?:the result|to end up)",
        r"since the (?:answer|target|goal) is",
    ),
}  # fmt: skip
BEHAVIOURS = {name: rf"(?i)\b(?:{'|'.join(patterns)})\b" for name, patterns in _WORDED.items()}


class Ifd(NamedTuple):
    """Both definitions of one answer: ratio of mean losses, ratio of perplexities."""

    loss: float | None
    ppl: float | None


def difficulty(groups: pa.Table, clusters: Sequence[Hashable] | None = None, *, seed: int = 0) -> Estimate | None:
    """The mean of 1 - pass rate over groups (each counts once), resampled by cluster; None where nothing was judged.

    `groups` has n_valid and n_passed; `clusters` are their problem keys.
    """
    rate, there = _rates(groups)
    if not there.any():
        return None
    keys = None if clusters is None else [key for key, some in zip(clusters, there, strict=True) if some]
    estimate = bootstrap(list(1 - rate[there]), clusters=keys, draws=_DRAWS, seed=seed)
    return unanimous_rate(estimate, estimate.n)


def learnability(groups: pa.Table) -> float | None:
    """The mean of p (1 - p) over groups, unbiased by n / (n - 1), 0 to .25 and a little more; None where no group has two."""
    rate, _ = _rates(groups)
    valid = _column(groups, "n_valid")
    several = valid >= 2
    if not several.any():
        return None
    p, n = rate[several], valid[several]
    return float((p * (1 - p) * n / (n - 1)).mean())


def _rates(groups: pa.Table) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    passed, valid = _column(groups, "n_passed"), _column(groups, "n_valid")
    return passed / np.maximum(valid, 1), valid > 0


def _column(groups: pa.Table, name: str) -> NDArray[np.float64]:
    if name not in groups.column_names:
        raise DataError(f"column {name!r} is missing", f"the table has {groups.column_names}")
    return groups[name].combine_chunks().fill_null(0).to_numpy(zero_copy_only=False).astype(np.float64)


def structure(texts: Texts) -> pa.Table:
    """Counts per text, null for a null: sentences, blocks (lines with something on them), equations, operators, how many
    kinds of operators, and `steps`: equations where there are any, else the larger of sentences and blocks."""
    column = strings(texts)
    counts = {name: pc.count_substring_regex(column, pattern=pattern) for name, pattern in _COUNTED.items()}
    kinds = [pc.match_substring_regex(column, pattern=pattern).cast(pa.int32()) for pattern in _KINDS.values()]
    total = kinds[0]
    for kind in kinds[1:]:
        total = pc.add(total, kind)
    prose = pc.max_element_wise(counts["sentences"], counts["blocks"], skip_nulls=False)
    steps = pc.if_else(pc.greater(counts["equations"], 0), counts["equations"], prose)
    return pa.table({**counts, "operator_kinds": total, "steps": steps})


def behaviours(texts: Texts) -> pa.Table:
    """How often each of the four behaviours is worded in a text, English only; null for a null."""
    column = strings(texts)
    return pa.table({name: pc.count_substring_regex(column, pattern=pattern) for name, pattern in BEHAVIOURS.items()})


def ifd_of(given: Sequence[float], alone: Sequence[float]) -> Ifd:
    """IFD of one answer from the log-probs of its tokens with the instruction and without: the same tokens on both sides.

    None for an answer of no tokens, or with a log-prob that is not finite. Raises DataError on unlike lengths.

    >>> ifd_of([-1.0, -1.0], [-2.0, -2.0])
    Ifd(loss=0.5, ppl=0.36787944117144233)
    """
    if len(given) != len(alone):
        raise DataError(
            f"{len(given)} log-probs with the instruction, {len(alone)} without", "truncate both sides to the same tokens"
        )
    if not given or not all(map(math.isfinite, (*given, *alone))):
        return Ifd(None, None)
    with_, without = -sum(given) / len(given), -sum(alone) / len(alone)
    return Ifd(with_ / without if without > 0 else None, math.exp(min(with_ - without, 700.0)))


def ifd(
    engine: Engine,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[int]],
    alone: Sequence[int],
    max_tokens: int = 512,
) -> list[Ifd]:
    """IFD of each answer (token ids) to its prompt, by the engine's loaded policy; `alone` is the prompt that asks nothing.

    Only the first `max_tokens` tokens of an answer are scored, on both sides. Two forward passes an answer. Raises
    Unsupported where the engine cannot score, DataError on unlike lengths or an empty prompt.
    """
    if len(prompts) != len(answers):
        raise DataError(f"{len(prompts)} prompts beside {len(answers)} answers", "give one prompt an answer")
    if not alone or not all(len(prompt) for prompt in prompts):
        raise DataError("a prompt without tokens conditions nothing", "render at least the start of a turn")
    heads = [list(answer)[:max_tokens] for answer in answers]
    some = [i for i, head in enumerate(heads) if head]
    given = engine.logprobs([(prompts[i], heads[i]) for i in some])
    without = engine.logprobs([(alone, heads[i]) for i in some])
    by_row = {i: ifd_of(a, b) for i, a, b in zip(some, given, without, strict=True)}
    return [by_row.get(i, Ifd(None, None)) for i in range(len(heads))]
