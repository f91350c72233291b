"""Training the head alone: the trunk runs once over all texts, and its states are kept.

While the trunk is frozen it gives the same hidden states in every epoch. They are computed by the
engine, packed with shared prompts as in serving, and written to a memory-mapped file in the run's
directory, which later runs on the same trunk, texts and positions find there. `CachedLayout` is
then the way that a batch goes to the head; trainer, objectives and order stay the same.
"""

import hashlib
import json
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from rm_core.checkpoint.load import RewardModel
from rm_core.checkpoint.manifest import HeadKind
from rm_core.engine.forward.base import Forward
from rm_core.engine.forward.choose import choose_forward, run_by_transformers
from rm_core.engine.packing.distinct import distinct_reads
from rm_core.engine.packing.policy import consecutive_packs
from rm_core.errors import NotSaved
from rm_core.types import Encoded, ModelProfile, Role
from training.batches.collator import reads_of
from training.data.examples import EncodedExample
from training.errors import TrainingDiverged
from training.modeling.reward_model import TrainableModel
from training.types import Target

_FORMAT = 1
_NAME = "states"
_PREFIX = "hidden-states-"
_BATCH_TOKENS = 16_384
"""Tokens of the texts that go through the trunk together, before shared prefixes are put once."""

Reads = Sequence[tuple[Encoded, Sequence[int]]]
"""Texts, with the positions in each that a head is read at, at least one."""


class CachedStates:
    """Hidden states of texts at positions, as the trunk gave them.

    Args:
        states: (reads, hidden), float32.
        rows: of each text, by its ids, the row of each of its positions.
    """

    def __init__(self, states: Tensor, rows: Mapping[tuple[int, ...], Mapping[int, int]]) -> None:
        self._states = states
        self._rows = rows

    @property
    def num_bytes(self) -> int:
        """What all states take."""
        return self._states.nbytes

    def at(self, texts: Reads) -> Tensor:
        """States of texts at positions, (total reads, hidden), float32: a copy."""
        rows = [self._rows[encoded.input_ids][at] for encoded, own in texts for at in own]
        return self._states[torch.tensor(rows, dtype=torch.long)]


class HeadAlone(nn.Module):
    """A model's head without its trunk, as the trainer trains it.

    Args:
        head: the model's own; training this trains that.
    """

    def __init__(self, head: nn.Linear) -> None:
        super().__init__()
        self.head = head

    def forward(self, states: Tensor) -> Tensor:
        """Rewards, (reads,), of states, (reads, hidden), in float32 under any autocast."""
        with torch.autocast(states.device.type, enabled=False):
            rewards: Tensor = self.head(states).squeeze(-1)
        return rewards


@dataclass(frozen=True, slots=True)
class CachedLayout:
    """A batch is looked up; `training.batches.padded.BatchLayout` for a `HeadAlone`.

    Attributes:
        states: of every text that is trained on.
    """

    states: CachedStates
    name: str = "cached"

    def attached(self, model: Any) -> AbstractContextManager[None]:  # noqa: ARG002
        """Nothing to change: `HeadAlone` gives rewards when it is called."""
        return nullcontext()

    def collate(self, encoded: Sequence[Encoded], reads: Sequence[Sequence[int]]) -> dict[str, Any]:
        """`states`, (distinct reads, hidden), float32, and which each read is, `read_order`."""
        once = distinct_reads(encoded, reads)
        return {
            "states": self.states.at(list(zip(once.texts, once.reads, strict=True))),
            "read_order": torch.tensor(once.order),
        }

    def rewards(self, model: Any, inputs: Mapping[str, Any]) -> Tensor:
        """Rewards at the read positions, (total reads,), float32; see `BatchLayout`."""
        rewards: Tensor = model(inputs["states"])
        return rewards[inputs["read_order"]]


def read_in(
    examples: Iterable[EncodedExample], head: HeadKind, targets: frozenset[Target] = frozenset()
) -> Reads:
    """Every response of the examples with the positions that are read in it."""
    return [
        text
        for example in examples
        for text in zip(example.encoded, reads_of(example, head, targets), strict=True)
    ]


