"""A checkpoint's tokenizer, loaded in one place for serving, inspecting, converting and training.

Here its chat template is settled, which transformers knows under several names and in several
files, and here a package that its files need is told by name.
"""

import base64
import binascii
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer
from transformers import logging as transformers_logging

from rm_core.checkpoint.files import refuse_tokenizer_code
from rm_core.checkpoint.json_files import in_short, read_object
from rm_core.errors import CheckpointError, TemplateOverBounds
from rm_core.text.template_bounds import bound_templates

DEFAULT_TEMPLATE = "default"
MAX_TEMPLATE_CHARACTERS = 1_000_000
"""The longest that are published have 30,000."""
PROCESSOR_FILES = ("chat_template.json", "processor_config.json", "preprocessor_config.json")
"""Where processors of several modalities keep a template that their tokenizer may lack."""

SENTENCEPIECE_FILES = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "spm.model")
TIKTOKEN_FILES = ("tiktoken.model", "tokenizer.tiktoken", "qwen.tiktoken")
OTHER_FILES = ("tokenizer.json", "vocab.json", "vocab.txt", "tekken.json")


def load_tokenizer(name: str, directory: Path) -> Any:
    """The tokenizer of a checkpoint, its chat template settled: one text, or None.

    Args:
        name: of the checkpoint, as the user gave it.
        directory: where its files are.

    Raises:
        UnsafeCheckpoint: its configuration asks for code.
        CheckpointError: there is none that can be loaded, a package that it needs is not installed,
            or it has chat templates and none of them is the default one.
    """
    refuse_tokenizer_code(directory)
    bound_templates()
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # what it tries in vain, it says at length
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            directory, use_fast=True, trust_remote_code=False, local_files_only=True
        )
        tokenizer("x")  # some files load, and can encode nothing
    except Exception as error:  # every kind of file raises its own library's errors
        raise CheckpointError(_explained(name, directory, error)) from error
    finally:
        transformers_logging.set_verbosity(verbosity)
    tokenizer.chat_template = _template_of(name, directory, tokenizer.chat_template)
    if tokenizer.chat_template is not None:
        _refuse_broken(name, tokenizer)
    return tokenizer


def _refuse_broken(name: str, tokenizer: Any) -> None:
    """Refuse a chat template that is no Jinja, or has no end: every request would fail."""
    try:
        tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False)
    except TemplateOverBounds as error:
        raise CheckpointError(
            f"{name}: {error}, and they are one short question; mend chat_template.jinja, or fetch "
            "the tokenizer's files again from whom you trust"
        ) from error
    except Exception as error:  # a template may refuse this chat and render others
        if type(error).__name__ == "TemplateSyntaxError":
            raise CheckpointError(
                f"{name} has a chat template that is no valid Jinja ({in_short(error)}); mend it, "
                "or fetch the tokenizer's files again"
            ) from error


def _template_of(name: str, directory: Path, own: Any) -> str | None:
    """The template that renders a conversation where nobody asks for another."""
    template = _template_of_processor(directory) if own is None else own
    if isinstance(template, str) and not template.strip():
        raise CheckpointError(
            f"{name} has an empty chat template, which would render every text to nothing; fetch "
            "chat_template.jinja again, or remove it"
        )
    if isinstance(template, list):
        template = {
            str(entry.get("name")): entry.get("template")
            for entry in template
            if isinstance(entry, dict)
        }
    if isinstance(template, dict):
        if not isinstance(template.get(DEFAULT_TEMPLATE), str):
            raise CheckpointError(
                f"{name} has the chat templates {', '.join(map(str, sorted(template)))} and none "
                f"called {DEFAULT_TEMPLATE!r}, so that nobody can tell which one it was trained "
                "with; save that one as chat_template.jinja"
            )
        template = template[DEFAULT_TEMPLATE]
    if template is not None and not isinstance(template, str):
        raise CheckpointError(
            f"{name} has a chat template that is a {type(template).__name__} and no text; save it "
            "as chat_template.jinja"
        )
    if template is not None and len(template) > MAX_TEMPLATE_CHARACTERS:
        raise CheckpointError(
            f"{name} has a chat template of {len(template)} characters, and rewardd reads up to "
            f"{MAX_TEMPLATE_CHARACTERS}; fetch chat_template.jinja again"
        )
    return template


