"""A reply taken apart: what the model thought, what it answers, what tools it calls; knows no tokenizer.

A `Layout` says how a family of models marks the parts: a pair of tags, the channels of gpt-oss, or a tokenizer's own response
template. A mark counts where it was sampled as its own token; where token ids are unknown, wherever it stands unquoted. The
prompt may have opened the thinking (DeepSeek-R1) or closed it (Qwen3 without thinking): its end is read first.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from ratoon.errors import ConfigError

Kind = Literal["thinking", "answer", "tool_call"]
UNFINISHED = "unfinished_thinking"
"""The detail of its verdict, and in a rollout's `meta` what tells thinking that never ended from an unknown start."""
COLUMNS = ("text", "answer_start", "meta")
"""What of table `rollouts` says where answers begin."""
ANSWER_SQL = f"""case when answer_start is not null then substr("text", answer_start + 1)
    when coalesce(meta, '') like '%"{UNFINISHED}":%' then null else "text" end"""
"""The answer of a row of `rollouts`, as an SQL expression; null where the thinking never ended."""
_QUOTES = frozenset("`'\"“‘")
_THINKING: Kind = "thinking"
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")
# What stands in a chat template whose models think, and their tags.
_TAGS = {
    "[THINK]": ("[THINK]", "[/THINK]"),
    "<|channel>thought": ("<|channel>thought\n", "<channel|>"),
    "<seed:think>": ("<seed:think>", "</seed:think>"),
}


class Parts(NamedTuple):
    """Thinking and tool calls as they were written. `answer_start` counts characters; null: the thinking never ended."""

    thinking: str | None
    answer: str | None
    tool_calls: tuple[str, ...]
    answer_start: int | None


@dataclass(frozen=True)
class Region:
    """A kind of part and the patterns that open and close it; without `open` only a prompt opens it."""

    kind: Kind
    open: Any
    close: Any


@dataclass(frozen=True)
class Layout:
    """How replies are laid out. `marks` are the texts that must be tokens of their own where the tokenizer has such tokens;
    `wrap` is what stands before and after thinking that a server sends apart."""

    regions: tuple[Region, ...]
    marks: tuple[str, ...]
    wrap: tuple[str, str]


def _literals(pattern: str) -> list[str]:
    """The tags that a pattern names: `<…>` and `[…]` without a blank inside, escapes undone."""
    return re.findall(r"(?<!\?P)</?[^\s<>()\\]+>|\[/?[A-Z_]+\]", re.sub(r"\\(\W)", r"\1", pattern))


def tags(open: str, close: str) -> Layout:
    """Thinking between two tags at the head of a reply."""
    region = Region("thinking", re.compile(re.escape(open)), re.compile(re.escape(close)))
    marks = [mark for tag in (open, close) for mark in (_literals(re.escape(tag)) or [tag])]
    return Layout((region, _TOOL_CALL), (*marks, *_TOOL_MARKS), (f"{open.strip()}\n", f"\n{close.strip()}\n\n"))


