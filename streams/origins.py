"""What a snapshot's rows rest on: for each text who wrote, edited and judged it, where in the log, under which policy."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from schemas.topics import EVENTS
from streams.dataset import Harvest, Sample
from streams.preferences import Comparison
from streams.projection import Json
from streams.submissions import Row, counts


class _Kept(NamedTuple):
    harvest: Harvest
    row: Row


class Origins:
    """The log's partitions, folded up to a snapshot's offsets, as what its rows came from."""

    def __init__(self, harvests: Iterable[Harvest]) -> None:
        self._harvests = list(harvests)
        self._rows = {
            key: _Kept(harvest, row) for harvest in self._harvests for key, row in harvest.state.rows.items() if row.revision
        }
        self._compared = {subject: (number, row) for harvest in self._harvests for subject, number, row in harvest.comparisons()}

    def of(self, rows: Iterable[Sample]) -> Json:
        """Everything behind these rows, each text once."""
        rows = list(rows)
        texts = {name: self._text(name) for row in rows for end in row.texts() for name in self.conversation(end)}
        choices = {row.id: self._choices(*self._compared[row.id]) for row in rows if row.id in self._compared}
        return {
            "rows": [{"row": row.id, "split": row.split, "texts": self._names(row)} for row in rows],
            "texts": dict(sorted(texts.items())),
            "comparisons": choices,
            **_summary(texts, choices),
        }

    def conversation(self, submission: str) -> Iterator[str]:
        """The submission, and those before it in its conversation."""
        seen, at = set[str](), submission
        while at in self._rows and at not in seen:
            seen.add(at)
            yield at
            at = self._rows[at].row.prompt or ""

    def _names(self, row: Sample) -> list[str]:
        return list(dict.fromkeys(name for end in row.texts() for name in self.conversation(end)))

    def _text(self, name: str) -> Json:
        harvest, row = self._rows[name]
        authors = harvest.authors(name)
        votes = [{"voter": one.voter, "label": one.label, "at": _at(harvest, one.offset)} for one in _live(row)]
        return {
            "kind": row.kind,
            "project": row.project,
            "slice": row.slice,
            "revision": row.revision,
            "writer": row.writer,
            "editors": [author for author in authors if author != row.writer],
            "provenance": harvest.provenance(name),
            "verdict": row.verdict,
            "because": row.because,
            "decided_at": _at(harvest, row.reached),
            "policy_version": row.decided_under,
            "checked_by": None if row.analysis is None else row.analysis.model,
            "votes": votes,
        }

    def _choices(self, partition: int, row: Comparison) -> Json:
        decision = row.decision
        place = f"{EVENTS.name}/{partition}@"
        return {
            "project": row.project,
            "left": row.left,
            "right": row.right,
            "choice": None if decision is None else decision.choice,
            "settled_by": None if decision is None else decision.settled_by,
            "decided_at": None if decision is None else f"{place}{decision.offset}",
            "policy_version": None if decision is None else decision.policy_version,
            "choices": [
                {"annotator": one.annotator, "choice": one.choice, "at": f"{place}{one.offset}"} for one in row.preferences
            ],
        }


def _live(row: Row) -> list[Any]:
    return sorted((vote for vote in row.votes.values() if counts(row, vote)), key=lambda vote: vote.offset)


def _at(harvest: Harvest, offset: int) -> str:
    return f"{EVENTS.name}/{harvest.partition}@{offset}"


def _summary(texts: Mapping[str, Json], choices: Mapping[str, Json]) -> Json:
    """Counts of people, policies and checks; everybody in order of their names."""
    said, judged = list(texts.values()), list(choices.values())
    voters = Counter(vote["voter"] for one in said for vote in one["votes"])
    voters.update(choice["annotator"] for one in judged for choice in one["choices"])
    policies = Counter((one["project"], one["policy_version"]) for one in (*said, *judged))
    return {
        "people": {
            "writers": _sorted(Counter(one["writer"] for one in said)),
            "editors": _sorted(Counter(editor for one in said for editor in one["editors"])),
            "voters": _sorted(voters),
        },
        "policies": [
            {"project": project, "version": version, "decided": count} for (project, version), count in sorted(policies.items())
        ],
        "checks": {
            "verdicts": len(said),
            "votes": sum(len(one["votes"]) for one in said),
            "choices": sum(len(one["choices"]) for one in judged),
            "because": _sorted(Counter(one["because"] for one in said)),
            "models": _sorted(Counter(str(one["checked_by"]) for one in said if one["checked_by"])),
        },
    }


def _sorted(counts_of: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts_of.items()))
