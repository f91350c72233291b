"""The contracts of pyproject.toml hold, and imports that they were written against break one."""

import copy
from pathlib import Path
from typing import Any

import grimp
import pytest
from importlinter import configuration
from importlinter.application import use_cases
from importlinter.application.app_config import settings

from tests.architecture.source import PACKAGES, ROOT

# What stood in the tree before it had walls, by today's names: circles, and lower parts that knew
# higher ones.
FORBIDDEN = (
    ("rewardd.files.rows", "rewardd.files.open"),
    ("rm_core.checkpoint.atomic", "training.errors"),
    ("rm_core.engine.forward.base", "rm_core.engine.forward.choose"),
    ("rm_core.rewards.ppo", "service.schemas.ppo"),
    ("service.batching.queue", "service.scoring.score_items"),
    ("service.dialects.base", "service.dialects.result"),
    ("service.dialects.handler", "service.routes.health"),
    ("service.results", "service.state"),
    ("service.streams.metrics", "service.ppo.handler"),
    ("training.calibration.calibrate", "training.pipeline"),
    ("training.cli.train", "rewardd.demo.models"),
    ("training.config", "training.calibration.fitting"),
    ("training.data.records", "training.config"),
    ("training.optimization.history", "training.publishing.publish"),
    ("training.types", "training.data.records"),
)


class Graph:
    """Hands out the same graph of imports, with one more where that is asked for."""

    def __init__(self) -> None:
        self.imports: Any = grimp.build_graph(
            *PACKAGES, include_external_packages=True, cache_dir=None
        )
        self.added: tuple[str, str] | None = None

    def build(self, **_: Any) -> Any:
        if self.added is None:
            return self.imports
        importer, imported = self.added
        assert {importer, imported} <= self.imports.modules
        graph = copy.deepcopy(self.imports)
        graph.add_import(importer=importer, imported=imported, line_number=1, line_contents="")
        return graph


@pytest.fixture(scope="module")
def graph() -> Graph:
    return Graph()


@pytest.fixture
def broken(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Names of the contracts that are broken once an import is added."""
    monkeypatch.chdir(ROOT)
    configuration.configure()
    monkeypatch.setattr(settings, "GRAPH_BUILDER", graph)
    options = use_cases.read_user_options(str(Path("pyproject.toml")))
    use_cases._register_contract_types(options)  # no public call takes a graph of one's own

    def broken(added: tuple[str, str] | None) -> list[str]:
        graph.added = added
        report = use_cases.create_report(options, cache_dir=None)
        assert not report.invalid_contract_options
        return [c.name for c in report.contracts if not report._check_map[c].kept]

    return broken


def test_the_import_contracts_hold(broken: Any) -> None:
    assert broken(None) == []


@pytest.mark.parametrize("added", FORBIDDEN, ids=" imports ".join)
def test_an_import_that_was_taken_out_breaks_a_contract(broken: Any, added: Any) -> None:
    assert broken(added)
