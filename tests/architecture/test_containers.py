"""The image and the compose files keep their promises about users, writes and rights."""

import re
import shlex
from typing import Any

import pytest
import yaml

from rewardd.cli import app
from service.setting_sources import PREFIX
from service.settings import Settings
from tests.architecture.source import ROOT

USER = "10001:10001"
OURS = ("train", "rewardd")


class Compose(yaml.SafeLoader):
    """YAML as Docker Compose reads it: `!reset` takes away what the file before says."""


Compose.add_constructor("!reset", lambda *_: RESET)
RESET = "reset"


def compose(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.load((ROOT / name).read_text("utf-8"), Compose)
    return found


def seconds(duration: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(s|m)", duration).groups()  # type: ignore[union-attr]
    return float(number) * (60 if unit == "m" else 1)


SERVICES: dict[str, dict[str, Any]] = compose("docker-compose.yml")["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_no_right_that_it_does_not_need(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["pids_limit"] > 0
    assert re.search(r"\d+g", service["mem_limit"])
    assert all({"nosuid", "nodev"} <= set(place.split(",")) for place in service["tmpfs"])
    assert not {"privileged", "cap_add", "pid", "ipc"} & set(service)
    assert service.get("network_mode") != "host"


@pytest.mark.parametrize("name", OURS)
def test_our_services_run_as_an_ordinary_user(name: str) -> None:
    assert SERVICES[name]["user"] == USER
    assert any(place.startswith("/tmp") for place in SERVICES[name]["tmpfs"])


@pytest.mark.parametrize("name", [name for name in SERVICES if "ports" in SERVICES[name]])
def test_ports_are_published_to_this_machine_only(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name]["ports"])


INTERNAL = compose("docker-compose.internal.yml")


def test_the_internal_network_has_no_way_in_or_out_and_everyone_needs_a_key() -> None:
    running = {name for name in SERVICES if SERVICES[name].get("network_mode") != "none"}

    assert set(INTERNAL["services"]) == running
    for service in INTERNAL["services"].values():
        assert service["ports"] == RESET
        assert service["networks"] == ["inside"]
    assert INTERNAL["networks"]["inside"]["internal"] is True
    server = INTERNAL["services"]["rewardd"]
    assert server["environment"]["REWARDD_API_KEYS_FILE"] == "/run/secrets/api_keys"
    assert server["secrets"] == ["api_keys"]
    for secret in INTERNAL["secrets"].values():
        assert re.fullmatch(r"\$\{[A-Z_]+:\?.+\}", secret["file"])  # asked for, never a default


def test_the_override_for_the_internal_network_changes_no_hardening() -> None:
    for service in INTERNAL["services"].values():
        assert set(service) <= {"ports", "networks", "secrets", "environment", "volumes"}


def test_prometheus_has_a_key_of_its_own_on_the_internal_network() -> None:
    config = compose("deploy/prometheus.internal.yml")["scrape_configs"][0]
    port = INTERNAL["services"]["rewardd"]["environment"]["REWARDD_METRICS_PORT"]

    assert config["static_configs"] == [{"targets": [f"rewardd:{port}"]}]
    assert config["authorization"]["credentials_file"] == "/run/secrets/metrics_key"
    assert INTERNAL["services"]["prometheus"]["secrets"] == ["metrics_key"]


def test_no_key_or_secret_stands_in_a_file_of_the_deployment() -> None:
    files = ("docker-compose.yml", "docker-compose.gpu.yml", "docker-compose.internal.yml")
    named = [(ROOT / name).read_text("utf-8") for name in (*files, "Dockerfile")]

    assert not re.search(r"(?i)REWARDD_API_KEYS\b|HF_TOKEN|password|secret_file", "".join(named))


def test_only_the_training_writes_models_and_it_has_no_network() -> None:
    assert SERVICES["train"]["volumes"] == ["models:/models"]
    assert SERVICES["train"]["network_mode"] == "none"
    assert "models:/models:ro" in SERVICES["rewardd"]["volumes"]


def test_the_server_starts_after_the_models_are_there_and_is_judged_by_readiness() -> None:
    server = SERVICES["rewardd"]

    assert server["depends_on"] == {"train": {"condition": "service_completed_successfully"}}
    assert "/health/ready" in " ".join(server["healthcheck"]["test"])
    assert "state:/state" in server["volumes"]
    assert server["environment"]["REWARDD_STATE_DIR"] == "/state"


def test_docker_waits_longer_than_the_drain() -> None:
    drain = float(SERVICES["rewardd"]["environment"]["REWARDD_DRAIN_TIMEOUT_SECONDS"])
    delay = Settings.model_fields["drain_delay_seconds"].default

    assert seconds(SERVICES["rewardd"]["stop_grace_period"]) > drain + delay


def test_every_setting_of_the_container_files_exists() -> None:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    files = ("docker-compose.yml", "docker-compose.gpu.yml", "docker-compose.internal.yml")
    files += ("Dockerfile", "Makefile")
    named = {
        setting
        for name in files
        for setting in re.findall(rf"{PREFIX}[A-Z_]+", (ROOT / name).read_text("utf-8"))
    }

    assert "REWARDD_SAFETY_MODEL" in named
    assert named - known == set()


def test_every_command_of_the_services_exists() -> None:
    commands = {SERVICES[name]["command"][0] for name in OURS}
    known = {command.name for command in app.registered_commands}

    assert commands <= known


def test_prometheus_scrapes_the_server_where_it_listens() -> None:
    config = compose("deploy/prometheus.yml")["scrape_configs"][0]

    assert config["metrics_path"] == "/metrics"
    assert config["static_configs"] == [{"targets": ["rewardd:8000"]}]
    assert SERVICES["rewardd"]["environment"]["REWARDD_PORT"] == "8000"


def test_the_gpu_override_reserves_a_gpu_for_both_and_changes_no_hardening() -> None:
    override = compose("docker-compose.gpu.yml")["services"]

    assert set(override) == set(OURS)
    for service in override.values():
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
        assert set(service) <= {"image", "build", "deploy", "environment"}
        assert service["build"]["args"]["TORCH"] == "cuda"
    assert override["rewardd"]["environment"]["REWARDD_DEVICE"] == "cuda"


def test_the_image_runs_as_an_ordinary_user_and_hears_sigterm() -> None:
    runtime = DOCKERFILE.split(" AS runtime")[1]
    instructions = dict(
        line.split(" ", 1) for line in runtime.splitlines() if re.match(r"[A-Z]+ ", line)
    )

    assert instructions["USER"] == USER
    assert instructions["ENTRYPOINT"] == '["rewardd"]'
    assert instructions["CMD"] == '["serve"]'
    assert instructions["STOPSIGNAL"] == "SIGTERM"
    assert "HEALTHCHECK" in instructions
    assert "/health/ready" in runtime
    assert "pip install" not in runtime


def test_the_image_gets_every_package_and_nothing_ignored() -> None:
    copied = {
        word.partition("/")[0]
        for line in DOCKERFILE.split(" AS runtime")[0].splitlines()
        if line.startswith("COPY ")
        for word in shlex.split(line)[1:-1]
    }
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    allowed = {line.removeprefix("!") for line in ignored if line.startswith("!")}

    assert copied == allowed
    assert {"rm_core", "service", "training", "rewardd", "rm_client"} <= copied


def test_the_version_stands_in_one_file() -> None:
    version = (ROOT / "rm_client/VERSION").read_text("ascii").strip()
    files = ("pyproject.toml", "setup.py", "Makefile", "Dockerfile", "docker-compose.yml")
    files += ("docker-compose.gpu.yml", "rm_client/pyproject.toml")
    told = [
        name
        for name in files
        if re.search(rf"(?<![=.\d]){re.escape(version)}\b", (ROOT / name).read_text("utf-8"))
    ]

    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    assert told == []


def test_both_distributions_have_the_license() -> None:
    assert (ROOT / "rm_client/LICENSE").read_text() == (ROOT / "LICENSE").read_text()
