"""Whose checkpoint a directory is, told by its files."""

from rewardd.checkpoints.convert import classifier, deepspeed_chat, openrlhf, value_heads
from rewardd.checkpoints.convert.source import Found, Layout, LayoutName, ReadOptions, Source, look
from rewardd.checkpoints.convert.weights import open_weights, shapes_of
from rm_core.checkpoint.classifier import way_on
from rm_core.checkpoint.files import resolve_directory
from rm_core.errors import CheckpointError, CheckpointNotFound, ConfigurationError, MissingHead

LAYOUTS: tuple[Layout, ...] = (
    classifier.OURS,
    classifier.PLAIN,
    value_heads.LLAMA_FACTORY,
    openrlhf.LAYOUT,
    value_heads.TRL,
    deepspeed_chat.LAYOUT,
)


def recognised(found: Found) -> dict[LayoutName, str]:
    """The layouts that a directory may be in, each with what shows it.

    Raises:
        CheckpointError: a file can't be read.
    """
    reasons = {layout.name: layout.recognise(found) for layout in LAYOUTS}
    return {name: reason for name, reason in reasons.items() if reason is not None}


def read_source(
    name: str, layout: LayoutName | None, options: ReadOptions, *, allow_pickle: bool
) -> Source:
    """Read a reward model of any known layout.

    Args:
        name: a directory, or a hub name.
        layout: whose it is; None: told by its files.
        options: what a reader may have to be told.
        allow_pickle: whether pickled weights may be read.

    Raises:
        CheckpointError: it can't be told whose it is, or it is not what it should be.
    """
    found = look(name, resolve_directory(name), allow_pickle=allow_pickle)
    if options.head is not None:
        if layout not in {None, classifier.PLAIN.name}:
            raise ConfigurationError(
                f"--head is for heads that no layout tells, and --from {layout} knows its own; "
                "leave one of the two out"
            )
        layout = classifier.PLAIN.name
    if layout is None:
        layout = _only(found, recognised(found))
    return next(known for known in LAYOUTS if known.name == layout).read(found, options)


def _only(found: Found, reasons: dict[LayoutName, str]) -> LayoutName:
    if len(reasons) == 1:
        return next(iter(reasons))
    if reasons:
        seen = "; ".join(f"{name}, as {reason}" for name, reason in reasons.items())
        raise CheckpointError(
            f"{found.directory} may be of more than one project: {seen}. Say which with --from"
        )
    for files in (found.model, found.adapter_weights):
        if files is not None:
            open_weights(files, allow_pickle=found.allow_pickle)  # pickles say what to do
    if found.config is None and found.adapter is None:
        raise CheckpointNotFound(
            f"{found.directory} has neither config.json nor adapter_config.json, so it is no model "
            "directory"
        )
    stored = {} if found.model is None else shapes_of(found.model, found.open(found.model, ""))
    raise MissingHead(
        f"{found.directory} holds no reward head that rewardd knows by its layout; "
        f"{way_on(found.name, found.directory, stored)}"
    )
