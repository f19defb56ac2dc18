"""Draw docs/img/tables.svg, the tables and how rows of one become rows of the next; `--check` only says if it is current.

    .venv/bin/python tools/tables_svg.py [--check]

Boxes have fills of their own and arrows are mid-grey, so that the picture reads on white and on black.
"""

from __future__ import annotations

import sys
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "docs" / "img" / "tables.svg"
FILLS = {"generators": "#d3f0dc", "metrics": "#d5e5fb", "filters": "#fde3c8", "sft": "#e8dcfa", "pipelines": "#e9ebee"}
_INK, _GREY, _SOFT = "#1b2430", "#7d8896", "#4a5563"

# name: (column, row, who fills it, lines under the name); the first line is the key.
LOOP: dict[str, tuple[int, int, str, tuple[str, ...]]] = {
    "tasks": (0, 0, "generators", ("task_id", "problem_key · messages", "answer · verifier · split")),
    "prompts": (1, 0, "generators", ("prompt_id", "messages · token_ids", "template_digest")),
    "rollouts": (2, 0, "generators", ("rollout_id", "text · token_ids · logprobs", "finish_reason · error")),
    "scores": (3, 0, "metrics", ("subject_id + scorer", "status · value", "answer · detail")),
    "groups": (4, 0, "metrics", ("group_id + scorer", "n · pass_rate [lo, hi]", "vote · vote_share")),
    "decisions": (4, 1, "filters", ("curation_id + step + id", "filter · keep · reason", "value · threshold")),
    "examples": (3, 1, "sft", ("dataset_id + example_id", "rollout_ids · weight", "view · split")),
    "policies": (2, 1, "sft", ("policy_id", "parent · dataset_id", "weights_digest · iteration")),
    "evals": (1, 1, "metrics", ("policy_id + suite + metric", "value [lo, hi] · n_tasks", "against_policy_id")),
    "state": (0, 1, "pipelines", ("iteration + step + key", "value", "temperature, threshold …")),
}
BESIDE: dict[str, tuple[str, str]] = {
    "assignments": ("generators", "who is asked what"),
    "samplings": ("generators", "temperature, top_p …"),
    "oracles": ("generators", "hidden truth"),
    "failures": ("pipelines", "what could not be used"),
    "edges": ("metrics", "near pairs"),
    "signatures": ("metrics", "what finds near pairs"),
    "lint": ("metrics", "repetition, script, refusal"),
    "sketches": ("metrics", "sums that merge"),
    "embeddings": ("metrics", "a vector a text"),
    "benchmarks": ("pipelines", "frozen test items"),
    "measures": ("metrics", "numbers of a whole"),
    "rescored": ("sft", "the trainer's log-probs"),
}
ARROWS = [
    ("tasks", "prompts", "render"), ("prompts", "rollouts", "sample"), ("rollouts", "scores", "verify"),
    ("scores", "groups", "count"), ("groups", "decisions", "filter"), ("decisions", "examples", "build"),
    ("examples", "policies", "train"), ("policies", "evals", "measure"), ("evals", "state", "adapt"),
    ("policies", "rollouts", "samples the next round"), ("state", "tasks", "next iteration"),
]  # fmt: skip
_W, _H, _DX, _DY, _X, _Y, _ROW = 184, 92, 232, 176, 20, 20, 7


def svg() -> str:
    """The whole picture."""
    width, height = 2 * _X + 4 * _DX + _W, 408 + 62 * -(-len(BESIDE) // _ROW)
    body = [*(_arrow(*arrow) for arrow in ARROWS), *(_box(name) for name in LOOP), *_beside(), *_legend(height)]
    marker = f'<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">\
<path d="M0 0 8 4 0 8z" fill="{_GREY}"/></marker>'
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" role="img">',
        "<title>The tables of a run</title>", f"<defs>{marker}</defs>", *body, "</svg>", "",
    ])  # fmt: skip


def _at(name: str) -> tuple[int, int]:
    column, row, _, _ = LOOP[name]
    return _X + column * _DX, _Y + row * _DY


def _box(name: str) -> str:
    x, y = _at(name)
    _, _, who, (key, *lines) = LOOP[name]
    rows = [_text(x + 12, y + 44, key, 12, _INK, style="italic")]
    rows += [_text(x + 12, y + 62 + 17 * i, line, 12, _SOFT) for i, line in enumerate(lines)]
    return _rect(x, y, _W, _H, FILLS[who]) + _text(x + 12, y + 24, name, 15, _INK, weight="bold") + "".join(rows)


def _rect(x: int, y: int, w: int, h: int, fill: str) -> str:
    return f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="7" fill="{fill}" stroke="{_GREY}" stroke-width="1"/>'


def _text(x: float, y: float, text: str, size: int, fill: str, *, weight: str = "", style: str = "", anchor: str = "") -> str:
    more = "".join(f' {k}="{v}"' for k, v in (("font-weight", weight), ("font-style", style), ("text-anchor", anchor)) if v)
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{fill}"{more}>{escape(text)}</text>'


def _arrow(start: str, end: str, label: str) -> str:
    (x1, y1), (x2, y2) = _at(start), _at(end)
    if y1 == y2:
        right = x2 > x1
        a, b, y = (x1 + _W, x2, y1 + _H / 2) if right else (x1, x2 + _W, y1 + _H / 2)
        line, where = f"M{a} {y:g} L{b} {y:g}", ((a + b) / 2, y - 7, "middle")
    else:
        x = x1 + _W / 2
        a, b = (y1 + _H, y2) if y2 > y1 else (y1, y2 + _H)
        line, where = f"M{x:g} {a} L{x:g} {b}", (x + 9, (a + b) / 2 + 4, "start")
    path = f'<path d="{line}" stroke="{_GREY}" stroke-width="1.6" fill="none" marker-end="url(#tip)"/>'
    return path + _text(where[0], where[1], label, 12, _GREY, anchor=where[2])


def _beside() -> list[str]:
    y, gap, out = _Y + 2 * _DY - 20, 8, []
    width = (4 * _DX + _W - (_ROW - 1) * gap) // _ROW
    for i, (name, (who, what)) in enumerate(BESIDE.items()):
        x, down = _X + i % _ROW * (width + gap), y + i // _ROW * 62
        out.append(_rect(x, down, width, 54, FILLS[who]) + _text(x + 10, down + 22, name, 14, _INK, weight="bold"))
        out.append(_text(x + 10, down + 42, what, 11, _SOFT))
    return [_text(_X, y - 10, "beside the loop, joined by the same ids", 12, _GREY), *out]


def _legend(height: int) -> list[str]:
    out, x = [_text(_X, height - 22, "filled by", 12, _GREY)], _X + 64
    for name, fill in FILLS.items():
        out.append(f'<rect x="{x}" y="{height - 33}" width="14" height="14" rx="3" fill="{fill}" stroke="{_GREY}"/>')
        out.append(_text(x + 20, height - 22, f"{name}/", 12, _GREY))
        x += 112
    return out


def main() -> int:
    """Write the picture, or with `--check` compare it."""
    if "--check" in sys.argv[1:]:
        return int(not OUT.exists() or OUT.read_text(encoding="utf-8") != svg())
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(svg(), encoding="utf-8")
    print(f"{OUT.relative_to(ROOT)} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
