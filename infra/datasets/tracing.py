"""Traces both ways: from a model to the votes behind it, and from a person or a text to the models that it reached."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from agents.keys import TextReader
from infra.datasets import lineage, snapshots
from infra.datasets.snapshots import Request, request_of
from infra.errors import AssayError
from infra.history.source import History, Watch
from infra.settings import Settings
from infra.wiring import key_store
from schemas.events import EvaluationFinished, PolicyApplied, PreferenceCast, SnapshotSealed, TrainingFinished, VoteCast
from schemas.manifest import ANY, GivenPolicy, Manifest
from schemas.policy import Policy
from schemas.topics import EVENTS, POLICIES, RUNS
from streams.authorship import Authorship
from streams.origins import Origins
from streams.projection import Json, Record

MOST_NAMED = 5


class Said(NamedTuple):
    """One event about runs, and where it stands."""

    place: str
    record: Record

    @property
    def run(self) -> str:
        return self.record.event.subject

    @property
    def data(self) -> Any:
        return self.record.event.data


async def _said(log: History) -> list[Said]:
    found = list[Said]()
    for (topic, partition), end in sorted((await log.ends(RUNS.name)).items()):
        async for record in log.records(topic, partition, end):
            found.append(Said(f"{topic}/{partition}@{record.offset}", record))
    return sorted(found, key=lambda one: (one.record.event.time, one.record.event.id))


def said(log: History) -> list[Said]:
    """All that the log says about runs, oldest first."""
    return asyncio.run(_said(log))


def _event(one: Said) -> Json:
    told = {"at": one.place, "event": one.record.event.type, "id": one.record.event.id, "time": one.record.event.time.isoformat()}
    return told | {"run": one.run, **one.data.model_dump(mode="json")}


# --- from a model or snapshot to what is behind it -----------------------------------------------


def of_model(settings: Settings, run: str, log: History, watch: Watch = lambda done, total: None) -> Json:
    """A training with its snapshot and all behind it. Raises AssayError for a run that the log does not know."""
    runs = said(log)
    mine = [one for one in runs if one.run == run and isinstance(one.data, TrainingFinished)]
    if not mine:
        known = [one.run for one in runs if isinstance(one.data, TrainingFinished)]
        raise _unknown("model", run, known, "`assay runs` lists them; `assay train` makes one")
    digest = mine[0].data.snapshot_digest
    tests = [_event(one) for one in runs if isinstance(one.data, EvaluationFinished) and one.data.training_run == run]
    return {"model": run, "training": _event(mine[0]), "evaluations": tests, **of_snapshot(settings, digest, log, watch, runs)}


def of_snapshot(
    settings: Settings,
    name: str,
    log: History,
    watch: Watch = lambda done, total: None,
    runs: Sequence[Said] | None = None,
) -> Json:
    """A snapshot by name, or digest or its beginning, with the texts, votes, people and policies behind its rows."""
    runs = said(log) if runs is None else runs
    local = [one for one in snapshots.load_all(settings) if _is(name, one.name, one.content_digest)]
    events = [one for one in runs if isinstance(one.data, SnapshotSealed) and _is(name, one.data.name, one.data.digest)]
    if not local and not events:
        known = [one.name for one in snapshots.load_all(settings)]
        known += [one.data.name for one in runs if isinstance(one.data, SnapshotSealed)]
        raise _unknown("snapshot", name, list(dict.fromkeys(known)), "`assay snapshot list` has those of this data directory")
    request = request_of(local[0]) if local else request_of_event(events[0].data)
    digest = local[0].content_digest if local else events[0].data.digest
    harvests, offsets = asyncio.run(snapshots.harvests_of(log, settings, request, watch))
    built = snapshots.built_from(harvests, offsets, request, TextReader(key_store(settings)))
    behind = Origins(harvests).of(built.dataset.examples)
    applied = asyncio.run(_applied(log))
    return {
        "snapshot": {"name": request.name, "digest": digest, "rows": len(built.dataset.examples), "offsets": offsets},
        "left_out": built.dataset.left_out,
        "sealed": [_event(one) for one in events],
        "manifest": None if not local else str(snapshots.folder(settings, local[0].name) / snapshots.MANIFEST),
        "models": [one.run for one in runs if isinstance(one.data, TrainingFinished) and one.data.snapshot_digest == digest],
        **behind,
        "policies": [_policy(one, request, applied) for one in behind["policies"]],
    }


def _policy(one: Json, request: Request, applied: Mapping[tuple[str, int], Json]) -> Json:
    """With who applied it; or with its thresholds, where it was given in the place of the recorded ones."""
    given = request.policies.get(one["project"], request.policies.get(ANY))
    if given is not None:
        return one | {"given": given.policy.model_dump(mode="json")}
    return one | {"given": None} | applied.get((one["project"], one["version"]), {})


def _is(asked: str, name: str, digest: str) -> bool:
    return asked in (name, digest) or (len(asked) >= 8 and digest.startswith(asked))


def request_of_event(sealed: SnapshotSealed) -> Request:
    """What has to be asked to build a snapshot that only the log knows. Raises AssayError where an earlier version sealed it."""
    if sealed.kind is None:
        hint = "create it again at the event's offsets, with --as-of"
        raise AssayError("the log does not say what this snapshot was made of", where=sealed.name, hint=hint)
    given = {
        project: GivenPolicy(version=0, policy=Policy.model_validate(one, strict=False))
        for project, one in sealed.given_policies.items()
    }
    about = (sealed.name, sealed.kind, sealed.projects, sealed.offsets, sealed.as_of, sealed.slices, sealed.split)
    return Request(*about, policies=given)


async def _applied(log: History) -> dict[tuple[str, int], Json]:
    """Who applied which policy, when and why; the first application of a version counts."""
    found = dict[tuple[str, int], Json]()
    for (topic, partition), end in sorted((await log.ends(POLICIES.name)).items()):
        async for record in log.records(topic, partition, end):
            data = record.event.data
            if isinstance(data, PolicyApplied):
                told = {"applied_by": data.applied_by, "reason": data.reason, "time": record.event.time.isoformat()}
                found.setdefault((data.project, data.version), {**told, "at": f"{topic}/{partition}@{record.offset}"})
    return found


# --- from a text or a person to where it went ----------------------------------------------------


class _Trail(Authorship):
    """The log of one subject or person, beside who wrote what."""

    def __init__(self, subject: str | None = None, person: str | None = None) -> None:
        super().__init__()
        self._subject, self._person = subject, person
        self.history = list[Json]()
        #: By subject: the places of the person's votes and choices.
        self.judged = dict[str, list[tuple[int, int]]]()
        self.compared = dict[str, tuple[str, str]]()

    def feed(self, record: Record) -> None:
        super().feed(record)
        data, subject = record.event.data, record.event.subject
        if subject == self._subject:
            self.history.append(_told(record))
        if isinstance(data, VoteCast | PreferenceCast) and _by(data) == self._person:
            self.judged.setdefault(subject, []).append((record.partition, record.offset))


def _told(record: Record) -> Json:
    data: Any = record.event.data
    by = next((getattr(data, name) for name in _ACTORS if hasattr(data, name)), None)
    place = f"{EVENTS.name}/{record.partition}@{record.offset}"
    return {"at": place, "time": record.event.time.isoformat(), "event": record.event.type, "by": by}


_ACTORS = ("voter", "writer", "editor", "withdrawn_by", "ruled_by", "reopened_by", "annotator")


def _by(data: VoteCast | PreferenceCast) -> str:
    return data.voter if isinstance(data, VoteCast) else data.annotator


async def _fed(log: History, trail: _Trail) -> _Trail:
    for (topic, partition), end in sorted((await log.ends(EVENTS.name)).items()):
        async for record in log.records(topic, partition, end):
            trail.feed(record)
    return trail


def of_submission(settings: Settings, subject: str, log: History) -> Json:
    """What happened to a submission or comparison, and the snapshots and models that hold its text."""
    trail = asyncio.run(_fed(log, _Trail(subject)))
    if not trail.history:
        hint = "ids are those of the events' subjects: `assay sql` on v_submissions lists them"
        raise AssayError("the log knows no such submission", got=subject, hint=hint)
    held = {one.name: _rows_with(settings, one, lambda name: subject in trail.conversation(name)) for one in _all(settings)}
    told = {"submission": subject, "answers": trail.answers.get(subject), "history": trail.history}
    written = [one._asdict() for one in trail.revisions.get(subject, ())]
    return told | {"revisions": written, "snapshots": _reached(settings, log, held)}


def of_annotator(settings: Settings, annotator: str, log: History) -> Json:
    """What a person wrote, edited and judged, and the snapshots and models that hold their texts or rest on their votes."""
    trail = asyncio.run(_fed(log, _Trail(person=annotator)))
    written = Counter(
        "written" if at == 0 else "edited"
        for revisions in trail.revisions.values()
        for at, one in enumerate(revisions)
        if one.author == annotator
    )
    if not written and not trail.judged:
        raise AssayError("the log knows nobody of this name", got=annotator, hint="`assay annotators list` has the people")
    found = _all(settings)
    held = {one.name: lineage.rows_of(settings, one, trail, {annotator}) for one in found}
    rested = {one.name: _rows_with(settings, one, lambda name, one=one: _is_judged(name, one, trail)) for one in found}
    return {
        "annotator": annotator,
        "erased": annotator in trail.erased,
        "submissions": written["written"],
        "edits": written["edited"],
        "judged": len(trail.judged),
        "holds_texts": _reached(settings, log, held),
        "rests_on_votes": _reached(settings, log, rested),
    }


def _is_judged(name: str, manifest: Manifest, trail: _Trail) -> bool:
    """Whether the person voted on the text, or on one before it, below the snapshot's offsets."""
    return any(
        offset < manifest.offsets.get(f"{EVENTS.name}/{partition}", 0)
        for one in (name, *trail.conversation(name))
        for partition, offset in trail.judged.get(one, ())
    )


def _all(settings: Settings) -> list[Manifest]:
    return snapshots.load_all(settings)


def _rows_with(settings: Settings, manifest: Manifest, holds: Any) -> list[str]:
    """Rows of which the row's own subject, or one that it ends with, holds."""
    ids = lineage.ids_of(settings, manifest)
    return sorted(row for row, ends in ids if any(holds(name) for name in dict.fromkeys((row, *ends))))


def _reached(settings: Settings, log: History, held: Mapping[str, Iterable[str]]) -> list[Json]:
    """Each snapshot with rows, and the runs on it."""
    runs = said(log)
    found = list[Json]()
    for manifest in _all(settings):
        rows = list(held[manifest.name])
        if rows:
            users = [one.run for one in runs if lineage.uses(one.record.event, manifest.content_digest)]
            about = {"snapshot": manifest.name, "digest": manifest.content_digest, "rows": rows, "runs": users}
            found.append(about | {"tainted": bool(snapshots.erased_in(settings, manifest.name))})
    return found


def _unknown(what: str, got: str, known: Sequence[str], hint: str) -> AssayError:
    named = ", ".join(known[-MOST_NAMED:]) or "there is none yet"
    return AssayError(f"no such {what}", got=got, hint=f"known: {named}; {hint}")
