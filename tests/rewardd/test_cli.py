import subprocess
import sys

import pytest
import typer
from typer import rich_utils
from typer.testing import CliRunner

from rewardd import cli


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "rewardd", *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_help_lists_the_commands():
    done = run("--help")

    assert done.returncode == 0
    assert "serve" in done.stdout
    assert "train" in done.stdout


COMMANDS = vars(typer.main.get_command(cli.app))["commands"]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_every_word_that_was_written_for_it(name, monkeypatch):
    """Rich reads words in brackets as marks, and leaves them out, unless they are escaped."""
    monkeypatch.setattr(rich_utils, "MAX_WIDTH", 2000)

    shown = CliRunner().invoke(cli.app, [name, "--help"], color=False).output

    assert COMMANDS[name].params
    for option in COMMANDS[name].params:
        assert (option.help or "").replace("\\[", "[") in shown


def test_help_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['rewardd', '--help']\n"
        "from rewardd import cli\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "print('HEAVY', sorted({'torch', 'transformers', 'fastapi'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60
    )

    assert "HEAVY []" in done.stdout


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--port", "99999"), "port"),
        (("--dtype", "int4"), "dtype"),
        ((), "reward model"),
        (("--safety-model", "/nowhere"), "/nowhere"),
    ],
)
def test_a_server_that_cannot_start_says_why_without_a_traceback(flags, message, tmp_path):
    done = run("serve", "--state-dir", str(tmp_path), *flags)

    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_package_is_answered_with_the_extra_to_install(monkeypatch, capsys):
    broken = typer.Typer()

    @broken.command("serve")
    def serve() -> None:
        import a_package_that_nobody_has  # noqa: F401

    @broken.callback()
    def group() -> None:
        """Several commands."""

    monkeypatch.setattr(cli, "app", broken)
    monkeypatch.setattr(sys, "argv", ["rewardd", "serve"])

    with pytest.raises(SystemExit) as ended:
        cli.main()

    assert ended.value.code == 1
    assert "pip install 'rewardd[serve]'" in capsys.readouterr().err
