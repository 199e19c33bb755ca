"""Policies as events: what was proposed and applied, and how a new one gets into force in every partition."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from agents.log_reading import read_range
from agents.publishing import Place, partition_of
from infra.errors import AssayError, Exit
from infra.history.kafka import KafkaHistory
from infra.importing.facts import first_version
from infra.importing.publish import Message, message, publishing, put
from infra.kafka.reading import ends
from schemas.catalogue import EVENT_TYPES, enveloped
from schemas.events import AnyEvent, PolicyApplied, PolicyProposed
from schemas.identity import event_id
from schemas.policy import Policy
from schemas.topics import EVENTS, JUDGEMENTS, POLICIES
from schemas.words import Frozen

SOURCE = "assay/policy"
#: Where a control record stands in every partition.
CONTROLLED = (EVENTS, JUDGEMENTS)


class PolicyChange(NamedTuple):
    """A proposal and its application, ready for the log."""

    proposed: AnyEvent
    applied: AnyEvent


def policy_change(
    time: datetime,
    project: str,
    version: int,
    policy: Policy,
    by: str,
    reason: str,
    preview_digest: str | None = None,
    **more: Any,
) -> PolicyChange:
    """The two events of a change; the same arguments give the same ids.

    `more`: slice, based_on, redecide_since, undoes, inherits. Raises pydantic's ValidationError.
    """
    about: dict[str, Any] = {"project": project, "version": version, "policy": policy, "reason": reason, **more}
    proposed = PolicyProposed(proposed_by=by, **about)
    applied = PolicyApplied(applied_by=by, preview_digest=preview_digest, **about)
    return PolicyChange(_event(time, project, version, proposed), _event(time, project, version, applied))


def _event(time: datetime, project: str, version: int, data: Frozen) -> AnyEvent:
    return enveloped(event_id(time, SOURCE, first_version(data), project, version), SOURCE, project, time, data)


async def history(brokers: str) -> list[AnyEvent]:
    """Every proposal and application, each once, in the order of the log within a project; projects by name.

    Of two applications with one version the first one counts, and only that is given.
    """
    found: dict[tuple[str, str, int], AnyEvent] = {}
    for (topic, partition), end in (await ends(brokers, POLICIES.name)).items():
        async for record in KafkaHistory(brokers).records(topic, partition, end):
            data = record.event.data
            if isinstance(data, PolicyApplied | PolicyProposed):
                found.setdefault((data.project, record.event.type, data.version), record.event)
    return sorted(found.values(), key=lambda event: event.subject)


async def in_force(brokers: str) -> dict[str, AnyEvent]:
    """The newest PolicyApplied of each project, its slices left out."""
    newest: dict[str, AnyEvent] = {}
    for event in await history(brokers):
        data = event.data
        if isinstance(data, PolicyApplied) and data.slice is None and data.version > _version(newest.get(data.project)):
            newest[data.project] = event
    return newest


def _version(event: AnyEvent | None) -> int:
    return event.data.version if event is not None and isinstance(event.data, PolicyApplied) else -1


async def publish_policy(brokers: str, change: PolicyChange) -> int:
    """Put a change into force, and return how many records that took: first both events on the policies topic, then one
    copy of the application in every partition of the controlled topics, all with the same id. Whatever stands there is
    not written again, so an interrupted change is completed by calling this again.

    Raises AssayError if another application holds the version.
    """
    policies = await ends(brokers, POLICIES.name)
    home = (POLICIES.name, partition_of(change.applied.subject, len(policies)))
    there = await _ids_in(brokers, home, policies[home])
    missing = [event for event in change if event.id not in there]
    await _write(brokers, [(home, message(event)) for event in missing])
    await _holds_its_version(brokers, change.applied)
    # An application that is new to the log has no copies yet: there is no need to search for them.
    return len(missing) + await spread(brokers, change.applied, search=change.applied not in missing)


async def spread(brokers: str, applied: AnyEvent, search: bool = True) -> int:
    """Write the copies of an application that are missing (with `search` off: all), and return how many they were.
    The search reads the controlled topics from the beginning."""
    places = await ends(brokers, *(topic.name for topic in CONTROLLED))
    bare = [place for place, end in places.items() if not search or applied.id not in await _ids_in(brokers, place, end)]
    await _write(brokers, [(place, message(applied)) for place in bare])
    return len(bare)


async def _holds_its_version(brokers: str, ours: AnyEvent) -> None:
    # `history` gives the first application of each version only.
    if ours.id not in {event.id for event in await history(brokers)}:
        raise AssayError(
            "somebody else applied a policy at the same time",
            where=ours.subject,
            got="the log has this version already, with another event",
            hint="look at `assay policy log`, then apply yours on top",
            exit_code=Exit.FAILED,
        )


async def _ids_in(brokers: str, place: Place, end: int) -> set[str]:
    """Ids of the policy events in one partition."""
    return {
        (dict(record.headers).get("ce_id") or b"").decode("utf-8", "replace")
        async for batch in read_range(brokers, place, 0, end)
        for record in batch
        if dict(record.headers).get("ce_type", b"") in _POLICY_TYPES
    }


#: In whichever version they were written.
_POLICY_TYPES = frozenset(type_.encode() for type_, entry in EVENT_TYPES.items() if entry.topics[0] is POLICIES)


async def _write(brokers: str, messages: Iterable[tuple[Place, Message]]) -> None:
    async with publishing(brokers) as publisher:
        for place, one in messages:
            put(publisher, place, one)
