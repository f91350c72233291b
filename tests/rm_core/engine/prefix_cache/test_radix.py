"""The tree holds what a set of beginnings holds, and lets go the longest unused leaf first."""

import gc
import weakref
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rm_core.engine.prefix_cache.radix import Node, RadixTree, token_key

SCOPES = st.sampled_from([b"", b"tenant"])
TEXTS = st.lists(st.integers(0, 2), min_size=1, max_size=9)


class Run(list[int]):
    """A run's tokens, so that cutting and joining can be followed."""


def split(run: Run, tokens: int) -> tuple[Run, Run]:
    return Run(run[:tokens]), Run(run[tokens:])


def new_tree() -> RadixTree[Run]:
    return RadixTree(1, split)


def put(tree: RadixTree[Run], scope: bytes, text: list[int], *, age: int = 0) -> Node[Run] | None:
    """As a pack does: it needs the path, and what is new goes in."""
    tree.pack += 1
    for node, _, _ in tree.match(scope, token_key(text)):
        tree.use(node)
    node = tree.add(scope, token_key(text), lambda at: Run(text[at:]))
    if node is not None:
        tree.use(node, age=age)
        tree.clock += node.num_tokens
    tree.pack += 1
    return node


def held(tree: RadixTree[Run], scope: bytes, text: list[int]) -> list[int]:
    """The tokens of a text's beginning that the tree holds, by the runs on its path."""
    tokens: list[int] = []
    for node, begin, end in tree.match(scope, token_key(text)):
        assert begin == len(tokens)
        assert node.run is not None
        assert token_key(node.run) == node.key
        tokens += node.run[: end - begin]
    return tokens


def beginnings(text: list[int]) -> Iterator[tuple[int, ...]]:
    return (tuple(text[:end]) for end in range(1, len(text) + 1))


@settings(max_examples=150, deadline=None)
@given(
    steps=st.lists(st.tuples(SCOPES, TEXTS, st.integers(0, 30), st.booleans()), max_size=30),
    bound=st.integers(0, 40),
)
def test_it_holds_what_a_set_of_beginnings_holds_and_never_more_than_its_bound(
    steps: list[tuple[bytes, list[int], int, bool]], bound: int
) -> None:
    tree = new_tree()
    model: dict[bytes, set[tuple[int, ...]]] = {b"": set(), b"tenant": set()}

    for scope, text, age, joins in steps:
        expected = max((b for b in beginnings(text) if b in model[scope]), key=len, default=())
        assert held(tree, scope, text) == list(expected)
        node = put(tree, scope, text, age=age)
        model[scope].update(beginnings(text))
        assert held(tree, scope, text) == text
        above = None if node is None else node.parent
        if joins and node is not None and above is not None and above.run is not None:
            assert node.run is not None
            tree.join(node, Run([*above.run, *node.run]) if len(above.children) == 1 else node.run)
        assert tree.num_tokens == sum(map(len, model.values()))
        if tree.num_tokens > bound:
            tree.evict(bound)
            assert tree.num_tokens <= bound
            for one, known in model.items():
                # Whatever went, no beginning stayed without its own beginning.
                model[one] = {b for b in known if held(tree, one, list(b)) == list(b)}
            assert tree.num_tokens == sum(map(len, model.values()))


def test_the_longest_unused_leaf_goes_first_and_a_prompt_after_all_that_continue_it() -> None:
    tree = new_tree()
    for text in ([1, 1, 5], [1, 1, 6], [2, 2], [3, 3]):
        put(tree, b"", text)
    put(tree, b"", [2, 2])

    order = []
    while tree.num_nodes:
        tree.evict(tree.num_tokens - 1)
        order.append({t: bool(held(tree, b"", list(t))) for t in [(1, 1), (2, 2), (3, 3)]})

    assert order == [
        {(1, 1): True, (2, 2): True, (3, 3): True},  # [5]
        {(1, 1): True, (2, 2): True, (3, 3): True},  # [6]
        {(1, 1): False, (2, 2): True, (3, 3): True},
        {(1, 1): False, (2, 2): True, (3, 3): False},
        {(1, 1): False, (2, 2): False, (3, 3): False},
    ]
    assert tree.evictions == 5


def test_what_came_in_aged_goes_before_what_was_used_a_while_ago() -> None:
    tree = new_tree()
    put(tree, b"", [1, 1])
    put(tree, b"", [2, 2], age=10)

    tree.evict(2)

    assert held(tree, b"", [1, 1])
    assert not held(tree, b"", [2, 2])


def test_what_the_present_pack_needs_is_not_evicted() -> None:
    tree = new_tree()
    put(tree, b"", [1, 1])
    put(tree, b"", [2, 2])
    tree.pack += 1
    (step,) = tree.match(b"", token_key([1, 1]))
    tree.use(step.node)

    tree.evict(0)
    assert held(tree, b"", [1, 1])
    assert not held(tree, b"", [2, 2])

    tree.pack += 1
    tree.evict(0)
    assert tree.num_nodes == 0


def test_scopes_never_meet() -> None:
    tree = new_tree()
    put(tree, b"one", [1, 2, 3])

    assert held(tree, b"one", [1, 2, 3]) == [1, 2, 3]
    assert held(tree, b"other", [1, 2, 3]) == []


@pytest.mark.parametrize("way", ["clear", "evict", "join"])
def test_memory_is_given_back_at_once_without_the_collector(way: str) -> None:
    tree = new_tree()
    put(tree, b"", [1, 1])
    node = put(tree, b"", [1, 1, 1, 1])
    assert node is not None
    assert node.run is not None
    run = weakref.ref(node.run)
    gc.collect()
    gc.disable()
    try:
        if way == "clear":
            tree.clear()
        elif way == "evict":
            tree.evict(2)
        else:
            tree.join(node, Run([1, 1, 1, 1]))
        del node
        assert run() is None
        assert gc.collect() == 0, "a circle was left for the collector"
    finally:
        gc.enable()


def test_what_has_left_does_not_pile_up_in_the_line_for_eviction() -> None:
    tree = new_tree()
    for turn in range(1, 2000):
        node = put(tree, b"", [7] * turn)
        assert node is not None
        tree.join(node, Run([7] * turn))

    assert tree.num_nodes == 1
    assert len(tree._line) < 100
