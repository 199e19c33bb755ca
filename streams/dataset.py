"""What a model may learn from: approved submissions -> ordered examples, split by prompt, with their digest."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from hashlib import sha256
from typing import Any, NamedTuple, Protocol

import orjson

from schemas import events as e
from schemas.manifest import ANY, SPLITS, Layout, LeftOut, RowKind, Split, SplitRule
from schemas.words import Provenance
from streams.deciding import RULED, leading_confidence
from streams.groups import assigned, group_of
from streams.preferences import Comparison, comparisons
from streams.projection import NOWHERE, Json, Record
from streams.quality import Judged
from streams.review import REVIEW, rules_in
from streams.submissions import Row, counted
from streams.weighing import NO_POLICY, InForce

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
    provenance: Provenance = "unknown"
    #: The writer and editors of its revisions.
    authors: tuple[str, ...] = ()
    judged: Judged | None = None
    #: Who wrote the newest revision.
    by: str = ""
    #: Nobody can read the text any more.
    erased: bool = False

    def is_erased(self, authors: Collection[str]) -> bool:
        """Whether nobody may read it: without its key, or when one of these authors had a hand in it."""
        return self.erased or any(author in authors for author in self.authors)


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
    def texts(self) -> tuple[str, ...]:
        """The submissions that it ends with."""
        ...

    def writers(self) -> tuple[str, ...]:
        """Who wrote them."""
        ...

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

    def texts(self) -> tuple[str, ...]:
        return (self.submission,)

    def writers(self) -> tuple[str, ...]:
        return (self.writer,)

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


class _Text(NamedTuple):
    """A submission's newest revision, beside what review keeps of it."""

    revision: int
    #: As the log has it, perhaps sealed.
    text: str
    since_ms: int
    provenance: Provenance
    authors: tuple[str, ...]
    by: str


class Harvest:
    """One partition of `assay.events.v1` on its way to a dataset: the fold of review, and the texts beside it.

    `given`: policies in the place of those recorded, by project or by `*` for all, in force from the log's beginning.
    """

    def __init__(self, partition: int, given: Mapping[str, InForce] | None = None) -> None:
        self.partition = partition
        self.state = REVIEW.empty()
        #: Authors whose keys were destroyed.
        self.erased: set[str] = set()
        self._given = dict(given or {})
        self._texts: dict[str, _Text] = {}

    def feed(self, record: Record) -> None:
        """The partition's next record; one that the fold refuses leaves no text either."""
        data = record.event.data
        if self._given and not self._takes(data):
            return
        step = REVIEW.apply(self.state, record)
        self.state = step.state
        if step.refusal is None:
            self._keep(record.event.subject, data, record.time_ms)
        self.observe(record, step.effects)

    def observe(self, record: Record, effects: Sequence[Any]) -> None:
        """For whoever looks at what each record led to."""

    def _takes(self, data: Any) -> bool:
        """Whether the fold sees a record. A given policy is in force before the first that names its project."""
        project = getattr(data, "project", None)
        given = None if project is None else self._given.get(project, self._given.get(ANY))
        if given is None:
            return True
        self.state.control.policies.of_projects.setdefault(str(project), given._replace(offset=NOWHERE))
        return not isinstance(data, e.PolicyApplied)

    def _keep(self, subject: str, data: Any, time_ms: int) -> None:
        known = self._texts.get(subject)
        if isinstance(data, e.SubmissionReceived) and known is None:
            self._texts[subject] = _Text(1, data.text, time_ms, data.provenance, (data.writer,), data.writer)
        elif isinstance(data, e.SubmissionEdited) and known is not None and data.revision > known.revision:
            authors = known.authors if data.editor in known.authors else (*known.authors, data.editor)
            self._texts[subject] = _Text(data.revision, data.text, time_ms, known.provenance, authors, data.editor)
        elif isinstance(data, e.AuthorErased):
            self.erased.add(data.author)

    def submissions(self) -> Iterator[Submission]:
        """Each with its text as the log has it, perhaps sealed."""
        for key, row in self.state.rows.items():
            if row.revision:
                kept = self._texts[key]
                approved = row.verdict == "approved" and kept.revision == row.revision
                about = (row.project, row.kind, row.writer, row.slice, row.prompt, row.revision)
                place = (self.partition, row.reached, kept.since_ms)
                yield Submission(
                    key, *about, approved, kept.text, *place, kept.provenance, kept.authors, self._judged(row), kept.by
                )

    def authors(self, submission: str) -> tuple[str, ...]:
        """Its writer, then who edited it."""
        return self._texts[submission].authors

    def provenance(self, submission: str) -> Provenance:
        return self._texts[submission].provenance

    def _judged(self, row: Row) -> Judged | None:
        """What voters say of a row, once there are any or it is decided."""
        if row.withdrawn or not (row.votes or row.verdict):
            return None
        rules = rules_in(self.state, row.project, row.slice)
        labels = Counter(vote.label for vote in counted(row, rules))
        golden = None
        if row.golden is not None and row.golden[0] == row.revision:
            golden = row.golden[1] in rules.policy.approving
        # The scores were last summed under the rules of the last time that the row was looked at.
        surely = leading_confidence(row, rules) if row.verdict and row.because != RULED and row.scores else None
        approves = {label for label in labels if (label in rules.policy.approving) == (row.verdict == "approved")}
        return Judged(dict(labels), sum(labels[label] for label in approves), row.verdict or "", row.because, surely, golden)

    def comparisons(self) -> Iterator[tuple[str, int, Comparison]]:
        """Each comparison with its id and partition."""
        return ((subject, self.partition, row) for subject, row in comparisons(self.state) if row.project)

    def policies(self) -> dict[str, InForce]:
        """What is in force by project, version 0 where no policy was applied, and by `project/slice` where one has its own."""
        policies = self.state.control.policies
        own = {f"{project}/{slice_}": one for (project, slice_), one in policies.of_slices.items() if not one.inherits}
        return self._projects() | policies.of_projects | own

    def policy_versions(self) -> dict[str, int]:
        return {scope: one.version for scope, one in self.policies().items()}

    def _projects(self) -> dict[str, InForce]:
        return {row.project: NO_POLICY for row in self.state.rows.values() if row.revision}


