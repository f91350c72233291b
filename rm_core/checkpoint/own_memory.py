"""Weights in memory of the process, and no longer in the files that they were read from."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def let_go_of_files(model: Any) -> None:
    """Move every tensor that is a file's bytes in place into memory of the process.

    safetensors maps files into memory, where whoever writes into the file would change the weights
    that are served, and whoever cuts it short would end the process.

    Args:
        model: a torch module; its parameters and buffers stay the same objects.
    """
    copies: dict[tuple[int, int, torch.Size, tuple[int, ...]], Tensor] = {}
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.device.type != "cpu" or tensor.untyped_storage().resizable():
            continue
        where = (
            tensor.untyped_storage().data_ptr(),
            tensor.storage_offset(),
            tensor.shape,
            tensor.stride(),
        )
        if where not in copies:
            copies[where] = tensor.detach().clone()
        tensor.data = copies[where]
