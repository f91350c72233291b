"""How long stages tell of themselves on a terminal and in a file."""

from io import StringIO
from types import SimpleNamespace

import pytest
from rich.console import Console

from training.progress import ConsoleProgress


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def progress_of(*, terminal: bool) -> tuple[ConsoleProgress, StringIO, Clock]:
    written, clock = StringIO(), Clock()
    console = Console(file=written, force_terminal=terminal, width=120)
    return ConsoleProgress(console, clock=clock), written, clock


def test_in_a_file_a_long_stage_says_now_and_then_how_far_it_is() -> None:
    progress, written, clock = progress_of(terminal=False)

    with progress.track("hidden states", 100) as advance:
        for _ in range(100):
            clock.now += 1
            advance(1)
        within = written.getvalue()

    assert within.splitlines() == [f"hidden states: {done} of 100" for done in (30, 60, 90)]


def test_in_a_file_a_training_tells_its_latest_figures_with_it() -> None:
    progress, written, clock = progress_of(terminal=False)
    (callback,) = progress.callbacks("safety RM")
    state = SimpleNamespace(max_steps=50, global_step=0)

    callback.on_train_begin(None, state, None)
    for step in range(1, 41):
        clock.now += 1
        state.global_step = step
        if step == 10:
            callback.on_log(None, state, None, logs={"loss": 0.5, "accuracy": 0.75, "other": 1.0})
        callback.on_step_end(None, state, None)
    within = written.getvalue()
    callback.on_train_end(None, state, None)

    assert within.splitlines() == ["safety RM: 30 of 50, loss 0.500, accuracy 0.750"]


@pytest.mark.parametrize(("terminal", "seconds"), [(True, 1.0), (False, 0.1)])
def test_a_terminal_and_a_short_stage_have_the_bar_alone(*, terminal: bool, seconds: float) -> None:
    progress, written, clock = progress_of(terminal=terminal)

    with progress.track("hidden states", 100) as advance:
        for _ in range(100):
            clock.now += seconds
            advance(1)

    assert "hidden states:" not in written.getvalue()
    assert "100/100" in written.getvalue()


def test_a_bar_of_things_done_in_shares_ends_at_their_number() -> None:
    progress, written, _ = progress_of(terminal=False)

    with progress.track("trainings", 9) as advance:
        for _ in range(9 * 7):
            advance(1 / 7)

    assert "9/9" in written.getvalue()


def test_a_stage_is_one_line_however_narrow_the_terminal_is() -> None:
    progress, written, _ = progress_of(terminal=True)

    progress.say("rewardd train " + "--data preferences.jsonl " * 10)

    assert written.getvalue().count("\n") == 1
