"""Chat template to token ids and back: the one place that turns messages into what a model reads; knows no task and no engine.

Prompts are rendered here once and every engine is given token ids, so that no engine can apply a template of its own.
A template that prints today's date makes other prompts tomorrow: pin the date by `chat_template_kwargs`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

from ratoon import ids, reply
from ratoon.errors import ConfigError, DataError, MissingExtra, ModelError
from ratoon.messages import for_template

Conversation = Sequence[Mapping[str, Any]]
_OURS = {
    "conversation", "add_generation_prompt", "continue_final_message", "tokenize", "chat_template", "padding", "truncation",
    "tools", "max_length", "return_tensors", "return_dict", "return_assistant_tokens_mask", "tokenizer_kwargs",
}  # fmt: skip

_UNUSED = range(0x10FFFD, 0x10F000, -1)  # private code points, one of which no text holds
# What a reply and the question after it say where only the template's text between them is looked for.
_REPLY, _QUESTION = "ratoonreply", "ratoonquestion"
_SMALL = (".json", ".jinja", ".model", ".txt")
_NAMES = ("role", "type")
_PLAIN = ("PreTrainedTokenizerFast", "TokenizersBackend")


class Renderer:
    """The tokenizer and chat template of one model folder. Raises ModelError when either is missing.

    Raises ConfigError for an argument that is no variable of the template.
    `end_of_turn_ids` begins with the id by which the template ends an assistant's turn, where that can be seen; the others are
    the tokenizer's own end of sequence and those of `generation_config.json`.
    """

    def __init__(
        self,
        folder: Path,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        thinking: tuple[str, str] | Literal["none"] | None = None,
    ) -> None:
        """`thinking` names the tags around a reply's thinking; null reads them from the tokenizer's files."""
        self.folder, self._thinking = Path(folder), thinking
        self.chat_template_kwargs = dict(chat_template_kwargs or {})
        if taken := sorted(_OURS & self.chat_template_kwargs.keys()):
            raise ConfigError(
                f"chat_template_kwargs: {', '.join(taken)} cannot be set here", "name variables of the template only"
            )
        self._tokenizer = _load_tokenizer(self.folder, _stamp(self.folder))
        self._template = _template_text(self._tokenizer, self.folder)
        self._backend = self._tokenizer.backend_tokenizer
        self._backend.no_padding()
        self._backend.no_truncation()
        self.end_of_turn_ids = _end_of_turn_ids(self._tokenizer, self.folder, self._closing_id())
        pad = self._tokenizer.pad_token_id
        self.pad_id: int = pad if pad is not None else self.end_of_turn_ids[0]

    @cached_property
    def template_digest(self) -> str:
        """Over the template's text and the keyword arguments it is given."""
        return ids.digest({"template": self._template, "kwargs": self.chat_template_kwargs})

    @cached_property
    def tokenizer_digest(self) -> str:
        """Over the content of `tokenizer.json`, however it is laid out; padding and truncation are left out."""
        path = self.folder / "tokenizer.json"
        content = json.loads(path.read_text(encoding="utf-8") if path.is_file() else self._backend.to_str())
        return ids.digest({k: v for k, v in content.items() if k not in ("padding", "truncation")})

    @cached_property
    def vocabulary(self) -> int:
        """How many ids there are: one more than the largest."""
        return 1 + max(self._backend.get_vocab(with_added_tokens=True).values())

    def render(self, conversations: Sequence[Conversation], tools: Sequence[str | None] | None = None) -> list[list[int]]:
        """Token ids of each conversation, up to where the assistant begins; `tools` are each one's, as JSON.

        Special tokens are the template's alone: a content that spells one is tokenised as the letters it is made of.
        Raises DataError when the template refuses one.
        """
        given = [None] * len(conversations) if tools is None else tools
        pieces = [self._pieces(conversation, own) for conversation, own in zip(conversations, given, strict=True)]
        flat = [piece for parts in pieces for piece in parts]
        encoded = iter(self._backend.encode_batch_fast(flat, add_special_tokens=False))
        return [[i for _ in parts for i in next(encoded).ids] for parts in pieces]

    def glue(
        self,
        before: Conversation,
        sampled: Sequence[int],
        messages: Conversation,
        tools: str | None = None,
    ) -> list[int]:
        """The ids that go on with a conversation after a sampled reply, which stays as it was sampled.

        `sampled` answered `before`; `messages` follow it, up to where the assistant begins again. The next prompt is the
        ids of `before`, then `sampled`, then these: a reply rendered from its text may be cut into other ids. An end-of-turn
        id that was sampled is not given twice. Raises DataError where the template changes earlier turns when others follow.
        """
        texts = [*_strings(before), *_strings(messages)]
        # From the other end than `_pieces` takes its sign from, so that the two never meet.
        mark = next(sign for sign in map(chr, reversed(_UNUSED)) if all(sign not in text for text in texts))
        pieces = self._pieces([*before, {"role": "assistant", "content": mark}, *messages], tools)
        at = next((number for number, piece in enumerate(pieces) if mark in piece), 0)
        head, _, rest = pieces[at].partition(mark)
        if "".join(pieces).count(mark) != 1 or [*pieces[:at], head] != self._pieces(before, tools):
            raise DataError(
                f"the chat template of {self.folder.name} renders earlier turns anew: no sampled reply can be continued",
                "take a model whose template keeps earlier turns as they are, or ask one turn only",
            )
        follows = [i for piece in (rest, *pieces[at + 1 :]) for i in self.encode(piece)]
        ended = sampled and sampled[-1] in self.end_of_turn_ids and follows[:1] == [sampled[-1]]
        return follows[1:] if ended else follows

    def _pieces(self, conversation: Conversation, tools: str | None) -> list[str]:
        """The rendered text, cut inside every special token that a content spells: no piece holds one of these."""
        said = list(_strings(conversation))
        if not any(map(self._special.search, said)):
            return [self._text(conversation, tools)]
        cut = next(sign for sign in map(chr, _UNUSED) if all(sign not in text for text in said))
        spelled = _changed(conversation, lambda text: self._special.sub(lambda m: m[0][0] + cut + m[0][1:], text))
        return self._text(spelled, tools).split(cut)

    @cached_property
    def _special(self) -> re.Pattern[str]:
        names = sorted((token.content for token in self._added.values() if token.special and token.content), key=len)
        return re.compile("|".join(map(re.escape, reversed(names))) or r"(?!)")

    def _text(self, conversation: Conversation, tools: str | None = None, begun: bool = True) -> str:
        from jinja2 import TemplateError

        try:
            return self._tokenizer.apply_chat_template(
                for_template(conversation),
                tools=None if tools is None else json.loads(tools),
                tokenize=False,
                add_generation_prompt=begun,
                **self.chat_template_kwargs,
            )
        except (TemplateError, TypeError, ValueError, LookupError) as error:  # a template is a program of somebody else's
            roles = ", ".join(message["role"] for message in conversation)
            hint = "change the roles, or the system prompt, in the recipe"
            raise DataError(f"the chat template of {self.folder.name} refuses the roles {roles}: {error}", hint) from None

    def _closing_id(self) -> int | None:
        """The first special token that the template puts between a reply and the next question; None where there is none.

        Base models often have a chat template whose end of turn is not their end of sequence, and some templates
        (GLM-4) end a turn by the mark of the next one.
        """
        asked = [("user", "Hello"), ("assistant", _REPLY), ("user", _QUESTION)]
        try:
            text = self._tokenizer.apply_chat_template(
                [{"role": role, "content": content} for role, content in asked], tokenize=False, **self.chat_template_kwargs
            )
        except Exception:  # a template is a program of somebody else's, and what it refuses is told when it is used
            return None
        between = text.rpartition(_REPLY)[2].partition(_QUESTION)[0]
        special = {i for i, token in self._tokenizer.added_tokens_decoder.items() if token.special}
        special -= {self._tokenizer.bos_token_id} - {self._tokenizer.eos_token_id}
        return next((i for i in self.encode(between) if i in special), None)

    def encode(self, text: str) -> list[int]:
        """The ids of plain text; nothing is put around it."""
        return self._backend.encode(text, add_special_tokens=False).ids

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of `token_ids` without special tokens; bytes that are no UTF-8 become U+FFFD."""
        return self._backend.decode(list(token_ids), skip_special_tokens=True)

    def decode_batch(self, sequences: Sequence[Sequence[int]]) -> list[str]:
        """`decode` of each, at once."""
        return self._backend.decode_batch(list(sequences), skip_special_tokens=True)

    @cached_property
    def layout(self) -> reply.Layout:
        """How this model's replies are laid out."""
        return reply.layout(self._thinking, self._template, _response_template(self._tokenizer))

    def prompt_end(self, token_ids: Sequence[int]) -> str:
        """A prompt's text from where its last assistant turn begins, special tokens kept; empty where none begins."""
        text = self._backend.decode(list(token_ids), skip_special_tokens=False) if self._turn else ""
        at = text.rfind(self._turn)
        return text[at:] if at >= 0 else text[-len(self._turn) :]

    @cached_property
    def _turn(self) -> str:
        """What the template writes where the assistant is to begin."""
        asked = [{"role": "user", "content": "?"}]
        before, after = self._text(asked, begun=False), self._text(asked)
        return after.removeprefix(before) if after.startswith(before) else ""

    def replies(self, sequences: Sequence[Sequence[int]], prompt_ends: Sequence[str]) -> list[tuple[str, reply.Parts]]:
        """Each sampled reply as text and taken apart: special tokens are dropped, but for those that mark its parts."""
        found = []
        for token_ids, text, end in zip(sequences, self.decode_batch(sequences), prompt_ends, strict=True):
            tokens: dict[str, list[int]] = {mark: [] for mark in self._marks.values()}
            if not self._marks.keys().isdisjoint(token_ids):
                text = self._place(token_ids, tokens)
            found.append((text, reply.parts(text, self.layout, prompt_end=end, tokens=tokens)))
        return found

    @cached_property
    def _added(self) -> dict[int, Any]:
        return self._backend.get_added_tokens_decoder()

    @cached_property
    def _marks(self) -> dict[int, str]:
        """The marks of the layout that are tokens of their own."""
        return {i: token.content for i, token in self._added.items() if token.content in self.layout.marks}

    def _place(self, token_ids: Sequence[int], tokens: dict[str, list[int]]) -> str:
        """The text of a reply that holds marks; where each stands goes to `tokens`."""
        kept = [i for i in token_ids if i in self._marks or i not in self._added or not self._added[i].special]
        for place, i in enumerate(kept):
            if i in self._marks:
                tokens[self._marks[i]].append(len(self._backend.decode(kept[:place], skip_special_tokens=False)))
        return self._backend.decode(kept, skip_special_tokens=False)


