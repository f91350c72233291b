"""How long packs take, learned from those that ran: a + b · tokens seconds.

Many short texts make packs that are full by number and take mostly what any pack takes; a few long
ones make packs that take what their tokens take. One rate in tokens would be wrong for either.
"""

from dataclasses import dataclass, field

_MEMORY = 0.9
"""What a pack counts for beside the next one: the recent past sets the figures."""


@dataclass(slots=True)
class PackRate:
    """A straight line through the recent packs, by least squares, neither part of it negative."""

    _packs: float = field(init=False, default=0.0)
    _tokens: float = field(init=False, default=0.0)
    _cost: float = field(init=False, default=0.0)
    _seconds: float = field(init=False, default=0.0)
    _tokens_squared: float = field(init=False, default=0.0)
    _tokens_seconds: float = field(init=False, default=0.0)

    def measured(self, tokens: float, cost: float, seconds: float) -> None:
        """A pack has run.

        Args:
            tokens: of its texts as they waited.
            cost: what they were in the pack, after sharing; what the budget bounds.
            seconds: how long it took.
        """
        self._packs = _MEMORY * self._packs + 1.0
        self._tokens = _MEMORY * self._tokens + tokens
        self._cost = _MEMORY * self._cost + cost
        self._seconds = _MEMORY * self._seconds + seconds
        self._tokens_squared = _MEMORY * self._tokens_squared + tokens * tokens
        self._tokens_seconds = _MEMORY * self._tokens_seconds + tokens * seconds

    @property
    def are_known(self) -> bool:
        """Whether any pack has run."""
        return self._tokens > 0.0

    @property
    def sharing(self) -> float:
        """Tokens that wait for each that a pack's budget counts."""
        return self._tokens / self._cost if self._cost else 1.0

    def seconds(self, packs: float, tokens: float) -> float:
        """How long so many packs of so many tokens together will take; 0 until any has run."""
        if not self.are_known:
            return 0.0
        per_token = self._seconds_per_token()
        per_pack = max(0.0, self._seconds - per_token * self._tokens) / self._packs
        return packs * per_pack + tokens * per_token

    def _seconds_per_token(self) -> float:
        rate = self._seconds / self._tokens
        spread = self._packs * self._tokens_squared - self._tokens**2
        # Packs of one size don't tell what is the pack's and what the tokens': all is the tokens'.
        if spread <= 1e-6 * self._packs * self._tokens_squared:
            return rate
        slope = self._packs * self._tokens_seconds - self._tokens * self._seconds
        return min(rate, max(0.0, slope / spread))
