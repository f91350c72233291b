"""What pyproject.toml can't say: rewardd needs the rewardd-client of its own version."""

from pathlib import Path

from setuptools import setup

VERSION = (Path(__file__).parent / "rm_client" / "VERSION").read_text("ascii").strip()

setup(
    version=VERSION,
    install_requires=[
        f"rewardd-client=={VERSION}",
        "httpx>=0.28",
        "pydantic>=2.11",
        "rich>=14",
        "typer>=0.20",
    ],
)
