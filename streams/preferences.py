"""preferences: choices between two completions -> which one is preferred, and what settled it.

Comparisons live in the projection `review`, beside the submissions and in rows of their own, so that an event is decoded once and
facts about a person come in one order (docs/decisions/0010-comparisons-in-review.md). What a comparison stood for before an
event is compared with what it stands for after it, and the difference is the effects.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import reduce
from sys import intern
from typing import Any, NamedTuple

from schemas import events as e
from schemas.catalogue import TYPE_OF
from schemas.policy import Policy
from schemas.topics import JUDGEMENTS, VERDICTS
from schemas.words import MAX_MILLI_NATS
from streams.once import MAX_EVENTS, TOO_MANY, mark, same_id
from streams.projection import HOUR_MILLISECONDS, NOWHERE, AnyState, Effect, Json, Record, Refusal, Step, effect
from streams.scores import Scores, confidence_permille, is_sure, leading, shares_permille, summed
from streams.standing import rejudged
from streams.weighing import Rules, temperature_permille
from streams.weights import milli_nats

CHOICES = ("left", "right", "tie")
OVERALL = "overall"
ESCALATED = "escalated"

#: What a comparison's id has before it in the key of its row; no subject's id begins like this.
KEY = "~comparison/"


class Preference(NamedTuple):
    """One annotator's live choice. Scores by criterion are above 0 where the left completion is the better one."""

    annotator: str
    choice: str
    criteria: tuple[tuple[str, int], ...]
    offset: int
    hour: int
    milliseconds: int | None


class Decision(NamedTuple):
    """What a comparison came to, what settled it, and under which policy and weights.

    `choice` is one of CHOICES or `escalated`; `label` is what the choices say most for; `credits` are how likely each
    of CHOICES is, in permille.
    """

    choice: str
    settled_by: str
    label: str
    confidence_permille: int
    credits: dict[str, int]
    policy_version: int
    skills_version: int
    #: Of the record that decided.
    offset: int


class Comparison(NamedTuple):
    """All that is kept about one comparison. No project: choices came before the comparison itself.

    `asked` is the number of choices when more were asked for, 0 while nothing is asked; `seen` is every event's `id:checksum `.
    """

    project: str = ""
    slice: str = ""
    prompt: str = ""
    left: str = ""
    right: str = ""
    offered_ms: int = 0
    preferences: tuple[Preference, ...] = ()
    decision: Decision | None = None
    asked: int = 0
    offset: int = -1
    events: int = 0
    seen: str = ""
    #: What the row would forget, where policies can be undone: the offset of the offer that choices had waited for, choices that
    #: were replaced, and what was decided as the policy of an offset came, if that changed since.
    since: int = NOWHERE
    replaced: tuple[Preference, ...] = ()
    kept: tuple[tuple[int, Decision | None], ...] = ()


# --- rows --------------------------------------------------------------------------------------


def key_of(subject: str) -> str:
    """The key of this comparison's row."""
    return KEY + subject


def is_comparison(key: str) -> bool:
    """Whether the shared row under this key is a comparison's."""
    return key.startswith(KEY)


def comparisons(state: AnyState, project: str | None = None) -> Iterator[tuple[str, Comparison]]:
    """The comparisons of a partition, or of one project in it, with their ids and in order of these."""
    for key in sorted(key for key in state.shared if key.startswith(KEY)):
        packed = state.shared[key]
        if project in (None, packed["project"]):
            yield key.removeprefix(KEY), unpack(packed)


def pack(row: Comparison) -> Json:
    """What there is nothing of is left out, where rows from before it was kept have it not."""
    packed = row._asdict() | {"preferences": [tuple(one) for one in row.preferences], "decision": _packed(row.decision)}
    packed["replaced"] = [tuple(one) for one in row.replaced]
    packed["kept"] = [(since, _packed(decision)) for since, decision in row.kept]
    return {name: value for name, value in packed.items() if name not in _KEPT or value not in ([], NOWHERE)}


#: Fields that rows have only where policies can be undone.
_KEPT = ("since", "replaced", "kept")


def _packed(decision: Decision | None) -> tuple[Any, ...] | None:
    return None if decision is None else tuple(decision)


def unpack(packed: Json) -> Comparison:
    """The comparison of a row: of one that was just packed, or of one that was stored."""
    return Comparison(**packed)._replace(
        preferences=tuple(_preference(*one) for one in packed["preferences"]),
        decision=_decision(packed["decision"]),
        replaced=tuple(_preference(*one) for one in packed.get("replaced", ())),
        kept=tuple((since, _decision(decision)) for since, decision in packed.get("kept", ())),
    )


