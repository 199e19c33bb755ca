"""How a project's votes are weighed and when they decide: its policy, and the recorded weights that the policy picks.

Both come from control records. Policies are part of a partition's control row; weights are shared rows of their own, one a
project, task and model, since they are long and seldom change.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from schemas import events as e
from schemas.policy import MODELS, Policy
from schemas.words import Model, Task
from streams.projection import NOWHERE, Json, Refusal
from streams.scores import Scores, uniform
from streams.weights import milli_nats

#: Weights of a vote, by the label voted: what it adds to each label's score.
Columns = tuple[Scores, ...]


class InForce(NamedTuple):
    """The policy of a project or of one slice of it, and the offset of the record that applied it."""

    version: int
    policy: Policy
    offset: int
    #: Of a slice that goes by the project's policy again: `policy` is nobody's.
    inherits: bool = False
    #: (version, offset) of every application to this scope that said what it was based on: what can be undone to the letter.
    windows: tuple[tuple[int, int], ...] = ()

    def began(self, version: int) -> int | None:
        """The offset from which a version of this scope decided, if it can be undone."""
        return dict(self.windows).get(version)


NO_POLICY = InForce(0, Policy(), NOWHERE)
#: A project and a slice of it; of the project's own policy the slice is "".
Scope = tuple[str, str]


class Policies:
    """The policies of a partition, by project and by slice."""

    __slots__ = ("of_projects", "of_slices", "remembering", "sliced")

    def __init__(self) -> None:
        self.of_projects: dict[str, InForce] = {}
        self.of_slices: dict[Scope, InForce] = {}
        #: Projects with a slice that has, or had, a policy of its own; and those whose policies can be undone.
        self.sliced: set[str] = set()
        self.remembering: set[str] = set()

    def scope_of(self, project: str, slice_: str) -> Scope:
        """Whose policy decides about this slice."""
        return (project, slice_ if (project, slice_) in self.of_slices else "")

    def of(self, scope: Scope) -> InForce:
        """What is in force in a scope. A slice that goes by its project's policy again does so from its own record on."""
        project, slice_ = scope
        whole = self.of_projects.get(project, NO_POLICY)
        own = self.of_slices.get(scope) if slice_ else None
        if own is None:
            return whole
        return whole._replace(offset=max(own.offset, whole.offset), windows=own.windows) if own.inherits else own

    def scopes(self, project: str) -> list[Scope]:
        """The project, then its slices with policies of their own, in order."""
        return [(project, ""), *sorted(scope for scope in self.of_slices if scope[0] == project)]

    def take(self, data: e.PolicyApplied, offset: int) -> bool:
        """Take an application into force; whether it is news in its scope."""
        scope = (data.project, data.slice or "")
        known = self.of_slices.get(scope) if data.slice else self.of_projects.get(data.project, NO_POLICY)
        if known is not None and data.version <= known.version:
            return False
        windows = known.windows if known is not None else ()
        if data.based_on is not None:
            windows = (*windows, (data.version, offset))
        self._put(scope, InForce(data.version, data.policy, offset, data.inherits and data.slice is not None, windows))
        return True

    def _put(self, scope: Scope, one: InForce) -> None:
        project, slice_ = scope
        if slice_:
            self.of_slices[scope] = one
            self.sliced.add(project)
        else:
            self.of_projects[project] = one
        if one.windows:
            self.remembering.add(project)

    def pack(self) -> Json:
        """Slices stand there only where there are any, as in rows from before they could have policies."""
        packed: Json = {"policies": {project: _pack(one) for project, one in sorted(self.of_projects.items())}}
        if self.of_slices:
            packed["slices"] = [[*scope, *_pack(one)] for scope, one in sorted(self.of_slices.items())]
        return packed

    @staticmethod
    def unpack(packed: Json) -> "Policies":
        policies = Policies()
        for project, one in packed["policies"].items():
            policies._put((project, ""), _unpack(*one))
        for project, slice_, *one in packed.get("slices", ()):
            policies._put((project, slice_), _unpack(*one))
        return policies


def _pack(one: InForce) -> list[Any]:
    about = [one.version, one.policy.model_dump(mode="json"), one.offset]
    return [*about, int(one.inherits), one.windows] if one.windows or one.inherits else about


def _unpack(version: int, policy: Json, offset: int, inherits: int = 0, windows: Iterable[tuple[int, int]] = ()) -> InForce:
    # What was packed was checked: lists stand for tuples there, which strict models refuse.
    read = Policy.model_validate(policy, strict=False)
    return InForce(version, read, offset, bool(inherits), tuple((version, offset) for version, offset in windows))


