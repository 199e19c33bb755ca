"""What a model may learn from comparisons: decided pairs of approved completions -> chosen and rejected, split by prompt."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from schemas.manifest import Layout, LeftOut, Split
from streams.dataset import (
    ABOUT_OF,
    LINEAGE,
    Dataset,
    Message,
    Submission,
    Wanted,
    as_dicts,
    conversation,
    first_prompt,
)
from streams.groups import assigned, group_of
from streams.preferences import Comparison, Decision
from streams.projection import Json
from streams.quality import Judged


class Pair(NamedTuple):
    """One decided comparison. `partition` and `verdict_offset` say where it was decided, outside the content digest."""

    comparison: str
    chosen_id: str
    chosen_revision: int
    chosen_writer: str
    rejected_id: str
    rejected_revision: int
    rejected_writer: str
    prompt_id: str
    settled_by: str
    confidence_permille: int
    group: str
    split: Split
    slice: str
    project: str
    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    partition: int
    verdict_offset: int

    @property
    def id(self) -> str:
        return self.comparison

    def texts(self) -> tuple[str, ...]:
        return (self.chosen_id, self.rejected_id)

    def writers(self) -> tuple[str, ...]:
        return (self.chosen_writer, self.rejected_writer)

    def content(self) -> Json:
        told = self._asdict() | self._texts()
        return {name: value for name, value in told.items() if name not in LINEAGE}

    def lineage(self) -> Json:
        return {name: getattr(self, name) for name in ("comparison", *LINEAGE)}

    def rows(self, layout: Layout) -> list[Json]:
        """One row with both completions, or one for each of them."""
        if layout == "preference":
            return [self._texts() | {name: getattr(self, name) for name in ABOUT_OF[layout]}]
        return [self._unpaired("chosen", True), self._unpaired("rejected", False)]

    def _texts(self) -> Json:
        return {name: as_dicts(getattr(self, name)) for name in ("prompt", "chosen", "rejected")}

    def _unpaired(self, side: str, label: bool) -> Json:
        own = {name: getattr(self, f"{side}_{name}") for name in ("id", "revision", "writer")}
        about = self._asdict() | own | {"submission": own["id"], "label": label}
        texts = {"prompt": as_dicts(self.prompt), "completion": as_dicts(getattr(self, side))}
        return texts | {name: about[name] for name in ABOUT_OF["unpaired"]}


def pair(found: Mapping[str, Any], split: Split) -> Pair:
    """The pair of which `found` is the row in the layout `preference`."""
    told: Json = {name: tuple(Message(**message) for message in found[name]) for name in ("prompt", "chosen", "rejected")}
    return Pair(split=split, **told, **{name: found[name] for name in ABOUT_OF["preference"]})


class _Sides(NamedTuple):
    """A decided comparison with its two completions and the conversation that both answer."""

    subject: str
    partition: int
    row: Comparison
    decision: Decision
    chosen: Submission
    rejected: Submission
    prompt: tuple[Message, ...]


def pairs(
    submissions: Iterable[Submission], compared: Iterable[tuple[str, int, Comparison]], projects: Iterable[str] = ()
) -> Dataset:
    """Every comparison of these projects, or of all, that preferred one of two approved completions of its approved prompt."""
    return chosen_pairs(submissions, compared, Wanted("preference", frozenset(projects)))


def chosen_pairs(submissions: Iterable[Submission], compared: Iterable[tuple[str, int, Comparison]], wanted: Wanted) -> Dataset:
    """Every wanted comparison that preferred one of two approved completions of its approved prompt."""
    by_id = {submission.id: submission for submission in submissions}
    left_out, found = Counter[LeftOut](), list[_Sides]()
    for subject, partition, row in sorted(compared, key=lambda one: one[0]):
        if not wanted.has(row.project, row.slice):
            continue
        sides = _sides(subject, partition, row, by_id, wanted.erased)
        if isinstance(sides, str):
            left_out[sides] += 1
        else:
            found.append(sides)
    groups = group_of(first_prompt(sides.prompt) for sides in found)
    keys = [(groups[first_prompt(sides.prompt)], (sides.chosen.writer, sides.rejected.writer)) for sides in found]
    made = tuple(_pair(sides, *place) for sides, place in zip(found, assigned(keys, wanted.split), strict=True))
    return Dataset("preference", made, dict(sorted(left_out.items())))


def _sides(
    subject: str, partition: int, row: Comparison, by_id: Mapping[str, Submission], erased: Collection[str]
) -> _Sides | LeftOut:
    decision = row.decision
    if decision is None or decision.choice not in ("left", "right"):
        return "not_preferred"
    chosen_id, rejected_id = (row.left, row.right) if decision.choice == "left" else (row.right, row.left)
    chosen, rejected = by_id.get(chosen_id), by_id.get(rejected_id)
    if chosen is None or rejected is None or not (chosen.approved and rejected.approved):
        return "completion_not_approved"
    reason = _unfit(row, chosen, rejected)
    if reason is not None:
        return reason
    messages = "erased" if rejected.is_erased(erased) else conversation(chosen, by_id, erased)
    if isinstance(messages, str):
        return messages
    return _Sides(subject, partition, row, decision, chosen, rejected, messages[:-1])


def _unfit(row: Comparison, *completions: Submission) -> LeftOut | None:
    if any(one.prompt != row.prompt or one.kind != "completion" for one in completions):
        return "another_prompt"
    return "edited_since" if any(one.revision > 1 and one.since_ms > row.offered_ms for one in completions) else None


def judged(row: Comparison) -> Judged:
    """What annotators say of a comparison, as votes on it."""
    labels = dict(Counter(preference.choice for preference in row.preferences))
    decision = row.decision
    if decision is None:
        return Judged(labels, 0, "", "", None, None)
    agreeing, settled_by = labels.get(decision.choice, 0), decision.settled_by
    return Judged(labels, agreeing, decision.choice, settled_by, decision.confidence_permille, None)


def _pair(sides: _Sides, group: str, split: Split) -> Pair:
    chosen, rejected, row = sides.chosen, sides.rejected, sides.row
    return Pair(
        comparison=sides.subject,
        chosen_id=chosen.id,
        chosen_revision=chosen.revision,
        chosen_writer=chosen.writer,
        rejected_id=rejected.id,
        rejected_revision=rejected.revision,
        rejected_writer=rejected.writer,
        prompt_id=row.prompt,
        settled_by=sides.decision.settled_by,
        confidence_permille=sides.decision.confidence_permille,
        group=group,
        split=split,
        slice=row.slice,
        project=row.project,
        prompt=sides.prompt,
        chosen=(Message("assistant", chosen.text),),
        rejected=(Message("assistant", rejected.text),),
        partition=sides.partition,
        verdict_offset=sides.decision.offset,
    )
