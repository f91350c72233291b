"""How a training tells a person what it does: stages as lines, updates as a bar."""

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
    """Lines and bars on a rich console.

    Args:
        console: where to write.
    """

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, message: str) -> None:
        """Print the stage."""
        self._console.print(message, highlight=False, markup=False)

    def callbacks(self, title: str) -> Sequence[TrainerCallback]:
        """A bar over updates with the latest loss and accuracy."""
        return (_BarCallback(self._console, title),)

    @contextmanager
    def track(self, title: str, total: int) -> Iterator[Callable[[float], None]]:
        """A bar over the things."""
        with Bar(*_columns(), console=self._console) as bar:
            task = bar.add_task(title, total=total)
            yield lambda done: bar.advance(task, done)


class _BarCallback(TrainerCallback):  # type: ignore[misc]  # transformers is untyped here
    # Trainer calls these with keywords of its own choice; only `state` and `logs` matter here.

    def __init__(self, console: Console, title: str) -> None:
        self._bar = Bar(*_columns(), TextColumn("{task.fields[figures]}"), console=console)
        self._title = title
        self._task: Any = None

    def on_train_begin(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        self._task = self._bar.add_task(
            self._title, total=state.max_steps, completed=state.global_step, figures=""
        )
        self._bar.start()

    def on_step_end(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
        self._bar.update(self._task, completed=state.global_step)

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
            self._bar.update(self._task, figures=", ".join(shown))

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
