"""assay bench."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import RenderableType

from infra.cli.output import Json, Positive, emit, holds, note, table
from infra.errors import Exit
from infra.wiring import settings


def live(
    *,
    events: Positive = 1_000_000,
    subjects: Annotated[int, Parameter(validator=Number(gte=1), help="Subjects open at a time.")] = 10_000,
    uniform_subjects: Annotated[int, Parameter(validator=Number(gte=1), help="Subjects of the uniform load.")] = 100_000,
    seed: int = 1,
    uniform: Annotated[bool, Parameter(help="Also measure on subjects drawn uniformly.")] = True,
    peers: Annotated[bool, Parameter(help="Also measure other stream processors; their first run installs them.")] = True,
    skills: Annotated[
        bool, Parameter(negative="", help="Votes weigh by recorded skills, new ones every 250,000 events.")
    ] = False,
    json: Json = False,
) -> Exit:
    """Measure one worker on one core, from records in Kafka to durable state rows and delivered verdicts.

    It starts brokers of its own in temporary directories, so that nothing else is touched. The floor is aiokafka's
    getmany with pydantic's decoding, on the same topic and core.

    Example: assay bench live --events 100000 --no-uniform --json
    """
    from infra.bench.live import Load, measure, race
    from infra.bench.peers.race import compared
    from infra.bench.rig import alone, leave_to_the_measured

    leave_to_the_measured()
    load = Load(events, subjects, seed, skills=skills)
    with alone(settings()) as own:
        found = asyncio.run(measure(own, load, _say))
        if peers:
            raced = asyncio.run(race(own, load, _say))
            found |= compared(found["events_per_second"], raced)
            found["peers_detail"] = raced
    if uniform:
        with alone(settings()) as own:
            found["uniform"] = asyncio.run(measure(own, load._replace(subjects=uniform_subjects, uniform=True), _say))
        found["holds"] = found["holds"] and found["uniform"]["holds"]
    return _told(found, json)


def latency(
    *,
    rate: Annotated[int, Parameter(validator=Number(gte=0), help="Events a second; 0: half of the measured rate.")] = 0,
    seconds: Annotated[float, Parameter(validator=Number(gte=2))] = 15.0,
    events: Annotated[int, Parameter(validator=Number(gte=1), help="Events to measure the rate on.")] = 200_000,
    subjects: Positive = 10_000,
    seed: int = 1,
    json: Json = False,
) -> Exit:
    """Measure from sending the event that decides to a consumer that sees the verdict, under a steady load.

    It starts a broker of its own. The exit code is 0 where the 50th and 99th percentile are within their bars.
    Example: assay bench latency --rate 10000 --json
    """
    from infra.bench.latency import Told, measure
    from infra.bench.rig import alone, leave_to_the_measured

    leave_to_the_measured()
    with alone(settings()) as own:
        found = asyncio.run(measure(own, Told(rate, seconds, events, subjects, seed), _say))
    return _told(found, json)


def scale(*, events: Positive = 600_000, subjects: Positive = 10_000, seed: int = 1, json: Json = False) -> Exit:
    """Measure two workers, each on a core, against one.

    Each is measured from the instant when a worker has state to the last commit, on a broker of its own. With
    two cores the second worker shares its core with the broker; CPU seconds then say what `speedup` cannot.
    Example: assay bench scale --events 100000 --json
    """
    from infra.bench.live import Load
    from infra.bench.rig import CORES, alone, leave_to_the_measured
    from infra.bench.scale import TOGETHER_MS, measure, scaling

    leave_to_the_measured(2)

    def run(workers: int) -> dict[str, Any]:
        with alone(settings(), rebalance_delay_ms=TOGETHER_MS) as own:
            return asyncio.run(measure(own, Load(events, subjects, seed), workers, _say))

    return _told(scaling(run(1), run(2), len(CORES)), json)


def recovery(*, rows: Positive = 1_000_000, seed: int = 1, json: Json = False) -> Exit:
    """Measure from the start of a worker to ready, with this many state rows to read.

    It starts a broker of its own. The floor is reading the same topic alone.
    Example: assay bench recovery --rows 100000 --json
    """
    from infra.bench.live import Load
    from infra.bench.recovery import measure
    from infra.bench.rig import alone, leave_to_the_measured

    leave_to_the_measured()
    with alone(settings()) as own:
        found = asyncio.run(measure(own, Load(min(rows, 20_000), 2_000, seed), rows, _say))
    return _told(found, json)


def sink(
    *,
    rows: Positive = 1_000_000,
    rate: Annotated[int, Parameter(validator=Number(gte=1), help="Events a second while freshness is measured.")] = 10_000,
    seconds: Annotated[float, Parameter(validator=Number(gte=1), help="For how long it is measured.")] = 15.0,
    seed: int = 1,
    json: Json = False,
) -> Exit:
    """Measure rows a second from a full topic into ClickHouse's engine, and how soon SQL sees what is sent.

    It starts a broker and stores of its own. The floor is inserting the same blocks, prepared beforehand.
    Example: assay bench sink --rows 100000 --json
    """
    from infra.bench.live import Load
    from infra.bench.rig import alone
    from infra.bench.sink import measure

    with alone(settings()) as own:
        found = asyncio.run(measure(own, Load(rows, 10_000, seed), rate, seconds, _say))
    return _told(found, json)


def preferences(
    *,
    data: Annotated[Path, Parameter(help="A folder of sets, or one set: votes.csv with PandaLM's JSON or items.csv.")],
    orders: Annotated[int, Parameter(validator=Number(gte=1), help="Orders in which choices come to the online ranking.")] = 20,
    seed: int = 1,
    json: Json = False,
) -> Exit:
    """Measure comparisons on real choices: agreement with the majority, and rankings against references in the same run.

    The fold runs in memory. `items.csv` has task, left and right; labels are 1 or left, 2 or right, 0 or tie.
    Example: assay bench preferences --data data/pandalm --json
    """
    from infra.bench.preferences import measure

    return _told(measure(data, orders, seed, _say), json)


def assignment(
    *,
    clients: Annotated[int, Parameter(validator=Number(gte=1), help="Clients that ask at the same time.")] = 16,
    subjects: Positive = 20_000,
    voters: Annotated[int, Parameter(validator=Number(gte=20), help="People; the clients act for all of them.")] = 200,
    seconds: Annotated[float, Parameter(validator=Number(gte=3), help="For how long in peace, and again under faults.")] = 20.0,
    think_ms: Annotated[int, Parameter(validator=Number(gte=0), help="Between two requests of one client, on average.")] = 50,
    warm_seconds: Annotated[float, Parameter(validator=Number(gte=0), help="Worked before what is measured.")] = 25.0,
    seed: int = 1,
    json: Json = False,
) -> Exit:
    """Let clients ask for work at once, vote, die, release and retry; kill the desk; then check the log.

    It starts a broker of its own. The exit code is 0 where nobody was handed their own text or one text twice, no text
    went to more people than it wanted, and the 99th percentile of the answers is within its bar.
    Example: assay bench assignment --seconds 10 --json
    """
    from infra.bench.assignment import Told, measure
    from infra.bench.rig import alone

    told = Told(clients, subjects, voters, seconds, think_ms, seed, warm_seconds)
    with alone(settings()) as own:
        found = asyncio.run(measure(own, told, _say))
    return _told(found, json)


def growth(
    *,
    events: Positive = 100_000,
    partitions: Annotated[bool, Parameter(help="Also by partitions, which takes brokers.")] = True,
    plot: Annotated[Path | None, Parameter(help="Folder for the plots, as SVG.")] = None,
    seed: int = 1,
    json: Json = False,
) -> None:
    """Measure where an event's time goes, and how it grows with keys, overlap, record size and partitions.

    CPU microseconds an event, by stage: decoding, folding, facts, their batches, state rows. A profile says which
    functions take them. Example: assay bench growth --plot docs/plots --json
    """
    from infra.bench import growth as measured
    from infra.bench.rig import alone, leave_to_the_measured
    from infra.plots import need_them, write

    if plot is not None:
        need_them()
    found: dict[str, Any] = {"events": events, "partitions": []}
    for name, course in (("keys", measured.keys), ("overlap", measured.overlap), ("text", measured.text)):
        _say(f"by {name}")
        found[name] = [{"at": at, **costs} for at, costs in course(events, seed)]
    found["profile"] = measured.profile(events, seed)
    leave_to_the_measured()
    for count in measured.PARTITIONS if partitions else ():
        _say(f"on {count} partitions")
        with alone(settings(), partitions=count) as own:
            found["partitions"].append({"at": count, "worker": asyncio.run(measured.partitions(own, events, seed))})
    for name, panels in (measured.panels(found) if plot else {}).items():
        write(Path(plot or ".") / f"{name}.svg", panels)
    emit(found, json, _render)


def verdicts(
    *,
    data: Annotated[Path, Parameter(help="Folder of sets: in each votes.csv (task, worker, label) and gold.csv (task, gold).")],
    sets: Annotated[tuple[str, ...], Parameter(help="Only these sets.", consume_multiple=True)] = (),
    repeats: Annotated[int, Parameter(validator=Number(gte=1), help="Draws of golden answers, and orders of votes.")] = 3,
    golden_share: Annotated[float, Parameter(validator=Number(gte=0, lte=0.25), help="Share of right answers revealed.")] = 0.1,
    peers: Annotated[bool, Parameter(help="Also ask crowd-kit's aggregators; the first run installs them.")] = True,
    peer_seconds: Annotated[float, Parameter(validator=Number(gt=0), help="Most that one peer may take on one set.")] = 900.0,
    seed: int = 1,
    json: Json = False,
) -> Exit:
    """Measure verdicts on real crowds' votes with right answers, through the real folds, beside other people's aggregators.

    `live` is one pass without golden answers. `champion` has some right answers revealed (the share, 100 to 200 of them, never
    more than a quarter) and is judged on the other tasks. `dynamic` uses a vote only where its task is still undecided, in
    random orders and beside in the file's. Of a repeated vote the last counts. F1 is that of the rarer of two labels, else
    the mean over labels. Sets without right answers are named and left out.
    Example: assay bench verdicts --data shared/data --sets rte temp --json
    """
    from infra.bench.verdicts.run import Options, measure

    options = Options(seed, repeats, golden_share, peer_seconds=peer_seconds if peers else 0.0)
    found = measure(settings(), data, sets, options, _say)
    emit(found, json, _render)
    return holds(all(held is not False for held in found["holds"].values()))


def flags(*, annotators: Positive = 4_000, answers: Positive = 100, seed: int = 1, json: Json = False) -> Exit:
    """Measure whom the golden rule flags: voters of known accuracy, looked at after each answer, by the fold itself.

    The exit code is 0 where at most .5 % of those who are right with .85 are flagged, and half of those who guess within 15
    answers. With a few hundred voters one or two flags decide that: see the interval. It needs no broker.
    Example: assay bench flags --annotators 1000 --seed 7 --json
    """
    from infra.bench.flags import measure

    return _told(measure(annotators, answers, seed, _say), json)


def replay(
    *,
    events: Positive = 1_000_000,
    subjects: Positive = 10_000,
    partitions: Positive = 4,
    image_every: Annotated[Positive, Parameter(help="Records of a partition between two state images.")] = 250_000,
    seed: int = 1,
    json: Json = False,
) -> Exit:
    """Measure a replay from archived segments on every processor, decoding and reading alone, and `assay replay --as-of`.

    It needs no broker. The exit code is 0 where every bar that the number of events allows to judge is met.
    Example: assay bench replay --events 100000 --json
    """
    from infra.bench.replay import Load, measure

    found = measure(Load(events, subjects, partitions, seed), image_every, _say)
    emit(found, json, _render)
    return holds(all(held is not False for held in found["holds"].values()))


_say: Callable[[str], None] = note


def _told(found: dict[str, Any], json: bool) -> Exit:
    emit(found, json, _render)
    return holds(found["holds"])


def _render(found: dict[str, Any]) -> RenderableType:
    return table(("figure", "#value"), _flat(found, ""))


def _flat(found: dict[str, Any], path: str) -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = []
    for name, value in found.items():
        rows += _flat(value, f"{path}{name}.") if isinstance(value, dict) else [(f"{path}{name}", value)]
    return rows


def whatif(*, events: Positive = 1_000_000, subjects: Positive = 10_000, seed: int = 1, json: Json = False) -> Exit:
    """Measure a preview of all parts and a sweep of twenty values, against a plain replay of the same events.

    It starts a broker and a worker of its own, which handles the load first. Exit code 0 where both are within their bars and the
    replay reproduced every verdict.
    Example: assay bench whatif --events 100000 --json
    """
    from infra.bench.rig import alone
    from infra.bench.whatif import measure, prepare

    with alone(settings()) as own:
        asyncio.run(prepare(own, events, subjects, seed, _say))
        found = measure(own, events, _say)
    return _told(found, json)
