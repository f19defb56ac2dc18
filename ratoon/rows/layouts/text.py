"""A text a row, with nothing asked."""

from __future__ import annotations

from ratoon.rows.layouts.layout import Layout, Look
from ratoon.rows.roles import TEXTS


def _roles(look: Look) -> dict[str, str] | None:
    column = look.first("text", "content", *TEXTS["completion"].names)
    return None if column is None else {"completion": column}


LAYOUT = Layout("text", "`text` or `content` alone", {"text": "Two and two are four."}, _roles)
