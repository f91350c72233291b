"""Checkpoints that can't be packed, through the engine: a text's own reward, or why it has none."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from rm_core.engine import Engine, load_engine
from rm_core.errors import InputError, UnsupportedModel
from rm_core.types import TokenIds
from tests.models import VOCABULARY, make_tokenizer, save_checkpoint
from tests.rewards import own_rewards
from tests.rm_core.engine.tiny_models import classes, spread_rewards, tiny_config, tiny_model

END = 2
"""Of the tiny configurations."""


def save(directory: Path, family: str, **changes: Any) -> Any:
    """Write a tiny checkpoint of a class; gives the model, which has run no text."""
    config = tiny_config(classes()[f"{family}ForSequenceClassification"])
    config.update({"eos_token_id": END, **changes})
    model = tiny_model(config)
    spread_rewards(model, alone(model, texts(8, 40, 13, 60)))
    model.save_pretrained(directory)
    make_tokenizer().save_pretrained(directory)
    return model


def texts(*lengths: int) -> list[tuple[int, ...]]:
    """Texts that end with the end-of-text token, of which every third holds it twice."""
    generator = torch.Generator().manual_seed(2)
    rows = [torch.randint(4, 64, (n,), generator=generator).tolist() for n in lengths]
    for index, row in enumerate(rows):
        row[-1] = END
        row[0] = END if index % 3 == 0 else row[0]
    return [tuple(row) for row in rows]


def alone(model: Any, rows: list[tuple[int, ...]]) -> torch.Tensor:
    """By transformers' own forward, each in a model that ran no other text."""
    with torch.inference_mode():
        return torch.tensor(
            [
                float(copy.deepcopy(model)(input_ids=torch.tensor([row])).logits[0, 0])
                for row in rows
            ]
        )


def scored(engine: Engine, rows: list[tuple[int, ...]]) -> torch.Tensor:
    items = [engine.encode(TokenIds(row)) for row in rows]
    return torch.tensor([reward["safety"] for reward in own_rewards(engine, items)])


@pytest.mark.parametrize(
    ("family", "changes", "way"),
    [
        ("XLNet", {}, "equal_lengths"),
        ("FNet", {}, "equal_lengths"),
        ("BigBird", {}, "equal_lengths"),
        ("Bart", {}, "padded"),
        ("Bloom", {"pad_token_id": -1}, "padded"),
        ("CTRL", {"pad_token_id": None}, "one_by_one"),
    ],
)
@pytest.mark.filterwarnings("ignore")  # of transformers' own models
def test_a_text_has_its_own_reward_beside_before_and_after_any_other(
    family: str, changes: dict[str, Any], way: str, tmp_path: Path
) -> None:
    rows = texts(40, 37, 60, 40, 8, 9, 38)
    expected = alone(save(tmp_path, family, **changes), rows)
    engine = load_engine({"safety": str(tmp_path)})

    together, reverse = scored(engine, rows), scored(engine, rows[::-1]).flip(0)
    singly = torch.cat([scored(engine, [row]) for row in reversed(rows)]).flip(0)

    assert engine.describe()["safety"]["path"] == way
    for found in (together, reverse, singly):
        assert torch.allclose(found, expected, atol=1e-5, rtol=0)
    assert expected.std() > 0.1, "rewards too alike to show an error"


def test_a_pad_token_that_was_added_without_an_embedding_changes_no_reward(tmp_path: Path) -> None:
    save_checkpoint(tmp_path)
    rows = texts(40, 37, 8)
    expected = scored(load_engine({"safety": str(tmp_path)}), rows)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "pad_token_id": VOCABULARY}))
    tokenizer = make_tokenizer()
    tokenizer.add_tokens([f"<more{i}>" for i in range(VOCABULARY - len(tokenizer))])
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(tmp_path)

    engine = load_engine({"safety": str(tmp_path)})

    assert torch.equal(scored(engine, rows), expected)
    with pytest.raises(InputError, match=f"gives id {VOCABULARY}, and its embedding knows ids up"):
        engine.encode(TokenIds((5, VOCABULARY, 6)))


def test_a_text_without_the_token_that_a_model_reads_at_is_refused(tmp_path: Path) -> None:
    save(tmp_path, "Bart")
    engine = load_engine({"safety": str(tmp_path)})

    with pytest.raises(InputError, match=f"at its end-of-text token .id {END}., and this one has"):
        engine.encode(TokenIds((5, 6, 7)))
    assert "reads a text at its end-of-text token" in engine.describe()["safety"]["path_reason"]


def test_a_text_shorter_than_the_model_can_pool_is_refused(tmp_path: Path) -> None:
    save(tmp_path, "Funnel")
    engine = load_engine({"safety": str(tmp_path)})

    with pytest.raises(InputError, match="no text of fewer than 5 tokens, and this one has 4"):
        engine.encode(TokenIds((5, 6, 7, END)))
    assert torch.isfinite(scored(engine, [(5, 6, 7, 8, END)])).all()


def test_a_model_that_draws_lots_is_refused_by_name(tmp_path: Path) -> None:
    save(tmp_path, "Reformer")

    with pytest.raises(
        UnsupportedModel, match=r"Reformer.* has no way .*one-by-one rewards differ"
    ):
        load_engine({"safety": str(tmp_path)})


def test_a_model_whose_rewards_are_no_numbers_is_refused_by_name(tmp_path: Path) -> None:
    model = save(tmp_path, "Bert")
    with torch.no_grad():
        model.bert.embeddings.LayerNorm.weight.fill_(float("inf"))
    model.save_pretrained(tmp_path)

    with pytest.raises(UnsupportedModel, match="rewards that are not finite; its weights hold"):
        load_engine({"safety": str(tmp_path)})


def test_a_model_that_raises_at_loading_is_refused_with_what_it_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, "bert")

    def broken(*_: Any, **__: Any) -> Any:
        raise AssertionError("no picture given")

    monkeypatch.setattr(
        "transformers.models.bert.modeling_bert.BertForSequenceClassification.forward", broken
    )

    with pytest.raises(UnsupportedModel, match=r"AssertionError \(no picture given\) on a text"):
        load_engine({"safety": str(tmp_path)})
