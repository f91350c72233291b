"""The trial that a way of running a model must pass: it gives the rewards of each text alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn import Linear

from rm_core.checkpoint.heads import ScalarHeads, has_head_on_tokens, head_of
from rm_core.engine.forward.batched import BatchedForward
from rm_core.engine.trunk.kept_state import KeptState
from rm_core.engine.trunk.vocabulary import end_token, special_tokens, vocabulary_size
from rm_core.types import Encoded

Made = TypeVar("Made")

SELF_TEST_TOLERANCE = 1e-4
"""Of the differences in float32, absolute for rewards near 0 and relative for large ones.

It tells a way that computes something else, by 5e-3 and more in every architecture that does, from
one that rounds otherwise: decoders of 32 and 48 layers with rewards of 11 and 30 come to 7e-6. At
1e-5 deeper ones would lose their fast way for nothing but the order of sums.
"""
REDUCED_PRECISION_TOLERANCE = 0.05

_LONGEST = 80
_SHORTEST = 16
"""Tokens that every model must be able to read."""

LONG_TEXTS = (256, 160)
"""Lengths at which attention that picks blocks, or pools, does what short texts can't show."""

_COMPANY = (300, 80, 37, 1)
"""Lengths of texts that share nothing; others are made of them."""

_LARGE = 500_000_000
"""Parameters beyond which long texts are left out: they would take a CPU half a minute."""


