"""LaTeX, HTML and Unicode around numbers in plain form, so that one pattern reads them; knows no value.

`3\\frac{1}{2}` and `3½` become `3 1/2`, `10,\\!000` becomes `10,000`, `-\\$20` and `minus $20` become `-20`, `cm^{2}` and
`cm²` become `cm^2`, `$1.5M` becomes `$1.5 million`. Text that holds nothing of the kind comes back as it is.
"""

from __future__ import annotations

import re
import unicodedata

THIN = "\u2009"
FRACTIONS = "¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"
_SIGNS = {
    "−": "-", "﹣": "-", "–": "-", "‐": "-", "‑": "-", "⁄": "/", "∕": "/", "÷": "/", "٫": ".", "٬": ",", "٪": "%",
    "·": "×", "⋅": "×", "∙": "×", "✕": "×", "✖": "×", "’": "'", "\u2007": THIN, "\u2008": THIN, "\u200a": THIN,
    "\u200b": None, "\u200d": None, "\u2060": None, "\ufeff": None, "、": ",",
}  # fmt: skip
_TABLE = str.maketrans(_SIGNS | {chr(c): chr(c - 0xFEE0) for c in range(0xFF01, 0xFF5F)})
_RAISED = "⁺⁻⁰¹²³⁴⁵⁶⁷⁸⁹"
_LOWERED = dict(zip(_RAISED, "+-0123456789", strict=True))
_RAISED_RUN = re.compile(f"[{_RAISED}]+")
_VULGAR = re.compile(rf"([0-9])?[ \u00a0{THIN}]?([{FRACTIONS}])")
_FOREIGN_DIGIT = re.compile(r"(?![0-9])\d")

_NUMBER = r"\s*([-+]?[\d.,]+)\s*"
_ARGUMENT = rf"\s*(?:\{{{_NUMBER}\}}|(\d))"
_FONT = r"\\(?:text(?:bf|it|rm|sf|tt|normal)?|math(?:rm|bf|it|sf|tt|bb)|mbox|operatorname|bm|boldsymbol|emph|underline)"
_LATEX = (
    (re.compile(r"\{\\?,\}"), ","),
    (re.compile(r"\\!|\\left(?![A-Za-z])|\\right(?![A-Za-z])|\\displaystyle(?![A-Za-z])"), ""),
    (re.compile(rf"{_FONT}\s*\{{([^{{}}]*)\}}"), r"\1"),
    (re.compile(r"\\([$%])"), r"\1"),
    (re.compile(r"\\[,;:> ]|(?<=\d)~(?=\d)"), THIN),
    (re.compile(r"\\[()\[\]{}#&]"), " "),
    (re.compile(rf"(?<=\d)[\s{THIN}]*(?=\\(?:[dtcx]|nice|s)?frac(?![A-Za-z]))"), " "),
    (
        re.compile(rf"\\(?:[dtcx]|nice|s)?frac(?![A-Za-z]){_ARGUMENT}{_ARGUMENT}"),
        lambda m: f"{m[1] or m[2]}/{m[3] or m[4]}",
    ),
    (re.compile(rf"\{{{_NUMBER}\\over(?![A-Za-z]){_NUMBER}\}}"), r" \1/\2"),
    (re.compile(r"\\(?:times|cdot|ast)(?![A-Za-z])"), "×"),
    (re.compile(r"\\div(?![A-Za-z])"), "/"),
    (re.compile(r"\\(?:thick)?approx(?![A-Za-z])|\\simeq(?![A-Za-z])|\\doteq(?![A-Za-z])"), "≈"),
    (re.compile(r"\\(?:pm|mp)(?![A-Za-z])"), "±"),
    (re.compile(r"\\sqrt(?![A-Za-z])"), "√"),
    (re.compile(r"\\pi(?![A-Za-z])"), "π"),
)
_RAISED_BRACES = re.compile(r"\$?\^\{?\s*([-+]?\d+)\s*\}|<sup>\s*([-+]?\d+)\s*</sup>")
_SUBSCRIPT = re.compile(r"_\{([^{}]{0,40})\}|<sub>([^<>]{0,40})</sub>")
_WORD_BEFORE = (
    r"(?:^|[=:(\[{,.≈]\s{0,3}|\b(?:is|are|be|was|were|ist|est|es|equals?|gives?|gets?|to|of|by|at|exactly|about|roughly)\s)"
)
_MINUS = re.compile(rf"(?i)({_WORD_BEFORE}\$?)minus\s(?=[$€£¥₹]?\d)|\bnegative\s(?=[$€£¥₹]?\.?\d)")
_CURRENCY = re.compile(r"([-+])[ \u2009]?(?:[A-Z]{0,2}\$|[€£¥₹])[ \u2009]?(?=\.?\d)")
_SCALE = re.compile(r"(?<=[$€£¥])([ \u2009]?[\d.,]+[ \u2009]?)(k|K|m|M|mn|b|B|bn|tn|T)\b|(?<![\w.])(\d+(?:\.\d+)?)(k)\b")
_SCALES = {"k": "thousand", "m": "million", "mn": "million", "b": "billion", "bn": "billion", "t": "trillion", "tn": "trillion"}
_SPECIAL = re.compile(r"[\\{^<~$€£¥₹]|inus |egative |\dk\b")


def tidy(text: str) -> str:
    """`text` with its numbers in plain ASCII form; `√`, `π`, `±`, `×` and `≈` stay, so that a reader can refuse or use them."""
    if not text.isascii():
        text = _plain_unicode(text)
    if _SPECIAL.search(text) is None:
        return text
    if any(mark in text for mark in "\\{~"):
        for pattern, plain in _LATEX:
            text = pattern.sub(plain, text)
    text = _RAISED_BRACES.sub(lambda m: f"^{m[1] or m[2]}", text)
    text = _SUBSCRIPT.sub(lambda m: f"_{m[1] or m[2] or ''}", text)
    text = _MINUS.sub(lambda m: f"{m[1] or ''}-", text)
    return _SCALE.sub(_scaled, _CURRENCY.sub(r"\1", text))


def _plain_unicode(text: str) -> str:
    text = _RAISED_RUN.sub(lambda m: "^" + "".join(_LOWERED[c] for c in m[0]), text.translate(_TABLE))
    text = _VULGAR.sub(_fraction, text)
    return _FOREIGN_DIGIT.sub(lambda m: str(unicodedata.digit(m[0])), text)


def _fraction(match: re.Match[str]) -> str:
    """`½` as `1/2`, behind a digit as the fraction of a mixed number."""
    above, _, below = unicodedata.normalize("NFKC", match[2]).partition("⁄")
    return f"{match[1]} {above}/{below}" if match[1] else f"{above}/{below}"


def _scaled(match: re.Match[str]) -> str:
    digits, letter = (match[1], match[2]) if match[1] is not None else (match[3], match[4])
    return f"{digits.rstrip()} {_SCALES[letter.lower()]}"
