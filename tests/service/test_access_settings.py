import pytest

from rm_core.errors import ConfigurationError
from service.settings import Settings


def test_by_default_nobody_needs_a_key_and_metrics_have_no_port_of_their_own():
    settings = Settings()

    assert settings.api_keys == ()
    assert settings.api_keys_file is None
    assert settings.metrics_port is None


@pytest.mark.parametrize("port", [-1, 65_536])
def test_a_port_that_there_is_not_is_refused(port):
    with pytest.raises(ConfigurationError, match="metrics_port"):
        Settings.load(metrics_port=port)
