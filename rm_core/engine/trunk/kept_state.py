"""What a model keeps from one forward to the next beside its weights, and how to set it back.

A text's reward must not depend on the texts before it. Some models change themselves as they run:
BigBird leaves block-sparse attention for good after one short text. What they keep is noted while
the model is fresh, and set back before every batch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

_NOT_STATE = frozenset({"_parameters", "_buffers", "_modules", "training", "forward"})
_PLAIN = (bool, int, float, str, bytes, type(None), tuple)
_LARGEST_COPY = 2**20
"""Elements of a buffer up to which its values are kept too; quantised weights are larger."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """One module's attributes that a forward might change.

    Attributes:
        module: whose they are.
        plain: numbers, strings and tensors in its own attributes, by name.
        parts: its submodules.
        buffers: its buffers.
        values: copies of those buffers that are small.
    """

    module: nn.Module
    plain: dict[str, Any]
    parts: dict[str, nn.Module | None]
    buffers: dict[str, Tensor | None]
    values: dict[str, Tensor]

    @classmethod
    def of(cls, module: nn.Module) -> "_Kept":
        buffers = dict(module._buffers)
        return cls(
            module,
            _plain(module),
            dict(module._modules),
            buffers,
            {
                name: buffer.clone()
                for name, buffer in buffers.items()
                if buffer is not None and buffer.numel() <= _LARGEST_COPY
            },
        )

    def has_changed(self) -> bool:
        module = self.module
        return (
            not _same(self.plain, _plain(module))
            or not _same(self.parts, module._modules)
            or not _same(self.buffers, module._buffers)
            or any(
                not torch.equal(value, buffer)
                for name, value in self.values.items()
                if (buffer := module._buffers[name]) is not None
            )
        )

    def restore(self) -> None:
        module = self.module
        own = vars(module)
        for name in _plain(module).keys() - self.plain.keys():
            del own[name]
        own.update(self.plain)
        for registry, kept in ((module._modules, self.parts), (module._buffers, self.buffers)):
            registry.clear()
            registry.update(kept)  # type: ignore[arg-type]  # each its own kind
        for name, value in self.values.items():
            buffer = module._buffers[name]
            if buffer is not None and not torch.equal(buffer, value):
                buffer.copy_(value)


class KeptState:
    """What a model's modules hold beside their weights, at the time of asking.

    Args:
        model: a transformers model on which no text was run yet.
    """

    def __init__(self, model: nn.Module) -> None:
        self._kept = [_Kept.of(module) for module in model.modules()]

    def has_changed(self) -> bool:
        """Whether the model's forwards since then have left anything behind."""
        return any(kept.has_changed() for kept in self._kept)

    @torch.inference_mode()
    def restore(self) -> None:
        """Set the model back."""
        for kept in self._kept:
            kept.restore()


def _plain(module: nn.Module) -> dict[str, Any]:
    """Attributes that are values of their own: what hooks and configurations do is not state."""
    return {
        name: value
        for name, value in vars(module).items()
        if name not in _NOT_STATE and isinstance(value, (*_PLAIN, Tensor))
    }


def _same(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    return before.keys() == now.keys() and all(
        value is now[name]
        or (isinstance(value, _PLAIN) and type(value) is type(now[name]) and value == now[name])
        for name, value in before.items()
    )
