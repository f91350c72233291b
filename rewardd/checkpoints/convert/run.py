"""One conversion: read, write beside the place, verify, and only then take the place."""

from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

from rewardd.checkpoints.convert import verify
from rewardd.checkpoints.convert.layouts import read_source
from rewardd.checkpoints.convert.names import architecture_of
from rewardd.checkpoints.convert.reading import READ_RULES, Contract
from rewardd.checkpoints.convert.source import LayoutName, ReadOptions, Source
from rewardd.checkpoints.convert.target import (
    FORMS,
    Reader,
    Target,
    Written,
    head_bias,
    write_target,
)
from rewardd.checkpoints.convert.tokenizer import load_tokenizer, settle_padding
from rewardd.checkpoints.convert.verify import Agreement
from rm_core.checkpoint.atomic import written_whole
from rm_core.checkpoint.files import weights_digest
from rm_core.checkpoint.golden import write_golden
from rm_core.checkpoint.manifest import RewardModelManifest, write_manifest
from rm_core.errors import CheckpointError, ConfigurationError
from rm_core.text.contract import (
    ContractOverrides,
    EosRule,
    PositionContract,
    ReadRule,
    Rendering,
)
from rm_core.text.encoder import TextEncoder
from rm_core.types import Baseline, Role
from training.publishing.publish import check_output, refuse_finished, versions

TARGETS: tuple[Target, ...] = get_args(Target)
BASELINE_WEIGHT = 32.0
"""n₀ of a mean and std that somebody else measured, as in training: soon outweighed by own ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertOptions:
    """What the user decides.

    Attributes:
        layout: the source's; None: told by its files.
        target: the layout to write.
        role: of the reward model, for our manifest; None: as a manifest of ours has it.
        read: where the source reads, in place of what its layout says.
        eos: how its texts end, likewise.
        rendering: how prompt and response become a text, likewise.
        tokenizer: a directory to take the tokenizer from, in place of the source's.
        allow_pickle: whether pickled weights may be read.
        verify: whether the rewards are compared.
        overwrite: whether a finished model of ours in the output is replaced.
        reading: what the layout's reader may have to be told.
    """

    layout: LayoutName | None = None
    target: Target = "rewardd"
    role: Role | None = None
    read: ReadRule | None = None
    eos: EosRule | None = None
    rendering: Rendering | None = None
    tokenizer: Path | None = None
    allow_pickle: bool = False
    verify: bool = True
    overwrite: bool = False
    reading: ReadOptions = field(default_factory=ReadOptions)


@dataclass(frozen=True, slots=True)
class Conversion:
    """What came of it.

    Attributes:
        layout: the source's.
        target: what was written.
        position: the contract.
        head_bias: the source head's constant.
        written: what the target could not take along.
        agreement: of the rewards; None where they were not compared.
        notes: what the user should know.
    """

    layout: LayoutName
    target: Target
    position: PositionContract
    head_bias: float
    written: Written
    agreement: Agreement | None
    notes: tuple[str, ...]


def convert(name: str, output: Path, options: ConvertOptions) -> Conversion:
    """Write a reward model in another layout.

    Args:
        name: of the source: a directory, or a hub name.
        output: directory for the converted checkpoint; it appears whole or not at all.
        options: what the user decides.

    Raises:
        CheckpointError: the source can't be read, or the target can't hold it.
        ConfigurationError: the options don't go together, or the output holds what nobody asked
            to replace.
        ScoresDiffer: the converted checkpoint scores differently; nothing was written.
        NotSaved: the disk refused.
    """
    check_output(output, argument="OUTPUT")
    if not options.overwrite:
        refuse_finished(output, argument="OUTPUT")
    source = read_source(name, options.layout, options.reading, allow_pickle=options.allow_pickle)
    named = options.reading.head is not None or options.reading.head_activation is not None
    if source.layout == options.target and not named:
        raise ConfigurationError(
            f"{name} is in the {options.target} layout already; say another with --to"
        )
    if source.manifest is not None and source.manifest.head == "mean":
        raise CheckpointError(
            f"{name} averages over the response's tokens, which no other layout can say"
        )
    source = _as_told(source, options)
    role = _role(source, options)
    reader = _reader(source, options)
    with written_whole(output, advice="free some space and convert again") as partial_directory:
        written = write_target(source, reader, options.target, partial_directory)
        manifest = _manifest(source, reader, role) if options.target == "rewardd" else None
        if manifest is not None:
            _write_card(partial_directory, source)
            write_manifest(partial_directory, manifest)
        agreed = None
        if options.verify:
            agreed = _verified(source, reader, options.target, role, partial_directory, written)
            if manifest is not None:
                write_manifest(partial_directory, _with_agreement(manifest, agreed))
        for path in partial_directory.iterdir():
            path.chmod(0o644)  # safetensors makes it private, and a server may be another user
    notes = (*source.notes, *([reader.padding.note] if reader.padding.note else []))
    if source.pickled:
        notes = ("weights were unpickled, as plain tensors only (--allow-pickle)", *notes)
    return Conversion(
        source.layout,
        options.target,
        reader.contract,
        head_bias(source),
        written,
        agreed,
        (*notes, *written.notes),
    )


def _as_told(source: Source, options: ConvertOptions) -> Source:
    """The source, with what the user knows better of where it reads."""
    if options.read is not None:
        source = replace(source, position=READ_RULES[options.read])
    return replace(source, contract=partial(_changed, source.contract, options))


def _changed(
    contract: Contract, options: ConvertOptions, tokenizer: Any, limit: int
) -> PositionContract:
    """A layout's contract, with what the user knows better."""
    told = ContractOverrides(options.read, options.rendering)
    made = told.applied_to(contract(tokenizer, limit), tokenizer)
    return replace(made, eos=options.eos or made.eos, max_length=min(made.max_length, limit))