def _strings(value: Any) -> Iterator[str]:
    """Every text inside messages, roles and types aside."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from () if name in _NAMES else _strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)


def _changed(value: Any, change: Callable[[str], str]) -> Any:
    """The same messages with every text that `_strings` finds changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {name: item if name in _NAMES else _changed(item, change) for name, item in value.items()}
    return [_changed(item, change) for item in value] if isinstance(value, list | tuple) else value


def _stamp(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Names, sizes and times of the folder's small files: what a tokenizer is loaded from."""
    found = ((path, path.stat()) for path in sorted(folder.glob("*.*")) if path.suffix in _SMALL)
    return tuple((path.name, status.st_size, status.st_mtime_ns) for path, status in found)


# Loaded once a process for each state of its folder: `tokenizers` keeps a cache in every thread for each tokenizer there ever
# was, 35 kB that no run of a schedule would give back.
@lru_cache(maxsize=8)
def _load_tokenizer(folder: Path, stamp: tuple[tuple[str, int, int], ...]) -> Any:
    if not folder.is_dir():
        raise ModelError(
            f"the model folder {folder} does not exist", "mend [model] in the recipe, or `ratoon doctor --prepare`"
        )
    loader = _loader(folder)
    try:
        tokenizer = loader.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"{folder} holds no tokenizer: {reason}", "give a folder with tokenizer.json in [model]") from None
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(
            f"{folder} has only a slow tokenizer", "save it again with transformers, so that it has tokenizer.json"
        )
    return tokenizer


