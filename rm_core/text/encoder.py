"""From a dialogue to token ids: the position contract, the same in training and in serving.

A reward model's score depends on details that a text alone does not show: the chat template,
whether BOS and EOS are there, once or twice, and which position the head reads. `PositionContract`
writes these down; `TextEncoder` carries them out. Neither knows of models or requests.
"""

import copy
import hashlib
import threading
from dataclasses import replace
from typing import Any

from rm_core.errors import (
    DetailUnavailable,
    EmptyText,
    InputError,
    InvalidMessages,
    TemplateChangesResponse,
)
from rm_core.text.checks import check_characters, check_dialogue, too_many_characters
from rm_core.text.contract import PositionContract
from rm_core.text.length import LengthLimit
from rm_core.text.pairs import encode_pair, has_pairs
from rm_core.text.positions import Offset, Tokenised, extra_positions_of, num_prompt_tokens
from rm_core.text.rendering import render, without_line_breaks
from rm_core.text.special_tokens import added_around, ends_with, find_frame
from rm_core.text.template import ChatTemplate
from rm_core.types import (
    Dialogue,
    Encoded,
    RenderedText,
    RewardInput,
    TextWarning,
    TokenIds,
    Truncation,
)


class TextEncoder:
    """Turns dialogues into token ids by a contract; thread-safe.

    Args:
        tokenizer: a transformers tokenizer; its truncation and padding are switched off.
        contract: the model's contract.
        pad_token_id: the *model's* pad token, by which transformers finds the position to read;
            None where it has none.
        embedding_rows: how many ids the model knows; None: as many as the tokenizer.
    """

    def __init__(
        self,
        tokenizer: Any,
        contract: PositionContract,
        *,
        pad_token_id: int | None,
        embedding_rows: int | None = None,
    ) -> None:
        self.contract = contract
        self._tokenizer = tokenizer
        self.pad_token_id = pad_token_id
        self._backend = getattr(tokenizer, "backend_tokenizer", None)
        self._lock = threading.Lock()  # a slow tokenizer is not thread-safe
        if self._backend is not None:
            # Settings stored in tokenizer.json would cut or pad silently.
            self._backend.no_truncation()
            self._backend.no_padding()
        bare, _ = self._tokenize("x", add_special_tokens=False)
        dressed, _ = self._tokenize("x", add_special_tokens=True)
        bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
        self._adds_bos = dressed[:1] == [bos] != bare[:1]
        self._adds_eos = dressed[-1:] == [eos] != bare[-1:]
        self._num_known_ids = max(len(tokenizer), embedding_rows or 0)
        chat = contract.rendering == "chat"
        self._template = ChatTemplate(tokenizer, contract.template_date) if chat else None
        self._frame = find_frame(
            tokenizer,
            lambda text: self._tokenize(text, add_special_tokens=False)[0],
            template=self._template,
            by_tokenizer=added_around(bare, dressed) if contract.bos == "tokenizer" else ([], []),
            want_bos=contract.bos == "if_absent",
            want_eos=contract.eos != "never",
        )
        self._limit = LengthLimit(
            contract.max_length,
            tokenizer.bos_token or "",
            frozenset({bos, getattr(tokenizer, "cls_token_id", None)} - {None}),
        )
        self._ends = [
            self._tokenize(end, add_special_tokens=False)[0]
            for end in (self._frame.tail, *self._frame.stops)
            if end.strip()
        ]

    def with_max_length(self, max_length: int) -> "TextEncoder":
        """The same encoder, for a model that has room for no more tokens than these."""
        other = copy.copy(self)
        other.contract = replace(self.contract, max_length=max_length)
        other._limit = replace(self._limit, max_tokens=max_length)
        return other

    @property
    def template(self) -> ChatTemplate | None:
        """What renders dialogues; None where they are not rendered."""
        return self._template

    def notes(self, *, is_assumed: bool) -> tuple[str, ...]:
        """What an operator should know of how texts are read, as sentences.

        Args:
            is_assumed: whether the checkpoint itself says nothing of its contract.
        """
        template = self._template
        if template is None:
            maybe_pair = self.contract.rendering == "concatenate" and has_pairs(self._tokenizer)
            return (_MAYBE_PAIR,) if is_assumed and maybe_pair else ()
        notes = []
        if template.is_dated:
            notes.append(
                "dated_template: the chat template writes today's date, so that rewards change "
                "from day to day; set template_date to the day that it was trained for"
            )
        if self._leaves_open(template):
            notes.append(
                "unfinished_template: the chat template writes nothing behind the response, so "
                "that whole responses and cut ones read alike"
            )
        return tuple(notes)

    @property
    def tokenizer_fingerprint(self) -> str:
        """Equal for tokenizers that cut and render alike, hex; unique where that can't be told."""
        tokenizer = self._tokenizer
        if self._backend is None:
            return f"slow-{id(tokenizer)}"
        parts = (
            self._backend.to_str(),
            repr(tokenizer.chat_template),
            repr(sorted(tokenizer.special_tokens_map.items())),
        )
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    @property
    def vocabulary_fingerprint(self) -> str:
        """Equal for tokenizers that give the same ids to the same text, hex."""
        if self._backend is None:
            return self.tokenizer_fingerprint
        return hashlib.sha256(self._backend.to_str().encode()).hexdigest()

    def encode(self, dialogue: RewardInput, *, truncate: Truncation = "error") -> Encoded:
        """Token ids of a dialogue, or of a text rendered from one, and the position to read.

        Raises:
            EmptyText: there is nothing to score.
            InvalidMessages: the chat template refuses the messages.
            InputTooLong: more than `max_length` tokens, and truncation is off or can't help.
            InputError: the text is not valid Unicode, or not of a form that the model reads.
        """
        if isinstance(dialogue, TokenIds):
            return self._encode_ids(dialogue, truncate)
        if self.contract.rendering == "pair":
            return self._encode_pair(dialogue, truncate)
        if isinstance(dialogue, RenderedText):
            return self._encode_rendered(dialogue, truncate)
        return self._encode_dialogue(dialogue, truncate)

    def _encode_dialogue(self, dialogue: Dialogue, truncate: Truncation) -> Encoded:
        dialogue, tail = self._without_stops(dialogue)
        self._check(dialogue)
        rendered = render(dialogue, self._template, self.contract.eos, tail)
        text, border, cut = self._limit.cut_text(rendered.text, rendered.border, truncate)
        by_tokenizer = self._added_by_tokenizer and not dialogue.rendered
        ids, offsets = self._tokenize(text, add_special_tokens=by_tokenizer)
        tokenised = Tokenised(dialogue, border, offsets)
        num_prompt = tokenised.num_prompt_tokens
        if dialogue.rendered:
            ids, num_in_front = self._frame.around(ids)
            num_prompt = None if num_prompt is None else num_prompt + num_in_front
        if by_tokenizer:
            ids, num_prompt = self._without_doubles(ids, num_prompt)
        ids, num_prompt = self._with_special_tokens(ids, num_prompt)
        encoded = self._bounded(ids, num_prompt, text, [*rendered.warnings, *cut], truncate)
        if dialogue.read_at == "end":
            return encoded
        if border is None:
            raise TemplateChangesResponse(
                "the model's chat template changes the response, so that its tokens can't be told "
                "from the rest"
            )
        stripped = self._template is not None and not dialogue.rendered
        name_of = self._tokenizer.convert_ids_to_tokens
        extra = extra_positions_of(tokenised, encoded, name_of, stripped=stripped)
        return replace(encoded, extra_positions=extra)

    @property
    def _added_by_tokenizer(self) -> bool:
        """Whether BOS and EOS of a dialogue are the tokenizer's affair."""
        return self._template is None and self.contract.bos == "tokenizer"

    def _check(self, dialogue: Dialogue) -> None:
        calls_tools = '"tool_calls"' in dialogue.response_fields
        if not (dialogue.allow_empty or dialogue.response.strip() or calls_tools):
            raise EmptyText("the response is empty", field="response")
        check_dialogue(dialogue)

    def _without_stops(self, dialogue: Dialogue) -> tuple[Dialogue, str]:
        """A dialogue without the stop tokens of its sampler, and what a turn then ends with.

        A template ends the turn by itself, unless it leaves it open; behind a prompt that is
        rendered already, the model's own end takes the place of the policy's.
        """
        bare, found = self._frame.without_stops(dialogue.response, dialogue.stops)
        template = None if dialogue.rendered else self._template
        is_ended = template is not None and not self._leaves_open(template)
        if not (found or is_ended):
            return dialogue, ""
        return replace(dialogue, response=bare), self._frame.tail if found else ""

    def _leaves_open(self, template: ChatTemplate) -> bool:
        """Whether nothing ends a turn but what the response itself brings."""
        return template.is_unfinished and self.contract.eos == "never"

    def _without_doubles(
        self, ids: list[int], num_prompt: int | None
    ) -> tuple[list[int], int | None]:
        """One BOS and one EOS where the text brought its own and the tokenizer added another."""
        bos, eos = self._tokenizer.bos_token_id, self._tokenizer.eos_token_id
        if self._adds_bos and ids[:2] == [bos, bos]:
            ids = ids[1:]
            num_prompt = None if num_prompt is None else max(num_prompt - 1, 0)
        if self._adds_eos and ids[-2:] == [eos, eos]:
            ids = ids[:-1]
        return ids, num_prompt

    def _with_special_tokens(
        self, ids: list[int], num_prompt: int | None
    ) -> tuple[list[int], int | None]:
        """BOS and EOS where the contract wants them and they are absent."""
        bos, eos = self._tokenizer.bos_token_id, self._tokenizer.eos_token_id
        if self.contract.bos == "if_absent" and bos is not None and ids[:1] != [bos]:
            ids = [bos, *ids]
            num_prompt = None if num_prompt is None else num_prompt + 1
        if self.contract.eos != "never" and eos is not None and ids[-1:] != [eos]:
            ids = [*ids, eos]
        if not ids:
            raise EmptyText("the text has no tokens", field="response")
        return ids, num_prompt

    def _bounded(
        self,
        ids: list[int],
        num_prompt: int | None,
        text: str,
        warnings: list[TextWarning],
        truncate: Truncation,
    ) -> Encoded:
        doubled = self._doubled_bos(ids)
        ids, num_prompt, cut = self._limit.cut(ids, num_prompt, truncate)
        return self._encoded(ids, num_prompt, [*doubled, *warnings, *cut], text)

    def _encoded(
        self, ids: list[int], num_prompt: int | None, warnings: list[TextWarning], text: str = ""
    ) -> Encoded:
        if not self._is_finished(ids, text):
            warnings = [*warnings, "missing_eos"]
        told = tuple(dict.fromkeys(warnings))
        return Encoded(tuple(ids), self._read_position(ids), num_prompt, told)

    def _is_finished(self, ids: list[int], text: str) -> bool:
        """Whether a text ends as a turn does: with EOS, or with what the template writes there."""
        eos = self._tokenizer.eos_token_id
        if eos is None or ends_with(eos, ids) or text.rstrip().endswith(self._frame.stops):
            return True
        return any(ids[-len(end) :] == end for end in self._ends)

    def _doubled_bos(self, ids: list[int]) -> list[TextWarning]:
        bos = self._tokenizer.bos_token_id
        return ["double_bos"] if bos is not None and ids[:2] == [bos, bos] else []

    def _encode_rendered(self, rendered: RenderedText, truncate: Truncation) -> Encoded:
        text, border = rendered.text, rendered.num_prompt_characters
        if rendered.stops:
            prompt = text[: border or 0]  # a stop of its own is none of the response's
            text = prompt + self._frame.with_own_end(text[len(prompt) :], rendered.stops)
        if not text.strip():
            raise EmptyText("the text is empty", field="text")
        check_characters(text, "text")
        if rendered.add_special_tokens:
            text = without_line_breaks(text, self.contract.eos)
        cut: list[TextWarning] = []
        if len(text) > self._limit.max_characters:
            if truncate == "error" and rendered.max_tokens is None:
                raise too_many_characters(len(text), self.contract.max_length, "text")
            text, border, cut = self._limit.last_characters(text, border)
        ids, offsets = self._tokenize(text, add_special_tokens=False)
        num_prompt = None if border is None else num_prompt_tokens(offsets, border)
        if rendered.add_special_tokens:
            ids, num_in_front = self._frame.around(ids)
            num_prompt = None if num_prompt is None else num_prompt + num_in_front
        doubled = self._doubled_bos(ids)
        ids, num_prompt, more = self._limit.cut_rendered(
            ids, num_prompt, truncate, rendered.max_tokens
        )
        return self._encoded(ids, num_prompt, [*doubled, *cut, *more], text)

    def _encode_ids(self, given: TokenIds, truncate: Truncation) -> Encoded:
        if not given.ids:
            raise EmptyText("there are no token ids", field="ids")
        if min(given.ids) < 0 or max(given.ids) >= self._num_known_ids:
            raise InputError(
                f"token ids must be from 0 to {self._num_known_ids - 1}, as the model knows them",
                field="ids",
            )
        if self.contract.rendering == "pair":
            raise InputError(_SEND_APART, field="ids")
        ids = list(given.ids)
        doubled = self._doubled_bos(ids)
        ids, _, cut = self._limit.cut_rendered(ids, None, truncate, given.max_tokens)
        return self._encoded(ids, None, [*doubled, *cut])

    def _encode_pair(self, given: Dialogue | RenderedText, truncate: Truncation) -> Encoded:
        dialogue = _as_pair(given)
        bare, found = self._frame.without_stops(dialogue.response, dialogue.stops)
        dialogue = replace(dialogue, response=bare) if found else dialogue
        self._check(dialogue)
        if dialogue.read_at != "end":
            raise DetailUnavailable("the model reads prompt and response as a pair")
        with self._lock:  # transformers' own call, which is not promised to be thread-safe
            pair = encode_pair(self._tokenizer, str(dialogue.prompt), dialogue.response)
        max_tokens = given.max_tokens if isinstance(given, RenderedText) else None
        pair, cut = pair.cut(self._limit, truncate, max_tokens)
        encoded = self._encoded(pair.ids, pair.num_prompt, cut)
        return replace(encoded, token_types=pair.token_types)

    def _tokenize(
        self, text: str, *, add_special_tokens: bool
    ) -> tuple[list[int], list[Offset] | None]:
        """Token ids, and each token's characters where the tokenizer tells."""
        if self._backend is not None:
            encoding = self._backend.encode(text, add_special_tokens=add_special_tokens)
            return encoding.ids, encoding.offsets
        with self._lock:
            return self._tokenizer(text, add_special_tokens=add_special_tokens)["input_ids"], None

    def _read_position(self, ids: list[int]) -> int:
        """Index of the hidden state that the head reads.

        Source: transformers `GenericForSequenceClassification.forward`: the rightmost token that is
        not the pad token, position 0 where all are.
        """
        last = len(ids) - 1
        if self.contract.read == "last_token" or self.pad_token_id is None:
            return last
        return next((i for i in range(last, -1, -1) if ids[i] != self.pad_token_id), 0)


_MAYBE_PAIR = (
    "maybe_pair: the tokenizer separates pairs of texts, and prompt and response are read as one; "
    "if the model was trained on pairs, set safety_rendering or helpfulness_rendering to pair"
)
_SEND_APART = (
    "the model reads prompt and response as a pair of texts; send them apart, as `prompt` and "
    "`response`"
)


def _as_pair(given: Dialogue | RenderedText) -> Dialogue:
    """A dialogue of two texts, as a pair is read."""
    if isinstance(given, RenderedText):
        border = given.num_prompt_characters
        if border is None:
            raise InputError(_SEND_APART, field="text")
        prompt, response = given.text[:border], given.text[border:]
        return Dialogue(prompt, response, allow_empty=True, stops=given.stops)
    if isinstance(given.prompt, str):
        return given
    if len(given.prompt) != 1 or given.prompt[0].role != "user":
        raise InvalidMessages(
            "the model reads a pair of one prompt and one response; send the prompt as a string, "
            "or as a single user turn",
            field="prompt",
        )
    return replace(given, prompt=given.prompt[0].content)
