"""What a proposal changes, from the worlds of `whatif`: verdicts, votes, slices and judgements, as counts that add up.

What history cannot tell is never guessed: a subject that waits for votes which nobody was asked for, or was turned by votes that
nobody would have been asked for, is *undetermined*, and every count becomes a range.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple
from zlib import crc32

from streams import preferences
from streams.deciding import leading_confidence
from streams.explanation import account, in_words
from streams.projection import Effect
from streams.review import ReviewState, rules_in
from streams.scores import is_sure
from streams.standing import golden_now, is_rechecked, judgements, rejudged, standing
from streams.submissions import UNWEIGHED, Analysis, Row, twin
from streams.weighing import InForce, Rules, rules_of, temperature_permille
from streams.whatif import Variant, Worlds

WAITING, WITHDRAWN, UNDETERMINED = "waiting", "withdrawn", "undetermined"
#: What a subject may stand for, old; new it may be undetermined besides.
STANDS = ("approved", "rejected", "escalated", WAITING)

ANY: tuple[str, ...] = STANDS

#: Subject id -> from which hour on a person's work would not exist.
Restricted = Mapping[str, int]


class Moved(NamedTuple):
    """A subject that would stand otherwise, or of which nobody can say how it would."""

    subject: str
    slice: str
    old: str
    new: str
    #: Why it is undetermined: `votes`, `turned`, `recheck`, `deadline` or `person`; empty where it is known.
    unknown: str


class Text(NamedTuple):
    """A text that would enter a slice's approved set (`change` 1) or leave it (-1)."""

    slice: str
    change: int
    writer: str
    kind: str
    model: str
    words: int
    embedding: str


class Flip(NamedTuple):
    """One of those subjects in words; `place` is the offset of its newest text, -1 where nobody noted it."""

    order: int
    moved: Moved
    why_old: str
    why_new: str
    partition: int
    place: int = -1


@dataclass
class Compared:
    """One proposal against what was, over any number of partitions."""

    #: (slice, old) -> subjects; of those that stand otherwise (slice, old, new).
    stands: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    moves: Counter[tuple[str, str, str]] = field(default_factory=Counter[tuple[str, str, str]])
    unknown: Counter[str] = field(default_factory=Counter[str])
    #: What undetermined subjects may come to: (slice, new) -> how many of them.
    possible: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    #: Verdicts on subjects with a golden answer: `right`, `wrong`, before and after.
    golden: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    #: (old, new) choices of comparisons.
    choices: Counter[tuple[str, str]] = field(default_factory=Counter[tuple[str, str]])
    votes: int = 0
    votes_saved: int = 0
    #: Votes that undetermined subjects would have asked for: at least, at most.
    needed_low: int = 0
    needed_high: int = 0
    moved: list[Moved] = field(default_factory=list[Moved])
    judgements: list[Effect] = field(default_factory=list[Effect])
    texts: list[Text] = field(default_factory=list[Text])

    def add(self, other: "Compared") -> None:
        for one in fields(self):
            mine, theirs = getattr(self, one.name), getattr(other, one.name)
            if hasattr(mine, "update"):
                mine.update(theirs)
            else:
                setattr(self, one.name, mine + theirs)

    def before(self, stand: str) -> int:
        return sum(count for (_, old), count in self.stands.items() if old == stand)

    def after(self, stand: str) -> tuple[int, int]:
        """How many would stand so: at least, at most."""
        gone = sum(count for (_, old, _), count in self.moves.items() if old == stand)
        come = sum(count for (_, _, new), count in self.moves.items() if new == stand)
        low = self.before(stand) - gone + come
        return low, low + sum(count for (_, new), count in self.possible.items() if new == stand)

    @property
    def undetermined(self) -> int:
        return sum(count for (_, _, new), count in self.moves.items() if new == UNDETERMINED)


def stand(row: Row) -> str:
    return WITHDRAWN if row.withdrawn else row.verdict or WAITING


# --- of one partition --------------------------------------------------------------------------


def base(worlds: Worlds) -> Compared:
    """What was, of the subjects that the window is about: everything in it is the same after as before."""
    found = Compared(votes=worlds.votes)
    for _, row in _subjects(worlds):
        found.stands[row.slice, stand(row)] += 1
        if row.golden is not None:
            right = _is_right(row, rules_in(worlds.truth, row.project, row.slice))
            found.golden.update({("before", right): 1, ("after", right): 1} if right else {})
    return found


def _subjects(worlds: Worlds) -> Iterator[tuple[str, Row]]:
    """The project's subjects that something happened to in the window, or that were open in it."""
    for key, row in worlds.truth.rows.items():
        if worlds.is_about(row) and row.revision and (row.offset >= worlds.start or row.verdict is None):
            yield key, row


