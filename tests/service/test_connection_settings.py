"""What connections are allowed by default."""

from service.settings import Settings

RAYS_CLIENTS_SECONDS = 90


def test_connections_are_kept_longer_than_the_trainers_clients_keep_them():
    assert Settings.load().idle_timeout_seconds > RAYS_CLIENTS_SECONDS
