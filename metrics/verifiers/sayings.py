"""How replies say an answer: wordings by the place that a verifier reads; knows no verifier's rules and judges nothing.

`{said}` is the answer that the reply gives, `{gold}` the right one where a wrong reply mentions it, `{tag}` and `{Tag}` the
tag's name. Usual wordings are what an obedient policy writes. Traps are wordings that a reader of one place is known to
misread; they are counted apart, because how often a policy writes them is its own affair.
"""

from __future__ import annotations

from typing import Literal, NamedTuple


class Saying(NamedTuple):
    """A wording by name, and what an answer must be to be said so: anything, one line, or a bare number."""

    name: str
    text: str
    takes: Literal["any", "line", "number"] = "any"


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
BY_PLACE = {"last": LAST, "last_number": LAST, "boxed": BOXED, "tagged": TAGGED, "last_line": LAST_LINE, "whole": WHOLE}

# Right answers that are easily misread.
RIGHT_TRAPS = {
    "last": (Saying("number after", "The answer is {said}. I found it in 2 steps."),),
    "letter": (Saying("letter after", "It is {said}, because {other} is wrong."),),
}
# Wrong answers beside the right one: the reply takes it back, or never chooses.
WRONG = {
    "last": (Saying("took it back", "It looks like {gold}, but it is {said}."),),
    "boxed": (Saying("right outside", "The answer could be {gold}, so \\boxed{{said}}"),),
    "tagged": (Saying("right outside", "It could be {gold}.\n<{tag}>{said}</{tag}>"),),
    "last_line": (Saying("right above", "{gold}\n{said}"),),
    "whole": (),
    "letter": (Saying("both letters", "{gold} or {said}"),),
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
}
# No answer at all; wrong whatever was asked.
SILENT = (Saying("empty", ""), Saying("refusal", "No idea about that."))


def word(saying: Saying, said: str, gold: str, other: str, tag: str) -> str:
    """The reply's text; values go in as they are."""
    values = {"{said}": said, "{gold}": gold, "{other}": other, "{tag}": tag, "{Tag}": tag[:1].upper() + tag[1:]}
    text, out = saying.text, []
    while text:  # one pass, so that a value that looks like a field is left alone
        at, field = min(((text.find(f), f) for f in values if f in text), default=(len(text), ""))
        out += [text[:at], values.get(field, "")]
        text = text[at + len(field) :]
    return "".join(out)
