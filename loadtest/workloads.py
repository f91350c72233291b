"""Seeded workloads of synthetic texts with exact token counts by a checkpoint's tokenizer.

A workload is a tuple of requests, a request some texts that travel together. Texts are plain data:
what reads them (a generator, the in-process benchmark, the oracle) decides what to do with them.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

from loadtest.errors import LoadTestError
from loadtest.synthetic_text import sentences, word_forms

MIN_RESPONSE_TOKENS, MAX_RESPONSE_TOKENS = 32, 256
MIN_TEXT_TOKENS, MAX_TEXT_TOKENS = 32, 512
LONG_TAIL_MEDIAN = 96.0
SPEAKERS = ("user", "assistant")
"""Who speaks in a chat, in turn."""


class Tokenizer(Protocol):
    """The part of a transformers tokenizer that is used here."""

    chat_template: Any

    def __call__(self, text: str, *, add_special_tokens: bool = True) -> Any:
        """Token ids of a text under "input_ids"."""
        ...

    def apply_chat_template(
        self, conversation: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool
    ) -> Any:
        """Render a chat."""
        ...


@dataclass(frozen=True, slots=True)
class Text:
    """One response to one prompt, and the whole text that a reward model reads.

    Attributes:
        prompt: what the policy was asked.
        response: what it answered; begins with a space, since the two are put end to end.
        whole: what is sent to servers that take one string: prompt and response, by the
            checkpoint's chat template where it has one.
        num_tokens: of all that was said, without template or special tokens.
        earlier: what was said before the prompt, user and assistant in turn, where a chat template
            tells them apart; without a template it stands in the prompt.
    """

    prompt: str
    response: str
    whole: str
    num_tokens: int
    earlier: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """Texts that travel together."""

    texts: tuple[Text, ...]

    @property
    def is_group(self) -> bool:
        """Whether these are several responses to one prompt."""
        return len(self.texts) > 1 and len({text.prompt for text in self.texts}) == 1


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests in the order in which they are sent."""

    name: str
    requests: tuple[Request, ...]

    @property
    def texts(self) -> tuple[Text, ...]:
        """All texts in order."""
        return tuple(text for request in self.requests for text in request.texts)

    def as_singles(self, name: str) -> "Workload":
        """The same texts in the same order, one a request."""
        return Workload(name, tuple(Request((text,)) for text in self.texts))


class Writer:
    """Writes texts of exactly so many tokens.

    Args:
        tokenizer: a transformers tokenizer that splits at spaces, as byte-level BPE and
            SentencePiece do; what is written is counted whole, never estimated.
        seed: equal seeds write equal texts.
    """

    def __init__(self, tokenizer: Tokenizer, *, seed: int) -> None:
        self._tokenizer = tokenizer
        self._rng = Random(seed)
        self._sentences = sentences(self._rng, word_forms(4000, seed=seed))
        self._tokens_of: dict[str, int] = {}
        self._fillers = [word for word in word_forms(400) if self._count("x " + word) == 2]
        if self._count("x") != 1 or not self._fillers:
            raise LoadTestError(
                "this tokenizer does not split at spaces, so texts of exact length can't be "
                "written; name a checkpoint with a BPE or SentencePiece tokenizer"
            )

    def text(self, prompt: str, num_prompt_tokens: int, num_response_tokens: int) -> Text:
        """A fresh response of so many tokens to a prompt that `prompt` wrote."""
        response = self.continuation(prompt, num_response_tokens)
        return Text(
            prompt,
            response,
            render(self._tokenizer, prompt, response),
            num_prompt_tokens + num_response_tokens,
        )

    def prompt(self, num_tokens: int) -> str:
        """A fresh prompt of so many tokens."""
        return self._write(num_tokens, lambda words: words, "")

    def continuation(self, before: str, num_tokens: int) -> str:
        """Fresh words that add so many tokens to a text; they begin with a space."""
        return " " + self._write(num_tokens, lambda words: before + " " + words, before)

    def _write(self, num_tokens: int, place: Callable[[str], str], before: str) -> str:
        """Words that add exactly `num_tokens` to `before` when they stand in their place."""
        if num_tokens < 1:
            raise LoadTestError("a text needs at least one token")
        target = num_tokens + (self._count(before) if before else 0)
        words = self._about(num_tokens)
        while words and self._count(place(" ".join(words))) > target:
            words.pop()
        # The last tokens come from words of one token each.
        missing = target - (self._count(place(" ".join(words))) if words else self._count(before))
        words += self._rng.choices(self._fillers, k=missing)
        found = self._count(place(" ".join(words)))
        if found != target:
            raise LoadTestError(f"wrote {found} tokens instead of {target}: this is a bug")
        return " ".join(words)

    def _about(self, num_tokens: int) -> list[str]:
        """Words whose tokens, counted one by one, are no more than `num_tokens`."""
        words: list[str] = []
        left = num_tokens
        for sentence in self._sentences:
            for word in sentence.split():
                if word not in self._tokens_of:
                    self._tokens_of[word] = self._count("x " + word) - 1
                left -= self._tokens_of[word]
                if left < 0:
                    return words
                words.append(word)
        return words

    def _count(self, text: str) -> int:
        return len(self._tokenizer(text, add_special_tokens=False)["input_ids"]) if text else 0


