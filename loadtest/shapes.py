"""The columns of `compare`: what traffic each is, and how much of it at scale 1."""

from collections.abc import Callable
from dataclasses import dataclass

from loadtest import returning, workloads
from loadtest.scenarios import SINGLES_CLIENTS, Scenario, at_once, staggered
from loadtest.schedule import ClosedLoop
from loadtest.workloads import Tokenizer


@dataclass(frozen=True, slots=True)
class Asked:
    """So much of a shape, in one round.

    Attributes:
        tokenizer: of the models.
        name: of the shape.
        count: of its groups, texts, chats or prompts.
        round_seed: of the round.
        pace: of `staggered`, times its seconds; 0: at once.
    """

    tokenizer: Tokenizer
    name: str
    count: int
    round_seed: int
    pace: float

    @property
    def seed(self) -> int:
        """Of the texts, which no other shape or round has: they would warm prefix caches."""
        return self.seed_of(self.name)

    def seed_of(self, shape: str) -> int:
        """The seed that a shape has in this round."""
        return self.round_seed * len(SHAPES) + list(SHAPES).index(shape)


@dataclass(frozen=True, slots=True)
class Shape:
    """A column of the table.

    Attributes:
        name: of the column.
        make: its scenario.
        count: of groups, texts, chats or prompts at scale 1.
        num_models: 1, or 2 where each text is scored by both.
        work_beside: the shape whose work this one's is compared with, since its own times tell how
            fast its texts came and not how fast they were scored; "" where they do.
    """

    name: str
    make: Callable[[Asked], Scenario]
    count: int
    num_models: int = 1
    work_beside: str = ""

    def scenario(
        self, tokenizer: Tokenizer, scale: float, seed: int, *, pace: float = 0.1
    ) -> Scenario:
        """So much of it, with texts that no other shape or round has.

        Args:
            tokenizer: of the models.
            scale: of the size, in (0, 1].
            seed: of the round.
            pace: of `staggered`, times its seconds; 0: at once.
        """
        count = max(1, round(self.count * scale))
        return self.make(Asked(tokenizer, self.name, count, seed, pace))


def _grpo(asked: Asked) -> Scenario:
    """GRPO groups, one request each, all at once."""
    workload = workloads.grpo(asked.tokenizer, groups=asked.count, seed=asked.seed)
    return at_once(asked.name, workload)


def _mixed(asked: Asked) -> Scenario:
    """Independent texts, 32 a request, all at once."""
    return at_once(asked.name, workloads.mixed(asked.tokenizer, texts=asked.count, seed=asked.seed))


def _singles(clients: int) -> Callable[[Asked], Scenario]:
    """So many clients, one text a request."""

    def make(asked: Asked) -> Scenario:
        texts = workloads.mixed(asked.tokenizer, texts=asked.count, per_request=1, seed=asked.seed)
        return Scenario(asked.name, texts, ClosedLoop(clients))

    return make


def _turns(asked: Asked) -> Scenario:
    """Chats scored again after each turn."""
    return Scenario(
        asked.name, *returning.turns(asked.tokenizer, chats=asked.count, seed=asked.seed)
    )


def _again(asked: Asked) -> Scenario:
    """Responses to a prompt one after the other."""
    return Scenario(
        asked.name, *returning.again(asked.tokenizer, prompts=asked.count, seed=asked.seed)
    )


def _staggered(asked: Asked) -> Scenario:
    """Members of groups at times of their own."""
    return staggered(asked.tokenizer, groups=asked.count, pace=asked.pace, seed=asked.seed)


def _burst(asked: Asked) -> Scenario:
    """Texts of the same lengths as the round's `staggered`, in other words, one a request, at once.

    Not the same texts: the server has seen those.
    """
    groups = workloads.grpo(
        asked.tokenizer,
        groups=asked.count,
        seed=asked.seed_of("staggered"),
        words_seed=asked.seed,
    )
    return at_once(asked.name, groups.as_singles(asked.name))


SHAPES: dict[str, Shape] = {
    shape.name: shape
    for shape in (
        Shape("grpo", _grpo, 16),
        Shape("mixed", _mixed, 256),
        Shape("singles", _singles(SINGLES_CLIENTS), 256),
        Shape("one", _singles(1), 64),
        Shape("turns", _turns, 16),
        Shape("again", _again, 16),
        Shape("burst", _burst, 16),
        Shape("staggered", _staggered, 16, work_beside="burst"),
        Shape("two", _mixed, 64, num_models=2),
        Shape("grpo-two", _grpo, 16, num_models=2),
    )
}
