"""An engine of any number of named models: each gets its own rewards, in the order of the names."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from rm_core.checkpoint.manifest import RewardModelManifest, write_manifest
from rm_core.engine import load_engine
from rm_core.errors import InputError, WrongRole
from rm_core.text.contract import default_contract
from rm_core.types import Dialogue, TokenIds
from tests.models import make_model, make_tokenizer, save_checkpoint

DIALOGUES = [
    Dialogue("a shared prompt ", "an answer"),
    Dialogue("a shared prompt ", "another answer", read_at="tokens"),
    Dialogue("another ", "one more " * 4, read_at=(4, 9)),
    Dialogue("short ", "b"),
]


def save(directory: Path, architecture: str, trunk: int, head: int) -> str:
    """A checkpoint whose trunk and head are those of two seeds."""
    model = make_model(architecture, seed=trunk)
    torch.manual_seed(1000 + head)
    torch.nn.init.normal_(model.score.weight, std=0.3)
    model.save_pretrained(directory)
    make_tokenizer().save_pretrained(directory)
    return str(directory)


def transformers_own(checkpoint: str, ids: tuple[int, ...], positions: list[int]) -> list[float]:
    """Rewards of the text up to each position, by transformers' own forward of each alone."""
    model: Any = AutoModelForSequenceClassification.from_pretrained(checkpoint).eval()
    with torch.inference_mode():
        return [
            float(model(input_ids=torch.tensor([ids[: position + 1]])).logits)
            for position in positions
        ]


@pytest.mark.parametrize(
    ("trunks", "shared"),
    [
        ({"honesty": 1, "safety": 1, "brevity": 1}, [{"honesty", "safety", "brevity"}]),
        ({"honesty": 1, "safety": 2, "brevity": 1}, [{"honesty", "brevity"}]),
        ({"d": 2, "c": 1, "b": 2, "a": 1, "e": 3}, [{"d", "b"}, {"c", "a"}]),
    ],
    ids=["three on one trunk", "two on one trunk, one apart", "two pairs and one apart"],
)
def test_each_model_gives_transformers_own_rewards_in_the_order_of_the_names(
    tmp_path: Path, trunks: dict[str, int], shared: list[set[str]]
) -> None:
    checkpoints = {
        name: save(tmp_path / name, "llama", trunk, head)
        for head, (name, trunk) in enumerate(trunks.items())
    }
    engine = load_engine(checkpoints)
    items = [engine.encode(dialogue) for dialogue in DIALOGUES]

    found = engine.forward(items)

    names = list(trunks)
    assert list(engine.model_names) == list(engine.profiles) == list(engine.describe()) == names
    for item, rewards in zip(items, found, strict=True):
        assert list(rewards) == list(item.by_model) == names
        for name, encoded in item.by_model.items():
            read = [encoded.read_position, *(at.position for at in encoded.extra_positions)]
            expected = transformers_own(checkpoints[name], encoded.input_ids, read)
            assert rewards[name] == pytest.approx(expected, abs=1e-4)
    firsts = torch.tensor([[rewards[name][0] for name in names] for rewards in found])
    assert torch.pdist(firsts.T).min() > 0.1, "models too alike to show one in another's place"
    together = {
        name: {name, *about["shares_trunk_with"]} for name, about in engine.describe().items()
    }
    for name in names:
        assert together[name] == next((own for own in shared if name in own), {name})


def test_a_trunk_runs_once_for_all_its_models(tmp_path: Path) -> None:
    engine = load_engine(
        {name: save(tmp_path / name, "llama", 1, head) for head, name in enumerate("abc")}
    )
    calls: list[int] = []
    trunks = {
        id(model.model.base_model): model.model.base_model for model in engine._models.values()
    }
    for trunk in trunks.values():
        trunk.norm.register_forward_hook(lambda *_: calls.append(1))

    engine.forward([engine.encode(dialogue) for dialogue in DIALOGUES])

    assert len(trunks) == len(calls) == 1


def test_models_that_read_text_apart_run_apart_on_equal_weights(tmp_path: Path) -> None:
    names = {name: save(tmp_path / name, "llama", 1, head) for head, name in enumerate("abc")}
    make_tokenizer(add_bos=True).save_pretrained(tmp_path / "b")

    engine = load_engine(names)

    assert [about["shares_trunk_with"] for about in engine.describe().values()] == [
        ["c"],
        [],
        ["a"],
    ]
    item = engine.encode(DIALOGUES[0])
    assert item.by_model["a"] is item.by_model["c"]
    assert item.by_model["b"].num_tokens == item.by_model["a"].num_tokens + 1


@pytest.mark.parametrize(("count", "word"), [(2, "to both"), (3, "to all of them")])
def test_ids_mean_nothing_to_models_of_other_vocabularies(
    tmp_path: Path, count: int, word: str
) -> None:
    names = {name: str(save_checkpoint(tmp_path / name)) for name in "abc"[:count]}
    make_tokenizer(chat=True).save_pretrained(tmp_path / "a")
    other = make_tokenizer()
    other.add_tokens(["whole"])
    other.save_pretrained(tmp_path / "b")

    with pytest.raises(InputError, match=f"the same {word};"):
        load_engine(names).encode(TokenIds((1, 2, 3)))


def test_a_manifests_role_binds_the_two_names_that_have_a_meaning_and_no_other(
    tmp_path: Path,
) -> None:
    checkpoint = str(save_checkpoint(tmp_path))
    contract = default_contract(make_tokenizer(), max_length=512)
    write_manifest(tmp_path, RewardModelManifest("safety", contract))

    assert load_engine({"harmlessness": checkpoint}).profiles["harmlessness"].role == "harmlessness"
    with pytest.raises(WrongRole):
        load_engine({"helpfulness": checkpoint})
