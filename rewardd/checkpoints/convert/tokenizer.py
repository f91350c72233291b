"""The converted checkpoint's tokenizer, and a pad token that no text ends with.

transformers reads a classifier's reward at the rightmost token that is not the pad token. With
pad == EOS that is the token before the final EOS, while projects that go by the attention mask read
the EOS itself; the converted checkpoint gets another pad token, so that plain transformers reads
where they do.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardd.checkpoints.convert.source import PadRule
from rm_core.checkpoint import tokenizer as tokenizers
from rm_core.errors import CheckpointError, UnsafeCheckpoint
from training.modeling.reward_model import PAD_TOKEN

FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "tokenizer.model",
    "spiece.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
)


def load_tokenizer(directory: Path) -> Any:
    """The tokenizer of a directory, its chat template settled.

    Raises:
        UnsafeCheckpoint: its configuration asks for code.
        CheckpointError: there is none that can be loaded.
    """
    try:
        return tokenizers.load_tokenizer(str(directory), directory)
    except UnsafeCheckpoint:
        raise
    except CheckpointError as error:
        raise CheckpointError(f"{error}; or give another one with --tokenizer") from error


@dataclass(frozen=True, slots=True)
class Padding:
    """Which token pads.

    Attributes:
        token_id: for config.json; None where no token will do.
        changed: whether the tokenizer was changed, so that its files must be written anew.
        note: what the user should know; None for nothing.
    """

    token_id: int | None
    changed: bool = False
    note: str | None = None


def settle_padding(tokenizer: Any, rule: PadRule, *, current: int | None, rows: int) -> Padding:
    """Choose the pad token; the tokenizer is given it.

    Args:
        tokenizer: changed in place where its own will not do.
        rule: the layout's.
        current: of the source's config.json.
        rows: of the embedding, so that a new token needs one that is free.
    """
    if rule == "keep":
        return Padding(current)
    eos = tokenizer.eos_token_id
    if rule == "eos":
        changed = tokenizer.pad_token_id != eos
        tokenizer.pad_token = tokenizer.eos_token
        return Padding(eos, changed)
    own = tokenizer.pad_token_id
    if own is not None and own != eos and own < rows:
        return Padding(own)
    if len(tokenizer) < rows:
        tokenizer.add_special_tokens({"pad_token": PAD_TOKEN})
        return Padding(
            tokenizer.pad_token_id,
            changed=True,
            note=f"the pad token was EOS or absent; it is {PAD_TOKEN} now, in a free row of the "
            "embedding",
        )
    for name in ("bos_token", "unk_token"):
        if getattr(tokenizer, f"{name}_id") not in {None, eos}:
            tokenizer.pad_token = getattr(tokenizer, name)
            return Padding(
                tokenizer.pad_token_id,
                changed=True,
                note=f"the pad token was EOS or absent; it is {tokenizer.pad_token} now, which no "
                "text ends with",
            )
    return Padding(
        None,
        note="no token but EOS can pad, so config.json names none: plain transformers then scores "
        "one text at a time; rewardd pads by the attention mask",
    )


def write_tokenizer(tokenizer: Any, source: Path, output: Path, *, changed: bool) -> None:
    """The tokenizer's files as they were, or anew where it was changed or had no file of its own.

    Args:
        tokenizer: as loaded, and changed.
        source: where its files are.
        output: where they go.
        changed: whether it was changed.
    """
    if changed or not (source / "tokenizer_config.json").is_file():
        tokenizer.save_pretrained(output)
        return
    for name in FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, output / name)
    extra = source / "additional_chat_templates"
    if extra.is_dir():
        shutil.copytree(extra, output / extra.name)
