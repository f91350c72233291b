from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loadtest.bench.training.measure import check_same_data, facts_of
from loadtest.bench.training.prepared import Prepared
from loadtest.bench.training.settings import TrainingSettings
from loadtest.bench.training.trainers import Trained
from loadtest.errors import LoadTestError
from tests.loadtest.bench.training.made_up import prepared_of


def settings(tmp_path: Path, **changes: Any) -> TrainingSettings:
    return TrainingSettings(tmp_path, **changes)


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    return prepared_of(tmp_path, "pairs", (0, 1, 1), (1, 0))


def test_every_trainer_is_first_in_its_turn(tmp_path: Path):
    found = settings(tmp_path, trainer=["ours", "trl"], trl_python=tmp_path, seed=[4, 5, 6])

    assert found.turns() == [
        *((4, "ours"), (4, "trl")),
        *((5, "trl"), (5, "ours")),
        *((6, "ours"), (6, "trl")),
    ]


def test_trl_is_left_out_with_the_reason_where_nobody_names_its_python(tmp_path: Path):
    found = settings(tmp_path, seed=[0])

    assert found.turns() == [(0, "ours"), (0, "padded")]
    assert set(found.left_out()) == {"trl", "trl-grouped"}
    assert all("--trl-python" in why for why in found.left_out().values())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"workload": ["triples"]}, "no workload named triples"),
        ({"trainer": ["axolotl"]}, "no trainer named axolotl"),
    ],
)
def test_what_there_is_not_is_refused_before_anything_runs(
    tmp_path: Path, changes: dict[str, Any], said: str
):
    with pytest.raises(LoadTestError, match=said):
        settings(tmp_path, **changes)


def test_each_held_out_pair_knows_its_prompt(prepared: Prepared):
    facts = facts_of(prepared)

    assert facts["pair_prompts"] == [0, 0, 1]
    assert facts["heldout_pairs"] == facts["train_pairs"] == 3


class Reader:
    """A score that has read some texts."""

    def __init__(self, *digests: str) -> None:
        self.digests = set(digests)

    def text_digests(self, _: Any) -> set[str]:
        return self.digests


def test_trainers_that_did_not_see_the_same_are_not_compared(prepared: Prepared):
    trained = Trained(Path(), {}, (1.0,), pairs=3, texts=("aa", "bb"), versions={})

    check_same_data("trl", trained, prepared, Reader("aa", "bb"))  # type: ignore[arg-type]
    with pytest.raises(LoadTestError, match="other token ids"):
        check_same_data("trl", trained, prepared, Reader("aa", "cc"))  # type: ignore[arg-type]
    with pytest.raises(LoadTestError, match="2 pairs of 3"):
        check_same_data("trl", replace(trained, pairs=2), prepared, Reader())  # type: ignore[arg-type]
