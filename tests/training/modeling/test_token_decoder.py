"""Data that came as token ids, from its file to what is trained on."""

from pathlib import Path

import pytest

from rm_core.types import Dialogue
from tests.training.samples import write_jsonl
from training.data.formats import read_records
from training.data.formats.options import FormatOptions
from training.data.prepare import DataOptions, prepare_data
from training.errors import MalformedRow
from training.modeling.reward_model import TrainableModel
from training.modeling.token_decoder import BaseDecoder


def test_ids_reach_training_as_they_stand(
    tmp_path: Path, tiny_base: Path, start: TrainableModel
) -> None:
    prompts = [f"Tell me about {thing}." for thing in ("rivers", "clocks", "bread", "stars")]
    rows = [
        {
            f"{side}_ids": list(start.encoder.encode(Dialogue(prompt, answer)).input_ids)
            for side, answer in (("chosen", "Gladly: they are fine."), ("rejected", "Go away."))
        }
        for prompt in prompts
    ]
    path = write_jsonl(tmp_path / "ids.jsonl", rows)

    read = read_records([path], options=FormatOptions(decode=BaseDecoder(str(tiny_base))))
    options = DataOptions(role="helpfulness", heldout_fraction=0.5, split_seed=3)
    data = prepare_data(read, start.encoder, options)

    kept = {c.id: c for c in (*data.train, *data.heldout)}
    assert len(kept) == 4
    for row, record in zip(rows, read.records, strict=True):
        comparison = kept[record.id]
        ids = [list(encoded.input_ids) for encoded in comparison.encoded]
        assert ids == [row["chosen_ids"], row["rejected_ids"]]
        border = comparison.encoded[0].num_prompt_tokens or 0
        assert row["chosen_ids"][:border] == row["rejected_ids"][:border]
        assert all(e.read_position == e.num_tokens - 1 for e in comparison.encoded)
        # The text is whole: nothing is lost between ids and words.
        assert str(record.prompt).strip()
        assert "Gladly: they are fine." in f"{record.prompt}{record.responses[0]}"


def test_an_id_that_the_tokenizer_lacks_is_a_malformed_row(tiny_base: Path) -> None:
    with pytest.raises(MalformedRow, match="token id"):
        BaseDecoder(str(tiny_base))([1, 10**6])