def render(tokenizer: Tokenizer, *said: str) -> str:
    """The whole text that a model reads: by the chat template, or end to end without one.

    Args:
        tokenizer: whose template it is.
        said: by user and assistant in turn, from the first prompt to the last response.
    """
    if not isinstance(tokenizer.chat_template, str):
        return "".join(said)
    turns = [{"role": SPEAKERS[at % 2], "content": content} for at, content in enumerate(said)]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=False)
    return str(text)


def log_normal_length(rng: Random, low: int, high: int) -> int:
    """A response length: log-normal, its median the geometric mean of the bounds, clipped.

    The bounds stand two standard deviations from the median.
    """
    mu = (math.log(low) + math.log(high)) / 2
    sigma = (math.log(high) - math.log(low)) / 4
    return min(high, max(low, round(rng.lognormvariate(mu, sigma))))


def grpo(
    tokenizer: Tokenizer,
    *,
    groups: int = 16,
    responses: int = 8,
    prompt_tokens: int = 384,
    seed: int = 0,
    words_seed: int | None = None,
) -> Workload:
    """G responses to each prompt, one request a group; lengths are log-normal, 32 to 256.

    Args:
        tokenizer: measures the texts.
        groups: how many.
        responses: of each.
        prompt_tokens: of each prompt.
        seed: of the lengths, and of the words where these have none of their own.
        words_seed: of the words: another one writes other texts of the same lengths.
    """
    rng = Random(seed)
    writer = Writer(tokenizer, seed=_words_seed(seed, words_seed))
    requests = []
    for _ in range(groups):
        prompt = writer.prompt(prompt_tokens)
        lengths = [
            log_normal_length(rng, MIN_RESPONSE_TOKENS, MAX_RESPONSE_TOKENS)
            for _ in range(responses)
        ]
        texts = tuple(writer.text(prompt, prompt_tokens, length) for length in lengths)
        requests.append(Request(texts))
    return Workload("grpo", tuple(requests))


def independent(
    tokenizer: Tokenizer, *, lengths: Sequence[int], per_request: int, name: str, seed: int
) -> Workload:
    """Texts that share nothing, so many to a request; a third of each is its prompt.

    Args:
        tokenizer: measures the texts.
        lengths: of the texts, in tokens.
        per_request: texts of a request.
        name: of the workload.
        seed: of the words.
    """
    writer = Writer(tokenizer, seed=seed)
    texts = []
    for length in lengths:
        asked = max(1, length // 3)
        texts.append(writer.text(writer.prompt(asked), asked, length - asked))
    return Workload(name, tuple(_batches(texts, per_request)))


def mixed(
    tokenizer: Tokenizer,
    *,
    texts: int = 256,
    per_request: int = 32,
    seed: int = 0,
    words_seed: int | None = None,
) -> Workload:
    """Independent texts of 32 to 512 tokens, uniform; the seeds are those of `grpo`."""
    rng = Random(seed)
    lengths = [rng.randint(MIN_TEXT_TOKENS, MAX_TEXT_TOKENS) for _ in range(texts)]
    words = _words_seed(seed, words_seed)
    return independent(
        tokenizer, lengths=lengths, per_request=per_request, name="mixed", seed=words
    )


def long_tail(
    tokenizer: Tokenizer,
    *,
    texts: int = 256,
    longest: int = 2048,
    one_long_in: int = 128,
    seed: int = 0,
    words_seed: int | None = None,
) -> Workload:
    """Single short texts, log-normal with σ = 1, and now and then one of `longest` tokens."""
    rng = Random(seed)
    lengths = [
        longest
        if index % one_long_in == one_long_in // 2
        else min(longest // 2, max(8, round(rng.lognormvariate(math.log(LONG_TAIL_MEDIAN), 1.0))))
        for index in range(texts)
    ]
    words = _words_seed(seed, words_seed)
    return independent(tokenizer, lengths=lengths, per_request=1, name="long-tail", seed=words)


def _words_seed(seed: int, words_seed: int | None) -> int:
    return seed if words_seed is None else words_seed


def _batches(texts: list[Text], size: int) -> Iterator[Request]:
    for start in range(0, len(texts), size):
        yield Request(tuple(texts[start : start + size]))
