from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rm_core.engine.packing.policy import (
    Budget,
    PriorityRotation,
    QueuedSequence,
    TokenBudgetController,
    TokenSum,
    consecutive_packs,
    select_pack,
)


@dataclass(frozen=True)
class Length:
    num_tokens: int


def line(*entries: tuple[int, object] | tuple[int, object, str]) -> list[QueuedSequence[Length]]:
    return [
        QueuedSequence(
            Length(entry[0]), order, entry[1], entry[2] if len(entry) > 2 else "interactive"
        )
        for order, entry in enumerate(entries)
    ]


def test_a_pack_takes_the_line_in_order_up_to_the_token_budget():
    waiting = line((4, "a"), (4, "b"), (4, "c"))

    assert select_pack(waiting, Budget(8, 10), TokenSum) == [0, 1]


def test_a_pack_takes_no_more_items_than_allowed():
    assert select_pack(line(*[(1, i) for i in range(5)]), Budget(100, 3), TokenSum) == [0, 1, 2]


def test_the_first_in_line_goes_alone_when_it_exceeds_the_budget():
    assert select_pack(line((50, "a"), (1, "b")), Budget(8, 10), TokenSum) == [0]


def test_smaller_ones_fill_the_room_that_a_larger_one_leaves():
    assert select_pack(line((5, "a"), (9, "b"), (3, "c")), Budget(8, 10), TokenSum) == [0, 2]


def test_members_of_the_first_group_are_gathered_from_anywhere_in_line():
    waiting = line((2, "a"), (2, "b"), (2, "a"), (2, "a"))

    assert select_pack(waiting, Budget(6, 10), TokenSum) == [0, 2, 3]


def test_a_later_group_that_does_not_fit_whole_waits_for_a_pack_of_its_own():
    waiting = line((4, "a"), (3, "b"), (3, "b"), (2, "c"))

    assert select_pack(waiting, Budget(8, 10), TokenSum) == [0, 3]


def test_a_group_larger_than_any_pack_is_cut_to_what_fits():
    waiting = line((4, "a"), *[(3, "b")] * 4)

    assert select_pack(waiting, Budget(10, 10), TokenSum) == [0, 1, 2]
    assert select_pack(waiting, Budget(100, 3), TokenSum) == [0, 1, 2]  # by its number alone


def test_interactive_stands_before_bulk_and_bulk_fills_up():
    waiting = line((2, "a", "bulk"), (2, "b"), (2, "c", "bulk"))

    assert select_pack(waiting, Budget(4, 10), TokenSum) == [1, 0]
    assert select_pack(waiting, Budget(4, 10), TokenSum, first="bulk") == [0, 2]


def test_one_of_every_four_packs_starts_with_bulk():
    rotation = PriorityRotation(every=4)

    order = [rotation.next(interactive_waits=True, bulk_waits=True) for _ in range(8)]

    assert order == ["interactive", "interactive", "interactive", "bulk"] * 2


def test_bulk_that_arrives_after_many_packs_without_any_has_no_turn_in_hand():
    rotation = PriorityRotation(every=4)
    for _ in range(10):
        rotation.next(interactive_waits=True, bulk_waits=False)

    order = [rotation.next(interactive_waits=True, bulk_waits=True) for _ in range(4)]

    assert order == ["interactive", "interactive", "interactive", "bulk"]


def test_a_class_that_waits_alone_has_every_turn():
    rotation = PriorityRotation(every=4)

    assert [rotation.next(interactive_waits=False, bulk_waits=True) for _ in range(3)] == [
        "bulk"
    ] * 3
    assert rotation.next(interactive_waits=True, bulk_waits=False) == "interactive"


entries = st.lists(
    st.tuples(st.integers(1, 30), st.integers(0, 5), st.sampled_from(["interactive", "bulk"])),
    min_size=1,
    max_size=40,
)


@given(entries, st.integers(1, 60), st.integers(1, 8))
def test_a_pack_holds_the_first_in_line_once_and_keeps_the_budget(given_entries, tokens, items):
    waiting = line(*given_entries)

    chosen = select_pack(waiting, Budget(tokens, items), TokenSum)

    first = min(range(len(waiting)), key=lambda i: (waiting[i].priority == "bulk", i))
    assert chosen[0] == first
    assert len(set(chosen)) == len(chosen) <= items
    assert len(chosen) == 1 or sum(waiting[i].item.num_tokens for i in chosen) <= tokens


