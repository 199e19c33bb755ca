"""what-if: one partition's log as it was and, in the same pass, as it would have been under other policies.

What is asked is plain: fold the log twice with the very fold of the workers, the second time with a proposal in place of the
policies of its scope, in force from the window's beginning. `Worlds` answers the same with less work: a variant keeps rows only
of subjects that stand otherwise in it than they did. What it would say of the same votes is asked of `deciding.outcome`; where
that differs, the variant's row is a copy of the row as it stood before, decided under its own rules and folded by `apply` from
then on. Where the question is not so simple (edits, rulings, retractions, late votes that reopen, control records), a copy is
made first, both are folded, and the copy goes where it came to the same. A copy is always right, since it is folded on its own.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from schemas import events as e
from schemas.catalogue import enveloped
from schemas.identity import event_id
from schemas.policy import Policy
from streams import preferences
from streams.deciding import decide, outcome
from streams.projection import Effect, Projection, Record, State
from streams.redeciding import copy_past
from streams.review import CONTROLS, HANDLERS, REVIEW, Control, ReviewState, ReviewStep, rules_in
from streams.standing import judgements, rejudged, standing
from streams.submissions import UNWEIGHED, Row, twin
from streams.weighing import NO_POLICY, InForce, Rules, is_skills

ReviewFold = Projection[Row, Control]


class Proposal(NamedTuple):
    """A policy that a project, or one slice of it, might have; `version` is one that it never had."""

    project: str
    version: int
    policy: Policy
    slice: str = ""


def begin(fold: ReviewFold, state: ReviewState, proposal: Proposal, partition: int, start: int) -> None:
    """Put a proposal into force before offset `start`, as a control record would; nothing where that very policy is in force."""
    if _stands(state, proposal):
        return
    about: dict[str, Any] = {"project": proposal.project, "slice": proposal.slice or None, "version": proposal.version}
    data = e.PolicyApplied(policy=proposal.policy, applied_by="what-if", reason="what if", **about)
    event = enveloped(event_id(_EPOCH, "what-if", proposal.version), "assay/what-if", proposal.project, _EPOCH, data)
    for row in state.rows.values():
        # By which record's rules scores were summed is told by an offset, and this one is no record's own.
        row.weighed = UNWEIGHED
    state.position = start - 2
    fold.apply(state, Record(partition, start - 1, 0, 0, event))


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def is_replaced(record: Record, proposal: Proposal) -> bool:
    """Whether a record of the window has no place in the proposal's world."""
    data = record.event.data
    return isinstance(data, e.PolicyApplied) and (data.project, data.slice or "") == (proposal.project, proposal.slice)


def _stands(state: ReviewState, proposal: Proposal) -> bool:
    policies, scope = state.control.policies, (proposal.project, proposal.slice)
    own = policies.of_slices.get(scope) if proposal.slice else policies.of(scope)
    return own is not None and not own.inherits and own.policy == proposal.policy


# --- how far apart two policies are ------------------------------------------------------------

#: Thresholds that only `deciding.outcome` compares with.
_DECIDING = ("overlap_min", "overlap_max", "approve_confidence_permille", "reject_confidence_permille")
#: What verdicts may turn, and when time decides: looked at with a copy at hand.
_TURNING = ("late_votes_reopen", "recheck_share_permille", "deadline_hours")
#: What votes weigh: where they differ, every subject does.
_WEIGHING = ("labels", "approving", "aggregation", "voter_accuracy_permille")
_COMPARING = (
    "aggregation", "voter_accuracy_permille", "late_votes_reopen", "preference_criteria", "preference_overlap_min",
    "preference_overlap_max", "preference_confidence_permille",
)  # fmt: skip

SAME, CLOSE, APART = range(3)


def _differ(one: Policy, other: Policy, names: Iterable[str]) -> bool:
    return any(getattr(one, name) != getattr(other, name) for name in names)


def distance(one: Policy, other: Policy) -> int:
    """SAME: submissions cannot tell them apart; CLOSE: votes weigh the same; APART: they do not."""
    if _differ(one, other, _WEIGHING):
        return APART
    return CLOSE if _differ(one, other, (*_DECIDING, *_TURNING)) else SAME


