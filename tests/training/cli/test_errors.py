"""A command ends with one line that says what to do, whichever library is lacking."""

import pytest
import typer
from rich.console import Console

from training.cli.errors import exit_on_error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ModuleNotFoundError("No module named 'scipy'", name="scipy"), "scipy is missing"),
        (ImportError("Using bitsandbytes\nneeds bitsandbytes"), "Using bitsandbytes needs"),
    ],
)
def test_an_import_that_fails_names_what_is_lacking(
    error: ImportError, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit), exit_on_error(Console(width=200)):
        raise error

    told = capsys.readouterr().out
    assert words in told
    assert "None" not in told
    assert "'rewardd[train]'" in told