# --- from submissions to examples --------------------------------------------------------------


class Wanted(NamedTuple):
    """Which rows a dataset has, and how they are split. Nothing named means all; `erased` are authors without texts."""

    kind: RowKind = "completion"
    projects: Collection[str] = ()
    slices: Collection[str] = ()
    split: SplitRule = SplitRule()
    erased: Collection[str] = frozenset()

    def has(self, project: str, slice_: str) -> bool:
        in_slice = not self.slices or any(fnmatchcase(slice_, pattern) for pattern in self.slices)
        return in_slice and (not self.projects or project in self.projects)


def dataset(submissions: Iterable[Submission], kind: RowKind, projects: Iterable[str] = ()) -> Dataset:
    """Every approved submission of this kind, of these projects or of all, that has a whole approved conversation."""
    return chosen(submissions, Wanted(kind, frozenset(projects)))


def chosen(submissions: Iterable[Submission], wanted: Wanted) -> Dataset:
    """Every approved submission that is wanted and has a whole approved conversation."""
    by_id = {submission.id: submission for submission in submissions}
    left_out: Counter[LeftOut] = Counter()
    found: list[tuple[Submission, tuple[Message, ...]]] = []
    for _, submission in sorted(by_id.items()):
        if not submission.approved or submission.kind != wanted.kind or not wanted.has(submission.project, submission.slice):
            continue
        messages = conversation(submission, by_id, wanted.erased)
        if isinstance(messages, str):
            left_out[messages] += 1
        else:
            found.append((submission, messages))
    groups = group_of(first_prompt(messages) for _, messages in found)
    places = assigned([(groups[first_prompt(messages)], (last.writer,)) for last, messages in found], wanted.split)
    examples = tuple(_example(*row, *place) for row, place in zip(found, places, strict=True))
    return Dataset(wanted.kind, examples, dict(sorted(left_out.items())))


def conversation(
    last: Submission, by_id: Mapping[str, Submission], erased: Collection[str] = ()
) -> tuple[Message, ...] | LeftOut:
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
    if any(one.is_erased(erased) for one in chain):
        return "erased"
    messages = tuple(Message(ROLES[submission.kind], submission.text) for submission in reversed(chain))
    return messages if _alternates(messages) else "not_a_conversation"


def _alternates(messages: tuple[Message, ...]) -> bool:
    """user, assistant, user, ... with at most one system message before it."""
    turns = messages[1:] if messages[0].role == "system" else messages
    return bool(turns) and all(turn.role == ("user", "assistant")[at % 2] for at, turn in enumerate(turns))


def first_prompt(messages: tuple[Message, ...]) -> str:
    return next(message.content for message in messages if message.role == "user")


def _example(last: Submission, messages: tuple[Message, ...], group: str, split: Split) -> Example:
    return Example(
        submission=last.id,
        revision=last.revision,
        prompt=last.prompt,
        group=group,
        split=split,
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


def largest_group(examples: Iterable[Sample]) -> int:
    """Rows of the largest group."""
    return max(Counter(example.group for example in examples).values(), default=0)


def slice_counts(examples: Iterable[Sample]) -> dict[str, dict[Split, int]]:
    """Rows in each split of each slice, in order of slices."""
    pairs = Counter((example.slice, example.split) for example in examples)
    slices = sorted({slice_ for slice_, _ in pairs})
    return {slice_: {split: pairs[slice_, split] for split in SPLITS} for slice_ in slices}
