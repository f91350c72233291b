"""The fake server with two mistakes: log, metrics and refusals tell paths and keys."""

import os
import runpy

from service.http import middleware
from service.problems import Problem


def told(self: Problem) -> dict[str, object]:
    return {"detail": self.detail, "key": os.environ.get("REWARDD_API_KEYS", "")}


middleware.route_of = lambda scope: scope["path"]
Problem.as_json = told  # type: ignore[method-assign]

if __name__ == "__main__":
    runpy.run_module("tests.integration.fake_server", run_name="__main__")
