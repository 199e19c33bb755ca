"""The state at an earlier time: from the last images before it, and what the log holds from there on."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from agents.publishing import partition_of
from infra.history import images, segments
from infra.history.images import Chain, ChainRows, counts_at, folder_of
from infra.history.imaging import counting_from
from infra.history.rows import LazyRows, Packed
from infra.history.segments import MANIFEST
from infra.history.source import History, Stretch, decoded
from schemas.catalogue import TYPE_OF
from schemas.events import ClockTicked, LikenessMeasured, PaceMeasured, PolicyApplied, SkillsEstimated
from streams.annotators import Row as Annotator
from streams.annotators import subject_of
from streams.census import Cell
from streams.people import detail, person
from streams.preferences import KEY as COMPARISON
from streams.projection import CONTROL_KEY, SHARED, AnyProjection, AnyState, Json, State, restore_row, state_hash
from streams.rules import DEFAULT_RULES, Rules
from streams.submissions import Row as Submission

#: What reaches every subject of a partition, wherever it stands.
_CONTROLS = (ClockTicked, LikenessMeasured, PaceMeasured, PolicyApplied, SkillsEstimated)
#: A name in JSON may be written in escapes; then it is decoded to be sure.
_ESCAPE = b"\\u"


class Images(NamedTuple):
    """Where images may lie: beside an archive, of this code."""

    archive: Path | None
    code: str

    def before(self, projection: AnyProjection, partition: int, end: int) -> tuple[Path, Chain | None]:
        """The folder of a partition, and its chain up to this offset."""
        if self.archive is None:
            return Path(), None
        folder = folder_of(self.archive, projection, self.code, partition)
        chain = self.whole(projection, partition)
        if chain is not None:
            chain = chain.model_copy(update={"images": tuple(one for one in chain.images if one.end <= end)})
        return folder, chain

    def whole(self, projection: AnyProjection, partition: int) -> Chain | None:
        """All of it. Raises AssayError where it is damaged, or was made from another archive than the one beside it."""
        if self.archive is None:
            return None
        folder = folder_of(self.archive, projection, self.code, partition)
        chain, beside = images.load(folder), segments.folder_of(self.archive, (projection.source.name, partition))
        if chain is not None and (beside / MANIFEST).exists() and (log := segments.load(beside).log) != chain.log:
            raise images.damaged(folder, f"it is of archive {chain.log}, not {log}")
        return chain


class Stands(NamedTuple):
    """One partition at an offset: the numbers, and how many records had to be folded for them."""

    projection: str
    partition: int
    end: int
    folded: int
    counts: dict[Cell, int]


async def counted(history: History, kept: Images, projection: AnyProjection, partition: int, end: int) -> Stands:
    """What the partition comes to before this offset."""
    chain = kept.whole(projection, partition)
    if chain is not None and chain.end >= end:
        folder = folder_of(kept.archive or Path(), projection, kept.code, partition)
        return Stands(projection.name, partition, end, 0, counts_at(folder, chain, end))
    fold = counting_from(projection, *kept.before(projection, partition, end))
    start, place = 0 if chain is None else chain.end, (projection.source.name, partition)
    async for stretch in history.stretches(*place, end, start):
        for record in decoded(place, stretch):
            fold.feed(record)
    return Stands(projection.name, partition, end, end - start, fold.counts)


async def state_at(history: History, kept: Images, projection: AnyProjection, partition: int, end: int) -> AnyState:
    """The whole state before this offset; rows that nothing touches stay packed."""
    folder, chain = kept.before(projection, partition, end)
    state = images.state_from(projection, ChainRows(folder, () if chain is None else chain.images))
    return await folded(history, projection, partition, end, 0 if chain is None else chain.end, state)


async def folded(
    history: History, projection: AnyProjection, partition: int, end: int, start: int = 0, state: AnyState | None = None
) -> AnyState:
    """Fold these records onto the state, or onto an empty one."""
    state = projection.empty() if state is None else state
    place, apply = (projection.source.name, partition), projection.apply
    async for stretch in history.stretches(*place, end, start):
        for record in decoded(place, stretch):
            state = apply(state, record).state
    return state


async def hash_at(history: History, kept: Images, projection: AnyProjection, partition: int, end: int) -> str:
    """`state_hash` of the state before this offset."""
    return hash_of(projection, await state_at(history, kept, projection, partition, end))


def hash_of(projection: AnyProjection, state: AnyState) -> str:
    """`state_hash`, for which rows that nobody touched are not unpacked and packed again."""
    if not isinstance(state.rows, LazyRows):
        return state_hash(projection, state)
    unopened: Any = _Unopened(projection)
    return state_hash(unopened, State(state.control, _AsTheyLie(state.rows), state.shared, state.position))


class _Unopened:
    """The projection, for rows of which some are still JSON: of one row both come to the same bytes."""

    def __init__(self, projection: AnyProjection) -> None:
        self._projection = projection
        self.pack_control = projection.pack_control

    def pack(self, row: Any) -> Any:
        return orjson.loads(row) if isinstance(row, bytes) else self._projection.pack(row)


class _AsTheyLie(dict[str, Any]):
    def __init__(self, rows: LazyRows) -> None:
        super().__init__(dict.fromkeys(rows))
        self._rows = rows

    def __getitem__(self, key: str) -> Any:
        packed = self._rows.untouched(key)
        return self._rows[key] if packed is None else packed


# --- one row -----------------------------------------------------------------------------------


class _Few:
    """Rows of a chain by name; it seems to hold the one of this key alone."""

    def __init__(self, chain: ChainRows, key: str) -> None:
        self._chain, self._key, self._found = chain, key, dict[str, Packed | None]()

    def packed(self, key: str) -> Packed | None:
        if key != self._key and not key.startswith(SHARED):
            return None
        if key not in self._found:
            self._found[key] = self._chain.one(key)
        return self._found[key]

    def __iter__(self) -> Iterator[str]:
        return iter([self._key] if self.packed(self._key) is not None else [])


async def row_at(history: History, kept: Images, projection: AnyProjection, subject: str, ends: Mapping[int, int]) -> Json | None:
    """What is known of one subject (or comparison, annotator, slice) before these offsets; None where it is not known."""
    partition = partition_of(subject, len(ends))
    end = ends[partition]
    folder, chain = kept.before(projection, partition, end)
    state = _state_of_one(projection, ChainRows(folder, () if chain is None else chain.images), subject)
    state = await _folded_about(history, projection, partition, end, 0 if chain is None else chain.end, state, subject)
    about = {"projection": projection.name, "partition": partition, "end": end, "key": subject}
    for key, rows in ((subject, state.rows), (COMPARISON + subject, state.shared)):
        if key in rows:
            return {**about, "row": _told(subject, rows[key], state)}
    return None


def _state_of_one(projection: AnyProjection, chain: ChainRows, subject: str) -> AnyState:
    state = projection.empty()
    control = chain.one(CONTROL_KEY)
    if control is not None:
        restore_row(projection, state, CONTROL_KEY, orjson.loads(control))
        state.rows = LazyRows(_Few(chain, subject), lambda packed: projection.unpack(orjson.loads(packed)), _nobody)
        state.shared = LazyRows(_Few(chain, COMPARISON + subject), orjson.loads, _nobody)
    return state


def _nobody(key: str, row: Any) -> None:
    return None


async def _folded_about(
    history: History, projection: AnyProjection, partition: int, end: int, start: int, state: AnyState, subject: str
) -> AnyState:
    """Fold what can concern this subject: records that name it, and control records."""
    names = [subject.encode(), _ESCAPE, *(TYPE_OF[model].rpartition(".")[0].encode() for model in _CONTROLS)]
    place, apply = (projection.source.name, partition), projection.apply
    async for stretch in history.stretches(*place, end, start):
        told = [(at, value) for at, value in zip(*stretch, strict=True) if value and any(name in value for name in names)]
        for record in decoded(place, Stretch([at for at, _ in told], [value for _, value in told])):
            state = apply(state, record).state
    return state


def _told(subject: str, row: Any, state: AnyState) -> Json:
    """The row for a reader, without the ids of its events."""
    if isinstance(row, dict):
        return {name: value for name, value in row.items() if name != "seen"}
    if isinstance(row, Annotator):
        tallies = row.projects.items()
        return {name: detail(person(subject, name, tally, _rules(state, name))) for name, tally in tallies}
    if isinstance(row, Submission):
        told = {name: getattr(row, name) for name in Submission.__slots__ if name not in ("seen", "votes", "analysis")}
        analysis = None if row.analysis is None else row.analysis._asdict() | {"embedding": None}
        return {**told, "votes": [vote._asdict() for vote in row.votes.values()], "analysis": analysis}
    return {name: getattr(row, name) for name in type(row).__slots__ if name not in ("sums", "moments", "origins")}


def _rules(state: AnyState, name: str) -> Rules:
    rules: Rules = state.control.get(subject_of(name)[0], DEFAULT_RULES)
    return rules
