"""Random histories: lists of small actions by hypothesis, turned into records as they would stand in the log."""

from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from hypothesis import strategies as st

from schemas.catalogue import EVENT_OF, TYPE_OF
from schemas.events import (
    ClockTicked,
    ComparisonOffered,
    Criterion,
    GoldenAnswerSet,
    PolicyApplied,
    PreferenceCast,
    SkillsEstimated,
    SubmissionAnalysed,
    SubmissionEdited,
    SubmissionReceived,
    SubmissionReopened,
    SubmissionRuled,
    SubmissionWithdrawn,
    VoteCast,
    VoteRetracted,
)
from schemas.identity import event_id
from schemas.policy import Policy
from schemas.wire import encode
from schemas.words import Frozen
from streams.projection import AnyProjection, Fact, Record, Step, facts, record_of
from streams.review import REVIEW

START = datetime(2026, 1, 1, tzinfo=UTC)
SUBJECTS = ("s-1", "s-2", "s-3")
VOTERS = ("anna", "ben", "chloe", "dev", "writer")
SLICES = ("en/reviews/sentiment", "de/legal/rewriting")

Action = tuple[Any, ...]
PLACE = st.sampled_from(SUBJECTS)
#: One id is also that of a submission: what happens to the one is nothing to the other.
PAIR = st.sampled_from(("pair-1", "pair-2", "s-1"))
CHOICE = st.sampled_from(("left", "right", "tie"))

ACTIONS = st.one_of(
    st.tuples(st.just("receive"), PLACE, st.sampled_from(SLICES)),
    st.tuples(st.just("edit"), PLACE, st.integers(2, 4)),
    st.tuples(st.just("withdraw"), PLACE),
    st.tuples(st.just("analyse"), PLACE, st.integers(1, 3), st.integers(0, 5)),
    st.tuples(st.just("vote"), PLACE, st.sampled_from(VOTERS), st.sampled_from(["good", "bad"]), st.integers(1, 2)),
    st.tuples(st.just("vote"), PLACE, st.sampled_from(VOTERS), st.sampled_from(["good", "bad"]), st.just(1)),
    st.tuples(st.just("retract"), PLACE, st.sampled_from(VOTERS), st.integers(1, 2)),
    st.tuples(st.just("golden"), PLACE, st.integers(1, 2), st.sampled_from(["good", "bad"])),
    st.tuples(
        st.just("rule"), PLACE, st.integers(1, 2), st.sampled_from(["approved", "rejected"]), st.sampled_from(["ed", "writer"])
    ),
    st.tuples(st.just("reopen"), PLACE, st.integers(1, 2)),
    st.tuples(
        st.just("skills"), st.integers(1, 3), st.sampled_from(VOTERS), st.integers(-2_000, 4_000), st.booleans(), st.booleans()
    ),
    st.tuples(st.just("tick"), st.integers(0, 40)),
    st.tuples(st.just("offer"), PAIR, st.sampled_from(["c-2", "c-2", "c-1"])),
    st.tuples(st.just("prefer"), PAIR, st.sampled_from(VOTERS), CHOICE, st.integers(-2, 2)),
    st.tuples(st.just("prefer"), PAIR, st.sampled_from(VOTERS), CHOICE, st.integers(-2, 2)),
    st.tuples(
        st.just("preference skills"), st.integers(1, 3), st.sampled_from(VOTERS), st.sampled_from([-2_000, 4_000]), st.booleans()
    ),
    st.tuples(st.just("policy"), st.integers(1, 4), st.integers(2, 3), st.sampled_from([750, 900]), st.integers(0, 1)),
    st.tuples(
        st.just("rescope"),
        st.integers(5, 9),
        st.sampled_from([None, *SLICES]),
        st.sampled_from([700, 900]),
        st.sampled_from([None, 0, 1]),
        st.sampled_from([None, None, 5, 6, 7]),
    ),
)
#: Hypothesis makes lists of five on average where no minimum is set: too few for anything to be decided and undone.
_OPENED = [*(("receive", subject, SLICES[0]) for subject in SUBJECTS), ("offer", "pair-1", "c-2")]
_LONG = st.lists(ACTIONS, min_size=25, max_size=57).map(lambda actions: [*_OPENED, *actions])
HISTORIES: st.SearchStrategy[list[Action]] = st.one_of(st.lists(ACTIONS, max_size=60), _LONG)


def embedding(seed: int) -> str:
    vector = np.random.default_rng(seed).normal(size=384)
    return b64encode(np.round(127 * vector / np.linalg.norm(vector)).astype(np.int8).tobytes()).decode()


def _data(action: Action) -> tuple[str, Frozen]:
    match action:
        case ("receive", subject, slice_):
            data: Frozen = SubmissionReceived(
                project="p", kind="completion", writer="writer", slice=slice_, text="A text.", provenance="human"
            )
        case ("edit", subject, revision):
            data = SubmissionEdited(revision=revision, editor="ed", text="Another text.")
        case ("withdraw", subject):
            data = SubmissionWithdrawn(withdrawn_by="writer")
        case ("analyse", subject, revision, seed):
            about = {"model": "m", "language": "en", "characters": 7, "words": 2}
            data = SubmissionAnalysed(revision=revision, embedding=embedding(seed), **about)
        case ("vote", subject, voter, label, revision):
            data = VoteCast(revision=revision, voter=voter, label=label, duration_milliseconds=1_500)
        case ("retract", subject, voter, revision):
            data = VoteRetracted(revision=revision, voter=voter)
        case ("golden", subject, revision, label):
            data = GoldenAnswerSet(revision=revision, label=label, set_by="ed")
        case ("rule", subject, revision, verdict, editor):
            data = SubmissionRuled(revision=revision, verdict=verdict, ruled_by=editor, reason="a ruling")
        case ("reopen", subject, revision):
            data = SubmissionReopened(revision=revision, reopened_by="ed", reason="once more")
        case _:
            return _control(action)
    return subject, data


