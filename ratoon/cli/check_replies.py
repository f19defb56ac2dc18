"""`ratoon verifiers --check FILE`: labelled replies against what the verifiers say about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ratoon.cli import echo

_WIDTH = 60
_WORKERS = 2


def check_replies(file: Path, allow: int, as_json: bool) -> None:
    """Print the confusion table and every disagreement. Raises Stopped beyond `allow` of them, DataError on a bad file."""
    from ratoon.errors import Stopped
    from ratoon.metrics.verifier_errors import labelled
    from ratoon.metrics.verifiers.pool import VerifierPool

    rows, without = labelled.read(file)
    with VerifierPool(_WORKERS) as pool:
        checked = labelled.check(rows, pool)
    table = labelled.confusion(checked)
    wrong = [_row(one) for one in checked if not one.agrees]
    if as_json:
        told = {"rows": len(checked), "without_reply": without, "confusion": table, "disagreements": wrong}
        echo.json(told)
    else:
        _print(file, table, wrong, len(checked), without)
    if len(wrong) > allow:
        raise Stopped(
            f"{len(wrong)} of {len(checked)} verdicts are not the right ones, more than {allow}",
            "mend the verifier or its args, correct the label, or give --allow",
        )


def _print(file: Path, table: list[dict[str, Any]], wrong: list[dict[str, Any]], n: int, without: int) -> None:
    from ratoon.cli.print import print_rows

    passed_over = f"; {without} lines without a reply passed over" if without else ""
    print_rows(table, title=f"verdicts on {n} labelled replies of {file.name}, by right verdict{passed_over}")
    for row in wrong:
        read = "" if row["read"] is None else f", read {_short(row['read'])!r}"
        detail = f" ({_short(row['detail'])})" if row["detail"] else ""
        echo.line(f"{row['place']} {row['verifier']}: {row['verdict']}{detail}, right is {row['right']}{read}")
        echo.line(f"    gold {_short(row['answer'])!r}, reply {_short(row['reply'])!r}")


def _row(one: Any) -> dict[str, Any]:
    return {
        "place": one.place, "verifier": one.row.verifier, "right": one.row.right, "verdict": one.verdict.status,
        "detail": one.verdict.detail, "read": one.verdict.answer, "answer": one.row.answer, "reply": one.row.reply,
    }  # fmt: skip


def _short(text: str | None) -> str | None:
    """On one line, cut in the middle."""
    line = None if text is None else " ".join(text.split())
    return line if line is None or len(line) <= _WIDTH else f"{line[: _WIDTH // 2]} … {line[-_WIDTH // 2 :]}"
