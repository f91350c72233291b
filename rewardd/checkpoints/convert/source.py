"""What every layout is read into: trunk, head, and where its project reads the reward."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from torch import Tensor, sigmoid, tanh
from torch.nn.functional import gelu, linear, relu, silu

from rewardd.checkpoints.convert.reading import Contract, Position, last_token
from rewardd.checkpoints.convert.weights import (
    ADAPTER,
    MODEL,
    VALUE_HEAD,
    WeightFiles,
    Weights,
    find_weights,
    open_weights,
)
from rm_core.checkpoint.asked_code import refuse_code
from rm_core.checkpoint.files import ADAPTER_CONFIG, refuse_tokenizer_code
from rm_core.checkpoint.held_files import refuse_strange_files
from rm_core.checkpoint.json_files import read_object
from rm_core.checkpoint.manifest import RewardModelManifest
from rm_core.errors import CheckpointError, CheckpointNotFound, WrongNumLabels

LayoutName = Literal[
    "rewardd", "transformers", "llama-factory", "openrlhf", "trl", "deepspeed-chat"
]
LAYOUT_NAMES: tuple[LayoutName, ...] = get_args(LayoutName)

PadRule = Literal["own", "eos", "keep"]
"""Which token the converted checkpoint pads with: one that no text ends with, EOS, or as it was."""


Layer = tuple[Tensor, Tensor | None]
"""A linear layer's weight, (outputs, inputs), and bias, (outputs,)."""

_ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "relu": relu,
    "tanh": tanh,
    "gelu": gelu,
    "silu": silu,
    "sigmoid": sigmoid,
}


@dataclass(frozen=True, slots=True)
class Head:
    """The map from a hidden state to the reward.

    Attributes:
        weight: of the last layer, (1, hidden) or (1, width), in the dtype that it was saved in.
        bias: (1,); None for no bias, or one that is exactly 0.
        before: weight and bias of the layers before it, first to last; mostly none.
        activation: between the layers, by the names of `rm_core.checkpoint.heads.ACTIVATIONS`.
    """

    weight: Tensor
    bias: Tensor | None
    before: tuple[Layer, ...] = ()
    activation: str | None = None

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All its layers, first to last."""
        return *self.before, (self.weight, self.bias)

    def reward(self, state: Tensor) -> float:
        """The reward of a hidden state, (hidden,), in float32."""
        for weight, bias in self.before:
            state = linear(state, weight.float(), None if bias is None else bias.float())
            state = _ACTIVATIONS[str(self.activation)](state)
        bias = None if self.bias is None else self.bias.float()
        return float(linear(state, self.weight.float(), bias))

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor | None, where: Path) -> "Head":
        """A head of tensors as a project saved them.

        Raises:
            WrongNumLabels: it gives more than one number.
        """
        if weight.ndim != 2 or weight.shape[0] != 1:
            raise WrongNumLabels(
                f"{where} has a head of shape {tuple(weight.shape)}; a reward head is (1, hidden)"
            )
        if bias is not None and bias.shape != (1,):
            raise WrongNumLabels(
                f"{where} has a head whose bias is of shape {tuple(bias.shape)}; a reward head's "
                "is (1,)"
            )
        return cls(weight, None if bias is None or not bias.any() else bias)


@dataclass(frozen=True, slots=True)
class LoraParts:
    """A LoRA adapter, where the source is one.

    Attributes:
        config: the content of adapter_config.json.
        base: what it sits on, a directory or a hub name.
        base_directory: where that is.
    """

    config: Mapping[str, Any]
    base: str
    base_directory: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A reward model of any project.

    Attributes:
        found: what its directory holds.
        layout: whose.
        config: of the whole model; an adapter's is its base's.
        weights: everything but the head, by the names of transformers' sequence classification
            model; an adapter's own tensors by peft's names.
        head: the head; None where the architecture's own is among the weights (encoders).
        contract: the position contract.
        position: which of a text's ids the project reads.
        pad: which token the converted checkpoint pads with.
        tokenizer: where the tokenizer is, if not in the directory.
        normalisation: mean and std of raw rewards, where the project saved them.
        lora: the adapter, where it is one.
        manifest: reward_model.json, where it is ours.
        notes: what the user should know.
        logit_token: whose logit is the reward, where the head is a row of a language model's.
        named_head: the module that an adapter's head is in, where the user named it.
    """

    found: "Found"
    layout: LayoutName
    config: Mapping[str, Any]
    weights: Weights
    head: Head | None
    contract: Contract
    position: Position = last_token
    pad: PadRule = "own"
    tokenizer: Path | None = None
    normalisation: tuple[float, float] | None = None
    lora: LoraParts | None = None
    manifest: RewardModelManifest | None = None
    notes: tuple[str, ...] = ()
    logit_token: int | None = None
    named_head: str | None = None

    @property
    def name(self) -> str:
        """As the user gave it."""
        return self.found.name

    @property
    def directory(self) -> Path:
        """Where it is."""
        return self.found.directory

    @property
    def tokenizer_directory(self) -> Path:
        """Where the tokenizer is."""
        return self.tokenizer or self.directory

    @property
    def pickled(self) -> bool:
        """Whether weights came from pickles."""
        return self.found.pickled


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What the user may have to tell a layout's reader.

    Attributes:
        base: of an adapter, in place of the one that it names.
        num_padding_at_beginning: DeepSpeed-Chat's setting; None: by the model's family.
        head: the module or tensor that is the reward head, or `NAME[TOKEN_ID]` for one row of a
            language model's head; None: where the layout has it.
        head_activation: between the layers of a head that has several; None: as the files tell.
    """

    base: str | None = None
    num_padding_at_beginning: int | None = None
    head: str | None = None
    head_activation: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What a directory holds, before anyone knows whose it is.

    Attributes:
        name: as the user gave it.
        directory: where it is.
        config: config.json; None without one.
        adapter: adapter_config.json; None without one.
        model: files of the model's weights.
        adapter_weights: files of the adapter's.
        value_head: files of a value head of its own.
        allow_pickle: whether pickles may be read.
    """

    name: str
    directory: Path
    config: Mapping[str, Any] | None
    adapter: Mapping[str, Any] | None
    model: WeightFiles | None
    adapter_weights: WeightFiles | None
    value_head: WeightFiles | None
    allow_pickle: bool

    def open(self, files: WeightFiles | None, what: str) -> Weights:
        """The tensors of some of its files.

        Raises:
            CheckpointNotFound: there are no such files.
            UnsafeCheckpoint: pickles, and they are not allowed.
        """
        if files is None:
            raise CheckpointNotFound(f"{self.directory} has no {what}")
        return open_weights(files, allow_pickle=self.allow_pickle)

    def tensors(self) -> frozenset[str]:
        """Names of the model's and the adapter's tensors; pickles that may not be read give none.

        Raises:
            CheckpointError: a file can't be read.
        """
        readable = [
            files
            for files in (self.model, self.adapter_weights)
            if files is not None and (self.allow_pickle or not files.pickled)
        ]
        return frozenset(name for files in readable for name in self.open(files, "weights"))

    def whole_config(self) -> Mapping[str, Any]:
        """config.json, which must be there.

        Raises:
            CheckpointNotFound: it is not.
        """
        if self.config is None:
            raise CheckpointNotFound(
                f"{self.directory} has no config.json, so it is no model directory"
            )
        return self.config

    @property
    def pickled(self) -> bool:
        """Whether any of its weights are pickles."""
        files = (self.model, self.adapter_weights, self.value_head)
        return any(found is not None and found.pickled for found in files)