_TOOL_MARKS = ("<tool_call>", "</tool_call>")
_TOOL_CALL = Region("tool_call", re.compile(_TOOL_MARKS[0]), re.compile(_TOOL_MARKS[1]))
THINK = tags("<think>", "</think>")
PLAIN = Layout((_TOOL_CALL,), _TOOL_MARKS, ("", ""))
CHANNELS = Layout(
    (
        Region("thinking", re.compile(r"<\|channel\|>analysis[^<]*<\|message\|>"), re.compile(r"<\|end\|>")),
        Region("answer", re.compile(r"<\|channel\|>final[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>"), None),
        Region(
            "tool_call",
            re.compile(r"<\|channel\|>commentary[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>"),
            re.compile(r"<\|(?:call|end)\|>"),
        ),
    ),
    ("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|call|>", "<|constrain|>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
)


def layout(thinking: tuple[str, str] | Literal["none"] | None, template: str, response: Any = None) -> Layout:
    """The layout that a recipe names, else the tokenizer's response template, else what the chat template's text shows.

    `response` is a response template as transformers compiled it. Raises ConfigError for tags that cannot be told apart.
    """
    if thinking == "none":
        return PLAIN
    if thinking is not None:
        open, close = thinking
        if not open.strip() or not close.strip() or open == close:
            raise ConfigError(f"verify.thinking = {list(thinking)} are no two tags", 'write ["<think>", "</think>"] or "none"')
        return tags(open, close)
    if response is not None:
        return _of_response(response)
    if "<|channel|>" in template and "analysis" in template:
        return CHANNELS
    return next((tags(*pair) for sign, pair in _TAGS.items() if sign in template), THINK)


def _of_response(response: Any) -> Layout:
    """The regions of a compiled response template. A pattern that looks ahead opens nothing: its prompt did that."""
    kinds: dict[str, Kind] = {**dict.fromkeys(_THOUGHTS, _THINKING), "content": "answer", "tool_calls": "tool_call"}
    regions, marks, wrap = [], set[str](), ("", "")
    for name, field in response.fields.items():
        if name not in kinds or (name == "content" and field.open_re is None):
            continue
        ahead = field.open_re is None or field.open_re.pattern.startswith("(?=")
        regions.append(Region(kinds[name], None if ahead else field.open_re, field.close_re))
        marks |= {text for pattern in (field.open_re, field.close_re) if pattern for text in _literals(pattern.pattern)}
        if kinds[name] == "thinking":
            close = next(iter(_literals(field.close_re.pattern)), "") if field.close_re else ""
            wrap = ((field.open_literals or [""])[0], close)
    if all(region.kind != "thinking" for region in regions):
        regions.append(THINK.regions[0])
        marks |= {*THINK.marks[:2]}
        wrap = THINK.wrap
    return Layout(tuple(regions), tuple(sorted(marks)), wrap)


def parts(text: str, layout: Layout = THINK, *, prompt_end: str = "", tokens: Mapping[str, Collection[int]] = {}) -> Parts:
    """`text` taken apart. `prompt_end` is the end of its prompt from where the assistant began, as text.

    `tokens` has for each mark that is a token of the tokenizer where in `text` it was sampled as one.
    """
    marked = [mark for mark in layout.marks if mark in text]
    told = prompt_end and (_given(layout) or any(mark in prompt_end for mark in layout.marks))
    if not marked and not told:
        return Parts(None, text, (), 0)
    base, shown = len(prompt_end), prompt_end + _masked(text, marked, tokens)
    spans = list(_spans(shown, layout, base))
    start = _answer_start(shown, spans, base)
    whole = prompt_end + text
    thoughts = [whole[max(span.start, base) : span.stop] for span in spans if span.kind == "thinking"]
    calls = tuple(whole[span.start : span.stop] for span in spans if span.kind == "tool_call" and span.start >= base)
    thinking = "\n".join(filter(None, (thought.strip() for thought in thoughts))) or None
    if start is None:
        return Parts(thinking, None, calls, None)
    start = start - base if start > base else 0
    return Parts(thinking, text[start:], calls, start)


class _Span(NamedTuple):
    kind: Kind
    start: int
    stop: int
    end: int | None  # behind what closed it; null: nothing did


def _masked(text: str, marks: Collection[str], tokens: Mapping[str, Collection[int]]) -> str:
    """`text` in which every mark that is only spelled, or quoted where ids are unknown, is none; as long as before."""
    for mark in marks:
        where, before = tokens.get(mark), text

        def kept(found: re.Match[str], where: Collection[int] | None = where, before: str = before) -> str:
            at = found.start()
            counts = at in where if where is not None else before[max(at - 1, 0) : at] not in _QUOTES
            return found[0] if counts else "\0" + found[0][1:]

        text = re.sub(re.escape(mark), kept, text)
    return text


def _spans(text: str, layout: Layout, base: int) -> Iterator[_Span]:
    """The parts in their order. Thinking that is closed and was never opened goes back to where nothing else stood."""
    at = 0
    given = _given(layout)
    if given is not None and base and not given.close.search(text, 0, base):
        at = yield from _until_closed(text, given, 0, 0)
    explicit = any(region.kind == "answer" for region in layout.regions)
    opens = [_Ahead(region, region.open, text) for region in layout.regions if region.open is not None]
    orphans = [] if explicit else [_Ahead(r, r.close, text) for r in layout.regions if r.kind == "thinking" and r.close]
    while marks := [mark for mark in (*orphans, *opens) if mark.find(at)]:
        mark = min(marks, key=lambda mark: mark.place)
        if mark in orphans:
            yield _Span("thinking", at, *mark.place)
            at = mark.place[1]
        else:
            at = yield from _until_closed(text, mark.region, *mark.place)


class _Ahead:
    """The next place of a pattern, searched for only once it is passed, so that a reply is read in linear time."""

    def __init__(self, region: Region, pattern: Any, text: str) -> None:
        self.region, self._pattern, self._text = region, pattern, text
        self.place, self._done = (-1, -1), False

    def find(self, at: int) -> bool:
        """Whether the pattern stands at `at` or later; `place` is then where it starts and ends."""
        if self.place[0] < at and not self._done:
            found = self._pattern.search(self._text, at)
            self.place, self._done = (found.span() if found else self.place), found is None
        return not self._done


def _given(layout: Layout) -> Region | None:
    """The thinking that only a prompt opens."""
    return next((region for region in layout.regions if region.kind == "thinking" and region.open is None), None)


def _until_closed(text: str, region: Region, start: int, body: int) -> Generator[_Span, None, int]:
    """The region that begins at `start` with its content at `body`; returns where to read on."""
    found = region.close.search(text, body) if region.close is not None else None
    if found is None:
        yield _Span(region.kind, body, len(text), None)
        return len(text)
    yield _Span(region.kind, body, found.start(), found.end())
    return max(found.end(), start + 1)


def _answer_start(text: str, spans: Sequence[_Span], base: int) -> int | None:
    """Behind the last thinking, or where the last explicit answer begins; white space is passed over. Null: still thinking."""
    thoughts = [span for span in spans if span.kind == "thinking"]
    answers = [span.start for span in spans if span.kind == "answer"]
    if thoughts and thoughts[-1].end is None:
        return None
    start = answers[-1] if answers else (thoughts[-1].end or 0) if thoughts else 0
    return start + len(text[start:]) - len(text[start:].lstrip()) if start > base else 0


def answered(rollouts: pa.Table) -> pa.Table:
    """The same rollouts with only the answer in `text`: empty where the thinking never ended, null where nothing came back.

    Reads the columns COLUMNS; where they do not know where an answer begins, the text's own tags say it.
    """
    texts, ends = rollouts["text"], _starts(rollouts)
    known = pc.and_(pc.is_valid(ends), pc.equal(ends, 0))
    if pc.all(pc.or_(pc.fill_null(known, False), pc.is_null(texts)), min_count=0).as_py():
        return rollouts
    unended = unfinished(rollouts).to_pylist()
    rows = zip(texts.to_pylist(), ends.to_pylist(), unended, strict=True)
    answers = [None if text is None else "" if open else _answer(text, start) for text, start, open in rows]
    at = rollouts.schema.get_field_index("text")
    return rollouts.set_column(at, rollouts.schema.field(at), pa.array(answers, pa.string()))


def unfinished(rollouts: pa.Table) -> pa.Array:
    """Whether a rollout's thinking never ended, by the columns COLUMNS; null where nothing came back."""
    meta = rollouts["meta"] if "meta" in rollouts.column_names else pa.nulls(rollouts.num_rows, pa.string())
    marked = pc.fill_null(pc.match_substring(meta, f'"{UNFINISHED}":'), False).to_pylist()
    rows = zip(rollouts["text"].to_pylist(), _starts(rollouts).to_pylist(), marked, strict=True)
    return pa.array([None if text is None else start is None and (told or parts(text).answer is None)
                     for text, start, told in rows], pa.bool_())  # fmt: skip


def _answer(text: str, start: int | None) -> str:
    return (parts(text).answer or "") if start is None else text[start:]


def _starts(rollouts: pa.Table) -> pa.ChunkedArray | pa.Array:
    """`answer_start`; all null for tables that were made without it."""
    there = "answer_start" in rollouts.column_names
    return rollouts["answer_start"] if there else pa.nulls(rollouts.num_rows, pa.int32())
