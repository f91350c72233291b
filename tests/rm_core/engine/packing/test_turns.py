"""Deficit round robin: equal shares for who waits all the time, nothing saved up, debts paid."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from rm_core.engine.packing.turns import ArrivalRounds, DeficitRoundRobin

quanta = st.integers(1, 50)
costs = st.integers(1, 200)


def serve(turns: DeficitRoundRobin, callers: list[str], cost: int) -> str:
    caller = turns.next(callers)
    turns.charge(caller, cost)
    return str(caller)


def waiting(quantum: int, *callers: str) -> DeficitRoundRobin:
    turns = DeficitRoundRobin(quantum)
    for caller in callers:
        turns.wait(caller)
    return turns


def test_equal_work_is_served_by_turns():
    turns = waiting(10, "a", "b", "c")

    assert [serve(turns, ["a", "b", "c"], 10) for _ in range(7)] == list("abcabca")


def test_who_sends_large_texts_has_as_many_tokens_and_fewer_texts():
    turns = waiting(10, "large", "small")
    served = Counter(
        caller
        for _ in range(550)
        for caller in [turns.next(["large", "small"])]
        if turns.charge(caller, 100 if caller == "large" else 10) is None
    )

    assert served == {"large": 50, "small": 500}


@given(quanta, st.integers(2, 5), st.lists(st.tuples(costs, st.booleans()), max_size=300))
def test_nobody_who_waits_is_ahead_by_more_than_a_quantum_and_one_service(quantum, number, given):
    callers = [str(one) for one in range(number)]
    turns = waiting(quantum, *callers)
    served = Counter(dict.fromkeys(callers, 0))
    for cost, copied in given:
        if copied:
            serve(turns.copy(), callers, cost)  # a choice that isn't carried out changes nothing
        served[serve(turns, callers, cost)] += cost
        assert max(served.values()) - min(served.values()) <= quantum + 200


@given(quanta, st.lists(st.tuples(costs, st.booleans()), min_size=1, max_size=200))
def test_who_comes_now_and_then_saves_nothing_up_and_loses_nothing(quantum, given):
    """A caller who is away half of the time is served within a round of his coming back."""
    turns = waiting(quantum, "steady", "other")
    for cost, comes in given:
        serve(turns, ["steady", "other"], cost)
        if comes:
            turns.wait("now and then")
            ahead = 0
            while (caller := turns.next(["steady", "other", "now and then"])) != "now and then":
                turns.charge(caller, cost)
                ahead += cost
            assert ahead <= 2 * (quantum + 2 * cost)
            assert turns._credit["now and then"] <= quantum
            turns.charge("now and then", 1)
            turns.leave("now and then")


@given(quanta, costs, costs)
def test_a_debt_outlives_absence_until_the_others_have_had_as_much(quantum, debt, cost):
    turns = waiting(quantum, "debtor", "other")
    assert turns.next(["debtor"]) == "debtor"
    turns.charge("debtor", quantum + debt)
    turns.leave("debtor")
    turns.wait("debtor")
    served = 0
    while turns.next(["debtor", "other"]) == "other":
        turns.charge("other", cost)
        served += cost

    assert served >= debt - quantum


def test_debts_are_forgotten_when_nobody_waits_any_more():
    turns = waiting(10, "a", "b")
    turns.charge("a", 1000)
    turns.only(["b"])
    turns.only([])
    turns.only(["a", "b"])

    assert turns.next(["a", "b"]) == "a"


def test_turns_go_on_beside_one_who_cannot_be_served_and_he_loses_nothing():
    turns = waiting(10, "a", "b", "c")
    for _ in range(4):
        assert serve(turns, ["b", "c"], 10) in "bc"

    assert [serve(turns, ["a", "b", "c"], 10) for _ in range(2)] == ["a", "a"]


def test_a_huge_debt_costs_no_time():
    turns = waiting(1, "a", "b")
    turns.charge("a", 10**15)
    turns.charge("b", 10**15 + 1)

    assert turns.next(["a", "b"]) == "a"


def test_bodies_that_came_with_all_their_lines_go_on_evenly_with_one_that_comes_later():
    rounds = ArrivalRounds()
    first = [rounds.next("first") for _ in range(64)]
    rounds.reached(first[9])
    second = [rounds.next("second") for _ in range(3)]

    assert first == list(range(64))
    assert second == [9, 10, 11]
    assert rounds.next("first") == 64


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=60), st.integers(1, 7))
def test_rounds_keep_each_kinds_order_and_have_one_of_each(kinds, at_once):
    rounds, waiting, served = ArrivalRounds(), [], []
    for order, kind in enumerate(kinds):
        waiting.append((rounds.next(kind), order, kind))
        if order % at_once == 0:
            waiting.sort()
            served.append(waiting.pop(0))
            rounds.reached(served[-1][0])
    served += sorted(waiting)

    for kind in "abc":
        own = [(at, order) for at, order, of in served if of == kind]
        assert own == sorted(own)
        assert len({at for at, _ in own}) == len(own)
    assert [at for at, _, _ in served] == sorted(at for at, _, _ in served)
