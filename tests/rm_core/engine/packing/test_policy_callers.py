"""Packs of several callers' texts: fair, within the budget, and prompts shared as far as may be."""

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rm_core.engine.packing.policy import (
    Budget,
    QueuedSequence,
    TokenSum,
    Turns,
    copy_turns,
    new_turns,
    select_pack,
)


@dataclass(frozen=True)
class Length:
    num_tokens: int


def line(*entries: tuple[str, int], groups: tuple[str, ...] = ()) -> list[QueuedSequence[Length]]:
    """Texts of (caller, tokens), each a group of its own unless said otherwise."""
    return [
        QueuedSequence(Length(tokens), at, groups[at] if groups else at, "bulk", caller)
        for at, (caller, tokens) in enumerate(entries)
    ]


class Backlog:
    """Callers who send a text as soon as one is taken; `known`: whether they are told apart."""

    def __init__(self, tokens: dict[str, list[int]], budget: Budget, *, known: bool = True) -> None:
        self.tokens, self.budget, self.known = tokens, budget, known
        self.turns = new_turns(budget.max_tokens)
        self.served: Counter[str] = Counter(dict.fromkeys(tokens, 0))
        self.next_order = 0
        self.waiting: list[QueuedSequence[Length]] = []
        self.owners: dict[int, str] = {}

    def fill(self, **texts: int) -> None:
        """Let so many texts of each caller wait; the first one's come before the second's."""
        for caller, sizes in self.tokens.items():
            have = sum(self.owners[entry.order] == caller for entry in self.waiting)
            for number in range(have, texts[caller]):
                order = self.next_order
                self.next_order += 1
                self.owners[order] = caller
                item = Length(sizes[number % len(sizes)])
                own = caller if self.known else "everyone"
                self.waiting.append(QueuedSequence(item, order, order, "bulk", own))

    def take(self) -> None:
        chosen = select_pack(self.waiting, self.budget, TokenSum, first="bulk", turns=self.turns)
        for index in chosen:
            entry = self.waiting[index]
            self.served[self.owners[entry.order]] += entry.item.num_tokens
        gone = set(chosen)
        self.waiting = [one for index, one in enumerate(self.waiting) if index not in gone]


sizes = st.lists(st.integers(1, 40), min_size=1, max_size=6)


@given(st.lists(sizes, min_size=2, max_size=4), st.integers(40, 120))
def test_callers_who_wait_all_the_time_get_equal_parts_of_the_device(tokens, max_tokens):
    callers = {str(number): own for number, own in enumerate(tokens)}
    backlog = Backlog(callers, Budget(max_tokens, 10**6))
    for _ in range(12):
        backlog.fill(**dict.fromkeys(callers, max_tokens + 5))
        backlog.take()
        # A quantum and a text; and a pack's end, which goes to whoever has texts that fit there.
        spread = max(backlog.served.values()) - min(backlog.served.values())
        assert spread <= max_tokens // 8 + 40 + max_tokens


@pytest.mark.parametrize("known", [True, False])
def test_a_flood_of_one_caller_leaves_another_its_half_only_where_callers_are_told_apart(known):
    backlog = Backlog({"flood": [10], "polite": [10]}, Budget(1000, 256), known=known)
    for _ in range(100):
        backlog.fill(flood=2000, polite=100)
        backlog.take()
    share = backlog.served["polite"] / sum(backlog.served.values())

    assert (share == pytest.approx(0.5, abs=0.01)) is known


def test_many_short_texts_count_as_the_places_that_they_take():
    """A pack of 10 places and 1000 tokens: a text of one token takes a tenth of it."""
    backlog = Backlog({"short": [1], "long": [100]}, Budget(1000, 10))
    texts: Counter[str] = Counter()
    for _ in range(100):
        backlog.fill(short=20, long=20)
        before = Counter(backlog.owners[entry.order] for entry in backlog.waiting)
        backlog.take()
        texts += before - Counter(backlog.owners[entry.order] for entry in backlog.waiting)

    assert texts == {"short": 500, "long": 500}


def test_each_caller_is_in_the_next_pack_however_much_others_sent_before():
    waiting = line(*[("flood", 10)] * 500, ("a", 10), ("b", 10))

    chosen = select_pack(waiting, Budget(100, 100), TokenSum, first="bulk", turns=new_turns(100))

    assert {500, 501} < set(chosen)
    assert len(chosen) == 10  # and nothing of the budget is left


def test_a_group_of_several_callers_goes_together_and_each_pays_for_its_own():
    waiting = line(
        ("a", 10), ("b", 10), ("b", 10), ("a", 10), groups=("shared", "own", "shared", "shared")
    )
    turns = new_turns(30)
    chosen = select_pack(waiting, Budget(30, 10), TokenSum, first="bulk", turns=turns)

    assert chosen == [0, 3, 2]
    # a had two texts, b one: b is next.
    again = select_pack(line(("a", 10), ("b", 10)), Budget(10, 1), TokenSum, turns=turns)
    assert again == [1]


def test_who_shares_a_prompt_with_a_large_group_does_not_wait_for_all_of_it():
    waiting = line(
        ("polite", 10), *[("flood", 10)] * 9, ("other", 1), groups=("q", *["q"] * 9, "other")
    )
    turns = new_turns(40)
    turns["bulk"].only(["other", "polite", "flood"])

    chosen = select_pack(waiting, Budget(40, 40), TokenSum, first="bulk", turns=turns)

    assert chosen[:2] == [10, 0]


entries = st.lists(
    st.tuples(
        st.integers(1, 30),
        st.integers(0, 5),
        st.sampled_from(["interactive", "bulk"]),
        st.sampled_from(["a", "b", "c"]),
    ),
    min_size=1,
    max_size=40,
)


@given(entries, st.integers(1, 60), st.integers(1, 8), st.sampled_from(["interactive", "bulk"]))
def test_the_budget_is_exact_each_text_goes_once_and_all_in_the_end(given, tokens, items, first):
    waiting = [
        QueuedSequence(Length(size), at, group, priority, caller)
        for at, (size, group, priority, caller) in enumerate(given)
    ]
    turns = new_turns(tokens)
    left, packs = list(waiting), 0
    while left:
        planned: Turns = copy_turns(turns)
        ahead = select_pack(left, Budget(tokens, items), TokenSum, first=first, turns=planned)
        chosen = select_pack(left, Budget(tokens, items), TokenSum, first=first, turns=turns)
        assert chosen == ahead  # planning ahead chooses what is taken then
        assert len(set(chosen)) == len(chosen) <= items
        pack = [left[index] for index in chosen]
        assert len(pack) == 1 or sum(one.item.num_tokens for one in pack) <= tokens
        if any(one.priority == first for one in left):
            own = [one for one in left if one.priority == first and one.caller == pack[0].caller]
            assert pack[0] is own[0]  # in order for each caller, of the class that stands first
        left = [one for one in left if one not in pack]
        packs += 1
    assert packs <= len(waiting)
