"""The views answer as the folds would: each event once, in the order of the log, whatever was delivered twice."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from scipy.stats import binomtest

from infra.clickhouse.engine import Store
from infra.policies.facts import actual
from schemas import events as e
from schemas import upcasts as u
from schemas.policy import Policy
from schemas.topics import ANNOTATORS, ASSIGNMENTS, EVENTS, JUDGEMENTS, POLICIES, QUARANTINE, RUNS, SLICES, VERDICTS
from schemas.words import Origin
from tests.analytics.logs import START, Log

EMBEDDING = "A" * 512
TIMES_DELIVERED = pytest.mark.parametrize("times", [1, 2], ids=["once", "twice"])


def ask(store: Store, query: str) -> list[dict[str, Any]]:
    return list(store.client(store.database).query(query).named_results())


def received(log: Log, subject: str, writer: str = "w1", text: str = "Why is the sky blue?") -> str:
    data = e.SubmissionReceived(
        project="p", kind="prompt", writer=writer, slice="en/physics/explain", text=text, provenance="human"
    )
    return log.add(EVENTS, subject, data)


def voted(log: Log, subject: str, voter: str, label: Any, revision: int = 1, id_: str = "") -> str:
    vote = e.VoteCast(revision=revision, voter=voter, label=label, duration_milliseconds=900)
    return log.add(EVENTS, subject, vote, id_)


def edited(log: Log, subject: str, revision: int, text: str) -> None:
    log.add(EVENTS, subject, e.SubmissionEdited(revision=revision, editor="ed", text=text))


def store_it(log: Log, store: Store, times: int) -> None:
    for _ in range(times):
        log.store(store)


@TIMES_DELIVERED
def test_texts_are_edited_in_turn_only(store: Store, times: int) -> None:
    log = Log()
    edited(log, "s1", 2, "an edit before the text does not count")
    received(log, "s1")
    received(log, "s1", "w2", "received again under another id does not count")
    edited(log, "s1", 3, "revision 3 does not follow revision 1")
    edited(log, "s1", 2, "Why is the sky blue, and not violet?")
    edited(log, "s1", 2, "revision 2 is there already")
    analysis = {"model": "m", "language": "en", "characters": 36, "words": 8, "embedding": EMBEDDING}
    log.add(EVENTS, "s1", e.SubmissionAnalysed(revision=2, **analysis))
    log.add(EVENTS, "s1", e.GoldenAnswerSet(revision=2, label="good", set_by="boss"))
    received(log, "s2")
    log.add(EVENTS, "s2", u.GoldenAnswerSetV1(revision=1, verdict="rejected", set_by="boss"))
    log.add(EVENTS, "s2", e.SubmissionWithdrawn(withdrawn_by="w1"))
    received(log, "s3")
    log.add(EVENTS, "s3", e.SubmissionWithdrawn(withdrawn_by="w1"))
    edited(log, "s3", 2, "An edit brings it back.")
    store_it(log, store, times)
    found = ask(store, "SELECT * FROM v_texts ORDER BY submission")
    assert [(row["submission"], row["revision"], row["withdrawn"]) for row in found] == [
        ("s1", 2, False),
        ("s2", 1, True),
        ("s3", 2, False),
    ]
    first = found[0]
    assert (first["text"], first["writer"], first["editor"]) == ("Why is the sky blue, and not violet?", "w1", "ed")
    assert (first["language"], first["domain"], first["skill"]) == ("en", "physics", "explain")
    assert (first["words"], first["characters"], first["golden"]) == (8, 36, "good")
    assert (found[1]["words"], found[1]["golden"], found[1]["edited_at"]) == (None, "bad", None)


@TIMES_DELIVERED
def test_votes_know_what_became_of_them(store: Store, times: int) -> None:
    log = Log()
    received(log, "s1")
    voted(log, "s1", "v1", "good")
    twice = voted(log, "s1", "v1", "bad")
    voted(log, "s1", "v2", "good")
    log.add(EVENTS, "s1", e.VoteRetracted(revision=1, voter="v2"))
    voted(log, "s1", "w1", "good")
    voted(log, "s1", "v3", "good", revision=2)
    voted(log, "s1", "v1", "bad", id_=twice)
    store_it(log, store, times)
    found = ask(store, "SELECT voter, label, state, own, counts FROM v_votes ORDER BY offset")
    assert [tuple(row.values()) for row in found] == [
        ("v1", "good", "replaced", False, False),
        ("v1", "bad", "live", False, True),
        ("v2", "good", "retracted", False, False),
        ("w1", "good", "live", True, False),
        ("v3", "good", "live", False, False),
    ]
    assert ask(store, "SELECT good_votes, bad_votes, verdict, verdict_at FROM v_submissions") == [
        {"good_votes": 0, "bad_votes": 1, "verdict": "waiting", "verdict_at": None}
    ]


@TIMES_DELIVERED
def test_votes_are_for_or_against_as_the_newest_policy_says(store: Store, times: int) -> None:
    log = Log()
    received(log, "s1")
    for voter, label in enumerate(("yes", "mostly", "no", "no", "good", "nonsense")):
        voted(log, "s1", f"v{voter}", label)
    found = []
    for version, approving in ((2, ("yes", "mostly")), (1, ("yes",)), (3, ("mostly", "no"))):
        policy = Policy(labels=("yes", "mostly", "no"), approving=approving)
        about = {"project": "p", "version": version, "applied_by": "ops", "reason": "any"}
        log.add(POLICIES, "p", e.PolicyApplied(policy=policy, **about))  # type: ignore[arg-type]
        # Of two with one version the first counts.
        log.add(POLICIES, "p", e.PolicyApplied(policy=Policy(), **about))  # type: ignore[arg-type]
        store_it(log, store, times)
        found += ask(store, "SELECT good_votes, bad_votes FROM v_submissions")
    assert [tuple(row.values()) for row in found] == [(2, 2), (2, 2), (3, 1)]


#: What both versions say of a verdict.
COUNTED = {"policy_version": 3, "log_odds_milli_nats": 2772, "good_votes": 2, "bad_votes": 0, "decided_by": (1, 2)}


def reached(log: Log, subject: str, verdict: Any, revision: int = 1, id_: str = "", **said: Any) -> str:
    weighed = {"label": "good", "confidence_permille": 912, "because": "confidence", "model": "bayesian", "skills_version": 7}
    about = {"origin": log.origin(EVENTS), "project": "p", "revision": revision, "verdict": verdict}
    return log.add(VERDICTS, subject, e.VerdictReached(**about | COUNTED | weighed | said), id_)


@TIMES_DELIVERED
def test_verdicts_know_whether_they_stand(store: Store, times: int) -> None:
    log = Log()
    received(log, "s1")
    voted(log, "s1", "v1", "good")
    again = reached(log, "s1", "approved")
    edited(log, "s1", 2, "Why?")
    reopened = e.VerdictReopened(origin=log.origin(EVENTS), project="p", revision=1, verdict="approved", reason="edited")
    log.add(VERDICTS, "s1", reopened)
    voted(log, "s1", "v2", "bad", revision=2)
    reached(log, "s1", "rejected", revision=2)
    # Transport is at-least-once: the first verdict comes again, late, under its own id.
    log.records[VERDICTS].append(type(log.records[VERDICTS][0])(len(log.records[VERDICTS]), log.records[VERDICTS][0].value))
    assert again
    store_it(log, store, times)
    columns = "verdict, revision, standing, latest, ended_by, decided_by, policy_version"
    found = ask(store, f"SELECT {columns} FROM v_verdicts ORDER BY reached_at")
    assert [tuple(row.values()) for row in found] == [
        ("approved", 1, False, True, "edited", [1, 2], 3),
        ("rejected", 2, True, True, "", [1, 2], 3),
    ]
    (submission,) = ask(store, "SELECT verdict, revision, policy_version, label, confidence_permille FROM v_submissions")
    assert tuple(submission.values()) == ("rejected", 2, 3, "good", 912)


@TIMES_DELIVERED
def test_verdicts_of_both_versions_say_which_label_led(store: Store, times: int) -> None:
    log = Log()
    received(log, "s")
    old: list[tuple[str, str, int]] = [("s1", "approved", 2772), ("s2", "rejected", -99_000), ("s3", "escalated", 0)]
    for subject, verdict, odds in old:
        about: Any = {"origin": log.origin(EVENTS), "project": "p", "revision": 1, "verdict": verdict}
        log.add(VERDICTS, subject, u.VerdictReachedV1(**about | COUNTED | {"log_odds_milli_nats": odds}))
    reached(log, "s4", "rejected", label="so-so", because="ruled")
    store_it(log, store, times)
    columns = "label, confidence_permille, because, model, skills_version"
    found = ask(store, f"SELECT {columns} FROM v_verdicts ORDER BY submission")
    assert [tuple(row.values()) for row in found] == [
        ("good", 941, "confidence", "majority", 0),
        ("bad", 999, "confidence", "majority", 0),
        ("good", 500, "overlap_max", "majority", 0),
        ("so-so", 912, "ruled", "bayesian", 7),
    ]


ORIGIN: Any = {"partition": 0, "offset": 0, "index": 0}


def judged(log: Log, person: str, role: Any, outcome: Any, change: Any = 1, id_: str = "", **said: Any) -> str:
    about = {"project": "p", "submission": "s1", "revision": 1, "hour": 1, "duration_milliseconds": 1000}
    data = e.JudgementScored(origin=ORIGIN, role=role, outcome=outcome, change=change, **about, **said)  # type: ignore[arg-type]
    return log.add(JUDGEMENTS, person, data, id_)


def wilson(count: int, total: int) -> tuple[float, float]:
    interval = binomtest(count, total).proportion_ci(method="wilson")
    return interval.low, interval.high


@TIMES_DELIVERED
def test_annotators_have_counts_and_wilson_bounds(store: Store, times: int) -> None:
    log = Log()
    for outcome in ("submitted", "submitted", "approved", "rejected", "rejected"):
        again = judged(log, "a1", "writer", outcome)
    judged(log, "a1", "writer", "rejected", id_=again)
    judged(log, "a1", "writer", "approved", -1)
    for outcome in ("agreed", "agreed", "disagreed", "golden_right"):
        judged(log, "a1", "voter", outcome)
    judged(log, "a1", "voter", "agreed", task="preference")
    judged(log, "a2", "writer", "submitted")
    flag: Any = {"origin": ORIGIN, "project": "p", "against": 2, "total": 2, "limit_permille": 350, "policy_version": 1}
    log.add(ANNOTATORS, "a1", u.AnnotatorFlaggedV1(**flag, rule="rejection"))
    log.add(ANNOTATORS, "a1", e.AnnotatorFlagged(**flag, rule="golden", action="restrict"))
    log.add(ANNOTATORS, "a2", e.AnnotatorFlagged(**flag, rule="rejection", action="notify"))
    log.add(ANNOTATORS, "a2", e.AnnotatorCleared(**flag, rule="rejection", reason="recovered"))
    store_it(log, store, times)
    one, choosing, two = ask(store, "SELECT * FROM v_annotators ORDER BY annotator, task DESC")
    assert (choosing["task"], choosing["agreed"], choosing["scored"], choosing["flags"]) == ("preference", 1, 1, {})
    assert (one["submitted"], one["approved"], one["rejected"], one["decided"], one["rejection_rate"]) == (2, 0, 2, 2, 1.0)
    assert (one["rejection_low"], one["rejection_high"]) == pytest.approx(wilson(2, 2), abs=1e-6)
    assert (one["disagreement_low"], one["disagreement_high"]) == pytest.approx(wilson(1, 3), abs=1e-6)
    assert (one["golden_right"], one["golden_seen"], one["mean_milliseconds"]) == (1, 1, 1000.0)
    assert (one["flags"], two["flags"]) == ({"rejection": "notify", "golden": "restrict"}, {})
    assert (two["rejection_low"], one["expected_accuracy"]) == (None, None)


@TIMES_DELIVERED
def test_the_expected_accuracy_is_the_mean_credit_of_what_was_voted(store: Store, times: int) -> None:
    log = Log()
    first = {"label": "good", "truth": "good", "credits_permille": {"good": 900, "bad": 100}}
    judged(log, "a1", "voter", "agreed", **first)
    judged(log, "a1", "voter", "agreed", -1, **first)
    judged(log, "a1", "voter", "agreed", **first | {"credits_permille": {"good": 800, "bad": 200}})
    judged(log, "a1", "voter", "disagreed", label="so-so", truth="good", credits_permille={"good": 999})
    about: Any = {"origin": ORIGIN, "project": "p", "submission": "s1", "revision": 1, "hour": 1, "role": "voter", "change": 1}
    log.add(JUDGEMENTS, "a1", u.JudgementScoredV1(**about, outcome="agreed", label="good", verdict="approved"))
    store_it(log, store, times)
    (found,) = ask(store, "SELECT agreed, scored, expected_accuracy FROM v_annotators")
    assert found == {"agreed": 2, "scored": 3, "expected_accuracy": pytest.approx(0.4)}


DESK = "019cebba-2f95-7e41-bb8a-1d1e94e6d383"


@TIMES_DELIVERED
def test_leases_end_once(store: Store, times: int) -> None:
    log = Log()
    about: Any = {"project": "p", "annotator": "a1", "desk": DESK}
    granted = e.LeaseGranted(**about, revision=1, serves="overlap", until=START + timedelta(minutes=15))
    leases = [log.add(ASSIGNMENTS, subject, granted) for subject in ("s1", "s2")]
    log.add(ASSIGNMENTS, "s1", e.LeaseEnded(**about, lease=leases[0], reason="done"))
    log.add(ASSIGNMENTS, "s1", e.LeaseEnded(**about, lease=leases[0], reason="expired"))
    store_it(log, store, times)
    one, two = ask(store, "SELECT * FROM v_leases ORDER BY subject")
    assert (one["lease"], one["subject"], one["serves"], one["ended_by"]) == (leases[0], "s1", "overlap", "done")
    assert (one["granted_at"], one["until"], one["ended_at"]) == tuple(
        START.replace(tzinfo=None) + timedelta(**later) for later in ({}, {"minutes": 15}, {"hours": 2})
    )
    assert (two["lease"], two["annotator"], two["ended_at"], two["ended_by"]) == (leases[1], "a1", None, "")


def preferred(log: Log, choice: Any, at: int) -> None:
    about: Any = {"project": "p", "prompt": "q", "left": "a", "right": "b", "settled_by": "harmless", "decided_by": (1, 2)}
    votes: Any = {"left_votes": 2, "right_votes": 1, "tie_votes": 0, "policy_version": 1, "skills_version": 3}
    origin = Origin(partition=0, offset=at, index=0)
    data = e.PreferenceReached(origin=origin, choice=choice, confidence_permille=880, **about, **votes)
    log.add(VERDICTS, "c1", data)


@TIMES_DELIVERED
def test_preferences_know_whether_they_stand(store: Store, times: int) -> None:
    log = Log()
    preferred(log, "left", 4)
    reopened = e.PreferenceReopened(origin=Origin(partition=0, offset=9, index=0), project="p", choice="left", reason="voted")
    log.add(VERDICTS, "c1", reopened)
    preferred(log, "tie", 10)
    store_it(log, store, times)
    columns = "choice, chosen, rejected, settled_by, left_votes, standing, ended_by, origin_offset"
    found = ask(store, f"SELECT {columns} FROM v_preferences ORDER BY origin_offset")
    assert [tuple(row.values()) for row in found] == [
        ("left", "a", "b", "harmless", 2, False, "voted", 4),
        ("tie", "", "", "harmless", 2, True, "", 10),
    ]
    assert ask(store, "SELECT count() AS verdicts FROM v_verdicts") == [{"verdicts": 0}]


def estimated(log: Log, version: int, weights: dict[str, tuple[int, ...]], **said: Any) -> None:
    about = {"project": "p", "model": "bayesian", "champion": version > 1, "golden_answers": 50 * version}
    default = {"labels": ("good", "bad"), "prior_milli_nats": (0, 0), "default_milli_nats": (-1, -2, -2, -1)}
    data = about | default | {"version": version, "weights_milli_nats": weights, "temperature_permille": 1000 + version}
    log.add(ANNOTATORS, "skills", e.SkillsEstimated(**data | said))


@TIMES_DELIVERED
def test_skills_are_the_newest_of_each_voter(store: Store, times: int) -> None:
    log = Log()
    log.add(ANNOTATORS, "skills", u.SkillsEstimatedV1(version=9, default_milli_nats=1, weights_milli_nats={"old": 2}))
    estimated(log, 1, {"v0": (9, 9, 9, 9)}, labels=("yes", "no"))
    estimated(log, 2, {"v1": (1, 1, 1, 1), "v2": (2, 2, 2, 2)}, more=True)
    estimated(log, 2, {"v3": (3, 3, 3, 3)})
    estimated(log, 3, {"v1": (4, 4, 4, 4)})
    estimated(log, 1, {"v9": (0, 0, 0, 0)}, task="preference", champion=True)
    store_it(log, store, times)
    columns = "voter, weights_milli_nats, version, champion, temperature_permille, golden_answers"
    found = ask(store, f"SELECT {columns} FROM v_skills WHERE task = 'review' ORDER BY voter")
    newest = (True, 1003, 150)
    assert [tuple(row.values()) for row in found] == [
        ("", [-1, -2, -2, -1], 3, *newest),
        ("v1", [4, 4, 4, 4], 3, *newest),
        ("v2", [2, 2, 2, 2], 2, *newest),
        ("v3", [3, 3, 3, 3], 2, *newest),
    ]
    (other,) = ask(store, "SELECT voter, labels FROM v_skills WHERE task = 'preference' AND voter != ''")
    assert other == {"voter": "v9", "labels": ["good", "bad"]}


@TIMES_DELIVERED
def test_slices_hold_what_entered_and_has_not_left(store: Store, times: int) -> None:
    log = Log()
    for subject, writer in (("s1", "w1"), ("s2", "w2"), ("s3", "w2")):
        received(log, subject, writer)
    for subject, writer, words in (("s1", "w1", 5), ("s2", "w2", 7), ("s3", "w2", 11)):
        reached(log, subject, "approved")
        log.add(SLICES, "en/physics/explain", _sliced(e.SliceEntered, log, subject, writer, words))
    log.add(SLICES, "en/physics/explain", _sliced(e.SliceLeft, log, "s1", "w1", 5))
    store_it(log, store, times)
    (found,) = ask(store, "SELECT * FROM v_slices")
    assert (found["submissions"], found["approved"], found["waiting"], found["writers"]) == (3, 3, 0, 2)
    assert (found["set_texts"], found["set_words"], found["set_writers"], found["rejection_rate"]) == (2, 18, 1, 0.0)


def _sliced(kind: type[e.SliceEntered], log: Log, submission: str, writer: str, words: int) -> e.SliceEntered:
    about = {"project": "p", "revision": 1, "kind": "prompt", "model": "m", "embedding": EMBEDDING}
    return kind(origin=log.origin(EVENTS), submission=submission, writer=writer, words=words, **about)  # type: ignore[arg-type]


@TIMES_DELIVERED
def test_the_policy_log_says_what_changed(store: Store, times: int) -> None:
    log = Log()
    log.add(POLICIES, "p", e.PolicyApplied(project="p", version=1, policy=Policy(), applied_by="ops", reason="start"))
    strict = Policy(overlap_min=3, labels=("good", "bad", "so-so"), queue_order="oldest")
    changed = ["labels: good,bad -> good,bad,so-so", "overlap_min: 2 -> 3", "queue_order: uncertain -> oldest"]
    log.add(POLICIES, "p", e.PolicyProposed(project="p", version=2, policy=strict, proposed_by="ann", reason="too quick"))
    log.add(POLICIES, "p", e.PolicyApplied(project="p", version=2, policy=strict, applied_by="ops", reason="agreed"))
    store_it(log, store, times)
    first, proposed, applied = ask(store, "SELECT * FROM v_policy_log ORDER BY offset")
    assert len(first["changed"]) == len(Policy.model_fields)
    assert (proposed["action"], proposed["actor"], proposed["changed"]) == ("proposed", "ann", changed)
    assert (applied["action"], applied["thresholds"]["overlap_min"], applied["changed"]) == ("applied", "3", changed)


@TIMES_DELIVERED
def test_the_policy_log_goes_on_from_version_1_of_the_event(store: Store, times: int) -> None:
    log = Log()
    about = {"project": "p", "applied_by": "ops", "reason": "any"}
    log.add(POLICIES, "p", u.PolicyAppliedV1(version=1, policy=u.PolicyV1(overlap_min=3), **about))  # type: ignore[arg-type]
    log.add(POLICIES, "p", e.PolicyApplied(version=2, policy=Policy(overlap_min=4), **about))  # type: ignore[arg-type]
    store_it(log, store, times)
    old, new = ask(store, "SELECT * FROM v_policy_log ORDER BY offset")
    assert (len(old["thresholds"]), old["thresholds"]["overlap_min"]) == (len(u.PolicyV1.model_fields), "3")
    assert {"overlap_min: 3 -> 4", "aggregation: default -> champion"} <= set(new["changed"])


@TIMES_DELIVERED
def test_runs_and_quarantine_show(store: Store, times: int) -> None:
    log = Log()
    digest, model = "a" * 64, "b" * 64
    sealed = {"name": "first", "rows": 10, "splits": {"train": 10}, "offsets": {}, "policy_versions": {}, "code_version": "1"}
    log.add(RUNS, "run-1", e.SnapshotSealed(digest=digest, **sealed))
    trained = {"steps": 5, "trainable_parameters": 9, "train_rows": 8, "heldout_rows": 2, "duration_milliseconds": 77}
    loss = {"loss_before_milli_nats": 2500, "loss_after_milli_nats": 2250, "checkpoint_digest": model}
    log.add(RUNS, "run-2", e.TrainingFinished(snapshot_digest=digest, recipe="lora", base_model="m", **trained, **loss))
    fields = {
        "topic": "assay.events.v1",
        "partition": "0",
        "offset": "7",
        "error": "Undecodable",
        "code": "not_json",
        "reason": "no",
        "attempt": "2",
        "projection": "review",
    }
    log.append(QUARANTINE, b"\xff\x00", b"key", tuple((name, value.encode()) for name, value in fields.items()))
    settled = {"state": "discarded", "ref": "0/0", "reason": "no record, but what became of one"}
    log.append(QUARANTINE, b"", b"key", tuple((name, value.encode()) for name, value in settled.items()))
    store_it(log, store, times)
    snapshot, training = ask(store, "SELECT * FROM v_runs ORDER BY offset")
    assert (snapshot["kind"], snapshot["name"], snapshot["rows"], snapshot["loss_before"]) == ("snapshot", "first", 10, None)
    assert (training["kind"], training["name"], training["loss_before"], training["loss_after"]) == (
        "training",
        "lora",
        2.5,
        2.25,
    )
    (refused,) = ask(store, "SELECT topic, offset, error, code, attempt, hex(value) AS value FROM v_quarantine")
    assert refused == {
        "topic": "assay.events.v1",
        "offset": 7,
        "error": "Undecodable",
        "code": "not_json",
        "attempt": 2,
        "value": "FF00",
    }


@TIMES_DELIVERED
def test_the_policy_log_knows_slices_and_what_was_taken_back(store: Store, times: int) -> None:
    log = Log()
    about = {"project": "p", "applied_by": "ops", "reason": "any"}
    since = datetime(2026, 3, 1, tzinfo=UTC)
    log.add(POLICIES, "p", e.PolicyApplied(version=1, policy=Policy(overlap_min=3), based_on=0, **about))  # type: ignore[arg-type]
    ours = {**about, "slice": "en/reviews/sentiment"}
    own = Policy(overlap_min=4)
    log.add(POLICIES, "p", e.PolicyApplied(version=2, policy=own, based_on=1, redecide_since=since, **ours))  # type: ignore[arg-type]
    back = {"based_on": 2, "undoes": 2, "inherits": True}
    log.add(POLICIES, "p", e.PolicyApplied(version=3, policy=Policy(overlap_min=3), **back, **ours))  # type: ignore[arg-type]
    store_it(log, store, times)
    whole, applied, undone = ask(store, "SELECT * FROM v_policy_log ORDER BY offset")
    assert (whole["slice"], whole["based_on"], whole["undoes"], whole["inherits"]) == ("", 0, None, False)
    assert (applied["slice"], applied["changed"]) == ("en/reviews/sentiment", ["overlap_min: 3 -> 4"])
    assert (applied["redecide_since"], applied["undoes"]) == (since.replace(tzinfo=None), None)
    assert (undone["changed"], undone["undoes"], undone["inherits"]) == (["overlap_min: 4 -> 3"], 2, True)


def test_what_stood_some_hours_after_a_policy_and_now(store: Store) -> None:
    log = Log()
    received(log, "s1")
    reached(log, "s1", "approved")
    received(log, "s2")
    reopened = e.VerdictReopened(origin=log.origin(EVENTS), project="p", revision=1, verdict="approved", reason="policy")
    log.add(VERDICTS, "s1", reopened)
    log.store(store)
    client = store.client(store.database)
    nothing = {"approved": 0, "rejected": 0, "escalated": 0, "waiting": 0}
    found = actual(client, "p", None, START, START + timedelta(hours=4))
    assert found == {"after_1_h": {**nothing, "approved": 1}, "now": {**nothing, "waiting": 2}}
    assert actual(client, "p", "de/legal/rewriting", START, START + timedelta(hours=30))["after_24_h"] == nothing