def _control(action: Action) -> tuple[str, Frozen]:
    match action:
        case ("skills", version, voter, weight, champion, sweep):
            subject = "p"
            data: Frozen = skills(version, {voter: (weight, 0, 0, weight)}, champion=champion, sweep=sweep)
        case ("tick", hours):
            subject, data = "clock", ClockTicked(until=START + timedelta(hours=hours))
        case ("policy", version, overlap_min, confidence, late):
            subject = "p"
            policy = Policy(
                overlap_min=overlap_min,
                approve_confidence_permille=confidence,
                reject_confidence_permille=confidence,
                late_votes_reopen=late,
                preference_overlap_max=overlap_min + 1,
                preference_confidence_permille=confidence,
                recheck_share_permille=400 * late,
                deadline_hours=overlap_min,
            )
            data = PolicyApplied(project="p", version=version, policy=policy, applied_by="ops", reason="trying")
        case ("rescope", *_):
            subject, data = "p", _rescoped(action)
        case _:
            return _of_comparison(action)
    return subject, data


def _rescoped(action: Action) -> PolicyApplied:
    """A policy of a project or a slice that can be undone, that decides again, or that takes another one back."""
    _, version, slice_, confidence, hours, undoes = action
    thresholds = {f"{name}_confidence_permille": confidence for name in ("approve", "reject", "preference")}
    policy = Policy(**thresholds, late_votes_reopen=version % 2, overlap_min=2 + version % 3 // 2)
    since = None if hours is None else START + timedelta(hours=hours)
    about: dict[str, Any] = {"redecide_since": since, "undoes": undoes, "based_on": 0, "inherits": bool(slice_ and undoes)}
    return PolicyApplied(project="p", slice=slice_, version=version, policy=policy, applied_by="ops", reason="trying", **about)


def _of_comparison(action: Action) -> tuple[str, Frozen]:
    match action:
        case ("offer", subject, right):
            data: Frozen = ComparisonOffered(project="p", slice=SLICES[0], prompt="c-0", left="c-1", right=right)
        case ("prefer", subject, annotator, choice, score):
            criteria = (Criterion(name="harmless/bias", score=score), Criterion(name="helpful", score=-score))
            data = PreferenceCast(annotator=annotator, choice=choice, criteria=criteria, duration_milliseconds=9_000)
        case ("preference skills", version, annotator, weight, sweep):
            subject = "p"
            data = preference_skills(version, {annotator: (weight, 0, 0, 0, weight, 0, 0, 0, weight)}, sweep=sweep)
        case _:
            raise AssertionError(action)
    return subject, data


def skills(version: int, weights: dict[str, tuple[int, ...]], *, champion: bool = True, sweep: bool = False) -> SkillsEstimated:
    """Weights by which the default voter is right four times of five."""
    return SkillsEstimated(
        project="p",
        version=version,
        model="bayesian",
        champion=champion,
        labels=("bad", "good"),
        prior_milli_nats=(-300, 0),
        default_milli_nats=(1_386, 0, 0, 1_386),
        weights_milli_nats=weights,
        temperature_permille=1_500,
        golden_answers=0,
        sweep=sweep,
    )


def preference_skills(version: int, weights: dict[str, tuple[int, ...]], *, sweep: bool = False) -> SkillsEstimated:
    """Weights of choices in comparisons; the labels stand in another order than the fold's."""
    return SkillsEstimated(
        project="p",
        task="preference",
        version=version,
        model="bayesian",
        champion=True,
        labels=("right", "left", "tie"),
        prior_milli_nats=(0, 0, -500),
        default_milli_nats=(2_079, 0, 0, 0, 2_079, 0, 0, 0, 2_079),
        weights_milli_nats=weights,
        temperature_permille=1_500,
        golden_answers=0,
        sweep=sweep,
    )


def event_bytes(action: Action, number: int) -> bytes:
    """The event of an action; `number` makes its id and time."""
    subject, data = _data(action)
    time = START + timedelta(minutes=7 * number)
    about = {"id": event_id(time, "history", number), "type": TYPE_OF[type(data)], "source": "tests", "subject": subject}
    return encode(EVENT_OF[type(data)](time=time, data=data, **about))  # type: ignore[arg-type]


def records(history: Sequence[Action], partition: int = 0) -> list[Record]:
    return [record_of(partition, number, event_bytes(action, number)) for number, action in enumerate(history)]


def effects_of(projection: AnyProjection, log: Sequence[Record]) -> list[Fact]:
    """All facts that a fold of this log publishes."""
    found: list[Fact] = []
    state = projection.empty()
    for record in log:
        step: Step[Any, Any] = projection.apply(state, record)
        state = step.state
        found += facts(projection, record, step.effects)
    return found


def source_log(projection: AnyProjection, history: Sequence[Action]) -> list[Record]:
    """A log of the projection's own source topic that this history leads to, control records in their place."""
    log = records(history)
    if projection is REVIEW:
        return log
    values = [fact.value for fact in effects_of(REVIEW, log) if fact.topic == projection.source.name]
    if projection.name == "annotators":
        controls = [event_bytes(action, number) for number, action in enumerate(history) if action[0] in ("policy", "rescope")]
        values = [*controls[:1], *values, *controls[1:]]
    return [record_of(0, offset, value) for offset, value in enumerate(values)]
