"""What `bench` scores: texts of a shape, in the order and the company in which they arrive."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from loadtest import returning, workloads
from loadtest.errors import LoadTestError
from loadtest.scenarios import SINGLES_CLIENTS
from loadtest.settings import BenchSettings
from loadtest.workloads import Text, Tokenizer, Workload
from rm_core.engine import Engine
from rm_core.types import Dialogue, EncodedItem, Message

AT_ONCE = ("grpo", "mixed", "heads")
"""Shapes whose texts are all there at the start."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """Texts in the order in which they arrive, and their ids as transformers' tokenizer cuts.

    Attributes:
        name: of the shape.
        texts: in order of arrival.
        ids: of each text.
        waves: indices of the texts that are there together, in order; each wave comes when the one
            before it is scored.
    """

    name: str
    texts: tuple[Text, ...]
    ids: tuple[tuple[int, ...], ...]
    waves: tuple[tuple[int, ...], ...]

    @property
    def prompts(self) -> list[str]:
        """Of each text: equal for a group."""
        return [text.prompt for text in self.texts]

    def items(self, engine: Engine) -> list[EncodedItem]:
        """The texts as an engine reads them."""
        return [engine.encode(_dialogue(text)) for text in self.texts]


def _dialogue(text: Text) -> Dialogue:
    if not text.earlier:
        return Dialogue(text.prompt, text.response)
    said = (*text.earlier, text.prompt)
    turns = [Message(workloads.SPEAKERS[at % 2], content) for at, content in enumerate(said)]
    return Dialogue(tuple(turns), text.response)


def arrival(
    shape: str, tokenizer: Tokenizer, options: BenchSettings, *, number: int, words: int = 0
) -> Arrival:
    """The texts of one round; no other round or shape has any of them, or begins one alike.

    Args:
        shape: one of `SHAPES`.
        tokenizer: of the model.
        options: sizes and the seed.
        number: of the round, from 0.
        words: 1 for other texts of the same lengths.
    """
    at_once, waves_of = _SHAPES[shape]
    place = (options.seed * ROUNDS + number) * 2 * len(SHAPES) + 2 * SHAPES.index(shape)
    workload = at_once(tokenizer, options, place, place + words)
    texts = list(workload.texts)
    if shape in AT_ONCE:
        # Responses end in no order: a batch in order of arrival holds members of many groups.
        Random(place).shuffle(texts)
    templated = isinstance(tokenizer.chat_template, str)
    ids = tuple(
        tuple(tokenizer(text.whole, add_special_tokens=not templated)["input_ids"])
        for text in texts
    )
    size = waves_of(len(texts))
    waves = [range(at, min(at + size, len(texts))) for at in range(0, len(texts), size)]
    return Arrival(shape, tuple(texts), ids, tuple(map(tuple, waves)))


def shapes_named(name: str) -> Sequence[str]:
    """The shape of that name, or all.

    Raises:
        LoadTestError: there is none.
    """
    if name != "all" and name not in SHAPES:
        raise LoadTestError(f"no shape named {name}; there are: {', '.join(SHAPES)}, all")
    return SHAPES if name == "all" else (name,)


def _grpo(tokenizer: Tokenizer, options: BenchSettings, seed: int, words: int) -> Workload:
    return workloads.grpo(
        tokenizer,
        groups=options.groups,
        responses=options.responses,
        prompt_tokens=options.prompt_tokens,
        seed=seed,
        words_seed=words,
    )


def _mixed(tokenizer: Tokenizer, options: BenchSettings, seed: int, words: int) -> Workload:
    return workloads.mixed(tokenizer, texts=options.texts, seed=seed, words_seed=words)


def _turns(tokenizer: Tokenizer, options: BenchSettings, _: int, words: int) -> Workload:
    return returning.turns(tokenizer, chats=options.groups, seed=words)[0]


def _again(tokenizer: Tokenizer, options: BenchSettings, _: int, words: int) -> Workload:
    return returning.again(
        tokenizer, prompts=options.groups, responses=options.responses, seed=words
    )[0]


def _staggered(tokenizer: Tokenizer, options: BenchSettings, seed: int, words: int) -> Workload:
    return returning.staggered(
        tokenizer,
        groups=options.groups,
        responses=options.responses,
        prompt_tokens=options.prompt_tokens,
        pace=1.0,
        seed=seed,
        words_seed=words,
    )[0]


_Make = Callable[[Tokenizer, BenchSettings, int, int], Workload]
_SHAPES: dict[str, tuple[_Make, Callable[[int], int]]] = {
    "grpo": (_grpo, lambda count: count),
    "mixed": (_mixed, lambda count: count),
    "singles": (_mixed, lambda _: SINGLES_CLIENTS),
    "one": (_mixed, lambda _: 1),
    "turns": (_turns, lambda _: returning.CLIENTS),
    "again": (_again, lambda _: returning.CLIENTS),
    # The slowest arrival of all: each text when the one before it is scored.
    "staggered": (_staggered, lambda _: 1),
    "heads": (_grpo, lambda count: count),
}
"""How a shape's texts are written, and how many of them are there together."""
SHAPES = tuple(_SHAPES)
ROUNDS = 1000
"""More than any run has: equal seeds of texts in no two rounds."""
