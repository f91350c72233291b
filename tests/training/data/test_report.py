"""The report of what became of the data, for people and as JSON."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.training.made_up import made_up_report
from tests.training.samples import write_jsonl
from training.data.accounting import DrawnPart, Malformed, MixtureCounts
from training.data.audit import Contradiction
from training.data.character_encoder import CharacterEncoder
from training.data.examples import EncodedExample, Pair
from training.data.formats import read_records
from training.data.prepare import DataOptions, accounted_data
from training.data.report import REASONS, split_counts


def example(key: str, chosen: str, rejected: str, **further: Any) -> EncodedExample:
    fields = {"source": "s", **further}
    pairs = (Pair(0, 1, 0.0, fields.pop("strength", None)),)
    return EncodedExample(key, key, key, (chosen, rejected), pairs, **fields)


def test_the_longer_response_wins_in_a_share_with_its_interval_by_prompts() -> None:
    counts = split_counts(
        [example(f"{n}", "longer one", "short") for n in range(30)]
        + [example(f"x{n}", "short", "longer one") for n in range(10)]
        + [example(f"y{n}", "equal", "alike") for n in range(20)]
    )

    assert counts.longer_wins == (30 + 0.5 * 20) / 60
    interval = counts.longer_wins_interval
    assert interval is not None
    assert interval.low < counts.longer_wins < interval.high
    assert split_counts([example("1", "a b", "c")]).longer_wins_interval is None


def test_grades_and_sources_are_counted_by_pairs() -> None:
    counts = split_counts(
        [
            example("1", "a", "b", strength="better", source="x"),
            example("2", "a", "b", strength="better"),
            example("3", "a", "b"),
        ]
    )

    assert dict(counts.strengths) == {"better": 2}
    assert counts.ungraded == 1
    assert dict(counts.sources) == {"s": 2, "x": 1}


def test_an_empty_split_is_counted_as_one() -> None:
    counts = split_counts([])

    assert (counts.pairs, counts.longer_wins, counts.max_tokens) == (0, 0.5, 0)


def test_the_json_keeps_its_keys() -> None:
    """docs/guides/data-formats.md lists them; other programs read them."""
    found = made_up_report().to_json()

    assert json.loads(json.dumps(found))["schema"] == 2
    assert set(found) == {
        *("schema", "files", "records_read", "ties", "splits", "dropped", "dropped_counts"),
        *("fingerprint", "malformed", "sources", "contradictions", "near_identical"),
        *("safety_bins", "prompts_in_both_splits", "mixture", "length_unit"),
    }
    assert set(found["splits"]["train"]) == {
        *("prompts", "records", "responses", "pairs", "tokens", "median_tokens", "max_tokens"),
        *("longer_wins", "longer_wins_interval", "strengths", "ungraded", "sources", "rated"),
        "steps",
    }


def test_every_finding_is_told_to_people_and_ids_only_if_wanted() -> None:
    part = DrawnPart("safety", ("s.jsonl",), 0.9, 120, 90, 0.75)
    report = replace(
        made_up_report(),
        malformed=(Malformed("data.jsonl:7", "not valid JSON"),),
        sources={f"source-{n}": n for n in range(12)},
        contradictions=(Contradiction("id-a", "id-b"),),
        near_identical=("id-c",),
        safety_bins={"both_safe": 3, "both_unsafe": 1},
        prompts_in_both_splits=4,
        mixture=MixtureCounts("llama2_safety", 0, (part,)),
    )

    text = report.to_text()

    for told in (
        "data.jsonl:7 (not valid JSON)",
        "source-11 11",
        "4 others",
        "id-a against id-b",
        "hardly differ, kept: id-c",
        "both safe 3 (75%)",
        "4 prompts stand in both splits",
        "90 of 120 training records of safety: 75.0% (90.0% wanted)",
    ):
        assert told in text
    bare = report.to_text(most_ids=0)
    assert not any(hidden in bare for hidden in ("id-a", "id-c", "data.jsonl:7", "private-id"))
    json.dumps(report.to_json())


def test_every_reason_of_a_format_is_known_to_the_report(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    rows: list[dict[str, Any]] = [
        {"chosen": chat, "rejected": chat[1:] * 2},
        {"chosen": chat, "rejected": chat, "tools": [{}]},
    ]
    label = {"text": "<extra_id_1>User\na\n<extra_id_1>Assistant\nb", "label": [-100] * 9}
    files = [
        write_jsonl(tmp_path / "a.jsonl", [{"chosen": chat, "rejected": chat}, *rows]),
        write_jsonl(tmp_path / "b.jsonl", [label]),
        write_jsonl(tmp_path / "c.jsonl", [{"prompt": "p", "responses": [], "scores": []}]),
    ]

    read = read_records(files)

    assert {reason for reason, _ in read.unusable} == {
        *("prompts_differ", "template_arguments", "not_rated", "no_response"),
    }
    assert {reason for reason, _ in read.unusable} <= set(REASONS)


def test_malformed_rows_reach_the_report(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "p", "chosen": "a", "rejected": "b"}\n{\n')

    report = accounted_data(
        read_records([path]), CharacterEncoder(), DataOptions(role="helpfulness")
    ).report

    assert [row.where for row in report.malformed] == ["a.jsonl:2"]
    assert report.records_read == 2
    assert "a.jsonl:2" in report.to_text()