def _loader(folder: Path) -> Any:
    """The class that loads the tokenizer: the plain one where AutoTokenizer would choose it too, since AutoTokenizer's own
    import brings torch along, 400 MB that a process which only renders never uses."""
    settings, model = (_json_or_empty(folder / name) for name in ("tokenizer_config.json", "config.json"))
    plain = settings.get("tokenizer_class") in _PLAIN and "auto_map" not in settings and model.get("model_type") == "llama"
    try:
        if plain:
            from transformers import PreTrainedTokenizerFast

            return PreTrainedTokenizerFast
        from transformers import AutoTokenizer
    except ImportError:
        raise MissingExtra("transformers", "run") from None
    return AutoTokenizer


def _json_or_empty(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _response_template(tokenizer: Any) -> Any:
    """The tokenizer's response template as transformers compiles it; None where it has none, or none that we can read."""
    given = getattr(tokenizer, "response_template", None)
    if given is None:
        return None
    try:
        from transformers.utils.chat_parsing.response_templates import load_response_template
    except ImportError:  # an older transformers, which has no such templates
        return None
    try:
        return load_response_template(given)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        hint = "mend response_template in its tokenizer_config.json, or set verify.thinking"
        raise ModelError(f"the response template of {tokenizer.name_or_path} cannot be read: {error}", hint) from None


def _template_text(tokenizer: Any, folder: Path) -> str:
    try:
        text: str = tokenizer.get_chat_template()
    except ValueError:
        hint = "take an instruct model in [model], or put a chat_template.jinja into its folder"
        raise ModelError(f"the model in {folder} has no chat template", hint) from None
    return text


def _end_of_turn_ids(tokenizer: Any, folder: Path, closing: int | None) -> tuple[int, ...]:
    path = folder / "generation_config.json"
    listed = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id") if path.is_file() else None
    others = listed if isinstance(listed, list) else [listed]
    found = tuple(dict.fromkeys(i for i in (closing, tokenizer.eos_token_id, *others) if i is not None))
    if not found:
        raise ModelError(f"the model in {folder} has no end-of-turn id", "set eos_token_id in its generation_config.json")
    return found
