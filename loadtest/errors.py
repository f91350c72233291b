"""What can go wrong in a load test."""


class LoadTestError(Exception):
    """The run can't be done or must not be believed; the message says what to do next."""


class PeerError(LoadTestError):
    """A server did not start, or answers something that its contract does not allow."""


class MalformedReply(LoadTestError):
    """A 200 whose body is not what the peer's contract promises."""
