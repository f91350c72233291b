"""One trunk as the engine runs it: which models' heads sit on it, by which way, how exactly."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from rm_core.checkpoint.load import RewardModel
from rm_core.engine.forward.base import Forward, is_out_of_memory
from rm_core.engine.forward.self_test import told
from rm_core.engine.trunk.precision import Precision, PrecisionError
from rm_core.errors import EngineError, OutOfMemory
from rm_core.types import Encoded, ModelName


@dataclass(frozen=True, slots=True)
class RunTrunk:
    """One trunk, the models whose heads sit on it, and the way it is run.

    Attributes:
        names: of the models, in the order of the forward's columns.
        forward: how the trunk is run.
        precision_errors: of reduced precision by name, where they were measured.
        adapters: the names that are read under each adapter, where several run side by side.
    """

    names: tuple[ModelName, ...]
    forward: Forward
    precision_errors: Mapping[ModelName, PrecisionError] = field(default_factory=dict)
    adapters: tuple[tuple[ModelName, ...], ...] = ()

    def rewards(self, texts: Sequence[Encoded]) -> list[list[float]]:
        """The trunk's rewards of texts; see `Forward.rewards`.

        Raises:
            OutOfMemory: the texts don't fit the device together.
            EngineError: the forward failed otherwise.
        """
        try:
            return self.forward.rewards(texts)
        except Exception as error:  # models raise what they like: IndexError, AssertionError, …
            if is_out_of_memory(error):
                where = (
                    "the device together"
                    if isinstance(error, torch.OutOfMemoryError)
                    else "in memory"
                )
                raise OutOfMemory(f"{len(texts)} texts do not fit {where}") from error
            words = error if type(error) is RuntimeError else told(error)
            raise EngineError(f"the {self.names[0]} model's forward failed: {words}") from error

    def describe(
        self, loaded: RewardModel, precision: Precision, shares_base_with: list[ModelName]
    ) -> dict[str, Any]:
        """What one of its models is and how it is run, as JSON values."""
        model, name = loaded.model, loaded.profile.role
        error = self.precision_errors.get(name)
        heads = next((names for names in self.adapters if name in names), self.names)
        profile = asdict(loaded.profile)
        if loaded.profile.layer is None:
            del profile["layer"]
        own = str(model.dtype).removeprefix("torch.")
        return {
            **profile,
            "architecture": type(model).__name__,
            "parameters": sum(p.numel() for p in model.parameters()),
            "device": str(model.device),
            "dtype": precision if precision != "float32" else own,
            "precision_error": None if error is None else asdict(error),
            "path": self.forward.path,
            "path_reason": self.forward.reason,
            "attention": self.forward.attention,
            "prefix_cache": self.forward.prefix_cache is not None,
            "prefix_cache_reason": self.forward.prefix_cache_reason,
            "products": self.forward.products.told(),
            "products_reason": self.forward.products.reason,
            "shares_trunk_with": [other for other in heads if other != name],
            "adapter": loaded.base is not None,
            "base": loaded.base,
            "shares_base_with": shares_base_with,
            "position": loaded.encoder.contract.to_json(),
            "reads_places": self.forward.reads_positions,
            "manifest": loaded.manifest is not None,
            "head": "last_token" if loaded.manifest is None else loaded.manifest.head,
            "notes": list(loaded.notes),
        }
