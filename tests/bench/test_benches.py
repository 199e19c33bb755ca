"""Latency, recovery and sink end to end at a small size. What depends on the machine's speed is not judged here."""

import asyncio

from infra.bench import flags, growth, latency, recovery, sink
from infra.bench.live import Load
from infra.bench.rig import alone
from infra.settings import Settings


def test_latency_sees_the_verdicts_of_its_load() -> None:
    with alone(Settings()) as own:
        found = asyncio.run(latency.measure(own, latency.Told(rate=300, seconds=3.0, events=500, subjects=50, seed=1), print))
    assert found["verdicts"] > 50
    assert 0 < found["floor_p50_ms"] < found["p99_ms"] <= found["max_ms"]
    assert {"holds", "p50_ms", "p95_ms", "achieved_rate", "full_rate", "bars_ms"} <= found.keys()


def test_recovery_reads_every_row() -> None:
    with alone(Settings()) as own:
        found = asyncio.run(recovery.measure(own, Load(500, 50, 1), 2_000, print))
    assert found["rows_read"] >= found["rows"] == 2_000
    assert 0 < found["seconds_from_open"] < found["seconds_from_start"]
    assert {"holds", "rows_per_second", "floor_rows_per_second", "rss_bytes", "state_bytes"} <= found.keys()


def test_the_sink_stores_every_row_and_sql_sees_each() -> None:
    with alone(Settings()) as own:
        found = asyncio.run(sink.measure(own, Load(2_000, 100, 1), 400, 1.0, print))
    assert found["rows_stored"] == found["rows"] == 2_000
    assert found["fresh_rows_seen"] == 400
    assert {"holds", "rows_per_second", "floor_rows_per_second", "fresh_p95_ms", "bars"} <= found.keys()


def test_growth_has_a_figure_for_every_stage() -> None:
    (at, costs), *_ = growth.overlap(500, 1)
    assert at == growth.OVERLAPS[0]
    assert set(costs) == set(growth.STAGES)
    assert all(cost > 0 for cost in costs.values())
    assert growth.profile(300, 1)


def test_flags_are_those_of_the_rule() -> None:
    found = flags.measure(200, 60, 1, print)
    shares = {accuracy: one["flagged_share"] for accuracy, one in found["by_accuracy_permille"].items()}
    assert shares["850"] < 0.05 < shares["600"] < shares["500"]
    assert found["by_accuracy_permille"]["500"]["median_answers"] < 25
