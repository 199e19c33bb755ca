"""What a partition's state says, without where in the log it says so: what two histories share that differ only in a policy that
was taken back.

Left out are positions (of rows, votes, decisions), the versions that decided, what a row keeps to be decided again by, sums that
follow from votes and weights, and words about a verdict where none stands. Everything else is in: verdicts, labels, votes, what
people were credited with, requests, golden answers, analyses, comparisons, weights, and the thresholds in force.
"""

from streams import preferences
from streams.projection import Json
from streams.review import ReviewState
from streams.submissions import Row
from streams.weighing import NO_POLICY


def substance(state: ReviewState) -> Json:
    """The state as JSON, in which equal keys and values mean the same."""
    rows = {key: _row(row) for key, row in state.rows.items()}
    compared = {subject: _comparison(row) for subject, row in preferences.comparisons(state)}
    skills = {key: _without(row, "offset") for key, row in state.shared.items() if key.startswith("~skills/")}
    return {"rows": rows, "comparisons": compared, "skills": skills, "policies": _policies(state), "hour": state.control.hour}


def _without(said: Json, *names: str) -> Json:
    return {name: value for name, value in said.items() if name not in names}


def _row(row: Row) -> Json:
    said = {name: getattr(row, name) for name in Row.__slots__}
    votes = [vote._replace(offset=0) for vote in row.votes.values()]
    if row.verdict is None:
        said |= {"label": "", "because": ""}
    analysis = None if row.analysis is None else tuple(row.analysis)
    said |= {"votes": sorted(map(tuple, votes)), "analysis": analysis}
    return _without(said, "offset", "weighed", "live", "scores", "reached", "decided_under")


def _comparison(row: preferences.Comparison) -> Json:
    decision = None if row.decision is None else _without(row.decision._asdict(), "policy_version", "offset")
    said = row._asdict() | {"decision": decision, "preferences": sorted(tuple(one._replace(offset=0)) for one in row.preferences)}
    return _without(said, "offset", "since", "replaced", "kept")


def _policies(state: ReviewState) -> Json:
    """Thresholds by scope, where they are not those that would hold anyway."""
    policies = state.control.policies
    found = {f"{project}/": one.policy for project, one in policies.of_projects.items() if one.policy != NO_POLICY.policy}
    own = {f"{project}/{slice_}": one.policy for (project, slice_), one in policies.of_slices.items() if not one.inherits}
    return {scope: policy.model_dump(mode="json") for scope, policy in (found | own).items()}