def random_texts(model: Any, max_length: int, *, count: int) -> list[Encoded]:
    """Random texts that would show a neighbour's influence: shared prefixes, several lengths.

    Each ends with the model's end-of-text token, and one holds it twice: some models read there.
    """
    longest = min(max_length, _LONGEST)
    shared = longest // 2
    ids = _random_ids(model, count, longest)
    rows = [ids[0], ids[0][:shared] + ids[1][shared:], ids[2][: max(1, longest // 3)], ids[3][:1]]
    end = _end_of_text(model)
    if end is not None:
        rows[2][len(rows[2]) // 2] = end
    return [_text(row, end) for row in (*rows, *ids[4:])]


def texts_of_lengths(model: Any, lengths: Sequence[int]) -> list[Encoded]:
    """One random text of each length; each ends with the model's end-of-text token, if it has one.

    Args:
        model: a transformers model for sequence classification.
        lengths: in tokens, at least one.
    """
    end = _end_of_text(model)
    rows = _random_ids(model, len(lengths), max(lengths))
    return [_text(row[:length], end) for row, length in zip(rows, lengths, strict=True)]


def company_texts(model: Any, max_length: int) -> list[Encoded]:
    """Random texts in which each meets others that share some of it, of several lengths.

    Long ones where the model is small: what depends on company may do so at some lengths alone.
    """
    lengths = [length for length in _COMPANY if model.num_parameters() <= _LARGE or length < 100]
    texts = texts_of_lengths(model, [min(length, max_length) for length in lengths])
    longest = texts[0].input_ids
    return texts + [
        Encoded((*longest[:shared], *text.input_ids), shared + text.read_position)
        for text, shared in zip(texts[1:], (70, 270), strict=False)
        if shared + text.num_tokens <= max_length and shared < len(longest)
    ]


def why_bits_differ(
    rewards: Callable[[Sequence[Encoded]], Sequence[Sequence[float]]], company: Sequence[Encoded]
) -> str | None:
    """What there is to say against a forward that must give a text the same bits in any company."""
    together = rewards(company)
    differing = sum(
        list(rewards([text])[0]) != list(row) for text, row in zip(company, together, strict=True)
    )
    if differing == 0:
        return None
    return f"{differing} of {len(company)} texts have other bits alone than in company"


def is_read_whole(model: Any) -> bool:
    """Whether long texts are tried too: models whose attention picks blocks, or pools, differ."""
    return not has_head_on_tokens(model) and model.num_parameters() <= _LARGE


def _end_of_text(model: Any) -> int | None:
    """The token that ends a text; None where a model takes it for padding and reads before it."""
    end = end_token(model)
    pad = getattr(model.config.get_text_config(), "pad_token_id", None)
    return None if end == pad and has_head_on_tokens(model) else end


def _random_ids(model: Any, count: int, length: int) -> list[list[int]]:
    special, size = special_tokens(model), vocabulary_size(model)
    ordinary = torch.tensor([i for i in range(min(size, 2**17)) if i not in special] or [0])
    generator = torch.Generator().manual_seed(0)
    at = torch.randint(0, len(ordinary), (count, length), generator=generator)
    rows: list[list[int]] = ordinary[at].tolist()
    return rows


def _text(row: Sequence[int], end: int | None) -> Encoded:
    ids = tuple(row) if end is None else (*row[:-1], end)
    return Encoded(ids, len(ids) - 1)


def _text_of_special_tokens(model: Any, text: Encoded) -> Encoded:
    """A text with every special token but the end of text within it, each several times.

    Texts may hold them literally, and a model may do by them what counts in a whole row: ESM scales
    embeddings by the share of masked tokens.
    """
    end, size = end_token(model), vocabulary_size(model)
    special = sorted(i for i in special_tokens(model) if i != end and 0 <= i < size)
    ids = list(text.input_ids)
    for at in range(1, len(ids) - 1, 2):
        if special:
            ids[at] = special[at // 2 % len(special)]
    return Encoded(tuple(ids), len(ids) - 1)


@dataclass(frozen=True, slots=True)
class Trial:
    """Random texts and their rewards alone, by transformers' own forward of one text a batch.

    Attributes:
        texts: see `random_texts`; one with special tokens within it, where the model reads that;
            and where a model reads a text as a whole, two longer ones as well.
        alone: (texts, heads), float32.
        exact: whether ways compute in float32; in reduced precision they round differently.
        keeps: what to set the model back to, where a forward leaves something behind; else None.
        fewest_tokens: of a text that the model can read.
    """

    texts: list[Encoded]
    alone: Tensor
    exact: bool
    keeps: KeptState | None
    fewest_tokens: int

    @classmethod
    def of(cls, model: Any, heads: Sequence[Linear], max_length: int, *, reduced: bool) -> "Trial":
        """Run random texts alone.

        Raises:
            Exception: whatever the model raises on a text.
        """
        run = _Alone(model, heads, exact=model.dtype == torch.float32 and not reduced)
        texts = random_texts(model, max_length, count=4)
        special = _text_of_special_tokens(model, texts[0])
        texts += [special] if run.reads(special) else []
        if is_read_whole(model):
            texts += texts_of_lengths(model, [min(length, max_length) for length in LONG_TEXTS])
        fewest = run.fewest_tokens(texts[0], at_most=min(max_length, _SHORTEST))
        if fewest > 1:
            texts = [text for text in texts if text.num_tokens >= fewest]
        alone = torch.tensor(list(map(run, texts)))
        return cls(texts, alone, run.exact, run.keeps, fewest)

    @property
    def companies(self) -> tuple[list[Encoded], list[Encoded]]:
        """The short texts and the long ones: all together they would be mostly padding."""
        short = [text for text in self.texts if text.num_tokens <= _LONGEST]
        return short, self.texts[len(short) :]

    def tried(
        self, make: Callable[[], Made], rewards: Callable[[Made], Tensor], *, way: str
    ) -> Made | str:
        """See `tried`: with these texts."""
        return tried(make, rewards, self.alone, exact=self.exact, way=way)


class _Alone:
    """Rewards of one text alone, from a fresh model each time.

    Args:
        model: whose they are.
        heads: further heads on its trunk.
        exact: whether all of it computes in float32.
    """

    def __init__(self, model: Any, heads: Sequence[Linear], *, exact: bool) -> None:
        self.exact = exact
        self.keeps: KeptState | None = None
        self._model = model
        self._heads = heads
        self._fresh = KeptState(model)

    def fewest_tokens(self, text: Encoded, *, at_most: int) -> int:
        """The length of the shortest text that the model reads.

        Raises:
            Exception: it reads none of the lengths up to `at_most`.
        """
        for length in range(1, at_most + 1):
            ids = (*text.input_ids[: length - 1], text.input_ids[-1])
            try:
                self(Encoded(ids, length - 1))
            except Exception:
                if length == at_most:
                    raise
            else:
                return length
        return 1

    def reads(self, text: Encoded) -> bool:
        """Whether the model takes this text at all."""
        try:
            self(text)
        except Exception:  # models raise what they like
            return False
        return True

    def __call__(self, text: Encoded) -> list[float]:
        """The text's rewards; the first by the model's own head, as transformers reads it."""
        try:
            with torch.inference_mode():
                return self._run(text)
        finally:
            if self._fresh.has_changed():
                self.keeps = self._fresh
                self._fresh.restore()

    def _run(self, text: Encoded) -> list[float]:
        model, heads = self._model, self._heads
        if not self.exact:  # parts in several precisions: only our heads take what the trunk gives
            alone = BatchedForward(model, heads=heads, reason="", together="one_by_one")
            return alone.rewards([text])[0]
        given: list[Tensor] = []
        hook = head_of(model).register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
        try:
            ids = torch.tensor([text.input_ids], device=model.device)
            reward = float(model(input_ids=ids).logits[0, 0])
        finally:
            hook.remove()
        if not heads:
            return [reward]
        state = given[-1] if given[-1].ndim == 2 else given[-1][:, text.read_position]
        return [reward, *ScalarHeads(heads)(state)[0]]


def tried(
    make: Callable[[], Made],
    rewards: Callable[[Made], Tensor],
    alone: Tensor,
    *,
    exact: bool,
    way: str = "packed",
) -> Made | str:
    """Make a forward and compare its rewards with those of each text alone.

    Args:
        make: gives the forward.
        rewards: what it gives for some texts.
        alone: their rewards, each run alone by transformers' own path; of the same shape.
        exact: whether both compute in float32; in reduced precision they round differently.
        way: the forward's way in a word.

    Returns:
        What was made; where it can't be used, the reason.
    """
    try:
        made = make()
        found = rewards(made)
    except Exception as error:  # models raise what they like where a way doesn't suit them
        return f"the {way} way raised {told(error)}"
    worst = float(((alone - found).abs() / (1 + alone.abs())).max())
    if worst <= (SELF_TEST_TOLERANCE if exact else REDUCED_PRECISION_TOLERANCE):  # false for NaN
        return made
    return f"{way} rewards differ by {worst:.1e} from those of each text alone"


def told(error: Exception) -> str:
    """An error's name and the beginning of what it says, in one line."""
    words = " ".join(str(error).split())
    if len(words) > 120:
        words = f"{words[:117]}…"
    return f"{type(error).__name__} ({words})" if words else type(error).__name__
