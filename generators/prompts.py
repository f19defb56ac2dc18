"""Tasks to prompts: a system prompt, worked examples and the task's own messages, rendered to token ids once.

It knows the chat template only through the renderer, and nothing of who is asked. A task that cannot be rendered, or
whose prompt is too long, becomes a failure and the others go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from ratoon import ids, schema
from ratoon.errors import DataError
from ratoon.messages import compact, opening
from ratoon.render import Renderer

Message = dict[str, Any]
STAGE = "prompts"
_AT_ONCE = 2048  # tasks that are Python objects at a time


def build(
    tasks: pa.Table,
    renderer: Renderer,
    system: str | None,
    few_shot: Sequence[tuple[str, str]] = (),
    role: str = "solver",
    max_prompt_tokens: int | None = None,
) -> tuple[pa.Table, pa.Table]:
    """Tables `prompts` and `failures`, one row in one of them per task.

    `few_shot` are worked examples, (user, assistant), as turns between the system prompt and the task.
    `max_prompt_tokens` None leaves it to the engine to refuse prompts longer than its context.
    """
    head = opening(system, few_shot)
    made = [
        _build(tasks.slice(start, _AT_ONCE), head, renderer, role, max_prompt_tokens)
        for start in range(0, tasks.num_rows, _AT_ONCE)
    ]
    prompts = pa.concat_tables([schema.empty("prompts"), *(rows for rows, _ in made)])
    return prompts, schema.from_rows("failures", [failure for _, failures in made for failure in failures])


def _build(
    tasks: pa.Table, head: list[Message], renderer: Renderer, role: str, max_prompt_tokens: int | None
) -> tuple[pa.Table, list[dict[str, Any]]]:
    task_ids = tasks["task_id"].to_pylist()
    conversations = [[*head, *compact(messages)] for messages in tasks["messages"].to_pylist()]
    rendered = _render(conversations, tasks["tools"].to_pylist(), renderer)
    rows, failures = [], []
    for task_id, messages, token_ids in zip(task_ids, conversations, rendered, strict=True):
        if isinstance(token_ids, DataError):
            failures.append(_failure(task_id, "TemplateRefused", token_ids.message))
        elif max_prompt_tokens is not None and len(token_ids) > max_prompt_tokens:
            reason = f"the prompt has {len(token_ids)} tokens, the limit is {max_prompt_tokens}"
            failures.append(_failure(task_id, "PromptTooLong", reason))
        else:
            rows.append((task_id, messages, token_ids))
    return _table(rows, role, renderer.template_digest), failures


def _render(conversations: list[list[Message]], tools: list[str | None], renderer: Renderer) -> list[list[int] | DataError]:
    """All at once; only when the template refuses one, each by itself, to find which."""
    try:
        return list(renderer.render(conversations, tools))
    except DataError:
        return [_render_one(*each, renderer) for each in zip(conversations, tools, strict=True)]


def _render_one(conversation: list[Message], tools: str | None, renderer: Renderer) -> list[int] | DataError:
    try:
        return renderer.render([conversation], [tools])[0]
    except DataError as error:
        return error


def _failure(task_id: str, error_class: str, message: str) -> dict[str, Any]:
    return {"stage": STAGE, "subject_id": task_id, "attempt": 0, "error_class": error_class, "message": message}


def _table(rows: list[tuple[str, list[Message], list[int]]], role: str, template_digest: str) -> pa.Table:
    n = len(rows)
    return schema.from_columns(
        "prompts",
        {
            "prompt_id": [ids.prompt_id(task_id, role, template_digest, token_ids) for task_id, _, token_ids in rows],
            "task_id": [task_id for task_id, _, _ in rows],
            "role": [role] * n,
            "template_digest": [template_digest] * n,
            "messages": [messages for _, messages, _ in rows],
            "token_ids": [token_ids for _, _, token_ids in rows],
        },
        rows=n,
    )