def _decision(packed: Any) -> Decision | None:
    return None if packed is None else Decision(*packed)


def _preference(annotator: str, choice: str, criteria: Any, *rest: Any) -> Preference:
    return Preference(annotator, choice, tuple((name, score) for name, score in criteria), *rest)


def _put(state: AnyState, subject: str, row: Comparison) -> None:
    key = key_of(subject)
    state.shared[key] = pack(row)
    state.touched[key] = None


# --- deciding ----------------------------------------------------------------------------------


def scores(row: Comparison, rules: Rules) -> Scores:
    """The score of each of CHOICES."""
    columns = [rules.weights.get(one.annotator, rules.default)[rules.places[one.choice]] for one in row.preferences]
    return reduce(summed, columns, rules.prior)


def judged(row: Comparison, rules: Rules, offset: int) -> Decision | None:
    """What the live choices come to under these rules; None while more are wanted."""
    policy, live = rules.policy, len(row.preferences)
    if not row.project or live < policy.preference_overlap_min:
        return None
    found = scores(row, rules)
    lead = leading(found)
    # A lead that two share settles nothing: under one half both may be sure enough, and the first would always win.
    alone, needed = found.count(found[lead]) == 1, milli_nats(policy.preference_confidence_permille)
    if alone and is_sure(found, lead, needed, temperature_permille(rules, live)):
        settled = CHOICES[lead], OVERALL
    elif live >= policy.preference_overlap_max:
        settled = _unclear(row, policy, found)
    else:
        return None
    credits = {label: share for label, share in zip(CHOICES, shares_permille(found), strict=True) if share}
    sure = confidence_permille(found, lead, temperature_permille(rules, live))
    return Decision(*settled, CHOICES[lead], sure, credits, rules.version, rules.skills_version, offset)


def _unclear(row: Comparison, policy: Policy, found: Scores) -> tuple[str, str]:
    """The first clear criterion in the policy's order decides; else it is a tie where ties lead alone; else an editor's turn.

    A criterion is clear where more find one side better than the other, and not fewer than the policy's least overlap.
    """
    for criterion in policy.preference_criteria:
        left, right = leanings(row, criterion)
        if left != right and max(left, right) >= policy.preference_overlap_min:
            return ("left" if left > right else "right"), criterion
    return ("tie" if max(found[:-1]) < found[-1] else ESCALATED), OVERALL


def leanings(row: Comparison, criterion: str) -> tuple[int, int]:
    """How many annotators find the left completion better by this criterion, and how many the right."""
    found = [leaning(preference, criterion) for preference in row.preferences]
    return found.count("left"), found.count("right")


def leaning(preference: Preference, criterion: str) -> str | None:
    """Which of CHOICES an annotator's scores for a criterion add up to; None where there are none.

    What is under a criterion counts into it, as `harmless/bias` into `harmless`.
    """
    said = [score for name, score in preference.criteria if name == criterion or name.startswith(f"{criterion}/")]
    if not said:
        return None
    return "left" if sum(said) > 0 else "right" if sum(said) < 0 else "tie"


def decided(row: Comparison, rules: Rules, offset: int, may_turn: bool) -> Comparison:
    """The row with what its choices come to. `may_turn`: a decision that they contradict does not stand. An escalation decided
    nothing, so later choices may settle it at any time."""
    stands = row.decision is not None and row.decision.choice != ESCALATED and not may_turn
    if stands or (row.decision is not None and _still_supported(row, row.decision, rules)):
        return row._replace(asked=0)
    found, live = judged(row, rules, offset), len(row.preferences)
    wants_more = found is None and row.project and live >= rules.policy.preference_overlap_min
    return row._replace(decision=found, asked=live if wants_more else 0)


def _still_supported(row: Comparison, decision: Decision, rules: Rules) -> bool:
    """What nothing else leads stands; what a criterion or an editor settles stands until the choices settle something else."""
    if len(row.preferences) < rules.policy.preference_overlap_min:
        return False
    again = judged(row, rules, decision.offset)
    if again is not None:
        return again.choice == decision.choice
    found = scores(row, rules)
    return decision.choice == ESCALATED or found[CHOICES.index(decision.choice)] == max(found)


# --- what a comparison says to the world -------------------------------------------------------

_REACHED = TYPE_OF[e.PreferenceReached]
_REOPENED = TYPE_OF[e.PreferenceReopened]
_REQUESTED = TYPE_OF[e.OverlapRequested]
_SCORED = TYPE_OF[e.JudgementScored]


