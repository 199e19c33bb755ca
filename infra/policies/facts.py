"""What the log and the analytics store know about policies: who votes where, what an undoing brings back, what came of one."""

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from infra.history.kafka import KafkaHistory
from infra.kafka.reading import ends, live_state, live_states
from infra.policies.tuning import Live
from schemas.events import AnnotatorEnrolled, AnnotatorFlagged, AnyEvent, SnapshotSealed, TrainingFinished
from schemas.identity import unix_milliseconds
from schemas.topics import ANNOTATORS, EVENTS, RUNS, Topic
from streams.assignment import suits
from streams.policy_book import Page
from streams.projection import HOUR_MILLISECONDS, Json, Record, topic_of
from streams.review import REVIEW, ReviewState
from streams.submissions import Row, live_votes

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

#: Who voted within this is there to vote again.
RECENT_DAYS = 30
#: When what happened is compared with what was predicted.
AFTER_HOURS = (1, 24)


# --- who is there ------------------------------------------------------------------------------


async def live_facts(brokers: str, project: str, slice_: str | None, now: datetime) -> Live:
    """Voters of late or enrolled, and the labels of live votes, from the live state; nothing where nobody is known."""
    voters, labels = await _enrolled(brokers, project, slice_), Counter[str]()
    if not await ends(brokers, topic_of(REVIEW).name):
        return Live(len(voters) or None)
    since = unix_milliseconds(now - timedelta(days=RECENT_DAYS)) // HOUR_MILLISECONDS
    async for state in live_states(brokers, REVIEW):
        for row in _in_scope(state, project, slice_):
            voters.update(vote.voter for vote in row.votes.values() if vote.hour >= since)
            labels.update(vote.label for vote in live_votes(row))
    return Live(len(voters) or None, labels or None)


def _in_scope(state: ReviewState, project: str, slice_: str | None) -> list[Row]:
    return [row for row in state.rows.values() if row.revision and row.project == project and slice_ in (None, row.slice)]


async def _enrolled(brokers: str, project: str, slice_: str | None) -> set[str]:
    newest: dict[str, AnnotatorEnrolled] = {}
    async for event in _events(brokers, ANNOTATORS):
        if isinstance(event.data, AnnotatorEnrolled) and event.data.project == project:
            newest[event.subject] = event.data
    return {name for name, one in newest.items() if slice_ is None or suits(one, slice_)}


async def _events(brokers: str, topic: Topic) -> AsyncIterator[AnyEvent]:
    for (_, partition), end in sorted((await ends(brokers, topic.name)).items()):
        async for record in KafkaHistory(brokers).records(topic.name, partition, end):
            yield record.event


# --- what an undoing brings back ---------------------------------------------------------------


async def consequences(brokers: str, page: Page, undo: AnyEvent) -> Json:
    """Verdicts that flip, folded from the live state with the undoing behind it; and what it cannot take back."""
    flips, votes = Counter[str](), 0
    for (_, partition), end in sorted((await ends(brokers, EVENTS.name)).items()):
        state = await _state_at(brokers, partition, end)
        began = state.control.policies.of((page.data.project, page.data.slice or "")).began(page.data.version)
        rows = _in_scope(state, page.data.project, page.data.slice)
        if began is not None:
            votes += sum(vote.offset > began for row in rows for vote in row.votes.values())
        flips += flipped(state, Record(partition, max(end, state.position + 1), 0, unix_milliseconds(undo.time), undo))
    snapshots = [event async for event in _events(brokers, RUNS) if _was_sealed_under(event, page)]
    digests = {event.data.digest for event in snapshots if isinstance(event.data, SnapshotSealed)}
    trained = [event.subject async for event in _events(brokers, RUNS) if _was_trained_on(event, digests)]
    held_back = sorted({event.subject async for event in _events(brokers, ANNOTATORS) if _was_held_back(event, page)})
    lost = {"votes_cast_since": votes, "people_held_back": held_back, "snapshots": [event.subject for event in snapshots]}
    return {"flips": dict(sorted(flips.items())), "cannot_undo": {**lost, "trained_on_them": trained}}


async def _state_at(brokers: str, partition: int, end: int) -> ReviewState:
    """The live state with what came since its rows were written: the version to be undone may be a second old."""
    state: ReviewState = (await live_state(brokers, REVIEW, partition))[0]
    async for record in KafkaHistory(brokers).records(EVENTS.name, partition, end, state.position + 1):
        state = REVIEW.apply(state, record).state
    return state


def flipped(state: ReviewState, record: Record) -> Counter[str]:
    """How many texts go from which verdict to which, as `approved -> waiting`; the state is used up."""
    before = {key: row.verdict for key, row in state.rows.items()}
    after = REVIEW.apply(state, record).state
    pairs = ((before[key], row.verdict) for key, row in after.rows.items())
    return Counter(f"{old or 'waiting'} -> {new or 'waiting'}" for old, new in pairs if old != new)


def _was_sealed_under(event: AnyEvent, page: Page) -> bool:
    if not isinstance(event.data, SnapshotSealed):
        return False
    scope = page.data.project if page.data.slice is None else f"{page.data.project}/{page.data.slice}"
    return event.data.policy_versions.get(scope) == page.data.version


def _was_trained_on(event: AnyEvent, digests: set[str]) -> bool:
    return isinstance(event.data, TrainingFinished) and event.data.snapshot_digest in digests


def _was_held_back(event: AnyEvent, page: Page) -> bool:
    data = event.data
    if not isinstance(data, AnnotatorFlagged) or page.data.slice is not None or data.action == "notify":
        return False
    return (data.project, data.policy_version) == (page.data.project, page.data.version)


# --- predicted against actual ------------------------------------------------------------------


def actual(client: "Client", project: str, slice_: str | None, since: datetime, now: datetime) -> dict[str, Mapping[str, int]]:
    """Texts by what they stood for so many hours after a time, as far as these have passed, and now."""
    moments = {f"after_{hours}_h": since + timedelta(hours=hours) for hours in AFTER_HOURS}
    passed = {name: moment for name, moment in moments.items() if moment <= now}
    return {name: _stood(client, project, slice_, moment) for name, moment in (passed | {"now": now}).items()}


def _stood(client: "Client", project: str, slice_: str | None, moment: datetime) -> dict[str, int]:
    about = {"project": project, "slice": slice_ or "", "moment": moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]}
    rows = client.query(_STOOD, parameters=about).result_rows
    found = dict.fromkeys(("approved", "rejected", "escalated", "waiting"), 0)
    return found | {str(verdict): int(count) for verdict, count in rows}


#: A verdict is on the revision that was the current one: an edit reopens it.
_STOOD = """
    SELECT if(verdicts.verdict = '', 'waiting', verdicts.verdict) AS stood, count()
    FROM (
        SELECT submission FROM v_texts
        WHERE project = {project:String} AND {slice:String} IN ('', slice) AND NOT withdrawn
            AND received_at <= toDateTime64({moment:String}, 3, 'UTC')
    ) AS texts
    LEFT JOIN (
        SELECT submission, argMax(verdict, reached_at) AS verdict FROM v_verdicts
        WHERE reached_at <= toDateTime64({moment:String}, 3, 'UTC')
            AND (ended_at IS NULL OR ended_at > toDateTime64({moment:String}, 3, 'UTC'))
        GROUP BY submission
    ) AS verdicts ON verdicts.submission = texts.submission
    GROUP BY stood ORDER BY stood
    SETTINGS join_use_nulls = 0
"""
