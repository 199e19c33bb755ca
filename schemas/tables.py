"""Every table and view of the analytics store, once: migrations, sink, docs and tests iterate over this table."""

from dataclasses import dataclass

from schemas.topics import FACT_TOPICS, QUARANTINE, Topic

DATABASE = "assay"

#: Part of every insert's token: raise it when a stored row means something else than before.
SINK_SCHEMA = 1


@dataclass(frozen=True)
class Column:
    """One column: its name, its ClickHouse type as `system.columns` spells it, and what it says."""

    name: str
    type: str
    help: str


@dataclass(frozen=True)
class Table:
    """A table of records; `topic` is where they come from, None for the sink's own."""

    name: str
    help: str
    columns: tuple[Column, ...]
    topic: Topic | None


@dataclass(frozen=True)
class View:
    """A question that analysts ask, answered; computed when it is read, so it is never stale."""

    name: str
    help: str
    columns: tuple[Column, ...]


_TIME = "DateTime64(3, 'UTC')"
_WORD = "LowCardinality(String)"

_PLACE = (
    Column("topic", _WORD, "Kafka topic of the record"),
    Column("partition", "UInt32", "partition of the record"),
    Column("offset", "UInt64", "offset of the record in its partition"),
)
_INGESTED = Column("ingested_at", _TIME, "when the sink stored the row; not part of the record")

FACT_COLUMNS = (
    *_PLACE,
    Column("event_id", "String", "id of the event; empty if the record is no event"),
    Column("type", _WORD, "name of the event type without prefix and version, as in VoteCast; else the type as sent"),
    Column("version", "UInt16", "version of the event type; 0 if the type is not of the form assay.NAME.vNUMBER"),
    Column("subject", "String", "what the event is about: the record's key"),
    Column("time", _TIME, "when it happened; the record's timestamp if the event does not say"),
    Column("source", _WORD, "who sent the event"),
    Column("data", "String", "the event's data as JSON; the whole value if the record is no event"),
    _INGESTED,
)

QUARANTINE_COLUMNS = (
    *_PLACE,
    Column("key", "String", "the record's key, as bytes"),
    Column("time", _TIME, "the record's timestamp"),
    Column("headers", "String", "the record's headers as a JSON object"),
    Column("value", "String", "the record's value, as bytes"),
    _INGESTED,
)

FACT_TABLES = tuple(Table(topic.table, topic.holds, FACT_COLUMNS, topic) for topic in FACT_TOPICS)
QUARANTINE_TABLE = Table(QUARANTINE.table, QUARANTINE.holds, QUARANTINE_COLUMNS, QUARANTINE)
PROGRESS_TABLE = Table(
    "sink_progress",
    "the sink's own: ranges of the log that were being written in several inserts, one month each",
    (
        Column("topic", _WORD, "Kafka topic"),
        Column("partition", "UInt32", "partition"),
        Column("first", "UInt64", "first offset of the range"),
        Column("next", "UInt64", "offset behind the range"),
        Column("pending", "Bool", "true while some of the inserts may be missing: the sink starts again at `first`"),
        Column("written_at", "DateTime64(6, 'UTC')", "when this was noted; the newest note counts"),
    ),
    None,
)
SINK_TABLES = (*FACT_TABLES, QUARANTINE_TABLE)
TABLES = (*SINK_TABLES, PROGRESS_TABLE)

# --- views -------------------------------------------------------------------------------------

_PROJECT = Column("project", "String", "project of the submission")
_SLICE = Column("slice", "String", "language/domain/skill")
_REVISION = Column("revision", "UInt16", "revision that this is about")
_PLACE_OF_FACT = (
    Column("partition", "UInt32", "partition of the record"),
    Column("offset", "UInt64", "offset of the record in its partition"),
)


_DECIDED_BY = (
    Column("decided_by", "Array(UInt64)", "offsets in `events`, same partition, of the votes that were counted"),
    Column("origin_partition", "UInt32", "partition in `events` of the record that made it so"),
    Column("origin_offset", "UInt64", "offset in `events` of the record that made it so"),
)


def _rate(name: str, what: str) -> tuple[Column, ...]:
    return (
        Column(f"{name}_rate", "Nullable(Float64)", f"{what}; NULL while there is none"),
        Column(f"{name}_low", "Nullable(Float64)", f"lower end of the 95 % Wilson interval of {name}_rate"),
        Column(f"{name}_high", "Nullable(Float64)", f"upper end of the 95 % Wilson interval of {name}_rate"),
    )