def _difference(subject: str, before: Comparison, after: Comparison, rules: Rules, reason: str) -> list[Effect]:
    """The facts that turn what was said into what is now said: first what is taken back, then what is new."""
    effects: list[Effect] = []
    if before.decision != after.decision:
        if before.decision is not None:
            data = {"project": after.project, "choice": before.decision.choice, "reason": reason}
            effects.append(effect((VERDICTS.name, subject, _REOPENED, data)))
        if after.decision is not None:
            effects.append(_reached(subject, after, after.decision))
    if after.asked and before.asked != after.asked:
        effects.append(_requested(subject, after, rules))
    old, new = judgements(subject, before), judgements(subject, after)
    return effects + rejudged(old, new)


def _reached(subject: str, row: Comparison, decision: Decision) -> Effect:
    # Choices that came after what they decided again are no part of it.
    row = row._replace(preferences=tuple(one for one in row.preferences if one.offset <= decision.offset))
    left, right, tie = counts(row)
    data: Json = {
        "project": row.project,
        "prompt": row.prompt,
        "left": row.left,
        "right": row.right,
        "choice": decision.choice,
        "settled_by": decision.settled_by,
        "confidence_permille": decision.confidence_permille,
        "left_votes": left,
        "right_votes": right,
        "tie_votes": tie,
        "policy_version": decision.policy_version,
        "skills_version": decision.skills_version,
        "decided_by": sorted(preference.offset for preference in row.preferences)[:1_000],
    }
    return effect((VERDICTS.name, subject, _REACHED, data))


def counts(row: Comparison) -> tuple[int, ...]:
    """Live choices of the left, of the right, and ties."""
    chosen = [preference.choice for preference in row.preferences]
    return tuple(chosen.count(choice) for choice in CHOICES)


def _requested(subject: str, row: Comparison, rules: Rules) -> Effect:
    found = scores(row, rules)
    lead, (best, second, _) = leading(found), sorted(found, reverse=True)
    data: Json = {
        "project": row.project,
        "revision": 1,
        "because": "unsure",
        "votes_needed": 1,
        "votes_live": row.asked,
        "label": CHOICES[lead],
        "confidence_permille": confidence_permille(found, lead, temperature_permille(rules, row.asked)),
        "confidence_needed_permille": rules.policy.preference_confidence_permille,
        "log_odds_milli_nats": min(MAX_MILLI_NATS, best - second),
    }
    return effect((VERDICTS.name, subject, _REQUESTED, data))


def judgements(subject: str, row: Comparison) -> list[Effect]:
    """What a decision says about each annotator; an escalation says only how likely each choice is."""
    decision = row.decision
    return [] if decision is None else [_of_annotator(subject, row, decision, one) for one in row.preferences]


def _of_annotator(subject: str, row: Comparison, decision: Decision, preference: Preference) -> Effect:
    escalated = decision.choice == ESCALATED
    truth = decision.label if escalated else decision.choice
    data: Json = {
        "project": row.project,
        "task": "preference",
        "role": "voter",
        "outcome": "credited" if escalated else "agreed" if preference.choice == truth else "disagreed",
        "change": 1,
        "submission": subject,
        "revision": 1,
        "hour": preference.hour,
        "label": preference.choice,
        "truth": truth,
        "credits_permille": decision.credits,
    }
    if preference.milliseconds is not None:
        data["duration_milliseconds"] = preference.milliseconds
    return effect((JUDGEMENTS.name, preference.annotator, _SCORED, data))


# --- what each event does to a comparison ------------------------------------------------------


def _offered(row: Comparison, record: Record, data: e.ComparisonOffered) -> Comparison | Refusal:
    if row.project:
        return Refusal("offered_twice", "the comparison was already offered under another event id")
    if data.left == data.right:
        return Refusal("one_completion", "a completion is compared with itself")
    about = {name: getattr(data, name) for name in ("project", "slice", "prompt", "left", "right")}
    return row._replace(**about, offered_ms=record.time_ms)


def _cast(row: Comparison, record: Record, data: e.PreferenceCast) -> Comparison | Refusal:
    criteria = tuple((intern(criterion.name), criterion.score) for criterion in data.criteria)
    hour = record.time_ms // HOUR_MILLISECONDS
    preference = Preference(data.annotator, data.choice, criteria, record.offset, hour, data.duration_milliseconds)
    others = tuple(one for one in row.preferences if one.annotator != data.annotator)
    return row._replace(preferences=(*others, preference))


