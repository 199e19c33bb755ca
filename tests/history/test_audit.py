"""The audit finds rows that are no fold of the log, and goes on from its last look."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from agents.state_log import Row, StateLog
from infra.history.auditing import Audited, Metrics, audit
from infra.history.kafka import KafkaHistory
from infra.memory.broker import MemoryBroker
from infra.memory.clients import serving
from infra.settings import Audit, Kafka, Settings
from infra.system import parts
from infra.verification import replayed
from schemas.topics import EVENTS
from streams.catalogue import PROJECTIONS
from streams.projection import CONTROL_KEY, row_bytes
from streams.review import REVIEW
from tests.history.logs import create, fill


@pytest.fixture
def brokers() -> Iterator[str]:
    broker = MemoryBroker()
    create(broker)
    with serving("audit", broker) as address:
        yield f"{address}/tests"


async def flush(brokers: str, end: int, leave_out: tuple[str, ...] = (), **forged: bytes) -> str:
    """Write the rows of a fold up to this offset, as a worker does; returns the last key."""
    state = await replayed(brokers, REVIEW, 0, end)
    keys = [key for key in state.rows if key not in leave_out]
    rows: list[Row] = [(key.encode(), forged.get(key) or row_bytes(REVIEW, state, key)) for key in [*keys, CONTROL_KEY]]
    log = StateLog(brokers, REVIEW, 0)
    await log.open()
    await log.write(rows)
    await log.close()
    return keys[-1]


async def look(brokers: str, home: Path) -> Audited:
    """The first partition's, which has the rows."""
    found = [one async for one in audit(KafkaHistory(brokers), brokers, home, (REVIEW,))]
    return found[0]


async def test_what_workers_keep_is_the_replay_and_a_look_begins_where_the_last_ended(brokers: str, tmp_path: Path) -> None:
    await fill(brokers, 300)
    await flush(brokers, 100)
    first = await look(brokers, tmp_path)
    assert (first.position, first.folded, first.drift, first.waits) == (99, 100, (), False)
    assert first.compared > 20
    await flush(brokers, 120)
    second = await look(brokers, tmp_path)
    assert (second.position, second.folded, second.drift) == (119, 20, ())
    third = await look(brokers, tmp_path)
    assert (third.folded, third.compared, third.drift) == (0, 0, ())
    ends = await KafkaHistory(brokers).ends(EVENTS.name)
    assert third.behind == ends[EVENTS.name, 0] - 120


async def test_a_row_that_is_no_fold_of_the_log_drifts_until_it_is_right(brokers: str, tmp_path: Path) -> None:
    await fill(brokers, 300)
    key = await flush(brokers, 100)
    state = await replayed(brokers, REVIEW, 0, 100)
    state.rows[key].events += 1
    await flush(brokers, 100, (), **{key: row_bytes(REVIEW, state, key)})
    assert (await look(brokers, tmp_path)).drift == (key,)
    assert (await look(brokers, tmp_path)).drift == (key,), "it is looked at again, though nothing was written"
    await flush(brokers, 100)
    assert (await look(brokers, tmp_path)).drift == ()


async def test_a_row_that_was_never_written_drifts(brokers: str, tmp_path: Path) -> None:
    await fill(brokers, 300)
    key = list((await replayed(brokers, REVIEW, 0, 100)).rows)[-1]
    await flush(brokers, 100, leave_out=(key,))
    assert (await look(brokers, tmp_path)).drift == (key,)


async def test_it_waits_for_workers_that_build_their_rows_again(brokers: str, tmp_path: Path) -> None:
    await fill(brokers, 300)
    await flush(brokers, 100)
    await look(brokers, tmp_path)
    log = StateLog(brokers, REVIEW, 0)
    rows = await log.open()
    await log.write([(key, None) for key in rows])
    await log.close()
    assert (await look(brokers, tmp_path)).waits
    await flush(brokers, 50)
    assert (await look(brokers, tmp_path)).waits
    await flush(brokers, 130)
    again = await look(brokers, tmp_path)
    assert (again.waits, again.position, again.folded, again.drift) == (False, 129, 30, ())


async def test_metrics_tell_the_drift_and_name_nobody(brokers: str, tmp_path: Path) -> None:
    await fill(brokers, 300)
    key = list((await replayed(brokers, REVIEW, 0, 100)).rows)[-1]
    await flush(brokers, 100, leave_out=(key,))
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    found = [one async for one in audit(KafkaHistory(brokers), brokers, tmp_path, PROJECTIONS)]
    metrics.tell({(one.projection, one.partition): one for one in found})
    said = generate_latest(registry).decode()
    assert 'assay_audit_drift_rows{projection="review"} 1.0' in said
    assert 'assay_audit_drift_rows{projection="annotators"} 0.0' in said
    assert 'assay_audit_position{partition="0",projection="review"} 99.0' in said
    assert key not in said


@pytest.mark.parametrize("enabled", [False, True])
def test_the_system_runs_it_where_the_setting_says_so(tmp_path: Path, enabled: bool) -> None:
    own = Settings(data_dir=tmp_path, kafka=Kafka(brokers="127.0.0.1:1"), audit=Audit(enabled=enabled))
    assert [part.name for part in parts(own)].count("audit") == enabled
