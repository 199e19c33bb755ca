"""What the demo found, as data."""

from dataclasses import dataclass, field
from typing import Any

Rows = list[dict[str, Any]]


@dataclass
class Report:
    """One section a field; every list is rows of a table. `checks` are the equalities that must hold."""

    checks: dict[str, bool] = field(default_factory=dict[str, bool])
    events: Rows = field(default_factory=Rows)
    throughput: dict[str, float] = field(default_factory=dict[str, float])
    skills: dict[str, int] = field(default_factory=dict[str, int])
    verdicts: Rows = field(default_factory=Rows)
    accuracy: dict[str, Any] = field(default_factory=dict[str, Any])
    writers: Rows = field(default_factory=Rows)
    voters: Rows = field(default_factory=Rows)
    diversity_of_categories: Rows = field(default_factory=Rows)
    diversity_of_embeddings: Rows = field(default_factory=Rows)
    live_equals_replay: dict[str, Any] = field(default_factory=dict[str, Any])
    analytics: Rows = field(default_factory=Rows)
    snapshot: dict[str, Any] = field(default_factory=dict[str, Any])
    training: dict[str, Any] = field(default_factory=dict[str, Any])
    evaluation: dict[str, Any] = field(default_factory=dict[str, Any])
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    next: list[str] = field(default_factory=list[str])

    @property
    def holds(self) -> bool:
        return bool(self.checks) and all(self.checks.values())
