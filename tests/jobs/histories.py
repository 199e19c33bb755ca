"""Histories of a few prompts, completions and a comparison, as hypothesis draws them."""

from hypothesis import strategies as st

from schemas.events import PolicyApplied, SubmissionRuled, SubmissionWithdrawn, VoteCast, VoteRetracted
from schemas.policy import Policy
from schemas.words import Frozen
from tests.jobs.conversations import EVERYWHERE, approved, compared, edit, text

Steps = list[tuple[str, Frozen]]
QUESTIONS = ("how to boil an egg", "how to boil an egg now", "why does it rain", "what is a prime")
WRITERS = ("ann", "bob", "cho", "dee")
POLICIES = (
    Policy(),
    Policy(overlap_min=3),
    Policy(overlap_min=3, overlap_max=7, approve_confidence_permille=980),
    Policy(late_votes_reopen=1),
)


def beginning() -> Steps:
    """Four prompts with two completions each, all approved, and a comparison that is decided."""
    steps = Steps()
    for at, question in enumerate(QUESTIONS):
        steps += approved(text(f"q{at}", question, writer="asker"))
        for side in ("a", "b"):
            writer = WRITERS[(at + (side == "b")) % len(WRITERS)]
            steps += approved(text(f"{side}{at}", f"Answer {side} to {at}.", f"q{at}", writer=writer))
    return steps + compared("c0", "q0", "a0", "b0", "left", "left")


def policy(number: int, version: int) -> tuple[str, Frozen]:
    applied = PolicyApplied(project="p", version=version, policy=POLICIES[number], applied_by="ops", reason="try")
    return EVERYWHERE, applied


SUBJECTS = st.sampled_from([f"{kind}{at}" for kind in "qab" for at in range(len(QUESTIONS))])
_VOTES = st.builds(
    lambda subject, voter, label, revision: (subject, VoteCast(revision=revision, voter=voter, label=label)),
    SUBJECTS, st.sampled_from(["v-1", "v-2", "v-3", "v-4", "v-5"]), st.sampled_from(["good", "bad"]), st.integers(1, 2),
)  # fmt: skip
_RETRACTIONS = st.builds(
    lambda subject, voter: (subject, VoteRetracted(revision=1, voter=voter)), SUBJECTS, st.sampled_from(["v-1", "v-2"])
)
_EDITS = st.builds(lambda subject: edit(subject, f"{subject} in better words"), SUBJECTS)
_WITHDRAWALS = st.builds(lambda subject: (subject, SubmissionWithdrawn(withdrawn_by="ann")), SUBJECTS)
_RULINGS = st.builds(
    lambda subject, verdict: (subject, SubmissionRuled(revision=1, verdict=verdict, ruled_by="chief", reason="so")),
    SUBJECTS, st.sampled_from(["approved", "rejected"]),
)  # fmt: skip
#: What may happen later; a policy is a number of POLICIES.
STEPS = st.one_of(_VOTES, _VOTES, _RETRACTIONS, _EDITS, _WITHDRAWALS, _RULINGS, st.integers(0, len(POLICIES) - 1))


@st.composite
def later(draw: st.DrawFn, first_version: int = 1, most: int = 25) -> Steps:
    drawn = draw(st.lists(STEPS, max_size=most))
    return [policy(one, first_version + at) if isinstance(one, int) else one for at, one in enumerate(drawn)]
