"""How replies say an answer: wordings by the place that a verifier reads; knows no verifier's rules and judges nothing.

`{said}` is the answer that the reply gives, `{gold}` the right one where a wrong reply mentions it, `{tag}` and `{Tag}` the
tag's name, `{indented}` the answer three blanks to the right. Usual wordings are what an obedient policy writes. Traps are
wordings that a reader of one place is known to misread; they are counted apart, because how often a policy writes them is its
own affair.
"""

from __future__ import annotations

import textwrap
from typing import Literal, NamedTuple


class Saying(NamedTuple):
    """A wording by name, and what an answer must be to be said so: one line, a bare number, without fences, a query."""

    name: str
    text: str
    takes: Literal["any", "line", "number", "unfenced", "query"] = "any"


_STEPS = "First I count 3, and then 12 more.\n"

LAST = (
    Saying("bare", "{said}"),
    Saying("sentence", "The answer is {said}."),
    Saying("bold", "So it must be **{said}**."),
    Saying("latex", "Hence the result is ${said}$."),
    Saying("box", "So it is $\\boxed{{said}}$."),
    Saying("label", "Answer: {said}"),
    Saying("equation", "x = {said}"),
    Saying("steps", _STEPS + "That leaves {said}."),
    Saying("lines", "\n{said}\n\n"),
)
BOXED = (
    Saying("box", "\\boxed{{said}}"),
    Saying("latex", "Thus $\\boxed{{said}}$."),
    Saying("display", _STEPS + "$$\\boxed{{said}}$$\n"),
    Saying("label", "**Final answer:** \\boxed{{said}}"),
    Saying("afterthought", "\\boxed{{said}}\n\nI am sure of it, in 2 ways."),
    Saying("second box", "At first \\boxed{{other}}. No: \\boxed{{said}}"),
)
ANNOUNCED = (
    Saying("latex", "The final answer is ${said}$. I hope it is correct."),
    Saying("sentence", "The answer is {said}.", "number"),
    Saying("bold label", "**Answer:** {said}", "number"),
)
TAGGED = (
    Saying("tag", "<{tag}>{said}</{tag}>"),
    Saying("steps", _STEPS + "<{tag}>{said}</{tag}>"),
    Saying("tag lines", "<{tag}>\n{said}\n</{tag}>\n"),
    Saying("label", "{Tag}: {said}", "line"),
    Saying("bold label", _STEPS + "**{Tag}:** {said}", "line"),
    Saying("second tag", "<{tag}>{other}</{tag}> No. <{tag}>{said}</{tag}>"),
)
LAST_LINE = (Saying("bare", "{said}"), Saying("steps", _STEPS + "{said}"), Saying("lines", _STEPS + "\n  {said}\n\n"))
WHOLE = (Saying("bare", "{said}"), Saying("blanks", "  {said}\n"))
LETTER = (
    Saying("bare", "{said}"),
    Saying("bracket", "({said})"),
    Saying("sentence", "The answer is {said}."),
    Saying("label", "Answer: {said}"),
    Saying("bold", "**{said}**"),
    Saying("box", "$\\boxed{{said}}$"),
    Saying("steps", _STEPS + "So the choice is ({said})."),
)
_PYTHON, _SQL = "```python\n{said}\n```", "```sql\n{said}\n```"
_OTHER_PYTHON, _OTHER_SQL = _PYTHON.replace("said", "other"), _SQL.replace("said", "other")
_GOLD_PYTHON, _GOLD_SQL = _PYTHON.replace("said", "gold"), _SQL.replace("said", "gold")
_FENCED = (
    Saying("fence", _PYTHON, "unfenced"),
    Saying("py", "```py\n{said}\n```\n", "unfenced"),
    Saying("capital tag", "``` Python\n{said}\n```", "unfenced"),
    Saying("bare fence", "```\n{said}\n```", "unfenced"),
    Saying("tildes", "~~~python\n{said}\n~~~", "unfenced"),
    Saying("long fence", "`````python\n{said}\n`````"),
    Saying("prose", _STEPS + "Here it is:\n\n" + _PYTHON + "\n\nIt takes linear time.", "unfenced"),
    Saying("list item", "1. Write this:\n\n   ```python\n{indented}\n   ```\n\n2. That is all.", "unfenced"),
)
LAST_BLOCK = (
    *_FENCED,
    Saying("draft", "A first try:\n" + _OTHER_PYTHON + "\nThat is wrong. Instead:\n" + _PYTHON, "unfenced"),
    Saying("shell after", _PYTHON + "\nRun it:\n```bash\npython3 solution.py\n```\n", "unfenced"),
)
FIRST_BLOCK = (
    *_FENCED,
    Saying("shell before", "```bash\npip install numpy\n```\nThen:\n" + _PYTHON, "unfenced"),
    Saying("usage after", _PYTHON + "\nFor example:\n```python\nprint(2)\n```\n", "unfenced"),
)
PROGRAM = (
    Saying("bare", "{said}"),
    Saying("lines", "\n\n{said}\n\n"),
    Saying("comment above", "# First I count 3, and then 12 more.\n{said}"),
)
BLOCK = (
    Saying("fence", _SQL, "unfenced"),
    Saying("capital tag", "``` SQL\n{said}\n```\n", "unfenced"),
    Saying("duckdb", "```duckdb\n{said}\n```", "unfenced"),
    Saying("bare fence", "```\n{said}\n```", "unfenced"),
    Saying("bare query", "{said}", "query"),
    Saying("long fence", "`````sql\n{said}\n`````"),
    Saying("prose", _STEPS + "Here it is:\n\n" + _SQL + "\n\nIt reads each table once.", "unfenced"),
    Saying("list item", "1. Ask this:\n\n   ```sql\n{indented}\n   ```\n\n2. That is all.", "unfenced"),
    Saying("draft", "A first try:\n" + _OTHER_SQL + "\nThat is wrong. Instead:\n" + _SQL, "unfenced"),
    Saying("table before", "The table:\n```text\na | b\n```\nThe query:\n" + _SQL, "unfenced"),
    Saying("text after", _SQL + "\nIt gives:\n```text\na | b\n```\n", "unfenced"),
)
BY_PLACE = {"last": LAST, "last_number": LAST, "boxed": BOXED, "tagged": TAGGED, "last_line": LAST_LINE, "whole": WHOLE,
            "last_block": LAST_BLOCK, "first_block": FIRST_BLOCK, "program": PROGRAM, "block": BLOCK}  # fmt: skip

