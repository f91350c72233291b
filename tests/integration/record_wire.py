"""Record the wire anew: `python -m tests.integration.record_wire [AREA ...]`.

Every exchange of `recorded_wire/` is sent to today's servers and its reply replaced; without areas,
of all recordings. To add an exchange write its request into a recording, then record. What a
request may hold: "request" ("POST /score"), "headers" (null leaves a usual one out), a body as
"json", "text" or "lines" (`{{x*300}}` stands for 300 times x), "gzip", "after": "SIGTERM", and with
the scripted scorer "while" (another request that is at work), "held" (no forward ends) and "waits".

Look at the diff before you commit it: whatever it shows, callers see too.
"""

import sys
import tempfile
from pathlib import Path

from tests.integration.wire import RECORDINGS
from tests.integration.wire_documents import pretty
from tests.integration.wire_session import areas, observe


def main(wanted: list[str]) -> None:
    unknown = set(wanted) - set(areas())
    if unknown:
        sys.exit(f"There is no recording {', '.join(unknown)}; there are {', '.join(areas())}.")
    with tempfile.TemporaryDirectory() as directory:
        found = observe(Path(directory))
    for area, value in found.items():
        if not wanted or area in wanted:
            (RECORDINGS / f"{area}.json").write_text(pretty(value) + "\n", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
