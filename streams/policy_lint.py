"""What is wrong with a policy before anybody is hurt by it: the failure modes of crowd rules, each under a code.

An error is a rule that cannot do what it says, or does it to people who did nothing; a warning is one that seldom pays.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Literal, NamedTuple

from schemas.policy import Policy
from schemas.words import Action
from streams.projection import NOWHERE
from streams.rules import OF_PEOPLE, rate_holds
from streams.scores import Scores, is_sure, summed
from streams.weighing import InForce, Rules, rules_of

#: What a typical person does wrong, and one who guesses between two labels.
TYPICAL_ERROR, GUESSING_ERROR = 0.15, 0.5
#: How many decisions a rule sees of somebody before it may have flagged a typical person by chance, and how often it may.
HORIZON = 100
FALSE_BAN = 0.005
#: A shorter reason tells nobody why people are held back.
REASON_CHARACTERS = 10
_RATES = {"rejection": "rejection_min_decided", "disagreement": "disagreement_min_scored", "golden": "golden_min_seen"}
_HARSH: dict[Action, int] = {"notify": 0, "deprioritise": 1, "restrict": 2}


class Finding(NamedTuple):
    """One thing that is wrong: a code, the threshold to look at, a sentence, and what to do."""

    code: str
    level: Literal["error", "warning"]
    threshold: str
    says: str
    hint: str


class Case(NamedTuple):
    """A policy that is to be applied, and what is known of where. None: it is not known."""

    policy: Policy
    before: Policy = Policy()
    reason: str | None = None
    #: Of a slice's policy: the project's, which decides about people there too.
    whole: Policy | None = None
    #: Of a project's policy: its slices with policies of their own.
    others: Mapping[str, Policy] = {}
    #: People who voted there of late or may, and how often each label was said in votes that are live.
    voters: int | None = None
    labels: Mapping[str, int] | None = None


def lint(case: Case) -> list[Finding]:
    """What is wrong, errors first."""
    checks = _CHECKS if case.whole is None else tuple(check for check in _CHECKS if check not in _ABOUT_PEOPLE)
    found = [finding for check in checks for finding in check(case)]
    return sorted(found, key=lambda one: one.level == "warning")


# --- when votes decide -------------------------------------------------------------------------


def _accept_below_reject(case: Case) -> Iterator[Finding]:
    policy = case.policy
    if policy.approve_confidence_permille < policy.reject_confidence_permille:
        says = f"a text is approved at {policy.approve_confidence_permille} permille and rejected only at more"
        hint = "what a model learns from should be surer than what it does not: raise it to reject_confidence_permille at least"
        yield Finding("accept_below_reject", "error", "approve_confidence_permille", says, hint)


def _majority(case: Case) -> Iterator[Finding]:
    policy = case.policy
    if policy.preference_confidence_permille <= 500:
        says = f"a choice decides at {policy.preference_confidence_permille} permille, though more may speak for another"
        yield Finding("majority_at_half", "error", "preference_confidence_permille", says, "ask for more than 500")
    for side, needed in _votes_needed(policy).items():
        if needed == policy.overlap_max:
            says = f"all of overlap_max ({policy.overlap_max}) voters must agree to {side}: one who errs sends it to an editor"
            hint = "raise overlap_max, or lower the confidence"
            yield Finding("majority_is_everybody", "warning", f"{side}_confidence_permille", says, hint)


def _unreachable(case: Case) -> Iterator[Finding]:
    policy = case.policy
    for side, needed in _votes_needed(policy).items():
        if needed is None:
            says = f"{policy.overlap_max} votes that all agree are not sure enough to {side}, where nobody's skill is known"
            hint = f"raise overlap_max or voter_accuracy_permille, or lower {side}_confidence_permille: it would always escalate"
            yield Finding("confidence_unreachable", "error", f"{side}_confidence_permille", says, hint)


def _first_votes(case: Case) -> Iterator[Finding]:
    policy = case.policy
    needed = [count for count in _votes_needed(policy).values() if count is not None]
    if needed and min(needed) > policy.overlap_min:
        says = f"the first {policy.overlap_min} votes never decide, however they agree: {min(needed)} are needed"
        yield Finding("first_votes_never", "warning", "overlap_min", says, f"set overlap_min={min(needed)}, so that it says so")
    if policy.overlap_min < policy.overlap_max and all(_decides_split(policy, side) for side in _sides(policy)):
        says = f"the first {policy.overlap_min} votes always decide, however they disagree: no text is ever asked about again"
        hint = "raise the confidence, or set overlap_max to overlap_min"
        yield Finding("first_votes_always", "warning", "overlap_min", says, hint)


def _confidence_of_use(case: Case) -> Iterator[Finding]:
    for side in ("approve", "reject"):
        name = f"{side}_confidence_permille"
        confidence = getattr(case.policy, name)
        if not 700 <= confidence <= 975:
            says = f"{confidence} permille is {'little more than a guess' if confidence < 700 else 'many votes for little'}"
            yield Finding("confidence_out_of_use", "warning", name, says, "800 to 950 is what crowds are run with")


def _rules(policy: Policy) -> Rules:
    return rules_of(InForce(1, policy, NOWHERE), policy.labels, {}, "", "review")


def _sides(policy: Policy) -> dict[str, int]:
    """A label of each side that there is."""
    approving = [at for at, label in enumerate(policy.labels) if label in policy.approving]
    others = [at for at, label in enumerate(policy.labels) if label not in policy.approving]
    return {name: labels[0] for name, labels in (("approve", approving), ("reject", others)) if labels}


def _votes_needed(policy: Policy) -> dict[str, int | None]:
    """How many votes that agree decide on each side, where nobody's skill is known; None: not even `overlap_max` do."""
    rules, found = _rules(policy), dict[str, int | None]()
    for side, label in _sides(policy).items():
        scores: Scores = rules.prior
        found[side] = None
        for count in range(1, policy.overlap_max + 1):
            scores = summed(scores, rules.default[label])
            if is_sure(scores, label, rules.needed[label], rules.temperature):
                found[side] = count
                break
    return found


