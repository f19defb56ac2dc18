"""How replies say an answer: wordings by the place that a verifier reads; knows no verifier's rules and judges nothing.

`{said}` is the answer that the reply gives, `{gold}` the right one where a wrong reply mentions it, `{tag}` and `{Tag}` the
tag's name, `{indented}` the answer three blanks to the right, `{windows}` the answer in lines of Windows.

Usual wordings are what an obedient policy writes. Traps are
wordings that a reader of one place is known to misread; they are counted apart, because how often a policy writes them is its
own affair.
"""

from __future__ import annotations

import textwrap
from typing import Literal, NamedTuple


class Wording(NamedTuple):
    """A way to say an answer by name, and what an answer must be to be said so: one line, a bare number, unfenced, a query."""

    name: str
    text: str
    takes: Literal["any", "line", "number", "unfenced", "query"] = "any"


class Wordings(NamedTuple):
    """The wordings of one place: what an obedient policy writes, what is only wrong, and what is easily misread."""

    usual: tuple[Wording, ...] = ()
    wrong: tuple[Wording, ...] = ()
    right_traps: tuple[Wording, ...] = ()
    wrong_traps: tuple[Wording, ...] = ()


_STEPS = "First I count 3, and then 12 more.\n"

LAST = (
    Wording("bare", "{said}"),
    Wording("sentence", "The answer is {said}."),
    Wording("bold", "So it must be **{said}**."),
    Wording("latex", "Hence the result is ${said}$."),
    Wording("box", "So it is $\\boxed{{said}}$."),
    Wording("label", "Answer: {said}"),
    Wording("equation", "x = {said}"),
    Wording("steps", _STEPS + "That leaves {said}."),
    Wording("lines", "\n{said}\n\n"),
)
BOXED = (
    Wording("box", "\\boxed{{said}}"),
    Wording("latex", "Thus $\\boxed{{said}}$."),
    Wording("display", _STEPS + "$$\\boxed{{said}}$$\n"),
    Wording("label", "**Final answer:** \\boxed{{said}}"),
    Wording("afterthought", "\\boxed{{said}}\n\nI am sure of it, in 2 ways."),
    Wording("second box", "At first \\boxed{{other}}. No: \\boxed{{said}}"),
)
ANNOUNCED = (
    Wording("latex", "The final answer is ${said}$. I hope it is correct."),
    Wording("sentence", "The answer is {said}.", "number"),
    Wording("bold label", "**Answer:** {said}", "number"),
)
TAGGED = (
    Wording("tag", "<{tag}>{said}</{tag}>"),
    Wording("steps", _STEPS + "<{tag}>{said}</{tag}>"),
    Wording("tag lines", "<{tag}>\n{said}\n</{tag}>\n"),
    Wording("label", "{Tag}: {said}", "line"),
    Wording("bold label", _STEPS + "**{Tag}:** {said}", "line"),
    Wording("second tag", "<{tag}>{other}</{tag}> No. <{tag}>{said}</{tag}>"),
)
LAST_LINE = (Wording("bare", "{said}"), Wording("steps", _STEPS + "{said}"), Wording("lines", _STEPS + "\n  {said}\n\n"))
WHOLE = (Wording("bare", "{said}"), Wording("blanks", "  {said}\n"))
LETTER = (
    Wording("bare", "{said}"),
    Wording("bracket", "({said})"),
    Wording("sentence", "The answer is {said}."),
    Wording("label", "Answer: {said}"),
    Wording("bold", "**{said}**"),
    Wording("box", "$\\boxed{{said}}$"),
    Wording("steps", _STEPS + "So the choice is ({said})."),
)
_PYTHON, _SQL = "```python\n{said}\n```", "```sql\n{said}\n```"
_OTHER_PYTHON, _OTHER_SQL = _PYTHON.replace("said", "other"), _SQL.replace("said", "other")
_GOLD_PYTHON, _GOLD_SQL = _PYTHON.replace("said", "gold"), _SQL.replace("said", "gold")
_FENCED = (
    Wording("fence", _PYTHON, "unfenced"),
    Wording("py", "```py\n{said}\n```\n", "unfenced"),
    Wording("capital tag", "``` Python\n{said}\n```", "unfenced"),
    Wording("bare fence", "```\n{said}\n```", "unfenced"),
    Wording("tildes", "~~~python\n{said}\n~~~", "unfenced"),
    Wording("long fence", "`````python\n{said}\n`````"),
    Wording("prose", _STEPS + "Here it is:\n\n" + _PYTHON + "\n\nIt takes linear time.", "unfenced"),
    Wording("output after", _PYTHON + "\nIt prints:\n```\nsum = 4\n```\n", "unfenced"),
    Wording("unclosed fence", "Here it is:\n```python\n{said}", "unfenced"),
    Wording("half a fence", "{said}\n```", "unfenced"),
    Wording("end of line", "```python\n{said}```", "unfenced"),
    Wording("no fence", "{said}", "unfenced"),
    Wording("lines of Windows", "Here:\r\n```python\r\n{windows}\r\n```\r\n", "unfenced"),
    Wording("list item", "1. Write this:\n\n   ```python\n{indented}\n   ```\n\n2. That is all.", "unfenced"),
)
LAST_BLOCK = (
    *_FENCED,
    Wording("draft", "A first try:\n" + _OTHER_PYTHON + "\nThat is wrong. Instead:\n" + _PYTHON, "unfenced"),
    Wording("usage after", _PYTHON + "\nFor example:\n```python\nprint(solve(2))\n```\n", "unfenced"),
    Wording("shell after", _PYTHON + "\nRun it:\n```bash\npython3 solution.py\n```\n", "unfenced"),
)
FIRST_BLOCK = (
    *_FENCED,
    Wording("input before", "Given:\n```\n2 3\n```\nthis adds:\n" + _PYTHON, "unfenced"),
    Wording("shell before", "```bash\npip install numpy\n```\nThen:\n" + _PYTHON, "unfenced"),
    Wording("usage after", _PYTHON + "\nFor example:\n```python\nprint(2)\n```\n", "unfenced"),
)
PROGRAM = (
    Wording("bare", "{said}"),
    Wording("lines", "\n\n{said}\n\n"),
    Wording("comment above", "# First I count 3, and then 12 more.\n{said}"),
)
BLOCK = (
    Wording("fence", _SQL, "unfenced"),
    Wording("capital tag", "``` SQL\n{said}\n```\n", "unfenced"),
    Wording("duckdb", "```duckdb\n{said}\n```", "unfenced"),
    Wording("bare fence", "```\n{said}\n```", "unfenced"),
    Wording("bare query", "{said}", "query"),
    Wording("long fence", "`````sql\n{said}\n`````"),
    Wording("prose", _STEPS + "Here it is:\n\n" + _SQL + "\n\nIt reads each table once.", "unfenced"),
    Wording("lines of Windows", "```sql\r\n{windows}\r\n```\r\n", "unfenced"),
    Wording("list item", "1. Ask this:\n\n   ```sql\n{indented}\n   ```\n\n2. That is all.", "unfenced"),
    Wording("draft", "A first try:\n" + _OTHER_SQL + "\nThat is wrong. Instead:\n" + _SQL, "unfenced"),
    Wording("table before", "The table:\n```text\na | b\n```\nThe query:\n" + _SQL, "unfenced"),
    Wording("text after", _SQL + "\nIt gives:\n```text\na | b\n```\n", "unfenced"),
    Wording("output after", _SQL + "\nIt gives:\n```\na | b\n```\n", "unfenced"),
    Wording("other dialect", "```postgresql\n{said}\n```", "unfenced"),
    Wording("unclosed fence", "The query is\n```sql\n{said}", "unfenced"),
    Wording("half a fence", "{said}\n```", "query"),
)
USUAL = {
    "last": LAST,
    "boxed": BOXED,
    "tagged": TAGGED,
    "last_line": LAST_LINE,
    "whole": WHOLE,
    "letter": LETTER,
    "last_block": LAST_BLOCK,
    "first_block": FIRST_BLOCK,
    "program": PROGRAM,
    "block": BLOCK,
}

