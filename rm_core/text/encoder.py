"""From a dialogue to token ids: the position contract, the same in training and in serving.

A reward model's score depends on details that a text alone does not show: the chat template,
whether BOS and EOS are there, once or twice, and which position the head reads. `PositionContract`
writes these down; `TextEncoder` carries them out. Neither knows of models or requests.
"""

import hashlib
import threading
from dataclasses import replace
from typing import Any

from rm_core.errors import (
    EmptyText,
    InputError,
    InputTooLong,
    InvalidMessages,
    TemplateChangesResponse,
)
from rm_core.text.checks import (
    MAX_CHARACTERS_PER_TOKEN,
    check_characters,
    check_dialogue,
    too_many_characters,
)
from rm_core.text.contract import PositionContract
from rm_core.text.positions import Offset, Tokenised, extra_positions_of, num_prompt_tokens
from rm_core.text.special_tokens import added_around, find_frame
from rm_core.types import (
    Dialogue,
    Encoded,
    Message,
    RenderedText,
    RewardInput,
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
    """

    def __init__(
        self, tokenizer: Any, contract: PositionContract, *, pad_token_id: int | None
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
        self._vocabulary_size = len(tokenizer)
        self._frame = find_frame(
            tokenizer,
            lambda text: self._tokenize(text, add_special_tokens=False)[0],
            chat=contract.rendering == "chat",
            by_tokenizer=added_around(bare, dressed) if contract.bos == "tokenizer" else ([], []),
            want_bos=contract.bos == "if_absent",
            want_eos=contract.eos != "never",
        )

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
            InputError: the text is not valid Unicode.
        """
        if isinstance(dialogue, RenderedText):
            return self._encode_rendered(dialogue, truncate)
        if isinstance(dialogue, TokenIds):
            return self._encode_ids(dialogue, truncate)
        dialogue, tail = self._without_stops(dialogue)
        if not dialogue.allow_empty and not dialogue.response.strip():
            raise EmptyText("the response is empty", field="response")
        check_dialogue(dialogue)
        text, border = self._render(dialogue, tail)
        text = self._without_line_breaks(text)
        border = min(border, len(text))
        cut: list[str] = []
        if len(text) > self._max_characters:
            text, border, cut = self._shorten(text, border, truncate)
        chat = self.contract.rendering == "chat" and not dialogue.rendered
        by_tokenizer = self._added_by_tokenizer and not dialogue.rendered
        ids, offsets = self._tokenize(text, add_special_tokens=by_tokenizer)
        tokenised = Tokenised(dialogue, border, offsets)
        num_prompt = tokenised.num_prompt_tokens
        if dialogue.rendered:
            ids, num_in_front = self._frame.around(ids)
            num_prompt = None if num_prompt is None else num_prompt + num_in_front
        encoded = self._finish(ids, num_prompt, truncate, cut, by_tokenizer=by_tokenizer)
        if dialogue.read_at == "end":
            return encoded
        if border == len(text):
            raise TemplateChangesResponse(
                "the model's chat template changes the response, so that its tokens can't be told "
                "from the rest"
            )
        name_of = self._tokenizer.convert_ids_to_tokens
        return replace(
            encoded, extra_positions=extra_positions_of(tokenised, encoded, name_of, stripped=chat)
        )

    @property
    def _added_by_tokenizer(self) -> bool:
        """Whether BOS and EOS of a dialogue are the tokenizer's affair."""
        return self.contract.rendering == "concatenate" and self.contract.bos == "tokenizer"

    def _without_stops(self, dialogue: Dialogue) -> tuple[Dialogue, str]:
        """A dialogue without the stop tokens of its sampler, and what a turn then ends with.

        A template ends the turn by itself; behind a prompt that is rendered already, the model's
        own end takes the place of the policy's.
        """
        bare, found = self._frame.without_stops(dialogue.response, dialogue.stops)
        by_template = self.contract.rendering == "chat" and not dialogue.rendered
        if not (found or by_template):
            return dialogue, ""
        return replace(dialogue, response=bare), self._frame.tail if found else ""

    def _finish(
        self,
        ids: list[int],
        num_prompt: int | None,
        truncate: Truncation,
        cut: list[str],
        *,
        by_tokenizer: bool,
    ) -> Encoded:
        """Apply the BOS and EOS rules and the length limit, and find the position to read.

        `cut` are the warnings of what was cut before the text was tokenised.
        """
        bos, eos = self._tokenizer.bos_token_id, self._tokenizer.eos_token_id
        contract, warnings = self.contract, []
        if by_tokenizer and self._adds_bos and ids[:2] == [bos, bos]:
            # The text brought its own BOS and the tokenizer added one: keep one.
            ids = ids[1:]
            num_prompt = None if num_prompt is None else max(num_prompt - 1, 0)
        if by_tokenizer and self._adds_eos and ids[-2:] == [eos, eos]:
            ids = ids[:-1]
        if contract.bos == "if_absent" and bos is not None and ids[:1] != [bos]:
            ids = [bos, *ids]
            num_prompt = None if num_prompt is None else num_prompt + 1
        if bos is not None and ids[:2] == [bos, bos]:
            warnings.append("double_bos")
        if contract.eos != "never" and eos is not None and ids[-1:] != [eos]:
            ids = [*ids, eos]
        if not ids:
            raise EmptyText("the text has no tokens", field="response")
        if len(ids) > contract.max_length:
            ids, num_prompt, more = self._cut(ids, num_prompt, truncate)
            cut = [*cut, *more]
        return self._encoded(ids, num_prompt, [*warnings, *dict.fromkeys(cut)])

    def _encoded(self, ids: list[int], num_prompt: int | None, warnings: list[str]) -> Encoded:
        eos = self._tokenizer.eos_token_id
        if eos is not None and eos not in ids[-2:]:
            # Some templates end a turn with EOS and a line break.
            warnings.append("missing_eos")
        return Encoded(tuple(ids), self._read_position(ids), num_prompt, tuple(warnings))

    def _encode_rendered(self, rendered: RenderedText, truncate: Truncation) -> Encoded:
        text, border = rendered.text, rendered.num_prompt_characters
        if rendered.stops:
            prompt = text[: border or 0]  # a stop of its own is none of the response's
            text = prompt + self._frame.with_own_end(text[len(prompt) :], rendered.stops)
        if not text.strip():
            raise EmptyText("the text is empty", field="text")
        check_characters(text, "text")
        if rendered.add_special_tokens:
            text = self._without_line_breaks(text)
        cut: list[str] = []
        if len(text) > self._max_characters:
            if truncate == "error" and rendered.max_tokens is None:
                raise too_many_characters(len(text), self.contract.max_length, "text")
            text, border, cut = self._last_characters(text, border)
        ids, offsets = self._tokenize(text, add_special_tokens=False)
        num_prompt = None if border is None else num_prompt_tokens(offsets, border)
        if rendered.add_special_tokens:
            ids, num_in_front = self._frame.around(ids)
            num_prompt = None if num_prompt is None else num_prompt + num_in_front
        return self._bounded(ids, num_prompt, rendered.max_tokens, truncate, cut)

    def _encode_ids(self, given: TokenIds, truncate: Truncation) -> Encoded:
        if not given.ids:
            raise EmptyText("there are no token ids", field="ids")
        if min(given.ids) < 0 or max(given.ids) >= self._vocabulary_size:
            raise InputError(
                f"token ids must be from 0 to {self._vocabulary_size - 1}, as the model's "
                "tokenizer gives them",
                field="ids",
            )
        return self._bounded(list(given.ids), None, given.max_tokens, truncate, [])

    def _bounded(
        self,
        ids: list[int],
        num_prompt: int | None,
        max_tokens: int | None,
        truncate: Truncation,
        cut: list[str],
    ) -> Encoded:
        """A rendered text's ids, at most so many; the end is what is scored, so it stays."""
        limit = self.contract.max_length
        cut_to = limit if max_tokens is None else min(max_tokens, limit)
        bos = self._tokenizer.bos_token_id
        warnings = ["double_bos"] if bos is not None and ids[:2] == [bos, bos] else []
        excess = len(ids) - cut_to
        if excess > 0:
            keep = self._num_kept_in_front(ids) if cut_to > 1 else 0
            own_response = num_prompt is not None and num_prompt - keep < excess
            refused = truncate == "error" or (truncate == "prompt" and own_response)
            if max_tokens is None and refused:
                raise InputTooLong(len(ids), limit, field="text")
            ids = ids[:keep] + ids[keep + excess :]
            num_prompt = None if num_prompt is None else max(num_prompt - excess, 0)
            cut = [*cut, *_cut_warnings(own_response)]
        return self._encoded(ids, num_prompt, [*warnings, *dict.fromkeys(cut)])

    def _num_kept_in_front(self, ids: list[int]) -> int:
        first = (self._tokenizer.bos_token_id, getattr(self._tokenizer, "cls_token_id", None))
        return int(ids[0] in first)

    def _cut(
        self, ids: list[int], num_prompt: int | None, truncate: Truncation
    ) -> tuple[list[int], int | None, list[str]]:
        """Drop tokens from the left, keeping BOS (or CLS) and EOS; the response's own at last."""
        limit = self.contract.max_length
        keep_bos = self._num_kept_in_front(ids)
        excess = len(ids) - limit
        own_response = num_prompt is not None and num_prompt - keep_bos < excess
        if truncate != "left":
            if num_prompt is None:
                raise InputTooLong(len(ids), limit)
            if own_response or truncate == "error":
                raise InputTooLong(len(ids), limit, field="response" if own_response else "prompt")
        left = None if num_prompt is None else max(num_prompt - excess, keep_bos)
        return ids[:keep_bos] + ids[keep_bos + excess :], left, _cut_warnings(own_response)

    @property
    def _max_characters(self) -> int:
        return self.contract.max_length * MAX_CHARACTERS_PER_TOKEN

    def _shorten(self, text: str, border: int, truncate: Truncation) -> tuple[str, int, list[str]]:
        """Bound the characters to tokenise, so that no text takes long to refuse."""
        own_response = len(text) - border > self._max_characters
        if truncate == "error" or (truncate == "prompt" and own_response):
            field = "response" if own_response else "prompt"
            raise too_many_characters(len(text), self.contract.max_length, field)
        text, left, cut = self._last_characters(text, border)
        return text, left or 0, cut

    def _last_characters(self, text: str, border: int | None) -> tuple[str, int | None, list[str]]:
        """The end of a text, as much of it as can matter, behind the BOS that it began with."""
        bos = self._tokenizer.bos_token or ""
        front = bos if text.startswith(bos) else ""
        excess = max(len(text) - self._max_characters, len(front))
        left = None if border is None else len(front) + max(border - excess, 0)
        return front + text[excess:], left, _cut_warnings(border is not None and border < excess)

    def _render(self, dialogue: Dialogue, tail: str) -> tuple[str, int]:
        """The text to tokenise, and the index of the response's first character in it."""
        if dialogue.rendered or self.contract.rendering == "concatenate":
            if not isinstance(dialogue.prompt, str):
                raise InvalidMessages(
                    "messages are not rendered yet; leave `rendered` out"
                    if dialogue.rendered
                    else "the model has no chat template for messages; send the prompt as a string",
                    field="prompt",
                )
            text = dialogue.prompt + dialogue.response + tail
            if dialogue.rendered and not text.strip():
                raise EmptyText("the text is empty", field="response")
            return text, len(dialogue.prompt)
        messages = self._messages(dialogue)
        try:
            text = self._tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=False
            )
        except Exception as error:
            # Templates raise what they like, and may quote the messages: only the kind is told.
            raise InvalidMessages(
                f"the model's chat template refused the messages ({type(error).__name__})",
                field="prompt",
            ) from None
        response = dialogue.response.strip()
        if not response and text.endswith(self._frame.tail):
            return text, len(text) - len(self._frame.tail)
        tail = self._frame.tail  # it may hold the same words as a short response
        border = text.removesuffix(tail).rfind(response)
        return text, border if border >= 0 else len(text)

    def _without_line_breaks(self, text: str) -> str:
        """The text, without line breaks at its end where the contract wants EOS there."""
        return text.rstrip("\n") if self.contract.eos == "closing" else text

    @staticmethod
    def _messages(dialogue: Dialogue) -> list[dict[str, str]]:
        prompt = dialogue.prompt
        if isinstance(prompt, str):
            prompt = (Message("user", prompt),)
        turns = [{"role": message.role, "content": message.content} for message in prompt]
        return [*turns, {"role": "assistant", "content": dialogue.response}]

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


def _cut_warnings(own_response: bool) -> list[str]:
    return ["truncated", "response_truncated"] if own_response else ["truncated"]
