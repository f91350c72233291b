"""What a stream's users are told once, for as long as the server runs."""


class OncePerStream:
    """Names of streams that were told something already.

    In memory: a restarted server tells once more, which its fresh log needs anyway. Only the
    store's thread may use it.

    Args:
        max_streams: beyond so many all are forgotten, so that invented names can't fill the memory.
    """

    def __init__(self, max_streams: int = 10_000) -> None:
        self._max_streams = max_streams
        self._told: set[str] = set()

    def is_first(self, stream: str) -> bool:
        """Whether the stream has not been told yet; now it has."""
        if stream in self._told:
            return False
        if len(self._told) >= self._max_streams:
            self._told.clear()
        self._told.add(stream)
        return True
