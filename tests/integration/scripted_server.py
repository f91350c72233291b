"""Servers that are quick to start and to kill: python scripted_server.py STATE_DIR.

Imports once and then forks a server process (`service.server.serve`, its own uvicorn, its own
SQLite) for each "start PORT_FILE" line on standard input; "kill" sends it SIGKILL, waits until it
is gone and answers "gone". The scorer reads its rewards from the text.
"""

import os
import signal
import sys
from pathlib import Path

from service.server import serve
from service.settings import Settings
from tests.service.scripted import ScriptedScorer


def run_server(state_dir: Path, port_file: Path) -> int:
    settings = Settings(state_dir=state_dir, port=0, port_file=port_file, max_wait_ms=1.0)
    return serve(settings, ScriptedScorer())


def main(state_dir: Path) -> None:
    child = 0
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        if command == "start":
            child = os.fork()
            if child == 0:
                sys.stdin.close()
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # its log
                os._exit(run_server(state_dir, Path(argument)))
        elif command == "kill":
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            child = 0
            answer = "gone" if os.WIFSIGNALED(status) else f"had ended by itself: {status}"
            sys.stdout.write(f"{answer}\n")
            sys.stdout.flush()
    if child:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
