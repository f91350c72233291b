from service.connections.deadlines import Deadlines, Phase


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Someone:
    def __init__(self) -> None:
        self.phase: Phase | None = None


def lines(**seconds: float) -> tuple[Deadlines[Someone], Clock]:
    clock = Clock()
    allowed = {phase: seconds.get(phase.value, 10.0) for phase in Phase}
    return Deadlines(allowed, clock), clock


def test_who_stays_in_a_phase_is_overdue_and_who_moves_on_is_not():
    deadlines, clock = lines(headers=5.0)
    stays, moves = Someone(), Someone()
    deadlines.enter(stays, Phase.HEADERS)
    deadlines.enter(moves, Phase.HEADERS)
    clock.now = 4.0
    deadlines.enter(moves, None)

    assert deadlines.overdue(10) == []
    clock.now = 5.0
    assert deadlines.overdue(10) == [(stays, Phase.HEADERS)]


def test_entering_a_phase_again_begins_its_time_anew():
    deadlines, clock = lines(body=5.0)
    goes_on = Someone()
    deadlines.enter(goes_on, Phase.BODY)
    clock.now = 4.0
    deadlines.enter(goes_on, Phase.BODY)

    clock.now = 8.0
    assert deadlines.overdue(10) == []
    clock.now = 9.0
    assert deadlines.overdue(10) == [(goes_on, Phase.BODY)]


def test_no_more_are_named_at_once_than_asked_for():
    deadlines, clock = lines()
    for _ in range(5):
        deadlines.enter(Someone(), Phase.IDLE)
    clock.now = 100.0

    assert len(deadlines.overdue(3)) == 3


def test_the_oldest_of_some_is_found_once_it_is_old_enough():
    deadlines, clock = lines()
    first, second = Someone(), Someone()
    deadlines.enter(first, Phase.IDLE)
    clock.now = 1.0
    deadlines.enter(second, Phase.IDLE)
    clock.now = 2.0

    assert deadlines.oldest(Phase.IDLE, {first, second}) is first
    assert deadlines.oldest(Phase.IDLE, {second}) is second
    assert deadlines.oldest(Phase.IDLE, {second}, seconds=1.5) is None
    assert deadlines.oldest(Phase.HEADERS, {first, second}) is None
