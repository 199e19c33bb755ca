"""Why a row is in one dataset and not in another, or not the same: the record that turned it, the policy, or what was asked."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from schemas import events as e
from schemas.topics import VERDICTS
from streams.dataset import Dataset, Harvest, Sample, Submission
from streams.preferences import Comparison, key_of
from streams.projection import Effect, Json, Record
from streams.weighing import InForce

Reason = Literal[
    "received",
    "edited",
    "withdrawn",
    "votes",
    "choices",
    "weights",
    "ruled",
    "deadline",
    "policy",
    "regrouped",
    "asked",
    "erased",
    "code",
]
REASONS: dict[Reason, str] = {
    "received": "it came in, or the prompt or completion that it needs did, and was approved",
    "edited": "its text, or one before it in the conversation, was edited",
    "withdrawn": "it, or a text before it in the conversation, was withdrawn",
    "votes": "votes turned a verdict",
    "choices": "choices turned a comparison",
    "weights": "new estimates of voters' skills turned it",
    "ruled": "an editor decided, or took a verdict back",
    "deadline": "its time ran out, and it went to an editor",
    "policy": "another policy decides it otherwise",
    "regrouped": "its group of nearly equal prompts (or of writers) gained or lost a member, and with it perhaps its split",
    "asked": "other projects, slices or another split were asked for",
    "erased": "an author of one of its texts was erased",
    "code": "the code that built one of the two is another",
}

_BY_RECORD: dict[type, Reason] = {
    e.SubmissionReceived: "received",
    e.ComparisonOffered: "received",
    e.SubmissionEdited: "edited",
    e.SubmissionWithdrawn: "withdrawn",
    e.VoteCast: "votes",
    e.VoteRetracted: "votes",
    e.PreferenceCast: "choices",
    e.SkillsEstimated: "weights",
    e.SubmissionRuled: "ruled",
    e.SubmissionReopened: "ruled",
    e.ClockTicked: "deadline",
    e.PolicyApplied: "policy",
}


class Turn(NamedTuple):
    """The record since which a subject stands as it does."""

    reason: Reason
    partition: int
    offset: int
    event: str


class WatchedHarvest(Harvest):
    """A harvest that notes, for every subject, the newest record that changed what it gives to a dataset."""

    def __init__(self, partition: int, given: Mapping[str, InForce] | None = None) -> None:
        super().__init__(partition, given)
        self.turns: dict[str, Turn] = {}
        self.edits: dict[str, Turn] = {}
        self._stood: dict[str, Any] = {}

    def observe(self, record: Record, effects: Sequence[Effect]) -> None:
        data = record.event.data
        reason = _BY_RECORD.get(type(data))
        if reason is None:
            return
        turn = Turn(reason, record.partition, record.offset, record.event.type)
        if reason == "edited":
            self.edits[record.event.subject] = turn
        for subject in {one.key for one in effects if one.topic == VERDICTS.name}:
            stands = self.stands(subject)
            if stands != self._stood.get(subject):
                self._stood[subject] = stands
                self.turns[subject] = turn

    def stands(self, subject: str) -> Any:
        """What a submission or comparison gives to a dataset: its approved revision, or what was decided; None is nothing."""
        row = self.state.rows.get(subject)
        if row is not None:
            return row.revision if row.verdict == "approved" else None
        packed = self.state.shared.get(key_of(subject))
        return None if packed is None or packed["decision"] is None else tuple(packed["decision"])[:4]


class World(NamedTuple):
    """What a log holds at some place, under some policies."""

    submissions: Mapping[str, Submission]
    comparisons: Mapping[str, Comparison]
    turns: Mapping[str, Turn]
    edits: Mapping[str, Turn]
    erased: frozenset[str]


def world(harvests: Iterable[WatchedHarvest]) -> World:
    harvests = list(harvests)
    return World(
        {one.id: one for harvest in harvests for one in harvest.submissions()},
        {subject: row for harvest in harvests for subject, _, row in harvest.comparisons()},
        {subject: turn for harvest in harvests for subject, turn in harvest.turns.items()},
        {subject: turn for harvest in harvests for subject, turn in harvest.edits.items()},
        frozenset(author for harvest in harvests for author in harvest.erased),
    )


Change = Literal["added", "removed", "changed"]


class Difference(NamedTuple):
    """One row that two datasets do not have alike. `subject` is what made the difference: the row's own submission or comparison,
    or one that it rests on; `place` the record that did, where it was one."""

    row: str
    change: Change
    reason: Reason
    subject: str
    place: Turn | None
    fields: tuple[str, ...]


class Step(NamedTuple):
    """From one dataset to the next on the way from A to B: what alone differs between them, and the rows of both."""

    by: Literal["files", "log", "policy", "asked"]
    before: Mapping[str, Json]
    after: Mapping[str, Json]


def contents(found: Dataset | Iterable[Sample]) -> dict[str, Json]:
    """What the content digest covers, by row."""
    return {one.id: one.content() for one in (found.examples if isinstance(found, Dataset) else found)}


def differences(steps: Sequence[Step], early: World, late: World) -> Iterator[Difference]:
    """Rows that differ between the first and the last dataset, in order, each with the last step that made it what it is in the
    end. `early` and `late` are the two ends of the step by the log."""
    first, last = steps[0].before, steps[-1].after
    for row in sorted(first.keys() | last.keys()):
        before, after = first.get(row), last.get(row)
        if before == after:
            continue
        change: Change = "added" if before is None else "removed" if after is None else "changed"
        fields = tuple(name for name in before or () if after is not None and before and before[name] != after[name])
        step = next(step for step in reversed(steps) if step.before.get(row) != step.after.get(row))
        yield Difference(row, change, *_cause(row, step, early, late), fields)


def _cause(row: str, step: Step, early: World, late: World) -> tuple[Reason, str, Turn | None]:
    before, after = step.before.get(row), step.after.get(row)
    if before is not None and after is not None and _but_groups(before) == _but_groups(after):
        return ("asked" if step.by == "asked" else "regrouped"), row, None
    if step.by in ("policy", "asked"):
        return step.by, row, None
    if step.by == "files":
        erased = next((one for one in rests_on(row, late) if _authors(one, late) & late.erased), None)
        return ("code", row, None) if erased is None else ("erased", erased, None)
    return _in_the_log(row, early, late)


def _in_the_log(row: str, early: World, late: World) -> tuple[Reason, str, Turn | None]:
    """The first of what the row rests on that stands otherwise later, and the record that turned it."""
    for subject in rests_on(row, late):
        was, now = _standing(subject, early), _standing(subject, late)
        if was == now:
            continue
        turn = late.turns.get(subject)
        known = subject in early.submissions or subject in early.comparisons
        if was is not None and now is not None and subject in late.edits and subject in late.submissions:
            return "edited", subject, late.edits[subject]
        return ("received" if not known else "code" if turn is None else turn.reason), subject, turn
    return "regrouped", row, None


def rests_on(row: str, late: World) -> Iterator[str]:
    """The row's comparison and its completions, or its submission, and what stands before them in the conversation."""
    compared = late.comparisons.get(row)
    ends = (row,) if compared is None else (row, compared.left, compared.right)
    seen = dict[str, None]()
    for end in ends:
        at: str | None = end
        while at is not None and at not in seen:
            seen[at] = None
            at = late.submissions[at].prompt if at in late.submissions else None
    return iter(seen)


def _standing(subject: str, of: World) -> Any:
    one, compared = of.submissions.get(subject), of.comparisons.get(subject)
    if one is not None:
        return one.revision if one.approved else None
    return None if compared is None or compared.decision is None else tuple(compared.decision)[:4]


def _authors(subject: str, of: World) -> set[str]:
    return set(of.submissions[subject].authors) if subject in of.submissions else set()


def _but_groups(content: Json) -> Json:
    return {name: value for name, value in content.items() if name not in ("group", "split")}
