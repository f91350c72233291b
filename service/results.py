"""What becomes of one item: its rewards, or why it has none."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from rm_core.rewards.rule import ScoredItem, ScoredResponse
from service.problems import ProblemItem, printable


@dataclass(frozen=True, slots=True)
class ItemFailure:
    """Why one item has no result; its neighbours have theirs.

    Attributes:
        code: stable, public name of the reason ("empty_text", "nonfinite_reward").
        detail: what is wrong and what to do about it, without the text itself.
        pointer: where; below the item as it leaves the scheduler, in the whole body once the route
            has put it `below` the item's own pointer.
        status: the HTTP status if no item of the request succeeds.
        others: further things that are wrong with the same item.
    """

    code: str
    detail: str
    pointer: str = ""
    status: int = 422
    others: tuple[ProblemItem, ...] = ()

    def below(self, pointer: str) -> "ItemFailure":
        """The same failure, its pointer prefixed by the item's own."""
        return dataclasses.replace(self, pointer=pointer + self.pointer)

    def at(self, pointer: str) -> "ItemFailure":
        """The same failure at another place."""
        return dataclasses.replace(self, pointer=pointer)

    def problem_items(self) -> list[ProblemItem]:
        """Everything that is wrong with the item, for a problem document."""
        return [ProblemItem(self.pointer, self.code, self.detail), *self.others]

    def as_json(self) -> dict[str, Any]:
        """The item's place in a reply whose other items succeeded."""
        return {
            "error": {
                "code": self.code,
                "detail": printable(self.detail),
                "pointer": self.pointer,
            }
        }


ScoreOutcome = ScoredItem | ItemFailure
"""What became of one text in the queue."""


ItemResult = ScoredResponse | ItemFailure
"""What became of one response."""
