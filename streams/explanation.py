"""Why a submission stands as it does: what was looked at, what it came to, and what would have changed it.

`account` takes down everything that a decision rested on, as JSON; `redecide` decides from that alone, by the very code of
the fold. So an explanation is not a story about a decision but its inputs, and anybody can check it.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from schemas.policy import Policy
from schemas.words import MAX_OFFSET
from streams.deciding import RULED, decide, escalate, leading_confidence, rule
from streams.projection import Json
from streams.scores import Scores, leading
from streams.submissions import Row, Vote, counted, made_vote, weigh
from streams.weighing import InForce, Rules, rules_of


class Decision(NamedTuple):
    """What votes come to: a verdict, or None while more are wanted."""

    verdict: str | None
    label: str | None
    confidence_permille: int
    because: str


# --- what a decision rested on -----------------------------------------------------------------


def account(row: Row, rules: Rules) -> Json:
    """The inputs and the outcome of the decision that a row stands for under these rules, its votes in the order cast."""
    if row.weighed != rules.weighed:
        weigh(row, rules)
    decision = _decision(row, rules)
    policy = rules.policy
    return {
        "revision": row.revision,
        "withdrawn": bool(row.withdrawn),
        "policy": {
            "version": rules.version,
            "overlap_min": policy.overlap_min,
            "overlap_max": policy.overlap_max,
            "approve_confidence_permille": policy.approve_confidence_permille,
            "reject_confidence_permille": policy.reject_confidence_permille,
            "labels": list(rules.labels),
            "approving": [label for label, approves in zip(rules.labels, rules.approves, strict=True) if approves],
        },
        "weights": {
            "model": rules.model,
            "version": rules.skills_version,
            "temperature_permille": rules.temperature,
            "temperature_per_vote_permille": rules.per_vote,
            "prior_milli_nats": _named(rules, rules.prior),
            "default_milli_nats": {
                label: _named(rules, column) for label, column in zip(rules.labels, rules.default, strict=True)
            },
        },
        "floor": row.floor,
        "votes": [_counted(vote, rules) for vote in _in_order(counted(row, rules))],
        "not_counted": [
            {**_vote(vote), "why": why} for vote in _in_order(row.votes.values()) if (why := _why_not(row, vote, rules))
        ],
        "scores_milli_nats": _named(rules, row.scores),
        "decision": decision._asdict(),
    }


def _decision(row: Row, rules: Rules) -> Decision:
    if row.verdict is None:
        return Decision(None, rules.labels[leading(row.scores)] if row.live else None, leading_confidence(row, rules), "")
    return Decision(row.verdict, row.label, leading_confidence(row, rules), row.because)


def _named(rules: Rules, scores: Scores) -> dict[str, int]:
    return dict(zip(rules.labels, scores, strict=True))


def _in_order(votes: Iterable[Vote]) -> list[Vote]:
    return sorted(votes, key=lambda vote: vote.offset)


def _vote(vote: Vote) -> Json:
    return {"voter": vote.voter, "label": vote.label, "offset": vote.offset}


def _counted(vote: Vote, rules: Rules) -> Json:
    columns = rules.weights.get(vote.voter, rules.default)
    return {**_vote(vote), "milli_nats": _named(rules, columns[rules.places[vote.label]])}


def _why_not(row: Row, vote: Vote, rules: Rules) -> str:
    if vote.voter == row.writer:
        return "by the writer"
    if vote.revision != row.revision:
        return f"on revision {vote.revision}"
    return "" if vote.label in rules.places else "a label that the policy does not name"


# --- deciding again ----------------------------------------------------------------------------


def redecide(said: Json, **changes: Any) -> Decision:
    """The decision that an account leads to; `changes` to its policy ask what another policy would have said.

    Equal to the account's own decision where nothing is changed. Raises KeyError on what is no account.
    """
    rules = _rules(said, changes)
    row = _row(said)
    decided = said["decision"]
    if decided["because"] == RULED:
        rule(row, rules, 0, decided["verdict"])
    elif decided["because"] == "deadline":
        escalate(row, rules, 0, "deadline")
    else:
        decide(row, rules, 0, may_turn=True)
    return _decision(row, rules)


def _rules(said: Json, changes: Json) -> Rules:
    told = said["policy"] | changes
    policy = Policy.model_validate({name: told[name] for name in told if name != "version"}, strict=False)
    about, labels = said["weights"], policy.labels
    bare = rules_of(InForce(told["version"], policy, 0), labels, {}, "", "review")
    return bare._replace(
        model=about["model"],
        skills_version=about["version"],
        temperature=about["temperature_permille"],
        per_vote=about["temperature_per_vote_permille"],
        prior=_by_label(about["prior_milli_nats"], labels),
        # Each voter said one thing here, so that this is all of their weights that counts.
        weights={one["voter"]: (_by_label(one["milli_nats"], labels),) * len(labels) for one in said["votes"]},
    )


def _by_label(named: Mapping[str, int], labels: Iterable[str]) -> Scores:
    return tuple(named[label] for label in labels)


def _row(said: Json) -> Row:
    row = Row()
    row.revision, row.floor, row.withdrawn = said["revision"], said["floor"], int(said["withdrawn"])
    for one in said["votes"]:
        row.votes[one["voter"]] = made_vote((one["voter"], one["label"], row.revision, one["offset"], 0, None))
    return row


# --- what would have changed it ----------------------------------------------------------------


def what_if(said: Json) -> list[Json]:
    """Small changes, one at a time, that lead to another verdict: a vote less, a vote the other way, another threshold."""
    verdict = said["decision"]["verdict"]
    found: list[Json] = []
    for change, decision in _variations(said):
        if decision.verdict != verdict:
            found.append({"change": change, "verdict": decision.verdict, "confidence_permille": decision.confidence_permille})
    return found


def _variations(said: Json) -> Iterator[tuple[str, Decision]]:
    if said["decision"]["because"] == RULED:
        return
    votes, policy = said["votes"], said["policy"]
    for place, vote in enumerate(votes):
        rest = votes[:place] + votes[place + 1 :]
        yield f"without the vote of {vote['voter']} for {vote['label']}", redecide({**said, "votes": rest})
    for label, weights in said["weights"]["default_milli_nats"].items():
        one = {"voter": _SOMEBODY, "label": label, "offset": NEXT, "milli_nats": weights}
        yield f"with one more vote for {label} by somebody unknown", redecide({**said, "votes": [*votes, one]})
    for name, value in _near(policy, said["decision"]["confidence_permille"]):
        yield f"with {name} {value} instead of {policy[name]}", redecide(said, **{name: value})


#: No id begins so.
_SOMEBODY = "~somebody"
NEXT = MAX_OFFSET


def _near(policy: Json, reached: int) -> Iterator[tuple[str, int]]:
    """Thresholds a step away. The confidence that was reached is the limit itself: a policy that wants more waits, one that wants
    no more decides."""
    if policy["overlap_min"] < policy["overlap_max"]:
        yield "overlap_min", policy["overlap_min"] + 1
        yield "overlap_max", policy["overlap_max"] - 1
    yield "overlap_max", policy["overlap_max"] + 1
    for name in ("approve_confidence_permille", "reject_confidence_permille"):
        value = reached + 1 if reached >= policy[name] else reached
        if 501 <= value <= 999:
            yield name, value


# --- in words ----------------------------------------------------------------------------------


def in_words(said: Json, where: str = "", weighed_since: bool = False) -> str:
    """One sentence: who said what, how sure that makes, against which threshold.

    `weighed_since`: the account weighs the votes by newer weights than those that decided, so that its probability
    is not the one that was compared.
    """
    decision, policy = said["decision"], said["policy"]
    votes = len(said["votes"])
    for_it = sum(vote["label"] == decision["label"] for vote in said["votes"])
    sure = f"probability {decision['confidence_permille'] / 1000:.3f}"
    if said["withdrawn"]:
        return "Withdrawn: no votes decide it any more."
    if decision["verdict"] is None:
        if votes < policy["overlap_min"]:
            return f"Waiting: {votes} of at least {policy['overlap_min']} votes (policy {policy['version']})."
        counted = f"{for_it} of {votes} say {decision['label']}, {sure} < {_wanted(said)}"
        return f"Waiting for one more vote: {counted} (policy {policy['version']})."
    head = f"{decision['verdict'].capitalize()} under policy {policy['version']}{where}: "
    return head + _reason(said, f"{for_it} of {votes} say {decision['label']}, {sure}", weighed_since) + "."


def _reason(said: Json, counted: str, weighed_since: bool) -> str:
    because, policy = said["decision"]["because"], said["policy"]
    if weighed_since and because != RULED:
        counted += " by the weights of now"
        if because == "confidence":
            return f"{counted}; by those of then at least {_wanted(said)}"
    if because == "confidence":
        return f"{counted} >= {_wanted(said)}"
    if because == "overlap_max":
        return f"{counted} < {_wanted(said)} after the most votes asked for, {policy['overlap_max']}"
    if because == RULED:
        return "an editor's ruling, which votes do not turn over"
    return f"undecided past its deadline; {counted}"


def _wanted(said: Json) -> str:
    approves = said["decision"]["label"] in said["policy"]["approving"]
    side = "approve" if approves else "reject"
    return f"{said['policy'][f'{side}_confidence_permille'] / 1000:.3f}"