# Right answers that are easily misread.
RIGHT_TRAPS = {
    "last": (Saying("number after", "The answer is {said}. I found it in 2 steps."),),
    "letter": (Saying("letter after", "It is {said}, because {other} is wrong."),),
    "last_block": (
        Saying("usage after", _PYTHON + "\nFor example:\n```python\nprint(solve(2))\n```\n", "unfenced"),
        Saying("output after", _PYTHON + "\nIt prints:\n```\nsum = 4\n```\n", "unfenced"),
    ),
    "first_block": (Saying("input before", "Given:\n```\n2 3\n```\nthis adds:\n" + _PYTHON, "unfenced"),),
    "block": (
        Saying("output after", _SQL + "\nIt gives:\n```\na | b\n```\n", "unfenced"),
        Saying("words after", "{said}\n\nThis gives the rows.", "query"),
    ),
}
# Wrong answers beside the right one: the reply takes it back, or never chooses.
WRONG = {
    "last": (Saying("took it back", "It looks like {gold}, but it is {said}."),),
    "boxed": (Saying("right outside", "The answer could be {gold}, so \\boxed{{said}}"),),
    "tagged": (Saying("right outside", "It could be {gold}.\n<{tag}>{said}</{tag}>"),),
    "last_line": (Saying("right above", "{gold}\n{said}"),),
    "whole": (),
    "letter": (Saying("both letters", "{gold} or {said}"),),
    "last_block": (
        Saying("right block first", _GOLD_PYTHON + "\nThat is wrong. Instead:\n" + _PYTHON, "unfenced"),
        Saying("right outside", "{gold}\n\n" + _PYTHON, "unfenced"),
    ),
    "first_block": (
        Saying("right block last", _PYTHON + "\nA worse way:\n" + _GOLD_PYTHON, "unfenced"),
        Saying("right outside", "{gold}\n\n" + _PYTHON, "unfenced"),
    ),
    "block": (
        Saying("right block first", _GOLD_SQL + "\nThat is wrong. Instead:\n" + _SQL, "unfenced"),
        Saying("right outside", "{gold}\n\n" + _SQL, "unfenced"),
    ),
}
WRONG_TRAPS = {
    "last": (
        Saying("denies it", "It is {said}, not {gold}."),
        Saying("hedges", "It is {said} or {gold}."),
    ),
    "boxed": (Saying("two boxes", "\\boxed{{said}} or \\boxed{{gold}}"),),
    "tagged": (Saying("two tags", "<{tag}>{said}</{tag}> or <{tag}>{gold}</{tag}>"),),
    "last_line": (),
    "whole": (),
    "letter": (),
    "last_block": (Saying("two blocks", _PYTHON + "\nor\n" + _GOLD_PYTHON, "unfenced"),),
    "first_block": (Saying("two blocks", _GOLD_PYTHON + "\nor\n" + _PYTHON, "unfenced"),),
    "block": (Saying("two blocks", _SQL + "\nor\n" + _GOLD_SQL, "unfenced"),),
}
# No answer at all; wrong whatever was asked.
SILENT = (Saying("empty", ""), Saying("refusal", "No idea about that."))


def word(saying: Saying, said: str, gold: str, other: str, tag: str) -> str:
    """The reply's text; values go in as they are."""
    values = {"{said}": said, "{gold}": gold, "{other}": other, "{tag}": tag, "{Tag}": tag[:1].upper() + tag[1:]}
    values["{indented}"] = textwrap.indent(said, "   ", lambda _: True)  # blank lines too: they may stand in a text
    text, out = saying.text, []
    while text:  # one pass, so that a value that looks like a field is left alone
        at, field = min(((text.find(f), f) for f in values if f in text), default=(len(text), ""))
        out += [text[:at], values.get(field, "")]
        text = text[at + len(field) :]
    return "".join(out)