def _role(source: Source, options: ConvertOptions) -> Role:
    own = None if source.manifest is None else source.manifest.role
    role = options.role or own
    if role is None and options.target == "rewardd":
        raise ConfigurationError(
            "say with --role what the reward model judges: safety or helpfulness"
        )
    return role or "helpfulness"


def _reader(source: Source, options: ConvertOptions) -> Reader:
    directory = options.tokenizer or source.tokenizer_directory
    tokenizer = load_tokenizer(directory)
    architecture = architecture_of(source.config)
    text_config = architecture.config.get_text_config()
    padding = settle_padding(
        tokenizer, source.pad, current=text_config.pad_token_id, rows=text_config.vocab_size
    )
    contract = source.contract(tokenizer, architecture.room(tokenizer))
    return Reader(tokenizer, directory, padding, contract)


def _verified(
    source: Source,
    reader: Reader,
    target: Target,
    role: Role,
    directory: Path,
    written: Written,
) -> Agreement:
    """Compare the rewards; what fails is a library's trouble with the model, not the disk's."""
    try:
        tokenizer = load_tokenizer(directory)
        encoder = TextEncoder(tokenizer, reader.contract, pad_token_id=reader.padding.token_id)
        probes = verify.readable_probes(encoder, tokenizer.eos_token)
        texts = [text for _, text in probes]
        expected = verify.source_rewards(source, texts, reader.padding.token_id)
        if target == "rewardd":
            dialogues = [probe for probe, _ in probes]
            found = verify.engine_rewards(directory, role, dialogues)
            write_golden(directory, verify.golden_of(dialogues, found))
        elif FORMS[target].is_causal:
            again = read_source(str(directory), target, ReadOptions(), allow_pickle=False)
            found = verify.source_rewards(again, texts, reader.padding.token_id)
        else:
            found = verify.plain_rewards(directory, texts)
        return verify.agreement(expected, found, dropped_constant=written.dropped_constant)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"{source.name} can't be scored for the comparison ({type(error).__name__}: {error}); "
            "--no-verify converts without it"
        ) from error


def _manifest(source: Source, reader: Reader, role: Role) -> RewardModelManifest:
    converted = {"from": source.layout, "source": source.name, "pickled": source.pickled}
    baseline, told = None, None
    if source.normalisation is not None:
        baseline = Baseline(*source.normalisation, BASELINE_WEIGHT)
        told = (
            f"mean and std of config.json, as {source.layout} measured them on its evaluation data"
        )
    base: dict[str, Any] = {"name": source.name, "layout": source.layout}
    if source.lora is not None:
        base = {
            "name": source.lora.base,
            "weights_sha256": weights_digest(source.lora.base_directory),
        }
    return RewardModelManifest(
        role=role,
        position=reader.contract,
        baseline=baseline,
        baseline_source=told,
        base_model=base,
        training={"converted": converted},
        versions=versions(),
    )


def _with_agreement(manifest: RewardModelManifest, agreed: Agreement) -> RewardModelManifest:
    converted = {**manifest.training["converted"], "verified": asdict(agreed)}
    return replace(manifest, training={"converted": converted})


def _write_card(directory: Path, source: Source) -> None:
    (directory / "README.md").write_text(
        "---\nlibrary_name: transformers\npipeline_tag: text-classification\n"
        "tags: [reward-model, rlhf, rewardd]\n---\n"
        f"# Reward model converted from {source.layout}\n\n"
        f"Gives one real number, the reward, to a response in the light of its prompt. The weights "
        f"are those of `{source.name}`, unchanged; `reward_model.json` says how texts are read and "
        "how the scores were compared with the source's. Served by `rewardd serve`.\n",
        encoding="utf-8",
    )
