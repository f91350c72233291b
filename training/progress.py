"""How a training tells a person what it does: stages as lines, updates as a bar."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar
from transformers import TrainerCallback

_SECONDS_BETWEEN_LINES = 30.0


class Progress(Protocol):
    """Someone who wants to know."""

    def say(self, message: str) -> None:
        """One stage begins."""
        ...

    def callbacks(self, title: str) -> Sequence[TrainerCallback]:
        """Callbacks for HF `Trainer` that follow its updates."""
        ...

    def track(self, title: str, total: int) -> AbstractContextManager[Callable[[float], None]]:
        """A stage of `total` things; what comes is told how many more are done."""
        ...


class SilentProgress:
    """Nobody wants to know."""

    def say(self, message: str) -> None:
        """Keep quiet."""

    def callbacks(self, title: str) -> Sequence[TrainerCallback]:  # noqa: ARG002
        """No callbacks."""
        return ()

    def track(
        self,
        title: str,  # noqa: ARG002
        total: int,  # noqa: ARG002
    ) -> AbstractContextManager[Callable[[float], None]]:
        """Count for nobody."""
        return nullcontext(lambda _: None)


class ConsoleProgress:
    """Lines and bars on a rich console; in a file, where bars don't move, now and then a line.

    Args:
        console: where to write.
        clock: seconds that never run backwards.
    """

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock

    def say(self, message: str) -> None:
        """Print the stage."""
        # A command to paste must not be broken where the terminal ends.
        self._console.print(message, highlight=False, markup=False, soft_wrap=True)

    def callbacks(self, title: str) -> Sequence[TrainerCallback]:
        """A bar over updates with the latest loss and accuracy."""
        return (_BarCallback(self._console, _Lines(self._console, title, self._clock)),)

    @contextmanager
    def track(self, title: str, total: int) -> Iterator[Callable[[float], None]]:
        """A bar over the things."""
        with Bar(*_columns(), console=self._console) as bar:
            task = bar.add_task(title, total=total)
            lines = _Lines(self._console, title, self._clock)

            completed = 0.0

            def advance(done: float) -> None:
                nonlocal completed
                completed += done
                # Shares of a thing add up to a hair less than it, and the bar cuts fractions off.
                bar.update(task, completed=round(completed, 6))
                lines.reached(round(completed, 6), total)

            yield advance


class _Lines:
    """What stands for a bar in a file: a line once in a while, none in a short stage."""

    def __init__(self, console: Console, title: str, clock: Callable[[], float]) -> None:
        self._console = console
        self.title = title
        self._clock = clock
        self._last = clock()

    def reached(self, done: float, total: float, figures: str = "") -> None:
        """So much is done."""
        now = self._clock()
        if self._console.is_terminal or now - self._last < _SECONDS_BETWEEN_LINES:
            return
        self._last = now
        words = [f"{self.title}: {int(done)} of {int(total)}", *([figures] if figures else [])]
        self._console.print(", ".join(words), highlight=False, markup=False)


class _BarCallback(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    # Trainer calls these with keywords of its own choice; only `state` and `logs` matter here.

    def __init__(self, console: Console, lines: _Lines) -> None:
        self._bar = Bar(*_columns(), TextColumn("{task.fields[figures]}"), console=console)
        self._lines = lines
        self._figures = ""
        self._task: Any = None

    def on_train_begin(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        self._task = self._bar.add_task(
            self._lines.title, total=state.max_steps, completed=state.global_step, figures=""
        )
        self._bar.start()

    def on_step_end(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        self._bar.update(self._task, completed=state.global_step)
        self._lines.reached(state.global_step, state.max_steps, self._figures)

    def on_log(
        self,
        _args: Any,
        _state: Any,
        _control: Any,
        logs: Mapping[str, float] | None = None,
        **_: Any,
    ) -> None:
        shown = [
            f"{name} {value:.3f}"
            for name, value in (logs or {}).items()
            if name in {"loss", "accuracy"}
        ]
        if shown:
            self._figures = ", ".join(shown)
            self._bar.update(self._task, figures=self._figures)

    def on_train_end(self, *_: Any, **__: Any) -> None:
        self._bar.stop()


def _columns() -> tuple[ProgressColumn, ...]:
    """What every bar shows; new for each, as columns remember what they drew last."""
    return (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
