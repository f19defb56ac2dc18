"""How models write answers that nobody told them how to write, by family: where it stands, and what the answer looks like.

A form takes an answer's text and gives it in other clothes, where it has such clothes: one form for right and wrong answers, so
that a family has a false positive and a false negative rate. Which of them a setting reads is measured, not assumed.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from fractions import Fraction

from ratoon.metrics.verifiers import numbers
from ratoon.metrics.verifiers.formats.values import Values, plainest
from ratoon.metrics.verifiers.formats.wordings import Wording

Forms = Mapping[str, Values]
Places = Mapping[str, tuple[Wording, ...]]
NO_PLACES: Places = {}
PLACES: Places = {
    "bold": (
        Wording("alone", "First 3, then 12.\n\n**{said}**"),
        Wording("final answer", "**Final Answer:** **{said}**"),
        Wording("in a sentence", "So the answer is **{said}**."),
    ),
    "box": (
        Wording("boxed", "So it is $\\boxed{{said}}$."),
        Wording("fbox", "So it is \\fbox{{said}}."),
        Wording("display", "$$\n\\boxed{{said}}\n$$\n"),
    ),
    "tag": (
        Wording("answer tag", "<answer>{said}</answer>"),
        Wording("answer tag after words", "Done.\n<answer> {said} </answer>"),
    ),
    "hash marks": (Wording("hash marks", "First 3, then 12.\n#### {said}"),),
    "announced": (
        Wording("sentence", "The answer is {said}."),
        Wording("label", "Final answer: {said}"),
        Wording("latex", "The final answer is ${said}$. I hope it is correct."),
    ),
    "words after": (
        Wording("hope", "The answer is {said}. I hope this helps!"),
        Wording("reason", "The answer is {said} because I checked it."),
    ),
    "not announced": (Wording("bare", "{said}"), Wording("last sentence", "First 3, then 12. That leaves {said}.")),
}
"""Places that no argument asks for, by family."""
_VULGAR = dict(
    zip((Fraction(n, d) for n, d in ((1, 2), (1, 4), (3, 4), (1, 3), (2, 3), (1, 8), (3, 8))), "½¼¾⅓⅔⅛⅜", strict=True)
)
_WORDS = ((9, "billion"), (6, "million"), (3, "thousand"))
_WIDE = str.maketrans("0123456789", "０１２３４５６７８９")
_ARABIC = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")


def none(answer: str) -> Forms:
    """No forms: of programs and queries all are asked for."""
    return {}


def of_number(answer: str) -> Forms:
    """A number as people write it; no forms of a percentage, or of what is no number."""
    number = numbers.whole(answer)
    if number is None or number.value is None or number.percent:
        return {}
    value, size = number.value, abs(number.value)
    sign = "-" if value < 0 else ""
    forms = _of_size(sign, size) | (_negative(size) if value < 0 else {})
    return {family: said for family, said in forms.items() if said}


def _of_size(sign: str, size: Fraction) -> dict[str, Values]:
    """The forms that a sign before them changes little."""
    text = str(size) if 10**6 % size.denominator else plainest(size)
    return {
        "mixed numbers": _mixed(sign, size),
        "fractions in LaTeX": _fractions(sign, size),
        "currency": {"dollars": f"{sign}\\${text}", "euros": f"{sign}€{text}", "words": f"{sign}{text} dollars"},
        "units": {
            "words": f"{sign}{text} cm",
            "latex": f"{sign}{text}\\text{{ cm}}^{{2}}",
            "raised": f"{sign}{text} m²",
            "outside": f"{sign}{text} cm^2",
        },
        "grouped thousands": _grouped(sign, size),
        "words of magnitude": _magnitudes(sign, size),
        "decimal commas": {"comma": f"{sign}{text.replace('.', ',')}"} if "." in text and "/" not in text else {},
        "powers of ten": _powers(sign, size),
        "other digits": {"wide": sign + text.translate(_WIDE), "Arabic": sign + text.translate(_ARABIC)},
        "fonts": {"bold": f"\\mathbf{{{sign}{text}}}", "text": f"\\text{{{sign}{text}}}"},
        "roundings": _rounded(sign, size),
    }


def _negative(size: Fraction) -> dict[str, Values]:
    text = str(size)
    return {"signs": {"spaced": f"- {text}", "minus": f"−{text}", "word": f"minus {text}", "before currency": f"-\\${text}"}}


def _mixed(sign: str, size: Fraction) -> Values:
    whole, rest = divmod(size, 1)
    if not whole or not rest:
        return {}
    said = {"latex": f"{sign}{whole}\\frac{{{rest.numerator}}}{{{rest.denominator}}}", "slash": f"{sign}{whole} {rest}"}
    return said | ({"raised": f"{sign}{whole}{_VULGAR[rest]}"} if rest in _VULGAR else {})


def _fractions(sign: str, size: Fraction) -> Values:
    if size.denominator == 1:
        return {}
    above, below = size.numerator, size.denominator
    named = {name: f"{sign}\\{name}{{{above}}}{{{below}}}" for name in ("dfrac", "tfrac", "cfrac")}
    return named | {"spaced": f"{sign}{above} / {below}"}


def _grouped(sign: str, size: Fraction) -> Values:
    if size.denominator != 1 or size < 1000:
        return {}
    marks = {"comma": ",", "latex comma": ",\\!", "braces": "{,}", "latex blank": "\\,", "thin blank": "\u2009", "tick": "'"}
    return {name: sign + f"{size.numerator:,}".replace(",", mark) for name, mark in marks.items()}


def _magnitudes(sign: str, size: Fraction) -> Values:
    for power, word in _WORDS:
        part = size / 10**power
        if part >= 1 and 1000 % part.denominator == 0:
            return {word: f"{sign}{plainest(part)} {word}"}
    return {}


def _powers(sign: str, size: Fraction) -> Values:
    digits = str(size.numerator)
    if size.denominator != 1 or size < 100:
        return {}
    power, part = len(digits) - 1, plainest(size / 10 ** (len(digits) - 1))
    return {"latex": f"{sign}{part} \\times 10^{{{power}}}", "e": f"{sign}{part}e{power}"}


def _rounded(sign: str, size: Fraction) -> Values:
    if 10**6 % size.denominator == 0:
        return {}
    exact = f"{sign}\\frac{{{size.numerator}}}{{{size.denominator}}}"
    return {"behind it": f"{exact} \\approx {sign}{float(size):.3f}"}


def of_expression(answer: str) -> Forms:
    """A number's forms, or an expression with the trimmings that LaTeX has for it."""
    bare = answer.strip().strip("$")
    said = {"display style": f"\\displaystyle {bare}", "blank behind": f"{bare}\\ ", "full stop": f"{bare}."}
    return of_number(answer) or {"trimmings": said}


def of_letter(answer: str) -> Forms:
    """A letter as options are named."""
    letter = answer.strip().strip("().").upper()
    return {
        "brackets": {"both": f"({letter})", "one": f"{letter})", "text": f"\\text{{({letter})}}"},
        "lower case": {"bracket": f"{letter.lower()})", "brackets": f"({letter.lower()})"},
        "named": {"option": f"option {letter}", "choice": f"Choice {letter}"},
    }


def of_text(answer: str) -> Forms:
    """A word or a short text as people set it."""
    apart = unicodedata.normalize("NFD", answer)
    return {
        "emphasis": {"bold": f"**{answer}**", "italic": f"_{answer}_", "code": f"`{answer}`"},
        "quotes": {"double": f'"{answer}"', "single": f"'{answer}'"},
        "full stop": {"full stop": f"{answer}."},
        "case": {"upper": answer.upper()} if answer.upper() != answer else {},
        "letters apart": {"letters apart": apart} if apart != answer else {},
    }