def _decides_split(policy: Policy, side: str) -> bool:
    """Whether the narrowest majority of the first votes decides for this side."""
    rules, label = _rules(policy), _sides(policy)[side]
    most = policy.overlap_min // 2 + 1
    other = next(at for at in range(len(policy.labels)) if at != label)
    scores: Scores = rules.prior
    for voted in (*(label,) * most, *(other,) * (policy.overlap_min - most)):
        scores = summed(scores, rules.default[voted])
    return (
        2 * most - policy.overlap_min > 0 and policy.overlap_min % 2 == 1 and is_sure(scores, label, rules.needed[label], 1_000)
    )


# --- where it is to hold -----------------------------------------------------------------------


def _voters(case: Case) -> Iterator[Finding]:
    if case.voters is None:
        return
    for name, level in (("overlap_min", "error"), ("overlap_max", "warning")):
        wanted = getattr(case.policy, name)
        if wanted > case.voters:
            says = f"{wanted} people are to vote on a text, and there are {case.voters} who did of late, or are enrolled"
            hint = "enroll people (`assay annotators enroll`), or ask for fewer"
            yield Finding("overlap_over_voters", "error" if level == "error" else "warning", name, says, hint)
            return


def _labels_dropped(case: Case) -> Iterator[Finding]:
    gone = {label: count for label, count in (case.labels or {}).items() if count and label not in case.policy.labels}
    if gone:
        named = ", ".join(f"{label} ({count:,} votes)" for label, count in sorted(gone.items()))
        says = f"votes that are live say what this policy does not name: {named}; they would count for nobody"
        yield Finding("labels_dropped", "error", "labels", says, "keep the labels, or set another project up")


def _scopes(case: Case) -> Iterator[Finding]:
    changed = [name for name in Policy.model_fields if getattr(case.policy, name) != getattr(case.before, name)]
    for slice_, other in sorted(case.others.items()):
        if missed := [name for name in changed if name not in OF_PEOPLE and getattr(other, name) != getattr(case.policy, name)]:
            says = f"slice {slice_} has a policy of its own and keeps another {', '.join(missed)}"
            hint = f"apply it there too (--slice {slice_}), or undo the slice's policy"
            yield Finding("conflicting_scopes", "warning", missed[0], says, hint)
    if case.whole is None:
        return
    if ignored := [name for name in OF_PEOPLE if getattr(case.policy, name) != getattr(case.whole, name)]:
        says = f"a slice's policy changes people's rules, which are the project's: ignored ({', '.join(ignored)})"
        yield Finding("people_rules_ignored", "warning", ignored[0], says, "change them in the project's policy")
    if sorted(case.policy.labels) != sorted(case.whole.labels):
        says = "a slice has other labels than its project: skills that were estimated do not weigh its votes"
        yield Finding("labels_of_slice", "warning", "labels", says, "every vote there weighs by voter_accuracy_permille")


# --- people ------------------------------------------------------------------------------------


def _windows(case: Case) -> Iterator[Finding]:
    policy = case.policy
    least = min(policy.disagreement_min_scored, policy.golden_min_seen)
    if policy.recent_votes < least:
        says = f"the recent rules look at {policy.recent_votes} votes, fewer than the {least} before which a rate may flag"
        yield Finding("window_below_minimum", "error", "recent_votes", says, f"set recent_votes={least} or more")