def look(name: str, directory: Path, *, allow_pickle: bool) -> Found:
    """What a directory holds.

    Raises:
        CheckpointError: a file is damaged.
        UnsafeCheckpoint: a configuration asks for code, or a file is none of the directory's.
    """
    refuse_strange_files(directory)
    refuse_tokenizer_code(directory)
    return Found(
        name=name,
        directory=directory,
        config=_json(directory / "config.json"),
        adapter=_json(directory / ADAPTER_CONFIG),
        model=find_weights(directory, MODEL),
        adapter_weights=find_weights(directory, ADAPTER),
        value_head=find_weights(directory, VALUE_HEAD),
        allow_pickle=allow_pickle,
    )


def _json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    value = read_object(path)
    refuse_code(path, value)
    return value


def architectures_of(config: Mapping[str, Any] | None) -> tuple[str, ...]:
    """The architectures that a config.json names."""
    return tuple(str(name) for name in (config or {}).get("architectures") or ())


@dataclass(frozen=True, slots=True)
class Layout:
    """One project's layout.

    Attributes:
        name: what --from calls it.
        recognise: what in a directory shows that it is this project's; None where nothing does.
        read: reads it, raising CheckpointError where it is not what it should be.
    """

    name: LayoutName
    recognise: Callable[[Found], str | None]
    read: Callable[[Found, ReadOptions], Source]


def normalisation_of(config: Mapping[str, Any]) -> tuple[float, float] | None:
    """OpenRLHF's `mean` and `std` of a config.json.

    Raises:
        CheckpointError: they are there and can't be used.
    """
    mean, std = config.get("mean"), config.get("std")
    if mean is None or std is None:
        return None
    if not isinstance(mean, int | float) or not isinstance(std, int | float):
        raise CheckpointError("config.json's mean and std must be numbers")
    return (float(mean), float(std)) if std > 0 else None
