"""Which language a text is in, by its script and its function words; a few common ones, and null where little is there.

No model: a text is told by the words every sentence needs. Texts under 8 words, lists, code and sums are null. Languages of
one script that are not in the list are taken for unknown, or for a near relative.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import pyarrow as pa

VERSION = "1"
_WORD = re.compile(r"[^\W\d_]+")
_LEAST_WORDS, _LEAST_HITS, _LEAST_SHARE = 8, 2, 0.12
_WORDS = {
    "en": "the of and to in is that it for was on are with as be this at have from or by not but what all were when we there "
    "can an your which their said if do will each about how up out them then she many some so these would other into has more",
    "de": "der die und das ist nicht ein eine zu den mit von auf für sich dem des im er sie es wird sind auch als an nach wie "
    "noch bei aus wenn nur war werden wir oder einer einem einen zum zur über so kann dass haben hat",
    "fr": (
        "le la les de des et est un une du que qui dans pour pas sur au avec ce il elle sont par plus ne se nous "
        "vous mais ou comme été cette ses aux leur tout fait être deux même ont"
    ),
    "es": "el la los las de que y en un una es se no por con para su al lo como más pero sus le ya o este sí porque esta entre "
    "cuando muy sin sobre también hasta hay donde quien desde todo nos uno son",
    "it": (
        "il lo la gli le di che e un una è per non con del della si da come sono anche più ma nel alla dei questo "
        "ha al delle se ci loro essere tra cui dal nella quando molto"
    ),
    "pt": "o a os as de que e do da em um uma para é com não por mais dos como mas foi ao ele das tem à seu sua ou ser quando "
    "muito nos já está eu também só pelo pela até isso",
    "nl": "de het een en van ik te dat die in is niet op zijn met voor er maar om ook als aan wordt naar bij nog deze dit door "
    "kan hebben werd uit dan wat heeft over worden zij",
    "sv": "och det att i en jag som på är av för med till den inte om ett men var sig så från vi när kan ska eller också hade "
    "har de där efter",
    "pl": "i w nie na się z że do to jest o jak ale po co za od tak być przez są dla czy tylko jego który już ich może oraz",
    "tr": "ve bir bu için ile da de çok olarak daha en gibi var ama olan kadar sonra ne değil her o mi ki şey",
    "id": "yang dan di untuk dengan dari ini itu tidak dalam pada adalah akan ke ada juga bisa atau karena oleh saya mereka",
}
_LANGUAGES: dict[str, list[str]] = {}
for _name, _said in _WORDS.items():
    for _word in _said.split():
        _LANGUAGES.setdefault(_word, []).append(_name)


def languages(texts: Sequence[str | None], scripts: Sequence[str | None]) -> pa.Array:
    """Each text's language as two letters, or its script where that is not Latin; null where it cannot be told."""
    return pa.array([_of(text, script) for text, script in zip(texts, scripts, strict=True)], pa.string())


def _of(text: str | None, script: str | None) -> str | None:
    if text is None or script is None or script == "none":
        return None
    if script != "latin":
        return script
    words = _WORD.findall(text[:2000].lower())
    if len(words) < _LEAST_WORDS:
        return None
    hits: Counter[str] = Counter()
    own: Counter[str] = Counter()
    for word in words:
        known = _LANGUAGES.get(word, ())
        hits.update(known)
        if len(known) == 1:
            own.update(known)
    best = max(own, key=lambda name: (hits[name] + own[name], name), default="")
    return best if own[best] >= _LEAST_HITS and hits[best] >= _LEAST_SHARE * len(words) else None
