"""Subjects that wait for somebody, in order; and how far each person need not look, since nothing there is for them."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable
from typing import NamedTuple

#: Insertions noted beyond the number of candidates, before all noted ones and all cursors are forgotten.
NOTED = 10_000
#: How far one looks for those who only get what has waited.
LOOK = 1_000

#: Most urgent first: a class, a number within it, milliseconds since 1970, and the subject, which makes it one of a kind.
Rank = tuple[int, int, int, str]
LAST: Rank = (1 << 30, 0, 0, "")


class Cursor(NamedTuple):
    """All candidates before `rank` that were there at the insertion `seen` are nothing for this person, for good."""

    seen: int
    rank: Rank


class Candidates:
    """The subjects of one project, kind and slice that wait for the same sort of work."""

    def __init__(self) -> None:
        self.ranks: list[Rank] = []
        #: How many candidates want one, two, and three or more people.
        self.wanted = [0, 0, 0]
        self._insertions = 0
        #: Insertion and rank, both rising: of the insertions after any one, the first noted here has the lowest rank.
        self._lows: list[tuple[int, Rank]] = []
        self._cursors: dict[str, Cursor] = {}

    def __len__(self) -> int:
        return len(self.ranks)

    def add(self, rank: Rank) -> None:
        insort(self.ranks, rank)
        self._insertions += 1
        while self._lows and self._lows[-1][1] >= rank:
            self._lows.pop()
        self._lows.append((self._insertions, rank))
        if len(self._lows) > len(self.ranks) + NOTED:
            self._lows, self._cursors = [], {}

    def remove(self, rank: Rank) -> None:
        del self.ranks[bisect_left(self.ranks, rank)]

    def head(self, person: str) -> Rank:
        """Nothing more urgent than this is open to this person; LAST: nothing is."""
        start = self._start(person)
        return self.ranks[start] if start < len(self.ranks) else LAST

    def first(self, person: str, is_open: Callable[[str], bool]) -> Rank:
        """The most urgent candidate that is open to this person, or LAST. What is not stays so until it is added again,
        or until `forget`."""
        ranks = self.ranks
        found = next((ranks[at] for at in range(self._start(person), len(ranks)) if is_open(ranks[at][-1])), LAST)
        self._cursors[person] = Cursor(self._insertions, found)
        return found

    def first_of_few(self, person: str, is_open: Callable[[str], bool]) -> Rank:
        """As `first`, where what is not open now may be soon; it looks at a bounded number."""
        start = self._start(person)
        return next((rank for rank in self.ranks[start : start + LOOK] if is_open(rank[-1])), LAST)

    def turned(self, by: int, is_open: Callable[[str], bool]) -> Rank:
        """The first that is open from the `by`-th candidate on, going round; or LAST."""
        ranks, count = self.ranks, len(self.ranks)
        return next((rank for at in range(count) if is_open((rank := ranks[(by + at) % count])[-1])), LAST)

    def forget(self, person: str) -> None:
        """Something before this person's cursor is open to them again."""
        self._cursors.pop(person, None)

    def _start(self, person: str) -> int:
        cursor = self._cursors.get(person)
        if cursor is None:
            return 0
        return bisect_left(self.ranks, min(cursor.rank, self._lowest_since(cursor.seen)))

    def _lowest_since(self, insertion: int) -> Rank:
        place = bisect_right(self._lows, (insertion, LAST))
        return self._lows[place][1] if place < len(self._lows) else LAST