HANDLERS: dict[type, Callable[[Comparison, Record, Any], Comparison | Refusal]] = {
    e.ComparisonOffered: _offered,
    e.PreferenceCast: _cast,
}


def apply(state: AnyState, record: Record, rules_in_scope: Callable[[str, str], Rules]) -> Step[Any, Any]:
    """One event of a comparison. The caller has looked at the position."""
    subject, data = record.event.subject, record.event.data
    packed = state.shared.get(key_of(subject))
    before = Comparison() if packed is None else unpack(packed)
    if record.event.id in before.seen:
        return Step(state, [], same_id(before.seen, record))
    if before.events >= MAX_EVENTS:
        return Step(state, [], TOO_MANY)
    changed = HANDLERS[type(data)](before, record, data)
    if isinstance(changed, Refusal):
        return Step(state, [], changed)
    rules = rules_in_scope(changed.project, changed.slice)
    after = decided(changed, rules, record.offset, bool(rules.policy.late_votes_reopen))
    if rules.remembers:
        after = _remembered(before, _noted(before, after, rules), record)
    after = after._replace(offset=record.offset, events=after.events + 1, seen=after.seen + mark(record))
    _put(state, subject, after)
    return Step(state, _difference(subject, before, after, rules, "voted"))


def reconsider(state: AnyState, record: Record, subjects: Iterable[tuple[str, Rules]], reason: str) -> list[Effect]:
    """These comparisons, in this order, under the rules that now are theirs."""
    effects: list[Effect] = []
    for subject, rules in subjects:
        before = unpack(state.shared[key_of(subject)])
        after = _noted(before, decided(before, rules, record.offset, may_turn=True), rules, by_policy=reason == "policy")
        if after != before:
            _put(state, subject, after._replace(offset=record.offset))
            effects += _difference(subject, before, after, rules, reason)
    return effects


# --- deciding again ----------------------------------------------------------------------------


def _noted(before: Comparison, after: Comparison, rules: Rules, by_policy: bool = False) -> Comparison:
    """With what was decided as the policy came, if the policy itself or something under it has changed that now."""
    was = before.decision
    if not rules.remembers or was == after.decision or not (by_policy or (was is not None and was.offset < rules.since)):
        return after
    if after.kept and after.kept[-1][0] >= rules.since:
        return after
    return after._replace(kept=(*after.kept, (rules.since, was)))


def _remembered(before: Comparison, after: Comparison, record: Record) -> Comparison:
    """With what this event made the row forget."""
    if after.project and not before.project and after.preferences:
        after = after._replace(since=record.offset)
    kept = {one.offset for one in after.preferences}
    return after._replace(replaced=(*after.replaced, *(one for one in before.preferences if one.offset not in kept)))


def decide_again(state: AnyState, record: Record, subjects: Iterable[tuple[str, Rules]], start: int) -> list[Effect]:
    """These comparisons as their policy had decided them from an offset on, one choice after another."""
    effects: list[Effect] = []
    for subject, rules in list(subjects):
        before = unpack(state.shared[key_of(subject)])
        after = _noted(before, _again(before, rules, record.offset, start), rules, by_policy=True)
        if after != before:
            _put(state, subject, after._replace(offset=record.offset))
            effects += _difference(subject, before, after, rules, "policy")
    return effects


def _again(row: Comparison, rules: Rules, offset: int, start: int) -> Comparison:
    cast = sorted([*row.preferences, *row.replaced], key=lambda one: one.offset)
    quiet, may_turn = max(start, row.since), bool(rules.policy.late_votes_reopen)
    base = None if row.since > start else _decided_at(row, start)
    again = row._replace(preferences=_chosen(cast, quiet), decision=base)
    if row.since > start:
        again = decided(again, rules, row.since, may_turn)
    for one in cast:
        if one.offset > quiet:
            again = decided(again._replace(preferences=_chosen(cast, one.offset)), rules, one.offset, may_turn)
    again = decided(again._replace(preferences=row.preferences), rules, offset, may_turn=False)
    same = row.decision is not None and again.decision is not None and row.decision[:3] == again.decision[:3]
    return again._replace(decision=row.decision) if same else again


def _chosen(cast: list[Preference], until: int) -> tuple[Preference, ...]:
    """The choices that stood at an offset."""
    return tuple({one.annotator: one for one in cast if one.offset <= until}.values())


def _decided_at(row: Comparison, start: int) -> Decision | None:
    """What was decided as the policy of this offset came."""
    for since, decision in row.kept:
        if since >= start:
            return decision if decision is None or decision.offset < start else None
    return row.decision if row.decision is None or row.decision.offset < start else None
