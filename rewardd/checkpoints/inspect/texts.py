"""Tokenizer and position: what would be read of a text, and the known traps on the way."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from rewardd.checkpoints.convert.classifier import LEFT_BEHIND
from rewardd.checkpoints.convert.names import architecture_of
from rewardd.checkpoints.convert.source import Source
from rewardd.checkpoints.inspect.report import Inspection, TextFacts
from rm_core.checkpoint.tokenizer import load_tokenizer, pad_disagreement, pad_tokens
from rm_core.text.contract import PositionContract, template_digest
from rm_core.text.encoder import TextEncoder
from rm_core.text.template import CLOCK, calls_clock


def text_facts(source: Source, tokenizer: Any, contract: PositionContract) -> TextFacts:
    """How the checkpoint reads texts.

    Args:
        source: the checkpoint, read.
        tokenizer: its own.
        contract: its position contract, or the one that would be assumed.
    """
    config = architecture_of(source.config).config.get_text_config()
    template = tokenizer.chat_template
    text = template if isinstance(template, str) else None
    return TextFacts(
        position=contract.to_json(),
        known_from=_known_from(source),
        template_sha256=template_digest(text),
        template_calls_clock=calls_clock(text),
        pad_token_id=config.pad_token_id,
        tokenizer_pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=tokenizer.bos_token_id,
        vocabulary=max(tokenizer.get_vocab().values(), default=-1) + 1,
        embedding_rows=int(config.vocab_size),
    )


def _known_from(source: Source) -> str:
    if source.manifest is not None:
        return "reward_model.json"
    left = source.config.get(LEFT_BEHIND) or {}
    if source.layout == "transformers" and left.get("position") is not None:
        return "config.json"
    return f"assumed, as {source.layout} reads"


def inspect_texts(source: Source, inspection: Inspection) -> None:
    """Add the facts and the traps of tokenizer and position to the report.

    Raises:
        CheckpointError: there is no tokenizer that can be loaded.
    """
    tokenizer = load_tokenizer(source.name, Path(source.tokenizer_directory))
    architecture = architecture_of(source.config)
    config = architecture.config
    room = architecture.room(tokenizer)
    contract = source.contract(tokenizer, room)
    contract = replace(contract, max_length=min(contract.max_length, room))
    facts = text_facts(source, tokenizer, contract)
    inspection.texts = facts
    _check_vocabulary(facts, inspection)
    _check_padding(facts, inspection, assumed=source.manifest is None)
    pads = pad_tokens(config, Path(source.directory), tokenizer)
    differ = pad_disagreement(pads, read=facts.pad_token_id)
    if differ is not None and source.lora is None:
        inspection.add("warning", "pad_tokens_differ", differ)
    if facts.template_calls_clock and contract.template_date is None:
        inspection.add(
            "warning",
            "template_calls_clock",
            f"the chat template calls {CLOCK}: it writes the current date, and scores change from "
            "day to day; serve it with REWARDD_TEMPLATE_DATE set to the day that it was trained "
            "for, or save the tokenizer with a template without dates",
        )
    _add_notes(tokenizer, contract, inspection, assumed=source.manifest is None)
    if contract.template_sha256 not in {None, facts.template_sha256}:
        inspection.add(
            "problem",
            "template_changed",
            "the tokenizer's chat template is not the one that the position contract names; the "
            "server refuses it",
        )
    if _doubles_bos(tokenizer):
        inspection.add(
            "warning",
            "double_bos",
            "the chat template writes BOS and the tokenizer adds one: whoever tokenises rendered "
            "text must say add_special_tokens=False, as rewardd does",
        )


def _add_notes(
    tokenizer: Any, contract: PositionContract, inspection: Inspection, *, assumed: bool
) -> None:
    """What the server would say at its start of how texts are read, but for the date."""
    encoder = TextEncoder(tokenizer, contract, pad_token_id=None)
    for note in encoder.notes(is_assumed=assumed):
        code, _, said = note.partition(": ")
        if code != "dated_template":
            inspection.add("note", code, said)


def _check_vocabulary(facts: TextFacts, inspection: Inspection) -> None:
    if facts.vocabulary > facts.embedding_rows:
        inspection.add(
            "problem",
            "vocabulary_too_large",
            f"the tokenizer gives ids up to {facts.vocabulary - 1} and the model knows "
            f"{facts.embedding_rows} of them; take the tokenizer that it was trained with, or "
            "resize the embedding",
        )


def _check_padding(facts: TextFacts, inspection: Inspection, *, assumed: bool) -> None:
    pad, eos, read = facts.pad_token_id, facts.eos_token_id, facts.position["read"]
    if pad is None:
        inspection.add(
            "note",
            "no_pad_token",
            "config.json names no pad token: plain transformers scores one text at a time, and at "
            "its last token",
        )
        return
    if pad == eos:
        where = (
            "reads the token before the final EOS, as transformers does"
            if read == "last_non_pad"
            else "reads the EOS, and plain transformers the token before it"
        )
        inspection.add(
            "warning" if assumed or read == "last_token" else "note",
            "pad_is_eos",
            f"the pad token is EOS; rewardd {where}, vLLM the EOS. Make sure that training read "
            "the same one",
        )


def _doubles_bos(tokenizer: Any) -> bool:
    bos = tokenizer.bos_token
    if bos is None or not isinstance(tokenizer.chat_template, str):
        return False
    turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False)
    except Exception:  # a template that wants other roles: nothing can be told
        return False
    ids = tokenizer(text)["input_ids"]
    return bool(ids[:2] == [tokenizer.bos_token_id] * 2)