def compute_states(
    start: TrainableModel,
    texts: Reads,
    directory: Path,
    *,
    role: Role,
    bf16: bool = False,
    advance: Callable[[int], None] = lambda _: None,
) -> Path:
    """Run the trunk over all texts, unless a file in the directory has their states already.

    Args:
        start: the model; it is left as transformers runs it.
        texts: what will be read; the same text may come several times.
        directory: of the run; made if it is not there.
        role: that the model is trained for.
        bf16: whether the trunk runs in bfloat16 autocast, as training would.
        advance: told how many more texts are done.

    Returns:
        The file. Files of other texts, positions or trunks in the directory are removed.

    Raises:
        NotSaved: the disk is full; no file is left.
        TrainingDiverged: a state is not finite.
    """
    wanted = _distinct(texts)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{_PREFIX}{_key(start, wanted, bf16)[:32]}.safetensors"
    count = sum(len(own) for own in wanted.values())
    if _is_whole(path, count):
        advance(len(wanted))
        return path
    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as file:
            for states in _forwarded(start, wanted, role=role, bf16=bf16, advance=advance):
                if file.tell() == 0:
                    _write_header(file, (count, states.shape[-1]))
                file.write(states.numpy().tobytes())
        partial.replace(path)
    except OSError as error:
        raise NotSaved(
            f"{path.name} could not be written in {directory} ({error}); it takes 4 bytes for each "
            "read and hidden unit; make room and train again"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    for other in directory.glob(f"{_PREFIX}*.safetensors"):
        if other != path:
            other.unlink()
    return path


def open_states(path: Path, texts: Reads) -> CachedStates:
    """The states in a file of `compute_states`, memory-mapped."""
    rows: dict[tuple[int, ...], dict[int, int]] = {}
    row = 0
    for ids, own in _distinct(texts).items():
        rows[ids] = {position: row + index for index, position in enumerate(own)}
        row += len(own)
    with safe_open(path, framework="pt") as file:
        return CachedStates(file.get_tensor(_NAME), rows)


def _distinct(texts: Reads) -> dict[tuple[int, ...], list[int]]:
    """Each text once, by its ids, with all its positions, in the order of appearance."""
    wanted: dict[tuple[int, ...], dict[int, None]] = {}
    for encoded, own in texts:
        wanted.setdefault(encoded.input_ids, {}).update(dict.fromkeys(own))
    return {ids: list(own) for ids, own in wanted.items()}


def _key(start: TrainableModel, wanted: Mapping[tuple[int, ...], Sequence[int]], bf16: bool) -> str:
    """Equal where trunk, contract, texts and positions are, hex."""
    digest = hashlib.sha256()
    about = {
        "format": _FORMAT,
        "trunk": start.base["weights_sha256"],
        "contract": start.encoder.contract.to_json(),
        "bf16": bf16,
        "device": _device().type,
    }
    digest.update(json.dumps(about, sort_keys=True).encode())
    for ids, own in wanted.items():
        digest.update(repr((ids, own)).encode())
    return digest.hexdigest()


def _is_whole(path: Path, count: int) -> bool:
    try:
        with safe_open(path, framework="pt") as file:
            return bool(file.get_slice(_NAME).get_shape()[0] == count)
    except (OSError, SafetensorError):
        return False


def _write_header(file: BinaryIO, shape: tuple[int, int]) -> None:
    """The beginning of a safetensors file, so that states can follow as they are computed.

    Source: the format's definition at github.com/huggingface/safetensors (README, "Format").
    """
    size = 4 * shape[0] * shape[1]
    header = {_NAME: {"dtype": "F32", "shape": list(shape), "data_offsets": [0, size]}}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the states start where float32 may
    file.write(struct.pack("<Q", len(text)) + text)


def _forwarded(
    start: TrainableModel,
    wanted: Mapping[tuple[int, ...], Sequence[int]],
    *,
    role: Role,
    bf16: bool,
    advance: Callable[[int], None],
) -> Iterator[Tensor]:
    """States of the texts in order, batch by batch, (reads, hidden), float32 on the CPU."""
    model = start.model.to(_device()).eval()
    attention = model.config._attn_implementation

    def autocast() -> torch.autocast:
        return torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=bf16)

    try:
        with autocast():
            forward = _forward_of(start, role, reduced=bf16)
        texts = [Encoded(ids, own[-1]) for ids, own in wanted.items()]
        # Neighbours together, which share their prompts.
        for batch in consecutive_packs([text.num_tokens for text in texts], _BATCH_TOKENS):
            with autocast():
                own = [texts[index] for index in batch]
                states = forward.states(own, [wanted[text.input_ids] for text in own]).float().cpu()
            if not torch.isfinite(states).all():
                raise TrainingDiverged("the base gives hidden states that are not finite")
            yield states
            advance(len(batch))
    finally:
        run_by_transformers(model, attention)


def _forward_of(start: TrainableModel, role: Role, *, reduced: bool) -> Forward:
    """The engine's fastest way through the trunk that gives transformers' own rewards."""
    contract = start.encoder.contract
    profile = ModelProfile(
        role,
        start.base["name"],
        start.base["weights_sha256"],
        contract.template_sha256,
        contract.max_length,
    )
    return choose_forward(RewardModel(start.model, start.encoder, profile, None), reduced=reduced)


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