def _is_right(row: Row, rules: Rules) -> str:
    """Whether the verdict is on the golden answer's side; empty where there is none to compare."""
    golden = golden_now(row)
    if golden is None or row.verdict not in ("approved", "rejected") or row.withdrawn:
        return ""
    return "right" if (row.verdict == "approved") == (golden in rules.policy.approving) else "wrong"


def compared(
    worlds: Worlds, variant: Variant, ground: Compared, restricted: Restricted | None = None, counts_only: bool = False
) -> Compared:
    """The proposal against what was (`ground`: from `base`); `counts_only` leaves out which texts and people it concerns."""
    found = Compared(votes_saved=variant.votes_saved)
    found.add(ground)
    reached: dict[tuple[Any, ...], tuple[str, ...]] = {}
    open_ended: Counter[tuple[str, tuple[str, ...]]] = Counter()
    for moved, row, own in differing(worlds, variant, restricted or {}):
        if not counts_only:
            found.moved.append(moved)
        found.moves[moved.slice, moved.old, moved.new] += 1
        rules = variant.rules(moved.slice)
        _golden(found, row, own, moved, rules)
        if moved.unknown:
            found.unknown[moved.unknown] += 1
            # Few sums are told apart, and many subjects have the same.
            sums = (moved.slice, own.scores, own.live, own.verdict, own.weighed == rules.weighed)
            ends = ANY if variant.reweighed or moved.unknown != "votes" else reached.get(sums)
            if ends is None:
                ends = reached[sums] = possible(own, rules)
            open_ended[moved.slice, ends] += 1
            most = rules.policy.overlap_max - own.live
            found.needed_low += 1
            found.needed_high += max(1, most)
    for (slice_, ends), count in open_ended.items():
        found.possible.update(dict.fromkeys(((slice_, new) for new in ends), count))
    if not counts_only:
        found.judgements += variant.left
        for key, own in variant.rows.items():
            _told(found, key, worlds.truth.rows[key], own, key in variant.starved or key in variant.turned)
        _choices(found, worlds, variant)
    return found


def possible(own: Row, rules: Rules) -> tuple[str, ...]:
    """What an undetermined subject may come to, by no more than the votes that would be asked for, each of another person.
    Nothing is left out that the strongest voters of the project could bring about."""
    if own.verdict is not None or len(rules.labels) != 2 or own.weighed != rules.weighed:
        return ANY
    sides = {"approved" if rules.approves[label] else "rejected" for label in (0, 1) if _reaches(own, rules, label)}
    return (*sorted(sides), "escalated", WAITING)


def _reaches(own: Row, rules: Rules, label: int) -> bool:
    """Whether votes all for one label, each by the strongest voter, make it sure."""
    columns = [column for voter in (rules.default, *rules.weights.values()) for column in voter]
    gain = max(0, *(column[label] - column[1 - label] for column in columns))
    lead = own.scores[label] - own.scores[1 - label]
    most = max(rules.policy.overlap_max, rules.policy.overlap_min, own.live + 1)
    return any(
        lead + more * gain >= 0
        and is_sure((lead + more * gain, 0), 0, rules.needed[label], temperature_permille(rules, own.live + more))
        for more in range(1, most - own.live + 1)
    )


def _golden(found: Compared, row: Row, own: Row, moved: Moved, rules: Rules) -> None:
    if row.golden is None:
        return
    old, new = _is_right(row, rules), "" if moved.unknown else _is_right(own, rules)
    found.golden.update({("after", new): 1} if new else {})
    found.golden.subtract({("after", old): 1} if old else {})


def differing(worlds: Worlds, variant: Variant, restricted: Restricted) -> Iterator[tuple[Moved, Row, Row]]:
    """The subjects that would stand otherwise or are undetermined; each with its row here and there."""
    truth, project, slice_ = worlds.truth, worlds.project, worlds.slice
    again = variant.rules(slice_).policy.recheck_share_permille > rules_in(truth, project, slice_).policy.recheck_share_permille
    every = (
        {key: row for key, row in _subjects(worlds)} if again or restricted else {key: truth.rows[key] for key in variant.rows}
    )
    for key, row in every.items():
        own = variant.rows.get(key) or row
        old, new = stand(row), stand(own)
        unknown = "" if own.withdrawn else _unknown(key, row, own, worlds, variant, restricted)
        if old != new or unknown:
            yield Moved(key, row.slice, old, UNDETERMINED if unknown else new, unknown), row, own


def _unknown(key: str, row: Row, own: Row, worlds: Worlds, variant: Variant, restricted: Restricted) -> str:
    """Why nobody can say what the subject would have come to; empty where history says it."""
    if key in variant.starved:
        return "votes"
    if key in variant.turned:
        return "turned"
    if own.because == row.because == "ruled":
        return ""
    here, there = rules_in(worlds.truth, row.project, row.slice), variant.rules(row.slice)
    if _lacks_recheck(key, own, there) and not _lacks_recheck(key, row, here):
        return "recheck"
    return "person" if restricted and _is_work_of(row, restricted) else ""


