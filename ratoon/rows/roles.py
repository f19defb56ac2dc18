"""What a column can be, under one word everywhere; the names it goes by in files; and `--column NAME=ROLE`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ratoon.errors import ConfigError, DataError


class Role(NamedTuple):
    """What it says, and the names of columns that have it without being told, the surest first."""

    help: str
    names: tuple[str, ...] = ()


# The roles that carry a row's texts: which column has which is a layout's to say.
TEXTS: dict[str, Role] = {
    "messages": Role("a conversation", ("messages", "conversations", "conversation", "chat", "dialog", "dialogue")),
    "system": Role("the system message", ("system", "system_prompt")),
    "prompt": Role("what is asked: a text, or turns that end with the user's",
                   ("prompt", "question", "problem", "instruction", "query", "input", "user", "prompts", "task", "inputs")),
    "input": Role("what the prompt speaks of, asked below it", ("input", "context")),
    "options": Role("the choices of a question, asked below it", ("options", "choices")),
    "completion": Role("the reply: a text, or turns",
                       ("completion", "response", "output", "solution", "generated_solution", "reply", "generation", "chosen",
                        "assistant", "completions", "target", "canonical_solution", "outputs", "responses")),
    "completions": Role("a list of replies", ("generations", "completions", "responses", "samples", "outputs", "solutions")),
    "rejected": Role("the reply that was not preferred", ("rejected",)),
    "answer": Role("the gold answer, or a list of them: any will do",
                   ("answer", "gold", "gold_answer", "reference", "reference_answer", "expected_answer", "ground_truth",
                    "final_answer", "answers", "correct_answers", "best_answer")),
}  # fmt: skip
# What else is known of a row.
FACTS: dict[str, Role] = {
    "id": Role("the row's id", ("row_id", "rollout_id", "example_id", "id", "uuid", "uid")),
    "group": Role("names the replies to one prompt",
                  ("task_id", "group_id", "group", "problem_id", "prompt_id", "question_id")),
    "round": Role("the round", ("iteration", "round")),
    "prediction": Role("the answer read out of the reply", ("predicted_answer", "extracted_answer", "parsed_answer")),
    "label": Role("a verdict: true or false", ("label", "passed", "is_correct", "correct", "verified", "pass")),
    "reward": Role("a number for the reply", ("reward", "score", "reward_score", "rating", "value")),
    "pass_rate": Role("the share of replies that pass", ("pass_rate", "accuracy", "solve_rate")),
    "n_tokens": Role("tokens of the reply", ("n_tokens", "num_tokens", "completion_tokens", "token_count")),
    "finish_reason": Role("stop or length", ("finish_reason", "stop_reason")),
    "family": Role("the kind of task", ("family", "category", "source", "subject", "topic", "domain", "task_type")),
    "split": Role("train, probe or eval", ("split",)),
    "level": Role("level of difficulty", ("level", "difficulty")),
}  # fmt: skip
ROLES = TEXTS | FACTS
# Names of roles that earlier versions used.
ALIASES = {"row_id": "id", "task_id": "group", "gold": "answer", "passed": "label", "iteration": "round"}


def role_of(word: str, roles: Iterable[str] = ROLES) -> str | None:
    """The role a word names, by itself or by its old name; None where it names none of `roles`."""
    name = ALIASES.get(word, word)
    return name if name in roles else word if word in roles else None


def asked(
    items: Iterable[str] | Mapping[str, str], columns: Sequence[str], where: str, roles: Iterable[str] = ROLES
) -> dict[str, str]:
    """Column by role of `--column` items: NAME=ROLE, or ROLE=NAME, whichever side names a column of the file.

    Where both sides could be either, it is ROLE=NAME. Raises ConfigError for another form or an unknown role, DataError for
    a column that is not there.
    """
    pairs = items.items() if isinstance(items, Mapping) else map(_parts, items)
    known = list(roles)
    return dict(_pair(left, right, columns, where, known) for left, right in pairs)


def _parts(item: str) -> tuple[str, str]:
    left, equals, right = (part.strip() for part in item.partition("="))
    if not (equals and left and right):
        raise ConfigError(f"--column {item!r} is not NAME=ROLE", "for example --column final_answer=answer")
    return left, right


def _pair(left: str, right: str, columns: Sequence[str], where: str, roles: Sequence[str]) -> tuple[str, str]:
    for role, name in ((left, right), (right, left)):
        if (known := role_of(role, roles)) is not None and name in columns:
            return known, name
    for role, name in ((left, right), (right, left)):
        if (known := role_of(role, roles)) is not None:
            near = difflib.get_close_matches(name, columns, n=1)
            raise DataError(
                f"{where} has no column {name!r} (asked for {known}); its columns are {', '.join(columns) or 'none'}",
                f"did you mean {near[0]!r}?" if near else f"--column NAME={known}",
            )
    near = difflib.get_close_matches(left, roles, n=1) or difflib.get_close_matches(right, roles, n=1)
    raise ConfigError(
        f"--column {left}={right}: neither is a role of a column",
        f"did you mean {near[0]!r}?" if near else f"roles: {', '.join(roles)}",
    )


def by_name(role: str, columns: Mapping[str, str], taken: Iterable[str] = ()) -> str | None:
    """The column that has a role by its name; `columns` are true names by their small letters, `taken` ones serve another."""
    names = ROLES[role].names
    return next((columns[name] for name in names if name in columns and columns[name] not in set(taken)), None)
