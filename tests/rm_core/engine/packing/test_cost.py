"""The price in deduplicated tokens: never below the tree's own count, and close to it."""

from hypothesis import given
from hypothesis import strategies as st

from rm_core.engine.packing.cost import (
    BLOCK,
    CACHED_PER_COMPUTED,
    PackTokens,
    SharedPrefixCost,
    new_cost,
    prefix_hashes,
    saved_tokens,
)
from rm_core.engine.packing.plan import plan_pack
from rm_core.engine.packing.policy import Budget, QueuedSequence, select_pack
from rm_core.types import Encoded, EncodedItem


def item(ids: list[int]) -> EncodedItem:
    return EncodedItem({"safety": Encoded(tuple(ids), len(ids) - 1)})


def shared_price(items: list[EncodedItem]) -> int:
    return SharedPrefixCost().cost(items)


@st.composite
def families(draw: st.DrawFn) -> list[list[int]]:
    ids = st.lists(st.integers(0, 1), min_size=1, max_size=70)
    sequences = draw(st.lists(ids, min_size=1, max_size=3))
    for _ in range(draw(st.integers(0, 6))):
        base = draw(st.sampled_from(sequences))
        sequences.append(base[: draw(st.integers(0, len(base)))] + draw(ids))
    return sequences


@given(sequences=families())
def test_the_price_lies_between_the_trees_count_and_the_plain_sum(
    sequences: list[list[int]],
) -> None:
    pack = plan_pack(sequences, [len(s) - 1 for s in sequences])

    cost = shared_price([item(ids) for ids in sequences])

    assert pack.num_tokens <= cost <= sum(map(len, sequences))


@given(sequences=families(), cut=st.integers(0, 9))
def test_a_pack_costs_the_same_however_it_was_put_together(
    sequences: list[list[int]], cut: int
) -> None:
    items = [item(ids) for ids in sequences]
    growing = SharedPrefixCost()
    total = growing.cost(items[:cut])
    for one in items[:cut]:
        growing.add(one)

    assert total + growing.cost(items[cut:]) == shared_price(items)


def test_a_group_pays_for_its_prompt_once() -> None:
    prompt = list(range(10 * BLOCK))
    group = [item([*prompt, *[100 + g] * BLOCK]) for g in range(8)]

    assert shared_price(group) == 10 * BLOCK + 8 * BLOCK


def test_a_budget_of_deduplicated_tokens_keeps_a_group_together() -> None:
    prompt = list(range(20 * BLOCK))
    group = [QueuedSequence(item([*prompt, *[500 + g] * BLOCK]), g, "g") for g in range(8)]
    other = QueuedSequence(item([7] * 5 * BLOCK), 8, "other")

    chosen = select_pack([*group, other], Budget(30 * BLOCK, 100), SharedPrefixCost)

    assert chosen == list(range(8))


def test_a_hash_covers_everything_before_its_block() -> None:
    one, two = [1] * 3 * BLOCK, [2] + [1] * (3 * BLOCK - 1)

    assert len(prefix_hashes(one)) == 3
    assert not set(prefix_hashes(one)) & set(prefix_hashes(two))
    assert prefix_hashes(one[: 3 * BLOCK - 1]) == prefix_hashes(one)[:2]


def test_a_scorer_that_does_not_share_pays_for_every_token() -> None:
    twins = [item([1] * 3 * BLOCK), item([1] * 3 * BLOCK)]

    assert new_cost(shares_prefixes=False).cost(twins) == 6 * BLOCK
    assert new_cost(shares_prefixes=True).cost(twins) == 3 * BLOCK


def test_an_item_costs_what_its_longest_reading_does() -> None:
    ids = tuple(range(3 * BLOCK))
    two = {"safety": Encoded(ids, 0), "helpfulness": Encoded(ids[:BLOCK], 0)}

    assert shared_price([EncodedItem(two), EncodedItem(dict(two))]) == 3 * BLOCK


def test_what_is_cached_costs_an_eighth_and_never_nothing() -> None:
    prompt = list(range(8 * BLOCK))
    group = [item([*prompt, *[100 + g] * BLOCK]) for g in range(4)]
    cost = SharedPrefixCost(lambda _: len(prompt))

    assert cost.tokens(group) == PackTokens(4 * BLOCK, 8 * BLOCK)
    assert cost.cost(group) == 4 * BLOCK + 8 * BLOCK // CACHED_PER_COMPUTED
    cost.add(group[0])
    assert cost.cost(group[1:]) == 3 * BLOCK
    assert PackTokens(0, 1).cost == 1
    assert PackTokens(7, 0).cost == 7
    assert saved_tokens(80) == 80 - PackTokens(0, 80).cost


@given(sequences=families(), cached=st.lists(st.integers(0, 70), min_size=9, max_size=9))
def test_cached_tokens_are_never_taken_for_more_than_the_tree_has(
    sequences: list[list[int]], cached: list[int]
) -> None:
    items = [item(ids) for ids in sequences]
    known = {id(one): min(one.num_tokens, count) for one, count in zip(items, cached, strict=False)}
    pack = plan_pack(sequences, [len(s) - 1 for s in sequences])

    tokens = SharedPrefixCost(lambda one: known[id(one)]).tokens(items)

    assert tokens.computed + tokens.cached >= pack.num_tokens
    assert tokens.computed + tokens.cached == shared_price(items)


def test_texts_of_different_scopes_share_nothing() -> None:
    ids = Encoded(tuple(range(3 * BLOCK)), 0)
    items = [EncodedItem({"safety": ids}, scope) for scope in (b"", b"one", b"two", b"two")]

    assert shared_price(items) == 9 * BLOCK


def test_a_scorer_that_does_not_share_has_nothing_cached() -> None:
    plain = new_cost(shares_prefixes=False, cached_tokens=lambda _: 16)

    assert plain.tokens([item([1] * 3 * BLOCK)]) == PackTokens(3 * BLOCK)
