from pathlib import Path

import pytest

from loadtest.models import BenchmarkModels, ModelSize, build_models
from loadtest.oracle import load_tokenizer
from loadtest.workloads import Tokenizer

SIZE = ModelSize(layers=2, hidden=64, vocabulary=1024, positions=1024)


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> BenchmarkModels:
    """Two reward models on one trunk and one on its own, two layers each."""
    return build_models(tmp_path_factory.mktemp("models"), SIZE)


@pytest.fixture(scope="session")
def model(models: BenchmarkModels) -> Path:
    return models.safety


@pytest.fixture(scope="session")
def tokenizer(model: Path) -> Tokenizer:
    found: Tokenizer = load_tokenizer(model)
    return found
