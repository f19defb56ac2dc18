"""Which language a text is in, by a small detector (py3langid: naive Bayes over byte n-grams) and the confidence it has.

Code, sums, links and LaTeX are taken out before: they are in no language. Null is a text of which too little is left; `unsure`
is one the detector is not sure of, which counts for no language. Han characters without kana may be Chinese or Japanese, so a
short text of them is unsure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import pyarrow as pa

VERSION = "2"
UNSURE = "unsure"
SURE = 0.9  # confidence from which a text is said to be in a language
_CUT = 2000
_LEAST = {"latin": 40, "han": 6, "kana": 6, "hangul": 6}  # letters that are left of a text of which anything is said
_LEAST_OTHER = 12
_HAN_ALONE = 40  # Han characters from which a text without kana can be told
_BLOCK = re.compile(r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)|`[^`\n]+`|\$\$.*?\$\$|\$[^$\n]+\$|\\\[.*?\\\]|\\\(.*?\\\)", re.DOTALL)
_LINK = re.compile(r"https?://\S+|\S+@\S+\.\S+|\\[a-zA-Z]+(?:\{[^{}]*\})?|<[^<>\n]{1,80}>")
_CODE_LINE = re.compile(
    r"""^\s*(?:
        (?:async\s+)?def\s|class\s+\w+[\s:({]|return\b|import\s+\w|from\s+[\w.]+\s+import\b|@\w|\#include|\#!|assert\b|raise\b|print\(
        |(?:if|elif|for|while|with|except)\b[^.!?]*:\s*(?:\#.*)?$|(?:else|try|finally)\s*:
        |(?:function|var|let|const|public|private|static|void|int|float|double|char|bool|auto|fn|func|use|package|struct|enum)\s+[\w<>*&]
        |(?:SELECT|INSERT|UPDATE|DELETE|CREATE|FROM|WHERE|GROUP\ BY|ORDER\ BY|JOIN)\s|</?\w+[^>]*>|>>>|\$\s|//|/\*|\*/
    )|[;{}]\s*$|\w\s*(?:=|\+=|-=|==|!=|<=|>=|->|=>|:=)\s*[\w"'\[({-]|^\s*[\w.]+\([^)]*\)\s*$|[\w\])]\[[^\]]*\]""",
    re.VERBOSE,
)
_LETTER = re.compile(r"[^\W\d_]")
_KANA, _HAN = re.compile("[\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f]"), re.compile("[\u3400-\u9fff\uf900-\ufaff]")


def languages(texts: Sequence[str | None], scripts: Sequence[str | None]) -> pa.Array:
    """Of each text its language's two letters, or `unsure`; null where there is too little text in any language."""
    return pa.array([_of(text, script) for text, script in zip(texts, scripts, strict=True)], pa.string())


def without_code(text: str) -> str:
    """The lines that are words: code, sums, links and LaTeX are gone.

    >>> without_code("Call it so:\\n```python\\nprint(1)\\n```\\nx = f(2)\\nThat is all.").split("\\n")
    ['Call it so:', ' ', 'That is all.']
    """
    lines = _LINK.sub(" ", _BLOCK.sub(" ", text)).split("\n")
    return "\n".join(line for line in lines if not _CODE_LINE.search(line))


def _of(text: str | None, script: str | None) -> str | None:
    if text is None or script is None or script == "none":
        return None
    words = without_code(text[:_CUT])
    letters = len(_LETTER.findall(words))
    if letters < _LEAST.get(script, _LEAST_OTHER):
        return None
    if not _KANA.search(words) and 2 * (han := len(_HAN.findall(words))) > letters and han < _HAN_ALONE:
        return UNSURE
    language, confidence = _detector().classify(words)
    return str(language) if confidence >= SURE else UNSURE


@lru_cache(maxsize=1)
def _detector() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
