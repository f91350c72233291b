from training.batches.sampler import LengthGroupedOrder

LENGTHS = [(37 * i) % 101 + 1 for i in range(203)]


def order(seed: int = 0, epoch: int = 0) -> list[int]:
    sampler = LengthGroupedOrder(LENGTHS, batch_size=8, seed=seed)
    sampler.set_epoch(epoch)
    return list(sampler)


def test_every_example_comes_once_an_epoch() -> None:
    assert sorted(order()) == list(range(len(LENGTHS)))


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)


def test_batches_hold_lengths_alike_and_come_in_random_order() -> None:
    batches = [order()[at : at + 8] for at in range(0, len(LENGTHS), 8)]
    padded = sum(len(batch) * max(LENGTHS[i] for i in batch) for batch in batches)
    unsorted = [list(range(at, min(at + 8, 203))) for at in range(0, 203, 8)]
    padded_unsorted = sum(len(batch) * max(LENGTHS[i] for i in batch) for batch in unsorted)
    assert padded < 0.75 * padded_unsorted
    longest = [max(LENGTHS[i] for i in batch) for batch in batches]
    assert longest != sorted(longest, reverse=True)
    assert all(len(batch) == 8 for batch in batches[:-1])
