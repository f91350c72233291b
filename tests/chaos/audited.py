"""`python -m tests.chaos.audited FILE MODULE ARGUMENTS…`: run a module, write down who it calls.

Python tells an audit hook of every connection that is asked for and every name that is looked up;
each becomes a line of FILE. LEAK_TO=PORT has the process call home once, as a control.
"""

import os
import runpy
import socket
import sys
import threading
from pathlib import Path
from typing import Any

CALLS = {"socket.connect", "socket.sendto", "socket.sendmsg", "socket.gethostbyname"}
OURS = {"127.0.0.1", "localhost", None}


def main(file: Path, module: str, arguments: list[str]) -> None:
    told = file.open("a", buffering=1)

    def heard(event: str, values: tuple[Any, ...]) -> None:
        if event in CALLS or (event == "socket.getaddrinfo" and values[0] not in OURS):
            told.write(f"{event} {values[1:]}\n")

    sys.addaudithook(heard)
    if "LEAK_TO" in os.environ:
        address = ("127.0.0.1", int(os.environ["LEAK_TO"]))
        threading.Thread(target=socket.create_connection, args=(address,), daemon=True).start()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