# Right answers that are easily misread.
RIGHT_TRAPS = {
    "last": (Wording("number after", "The answer is {said}. I found it in 2 steps."),),
    "letter": (Wording("letter after", "It is {said}, because {other} is wrong."),),
    "block": (Wording("words after", "{said}\n\nThis gives the rows.", "query"),),
}
# Wrong answers beside the right one: the reply takes it back, or never chooses.
WRONG = {
    "last": (Wording("took it back", "It looks like {gold}, but it is {said}."),),
    "boxed": (Wording("right outside", "The answer could be {gold}, so \\boxed{{said}}"),),
    "tagged": (Wording("right outside", "It could be {gold}.\n<{tag}>{said}</{tag}>"),),
    "last_line": (Wording("right above", "{gold}\n{said}"),),
    "whole": (),
    "letter": (Wording("both letters", "{gold} or {said}"),),
    "last_block": (
        Wording("right block first", _GOLD_PYTHON + "\nThat is wrong. Instead:\n" + _PYTHON, "unfenced"),
        Wording("right outside", "{gold}\n\n" + _PYTHON, "unfenced"),
    ),
    "first_block": (
        Wording("right block last", _PYTHON + "\nA worse way:\n" + _GOLD_PYTHON, "unfenced"),
        Wording("right outside", "{gold}\n\n" + _PYTHON, "unfenced"),
    ),
    "block": (
        Wording("right block first", _GOLD_SQL + "\nThat is wrong. Instead:\n" + _SQL, "unfenced"),
        Wording("right outside", "{gold}\n\n" + _SQL, "unfenced"),
    ),
}
WRONG_TRAPS = {
    "last": (
        Wording("denies it", "It is {said}, not {gold}."),
        Wording("hedges", "It is {said} or {gold}."),
    ),
    "boxed": (Wording("two boxes", "\\boxed{{said}} or \\boxed{{gold}}"),),
    "tagged": (Wording("two tags", "<{tag}>{said}</{tag}> or <{tag}>{gold}</{tag}>"),),
    "last_line": (),
    "whole": (),
    "letter": (),
    "last_block": (Wording("two blocks", _PYTHON + "\nor\n" + _GOLD_PYTHON, "unfenced"),),
    "first_block": (Wording("two blocks", _GOLD_PYTHON + "\nor\n" + _PYTHON, "unfenced"),),
    "block": (Wording("two blocks", _SQL + "\nor\n" + _GOLD_SQL, "unfenced"),),
}
# No answer at all; wrong whatever was asked.
SILENT = (Wording("empty", ""), Wording("refusal", "No idea about that."))


def at(place: str) -> Wordings:
    """The wordings of a place; none of a place that no verifier here reads."""
    return Wordings(*(named.get(place, ()) for named in (USUAL, WRONG, RIGHT_TRAPS, WRONG_TRAPS)))


def word(wording: Wording, said: str, gold: str, other: str, tag: str) -> str:
    """The reply's text; values go in as they are."""
    values = {"{said}": said, "{gold}": gold, "{other}": other, "{tag}": tag, "{Tag}": tag[:1].upper() + tag[1:]}
    values["{indented}"] = textwrap.indent(said, "   ", lambda _: True)  # blank lines too: they may stand in a text
    values["{windows}"] = said.replace("\r\n", "\n").replace("\n", "\r\n")
    text, out = wording.text, []
    while text:  # one pass, so that a value that looks like a field is left alone
        at, field = min(((text.find(f), f) for f in values if f in text), default=(len(text), ""))
        out += [text[:at], values.get(field, "")]
        text = text[at + len(field) :]
    return "".join(out)
