"""The policies that were applied, in order: what decides where, what stood before, and what another change was made on."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from schemas.events import AnyEvent, PolicyApplied
from schemas.policy import Policy


class Page(NamedTuple):
    """One application."""

    id: str
    time: datetime
    data: PolicyApplied

    @property
    def scope(self) -> tuple[str, str | None]:
        return self.data.project, self.data.slice


class Deciding(NamedTuple):
    """What decides in a scope; version 0 is the default. `own`: not the project's in a slice's stead."""

    version: int
    policy: Policy
    own: bool
    page: Page | None


class Book:
    """Of two applications with one version the first counts; `events` are in the order of the log."""

    def __init__(self, events: Iterable[AnyEvent]) -> None:
        found: dict[tuple[str, int], Page] = {}
        for event in events:
            if isinstance(event.data, PolicyApplied):
                found.setdefault((event.data.project, event.data.version), Page(event.id, event.time, event.data))
        self.pages = [page for _, page in sorted(found.items())]

    def projects(self) -> list[str]:
        return sorted({page.data.project for page in self.pages})

    def slices(self, project: str) -> list[str]:
        """Slices of the project that have policies of their own."""
        named = sorted({page.data.slice for page in self.pages if page.data.project == project and page.data.slice})
        return [slice_ for slice_ in named if self.deciding(project, slice_).own]

    def of(self, project: str, slice_: str | None) -> list[Page]:
        """What was applied to exactly this scope, in order."""
        return [page for page in self.pages if page.scope == (project, slice_)]

    def page(self, project: str, version: int) -> Page | None:
        return next((page for page in self.pages if (page.data.project, page.data.version) == (project, version)), None)

    def deciding(self, project: str, slice_: str | None) -> Deciding:
        pages = self.of(project, slice_)
        if pages and not pages[-1].data.inherits:
            return Deciding(pages[-1].data.version, pages[-1].data.policy, True, pages[-1])
        return Deciding(0, Policy(), True, None) if slice_ is None else self.deciding(project, None)._replace(own=False)

    def next_version(self, project: str) -> int:
        return max((page.data.version for page in self.pages if page.data.project == project), default=0) + 1

    def decided_before(self, page: Page) -> Deciding:
        """What decided in its scope before it."""
        project, slice_ = page.scope
        cut = Book([])
        cut.pages = [one for one in self.pages if one.data.project != project or one.data.version < page.data.version]
        return cut.deciding(project, slice_)

    def after(self, page: Page) -> list[Page]:
        """What was applied to its scope on top of it."""
        return [one for one in self.of(*page.scope) if one.data.version > page.data.version]


def difference(before: Policy, after: Policy) -> dict[str, list[object]]:
    """Threshold -> [before, after], where they differ."""
    old, new = before.model_dump(mode="json"), after.model_dump(mode="json")
    return {name: [old[name], new[name]] for name in old if old[name] != new[name]}
