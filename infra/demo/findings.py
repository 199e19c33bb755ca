"""What the report says about verdicts, people and diversity, read from the live state and from ClickHouse."""

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from scipy.stats import binomtest

from infra.demo.report import Rows
from infra.kafka.reading import live_states
from streams.diversity import DIVERSITY
from streams.diversity import Row as Slice
from streams.indices import of_categories, of_embeddings
from streams.projection import AnyProjection
from streams.review import REVIEW
from streams.standing import golden_now
from streams.submissions import Row as Submission
from streams.submissions import live_votes

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

#: People shown, and from how many counts on: rates on fewer are noise.
PEOPLE = 5
MINIMUM_COUNT = 20
DECIDED = ("approved", "rejected")


async def live_rows(brokers: str, projection: AnyProjection) -> dict[str, Any]:
    """All rows of a projection, over all partitions."""
    found: dict[str, Any] = {}
    async for state in live_states(brokers, projection):
        found |= state.rows
    return dict(sorted(found.items()))


async def submissions(brokers: str) -> dict[str, Submission]:
    return await live_rows(brokers, REVIEW)


async def slices(brokers: str) -> dict[str, Slice]:
    return await live_rows(brokers, DIVERSITY)


def verdicts(rows: Iterable[Submission]) -> Rows:
    """How many submissions of each project stand where."""
    found: Counter[tuple[str, str]] = Counter((row.project, row.verdict or "waiting") for row in rows if row.revision)
    projects = sorted({project for project, _ in found})
    columns = ("approved", "rejected", "escalated", "waiting")
    return [{"project": project, **{column: found[project, column] for column in columns}} for project in projects]


def accuracy(rows: Iterable[Submission]) -> dict[str, Any]:
    """Verdicts against golden answers; an escalation is no right answer. Beside it, plain majority on the same votes."""
    golden = [row for row in rows if golden_now(row) is not None]
    right = sum(1 for row in golden if row.verdict in DECIDED and row.label == golden_now(row))
    votes = sum(row.live for row in golden)
    interval = binomtest(right, len(golden)).proportion_ci(method="wilson") if golden else None
    return {
        "golden_subjects": len(golden),
        "votes": votes,
        "right": right,
        "accuracy": right / len(golden) if golden else 0.0,
        "interval_95": [float(interval.low), float(interval.high)] if interval else [],
        "majority_vote_accuracy": sum(map(_majority, golden)) / len(golden) if golden else 0.0,
        "escalated": sum(1 for row in golden if row.verdict == "escalated"),
    }


def _majority(row: Submission) -> float:
    """1, 0, or a share for a tie, which the lot decides."""
    votes = Counter(vote.label for vote in live_votes(row))
    leaders = [label for label, count in votes.items() if count == max(votes.values())]
    return float(golden_now(row) in leaders) / max(1, len(leaders))


def people(client: "Client", rate: str, count: str, against: str) -> Rows:
    """Those whose rate is surely highest: by the lower end of the interval, so that 1 of 1 never leads."""
    found = client.query(
        f"SELECT project, annotator, {against}, {count}, {rate}_rate, {rate}_low, {rate}_high, mapKeys(flags) FROM v_annotators "
        f"WHERE {count} >= {MINIMUM_COUNT} ORDER BY {rate}_low DESC, annotator LIMIT {PEOPLE}"
    )
    names = ("project", "annotator", against, count, "rate", "low", "high", "flags")
    return [dict(zip(names, row, strict=True)) for row in found.result_rows]


def of_each_category(rows: dict[str, Slice]) -> Rows:
    """Slices against each other, and the writers within each slice."""
    counted: dict[str, Iterable[int]] = {"slices": [row.texts for row in rows.values()]}
    counted |= {f"writers of {name}": row.writers.values() for name, row in rows.items()}
    found: Rows = []
    for name, sizes in counted.items():
        index = of_categories(sizes)
        found.append({"category": name, **index._asdict()})
    return found


def of_each_slice(rows: dict[str, Slice]) -> Rows:
    """Embeddings within each slice. Vendi scores grow with the number of texts: compare equal numbers only."""
    found: Rows = []
    for name, row in rows.items():
        index = of_embeddings(row.embedded, row.sums, row.moments)
        found.append({"slice": name, "model": row.model, **index._asdict()})
    return found
