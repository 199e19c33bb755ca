"""What the ways in do to words: sealed with the right key, the same bytes each time, and refused where that cannot be."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytest

from agents.analysis import AnalysisRunner, wanted
from agents.keys import Erasure, KeyStore, KeyTrouble, TextReader
from agents.settings import WorkerSettings
from infra.importing.facts import Imported
from infra.importing.intake import Report, intake
from infra.importing.jsonl import IMPORTABLE
from infra.importing.publish import Known, Message, message
from infra.importing.sealing_in import Sample
from schemas import events as e
from schemas import upcasts as u
from schemas.catalogue import EVENT_TYPES, NEWEST, TYPE_OF, enveloped
from schemas.events import AnyEvent
from schemas.identity import event_id
from schemas.topics import EVENTS
from schemas.upcasts import ToldEvent
from schemas.wire import decode, told
from schemas.words import Frozen
from streams.sealed import is_sealed, key_id, words_in
from tests.jobs.conversations import START, event, text

OLD_TEXT = {"project": "p", "kind": "prompt", "writer": "w-1", "slice": "en/a/b", "text": "In version 1."}
SAID: list[tuple[str, Frozen]] = [
    text("s-1", "A text."),
    ("s-1", e.SubmissionEdited(revision=2, editor="ed", text="An edit.", reason="Better.")),
    ("s-1", e.SubmissionWithdrawn(withdrawn_by="w-1", reason="Enough.")),
    ("s-1", e.VoteCast(revision=1, voter="v-1", label="good", reason="Because.")),
    ("s-1", e.VoteRetracted(revision=1, voter="v-1", reason="Or not.")),
    ("c-1", e.PreferenceCast(annotator="v-1", choice="left", reason="Shorter.")),
    ("s-1", e.SubmissionRuled(revision=1, verdict="approved", ruled_by="ed", reason="I say so.")),
    ("s-1", e.SubmissionReopened(revision=1, reopened_by="ed", reason="I was wrong.")),
]


class Raw(NamedTuple):
    """A consumed record."""

    offset: int
    value: bytes
    partition: int = 0
    topic: str = EVENTS.name


@pytest.fixture
def keys(tmp_path: Path) -> KeyStore:
    return KeyStore(tmp_path / "keys", look_seconds=0)


def of(subject: str, data: Frozen, number: int = 0) -> AnyEvent:
    return decode(event(subject, number, data)[1])


def taken(events: Iterable[ToldEvent], keys: KeyStore, known: Known | None = None) -> tuple[list[Message], Report]:
    report = Report()
    return list(intake((Imported(number, one) for number, one in enumerate(events, 1)), known, report, keys)), report


@pytest.mark.parametrize(("subject", "data"), SAID, ids=lambda one: type(one).__name__ if isinstance(one, Frozen) else None)
def test_every_word_is_sealed_and_nothing_else_is_changed(keys: KeyStore, subject: str, data: Frozen) -> None:
    ((made,), _) = taken([of(subject, data)], keys)
    found = decode(made.value)
    names = {one.field for one in words_in(subject, data)}
    assert names
    for name in names:
        assert is_sealed(getattr(found.data, name))
        assert getattr(data, name).encode() not in made.value
    assert found.data.model_dump(exclude=names) == data.model_dump(exclude=names)
    assert taken([of(subject, data)], keys)[0] == [made]


def test_no_field_for_words_is_forgotten() -> None:
    """Of what people tell: whatever is free text, but for names."""
    about = {
        (entry.name, name)
        for entry in EVENT_TYPES.values()
        if entry.type in IMPORTABLE and entry.version == NEWEST[entry.name]
        for name in entry.data.model_fields
        if name in ("text", "reason")
    }
    sealed = {(type(data).__name__, one.field) for subject, data in SAID for one in words_in(subject, data)}
    assert about == sealed


def test_what_holds_no_words_stays_as_it_was_told(keys: KeyStore) -> None:
    vote = u.VoteCastV1(revision=1, voter="v-1", label="good")
    old = enveloped_v1("s-1", vote)
    ((made,), _) = taken([old], keys)
    assert (told(made.value), made.type) == (old, "assay.VoteCast.v1")
    assert not keys.path.exists()


def enveloped_v1(subject: str, data: Frozen) -> ToldEvent:
    made = EVENT_TYPES[TYPE_OF[type(data)]].event
    about = {"id": event_id(START, subject, TYPE_OF[type(data)]), "source": "tests", "subject": subject, "time": START}
    return made.model_validate({**about, "type": TYPE_OF[type(data)], "data": data})  # type: ignore[return-value]


def test_a_text_of_an_old_version_goes_in_as_the_newest(keys: KeyStore) -> None:
    old = enveloped_v1("s-1", u.SubmissionReceivedV1(**OLD_TEXT))  # type: ignore[arg-type]
    ((made,), _) = taken([old], keys)
    assert made.type == TYPE_OF[e.SubmissionReceived]
    found = decode(made.value).data
    assert isinstance(found, e.SubmissionReceived)
    assert TextReader(keys).read("s-1", 1, found.text, "w-1") == "In version 1."


def test_keys_are_of_authors_and_of_edited_submissions(keys: KeyStore) -> None:
    said = [of("s-1", text("s-1", "One.")[1]), of("s-2", text("s-2", "Two.")[1]), of("s-1", SAID[1][1]), of("s-1", SAID[6][1], 1)]
    made, _ = taken(said, keys)
    first, second, edit, ruled = (decode(one.value).data for one in made)
    assert isinstance(first, e.SubmissionReceived)
    assert isinstance(second, e.SubmissionReceived)
    assert isinstance(edit, e.SubmissionEdited)
    assert isinstance(ruled, e.SubmissionRuled)
    assert key_id(first.text) == key_id(second.text)
    assert key_id(edit.reason or "") == key_id(ruled.reason)
    assert len({key_id(first.text), key_id(edit.text), key_id(ruled.reason)}) == 3


def test_what_was_imported_plain_before_is_known(keys: KeyStore) -> None:
    """By itself, and as version 1 had it."""
    plain = of("s-1", SAID[3][1])
    old = enveloped_v1("s-2", u.SubmissionReceivedV1(**OLD_TEXT))  # type: ignore[arg-type]
    known: Known = {}
    for before in (plain, old):
        list(intake([Imported(1, before)], known, Report(), Sample()))
    known = {id_: crc for id_, crc in zip(known, map(_crc, (plain, old)), strict=True)}
    made, report = taken([plain, old], keys, known)
    assert (made, report.already_there, report.problems_total) == ([], 2, 0)
    other = plain.model_copy(update={"data": plain.data.model_copy(update={"reason": "Something else."})})
    assert taken([other], keys, known)[1].problems_by_code == {"id_reused": 1}


def _crc(event: ToldEvent) -> int:
    from zlib import crc32

    return crc32(message(event).value)


def test_what_was_sealed_before_is_known(keys: KeyStore) -> None:
    known: Known = {}
    assert len(taken([of(*SAID[0]), of(*SAID[3], 1)], keys, known)[0]) == 2
    keys.rotate()
    made, report = taken([of(*SAID[0]), of(*SAID[3], 1)], KeyStore(keys.folder), known)
    assert (made, report.already_there) == ([], 2)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("sealed:1:" + "K" * 22 + ":AAAA", "looks_sealed"),
        ("sealed:2:something", "looks_sealed"),
        ("x" * 100_001, "too_long"),
    ],
)
def test_a_text_that_cannot_be_sealed_is_refused(keys: KeyStore, words: str, code: str) -> None:
    made, report = taken([of("s-1", text("s-1", words)[1])], keys)
    assert (made, dict(report.problems_by_code)) == ([], {code: 1})


def test_a_reason_has_to_fit(keys: KeyStore) -> None:
    for length, problems in ((1_430, {}), (1_500, {"too_long": 1})):
        vote = e.VoteCast(revision=1, voter="v-1", label="good", reason="x" * length)
        assert taken([of("s-1", vote)], keys)[1].problems_by_code == problems


def test_outsiders_erase_nobody() -> None:
    assert TYPE_OF[e.AuthorErased] not in IMPORTABLE


def test_the_analysis_reads_what_is_sealed_and_leaves_out_what_was_erased(keys: KeyStore, tmp_path: Path) -> None:
    said = [text("s-1", "Mine.", writer="w-1"), text("s-2", "Theirs.", writer="w-2"), text("s-3", "Plain.", writer="w-3")]
    made, _ = taken([of(*one, number) for number, one in enumerate(said[:2])], keys)
    raws = [Raw(number, one.value) for number, one in enumerate([*made, message(of(*said[2], 3))])]
    runner = AnalysisRunner(WorkerSettings(data_dir=tmp_path, embedder="hashing"), _raise)
    assert [want.text for want in runner._opened(wanted(raws))[0]] == ["Mine.", "Theirs.", "Plain."]
    for name in ("w-2", "w-3"):
        keys.destroy(Erasure(name, "an-event", "2026-03-14T00:00:00+00:00", None, ()))
    runner = AnalysisRunner(WorkerSettings(data_dir=tmp_path, embedder="hashing"), _raise)
    assert [want.text for want in runner._opened(wanted(raws))[0]] == ["Mine."]
    elsewhere = AnalysisRunner(WorkerSettings(data_dir=tmp_path / "elsewhere", embedder="hashing"), _raise)
    with pytest.raises(KeyTrouble, match="is in the key store"):
        elsewhere._opened(wanted(raws[:1]))


@pytest.mark.parametrize("kept", ["sealed:1:{own}:QQ==", "sealed:1:{foreign}:QQ==", "{moved}"])
def test_a_text_that_nobody_sealed_here_waits_in_quarantine(keys: KeyStore, tmp_path: Path, kept: str) -> None:
    """One record of anybody's would stop the analysis for good, as often as it is started."""
    made, _ = taken([of(*text("s-1", "Mine.", writer="w-1"))], keys)
    sealed = decode(made[0].value).data.text
    forged = kept.format(own=sealed.split(":")[2], foreign="A" * 22, moved=sealed)
    raws = [Raw(0, message(of(*text("s-9", forged, writer="w-9"), 1)).value), Raw(1, made[0].value)]
    readable, refused = AnalysisRunner(WorkerSettings(data_dir=tmp_path, embedder="hashing"), _raise)._opened(wanted(raws))
    assert [want.text for want in readable] == ["Mine."]
    assert [(want.raw.offset, refusal.code) for want, refusal in refused] == [(0, "unreadable")]


def _raise(error: BaseException) -> None:
    raise error


def test_an_erasure_is_an_event() -> None:
    erased = e.AuthorErased(author="w-1", reason="asked for it")
    assert enveloped(event_id(START, "x"), "assay/erase", "w-1", START, erased).data == erased
