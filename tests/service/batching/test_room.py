"""Room in the queue: exact, with a part for interactive work and for callers who come later."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.batching.queue import Flow
from service.batching.room import Room


def flow(priority="interactive", caller=b""):
    return Flow(caller, priority)


INTERACTIVE, BULK = flow(), flow("bulk")


def fill(room: Room, of: Flow) -> int:
    """Take one by one as long as there is any; how much it was."""
    taken = 0
    while room.has(1, of):
        room.take(1, of)
        taken += 1
    return taken


async def in_line(room: Room, amount: int, of: Flow = BULK, times: int = 1):
    tasks = [asyncio.create_task(room.wait_for(amount, of, object())) for _ in range(times)]
    await asyncio.sleep(0)
    return tasks


@pytest.mark.parametrize("capacity", [1, 2, 7, 8, 64, 1000])
def test_the_bound_is_exact_and_an_eighth_of_it_is_for_interactive_work(capacity):
    assert fill(Room(capacity), INTERACTIVE) == capacity

    room = Room(capacity)
    assert fill(room, BULK) == room.bulk_part == capacity - capacity // 8
    assert fill(room, INTERACTIVE) == capacity // 8


def test_a_request_larger_than_bulks_part_goes_where_no_other_bulk_is():
    room = Room(64)
    room.take(1, INTERACTIVE)

    assert room.has(63, BULK)
    assert not room.has(64, BULK)
    room.take(1, BULK)
    assert not room.has(56, BULK)
    assert room.has(55, BULK)


async def test_those_who_wait_leave_interactive_work_its_room():
    room = Room(64)
    waiting = await in_line(room, 1, times=200)

    assert room.held == room.waiters_part == 48
    assert fill(room, INTERACTIVE) == 16
    for _ in range(152):
        room.give_back(1, BULK, waited=True)
    await asyncio.gather(*waiting)
    assert room.held == 64


async def test_without_their_own_part_one_body_would_starve_interactive_work(monkeypatch):
    monkeypatch.setattr(Room, "waiters_part", property(lambda self: self.capacity))
    monkeypatch.setattr(Room, "bulk_part", property(lambda self: self.capacity))
    room = Room(64)
    waiting = await in_line(room, 1, times=200)

    assert fill(room, INTERACTIVE) == 0
    for task in waiting:
        task.cancel()


async def test_bulk_work_that_does_not_wait_leaves_room_to_those_who_do():
    room = Room(64)
    fill(room, BULK)
    (waiting,) = await in_line(room, 12)
    for _ in range(12):
        assert not waiting.done()
        room.give_back(1, BULK)
        assert not room.has(1, BULK) or room.held == room.bulk_part - 1
    await waiting


def test_a_flood_of_one_caller_leaves_room_to_the_next_ones():
    room = Room(64)
    assert room.has(1, flow(caller=b"polite"))  # who is known from an earlier request
    assert fill(room, flow(caller=b"flood")) == 48
    assert fill(room, flow(caller=b"second flood")) == 8
    assert fill(room, flow(caller=b"polite")) == 4
    assert room.held == 60


def test_a_flood_of_one_caller_gives_way_until_all_have_as_much():
    room = Room(64)
    callers = [flow(caller=name) for name in (b"a", b"b", b"c")]
    fill(room, callers[0])
    for _ in range(200):
        for one in callers:
            if room.by_flow.get(one, 0):
                room.give_back(1, one)
        for one in reversed(callers):  # and the first of them comes last
            fill(room, one)

    held = [room.by_flow[one] for one in callers]
    assert min(held) >= max(held) // 2
    assert sum(held) >= 48


def test_a_lone_caller_has_the_whole_queue_with_a_key_or_without():
    assert fill(Room(64), flow(caller=b"only")) == 64


moves = st.lists(
    st.tuples(
        st.integers(1, 40),
        st.sampled_from(["interactive", "bulk"]),
        st.sampled_from([b"", b"a", b"b"]),
        st.booleans(),
    ),
    max_size=80,
)


@given(st.integers(1, 64), moves)
def test_never_is_more_held_than_there_is_and_all_comes_back(capacity, given):
    room, held = Room(capacity), []
    for amount, priority, caller, gives_back in given:
        if gives_back and held:
            room.give_back(*held.pop(0))
        elif room.has(amount, flow(priority, caller)):
            room.take(amount, flow(priority, caller))
            held.append((amount, flow(priority, caller)))
        assert room.held == sum(amount for amount, _ in held) <= capacity
    for amount, of in held:
        room.give_back(amount, of)
    assert (room.held, dict(room.by_flow)) == (0, {})
    assert room.has(capacity, BULK)