def _lacks_recheck(key: str, row: Row, rules: Rules) -> bool:
    """Whether it was approved, one more vote would be asked for, and none has come since."""
    if row.verdict != "approved" or not is_rechecked(key, row, rules):
        return False
    return all(vote.offset <= row.reached for vote in row.votes.values())


def _is_work_of(row: Row, restricted: Restricted) -> bool:
    """Whether the text or a vote on it is later work of a person who would have been handed none."""
    if row.hour >= restricted.get(row.writer, row.hour + 1):
        return True
    people = restricted.keys() & row.votes.keys()
    return any(row.votes[name].hour >= restricted[name] for name in people)


def _told(found: Compared, key: str, row: Row, own: Row, unknown: bool) -> None:
    """What would be said of people and slices; of an undetermined subject what is said already."""
    if unknown or not row.revision:
        return
    here, there = standing(row), standing(own)
    if here == there:
        return
    found.judgements += rejudged(judgements(key, row, here), judgements(key, own, there))
    if here.analysis != there.analysis:
        found.texts += [_text(row, one, change) for one, change in ((here.analysis, -1), (there.analysis, 1)) if one is not None]


def _text(row: Row, analysis: Analysis, change: int) -> Text:
    return Text(row.slice, change, row.writer, row.kind, analysis.model, analysis.words, analysis.embedding)


def _choices(found: Compared, worlds: Worlds, variant: Variant) -> None:
    own = dict(preferences.comparisons(variant.state, worlds.project)) if variant.compares else {}
    for key, one in preferences.comparisons(worlds.truth, worlds.project):
        other = own.get(key, one)
        old, new = (WAITING if each.decision is None else each.decision.choice for each in (one, other))
        found.choices[old, new] += 1


# --- in words ----------------------------------------------------------------------------------


def flips(worlds: Worlds, variant: Variant, moved: Iterable[Moved], most: int) -> list[Flip]:
    """Some of them, drawn by a hash of their ids, so that the same are drawn each time, with why they stand as they do."""
    drawn = sorted((crc32(one.subject.encode()), one) for one in moved)[:most]
    return [
        Flip(
            order,
            one,
            why(worlds.truth, worlds.truth.rows[one.subject], worlds.policies),
            why(variant.state, variant.rows.get(one.subject) or worlds.truth.rows[one.subject], worlds.policies),
            worlds.partition,
        )
        for order, one in drawn
    ]


def why(state: ReviewState, row: Row, policies: Mapping[int, InForce]) -> str:
    """Why a row stands as it does, by the votes that had come when it was decided. The weights of then are not kept: where
    there are newer ones, it says that it goes by those."""
    rules = rules_in(state, row.project, row.slice)
    told = twin(row)
    told.weighed = UNWEIGHED
    if row.verdict is not None:
        told.votes = {name: vote for name, vote in row.votes.items() if vote.offset <= row.reached}
        if row.decided_under != rules.version and row.decided_under in policies:
            in_force = policies[row.decided_under]
            rules = rules_of(in_force, in_force.policy.labels, state.shared, row.project, "review")
    return in_words(account(told, rules), weighed_since=row.verdict is not None and rules.weighed > row.reached)


# --- why nothing flips -------------------------------------------------------------------------


def nearest(worlds: Worlds, low: int, high: int, approving: bool) -> tuple[int | None, int | None]:
    """The confidences nearest to a stretch of permille from below and from above, on the approving side or the other."""
    rules = rules_in(worlds.truth, worlds.project, worlds.slice)
    under: int | None = None
    over: int | None = None
    for _, row in _subjects(worlds):
        if row.live < rules.policy.overlap_min or rules.approves[row.scores.index(max(row.scores))] != approving:
            continue
        sure = leading_confidence(row, rules)
        if sure < low:
            under = sure if under is None else max(under, sure)
        elif sure >= high:
            over = sure if over is None else min(over, sure)
    return under, over


# --- shares ------------------------------------------------------------------------------------


def shares(found: Compared) -> dict[str, Any]:
    """Of all subjects that were not withdrawn: the share of each stand, at least and at most."""
    total = sum(found.before(stand) for stand in STANDS)
    return {
        stand: {
            "before": found.before(stand),
            "low": found.after(stand)[0],
            "high": found.after(stand)[1],
            "share_low": round(found.after(stand)[0] / total, 4) if total else None,
            "share_high": round(min(total, found.after(stand)[1]) / total, 4) if total else None,
        }
        for stand in STANDS
    }