def _template_of_processor(directory: Path) -> Any:
    for file in PROCESSOR_FILES:
        path = directory / file
        if path.is_file() and (template := read_object(path).get("chat_template")) is not None:
            return template
    return None


def _explained(name: str, directory: Path, error: Exception) -> str:
    """Why a tokenizer can't be loaded, told by the files that lie there."""
    package = missing_package(directory)
    if package is not None:
        file, extra, needs = package
        return (
            f"{name} has its tokenizer only as {file}, which needs {needs}; install it with: "
            f"pip install 'rewardd[{extra}]', or save the tokenizer as tokenizer.json where it is "
            "installed"
        )
    known = (*OTHER_FILES, *SENTENCEPIECE_FILES, *TIKTOKEN_FILES, "tokenizer_config.json")
    there = [file for file in known if (directory / file).is_file()]
    seen = f"of {', '.join(there)}" if there else "as there is no tokenizer.json"
    return (
        f"{name} has no tokenizer that transformers can load {seen} ({in_short(error)}); save the "
        "tokenizer beside the weights"
    )


def missing_package(directory: Path) -> tuple[str, str, str] | None:
    """What a tokenizer's files need and nobody has installed.

    Returns:
        The file, our extra and the packages, as words; None where nothing is lacking.
    """
    if (directory / "tokenizer.json").is_file():
        return None
    for file in (*SENTENCEPIECE_FILES, *TIKTOKEN_FILES):
        path = directory / file
        if not path.is_file():
            continue
        extra = "tiktoken" if _is_tiktoken(path) else "sentencepiece"
        wanted = {"tiktoken": ("tiktoken",), "sentencepiece": ("sentencepiece", "google.protobuf")}
        lacking = [module for module in wanted[extra] if not _installed(module)]
        if lacking:
            return file, extra, " and ".join(m.removeprefix("google.") for m in lacking)
    return None


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # the package above it
        return False


def _is_tiktoken(path: Path) -> bool:
    """Whether a file holds tiktoken's lines, a token in base64 and its rank, whatever its name."""
    with path.open("rb") as file:
        line = file.readline(4096)
    token, _, rank = line.strip().partition(b" ")
    try:
        base64.b64decode(token, validate=True)
    except (binascii.Error, ValueError):
        return False
    return rank.isdigit()


def pad_tokens(config: Any, directory: Path, tokenizer: Any) -> dict[str, int | None]:
    """The pad token that each of a checkpoint's files names, by file; without those that name none.

    Args:
        config: transformers' configuration.
        directory: where generation_config.json may be.
        tokenizer: the checkpoint's.
    """
    generation: Any = None
    path = directory / "generation_config.json"
    if path.is_file():
        with suppress(CheckpointError):  # no reward depends on that file, so it may be damaged
            generation = read_object(path).get("pad_token_id")
    named = {
        "config.json": config.get_text_config().pad_token_id,
        "generation_config.json": generation,
        "the tokenizer": tokenizer.pad_token_id,
    }
    return {file: pad for file, pad in named.items() if isinstance(pad, int)}


def pad_disagreement(pads: dict[str, int | None], *, read: int | None) -> str | None:
    """How pad tokens differ, as a sentence; None where they agree.

    Args:
        pads: as `pad_tokens` gives them.
        read: the one by which the position to read is found.
    """
    if len(set(pads.values())) < 2:
        return None
    said = ", ".join(f"{file} {pad}" for file, pad in pads.items())
    return (
        f"the pad tokens differ ({said}): rewardd, as transformers, reads the last token that is "
        f"not {read}; a trainer that padded with another one read elsewhere where a text ends in it"
    )
