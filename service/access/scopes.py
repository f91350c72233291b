"""What a route asks of a caller's key."""

from typing import Literal, get_args

Scope = Literal["score", "admin", "metrics"]
"""What a key may be used for: `score` scores and reads, `admin` changes streams and models,
`metrics` reads /metrics. None holds another; a key may carry several."""

RouteScope = Scope | Literal["open"]
"""What a route asks for; `open` asks for no key at all."""

ALL_SCOPES: frozenset[Scope] = frozenset(get_args(Scope))
