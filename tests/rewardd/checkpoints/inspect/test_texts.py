"""The traps between a text and the token that is read."""

from pathlib import Path
from typing import Any

import pytest

from rewardd.checkpoints.inspect.checkpoint import inspect_checkpoint
from tests.models import make_tokenizer as make
from tests.models import save_checkpoint


def warnings(directory: Path) -> set[str]:
    found = inspect_checkpoint(str(directory), load=False)
    return {finding.code for finding in found.findings if finding.severity == "warning"}


def test_a_plain_tokenizer_has_no_trap(tmp_path: Path) -> None:
    assert warnings(save_checkpoint(tmp_path / "plain")) == set()


def test_padding_with_eos_leaves_open_which_token_is_read(tmp_path: Path) -> None:
    directory = save_checkpoint(tmp_path / "model", tokenizer=make(pad_is_eos=True))

    assert warnings(directory) == {"pad_is_eos"}


def test_a_tokenizer_that_pads_with_another_token_than_the_model_knows(tmp_path: Path) -> None:
    directory = save_checkpoint(tmp_path / "model", pad_token_id=7)

    assert warnings(directory) == {"pad_tokens_differ"}


def test_a_template_that_writes_the_date(tmp_path: Path) -> None:
    tokenizer: Any = make(chat=True)
    tokenizer.chat_template = "{{ strftime_now('%d %b %Y') }}" + tokenizer.chat_template
    directory = save_checkpoint(tmp_path / "model", tokenizer=tokenizer)

    assert "template_calls_clock" in warnings(directory)


@pytest.mark.parametrize(("adds_bos", "wanted"), [(True, {"double_bos"}), (False, set())])
def test_a_template_and_a_tokenizer_that_both_write_bos(
    adds_bos: bool, wanted: set[str], tmp_path: Path
) -> None:
    tokenizer = make(chat=True, add_bos=adds_bos)

    assert warnings(save_checkpoint(tmp_path / "model", tokenizer=tokenizer)) == wanted


def test_a_template_that_is_not_the_manifests_is_a_problem(tmp_path: Path) -> None:
    from rm_core.checkpoint.manifest import RewardModelManifest, write_manifest
    from rm_core.text.contract import default_contract

    tokenizer: Any = make(chat=True)
    contract = default_contract(tokenizer, max_length=300)
    tokenizer.chat_template += " "
    directory = save_checkpoint(tmp_path / "model", tokenizer=tokenizer)
    write_manifest(directory, RewardModelManifest(role="safety", position=contract))

    found = inspect_checkpoint(str(directory), load=False)

    assert "template_changed" in {f.code for f in found.findings if f.severity == "problem"}
