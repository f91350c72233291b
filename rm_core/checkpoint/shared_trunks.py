"""Checkpoints with equal trunks: the first one's weights are loaded, the others bring their heads.

Equal is what the files say, to the bit: the same configuration, and the same tensors but for the
head. Headers are compared first; contents are read, block by block, only where headers agree.
"""

import copy
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Generic, TypeVar

from rm_core.checkpoint.held_files import HeldFiles, Stamp, stamp_of
from rm_core.checkpoint.weights import Stored, StoredTensor, raw_blocks

NOT_OF_THE_TRUNK = frozenset(
    {
        "_name_or_path",
        "architectures",
        "dtype",
        "id2label",
        "label2id",
        "mean",
        "num_labels",
        "problem_type",
        "rewardd",
        "std",
        "torch_dtype",
        "transformers_version",
    }
)
"""Keys of config.json that say nothing of what the trunk computes."""

Loaded = TypeVar("Loaded")


@dataclass(frozen=True, slots=True)
class TrunkFiles:
    """A trunk as its files describe it.

    Attributes:
        tensors: every tensor but the head's, by name.
        config: the content of config.json.
        read_as: what else decides the trunk in memory: dtype, layer, number of labels.
        files: the files that the tensors lie in, held open for as long as this may be asked.
    """

    tensors: Stored
    config: Mapping[str, Any]
    read_as: tuple[object, ...]
    files: HeldFiles | None = None

    @property
    def headers(self) -> str:
        """Equal where trunks may be equal: what can be told without reading a tensor."""
        said = {key: value for key, value in self.config.items() if key not in NOT_OF_THE_TRUNK}
        tensors = sorted((t.name, t.shape, t.dtype) for t in self.tensors.values())
        return json.dumps([said, tensors, [str(part) for part in self.read_as]], sort_keys=True)

    @property
    def places(self) -> tuple[tuple[str, Stamp], ...]:
        """Where the tensors lie: the same bytes of the same file hold equal tensors."""
        return tuple(sorted((t.name, stamp_of(t.path.stat())) for t in self.tensors.values()))

    def digest(self) -> str:
        """The sha256 over names and contents, hex.

        Raises:
            CheckpointError: a file can't be read, or changed since it was loaded.
        """
        if self.files is not None:
            self.files.refuse_changed()
        whole = hashlib.sha256()
        for name in sorted(self.tensors):
            whole.update(f"{name}\0{_content(self.tensors[name])}\0".encode())
        return whole.hexdigest()


def _content(tensor: StoredTensor) -> str:
    digest = hashlib.sha256()
    for block in raw_blocks(tensor):
        digest.update(block)
    return digest.hexdigest()


@dataclass(slots=True)
class _Held(Generic[Loaded]):
    """A trunk in memory; its digest is known once another one's headers were the same."""

    files: TrunkFiles
    loaded: Loaded
    digest: str | None = None

    def holds(self, files: TrunkFiles, digest_of: Callable[[], str]) -> bool:
        if self.files.places == files.places:
            return True
        if self.digest is None:
            self.digest = self.files.digest()
        return self.digest == digest_of()


@dataclass(slots=True)
class SharedTrunks(Generic[Loaded]):
    """Trunks in memory, so that checkpoints with equal ones share the weights."""

    _held: dict[str, list[_Held[Loaded]]] = field(default_factory=dict)

    def take(self, files: TrunkFiles, load: Callable[[], Loaded]) -> Loaded:
        """What was loaded of an equal trunk; what `load` gives, if there is none yet.

        Args:
            files: of the trunk.
            load: loads it.
        """
        held = self._held.setdefault(files.headers, [])
        known: list[str] = []

        def digest() -> str:
            if not known:
                known.append(files.digest())
            return known[0]

        for own in held:
            if own.holds(files, digest):
                return own.loaded
        loaded = load()
        held.append(_Held(files, loaded, known[0] if known else None))
        return loaded


def on_same_tensors(model: Any) -> Any:
    """A copy of a model's modules whose parameters and buffers are the model's own tensors."""
    # What deepcopy believes to have copied already, it takes as it is.
    tensors = chain(model.parameters(), model.buffers())
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})
