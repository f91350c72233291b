"""`rewardd inspect`: what a checkpoint is, and whether it is sound."""

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from rm_core.checkpoint.trial import Trial
from training.cli.errors import exit_on_error

if TYPE_CHECKING:
    from rewardd.checkpoints.inspect.report import Inspection

_console = Console(stderr=True)  # errors
_results = Console()
_STYLES = {"problem": "bold red", "warning": "yellow", "note": "dim"}
_TRAINING = ("objective", "epochs", "learning_rate", "batch_size", "margins", "seed")


def inspect(
    checkpoint: Annotated[str, typer.Argument(help="A directory or a hub name.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    load: Annotated[
        bool,
        typer.Option(
            help="Load it as the server does: tell what it refuses, what becomes of each tensor "
            "and the engine's path, and look through every number."
        ),
    ] = True,
) -> None:
    """Tell what a checkpoint is and all that `rewardd serve` would trip over: status 0 if nothing.

    Nothing is changed and no pickle is opened. Where the head has a name or form that the server
    doesn't read, it says which tensor looks like it and the `rewardd convert` that helps.
    """
    with exit_on_error(_console), ExitStack() as stack:
        # Started before the imports that take as long as its own.
        trial = stack.enter_context(Trial()) if load else None

        from rewardd.checkpoints.inspect.checkpoint import inspect_checkpoint

        inspection = inspect_checkpoint(checkpoint, load=load, trial=trial)
    if as_json:
        typer.echo(json.dumps(inspection.to_json(), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        _show(inspection)
    if not inspection.sound:
        raise typer.Exit(1)


def _show(inspection: "Inspection") -> None:
    for name, value in _lines(inspection):
        _print(f"{name:<14} {value}")
    for finding in inspection.findings:
        _print(f"{finding.severity}: {finding.message}", style=_STYLES[finding.severity])
    found, style = ("sound", "green") if inspection.sound else ("not sound", "bold red")
    _print(found, style=style)


def _print(line: str, style: str | None = None) -> None:
    _results.print(line, style=style, highlight=False, markup=False, soft_wrap=True)


def _lines(inspection: "Inspection") -> list[tuple[str, str]]:
    lines = [("kind", inspection.kind)]
    optional: list[tuple[str, Any]] = [
        ("architecture", inspection.architecture),
        ("base", inspection.base),
    ]
    lines += [(name, str(value)) for name, value in optional if value is not None]
    weights, head = inspection.weights, inspection.head
    if weights is not None:
        dtypes = ", ".join(f"{count:,} {dtype}" for dtype, count in weights.dtypes.items())
        checked = "all finite" if not weights.non_finite else "not all finite"
        looked = checked if weights.finite_checked else "not looked through"
        lines.append(("parameters", f"{weights.parameters:,} ({dtypes}); {looked}"))
    tensors = inspection.tensors
    if tensors is not None:
        left = ", ".join(f"{name} ({why})" for name, why in list(tensors.left_over.items())[:3])
        more = f" and {len(tensors.left_over) - 3} more" if len(tensors.left_over) > 3 else ""
        also = f"; left over: {left}{more}" if left else ", all there are"
        lines.append(("tensors", f"{tensors.used} used{also}"))
    if head is not None:
        bias = "no bias" if head.bias is None else f"bias {head.bias:+.4g}"
        lines.append(
            (
                "head",
                f"{head.name} {list(head.shape)} {head.dtype}, mean {head.mean:+.2e}, std "
                f"{head.std:.2e}, {bias}",
            )
        )
    return [*lines, *_text_lines(inspection), *_manifest_lines(inspection)]


def _text_lines(inspection: "Inspection") -> list[tuple[str, str]]:
    texts = inspection.texts
    if texts is None:
        return []
    position = texts.position
    template = "none" if texts.template_sha256 is None else texts.template_sha256[:12]
    return [
        (
            "position",
            f"{position['rendering']}, BOS {position['bos']}, EOS {position['eos']}, read at "
            f"{position['read']}, at most {position['max_length']} tokens ({texts.known_from})",
        ),
        ("template", f"{template}{', writes the date' if texts.template_calls_clock else ''}"),
        (
            "tokens",
            f"pad {texts.pad_token_id}, EOS {texts.eos_token_id}, BOS {texts.bos_token_id}; "
            f"{texts.vocabulary:,} in the tokenizer, {texts.embedding_rows:,} in the model",
        ),
    ]


def _manifest_lines(inspection: "Inspection") -> list[tuple[str, str]]:
    told = inspection.manifest or {}
    lines: list[tuple[str, str]] = []
    if told:
        lines.append(("role", f"{told['role']}, {told['head'].replace('_', ' ')} head"))
        lines.append(("calibration", f"temperature {told['temperature']:g}, bias {told['bias']:g}"))
    baseline, threshold = told.get("baseline"), told.get("safety_threshold")
    if baseline:
        lines.append(
            (
                "baseline",
                f"mean {baseline['mean']:.4g}, std {baseline['std']:.4g}, counts for "
                f"{baseline['weight']:g}",
            )
        )
    if threshold:
        lines.append(("threshold", f"τ {threshold['tau']:g}: {threshold['how']}"))
    fingerprint = (told.get("data") or {}).get("fingerprint")
    if fingerprint:
        lines.append(("data", str(fingerprint)[:12]))
    training = told.get("training") or {}
    converted = training.get("converted")
    if converted:
        lines.append(("converted", f"from {converted['from']}: {converted['source']}"))
    shown = ", ".join(f"{key} {training[key]}" for key in _TRAINING if key in training)
    if shown:
        lines.append(("training", shown))
    lines.append(("digests", inspection.digests))
    if inspection.path is not None:
        path = inspection.path
        lines.append(("engine", f"{path['path']}: {path['path_reason']}"))
        if path["max_length_reason"] is not None:
            lines.append(("room", f"{path['max_length']} tokens: {path['max_length_reason']}"))
    return lines