class Rules(NamedTuple):
    """A policy and its weights as a fold uses them; scores are in the order of `labels`."""

    version: int
    policy: Policy
    labels: tuple[str, ...]
    #: Where each label stands in `labels`.
    places: dict[str, int]
    approves: tuple[bool, ...]
    #: Log-odds in milli-nats from which each label decides.
    needed: tuple[int, ...]
    model: Model
    skills_version: int
    temperature: int
    #: By how much each vote after the first raises it.
    per_vote: int
    prior: Scores
    default: Columns
    weights: dict[str, Columns]
    #: Offset of the newest record that any of this comes from: scores that were summed under another one are void.
    weighed: int
    #: Offset from which this policy decides; and whether what it changes is kept, to be undone.
    since: int = NOWHERE
    remembers: bool = False


_SKILLS = "~skills/"


def skills_key(project: str, task: Task, model: Model) -> str:
    return f"{_SKILLS}{project}/{task}/{model}"


def is_skills(key: str) -> bool:
    """Whether the shared row under this key has recorded weights."""
    return key.startswith(_SKILLS)


def misshapen(data: e.SkillsEstimated) -> Refusal | None:
    """Why a record's numbers are no prior and no K x K weights of its K labels; the schema bounds only how many there are."""
    labels = len(data.labels)
    if len(set(data.labels)) < labels:
        return Refusal("misshapen_skills", "labels name one twice")
    if len(data.prior_milli_nats) != labels:
        return Refusal("misshapen_skills", f"a prior of {len(data.prior_milli_nats)} for {labels} labels")
    for weights in (data.default_milli_nats, *data.weights_milli_nats.values()):
        if len(weights) != labels * labels:
            return Refusal("misshapen_skills", f"{len(weights)} weights for {labels} x {labels} labels")
    return None


def take_skills(shared: dict[str, Json], offset: int, data: e.SkillsEstimated) -> str | None:
    """Take a record's weights into the shared rows; returns the row's key, or None if a later version stands there.

    Weights of another label set replace what was known, all others add to it.
    """
    key = skills_key(data.project, data.task, data.model)
    known = shared.get(key)
    if known is not None and data.version < known["version"]:
        return None
    weights: dict[str, Any] = {} if known is None or known["labels"] != list(data.labels) else known["weights"]
    weights.update({voter: list(flat) for voter, flat in data.weights_milli_nats.items()})
    shared[key] = {
        "version": data.version,
        "champion": int(data.champion),
        "labels": list(data.labels),
        "prior": list(data.prior_milli_nats),
        "default": list(data.default_milli_nats),
        "weights": weights,
        "temperature": data.temperature_permille,
        "per_vote": data.temperature_per_vote_permille,
        "offset": offset,
    }
    return key


def rules_of(in_force: InForce, labels: tuple[str, ...], shared: dict[str, Json], project: str, task: Task) -> Rules:
    """The rules of one scope and task. Without recorded weights for exactly these labels every vote weighs the same."""
    policy = in_force.policy
    known = _recorded(shared, project, task)
    # Of any model: another one may have been picked since.
    weighed = max([in_force.offset, *(row["offset"] for row in known.values())])
    model, row = _picked(policy, known)
    if row is None or sorted(row["labels"]) != sorted(labels):
        prior: Scores = (0,) * len(labels)
        model, version, temperature, per_vote, weights = "majority", 0, 1_000, 0, {}
        default = uniform(labels, policy.voter_accuracy_permille)
    else:
        order = [row["labels"].index(label) for label in labels]
        prior = tuple(row["prior"][at] for at in order)
        version, temperature, per_vote = row["version"], row["temperature"], row["per_vote"]
        default = _columns(row["default"], order)
        weights = {voter: _columns(flat, order) for voter, flat in row["weights"].items()}
    places = {label: at for at, label in enumerate(labels)}
    approves = tuple(label in policy.approving for label in labels)
    sides = milli_nats(policy.reject_confidence_permille), milli_nats(policy.approve_confidence_permille)
    needed = tuple(sides[approving] for approving in approves)
    about = in_force.version, policy, labels, places, approves, needed
    return Rules(*about, model, version, temperature, per_vote, prior, default, weights, weighed, in_force.offset)


def temperature_permille(rules: Rules, votes: int) -> int:
    """The temperature of scores with so many votes in them."""
    return rules.temperature + rules.per_vote * (votes - 1) if votes else rules.temperature


def _recorded(shared: dict[str, Json], project: str, task: Task) -> dict[Model, Json]:
    found: dict[Model, Json] = {}
    for model in MODELS:
        row = shared.get(skills_key(project, task, model))
        if row is not None:
            found[model] = row
    return found


def _picked(policy: Policy, known: Mapping[Model, Json]) -> tuple[Model, Json | None]:
    if policy.aggregation != "champion":
        return policy.aggregation, known.get(policy.aggregation)
    picked: tuple[Model, Json | None] = ("majority", None)
    for model, row in known.items():
        if row["champion"] and (picked[1] is None or row["version"] > picked[1]["version"]):
            picked = model, row
    return picked


def _columns(flat: list[int], order: list[int]) -> Columns:
    """From one row a true label to one column a label voted, labels in this order."""
    count = len(order)
    return tuple(tuple(flat[true * count + voted] for true in order) for voted in order)
