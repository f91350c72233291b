"""Commands as a person types them."""

import re

from typer.testing import CliRunner

from rewardd.cli import app


def rewardd(*arguments: str) -> tuple[int, str]:
    """Exit status of the command, and what it wrote, without colours and line breaks."""
    result = CliRunner().invoke(app, [*arguments])
    return result.exit_code, " ".join(re.sub(r"\x1b\[[0-9;]*m", "", result.output).split())