class Near(NamedTuple):
    """How a slice is decided in another world: how far from what was, whether votes may turn a verdict in either, and by what."""

    distance: int
    lively: bool
    rules: Rules


# --- one other world ---------------------------------------------------------------------------


class Variant:
    """History under a proposal: `state.rows` has the subjects that stand otherwise than they did, or may."""

    def __init__(self, proposal: Proposal, fold: ReviewFold, begun: ReviewState) -> None:
        self.proposal = proposal
        self.fold = fold
        self.state: ReviewState = _beginning(begun)
        self._near: dict[str, Near] = {}
        #: Whether comparisons are folded here as well.
        self.compares = False
        #: Subjects that asked for votes here when they had their verdict there: what they came to, history cannot tell.
        self.starved: dict[str, None] = {}
        #: Subjects whose verdict was turned by votes that would not have been asked for.
        self.turned: dict[str, None] = {}
        #: Votes cast while the subject had its verdict here, and none there.
        self.votes_saved = 0
        #: Whether votes came to weigh otherwise within the window.
        self.reweighed = False
        #: Judgements that edits and withdrawals left standing: those here, less those there.
        self.left: list[Effect] = []

    @property
    def rows(self) -> dict[str, Row]:
        return self.state.rows

    def apply(self, record: Record) -> ReviewStep:
        return self.fold.apply(self.state, record)

    def near(self, truth: ReviewState, slice_: str) -> Near:
        found = self._near.get(slice_)
        return self._nearness(truth, slice_) if found is None else found

    def _nearness(self, truth: ReviewState, slice_: str) -> Near:
        project = self.proposal.project
        there, rules = rules_in(truth, project, slice_).policy, rules_in(self.state, project, slice_)
        lively = any(one.late_votes_reopen or one.recheck_share_permille for one in (there, rules.policy))
        found = self._near[slice_] = Near(distance(there, rules.policy), lively, rules)
        return found

    def rules(self, slice_: str) -> Rules:
        """What decides about a slice in this world, as of now."""
        return rules_in(self.state, self.proposal.project, slice_)

    def fork(self, key: str, row: Row, truth: ReviewState) -> Row:
        made = self.rows[key] = twin(row)
        # Offsets of two worlds do not compare.
        made.weighed = UNWEIGHED
        copy_past(truth, self.state, key)
        return made

    def fork_all(self, truth: ReviewState, decided: bool) -> list[str]:
        """Copies of the project's subjects that are open, or all; the keys of those that are new."""
        project, rows = self.proposal.project, self.rows
        keys = [
            key
            for key, row in truth.rows.items()
            if row.project == project and (decided or row.verdict is None) and key not in rows
        ]
        for key in keys:
            self.fork(key, truth.rows[key], truth)
        return keys

    def settle(self, truth: ReviewState, forked: Iterable[str]) -> None:
        """After a control record in both worlds: how far apart they are now, and which of the copies were not needed."""
        self._near.clear()
        if any(self.near(truth, slice_).distance == APART for slice_ in self._slices(truth)):
            for key, row in truth.rows.items():
                if row.project == self.proposal.project and key not in self.rows and self.is_apart(truth, row):
                    self.fork(key, row, truth)
        for key in forked:
            if not self.is_apart(truth, truth.rows[key]):
                self.join(key, truth.rows[key])

    def differs(self, truth: ReviewState) -> bool:
        return any(self.near(truth, slice_).distance for slice_ in self._slices(truth))

    def is_timed(self, truth: ReviewState) -> bool:
        """Whether deadlines are other ones here."""
        pairs = [(self.rules(slice_), rules_in(truth, self.proposal.project, slice_)) for slice_ in self._slices(truth)]
        return any(here.policy.deadline_hours != there.policy.deadline_hours for here, there in pairs)

    def is_apart(self, truth: ReviewState, row: Row) -> bool:
        return self.near(truth, row.slice).distance == APART

    def _slices(self, truth: ReviewState) -> set[str]:
        """Slices among which every policy of the project, here or there, has one; "" for all that have none of their own."""
        worlds, project = (truth, self.state), self.proposal.project
        return {"", *(slice_ for world in worlds for own, slice_ in world.control.policies.of_slices if own == project)}

    def join(self, key: str, row: Row) -> None:
        """Let go of a copy that came to the same."""
        if alike(row, self.rows[key]):
            del self.rows[key]

    def look(self, key: str, row: Row) -> None:
        """Note whether the subject asks for votes that nobody was asked for."""
        own = self.rows.get(key)
        if own is not None and own.verdict is None and row.verdict is not None and own.revision and not own.withdrawn:
            self.starved[key] = None

    def forget(self, key: str) -> None:
        """A new revision, or none any more: nothing is missing that was about the old one."""
        self.starved.pop(key, None)
        self.turned.pop(key, None)


