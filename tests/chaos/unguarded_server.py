"""The fake server on uvicorn's own protocol, without our edge: a negative control.

`python -m tests.chaos.unguarded_server`: what the edge withstands must succeed here.
UNGUARDED_PROTOCOL is one of uvicorn's own, UNGUARDED_CONCURRENCY its own cap of connections;
with UNGUARDED_CONTAINERS a body may hold as many objects and arrays as it likes.
"""

import os
import sys

import uvicorn
from fastapi import FastAPI

from service import server
from service.http import body
from service.observability.logs import configure_logging
from service.settings import Settings
from tests.integration.fake_server import SlowScorer

_guarded = server.server_config


def _unguarded(app: FastAPI, settings: Settings) -> uvicorn.Config:
    config = _guarded(app, settings)
    config.http = os.environ.get("UNGUARDED_PROTOCOL", "httptools")
    config.timeout_keep_alive = 120
    config.limit_concurrency = int(os.environ.get("UNGUARDED_CONCURRENCY", "0")) or None
    return config


if __name__ == "__main__":
    server.server_config = _unguarded
    if "UNGUARDED_CONTAINERS" in os.environ:
        body.MAX_CONTAINERS = 2**60
    settings = Settings.load()
    configure_logging(settings.log_level)
    sys.exit(server.serve(settings, SlowScorer()))
