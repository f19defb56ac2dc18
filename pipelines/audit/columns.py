"""Which column of a stranger's data is which: said by the user, else guessed from names, and told either way. Reads no file."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence

from ratoon.errors import ConfigError, DataError

NAMES: dict[str, tuple[str, ...]] = {
    "row_id": ("row_id", "rollout_id", "example_id", "id", "uuid", "uid"),
    "task_id": ("task_id", "group_id", "group", "problem_id", "prompt_id", "question_id"),
    "iteration": ("iteration", "round"),
    "prompt": ("prompt", "question", "problem", "instruction", "query", "input", "user", "prompts", "task"),
    "completion": ("completion", "response", "output", "solution", "reply", "generation", "chosen", "assistant", "answer",
                   "completions", "text", "content", "target"),
    "gold": ("gold", "gold_answer", "reference", "reference_answer", "expected_answer", "ground_truth", "final_answer",
             "answer"),
    "answer": ("predicted_answer", "extracted_answer", "parsed_answer"),
    "passed": ("passed", "is_correct", "correct", "label", "verified", "pass"),
    "reward": ("reward", "score", "reward_score", "rating", "value"),
    "pass_rate": ("pass_rate", "accuracy", "solve_rate"),
    "n_tokens": ("n_tokens", "num_tokens", "completion_tokens", "token_count"),
    "finish_reason": ("finish_reason", "stop_reason"),
    "family": ("family", "category", "source", "subject", "topic", "domain", "task_type"),
    "split": ("split",),
    "messages": ("messages", "conversations", "conversation", "chat"),
}  # fmt: skip
_OURS = tuple(NAMES)


def pairs(asked: Iterable[str]) -> dict[str, str]:
    """`OURS=THEIRS` items as a dict. Raises ConfigError on another form or an unknown name of ours."""
    found = {}
    for item in asked:
        ours, equals, theirs = (part.strip() for part in item.partition("="))
        if not (equals and ours and theirs):
            raise ConfigError(f"--column {item!r} is not OURS=THEIRS", "for example --column gold=final_answer")
        if ours not in NAMES:
            near = difflib.get_close_matches(ours, _OURS, n=1)
            raise ConfigError(
                f"--column {item}: there is no column {ours!r}",
                f"did you mean {near[0]!r}?" if near else f"columns: {', '.join(_OURS)}",
            )
        found[ours] = theirs
    return found


def column_map(there: Sequence[str], asked: Mapping[str, str], where: str) -> dict[str, str]:
    """Ours by theirs: what was asked, and a guess by name for the rest; a column serves one purpose.

    Raises DataError where an asked column is not there.
    """
    for ours, theirs in asked.items():
        if theirs not in there:
            near = difflib.get_close_matches(theirs, there, n=1)
            raise DataError(
                f"{where} has no column {theirs!r} (asked for {ours}); its columns are {', '.join(there) or 'none'}",
                f"did you mean {near[0]!r}?" if near else f"--{ours} COLUMN, or --column {ours}=COLUMN",
            )
    found = dict(asked)
    lower = {name.lower(): name for name in reversed(there)}
    order = ["messages", "prompt", "completion", *(name for name in _OURS if name not in ("messages", "prompt", "completion"))]
    for ours in order:
        if ours in found or (ours == "messages" and {"prompt", "completion"} & set(found)):
            continue
        if ours in ("prompt", "completion") and "messages" in found:
            continue
        free = (lower[name] for name in NAMES[ours] if name in lower and lower[name] not in found.values())
        if theirs := next(free, ""):
            found[ours] = theirs
    return found


def told(found: Mapping[str, str], asked: Mapping[str, str]) -> str:
    """One sentence on what was guessed."""
    guessed = [f"{ours} = {theirs}" for ours, theirs in found.items() if ours not in asked]
    return f"columns guessed from their names: {', '.join(guessed)}" if guessed else "columns as given"
