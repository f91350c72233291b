from typing import Any

import pytest

from training.data.build import ExampleBuilder
from training.data.examples import EncodedExample, StepTarget
from training.data.options import DataOptions
from training.data.records import PreferenceRecord, StepLabel
from training.data.report import Dropped
from training.modeling.reward_model import TrainableModel
from training.types import Target


def record(*responses: str, ranking: tuple[int, ...] = (), **known: Any) -> PreferenceRecord:
    return PreferenceRecord(
        "Why is that so?", responses, ranking or (0,) * len(responses), "id", **known
    )


def build(
    start: TrainableModel, one: PreferenceRecord, *targets: Target, **options: Any
) -> tuple[EncodedExample | None, dict[str, list[str]]]:
    dropped = Dropped()
    wanted = DataOptions(**{"role": "safety", **options}, targets=frozenset(targets))
    built = ExampleBuilder(start.encoder, wanted, dropped).build([one], wanted.targets)
    return (built[0] if built else None), dropped.ids


SINGLE: list[tuple[Target, dict[str, Any]]] = [
    ("ratings", {"ratings": (3.0,)}),
    ("steps", {"steps": ((StepLabel(4, 1.0),),)}),
    ("is_safe", {"is_safe": (False,)}),
]


@pytest.mark.parametrize(("target", "known"), SINGLE)
def test_a_single_response_is_kept_where_an_objective_can_use_it_and_named_where_none_can(
    start: TrainableModel, target: Target, known: dict[str, Any]
) -> None:
    alone = record("Because.", **known)
    kept, dropped = build(start, alone, "pairs", target)
    assert kept is not None
    assert kept.has_targets
    assert (len(kept.encoded), kept.pairs, dropped) == (1, (), {})
    nothing, dropped = build(start, alone, "pairs")
    assert nothing is None
    assert dropped == {"single_response": ["id"]}


def test_steps_are_read_at_the_tokens_that_the_server_reads(start: TrainableModel) -> None:
    from dataclasses import replace

    from rm_core.types import Dialogue

    response = "First this. Then that. So there."
    ends = (11, 22, len(response))
    labels = tuple(StepLabel(end, label) for end, label in zip(ends, (1.0, 0.5, 0.0), strict=True))
    kept, _ = build(start, record(response, steps=(labels,)), "steps")
    assert kept is not None
    served = start.encoder.encode(
        replace(Dialogue("Why is that so?", response), read_at=ends)
    ).extra_positions
    assert kept.step_targets == (
        tuple(StepTarget(p.position, s.label) for p, s in zip(served, labels, strict=True)),
    )
    ids = kept.encoded[0].input_ids
    first = start.tokenizer.decode(ids[: kept.step_targets[0][0].position + 1])
    assert first.endswith("First this.")


def test_steps_without_text_are_left_out_and_named_but_not_their_response(
    start: TrainableModel,
) -> None:
    blank = record(" \n why", steps=((StepLabel(1, 1.0), StepLabel(6, 0.0)),), ratings=(1.0,))
    kept, dropped = build(start, blank, "steps", "ratings")
    assert kept is not None
    assert (kept.step_targets, kept.ratings) == ((), (1.0,))
    assert dropped == {"unreadable_steps": ["id"]}


def test_responses_of_which_nothing_is_learned_do_not_run(start: TrainableModel) -> None:
    ranked = record("a", "b", "c", ranking=(2, 0, 1), ratings=(1.0, None, 2.0))
    kept, dropped = build(start, ranked, "ratings")
    assert kept is not None
    assert kept.responses == ("a", "c")
    assert kept.ratings == (1.0, 2.0)
    assert [(pair.chosen, pair.rejected) for pair in kept.pairs] == [(1, 0)]
    assert kept.ranking == (1, 0)
    assert dropped == {}


def test_pairs_that_no_objective_looks_at_are_named(start: TrainableModel) -> None:
    kept, dropped = build(start, record("a", "b", ranking=(0, 1)), "ratings")
    assert kept is None
    assert dropped == {"no_target": ["id"]}


def test_ranks_have_no_gaps_and_keep_their_ties(start: TrainableModel) -> None:
    kept, _ = build(start, record("a", "", "c", "d", ranking=(7, 3, 1, 7)), "rankings")
    assert kept is not None
    assert kept.responses == ("a", "c", "d")
    assert kept.ranking == (1, 0, 1)


def test_a_ranking_with_a_pair_that_must_not_be_learned_is_no_ranking(
    start: TrainableModel,
) -> None:
    unsafe_first = record("a", "b", "c", ranking=(0, 1, 2), is_safe=(False, True, None))
    kept, dropped = build(start, unsafe_first, "pairs", "rankings")
    assert kept is not None
    assert kept.ranking is None
    assert len(kept.pairs) == 2
    alone, _ = build(start, unsafe_first, "rankings")
    assert alone is None
    assert dropped == {"unsafe_chosen": ["id"]}


def test_a_mean_head_takes_only_texts_whose_response_can_be_told(
    start: TrainableModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    encode = start.encoder.encode
    monkeypatch.setattr(
        start.encoder,
        "encode",
        lambda *args, **options: replace(encode(*args, **options), num_prompt_tokens=None),
    )
    pair = record("a", "b", ranking=(0, 1))
    assert build(start, pair, "pairs")[0] is not None
    kept, dropped = build(start, pair, "pairs", head="mean")
    assert kept is None
    assert dropped == {"no_border": ["id", "id"]}
