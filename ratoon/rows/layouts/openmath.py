"""OpenMathInstruct: a problem, a solution that a model wrote, and the expected answer."""

from __future__ import annotations

from ratoon.rows.layouts.layout import Layout, Look, named


def _roles(look: Look) -> dict[str, str] | None:
    found = named(look, prompt=("problem", "question"), completion=("generated_solution",))
    answer = look.first("expected_answer")
    return found if found is None or answer is None else found | {"answer": answer}


LAYOUT = Layout(
    "OpenMathInstruct", "`problem`, `generated_solution` and `expected_answer`",
    {"problem": "What is 2 + 2?", "generated_solution": "It is 4.", "expected_answer": "4"}, _roles,
)  # fmt: skip