@given(entries, st.integers(1, 60), st.integers(1, 8))
def test_repeated_packs_serve_everyone_and_no_later_than_their_place_in_line(
    given_entries, tokens, items
):
    waiting = line(*given_entries)
    rotation = PriorityRotation(every=3)
    remaining, served_at = list(range(len(waiting))), {}
    for pack_number in range(1, 3 * len(waiting) + 1):
        if not remaining:
            break
        classes = {waiting[i].priority for i in remaining}
        first = rotation.next(
            interactive_waits="interactive" in classes, bulk_waits="bulk" in classes
        )
        present = [waiting[i] for i in remaining]
        taken = {
            remaining[i] for i in select_pack(present, Budget(tokens, items), TokenSum, first=first)
        }
        served_at.update(dict.fromkeys(taken, pack_number))
        remaining = [i for i in remaining if i not in taken]

    assert not remaining
    for index, entry in enumerate(waiting):
        before = sum(other.priority == entry.priority for other in waiting[:index])
        assert served_at[index] <= 3 * (before + 1)


def test_an_empty_line_makes_an_empty_pack():
    assert select_pack([], Budget(8, 8), TokenSum) == []


def test_running_out_of_memory_halves_the_cap():
    cap = TokenBudgetController(64)

    cap.failed(64)
    assert cap.tokens == 32
    cap.failed(32)

    assert cap.tokens == 16
    assert cap.is_lowered


def test_the_cap_never_falls_below_what_is_known_to_fit():
    cap = TokenBudgetController(64)
    cap.succeeded(40)

    cap.failed(64)

    assert cap.tokens == 40


def test_what_fitted_once_and_no_longer_does_is_forgotten():
    cap = TokenBudgetController(64)
    cap.succeeded(64)

    cap.failed(64)

    assert cap.tokens == 32


def test_the_cap_probes_back_up_to_the_configured_one():
    cap = TokenBudgetController(64, probe_after=2)
    cap.failed(64)

    for _ in range(100):
        cap.succeeded(cap.tokens)

    assert cap.tokens == 64
    assert not cap.is_lowered


def test_the_cap_rises_by_a_quarter_after_each_run_of_successes():
    cap = TokenBudgetController(64, probe_after=3)
    cap.failed(64)

    seen = []
    for _ in range(9):
        cap.succeeded(cap.tokens)
        seen.append(cap.tokens)

    assert seen == [32, 32, 40, 40, 40, 50, 50, 50, 62]


def test_small_packs_say_nothing_about_the_cap():
    cap = TokenBudgetController(64, probe_after=2)
    cap.failed(64)

    for _ in range(100):
        cap.succeeded(4)

    assert cap.tokens == 32


@pytest.mark.parametrize("fits", [1, 5, 33, 63])
def test_failures_become_rare_when_memory_stays_short(fits):
    cap = TokenBudgetController(64)
    failures = 0
    for _ in range(2000):
        if cap.tokens > fits:
            failures += 1
            cap.failed(cap.tokens)
        else:
            cap.succeeded(cap.tokens)

    assert failures <= 20
    assert 2 * cap.tokens > min(fits, 2)


def test_a_long_queue_is_not_priced_to_its_end() -> None:
    asked = []

    class Counting(TokenSum):
        def cost(self, items):
            asked.append(len(items))
            return super().cost(items)

    waiting = [QueuedSequence(Length(60), order, order) for order in range(500)]

    assert select_pack(waiting, Budget(100, 50), Counting) == [0]
    assert len(asked) < 50


@pytest.mark.parametrize(
    ("lengths", "max_tokens", "packs"),
    [
        ([], 8, []),
        ([4, 4, 1], 8, [[0, 1], [2]]),
        ([9, 1, 9, 9], 8, [[0], [1], [2], [3]]),
        ([9, 1, 9], None, [[0, 1, 2]]),
    ],
)
def test_neighbours_go_together_as_far_as_the_budget_holds(lengths, max_tokens, packs):
    assert [list(pack) for pack in consecutive_packs(lengths, max_tokens)] == packs


@pytest.mark.parametrize(("items", "exceeded"), [(2, True), (1, False)])
def test_a_pack_above_a_cap_that_was_lowered_is_halved_untried_unless_it_is_one_item(
    items, exceeded
):
    cap = TokenBudgetController(100)
    cap.failed(100)

    assert cap.exceeded(51, items) is exceeded
    assert not cap.exceeded(50, items)
