"""A run is one allocation, and a part that is cut off holds on to no more than itself."""

import torch

from rm_core.engine.attention.kept import KeptRun
from rm_core.engine.prefix_cache.store import Layout, part

LAYOUT = Layout(((2, 4), (1, 4)), ((2, 3), (1, 4)), torch.float32, torch.device("cpu"))


def numbered(tokens: int) -> KeptRun:
    run = LAYOUT.empty(tokens)
    for tensor in (*run.keys, *run.values):
        tensor.copy_(torch.randn(tensor.shape))
    return run


def storage_bytes(run: KeptRun) -> int:
    storages = {
        t.untyped_storage().data_ptr(): t.untyped_storage() for t in (*run.keys, *run.values)
    }
    return sum(storage.nbytes() for storage in storages.values())


def same(one: KeptRun, other: KeptRun) -> bool:
    pairs = zip((*one.keys, *one.values), (*other.keys, *other.values), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_a_token_takes_what_the_layout_says() -> None:
    run = LAYOUT.empty(5)

    assert [tuple(key.shape) for key in run.keys] == [(5, 2, 4), (5, 1, 4)]
    assert [tuple(value.shape) for value in run.values] == [(5, 2, 3), (5, 1, 4)]
    assert LAYOUT.token_bytes == 4 * (8 + 4 + 6 + 4)
    assert storage_bytes(run) == 5 * LAYOUT.token_bytes


def test_parts_and_joints_hold_the_same_numbers_in_memory_of_their_own() -> None:
    run = numbered(7)

    first, rest = LAYOUT.split(run, 3)

    assert same(first, part(run, 0, 3))
    assert same(rest, part(run, 3, None))
    assert storage_bytes(first) == 3 * LAYOUT.token_bytes
    assert storage_bytes(rest) == 4 * LAYOUT.token_bytes
    assert same(LAYOUT.joined([first, rest]), run)
