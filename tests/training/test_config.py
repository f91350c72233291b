from pathlib import Path

import pytest

from rm_core.errors import ConfigurationError
from training.config import TrainingConfig, load_config
from training.types import STRENGTHS

NEEDED = {"role": "safety", "data": ["d"], "base": "b", "output": "o"}


def test_flags_win_over_the_file_and_absent_flags_do_not(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('role = "safety"\ndata = "d"\nbase = "b"\nepochs = 2\nseed = 7\n')
    config = load_config(path, {"output": "o", "seed": 9, "epochs": None})
    assert (config.epochs, config.seed, config.data) == (2.0, 9, ("d",))


def test_defaults_are_the_paper_s_recipe() -> None:
    config = load_config(None, NEEDED)
    assert (config.adam_beta1, config.adam_beta2, config.adam_epsilon) == (0.9, 0.95, 1e-5)
    assert (config.weight_decay, config.max_grad_norm, config.epochs) == (0.1, 1.0, 1.0)
    assert (config.min_learning_rate_ratio, config.warmup_ratio) == (0.1, 0.03)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learning_rat": 1.0}, "did you mean `learning_rate`"),
        ({"role": "harm"}, "role"),
        ({"base": None}, "--base"),
        ({"data": []}, "missing --data"),
        ({"data": [{"weight": 1}]}, "path"),
        ({"mixture": "soup"}, "llama2_safety"),
        ({"max_malformed": -1}, "max_malformed"),
        ({"max_malformed": True}, "max_malformed"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"heldout_fraction": 1.0}, "heldout_fraction"),
        ({"epochs": "two"}, "epochs"),
        ({"batch_size": 1.5}, "batch_size"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**32}, "seed"),
        ({"margins": "huge"}, "none, small, large, or a table"),
        ({"margins": 3}, "none, small, large, or a table"),
        ({"margins": {"better": 1.0}}, "names each of significantly_better"),
        ({"margins": {**dict.fromkeys(STRENGTHS, 1.0), "better": True}}, "margins.better"),
        ({"margins": {**dict.fromkeys(STRENGTHS, 1.0), "worse": 1.0}}, "nothing else"),
        ({"objective": "bradly_terry"}, "objective"),
        ({"head": "first_token"}, "head"),
        ({"head": "per_token"}, "per_token"),
        ({"objective": ["steps"]}, "per_token"),
        ({"role": "helpfulness", "safety_auxiliary_weight": 1.0}, "safety_auxiliary_weight"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load_config(None, {**NEEDED, **change} if change.get("base", 1) else {**NEEDED, "base": ""})


def test_a_misspelt_setting_is_refused_outside_of_files_too() -> None:
    with pytest.raises(ConfigurationError, match="epoch"):
        TrainingConfig(**{**load_config(None, NEEDED).to_json(), "data": ("d",), "epoch": 2.0})


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text("role =")
    with pytest.raises(ConfigurationError, match="TOML"):
        load_config(path, {})


def test_the_configuration_survives_json() -> None:
    config = load_config(None, NEEDED)
    assert TrainingConfig(**{**config.to_json(), "data": tuple(config.to_json()["data"])}) == config


def test_what_is_minimised_can_be_said_in_any_spelling(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text("objectives = {bradley_terry = 1, centering = 0.01}\n")
    both = {"bradley_terry": 1.0, "centering": 0.01}
    assert load_config(path, NEEDED).objectives == both
    assert load_config(None, {**NEEDED, "objective": ["bradley_terry", "centering=0.01"]}) == (
        load_config(path, NEEDED)
    )
    path.write_text('objective = "hinge"\n')
    assert load_config(path, NEEDED).objectives == {"hinge": 1.0}
    assert load_config(path, {**NEEDED, "objective": ["kwise"]}).objectives == {"kwise": 1.0}
    path.write_text('objective = "hinge"\nobjectives = {kwise = 1.0}\n')
    with pytest.raises(ConfigurationError, match="not both"):
        load_config(path, NEEDED)


def test_the_safety_loss_has_a_setting_and_a_name_of_its_own_and_they_mean_the_same() -> None:
    assert load_config(None, NEEDED).weights == {"bradley_terry": 1.0}
    by_setting = load_config(None, {**NEEDED, "safety_auxiliary_weight": 0.5})
    by_name = load_config(None, {**NEEDED, "objective": ["bradley_terry", "safety_auxiliary=0.5"]})
    assert by_setting.weights == by_name.weights == {"bradley_terry": 1.0, "safety_auxiliary": 0.5}
    with pytest.raises(ConfigurationError, match="has its weight"):
        load_config(
            None,
            {**NEEDED, "objective": ["safety_auxiliary"], "safety_auxiliary_weight": 0.5},
        )
    with pytest.raises(ConfigurationError, match="safety role"):
        load_config(
            None,
            {**NEEDED, "role": "helpfulness", "objective": ["safety_auxiliary"]},
        )


def test_margins_may_be_a_table_of_one_s_own(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(
        "[margins]\nsignificantly_better = 4\nbetter = 2\nslightly_better = 1\n"
        "negligibly_better = 0.5\n"
    )
    config = load_config(path, NEEDED)
    assert config.margins == {
        "significantly_better": 4,
        "better": 2,
        "slightly_better": 1,
        "negligibly_better": 0.5,
    }


def test_sources_can_stand_in_the_file_as_tables_beside_texts(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(
        'mixture = "llama2_safety"\n'
        'data = ["a,kind=own_safety", { path = "b", kind = "open_helpfulness" }]\n'
    )

    config = load_config(path, {**NEEDED, "data": None, "max_malformed": 0})

    assert config.data == ("a,kind=own_safety", "b,kind=open_helpfulness")
    assert (config.mixture, config.max_malformed) == ("llama2_safety", 0)
    assert TrainingConfig(**config.to_json()) == config
