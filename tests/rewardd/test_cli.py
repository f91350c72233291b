import subprocess
import sys
from typing import Any, get_args

import pytest
import typer
from typer import rich_utils
from typer.testing import CliRunner

import rm_core
from rewardd import cli
from rm_core.types import DType, Role
from service.settings import Settings
from training.data.formats.registry import FORMATS


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


def options() -> list[tuple[str, Any]]:
    """Every option of every command, with the command's name."""
    return [
        (name, parameter)
        for name, command in COMMANDS.items()
        for parameter in command.params
        if parameter.param_type_name == "option"
    ]


@pytest.fixture(scope="module")
def helps() -> dict[str, str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rich_utils, "MAX_WIDTH", 2000)
        invoke = CliRunner().invoke
        return {name: invoke(cli.app, [name, "--help"], color=False).output for name in COMMANDS}


@pytest.mark.parametrize(
    ("command", "option"), options(), ids=lambda one: one if isinstance(one, str) else one.name
)
def test_help_shows_every_options_default_and_choices(helps, command, option):
    flag = option.opts[0]
    lines = helps[command].splitlines()
    (line,) = (line for line in lines if line.lstrip("│* ").startswith((f"{flag} ", f"{flag},")))

    if not option.required and not option.is_bool_flag:
        assert "[default: " in line
    choices = get_args(option.type_descriptor.annotation)
    for choice in (one for one in choices if isinstance(one, str)):
        assert choice in line
    for name, words in CLOSED.items():
        if flag == f"--{name}":
            assert all(word in line for word in words), "say which words there are"


CLOSED = {
    "role": get_args(Role),
    "dtype": get_args(DType),
    "device": ("auto", "cpu", "cuda"),
    "truncate": ("error", "prompt"),
    "log-level": ("debug", "info", "warning", "error"),
    "format": tuple(each.name for each in FORMATS),
}


def test_the_defaults_that_serve_shows_are_those_of_the_settings():
    shown = {
        option.name: option.show_default
        for option in COMMANDS["serve"].params
        if option.name not in {"config", "model"}  # no settings: model adds to `models`
    }

    assert shown == {
        name: str(field.default if field.default is not None else "none")
        for name, field in Settings.model_fields.items()
        if name in shown
    }


def test_the_release_is_told():
    done = CliRunner().invoke(cli.app, ["--version"])

    assert (done.exit_code, done.output) == (0, f"rewardd {rm_core.__version__}\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands_and_choices(shell):
    def completed(*words: str) -> str:
        line = " ".join(words)
        environment = {
            "_REWARDD_COMPLETE": f"complete_{shell}",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
            "_TYPER_COMPLETE_ARGS": line,
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
            "_TYPER_COMPLETE_WORD_TO_COMPLETE": words[-1],
        }
        return CliRunner().invoke(cli.app, [], prog_name="rewardd", env=environment).output

    assert "serve" in completed("rewardd", "se")
    assert "float32" in completed("rewardd", "serve", "--dtype", "fl")
    assert "helpfulness" in completed("rewardd", "train", "--role", "h")
    assert "hh-rlhf" in completed("rewardd", "data", "--format", "hh")
    assert "hh-rlhf" not in completed("rewardd", "data", "--format", "ne")


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
