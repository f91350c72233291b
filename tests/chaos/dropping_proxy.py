"""A proxy that loses answers after the server has committed what they answer."""

import random
import select
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class DroppingProxy:
    """Passes HTTP/1.1 on, one thread for each connection, and drops a share of the answers.

    Args:
        port: of the server, on this machine.
        share: of the answers that are lost.
        chance: which ones, and how.

    Attributes:
        num_dropped: answers that were lost.
    """

    def __init__(self, port: int, share: float, chance: random.Random) -> None:
        self._upstream = ("127.0.0.1", port)
        self._share = share
        self._chance = chance
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.num_dropped = 0

    @contextmanager
    def serving(self) -> Iterator["DroppingProxy"]:
        accepting = threading.Thread(target=self._accept, daemon=True)
        accepting.start()
        try:
            yield self
        finally:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            accepting.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=[client], daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._upstream) as server, suppress(OSError):
            while request := _message(client):
                with self._lock:
                    drops = self._chance.random() < self._share
                    early = self._chance.random() < 0.25
                    self.num_dropped += drops
                server.sendall(request)
                if drops:
                    if not early:
                        select.select([server], [], [], 60)  # it is there, and nobody reads it
                    server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                    return
                client.sendall(_message(server))


def _message(sender: socket.socket) -> bytes:
    """One message with Content-Length; nothing where the sender has ended."""
    held = b""
    while b"\r\n\r\n" not in held:
        more = sender.recv(65536)
        if not more:
            return b""
        held += more
    head, _, body = held.partition(b"\r\n\r\n")
    lengths = [
        int(value)
        for name, _, value in (line.partition(b":") for line in head.split(b"\r\n"))
        if name.lower() == b"content-length"
    ]
    missing = (lengths[0] if lengths else 0) - len(body)
    while missing > 0:
        more = sender.recv(65536)
        if not more:
            return b""
        held += more
        missing -= len(more)
    return held
