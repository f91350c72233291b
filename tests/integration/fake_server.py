"""A real server process around the fake scorer: `python -m tests.integration.fake_server`.

Settings come from the environment as for `rewardd serve`; FAKE_FORWARD_SECONDS slows the forward,
and no forward ends while the file FAKE_FORWARD_GATE is there.
"""

import os
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext

from rm_core.types import EncodedItem, ItemRewards
from service.observability.logs import configure_logging
from service.observability.printed import prints_logged
from service.server import serve
from service.settings import Settings
from tests.fakes import FakeScorer


class SlowScorer(FakeScorer):
    def forward(self, items: Sequence[EncodedItem]) -> list[ItemRewards]:
        time.sleep(float(os.environ.get("FAKE_FORWARD_SECONDS", "0")))
        while os.path.exists(os.environ.get("FAKE_FORWARD_GATE", "")):  # noqa: PTH110 ("": never)
            time.sleep(0.005)
        return super().forward(items)


if __name__ == "__main__":
    settings = Settings.load()
    configure_logging(settings.log_level)
    with prints_logged() if settings.log_prints else nullcontext():
        code = serve(settings, SlowScorer())
    sys.exit(code)
