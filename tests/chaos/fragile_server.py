"""The fake server with strict reading taken away: what the fuzzers must find.

`python -m tests.chaos.fragile_server`, with the settings of `tests.integration.fake_server`.
"""

import json
import sys
from typing import Any

from fastapi import Request

from service.http import body


async def read_anything(request: Request, **_limits: Any) -> Any:
    """The body by Python's own parser, which no error of stops."""
    return json.loads(await request.body())


if __name__ == "__main__":
    body.read_json = read_anything  # before the routes take its name
    from service.observability.logs import configure_logging
    from service.server import serve
    from service.settings import Settings
    from tests.fakes import FakeScorer

    settings = Settings.load()
    configure_logging(settings.log_level)
    sys.exit(serve(settings, FakeScorer()))
