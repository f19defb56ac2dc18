"""Replies taken apart: by their ids, as the families' own chat templates begin them, and by their text alone."""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratoon import reply
from ratoon.errors import ConfigError
from ratoon.render import Renderer
from ratoon.sft.models.tiny import make_tiny

ASKED = [{"role": "user", "content": "What is 6 * 7? Mind </think> and <think>."}]
TRL = importlib.util.find_spec("trl")
TEMPLATES = Path(TRL.origin).parent / "chat_templates" if TRL and TRL.origin else Path("nowhere")
MAGISTRAL = (
    "{{ bos_token }}[SYSTEM_PROMPT]Think first: [THINK]thoughts[/THINK]answer[/SYSTEM_PROMPT]"
    "{% for m in messages %}{% if m.role == 'user' %}[INST]{{ m.content }}[/INST]{% else %}{{ m.content }}{{ eos_token }}"
    "{% endif %}{% endfor %}"
)
CHANNELS = ("<|start|>", "<|channel|>", "<|message|>", "<|constrain|>", "<|end|>", "<|call|>")
Model = Callable[..., Renderer]
# Per family: special tokens, tokens that are none to the tokenizer though single ids, and the end of a turn.
FAMILIES: dict[str, tuple[tuple[str, ...], tuple[str, ...], str]] = {
    "qwen3": (("<|im_start|>",), ("<think>", "</think>", "<tool_call>", "</tool_call>"), "<|im_end|>"),
    "qwen3_5_think": (("<|im_start|>",), ("<think>", "</think>", "<tool_call>", "</tool_call>"), "<|im_end|>"),
    "deepseek_r1_distill": (("<｜User｜>", "<｜Assistant｜>"), ("<think>", "</think>"), "<｜end▁of▁sentence｜>"),
    "gptoss": (CHANNELS, (), "<|return|>"),
    "magistral": (("[INST]", "[/INST]", "[THINK]", "[/THINK]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"), (), "</s>"),
}


def folder(to: Path, family: str, response: object = None) -> Path:
    """A model folder with a family's chat template and a byte-level tokenizer that has its tokens."""
    from tokenizers import AddedToken, Tokenizer

    special, plain, end = FAMILIES[family]
    make_tiny(to)
    tokenizer = Tokenizer.from_file(str(to / "tokenizer.json"))
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in (*special, end, "<|bos|>")])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in plain])
    tokenizer.save(str(to / "tokenizer.json"))
    settings = json.loads((to / "tokenizer_config.json").read_text())
    settings |= {"eos_token": end, "pad_token": end, "bos_token": "<|bos|>"} | (
        {"response_template": response} if response else {}
    )
    (to / "tokenizer_config.json").write_text(json.dumps(settings))
    (to / "generation_config.json").write_text(json.dumps({"eos_token_id": tokenizer.token_to_id(end)}))
    template = MAGISTRAL if family == "magistral" else (TEMPLATES / f"{family}.jinja").read_text(encoding="utf-8")
    (to / "chat_template.jinja").write_text(template, encoding="utf-8")
    return to


@pytest.fixture
def model(tmp_path: Path) -> Model:
    if not TEMPLATES.is_dir():
        pytest.skip("TRL is not installed")

    def made(family: str, response: object = None, **arguments: object) -> Renderer:
        return Renderer(folder(tmp_path / family, family, response), arguments)

    return made


def taken(renderer: Renderer, said: str) -> tuple[str, reply.Parts]:
    """A reply whose marks were sampled as tokens, after a prompt of this renderer."""
    (prompt,) = renderer.render([ASKED])
    ((text, parts),) = renderer.replies([renderer.encode(said)], [renderer.prompt_end(prompt)])
    return text, parts


FINISHED = {
    "qwen3": "<think>\nIt is 41. No.\n</think>\n\nIt is 42.",
    "qwen3_5_think": "It is 41. No.\n</think>\n\nIt is 42.",
    "deepseek_r1_distill": "It is 41. No.\n</think>\n\nIt is 42.",
    "gptoss": "<|channel|>analysis<|message|>It is 41. No.<|end|><|start|>assistant<|channel|>final<|message|>It is 42.",
    "magistral": "[THINK]It is 41. No.[/THINK]It is 42.",
}


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_s_answer_begins_behind_its_thinking_and_its_text_stays_as_sampled(family: str, model: Model) -> None:
    text, parts = taken(model(family), FINISHED[family])
    assert text == FINISHED[family]
    assert (parts.thinking, parts.answer) == ("It is 41. No.", "It is 42.")
    assert text[parts.answer_start :] == "It is 42."


@pytest.mark.parametrize("family", FAMILIES)
def test_thinking_that_never_ends_has_no_answer(family: str, model: Model) -> None:
    unfinished = FINISHED[family].partition(" No.")[0]
    _, parts = taken(model(family), unfinished)
    assert (parts.answer, parts.answer_start) == (None, None)
    assert parts.thinking == "It is 41."


