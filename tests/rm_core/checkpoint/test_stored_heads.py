"""Heads are known by their shape, whatever they are called and wherever they stand."""

from pathlib import Path

import pytest

from rm_core.checkpoint.stored_heads import bias_of, head_named, heads_of, names_of
from rm_core.checkpoint.weights import StoredTensor


def stored(**shapes: tuple[int, ...]) -> dict[str, StoredTensor]:
    """Headers; a double underscore is a dot."""
    names = {key.replace("__", "."): shape for key, shape in shapes.items()}
    return {n: StoredTensor(n, shape, "F32", Path("x")) for n, shape in names.items()}


@pytest.mark.parametrize("name", ["regression_head", "v_head.summary", "reward.out", "rm_head"])
def test_a_linear_head_of_any_name_is_found(name: str) -> None:
    tensors = stored(model__layers__0__up__weight=(32, 16)) | {
        f"{name}.weight": StoredTensor(f"{name}.weight", (1, 16), "F32", Path("x"))
    }

    (head,) = heads_of(tensors)

    assert (head.name, head.width) == (name, 16)
    assert head_named(tensors, name) == head_named(tensors, f"{name}.weight") == head


def test_narrow_layers_of_the_trunk_are_no_heads() -> None:
    gates = stored(
        model__layers__0__mlp__shared_expert_gate__weight=(1, 16),
        transformer__h__1__gate__weight=(1, 16),
        bert__encoder__layer__0__x__weight=(1, 16),
        score__weight=(2, 16),
        norm__weight=(16,),
        scale=(1, 1),
    )

    assert heads_of(gates) == ()


def test_a_sequential_is_one_head_with_all_its_layers() -> None:
    tensors = stored(
        score__0__weight=(8, 16), score__0__bias=(8,), score__2__weight=(1, 8), score__2__bias=(1,)
    )

    (head,) = heads_of(tensors)

    assert (head.name, head.width, head.activation) == ("score", 16, None)
    assert head.layers == ("score.0.weight", "score.2.weight")
    assert names_of(tensors, head) == set(tensors)


def test_robertas_names_tell_the_activation() -> None:
    (head,) = heads_of(stored(head__dense__weight=(16, 16), head__out_proj__weight=(1, 16)))

    assert (head.name, head.activation) == ("head", "tanh")


def test_layers_that_do_not_chain_are_not_taken_for_one_head() -> None:
    (head,) = heads_of(stored(score__0__weight=(8, 16), score__2__weight=(1, 9)))

    assert (head.name, head.layers) == ("score.2", ("score.2.weight",))


def test_a_parameter_without_a_module_is_a_head_too() -> None:
    (head,) = heads_of(stored(reward_vector=(1, 16)))

    assert head.name == "reward_vector"
    assert bias_of("reward_vector") == "reward_vector.bias"
    assert bias_of("score.weight") == "score.bias"
