"""Which option's letter a text states: alone, marked (`(B)`, `c)`), announced (`the answer is C because …`); knows no gold.

The article "A" and the pronoun "I" are no options, a letter behind "not" or before "is wrong" is not chosen, and what follows
a stated letter explains it. Two letters side by side (`A or B`) are both stated: that is hedging, for the caller to refuse.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple

_AHEAD = 200
_MARKUP = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|normal)?|math(?:rm|bf|it|sf|tt)|mbox|boldsymbol|bm|boxed|fbox|operatorname)\s*(?=\{)"
    r"|\\[()\[\],;:! ]|\\q?quad|[*`${}\"“”]|(?<![A-Za-z0-9])_+|_+(?![A-Za-z0-9])"
)
_LEAD = (
    r"[\s:：=\-–—>#]*(?:(?i:either|both|probably|likely|clearly|definitely|simply|just|so|it is|it's|is|the|that|correct|right"
    r"|best|answer|option|choice|letter|alternative|statement)\b[\s:：=]*){0,6}"
)
# What may follow a bare "A" or "I" that is an option: no noun, and no verb of a first person.
_EXPLAINS = r"(?:is|was|because|since|as|for|due|by|if|then|which|fits|and|or|being|given|based|with|from|over|instead)\b"
_WHAT = r"(?:answer|option|choice|alternative|letter)"
_STRONG = re.compile(
    rf"\b{_WHAT}(?:\s+(?:to|for|of|here|that|among)\b[^.:\n]{{0,60}}?)?\s*"
    r"(?:\b(?:is|was|(?:must|should|would|will|has to) be)\b\s*:?|[:：=]|\s[-–—]\s)"
    r"|\b(?:I|we)(?:'ll|'d|\s+(?:will|would|must|do|can|shall|have\s+to))?\s+(?:choose|chose|pick(?:ed)?|select(?:ed)?|go\s+with"
    r"|went\s+with|conclude|answer)\b(?:\s+that)?"
    r"|\b(?:actually|rather|instead|correction|no|wait)\b\s*[,:.]?"
    r"|答案\s*(?:应该)?\s*(?:是|为|選|选)?\s*[:：]?|(?:选择|應選|应选|选)\s*[:：]?"
    r"|\b(?:Antwort|réponse|respuesta|risposta|resposta)\b(?:\s+(?:ist|est|es|è|é))?\s*:?",
    re.IGNORECASE,
)
_WEAK = re.compile(
    rf"\b(?:so|therefore|thus|hence|it\s+is|it's|(?:it\s+)?must\s+be|finally|leaves|leaving|corresponds\s+to|matches|{_WHAT}"
    r"|(?:I|we)\s+(?:think|believe|guess|say)(?:\s+it(?:'s|\s+is))?)\b\s*[,:]?(?:\s*(?:us\s+)?with\b)?",
    re.IGNORECASE,
)
_DENIES = re.compile(r"\s*(?:not|never|neither|nor)\b", re.IGNORECASE)
_DISMISSED = re.compile(
    r"[)\]]?\s*(?:is|was|are|isn't|can't|cannot|can\s+not|must|would|seems|looks)\s+(?:be\s+)?(?:clearly\s+|also\s+|simply\s+)?"
    r"(?:not|never|n't|wrong|incorrect|false|too|out|impossible|ruled|eliminated|excluded|be)\b",
    re.IGNORECASE,
)


class _Patterns(NamedTuple):
    first: re.Pattern[str]
    following: re.Pattern[str]
    alone: re.Pattern[str]
    opening: re.Pattern[str]
    anywhere: re.Pattern[str]
    confirmed: re.Pattern[str]


def plain(text: str) -> str:
    """`text` without emphasis, dollar signs and LaTeX fonts, and with full-width and circled letters as plain ones."""
    text = text if text.isascii() else unicodedata.normalize("NFKC", text).replace("’", "'")
    return _MARKUP.sub("", text)


def stated(part: str, letters: str) -> set[str]:
    """The letters with which a plain part begins: one, several where it hedges, none where it begins with something else.

    >>> sorted(stated("C because A is too small", "ABC")), sorted(stated("A or B", "ABC")), stated("A city", "ABC")
    (['C'], ['A', 'B'], set())
    """
    patterns = _patterns(letters)
    match = patterns.first.match(part)
    if match is None or _DISMISSED.match(part, match.end()):
        return set()
    found = {_letter(match)}
    while (match := patterns.following.match(part, match.end())) is not None:
        found.add(_letter(match))
    return found


def announced(text: str, letters: str, *, weakly: bool = False) -> set[str]:
    """What the last announcement of a plain text states; empty where none states a letter.

    Strong ones name an answer or a choice, or confirm a letter; weak ones (`so B`) are asked for apart.
    """
    found: tuple[int, set[str]] = (-1, set())
    for match in (_WEAK if weakly else _STRONG).finditer(text):
        rest = text[match.end() : match.end() + _AHEAD].lstrip().partition("\n\n")[0]
        letters_here = set() if _DENIES.match(rest) else stated(rest, letters)
        found = (match.start(), letters_here) if letters_here else found
    confirmed = None if weakly else _last(_patterns(letters).confirmed.finditer(text))
    return {_letter(confirmed)} if confirmed is not None and confirmed.start() > found[0] else found[1]


def on_own_line(text: str, letters: str) -> set[str]:
    """The letter of the lines that are an option and nothing else, or else of those that open with one; none where such lines
    differ: they list the options."""
    patterns = _patterns(letters)
    lines = [line for line in text.splitlines() if line.strip()]
    alone = {_letter(match) for line in lines if (match := patterns.alone.fullmatch(line)) is not None}
    found = alone or {letter for line in lines if patterns.opening.match(line) for letter in stated(line, letters)}
    return found if len(found) == 1 else set()


def on_last_line(text: str, letters: str) -> set[str]:
    """Every capital or bracketed letter of the last line that has one, but for those denied or dismissed."""
    for line in reversed(text.splitlines()):
        matches = _patterns(letters).anywhere.finditer(line)
        found = {_letter(match) for match in matches if _DISMISSED.match(line, match.end()) is None}
        if found:
            return found
    return set()


def _last(matches: object) -> re.Match[str] | None:
    match = None
    for match in matches:  # type: ignore[attr-defined]  # noqa: B007
        pass
    return match


def _letter(match: re.Match[str]) -> str:
    return next(group for group in match.groups() if group).upper()


@lru_cache(maxsize=64)
def _patterns(letters: str) -> _Patterns:
    both = letters + letters.lower()
    plain_capitals = "".join(c for c in letters if c not in "AI") or "(?!)"
    word_capitals = "".join(c for c in letters if c in "AI")
    bracketed = rf"[(\[]\s*([{both}])\s*[)\]]"
    capital = rf"([{plain_capitals}])(?![A-Za-z0-9'])" if plain_capitals != "(?!)" else "((?!))"
    # "A" and "I" are options before a word that explains a choice, before a mark and at an end.
    word = rf"([{word_capitals}])(?=\s+{_EXPLAINS}|\s*[-–—?!.;:)]|\s*$)" if word_capitals else "((?!))"
    marked = rf"([{both}])(?=\s*[).:,;/]|\s*$|\s*\n|\s+(?:because|since)\b)"
    open_ = r"(?<![A-Za-z0-9\\'])"
    return _Patterns(
        first=re.compile(rf"{_LEAD}{open_}(?:{bracketed}|{marked}|{capital}|{word})"),
        following=re.compile(
            r"[)\].]?\s*(?:,?\s*(?:or|and|oder|und|ou)\b|[,/&|+])\s*(?:(?:also|possibly|maybe|option)\s+)?"
            rf"(?:{bracketed}|([{letters}])(?![A-Za-z0-9'])(?!\s+(?!or\b|and\b)[a-z]))"
        ),
        alone=re.compile(rf"\s*[->#]*\s*(?:{bracketed}|([{both}]))\s*[).:!]?\s*"),
        opening=re.compile(rf"\s*(?:[(\[]\s*[{both}]\s*[)\]]|[{both}]\s*[).:])(?=\s|$)"),
        anywhere=re.compile(
            rf"{open_}(?<![Nn]ot )(?<![Nn]or )(?<![Nn]ot option )(?:{bracketed}|{capital}|{word}|([{letters}])(?=[,/]))"
        ),
        confirmed=re.compile(
            rf"{open_}(?:{bracketed}|([{letters}]))\s+(?:is|seems|must\s+be|would\s+be)\s+(?:clearly\s+|therefore\s+|thus\s+)?"
            r"(?:the\s+)?(?:most\s+|only\s+)?(?:correct|right|best|true|answer|one)\b"
        ),
    )