_TEXT_COLUMNS = (
    Column("submission", "String", "id of the submission"),
    _PROJECT,
    Column("kind", "String", "prompt, completion or context"),
    Column("writer", "String", "pseudonymous id of the writer"),
    _SLICE,
    Column("language", "String", "first part of the slice"),
    Column("domain", "String", "second part of the slice"),
    Column("skill", "String", "third part of the slice"),
    Column("prompt", "String", "the submission that this completes; empty if none"),
    Column("text", "String", "text of the current revision"),
    Column("revision", "UInt16", "current revision"),
    Column("editor", "String", "who made the current revision; empty for revision 1"),
    Column("received_at", _TIME, "when it was submitted"),
    Column("edited_at", f"Nullable({_TIME})", "when the current revision was made; NULL for revision 1"),
    Column("withdrawn", "Bool", "whether it was withdrawn and not edited since"),
    Column("words", "Nullable(UInt64)", "words of the latest revision analysed; NULL before the analysis"),
    Column("characters", "Nullable(UInt64)", "characters of the latest revision analysed"),
    Column("golden", "String", "the known right label of the current revision; empty if not known"),
    *_PLACE_OF_FACT,
)

VIEWS = (
    View("v_texts", "every submission once, with its current text", _TEXT_COLUMNS),
    View(
        "v_votes",
        "every vote ever cast once, with what became of it",
        (
            Column("event_id", "String", "id of the vote"),
            Column("voted_at", _TIME, "when it was cast"),
            Column("submission", "String", "id of the submission"),
            _PROJECT,
            _SLICE,
            Column("kind", "String", "prompt, completion or context"),
            Column("writer", "String", "who wrote the submission; empty if it is not in the log"),
            _REVISION,
            Column("voter", "String", "pseudonymous id of the voter"),
            Column("label", "String", "what the voter said: one of the labels of the project's policy"),
            Column("criteria", "String", "judgements of named aspects, as JSON"),
            Column("reason", "String", "the voter's words; empty if none"),
            Column("duration_milliseconds", "Nullable(UInt64)", "time on task"),
            Column("state", "String", "live, replaced (by a later vote of the same voter) or retracted"),
            Column("own", "Bool", "whether the voter is the writer"),
            Column("counts", "Bool", "whether it is live, on the current revision, and not the writer's own"),
            *_PLACE_OF_FACT,
        ),
    ),
    View(
        "v_verdicts",
        "every verdict ever reached once, with what became of it",
        (
            Column("event_id", "String", "id of the verdict"),
            Column("reached_at", _TIME, "when it was reached"),
            Column("submission", "String", "id of the submission"),
            _PROJECT,
            _REVISION,
            Column("verdict", "String", "approved, rejected or escalated"),
            Column("label", "String", "the label that led"),
            Column("confidence_permille", "UInt16", "its calibrated probability, rounded down"),
            Column("because", "String", "confidence, overlap_max, deadline or ruled"),
            Column("policy_version", "UInt32", "version of the policy that decided"),
            Column("model", "String", "the model whose weights were summed"),
            Column("skills_version", "UInt32", "version of these weights; 0 where every vote weighed the same"),
            Column("log_odds_milli_nats", "Int64", "score of the best approving label less the best other one's, in milli-nats"),
            Column("good_votes", "UInt64", "votes for approving labels that were counted"),
            Column("bad_votes", "UInt64", "votes for other labels that were counted"),
            *_DECIDED_BY,
            Column("standing", "Bool", "whether it still stands"),
            Column("latest", "Bool", "whether it is the latest on this revision"),
            Column("ended_at", f"Nullable({_TIME})", "when it was reopened or replaced; NULL while it stands"),
            Column(
                "ended_by",
                "String",
                "edited, voted, retracted, policy, skills, withdrawn, ruled, reopened, or replaced; empty while it stands",
            ),
            *_PLACE_OF_FACT,
        ),
    ),
    View(
        "v_preferences",
        "every comparison decided once, with what became of it",
        (
            Column("event_id", "String", "id of the decision"),
            Column("reached_at", _TIME, "when it was reached"),
            Column("comparison", "String", "id of the comparison"),
            _PROJECT,
            Column("prompt", "String", "the submission that both complete"),
            Column("left_submission", "String", "the completion on the left"),
            Column("right_submission", "String", "the completion on the right"),
            Column("choice", "String", "left, right, tie or escalated"),
            Column("chosen", "String", "the completion that is preferred; empty if none is"),
            Column("rejected", "String", "the other one; empty if none is preferred"),
            Column("settled_by", "String", "overall, or the criterion that settled it"),
            Column("confidence_permille", "UInt16", "calibrated probability of the choice, rounded down"),
            Column("left_votes", "UInt64", "choices of the left one that were counted"),
            Column("right_votes", "UInt64", "choices of the right one that were counted"),
            Column("tie_votes", "UInt64", "ties that were counted"),
            Column("policy_version", "UInt32", "version of the policy that decided"),
            Column("skills_version", "UInt32", "version of the weights; 0 where every choice weighed the same"),
            *_DECIDED_BY,
            Column("standing", "Bool", "whether it still stands"),
            Column("ended_at", f"Nullable({_TIME})", "when it was reopened or replaced; NULL while it stands"),
            Column("ended_by", "String", "voted, policy, skills, or replaced; empty while it stands"),
            *_PLACE_OF_FACT,
        ),
    ),
    View(
        "v_leases",
        "every lease once, and how it ended",
        (
            Column("lease", "String", "id of the lease"),
            Column("granted_at", _TIME, "when the subject was handed out"),
            Column("subject", "String", "the submission or comparison"),
            _PROJECT,
            Column("annotator", "String", "to whom"),
            _REVISION,
            Column("serves", "String", "overlap, control, recheck, edit or comparison"),
            Column("until", _TIME, "when it expires"),
            Column("ended_at", f"Nullable({_TIME})", "when it ended; NULL while it holds"),
            Column("ended_by", "String", "done, released, expired or moot; empty while it holds"),
            *_PLACE_OF_FACT,
        ),
    ),
    View(
        "v_skills",
        "every voter once a project, task and model, with the newest weights of their votes",
        (
            _PROJECT,
            Column("task", "String", "review or preference"),
            Column("model", "String", "the model that weighs"),
            Column("champion", "Bool", "whether golden answers speak for this model"),
            Column("voter", "String", "pseudonymous id of the voter; empty for everybody who is not named"),
            Column("labels", "Array(String)", "the labels, in the order of the weights"),
            Column("weights_milli_nats", "Array(Int64)", "one row a true label and in it one entry a label voted, flat"),
            Column("prior_milli_nats", "Array(Int64)", "the model's score of each label before any vote"),
            Column("temperature_permille", "UInt32", "what scores are divided by, for calibration"),
            Column("temperature_per_vote_permille", "UInt32", "by how much each vote after the first raises the temperature"),
            Column("golden_answers", "UInt64", "golden answers that the temperature rests on"),
            Column("log_loss_milli_nats", "Nullable(UInt64)", "mean log loss of the model on them"),
            Column("version", "UInt32", "version of the model that last named the voter"),
            Column("estimated_at", _TIME, "when that was"),
        ),
    ),
    View(
        "v_submissions",
        "every submission once, with its votes and the verdict that stands",
        (
            *_TEXT_COLUMNS,
            Column("good_votes", "UInt64", "votes for approving labels on the current revision that count"),
            Column("bad_votes", "UInt64", "votes for other labels of the policy in force that count"),
            Column("verdict", "String", "approved, rejected, escalated; withdrawn; or waiting"),
            Column("verdict_at", f"Nullable({_TIME})", "when the verdict that stands was reached"),
            Column("policy_version", "Nullable(UInt32)", "version of the policy that decided"),
            Column("label", "String", "the label that led; empty while no verdict stands"),
            Column("confidence_permille", "Nullable(UInt16)", "its calibrated probability, rounded down"),
        ),
    ),
    View(
        "v_annotators",
        "every person once a project and task, with counts and rates as writer and as voter",
        (
            _PROJECT,
            Column("annotator", "String", "pseudonymous id of the person"),
            Column("task", "String", "review of submissions, or preference between completions"),
            Column("submitted", "Int64", "submissions offered, as writer"),
            Column("approved", "Int64", "of them approved"),
            Column("rejected", "Int64", "of them rejected"),
            Column("decided", "Int64", "approved + rejected"),
            *_rate("rejection", "rejected / decided"),
            Column("agreed", "Int64", "votes on the side of the verdict, as voter"),
            Column("disagreed", "Int64", "votes against the verdict"),
            Column("scored", "Int64", "agreed + disagreed"),
            *_rate("disagreement", "disagreed / scored"),
            Column(
                "expected_accuracy",
                "Nullable(Float64)",
                "mean probability of the label voted, given all votes on the text; NULL without scored votes that say it",
            ),
            Column("golden_right", "Int64", "votes on golden tasks that were right"),
            Column("golden_seen", "Int64", "votes on golden tasks"),
            *_rate("golden", "golden_right / golden_seen"),
            Column("mean_milliseconds", "Nullable(Float64)", "mean time on task of scored votes"),
            Column("flags", "Map(String, String)", "rules that hold against the person, each with the action it leads to"),
        ),
    ),
    View(
        "v_slices",
        "every slice once a project: how much came in, what became of it, and what its approved set holds",
        (
            _PROJECT,
            _SLICE,
            Column("submissions", "UInt64", "submissions offered"),
            Column("approved", "UInt64", "approved now"),
            Column("rejected", "UInt64", "rejected now"),
            Column("escalated", "UInt64", "waiting for an editor"),
            Column("waiting", "UInt64", "not decided yet"),
            Column("withdrawn", "UInt64", "withdrawn"),
            *_rate("rejection", "rejected / (approved + rejected)"),
            Column("writers", "UInt64", "different writers who offered something"),
            Column("set_texts", "Int64", "texts in the approved set, of those analysed"),
            Column("set_words", "Int64", "words in the approved set"),
            Column("set_writers", "UInt64", "different writers in the approved set"),
        ),
    ),
    View(
        "v_policy_log",
        "every proposal and application of a policy, with what it changed",
        (
            Column("event_id", "String", "id of the event"),
            Column("happened_at", _TIME, "when"),
            Column("project", "String", "project that the policy is for"),
            Column("action", "String", "proposed or applied"),
            Column("version", "UInt32", "version of the policy"),
            Column("actor", "String", "who did it"),
            Column("reason", "String", "why"),
            Column("thresholds", "Map(String, String)", "every threshold of this version; lists with commas between"),
            Column("changed", "Array(String)", "thresholds that differ from the version applied before, as name: old -> new"),
            Column("preview_digest", "String", "digest of the preview that was looked at; empty if none was"),
            Column("slice", "String", "slice that the policy is for; empty: the project"),
            Column("based_on", "Nullable(UInt32)", "version that it was made from; NULL where nobody said"),
            Column("redecide_since", f"Nullable({_TIME})", "texts that came in since were decided again; NULL: none"),
            Column("undoes", "Nullable(UInt32)", "version that it takes back; NULL: none"),
            Column("inherits", "Bool", "whether the slice goes by its project's policy again"),
            *_PLACE_OF_FACT,
        ),
    ),
    View(
        "v_runs",
        "every snapshot, training and evaluation",
        (
            Column("event_id", "String", "id of the event"),
            Column("finished_at", _TIME, "when it ended"),
            Column("run", "String", "id of the run"),
            Column("kind", "String", "snapshot, training or evaluation"),
            Column("snapshot_digest", "String", "digest of the snapshot that it made or used"),
            Column("name", "String", "name of the snapshot, recipe of the training, or the run that was evaluated"),
            Column("rows", "Nullable(UInt64)", "rows of the snapshot, rows trained on, or prompts evaluated"),
            Column("loss_before", "Nullable(Float64)", "nats per token on the held-out split before training"),
            Column("loss_after", "Nullable(Float64)", "nats per token on the held-out split after training"),
            Column("gain", "Nullable(Float64)", "mean gain of an evaluation, nats per token"),
            Column("gain_low", "Nullable(Float64)", "lower end of its 95 % interval"),
            Column("gain_high", "Nullable(Float64)", "upper end of its 95 % interval"),
            Column("duration_milliseconds", "Nullable(UInt64)", "how long it took"),
            Column("data", "String", "the whole event as JSON"),
            *_PLACE_OF_FACT,
        ),
    ),
    View(
        "v_quarantine",
        "every record that was refused once, with the reason",
        (
            Column("topic", "String", "topic of the record that was refused"),
            Column("partition", "UInt32", "its partition"),
            Column("offset", "UInt64", "its offset"),
            Column("projection", "String", "who refused it"),
            Column("error", "String", "why, as the class of the error"),
            Column("code", "String", "why, as a code"),
            Column("reason", "String", "why, in words"),
            Column("attempt", "UInt32", "how often it was refused, where it was sent again"),
            Column("time", _TIME, "timestamp of the record"),
            Column("key", "String", "its key, as bytes"),
            Column("value", "String", "its value, as bytes"),
            Column("quarantine_partition", "UInt32", "partition in the quarantine's topic"),
            Column("quarantine_offset", "UInt64", "offset in the quarantine's topic"),
        ),
    ),
)
