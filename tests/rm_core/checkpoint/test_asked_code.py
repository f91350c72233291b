"""Configurations that ask for code are refused wherever they ask, and ordinary ones never."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from rm_core.checkpoint import asked_code
from rm_core.checkpoint.asked_code import MAX_DEPTH, refuse_code
from rm_core.errors import CheckpointError, UnsafeCheckpoint
from tests.models import ARCHITECTURES, make_model, make_tokenizer

PATH = Path("config.json")
ORDINARY: dict[str, Any] = {
    "_name_or_path": "/home/me/models/base",
    "_attn_implementation": "sdpa",
    "_attn_implementation_autoset": True,
    "_experts_implementation": "grouped_mm",
    "_commit_hash": None,
    "__type": "AddedToken",
    "_moe_weights": 3,
    "auto_map": None,
    "trust_remote_code": False,
    "conv_kernel": [10, 3],
    "use_mamba_kernels": True,
    "linear_conv_kernel_dim": 4,
    "text_config": {"attn_implementation": None, "auto_map": {}},
}


@pytest.mark.parametrize(
    "asked",
    [
        {"auto_map": {"AutoModel": "evil.Model"}},
        {"auto_map": "evil"},
        {"trust_remote_code": "no"},
        {"_attn_implementation": "owner/kernel"},
        {"_attn_implementation": {"": "owner/kernel"}},
        {"_attn_implementation": ["owner/kernel"]},
        {"_attn_implementation": True},
        {"_attn_implementation_internal": "paged|owner/kernel@v1:f"},
        {"attn_implementation": "unheard_of"},
        {"_experts_implementation_internal": "owner/kernel"},
        {"_experts_implementation": {"": "owner/kernel"}},
        {"kernel_config": {"RMSNorm": "owner/kernel:RMSNorm"}},
        {"allow_all_kernels": True},
        {"_some_new_setting": "owner/name"},
    ],
    ids=json.dumps,
)
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_code_is_refused_at_any_depth(asked: dict[str, Any], depth: int) -> None:
    config = copy.deepcopy(asked)
    for _ in range(depth):
        config = {**ORDINARY, "part": [{"text_config": config}]}

    with pytest.raises(UnsafeCheckpoint, match=next(iter(asked))):
        refuse_code(PATH, config)


def test_ordinary_keys_ask_for_nothing() -> None:
    refuse_code(PATH, ORDINARY)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_transformers_itself_writes_asks_for_nothing(architecture: str) -> None:
    refuse_code(PATH, make_model(architecture).config.to_dict())


def test_what_a_tokenizer_writes_asks_for_nothing(tmp_path: Path) -> None:
    make_tokenizer(chat=True).save_pretrained(tmp_path)

    refuse_code(PATH, json.loads((tmp_path / "tokenizer_config.json").read_text()))


def test_flash_attention_is_no_kernel_repository_unless_only_kernels_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = {"_attn_implementation": "flash_attention_2"}
    installed: set[str] = set()
    monkeypatch.setattr(
        asked_code, "find_spec", lambda name: object() if name in installed else None
    )
    refuse_code(PATH, config)  # transformers says what is lacking

    installed.add("kernels")
    with pytest.raises(UnsafeCheckpoint):
        refuse_code(PATH, config)
    installed.add("flash_attn")
    refuse_code(PATH, config)


def test_what_is_nested_without_end_is_no_configuration() -> None:
    config: dict[str, Any] = {}
    for _ in range(MAX_DEPTH):
        config = {"x": config}

    with pytest.raises(CheckpointError, match="deep"):
        refuse_code(PATH, config)
