"""Checkpoints as `rewardd calibrate` leaves them, served by the real engine behind the real app."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from scipy.special import expit, logit

from rm_core.checkpoint.manifest import RewardModelManifest, write_manifest
from rm_core.engine import load_engine
from rm_core.text.contract import default_contract
from rm_core.types import (
    Baseline,
    CalibrationFit,
    Dialogue,
    ReferenceQuantiles,
    Role,
    SafetyThreshold,
)
from service.app import create_app
from service.settings import Settings
from tests.models import make_tokenizer, save_checkpoint
from tests.rewards import own_rewards

RESPONSES = [f"answer number {n} of some length" for n in range(40)]
SAFETY, HELPFULNESS = (2.5, -0.75), (0.5, 0.0)  # temperature, bias
PROBABILITIES = (0.1, 0.25, 0.5, 0.75, 0.9)


def manifest(role: Role, calibration: tuple[float, float]) -> RewardModelManifest:
    temperature, bias = calibration
    return RewardModelManifest(
        role=role,
        position=default_contract(make_tokenizer(), max_length=512),
        temperature=temperature,
        bias=bias,
        calibration=CalibrationFit("pairs", f"{role}: fitted by hand"),
        baseline=Baseline(0.0, 1.0, 10.0),
        baseline_source="made up",
    )


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A safety model whose τ parts the responses in halves, and a helpfulness model."""
    directory = tmp_path_factory.mktemp("models")
    safety = save_checkpoint(directory / "safety", "llama", seed=0)
    helpfulness = save_checkpoint(directory / "helpfulness", "llama", seed=1)
    write_manifest(helpfulness, manifest("helpfulness", HELPFULNESS))
    engine = load_engine({"safety": str(safety)}, device="cpu")
    items = [engine.encode(Dialogue("p", response)) for response in RESPONSES]
    raw = np.array([rewards["safety"] for rewards in own_rewards(engine, items)])
    engine.close()
    calibrated = np.sort(raw / SAFETY[0] + SAFETY[1])
    tau = float(expit((calibrated[19] + calibrated[20]) / 2))
    quantiles = tuple(np.quantile(calibrated, PROBABILITIES).tolist())
    write_manifest(
        safety,
        replace(
            manifest("safety", SAFETY),
            safety_threshold=SafetyThreshold(tau, "the middle", 0.89, 0.9, 0.5),
            reference_quantiles=ReferenceQuantiles(PROBABILITIES, quantiles, 40),
        ),
    )
    return {"safety": safety, "helpfulness": helpfulness}


@asynccontextmanager
async def served(
    models: dict[str, Path], state: Path, **settings: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, Any]]:
    engine = load_engine(
        {"safety": str(models["safety"]), "helpfulness": str(models["helpfulness"])}, device="cpu"
    )
    app = create_app(Settings(state_dir=state, **settings), engine)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client,
    ):
        yield client, app.state.rewardd.metrics.registry
    engine.close()


async def test_the_checkpoints_tau_and_calibration_are_told_and_applied(
    models: dict[str, Path], tmp_path: Path
) -> None:
    async with served(models, tmp_path) as (client, _):
        info = (await client.get("/v1/info")).json()
        body = {"items": [{"prompt": "p", "responses": RESPONSES}]}
        reply = await client.post("/score", json=body)

    told = info["models"]["safety"]
    assert (told["temperature"], told["bias"]) == SAFETY
    assert told["calibration"]["how"] == "safety: fitted by hand"
    assert told["reference_quantiles"]["responses"] == 40
    assert info["selection"]["tau_source"] == "checkpoint"
    tau, tau_raw = info["selection"]["tau"], info["selection"]["tau_raw"]
    assert tau_raw == pytest.approx(SAFETY[0] * (logit(tau) - SAFETY[1]))
    (item,) = reply.json()["items"]
    for found in item["responses"]:
        for role, (temperature, bias) in (("safety", SAFETY), ("helpfulness", HELPFULNESS)):
            assert found[role]["score"] == pytest.approx(
                expit(found[role]["reward"] / temperature + bias)
            )
        unsafe = found["safety"]["reward"] < tau_raw
        assert found["selected"] == ("safety" if unsafe else "helpfulness")
        assert found["selected_reward"] == pytest.approx(logit(found[found["selected"]]["score"]))
    assert sum(found["selected"] == "safety" for found in item["responses"]) == 20


async def test_a_setting_overrides_the_checkpoints_tau_and_says_so(
    models: dict[str, Path], tmp_path: Path
) -> None:
    async with served(models, tmp_path, tau=0.999999) as (client, _):
        info = (await client.get("/v1/info")).json()
        body = {"items": [{"prompt": "p", "responses": RESPONSES}]}
        reply = await client.post("/score", json=body)

    assert (info["selection"]["tau"], info["selection"]["tau_source"]) == (0.999999, "setting")
    assert info["selection"]["checkpoint_threshold"]["precision"] == 0.9
    (item,) = reply.json()["items"]
    assert {found["selected"] for found in item["responses"]} == {"safety"}


async def test_the_probability_of_a_win_is_of_calibrated_rewards(
    models: dict[str, Path], tmp_path: Path
) -> None:
    """P(a ≻ b) = σ((r_a − r_b)/T): the bias cancels, the temperature does not."""
    async with served(models, tmp_path) as (client, _):
        body = {"items": [{"prompt": "p", "responses": RESPONSES[:3]}]}
        (item,) = (await client.post("/compare", json=body)).json()["items"]

    for role, (temperature, _) in (("safety", SAFETY), ("helpfulness", HELPFULNESS)):
        raw = np.array([found[role]["reward"] for found in item["responses"]])
        np.testing.assert_allclose(
            item[role]["probabilities"], expit((raw[:, None] - raw) / temperature), rtol=1e-6
        )
        assert item[role]["ranking"] == np.argsort(-raw).tolist()  # as without calibration
    selected = np.array([found["selected_reward"] for found in item["responses"]])
    np.testing.assert_allclose(
        item["probabilities"], expit(selected[:, None] - selected), rtol=1e-9
    )


async def test_the_references_themselves_show_no_drift_and_others_do(
    models: dict[str, Path], tmp_path: Path
) -> None:
    async with served(models, tmp_path) as (client, registry):

        def value(name: str, role: str = "safety", **labels: str) -> float | None:
            return registry.get_sample_value(name, {"model": role, **labels})

        assert value("rm_drift_window_items") == 0
        body: dict[str, Any] = {"items": [{"prompt": "p", "responses": RESPONSES}]}
        await client.post("/score", json=body)
        same = value("rm_reward_psi")
        assert value("rm_drift_window_items") == 40
        assert value("rm_reward_outside_reference_ratio", side="below") == pytest.approx(0.1)
        assert value("rm_reward_psi", "helpfulness") is None  # its checkpoint has no quantiles
        # one response again and again is another distribution
        body = {"items": [{"prompt": "p", "response": RESPONSES[0]}] * 400}
        await client.post("/score", json=body)
        drifted = value("rm_reward_psi")

    assert same is not None
    assert drifted is not None
    assert same < 0.02
    assert drifted > 1.0