def _beginning(truth: ReviewState) -> ReviewState:
    """The same world without subjects: what its control records said."""
    control = Control()
    policies = truth.control.policies
    control.policies.of_projects, control.policies.of_slices = {**policies.of_projects}, {**policies.of_slices}
    control.policies.sliced, control.policies.remembering = {*policies.sliced}, {*policies.remembering}
    control.hour = truth.control.hour
    shared = {key: {**row, "weights": {**row["weights"]}} for key, row in truth.shared.items() if is_skills(key)}
    return State(control, {}, shared, truth.position)


#: What differs between two rows that stand alike: positions, and the version of a policy that says the same.
_ASIDE = ("offset", "weighed", "decided_under")
_TOLD = tuple(name for name in Row.__slots__ if name not in _ASIDE)


def alike(one: Row, other: Row) -> bool:
    return all(getattr(one, name) == getattr(other, name) for name in _TOLD)


# --- all of them -------------------------------------------------------------------------------

#: What came before an event that may decide an open row, as far as deciding changes it.
_Before = tuple[Any, ...]


class Worlds:
    """One partition as it was (`truth`) and as it would have been under each proposal; all are about one project or slice.

    The window begins at offset `start`: before it there is only what was. Call `done` after the last record.
    """

    def __init__(self, proposals: Iterable[Proposal], partition: int, start: int = 0, fold: ReviewFold = REVIEW) -> None:
        self.proposals = list(proposals)
        self.project, self.slice = self.proposals[0].project, self.proposals[0].slice
        self.partition, self.start, self.fold = partition, start, fold
        self.truth: ReviewState = fold.empty()
        self.variants: list[Variant] = []
        #: The project's policies by version, to say why what was decided.
        self.policies: dict[int, InForce] = {0: NO_POLICY}
        #: Votes of the window.
        self.votes = 0
        self._begun = False
        self._near: dict[str, tuple[bool, list[tuple[Variant, int, Rules]]]] = {}
        self._kinds: dict[type, Callable[[Record, Any], ReviewStep]] = {
            **dict.fromkeys(HANDLERS, self._of_subject),
            **dict.fromkeys(preferences.HANDLERS, self._of_comparison),
            **dict.fromkeys(CONTROLS, self._controlled),
        }

    def feed(self, record: Record) -> ReviewStep:
        """Fold a record into every world; what it led to in the one that was."""
        if not self._begun:
            if record.offset < self.start:
                return self._before(record)
            self.done()
        if record.offset <= self.truth.position:
            return self.fold.apply(self.truth, record)
        data = record.event.data
        handler = self._kinds.get(type(data))
        return self.fold.apply(self.truth, record) if handler is None else handler(record, data)

    def done(self) -> None:
        """Begin the window, if it has not begun."""
        if self._begun:
            return
        self._begun = True
        self._note_policy()
        for proposal in self.proposals:
            variant = Variant(proposal, self.fold, self.truth)
            self.variants.append(variant)
            self._compare(variant, self._in_force(), proposal.policy)
            forked = variant.fork_all(self.truth, decided=False)
            begin(self.fold, variant.state, proposal, self.partition, self.start)
            variant.settle(self.truth, forked)

    def _before(self, record: Record) -> ReviewStep:
        step = self.fold.apply(self.truth, record)
        if isinstance(record.event.data, e.PolicyApplied):
            self._note_policy()
        return step

    def _note_policy(self) -> None:
        policies = self.truth.control.policies
        for scope in policies.scopes(self.project):
            in_force = policies.of(scope)
            self.policies[in_force.version] = in_force

    def _in_force(self) -> Policy:
        policies = self.truth.control.policies
        return policies.of(policies.scope_of(self.project, self.slice)).policy

    def is_about(self, row: Row) -> bool:
        """Whether a subject is of the scope that the proposals are about."""
        return row.project == self.project and (not self.slice or row.slice == self.slice)

    # --- submissions ---

    def _of_subject(self, record: Record, data: Any) -> ReviewStep:
        key = record.event.subject
        row = self.truth.rows.get(key)
        if row is None:
            return self._of_new(record, key)
        if type(data) not in _QUIET or row.floor or row.project != self.project:
            return self._slowly(record, key, row, data)
        verdict, events = row.verdict, row.events
        lively, nearness = self._near.get(row.slice) or self._nearness(row.slice)
        if verdict is not None and lively:
            return self._slowly(record, key, row, data)
        before = row.label, row.because, row.reached, row.decided_under, row.credits, row.unsure_votes
        step = self.fold.apply(self.truth, record)
        counted = row.events != events
        self.votes += counted and type(data) is e.VoteCast and self.is_about(row)
        parts = verdict is None and counted
        for variant, distance_, rules in nearness:
            own = variant.state.rows.get(key)
            if own is not None:
                self._follow(variant, record, own, row, verdict is None)
            elif parts and distance_ and not agree(row, rules):
                self._part(variant, record.offset, row, key, before, rules)
        return step

    def _nearness(self, slice_: str) -> tuple[bool, list[tuple[Variant, int, Rules]]]:
        """What a vote in this slice asks of every variant, and whether it may turn a verdict; until a control record comes."""
        near = [(variant, variant.near(self.truth, slice_)) for variant in self.variants]
        lively = any(one.lively for _, one in near)
        found = self._near[slice_] = lively, [(variant, one.distance, one.rules) for variant, one in near]
        return found

    def _of_new(self, record: Record, key: str) -> ReviewStep:
        """A subject's first event decides nothing, in any world."""
        step = self.fold.apply(self.truth, record)
        row = self.truth.rows.get(key)
        if row is not None and row.project == self.project:
            for variant in self.variants:
                if variant.is_apart(self.truth, row):
                    variant.fork(key, row, self.truth)
        return step

    def _part(self, variant: Variant, offset: int, row: Row, key: str, before: _Before, rules: Rules) -> None:
        """From this record on the subject stands otherwise in this world: as it stood, with this event, decided anew."""
        own = variant.fork(key, row, self.truth)
        own.verdict, own.floor = None, 0
        own.label, own.because, own.reached, own.decided_under, own.credits, own.unsure_votes = before
        decide(own, rules, offset, may_turn=False)
        variant.look(key, row)

    def _slowly(self, record: Record, key: str, row: Row, data: Any) -> ReviewStep:
        """With a copy at hand for every world that may come to something else."""
        project, slice_ = (data.project, data.slice) if type(data) is e.SubmissionReceived else (row.project, row.slice)
        copied: list[Variant] = []
        if project == self.project:
            copied = [one for one in self.variants if key not in one.rows and one.near(self.truth, slice_).distance]
        for variant in copied:
            variant.fork(key, row, self.truth)
        was_open, events = row.verdict is None, row.events
        before = None
        if type(data) in _LEAVING and any(key in variant.rows for variant in self.variants):
            before = judgements(key, row, standing(row))
        step = self.fold.apply(self.truth, record)
        self.votes += row.events != events and type(data) is e.VoteCast and self.is_about(row)
        for variant in self.variants:
            own = variant.rows.get(key)
            if own is None:
                continue
            if before is not None and row.events != events:
                self._leave(variant, key, own, before, isinstance(data, e.SubmissionEdited))
            self._follow(variant, record, own, row, was_open)
            if variant in copied and not variant.is_apart(self.truth, row):
                variant.join(key, row)
        return step

    def _follow(self, variant: Variant, record: Record, own: Row, row: Row, was_open: bool) -> None:
        """Fold an event into a copy; `was_open`: whether it had no verdict in the world that was."""
        verdict, events, data = own.verdict, own.events, record.event.data
        variant.apply(record)
        if own.events == events:
            return
        key = record.event.subject
        if verdict is None and own.verdict is not None and type(data) is e.VoteCast:
            # The votes that were asked for here were cast all the same.
            variant.starved.pop(key, None)
        if was_open and verdict is not None and type(data) is e.VoteCast and data.revision == own.revision:
            variant.votes_saved += 1
            if own.verdict != verdict:
                variant.turned[key] = None
        if own.verdict is None and row.verdict is not None:
            variant.look(key, row)

    def _leave(self, variant: Variant, key: str, own: Row, before: list[Effect], edited: bool) -> None:
        """Judgements that stay when a text is edited or withdrawn; a withdrawn one keeps its golden answer, which speaks on."""
        gone = rejudged(before, judgements(key, own, standing(own)))
        variant.left += [one for one in gone if edited or not one.data["outcome"].startswith("golden")]
        variant.forget(key)

    # --- the rest ---

    def _of_comparison(self, record: Record, data: Any) -> ReviewStep:
        for variant in self.variants:
            if variant.compares:
                variant.apply(record)
        return self.fold.apply(self.truth, record)

    def _compare(self, variant: Variant, truth: Policy, own: Policy) -> None:
        """Give a world comparisons of its own as soon as they may come to something else there."""
        if not variant.compares and _differ(truth, own, _COMPARING):
            variant.compares = True
            rows = {key: row for key, row in self.truth.shared.items() if preferences.is_comparison(key)}
            variant.state.shared.update(rows)

    def _controlled(self, record: Record, data: Any) -> ReviewStep:
        """Control records are the same in all worlds, but for the policies that a proposal stands in the place of."""
        replaced = is_replaced(record, self.proposals[0])
        forked = [self._ahead(variant, data, replaced) for variant in self.variants]
        step = self.fold.apply(self.truth, record)
        said = step.effects
        if replaced:
            self._note_policy()
        for variant, keys in zip(self.variants, forked, strict=True):
            variant.reweighed |= isinstance(data, e.SkillsEstimated) and data.project == self.project and data.task == "review"
            own = [] if replaced else variant.apply(record).effects
            variant.settle(self.truth, keys)
            for one in (*said, *own):
                if one.key in variant.rows:
                    variant.look(one.key, self.truth.rows[one.key])
        self._near.clear()
        return step

    def _ahead(self, variant: Variant, data: Any, replaced: bool) -> list[str]:
        """Copy what a control record may treat otherwise in this world."""
        if replaced:
            self._compare(variant, data.policy, variant.rules(self.slice).policy)
        own = getattr(data, "project", None) == self.project
        if own and isinstance(data, e.PolicyApplied):
            again = data.redecide_since is not None or data.undoes is not None
            return variant.fork_all(self.truth, decided=again)
        if isinstance(data, e.ClockTicked):
            return variant.fork_all(self.truth, decided=False) if variant.is_timed(self.truth) else []
        if own and isinstance(data, e.SkillsEstimated) and variant.differs(self.truth):
            return variant.fork_all(self.truth, decided=data.sweep)
        return []


#: After these an open row is decided by `outcome` alone, and a decided one stands unless votes may turn it.
_QUIET = frozenset({e.VoteCast, e.SubmissionAnalysed, e.GoldenAnswerSet})
#: After these what was said of people stays, about a revision that is gone.
_LEAVING = frozenset({e.SubmissionEdited, e.SubmissionWithdrawn})


def agree(row: Row, rules: Rules) -> bool:
    """Whether these rules say of a row that was open, and was decided just now, what it came to."""
    verdict, because = outcome(row, rules)
    if verdict is not None:
        return row.verdict == verdict and row.because == because
    return row.verdict is None and bool(row.unsure_votes) == bool(because)
