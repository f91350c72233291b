"""A chat template: messages to text, and what its own source tells of it.

Templates raise what they like and may read the clock. What they raise is told only where it is one
of the source's own constants, since it may quote the messages; what they write of the date changes
the text, and with it the reward, from day to day.
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rm_core.errors import ConfigurationError, InvalidMessages, TemplateOverBounds
from rm_core.types import Message

CLOCK = "strftime_now"
"""The only way to the clock that transformers gives a template."""

_STRING = r"(?P<quote>['\"])(?P<words>(?:\\.|(?!(?P=quote)).)*)(?P=quote)"
_RAISED = re.compile(rf"raise_exception\(\s*{_STRING}\s*\)", re.DOTALL)
_FORMATS = re.compile(rf"{CLOCK}\(\s*{_STRING}\s*\)")
_SOME_DATE = "\ue001\ue002"
_SOME_TEXT = "\ue003\ue004"
_MIN_MARKER_CHARACTERS = 3


def calls_clock(template: object) -> bool:
    """Whether a template's source names the clock."""
    return isinstance(template, str) and f"{CLOCK}(" in template


def with_clock_at(template: str, date: str) -> str:
    """A template whose clock stands still.

    Args:
        template: its source.
        date: ISO 8601, "2026-11-30" or with a time.

    Raises:
        ConfigurationError: `date` is none, or the template's formats of it can't be told.
    """
    try:
        moment = datetime.fromisoformat(date)
    except ValueError:
        raise ConfigurationError(
            f"template_date must be a date such as 2026-11-30, not {date!r}"
        ) from None
    formats = [found["words"] for found in _FORMATS.finditer(template)]
    if len(formats) != template.count(f"{CLOCK}("):
        raise ConfigurationError(
            "the chat template makes up the format of its date, so that template_date can't set "
            "it; save the tokenizer with a template without dates"
        )
    dates = {each: moment.strftime(each) for each in formats}
    return _with_clock(template, "{{ " + json.dumps(dates) + "[format] }}")


def own_words(template: object, error: Exception) -> str | None:
    """What a template raised, if it is one of its constants; else None, as it may hold a text."""
    if not isinstance(template, str):
        return None
    constants = {
        found["words"].replace("\\'", "'").replace('\\"', '"')
        for found in _RAISED.finditer(template)
    }
    return str(error) if str(error) in constants else None


class ChatTemplate:
    """A tokenizer's chat template; thread-safe.

    Args:
        tokenizer: a transformers tokenizer.
        date: what the template is told to be today; None: what it is.

    Attributes:
        before: what it writes before a question; "" where that can't be told.
        tail: what it writes behind the last content; likewise.
        is_unfinished: whether that is nothing but white space: whole answers and cut ones then
            read alike.

    Raises:
        ConfigurationError: see `with_clock_at`.
    """

    def __init__(self, tokenizer: Any, date: str | None = None) -> None:
        self._tokenizer = tokenizer
        self._source = tokenizer.chat_template
        self._stopped: str | None = None
        self._on_some_date: str | None = None
        if calls_clock(self._source) and date is not None:
            self._stopped = with_clock_at(self._source, date)
        elif calls_clock(self._source):
            self._on_some_date = _with_clock(self._source, _SOME_DATE)
        around = self._around_contents()
        self.before, self._between, self.tail = around or ("", "", "")
        self.is_unfinished = around is not None and not self.tail.strip()
        self._markers = self._find_markers()

    @property
    def is_dated(self) -> bool:
        """Whether a chat of a question and an answer is another text on another day."""
        return self.is_dated_in(_probe("x", "y"))

    def render(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """Messages as one text, without a generation prompt.

        Raises:
            InvalidMessages: the template refuses them, or goes beyond its bounds.
        """
        try:
            return self._apply(messages, self._stopped)
        except TemplateOverBounds as error:
            raise TemplateOverBounds(str(error), field="prompt") from None
        except Exception as error:
            said = own_words(self._source, error) or type(error).__name__
            raise InvalidMessages(
                f"the model's chat template refused the messages ({said})", field="prompt"
            ) from None

    def is_dated_in(self, messages: Sequence[Mapping[str, Any]]) -> bool:
        """Whether these messages are another text on another day."""
        if self._on_some_date is None:
            return False
        try:
            return _SOME_DATE in self._apply(messages, self._on_some_date)
        except Exception:  # a template that reckons with its date
            return True

    def border(self, text: str, messages: Sequence[Mapping[str, Any]]) -> int | None:
        """Index of the last message's first character in the text; None if it isn't there whole.

        Args:
            text: of the messages, as rendered.
            messages: the last with the text of its content. White space around it may be lost.
        """
        bare = messages[-1].get("content", "").strip()
        body = text.removesuffix(self.tail)
        if not bare:
            return len(body)
        if body.rstrip().endswith(bare):
            return len(body.rstrip()) - len(bare)
        # Another end than usual: then what stands before any answer tells the place.
        try:
            other = self.render([*messages[:-1], {**messages[-1], "content": _SOME_TEXT}])
        except InvalidMessages:
            return None
        before, found, _ = other.partition(_SOME_TEXT)
        rest = text.removeprefix(before)
        begin = len(text) - len(rest.lstrip())
        known = found and text.startswith(before) and text.startswith(bare, begin)
        return begin if known else None

    def may_have_rendered(self, text: str) -> bool:
        """Whether a text holds what this template or its tokenizer writes: BOS, role tokens."""
        return any(marker in text for marker in self._markers)

    def _apply(self, messages: Sequence[Mapping[str, Any]], source: str | None) -> str:
        given = {} if source is None else {"chat_template": source}
        text: str = self._tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=False, **given
        )
        return text

    def _around_contents(self) -> tuple[str, str, str] | None:
        """What is written before a question, between it and its answer, and behind that."""
        question, answer = "question", "answer"
        try:
            text = self._apply(_probe(question, answer), self._stopped)
        except Exception:  # a template that wants other roles: then there is nothing to learn
            return None
        rest, found, tail = text.rpartition(answer)
        before, _, between = rest.partition(question)
        return (before, between, tail) if found else None

    def _find_markers(self) -> tuple[str, ...]:
        tokenizer = self._tokenizer
        written = self.before + self._between + self.tail
        added = getattr(tokenizer, "added_tokens_decoder", {}).values()
        special = {str(token) for token in added if getattr(token, "special", False)}
        special |= set(tokenizer.all_special_tokens)
        markers = [token for token in special if token and token in written]
        heading = self._between.strip()
        if len(heading) >= _MIN_MARKER_CHARACTERS and not heading.isalnum():
            markers.append(heading)
        if tokenizer.bos_token:
            markers.append(tokenizer.bos_token)
        return tuple(sorted(set(markers)))


def as_turn(message: Message) -> dict[str, Any]:
    """A message as templates read it: further fields beside role and content, none of them null."""
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    turn |= json.loads(message.fields) if message.fields else {}
    return {name: value for name, value in turn.items() if value is not None}


def _probe(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _with_clock(template: str, body: str) -> str:
    # The line break goes with its block, so that the template begins as if nothing stood before it.
    return f"{{% macro {CLOCK}(format) %}}{body}{{% endmacro %}}\n{template}"