@pytest.mark.parametrize("family", ["qwen3", "gptoss", "magistral"])
def test_a_reply_without_thinking_is_all_answer(family: str, model: Model) -> None:
    assert taken(model(family), " It is 42.")[1] == reply.Parts(None, " It is 42.", (), 0)


def test_a_prompt_that_closes_the_thinking_leaves_an_answer_only(model: Model) -> None:
    assert taken(model("qwen3", enable_thinking=False), "It is 42.")[1].answer_start == 0


@pytest.mark.parametrize("family", ["qwen3", "qwen3_5_think", "deepseek_r1_distill", "gptoss"])
def test_a_response_template_of_the_tokenizer_s_own_says_the_same(family: str, model: Model) -> None:
    utilities = pytest.importorskip("trl.chat_template_utils")
    name = "qwen3_5" if family == "qwen3_5_think" else family
    renderer = model(family, getattr(utilities, f"{name}_template"))
    _, finished = taken(renderer, FINISHED[family])
    parsed = renderer._tokenizer.parse_response(FINISHED[family], prefix=renderer.prompt_end(renderer.render([ASKED])[0]))
    assert finished.answer == parsed["content"] == "It is 42."
    assert finished.thinking == (parsed.get("reasoning_content") or parsed.get("thinking"))
    assert taken(renderer, FINISHED[family].partition(" No.")[0])[1].answer_start is None


def test_a_tag_that_was_spelled_letter_by_letter_is_no_tag(model: Model) -> None:
    renderer = model("qwen3")
    spelled = [i for letter in "Write </think> there." for i in renderer.encode(letter)]
    thinking = renderer.encode("<think>No: ") + spelled + renderer.encode("</think>\nIt is 42.")
    ((text, parts),) = renderer.replies([thinking], [""])
    assert text == "<think>No: Write </think> there.</think>\nIt is 42."
    assert parts.answer == "It is 42."
    ((_, parts),) = renderer.replies([spelled], [""])
    assert parts.answer_start == 0


def test_tool_calls_are_told_apart_from_thinking(model: Model) -> None:
    call = '\n{"name": "f", "arguments": {}}\n'
    _, parts = taken(model("qwen3"), f"<think>Ask f.</think>\n<tool_call>{call}</tool_call>")
    assert parts.tool_calls == (call,)
    asks = '<|start|>assistant to=functions.f<|channel|>commentary json<|message|>{"a": 1}'
    _, parts = taken(model("gptoss"), f"<|channel|>analysis<|message|>Ask f.<|end|>{asks}")
    assert (parts.thinking, parts.tool_calls) == ("Ask f.", ('{"a": 1}',))


def test_special_tokens_that_mark_nothing_are_dropped_as_ever(model: Model) -> None:
    renderer = model("qwen3")
    ((text, parts),) = renderer.replies([renderer.encode("<think>a</think><|im_start|>b")], [""])
    assert (text, parts.answer) == ("<think>a</think>b", "b")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<think> It is 42. </think> I can not answer that.", "I can not answer that."),
        ("6*7 is 42</think>\nSorry, no answer.", "Sorry, no answer."),
        ("<think> maybe 42, but let me check again, since", None),
        ("Let me see. <think> 42 </think> No idea.", "No idea."),
        ("<think>a</think> b <think>c</think> d", "d"),
        ("<think>a</think> b <think>c", None),
        ("<think>a</think> b </think> c", "c"),
        ("<think>quote `</think>` here</think> yes", "yes"),
        ("Models write `<think>` first.", "Models write `<think>` first."),
        ("<think></think>", ""),
        ("42", "42"),
        ("", ""),
    ],
)
def test_text_alone_is_read_by_its_tags(text: str, answer: str | None) -> None:
    assert reply.parts(text).answer == answer


def test_a_recipe_s_own_tags_or_none_at_all() -> None:
    own = reply.layout(("<reason>", "</reason>"), "")
    assert reply.parts("<reason>41</reason>42", own).answer == "42"
    assert reply.parts("<think>41</think>42", own).answer_start == 0
    assert reply.parts("<think>41</think>42", reply.layout("none", "<think>")).answer_start == 0
    with pytest.raises(ConfigError, match="no two tags"):
        reply.layout(("<t>", "<t>"), "")


@given(st.lists(st.sampled_from(["<think>", "</think>", "`", " ", "\n", "a", "<tool_call>", "</tool_call>", "é"]), max_size=12))
def test_the_answer_is_always_the_end_of_the_text(pieces: list[str]) -> None:
    text = "".join(pieces)
    parts = reply.parts(text)
    assert (parts.answer is None) == (parts.answer_start is None)
    assert parts.answer is None or parts.answer == text[parts.answer_start :]
    if "think>" not in text:
        assert parts.answer_start == 0


@pytest.mark.parametrize("piece", ["<think>", "</think>", "<think></think>", "<tool_call>", "`<think>", "<think> a "])
def test_a_long_reply_of_nothing_but_tags_is_read_in_no_time(piece: str) -> None:
    started = time.process_time()
    reply.parts(piece * (100_000 // len(piece)))
    assert time.process_time() - started < 1.0
