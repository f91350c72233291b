"""Companies of texts for hypothesis to draw: groups in trees three deep, kin, equals, strangers."""

from dataclasses import dataclass
from random import Random

from hypothesis import settings
from hypothesis import strategies as st

from rm_core.types import Encoded

LONGEST_PREFIX, LARGEST_GROUP = 1024, 64
PREFIXES = st.one_of(
    st.sampled_from([0, 1, 7, 8, 63, 64, 65, LONGEST_PREFIX]), st.integers(0, LONGEST_PREFIX)
)
GROUPS = st.one_of(st.sampled_from([1, 2, LARGEST_GROUP]), st.integers(1, LARGEST_GROUP))


@dataclass(frozen=True, slots=True)
class Company:
    """Texts that are scored together.

    Attributes:
        system: tokens that begin every group's prompt.
        prompts: tokens of each group's own prompt after them.
        group: responses to each prompt.
        alphabet: how many different ids there are; few make prefixes meet by chance.
        longest_response: in tokens.
        seed: of the ids, lengths and order.
    """

    system: int
    prompts: tuple[int, ...]
    group: int
    alphabet: int
    longest_response: int
    seed: int

    def texts(self) -> list[Encoded]:
        """The groups, then relatives of their members: equals, beginnings, branches, strangers."""
        rng = Random(self.seed)

        def draw(count: int) -> list[int]:
            return [rng.randrange(self.alphabet) for _ in range(count)]

        def response() -> list[int]:
            return draw(rng.randint(1, self.longest_response))

        system = draw(self.system)
        rows = [
            [*prompt, *response()]
            for prompt in ([*system, *draw(length)] for length in self.prompts)
            for _ in range(self.group)
        ]
        kin = rng.choice(rows)
        rows += [kin, kin[: rng.randint(1, len(kin))], [*kin, *response()]]
        rows += [[*kin[: rng.randint(0, len(kin))], *response()], response()]
        rng.shuffle(rows)
        return [Encoded(tuple(row), len(row) - 1) for row in rows]


@st.composite
def companies(draw: st.DrawFn) -> Company:
    """G from 1 to 64, prefixes of 0 to 1,024 tokens, three levels and more."""
    prefix = draw(PREFIXES)
    system = draw(st.integers(0, prefix))
    group = draw(GROUPS)
    # Large groups come alone, so that one example stays a matter of moments.
    others = draw(st.lists(st.integers(0, 40), max_size=2 if group <= 8 else 0))
    return Company(
        system=system,
        prompts=(prefix - system, *others),
        group=group,
        alphabet=draw(st.sampled_from([2, 250])),
        longest_response=draw(st.sampled_from([1, 9, 40])),
        seed=draw(st.integers(0, 2**32)),
    )


def examples(count: int) -> int:
    """So many examples, times what the profile in force asks for."""
    return max(1, count * settings.default.max_examples // 100)
