"""What a model may learn from: approved submissions -> ordered examples, split by prompt, with their digest."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Any, NamedTuple, Protocol

import orjson

from schemas import events as e
from schemas.manifest import SPLITS, Layout, LeftOut, RowKind, Split
from streams.groups import group_of, split_of
from streams.preferences import Comparison, comparisons
from streams.projection import Json, Record
from streams.review import REVIEW

#: Texts in one conversation, beyond which it is taken for a circle.
MAX_MESSAGES = 1_000

ROLES = {"context": "system", "prompt": "user", "completion": "assistant"}


class Message(NamedTuple):
    role: str
    content: str


class Submission(NamedTuple):
    """One submission as it stands: its newest revision's text, and where in the log its verdict was reached."""

    id: str
    project: str
    kind: str
    writer: str
    slice: str
    prompt: str | None
    revision: int
    approved: bool
    text: str
    partition: int
    verdict_offset: int
    #: When the newest revision came in, in milliseconds since 1970.
    since_ms: int = 0


class Sample(Protocol):
    """One thing to learn from, as rows of every layout of its kind."""

    @property
    def id(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def split(self) -> Split: ...
    @property
    def slice(self) -> str: ...
    @property
    def project(self) -> str: ...
    def content(self) -> Json:
        """What the content digest covers."""
        ...

    def lineage(self) -> Json:
        """What the lineage digest covers."""
        ...

    def rows(self, layout: Layout) -> list[Json]:
        """In the field's columns: texts as lists of role and content, then what the row is about."""
        ...


class Example(NamedTuple):
    """One row of a snapshot. `partition` and `verdict_offset` are its lineage and outside the content digest."""

    submission: str
    revision: int
    prompt: str | None
    group: str
    split: Split
    project: str
    slice: str
    writer: str
    messages: tuple[Message, ...]
    partition: int
    verdict_offset: int

    @property
    def id(self) -> str:
        return self.submission

    def content(self) -> Json:
        told = self._asdict() | {"messages": as_dicts(self.messages)}
        return {name: value for name, value in told.items() if name not in LINEAGE}

    def lineage(self) -> Json:
        return {name: getattr(self, name) for name in ("submission", "revision", *LINEAGE)}

    def rows(self, layout: Layout) -> list[Json]:
        return [row(self, layout)]


class Dataset(NamedTuple):
    """Samples in order of their ids, and how many approved submissions (or comparisons) were left out, by reason."""

    kind: RowKind
    examples: tuple[Sample, ...]
    left_out: dict[LeftOut, int]


class Desk:
    """One partition of `assay.events.v1` on its way to a dataset: the fold of review, and the texts beside it."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.state = REVIEW.empty()
        self._texts: dict[str, tuple[int, str, int]] = {}

    def feed(self, record: Record) -> None:
        """The partition's next record; one that the fold refuses leaves no text either."""
        step = REVIEW.apply(self.state, record)
        self.state = step.state
        data = record.event.data
        if step.refusal is None and isinstance(data, e.SubmissionReceived | e.SubmissionEdited):
            revision = data.revision if isinstance(data, e.SubmissionEdited) else 1
            if revision > self._texts.get(record.event.subject, (0,))[0]:
                self._texts[record.event.subject] = revision, data.text, record.time_ms

    def submissions(self) -> Iterator[Submission]:
        for key, row in self.state.rows.items():
            if row.revision:
                revision, text, since_ms = self._texts[key]
                approved = row.verdict == "approved" and revision == row.revision
                about = (row.project, row.kind, row.writer, row.slice, row.prompt, row.revision)
                yield Submission(key, *about, approved, text, self.partition, row.reached, since_ms)

    def comparisons(self) -> Iterator[tuple[str, int, Comparison]]:
        """Each comparison with its id and partition."""
        return ((subject, self.partition, row) for subject, row in comparisons(self.state) if row.project)

    def policy_versions(self) -> dict[str, int]:
        """The version in force by project, 0 where no policy was applied, and by `project/slice` where one has its own."""
        known = {row.project: 0 for row in self.state.rows.values() if row.revision}
        policies = self.state.control.policies
        known |= {project: one.version for project, one in policies.of_projects.items()}
        own = {f"{project}/{slice_}": one.version for (project, slice_), one in policies.of_slices.items() if not one.inherits}
        return known | own


# --- from submissions to examples --------------------------------------------------------------


def dataset(submissions: Iterable[Submission], kind: RowKind, projects: Iterable[str] = ()) -> Dataset:
    """Every approved submission of this kind, of these projects or of all, that has a whole approved conversation."""
    by_id = {submission.id: submission for submission in submissions}
    wanted = frozenset(projects)
    left_out: Counter[LeftOut] = Counter()
    found: list[tuple[Submission, tuple[Message, ...]]] = []
    for _, submission in sorted(by_id.items()):
        if not submission.approved or submission.kind != kind or (wanted and submission.project not in wanted):
            continue
        messages = conversation(submission, by_id)
        if isinstance(messages, str):
            left_out[messages] += 1
        else:
            found.append((submission, messages))
    groups = group_of(first_prompt(messages) for _, messages in found)
    examples = tuple(_example(submission, messages, groups) for submission, messages in found)
    return Dataset(kind, examples, dict(sorted(left_out.items())))


def conversation(last: Submission, by_id: Mapping[str, Submission]) -> tuple[Message, ...] | LeftOut:
    """The texts from the conversation's first to this one, or why they cannot be used."""
    chain = [last]
    while (parent := chain[-1].prompt) is not None:
        if parent not in by_id:
            return "prompt_unknown"
        chain.append(by_id[parent])
        if len(chain) > MAX_MESSAGES:
            return "not_a_conversation"
    if len(chain) == 1 and last.kind == "completion":
        return "prompt_unknown"
    if not all(submission.approved for submission in chain):
        return "ancestor_not_approved"
    messages = tuple(Message(ROLES[submission.kind], submission.text) for submission in reversed(chain))
    return messages if _alternates(messages) else "not_a_conversation"


def _alternates(messages: tuple[Message, ...]) -> bool:
    """user, assistant, user, ... with at most one system message before it."""
    turns = messages[1:] if messages[0].role == "system" else messages
    return bool(turns) and all(turn.role == ("user", "assistant")[at % 2] for at, turn in enumerate(turns))


def first_prompt(messages: tuple[Message, ...]) -> str:
    return next(message.content for message in messages if message.role == "user")


def _example(last: Submission, messages: tuple[Message, ...], groups: Mapping[str, str]) -> Example:
    group = groups[first_prompt(messages)]
    return Example(
        submission=last.id,
        revision=last.revision,
        prompt=last.prompt,
        group=group,
        split=split_of(group),
        project=last.project,
        slice=last.slice,
        writer=last.writer,
        messages=messages,
        partition=last.partition,
        verdict_offset=last.verdict_offset,
    )


# --- digests -----------------------------------------------------------------------------------

#: The columns of lineage: they say where in the log a row comes from, so they are outside the content digest.
LINEAGE = ("partition", "verdict_offset")


def content_digest(kind: RowKind, examples: Iterable[Sample]) -> str:
    """SHA-256 over the rows as canonical JSON lines in order of their ids."""
    return _digest(kind, examples, lambda sample: sample.content())


def lineage_digest(kind: RowKind, examples: Iterable[Sample]) -> str:
    """SHA-256 over which revision comes from where in the log."""
    return _digest(kind, examples, lambda sample: sample.lineage())


def _digest(kind: RowKind, examples: Iterable[Sample], told: Callable[[Sample], Json]) -> str:
    digest = sha256(orjson.dumps({"kind": kind}) + b"\n")
    for sample in sorted(examples, key=lambda sample: sample.id):
        digest.update(orjson.dumps(told(sample), option=orjson.OPT_SORT_KEYS) + b"\n")
    return digest.hexdigest()


# --- columns -----------------------------------------------------------------------------------

TEXTS: dict[Layout, tuple[str, ...]] = {
    "messages": ("messages",),
    "prompt_completion": ("prompt", "completion"),
    "prompt_only": ("prompt",),
    "preference": ("prompt", "chosen", "rejected"),
    "unpaired": ("prompt", "completion"),
}

#: What a row carries after its texts.
ABOUT = ("submission", "revision", "prompt_id", "group", "slice", "project", "writer", *LINEAGE)
_SIDES = tuple(f"{side}_{name}" for side in ("chosen", "rejected") for name in ("id", "revision", "writer"))
ABOUT_OF: dict[Layout, tuple[str, ...]] = {
    "messages": ABOUT,
    "prompt_completion": ABOUT,
    "prompt_only": ABOUT,
    "preference": (
        "comparison", *_SIDES, "prompt_id", "settled_by", "confidence_permille", "group", "slice", "project", *LINEAGE,
    ),
    "unpaired": ("label", "comparison", *ABOUT),
}  # fmt: skip


def columns(layout: Layout) -> tuple[str, ...]:
    return (*TEXTS[layout], *ABOUT_OF[layout])


def row(example: Example, layout: Layout) -> dict[str, Any]:
    """The example in the field's columns: texts as lists of role and content, then what the row is about."""
    messages = as_dicts(example.messages)
    texts: dict[Layout, tuple[Any, ...]] = {
        "messages": (messages,),
        "prompt_completion": (messages[:-1], messages[-1:]),
        "prompt_only": (messages,),
    }
    about = {"prompt_id": example.prompt} | {name: getattr(example, name) for name in ABOUT if name != "prompt_id"}
    return dict(zip(TEXTS[layout], texts[layout], strict=True)) | {name: about[name] for name in ABOUT}


def example(found: Mapping[str, Any], layout: Layout, split: Split) -> Example:
    """The example of which `found` is the row: what `row` undoes."""
    messages = tuple(Message(**message) for name in TEXTS[layout] for message in found[name])
    about = {name: found[name] for name in ABOUT if name != "prompt_id"}
    return Example(prompt=found["prompt_id"], split=split, messages=messages, **about)


def as_dicts(messages: Iterable[Message]) -> list[dict[str, str]]:
    return [message._asdict() for message in messages]


# --- counts ------------------------------------------------------------------------------------


def split_counts(examples: Iterable[Sample]) -> dict[Split, int]:
    """Rows in each split; a split without rows is there with 0."""
    counts = Counter(example.split for example in examples)
    return {split: counts[split] for split in SPLITS}


def group_counts(examples: Iterable[Sample]) -> dict[Split, int]:
    """Prompt groups in each split."""
    pairs = {(example.group, example.split) for example in examples}
    counts = Counter(split for _, split in pairs)
    return {split: counts[split] for split in SPLITS}


def slice_counts(examples: Iterable[Sample]) -> dict[str, dict[Split, int]]:
    """Rows in each split of each slice, in order of slices."""
    pairs = Counter((example.slice, example.split) for example in examples)
    slices = sorted({slice_ for slice_, _ in pairs})
    return {slice_: {split: pairs[slice_, split] for split in SPLITS} for slice_ in slices}
