"""One threshold over many values, in one pass over the log."""

import asyncio
from typing import NamedTuple

from infra.errors import AssayError, Exit
from infra.history.kafka import KafkaHistory
from infra.settings import Settings
from infra.whatif.preview import Request, Watch, asked
from infra.whatif.replaying import Job, Replay
from infra.wiring import bootstrap
from schemas.topics import EVENTS, VERDICTS
from streams.consequences import STANDS, Compared, shares
from streams.projection import Json
from streams.rates import rate_of
from streams.whatif import Proposal


class Point(NamedTuple):
    """One value of the threshold, and the request with it."""

    value: int
    request: Request


def sweep(settings: Settings, name: str, points: list[Point], watch: Watch = lambda what, done, total: None) -> Json:
    """What every value would lead to. Raises AssayError where the replay does not reproduce production."""
    first = points[0].request
    history = KafkaHistory(bootstrap(settings))
    about = asyncio.run(asked(settings, history, first))
    proposals = tuple(Proposal(first.project, about.next_version, point.request.policy, first.slice) for point in points)
    with Replay(Job(history, about.windows, proposals, sweep=True, too_new=settings.worker.too_new)) as replay:
        found = replay.found(None, lambda done: watch("replaying", done, replay.total))
    control = found.control
    if not control.holds:
        got = f"{control.missing} missing, {control.altered} altered, {control.unexpected} unexpected of {control.expected} facts"
        hint = "`assay verify` says where they differ"
        raise AssayError(
            "the replay does not reproduce what production said", f"{EVENTS.name} against {VERDICTS.name}", got, hint, Exit.FAILED
        )
    told = [point_said(point, one) for point, one in zip(points, found.compared, strict=True)]
    now = getattr(about.before, name)
    return {
        "project": first.project,
        "slice": first.slice or None,
        "threshold": name,
        "in_force": now,
        "events": found.events,
        "points": told,
    }


def point_said(point: Point, one: Compared) -> Json:
    """Shares of all subjects, at least and at most; votes a subject and their price; golden accuracy of what is known."""
    total = sum(one.before(stand) for stand in STANDS)
    votes = [one.votes - one.votes_saved + needed for needed in (one.needed_low, one.needed_high)]
    rate = rate_of(one.golden["after", "right"], one.golden["after", "right"] + one.golden["after", "wrong"])
    said = shares(one)
    price = point.request.price_per_vote
    return {
        "value": point.value,
        **{stand: [said[stand]["share_low"], said[stand]["share_high"]] for stand in STANDS},
        "undetermined": round(one.undetermined / total, 4) if total else None,
        "votes_per_subject": [round(count / total, 3) if total else None for count in votes],
        "cost": [round(count * price, 2) for count in votes],
        "golden_accuracy": None if rate.rate is None else round(rate.rate, 4),
        "golden_interval": [round(rate.low, 4), round(rate.high, 4)],
        "golden_total": rate.total,
        "yield": [one.after("approved")[0], min(total, one.after("approved")[1])],
    }
