"""What starts the process again, where its engine died: compose, systemd, Kubernetes."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.cli import WRONG_SETTINGS
from service.setting_sources import PREFIX
from service.settings import Settings
from service.watchdog.watchdog import EXIT_CODE
from tests.architecture.source import ROOT
from tests.architecture.test_containers import SERVICES, USER
from tests.fakes import FakeScorer
from tests.service.scripted import running

UNIT = ROOT / "deploy/rewardd.service"
MANIFESTS: dict[str, dict[str, Any]] = {
    document["kind"]: document
    for document in yaml.safe_load_all((ROOT / "deploy/kubernetes.yaml").read_text("utf-8"))
}
POD: dict[str, Any] = MANIFESTS["StatefulSet"]["spec"]["template"]
CONTAINER: dict[str, Any] = POD["spec"]["containers"][0]
ENVIRONMENT = {one["name"]: one["value"] for one in CONTAINER["env"]}
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")


def unit() -> dict[str, list[str]]:
    """The unit's values by their names; a name may stand there several times."""
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text("utf-8").splitlines():
        if match := re.fullmatch(r"(\w+)=(.*)", line):
            found.setdefault(match[1], []).append(match[2])
    return found


def settings_of(environment: dict[str, str]) -> Settings:
    """What the service makes of those variables; it raises if one is wrong."""
    names = {name for name in environment if name.startswith(PREFIX)}
    values = {name.removeprefix(PREFIX).lower(): environment[name] for name in names}
    assert values.keys() <= Settings.model_fields.keys()
    return Settings.load(**values)


def test_an_engine_that_died_ends_with_a_code_that_every_supervisor_takes_for_a_failure() -> None:
    assert EXIT_CODE not in {0, WRONG_SETTINGS}


@pytest.mark.parametrize("name", ["rewardd", "prometheus"])
def test_compose_starts_what_serves_again_however_it_ended(name: str) -> None:
    assert SERVICES[name]["restart"] == "unless-stopped"


def test_systemd_starts_it_again_unless_the_settings_are_wrong() -> None:
    values = unit()

    assert values["Restart"] == ["on-failure"]
    assert values["RestartPreventExitStatus"] == [str(WRONG_SETTINGS)]
    assert values["StartLimitIntervalSec"] == ["0"]
    assert values["ExecStart"] == ["/opt/rewardd/bin/rewardd serve"]


def test_systemd_gives_it_settings_that_exist_and_time_to_drain() -> None:
    values = unit()
    settings = settings_of(dict(line.split("=", 1) for line in values["Environment"]))

    assert str(settings.state_dir) == "/var/lib/" + values["StateDirectory"][0]
    (patience,) = values["TimeoutStopSec"]
    assert float(patience) > settings.drain_delay_seconds + settings.drain_timeout_seconds
    named = set(re.findall(rf"{PREFIX}[A-Z_]+", UNIT.read_text("utf-8")))
    assert {name.removeprefix(PREFIX).lower() for name in named} <= Settings.model_fields.keys()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_itself_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    copy = tmp_path / UNIT.name
    text = UNIT.read_text("utf-8").replace("/opt/rewardd/bin/rewardd", sys.executable)
    copy.write_text(text, "utf-8")

    found = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert [line for line in found.stderr.splitlines() if UNIT.name in line] == []


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_would_find_a_word_that_it_does_not_know(tmp_path: Path) -> None:
    copy = tmp_path / UNIT.name
    text = UNIT.read_text("utf-8").replace("/opt/rewardd/bin/rewardd", sys.executable)
    copy.write_text(text.replace("Restart=", "Restarts="), "utf-8")

    found = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert "Restarts" in found.stderr


async def test_kubernetes_asks_routes_that_exist_and_want_no_key(tmp_path: Path) -> None:
    ports = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}

    async with running(tmp_path, FakeScorer(), api_keys=("key",)) as (_, client):
        for name in PROBES:
            asked = CONTAINER[name]["httpGet"]
            assert (await client.get(asked["path"])).status_code == 200
            assert ports[asked["port"]] == int(ENVIRONMENT["REWARDD_PORT"])
    (port,) = MANIFESTS["Service"]["spec"]["ports"]
    assert port["targetPort"] in ports
    assert MANIFESTS["Service"]["spec"]["selector"].items() <= POD["metadata"]["labels"].items()


def test_kubernetes_restarts_by_life_and_sends_work_by_readiness() -> None:
    assert CONTAINER["startupProbe"]["httpGet"]["path"] == "/health/live"
    assert CONTAINER["livenessProbe"]["httpGet"]["path"] == "/health/live"
    assert CONTAINER["readinessProbe"]["httpGet"]["path"] == "/health/ready"
    assert POD["spec"].get("restartPolicy", "Always") == "Always"


def test_kubernetes_waits_for_loading_for_a_busy_machine_and_for_the_drain() -> None:
    settings = settings_of(ENVIRONMENT)

    startup = CONTAINER["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] > settings.load_timeout_seconds
    life = CONTAINER["livenessProbe"]
    assert life["periodSeconds"] * life["failureThreshold"] >= 60
    drain = settings.drain_delay_seconds + settings.drain_timeout_seconds
    assert POD["spec"]["terminationGracePeriodSeconds"] > drain
    ready = CONTAINER["readinessProbe"]
    assert ready["periodSeconds"] * ready["failureThreshold"] < settings.drain_delay_seconds


def test_kubernetes_gives_it_no_right_that_it_does_not_need_and_folders_to_write() -> None:
    own, pod = CONTAINER["securityContext"], POD["spec"]["securityContext"]

    assert own == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["runAsNonRoot"] is True
    assert f"{pod['runAsUser']}:{pod['runAsGroup']}" == USER
    assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
    assert POD["spec"]["automountServiceAccountToken"] is False
    # Else Kubernetes sets REWARDD_PORT to the Service's address, which is no port.
    assert POD["spec"]["enableServiceLinks"] is False
    mounts = {mount["name"]: mount for mount in CONTAINER["volumeMounts"]}
    writable = {mount["mountPath"] for mount in mounts.values() if not mount.get("readOnly")}
    assert writable == {ENVIRONMENT["REWARDD_STATE_DIR"], "/tmp"}
    volumes = {volume["name"] for volume in POD["spec"]["volumes"]}
    claims = MANIFESTS["StatefulSet"]["spec"]["volumeClaimTemplates"]
    assert mounts.keys() == volumes | {claim["metadata"]["name"] for claim in claims}
    folder = Path(ENVIRONMENT["REWARDD_API_KEYS_FILE"]).parent
    assert str(folder) == mounts["keys"]["mountPath"]


def test_each_server_has_the_state_of_its_own() -> None:
    claims = MANIFESTS["StatefulSet"]["spec"]["volumeClaimTemplates"]

    assert [claim["metadata"]["name"] for claim in claims] == ["state"]
    assert MANIFESTS["StatefulSet"]["spec"]["replicas"] == 1
