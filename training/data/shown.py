"""A record as a person reads it, to see whether a file was understood as it was meant."""

from collections.abc import Iterator

from rm_core.types import Message
from training.data.records import PreferenceRecord

_MOST_CHARACTERS = 300
_END_KEPT = 80  # characters of a long text's end: what a response comes to often stands there


def shown_record(record: PreferenceRecord) -> str:
    """Prompt, responses from best to worst, labels: a line each, long texts without their middle.

    Args:
        record: as a format has read it.
    """
    lines = [*_prompt(record.prompt), *_responses(record), *_labels(record)]
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"  {name:<{width}}  {text}" for name, text in lines)


def _prompt(prompt: str | tuple[Message, ...]) -> Iterator[tuple[str, str]]:
    if isinstance(prompt, str):
        yield "prompt", _cut(prompt)
        return
    for turn in prompt:
        yield f"prompt, {turn.role}", _cut(turn.content)


def _responses(record: PreferenceRecord) -> Iterator[tuple[str, str]]:
    order = sorted(range(len(record.responses)), key=record.ranking.__getitem__)
    is_pair = len(order) == 2 and len(set(record.ranking)) == 2
    names = ("chosen", "rejected") if is_pair else ()
    for place, index in enumerate(order):
        name = names[place] if names else f"response, rank {record.ranking[index]}"
        yield ("response" if len(order) == 1 else name), _cut(record.responses[index])
        for label, values in (("rating", record.ratings), ("is_safe", record.is_safe)):
            if values is not None and values[index] is not None:
                yield f"  {label}", str(values[index])
        if record.steps is not None and record.steps[index]:
            labels = ", ".join(f"{step.label:g}" for step in record.steps[index])
            yield "  steps", f"{len(record.steps[index])}, labelled {labels}"


def _labels(record: PreferenceRecord) -> Iterator[tuple[str, str]]:
    told = {
        "margin": record.margin,
        "strength": record.strength,
        "is_safety": record.is_safety or None,
        "tags": ", ".join(record.tags) or None,
        "split": record.split,
        "token ids": "read exactly as they stand" if record.token_ids is not None else None,
    }
    for name, value in told.items():
        if value is not None:
            yield name, _cut(str(value))


def _cut(text: str) -> str:
    """A text on one line: what can't be printed escaped, a long one without its middle."""
    left_out = len(text) - _MOST_CHARACTERS
    if left_out <= 0:
        return _printable(text)
    begin = _printable(text[: _MOST_CHARACTERS - _END_KEPT])
    return f"{begin} […{left_out} more…] {_printable(text[-_END_KEPT:])}"


def _printable(text: str) -> str:
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode()
        for char in text
    )