def _minimum_counts(case: Case) -> Iterator[Finding]:
    for rule, name in _RATES.items():
        count = getattr(case.policy, name)
        if count < 5:
            says = f"{count} decisions may flag somebody: that is one bad morning"
            harsh = getattr(case.policy, f"{rule}_action") != "notify"
            yield Finding("no_minimum_count", "error" if harsh else "warning", name, says, f"set {name} to 5 or more")


def _false_bans(case: Case) -> Iterator[Finding]:
    for rule, name in _RATES.items():
        policy, limit = case.policy, f"{rule}_limit_permille"
        if getattr(policy, f"{rule}_action") == "notify":
            continue
        chance = flagged(TYPICAL_ERROR, getattr(policy, limit), getattr(policy, name))
        if chance > FALSE_BAN:
            says = (
                f"{chance:.1%} of people who are right {1 - TYPICAL_ERROR:.0%} of the time are flagged within {HORIZON} decisions"
            )
            hint = f"raise {limit} or {name}: under {FALSE_BAN:.1%} is what others keep to"
            yield Finding("bans_typical_people", "error", limit, says, hint)


def _never_fires(case: Case) -> Iterator[Finding]:
    for rule in ("disagreement", "golden"):
        limit, name = f"{rule}_limit_permille", _RATES[rule]
        chance = flagged(GUESSING_ERROR, getattr(case.policy, limit), getattr(case.policy, name))
        if chance < 0.5:
            says = f"only {chance:.0%} of people who guess are flagged within {HORIZON} decisions: the rule hardly ever holds"
            yield Finding("rule_never_fires", "warning", limit, says, f"lower {limit} or {name}")


def flagged(error: float, limit_permille: int, minimum: int, horizon: int = HORIZON) -> float:
    """The chance that somebody who errs so often is flagged at any of so many decisions, one after another.

    Exact: errors are binomial until a count may flag; from there on who was flagged is taken out, decision by decision.
    """
    free, caught = [1.0], 0.0
    for total in range(1, horizon + 1):
        free = [(1 - error) * here + error * below for here, below in zip([*free, 0.0], [0.0, *free], strict=True)]
        over = next((wrong for wrong in range(total + 1) if rate_holds(wrong, total, limit_permille, minimum)), total + 1)
        caught += sum(free[over:])
        free[over:] = [0.0] * len(free[over:])
    return caught


def _control_tasks(case: Case) -> Iterator[Finding]:
    policy = case.policy
    if policy.golden_action != "notify" and policy.control_share_permille < 10:
        none = policy.control_share_permille == 0
        says = (
            "wrong golden answers hold people back, and "
            + ("no control task" if none else "hardly a control task")
            + " is served"
        )
        hint = "set control_share_permille=50 or more, or golden_action=notify"
        yield Finding("no_control_tasks", "error" if none else "warning", "control_share_permille", says, hint)


def _reasons(case: Case) -> Iterator[Finding]:
    harsher = [
        f"{rule}_action"
        for rule in (*_RATES, "hurry", "constant", "copying")
        if _HARSH[getattr(case.policy, f"{rule}_action")] > _HARSH[getattr(case.before, f"{rule}_action")]
    ]
    if harsher and case.reason is not None and len(case.reason.strip()) < REASON_CHARACTERS:
        says = f"people would be held back by {', '.join(harsher)}, and are told {case.reason.strip()!r} for a reason"
        yield Finding("flag_without_reason", "error", harsher[0], says, "say in --reason why, in words for whom it concerns")


def _for_ever(case: Case) -> Iterator[Finding]:
    harsh = [rule for rule in (*_RATES, "hurry", "constant", "copying") if getattr(case.policy, f"{rule}_action") == "restrict"]
    if harsh and not case.policy.flag_hours:
        says = f"who is restricted ({', '.join(harsh)}) gets no work by which to recover, and no flag goes by itself"
        yield Finding("flags_for_ever", "warning", "flag_hours", says, "set flag_hours: 360 is 15 days")


_Check = Callable[[Case], Iterator[Finding]]
_ABOUT_PEOPLE: tuple[_Check, ...] = (
    _windows, _minimum_counts, _false_bans, _never_fires, _control_tasks, _reasons, _for_ever,
)  # fmt: skip
_CHECKS: tuple[_Check, ...] = (
    _accept_below_reject, _majority, _unreachable, _first_votes, _confidence_of_use, _voters, _labels_dropped, _scopes,
    *_ABOUT_PEOPLE,
)  # fmt: skip
