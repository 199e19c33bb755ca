"""What the benchmarks make of what they measure: planted faults must show."""

import asyncio
from xml.etree import ElementTree

import pytest

from infra.bench.latency import Trial
from infra.bench.rig import died
from infra.bench.scale import scaling
from infra.errors import AssayError
from infra.plots import Panel, svg
from infra.settings import Settings
from infra.torture.soak import SLACK_BYTES, Sample, Soak, Told, panels, together
from infra.verification import Compared, Verification

HELD = Verification([Compared("review", 0, 9, 0, 5, "same", "same")])
TORN = Verification([Compared("review", 0, 9, 0, 5, "one", "other")])
RUN = {"holds": True, "events_per_second": 1_000, "events_per_worker_cpu_second": 1_000}


def test_nothing_seen_is_no_low_latency() -> None:
    trial = Trial("a", "b")
    assert trial.percentile(50) == float("inf")
    trial.milliseconds = [float(each) for each in range(1, 101)]
    assert (trial.percentile(50), trial.percentile(99), trial.percentile(100)) == (51.0, 100.0, 100.0)


def test_scaling_by_time_and_by_cpu() -> None:
    found = scaling(RUN, RUN | {"events_per_second": 1_500, "events_per_worker_cpu_second": 950}, cores=2)
    assert (found["holds"], found["speedup"], found["speedup_by_cpu"]) == (True, 1.5, 1.9)
    assert "shares its core with the broker" in found["limit"]
    assert not scaling(RUN, RUN | {"holds": False}, cores=8)["holds"]


def soak(worker_bytes: list[int]) -> Soak:
    made = Soak(Settings(), Told(1.0, 100, 100, 1))
    for number, rss in enumerate(worker_bytes):
        made.samples.append(Sample(float(number), {"worker": rss, "sink": 1}, {"review": 0}, {"kafka": 1}, number))
    return made


def test_a_soak_holds_while_memory_grows_as_rows_do() -> None:
    even = soak([100 << 20, 200 << 20, 300 << 20])
    assert even.judged(HELD, 10, 10)["holds"]
    assert not even.judged(TORN, 10, 10)["holds"]
    assert not even.judged(HELD, 10, 9)["holds"]
    even.samples[-1].lag_events["review"] = 1
    assert not even.judged(HELD, 10, 10)["holds"]


def test_a_leak_shows_in_a_soak() -> None:
    found = soak([100 << 20, 200 << 20, (300 << 20) + SLACK_BYTES + 1]).judged(HELD, 10, 10)
    assert (found["holds"], found["rss_bounded"]) == (False, False)


async def test_what_ends_the_watch_over_a_soak_ends_its_load_at_once() -> None:
    async def watch() -> None:
        raise died(7)

    with pytest.raises(AssayError, match="ended before its time"):
        await together(asyncio.Event().wait(), watch())
    await together(asyncio.sleep(0), asyncio.Event().wait())


def test_plots_are_svg_with_every_series() -> None:
    drawn = [*panels(soak([1, 2, 3]).samples), Panel("a < b", "x", "y", {"one": [(0, 0), (5, 70_000)]})]
    made = svg(drawn)
    elements = list(ElementTree.fromstring(made).iter())
    assert {"worker", "sink", "review", "a < b", "one"} <= {each.text for each in elements}
    series = [each.get("id") for each in elements if (each.get("id") or "").startswith("series-")]
    assert series == [f"series-{name}" for panel in drawn for name in panel.series]
    assert svg(drawn) == made
