"""How the commands of training end when something is wrong: one line that says what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console

from rm_core.errors import RewardError


@contextmanager
def exit_on_error(console: Console) -> Iterator[None]:
    """Show our errors as one line, as they already say what to do; anything else is a bug."""
    try:
        yield
    except RewardError as error:
        if error.code == "other_process_failed":  # that one has said why
            raise typer.Exit(1) from error
        console.print(f"error: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    except OSError as error:
        # The machine's, and where a library does not say it otherwise: a full disk, no right to
        # write, a place that is no directory.
        console.print(f"error: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    except ImportError as error:
        # Libraries that look for a package of their own give no name, and say it themselves.
        lacking = f"{error.name} is missing" if error.name else " ".join(str(error).split())
        console.print(
            f"error: {lacking}; install the training extra: pip install 'rewardd[train]'",
            style="red",
            markup=False,
        )
        raise typer.Exit(1) from error
