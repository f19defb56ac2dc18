"""A question with its gold answer, or several of them, and choices where there are any."""

from __future__ import annotations

from ratoon.rows.layouts.layout import Layout, Look
from ratoon.rows.roles import TEXTS

_ANSWERS = TEXTS["answer"].names
_LETTERS = (("a", "b", "c", "d", "e"), ("a", "b", "c", "d"), ("opa", "opb", "opc", "opd"),
            ("option_a", "option_b", "option_c", "option_d"))  # fmt: skip


def _roles(look: Look) -> dict[str, str] | None:
    question = look.first(*TEXTS["prompt"].names)
    if question is None:
        return None
    answer = look.first(*_ANSWERS)
    options = look.first("choices", "options") or next(
        ("+".join(look.names[n] for n in names) for names in _LETTERS if all(n in look.names for n in names)), None
    )
    found = {"prompt": question, "answer": answer, "options": options}
    return {role: name for role, name in found.items() if name is not None}


LAYOUT = Layout(
    "question and answer", "`question` and `answer` or `answers` (a list: any will do), with `choices` or `options`",
    {"question": "What is 2 + 2?", "answer": "4"}, _roles,
)  # fmt: skip
