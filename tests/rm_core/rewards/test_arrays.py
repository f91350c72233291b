import numpy as np
import pytest

from rm_core.errors import ShapeMismatch
from rm_core.rewards.arrays import as_bools, as_floats, require_length


def test_float32_rewards_become_float64_without_loss() -> None:
    given = np.asarray([0.1], np.float32)

    assert as_floats(given, "reward").dtype == np.float64
    assert as_floats(given, "reward")[0] == float(given[0])


def test_a_mask_of_ones_and_zeros_is_a_mask() -> None:
    assert as_bools([1, 0, 1], "mask").tolist() == [True, False, True]


@pytest.mark.parametrize("convert", [as_floats, as_bools])
def test_only_flat_lists_are_taken(convert: object) -> None:
    with pytest.raises(ShapeMismatch) as caught:
        convert([[1.0]], "mask")  # type: ignore[operator]

    assert caught.value.field == "mask"


def test_unequal_lengths_name_the_field_and_both_lengths() -> None:
    with pytest.raises(ShapeMismatch, match="mask has 2 entries and logprobs has 3") as caught:
        require_length(2, 3, "mask", "logprobs")

    assert caught.value.field == "mask"
