import json
import shutil

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from loadtest import oracle as oracle_module
from loadtest import workloads
from loadtest.errors import LoadTestError
from loadtest.oracle import Oracle, checkpoint_digest


@pytest.fixture(scope="module")
def texts(tokenizer):
    return workloads.mixed(tokenizer, texts=3).texts


def test_the_truth_is_transformers_forward_of_each_text_alone(model, tokenizer, texts):
    oracle = Oracle({"safety": model})
    oracle.learn(texts)
    loaded = AutoModelForSequenceClassification.from_pretrained(model)

    for text in texts:
        ids = torch.tensor([tokenizer(text.whole)["input_ids"]])
        with torch.inference_mode():
            assert oracle.reward("safety", text) == float(loaded(input_ids=ids).logits)


def test_what_is_known_is_not_computed_again(models, texts, tmp_path, monkeypatch):
    cache = tmp_path / "made" / "oracle.json"
    first = Oracle({"safety": models.safety, "helpfulness": models.helpfulness}, cache)
    first.learn(texts)
    monkeypatch.setattr(oracle_module, "rewards_alone", None)

    again = Oracle({"helpfulness": models.helpfulness}, cache)
    again.learn(texts)

    assert again.reward("helpfulness", texts[1]) == first.reward("helpfulness", texts[1])
    assert first.reward("safety", texts[1]) != first.reward("helpfulness", texts[1])


def test_a_changed_checkpoint_is_another_one(model, tmp_path):
    copy = shutil.copytree(model, tmp_path / "copy")
    assert checkpoint_digest(copy) == checkpoint_digest(model)

    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 0.1}))

    assert checkpoint_digest(copy) != checkpoint_digest(model)


def test_a_reward_that_is_off_is_wrong_and_not_a_number_is_too(model, texts):
    oracle = Oracle({"safety": model}, tolerance=1e-4)
    oracle.learn(texts)
    request = workloads.Request(texts)
    true = [oracle.reward("safety", text) for text in texts]
    allowed = 1e-4 * (1 + abs(true[1]))

    found = {"safety": [true[0], true[1] + 1.1 * allowed, float("nan")]}
    assert [wrong for _, wrong in oracle.errors(request, found)] == [False, True, True]
    found = {"safety": [true[0], true[1] - 0.9 * allowed, true[2]]}
    assert [wrong for _, wrong in oracle.errors(request, found)] == [False] * 3


def test_roles_that_do_not_match_are_an_error_and_not_a_pass(model, texts):
    oracle = Oracle({"safety": model})
    oracle.learn(texts)

    for roles in ({"helpfulness"}, {"safety", "helpfulness"}, set()):
        with pytest.raises(LoadTestError, match="safety-model"):
            oracle.errors(workloads.Request(texts), {role: [0.0] * 3 for role in roles})


def test_a_directory_without_a_checkpoint_and_a_broken_cache_say_what_to_do(model, tmp_path):
    with pytest.raises(LoadTestError, match=r"config\.json"):
        Oracle({"safety": tmp_path})
    (tmp_path / "oracle.json").write_text("{")
    with pytest.raises(LoadTestError, match="delete it"):
        Oracle({"safety": model}, tmp_path / "oracle.json")
