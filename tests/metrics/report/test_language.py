"""A text's language: told where a reader could tell, unsure or null where none could."""

from __future__ import annotations

import inspect
import textwrap
from types import ModuleType
from typing import Any

import pyarrow as pa
import pytest

from ratoon.metrics.report.language import UNSURE, languages
from ratoon.metrics.text.lint import lint

SENTENCES = {
    "en": "The train to the coast was late again, so we walked along the river and talked about the summer.",
    "de": "Der Zug an die Küste hatte wieder Verspätung, also gingen wir am Fluss entlang und sprachen über den Sommer.",
    "fr": "Le train vers la côte était encore en retard, alors nous avons marché le long de la rivière en parlant de l'été.",
    "es": "El tren a la costa volvió a llegar tarde, así que caminamos junto al río y hablamos del verano que viene.",
    "pt": "O comboio para a costa chegou outra vez atrasado, por isso caminámos junto ao rio e falámos do verão.",
    "nl": "De trein naar de kust was weer te laat, dus liepen we langs de rivier en praatten we over de zomer.",
    "pl": "Pociąg na wybrzeże znowu się spóźnił, więc poszliśmy wzdłuż rzeki i rozmawialiśmy o lecie.",
    "ru": "Поезд к побережью снова опоздал, поэтому мы пошли вдоль реки и говорили о будущем лете.",
    "ja": "海岸へ行く電車がまた遅れたので、私たちは川に沿って歩きながら夏の話をしました。",
    "ko": "해안으로 가는 기차가 또 늦어서 우리는 강을 따라 걸으며 여름에 대해 이야기했습니다.",
    "zh": "去海边的火车又晚点了，所以我们沿着河边走，一边走一边聊起了夏天的事情，大家都很高兴，"
          "后来我们还在桥上看了一会儿风景，晚上才回到家里吃饭。",
}  # fmt: skip


def of(*texts: str) -> list[str | None]:
    return languages(texts, lint(pa.array(texts))["script"].to_pylist()).to_pylist()


@pytest.mark.parametrize("name", SENTENCES)
def test_a_sentence_is_in_its_language(name: str) -> None:
    assert of(SENTENCES[name]) == [name]


def _functions(module: ModuleType) -> list[str]:
    return [textwrap.dedent(inspect.getsource(one)) for _, one in inspect.getmembers(module, inspect.isfunction)]


def test_code_is_in_no_language_but_that_of_its_words() -> None:
    import ast
    import heapq
    import json.decoder
    import random
    import statistics

    sources: list[str] = [text for module in (ast, heapq, json.decoder, random, statistics) for text in _functions(module)]
    told: list[Any] = of(*sources)
    assert len(sources) > 50
    assert set(told) <= {None, UNSURE, "en"}


@pytest.mark.parametrize(
    "text", ["四", "東京", "日本橋", "東京都渋谷区", "It is 4.", "Yes.", "42", "\\boxed{12}", "x = y + 2", ""]
)
def test_a_short_reply_or_a_few_kanji_are_no_language_for_sure(text: str) -> None:
    assert of(text)[0] in (None, UNSURE)


def test_words_beside_code_count_and_the_code_does_not() -> None:
    block = "```python\nfor einer in oder:\n    print('der die das')\n```\n"
    assert of(SENTENCES["en"] + "\n" + 5 * block) == ["en"]
