"""The demo, step by step: start the system, send the events, let the agents work, check everything, train."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any
from zlib import crc32

from agents.settings import WorkerOptions
from agents.skills import Skills
from infra import ports, training
from infra.clickhouse.engine import reach
from infra.clickhouse.reconcile import Partition, reconcile
from infra.datasets import snapshots
from infra.datasets.snapshots import Request
from infra.demo import findings
from infra.demo.report import Report
from infra.demo_data import demo_events, demo_policies
from infra.history.kafka import KafkaHistory
from infra.importing.facts import Imported
from infra.importing.intake import Report as Intake
from infra.importing.intake import intake
from infra.importing.publish import Message, event_key, known_events, publish
from infra.kafka.reading import ends
from infra.policies.log import publish_policy
from infra.settings import Settings
from infra.settling import Lag, settled
from infra.supervisor import Supervisor
from infra.system import create_topics, parts
from infra.verification import Verification, verify
from infra.wiring import bootstrap, key_store
from ray_jobs.cluster import cluster
from ray_jobs.recipes import RECIPES
from schemas.topics import EVENTS, FACT_TOPICS

#: `said(step, done, total)`; total 0 where it is not known.
Say = Callable[[str, int, int], None]

READY_SECONDS = 180.0
RECONCILE_SECONDS = 60.0
SNAPSHOT_PROJECTS = ("oasst", "self-instruct")
RECIPE = "smoke"
ANALYSIS = "analysis"


class Demo:
    """One run. Every step is harmless to repeat, so that a run after an interruption completes it."""

    def __init__(self, settings: Settings, say: Say, tell: Callable[[str, str], None]) -> None:
        self.settings = _with_free_gateway(settings)
        self.report = Report()
        self._say = say
        self._tell = tell

    def run(self) -> Report:
        with self._timed("all_without_setup"):
            self._with_system()
        self.report.next = NEXT
        return self.report

    def _with_system(self) -> None:
        started = time.monotonic()
        self._say("starting Kafka, workers, sink and gateway", 0, 0)
        if self.settings.kafka.brokers:
            create_topics(self.settings)
        # Skills are estimated once, after the votes: what is checked then must stand still.
        with Supervisor(parts(self.settings, skills=False), self._tell) as system:
            system.wait_ready(READY_SECONDS)
            self.report.seconds["start"] = round(time.monotonic() - started, 1)
            self._brokers = bootstrap(self.settings)
            self._send_and_settle(system)
            with self._timed("skills"):
                self._say("estimating voters' skills", 0, 0)
                asyncio.run(self._estimate())
                asyncio.run(self._settle(system, time.monotonic()))
            asyncio.run(self._check_state())
            self._models()
            self._analytics()

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.report.seconds[name] = round(time.monotonic() - started, 1)

    # --- events in, verdicts out ---------------------------------------------------------------

    def _send_and_settle(self, system: Supervisor) -> None:
        with self._timed("events_to_settled"):
            started = time.monotonic()
            fresh = asyncio.run(self._send())
            sent_seconds = time.monotonic() - started
            fold_seconds = asyncio.run(self._settle(system, started))
        sent = len(fresh)
        self.report.throughput = {
            "events_sent": sent,
            "events_there_already": len(self._events) - sent,
            "sending_events_per_second": round(sent / sent_seconds),
            "sent_and_folded_events_per_second": round(sent / fold_seconds),
        }

    async def _send(self) -> list[Message]:
        """The events that were sent: those of the demo that no earlier run had sent already."""
        for change in demo_policies():
            await publish_policy(self._brokers, change)
        known = await known_events(self._brokers)
        keys = key_store(self.settings)
        found = (Imported(number, event) for number, event in enumerate(demo_events(), 1))
        # Without the words of whoever was erased since an earlier run.
        self._events = list(intake(found, None, Intake(), keys))
        fresh = [one for one in self._events if event_key(one.id) not in known]
        partitions = self.settings.kafka.partitions
        await publish(
            self._brokers, partitions, fresh, lambda done: self._say("sending events", done, len(fresh)), before=keys.sync
        )
        return fresh

    async def _estimate(self) -> None:
        estimator = Skills(self._brokers, self.settings.skills.seconds)
        try:
            await estimator.start()
            self.report.skills = {"control_records_a_partition": await estimator.estimate()}
        finally:
            await estimator.close()

    async def _settle(self, system: Supervisor, started: float) -> float:
        """Wait for every agent; the seconds until review, which decides, had folded what was sent."""
        folds = self.settings.worker
        analysis = WorkerOptions(agents=ANALYSIS)
        folded: list[float] = []

        def watch(found: list[Lag]) -> None:
            system.check()
            if not folded and all(lag.events == 0 for lag in found if lag.agent != ANALYSIS):
                folded.append(time.monotonic() - started)
            slowest = max(found, key=lambda lag: lag.events)
            self._say(f"folding ({slowest.agent} last)", slowest.committed, slowest.total)

        await settled(self._brokers, [folds, analysis], watch)
        return folded[0]

    # --- what must hold ------------------------------------------------------------------------

    async def _check_state(self) -> None:
        report = self.report
        await self._count_events()
        rows = await findings.submissions(self._brokers)
        report.verdicts = findings.verdicts(rows.values())
        report.accuracy = findings.accuracy(row for row in rows.values() if row.project == "sp")
        slices = await findings.slices(self._brokers)
        report.diversity_of_categories = findings.of_each_category(slices)
        report.diversity_of_embeddings = findings.of_each_slice(slices)
        with self._timed("verify"):
            await self._verify()

    async def _count_events(self) -> None:
        types: Counter[str] = Counter()
        stored: dict[str, int] = {}
        for (topic, partition), end in (await ends(self._brokers, EVENTS.name)).items():
            async for record in KafkaHistory(self._brokers).records(topic, partition, end):
                types[type(record.event.data).__name__] += 1
                stored.setdefault(record.event.id, record.digest)
        self.report.events = [{"type": name, "events": count} for name, count in sorted(types.items())]
        there = [stored.get(one.id) == crc32(one.value) for one in self._events]
        self.report.checks["every event sent is in the log, byte by byte"] = bool(there) and all(there)

    async def _verify(self) -> None:
        self._say("verifying: live = replay", 0, 0)
        found = Verification()
        async for result in verify(self._brokers):
            found.add(result)
        self.report.live_equals_replay = {
            "equal": found.holds,
            "hash": found.hash,
            "partitions": len(found.compared),
            "state_rows": sum(compared.rows for compared in found.compared),
            "derived_facts": sum(derived.present for derived in found.derived),
        }
        self.report.checks["live state = replay of the log"] = found.holds
        self.report.checks["every event is folded into live state"] = not any(compared.behind for compared in found.compared)

    # --- analytics -----------------------------------------------------------------------------

    def _analytics(self) -> None:
        self._say("reconciling ClickHouse with the log", 0, 0)
        with self._timed("reconcile"), closing(reach(self.settings)) as store:
            client = store.client(store.database)
            found = asyncio.run(reconcile(self._brokers, client, RECONCILE_SECONDS))
            self.report.writers = findings.people(client, "rejection", "decided", "rejected")
            self.report.voters = findings.people(client, "disagreement", "scored", "disagreed")
        self.report.analytics = by_table(found)
        self.report.checks["ClickHouse = log, by count and checksum"] = all(one.holds for one in found)

    # --- snapshot and model --------------------------------------------------------------------

    def _models(self) -> None:
        settings, report = self.settings, self.report
        with self._timed("snapshot"):
            self._say("sealing a snapshot", 0, 0)
            sealed = snapshots.create(settings, Request(projects=SNAPSHOT_PROJECTS))
            checks = snapshots.verify(settings, sealed.manifest.name)
        manifest = sealed.manifest
        report.snapshot = {
            "name": manifest.name,
            "digest": manifest.content_digest,
            "rows": manifest.rows,
            "splits": manifest.splits,
            "path": str(sealed.path),
        }
        report.checks["the snapshot is rebuilt to the same digest"] = all(check.holds for check in checks)
        with self._timed("train_and_evaluate"), cluster(settings.data_dir / "ray", RECIPES[RECIPE].cpus):
            run = training.train(settings, manifest.name, RECIPE, self._progress("training"))
            report.training = _run_facts(run)
            report.evaluation = _run_facts(training.evaluate(settings, run.run, self._progress("evaluating")))
        report.checks["training lowered the held-out loss"] = (
            report.training["loss_after_milli_nats"] < report.training["loss_before_milli_nats"]
        )

    def _progress(self, what: str) -> Callable[[Any], None]:
        return lambda said: self._say(f"{what}: {said.phase}", said.done, said.total)


def _with_free_gateway(settings: Settings) -> Settings:
    """The demo can do with any port for the gateway where the usual one is taken."""
    if ports.free(settings.clickhouse.port):
        return settings
    return settings.model_copy(update={"clickhouse": settings.clickhouse.model_copy(update={"port": 0})})


def by_table(found: tuple[Partition, ...]) -> list[dict[str, Any]]:
    tables = {topic.name: topic.table for topic in FACT_TOPICS}
    rows: list[dict[str, Any]] = []
    for topic in sorted({one.topic for one in found}):
        parts = [one for one in found if one.topic == topic]
        log, store = sum(one.log.rows for one in parts), sum(one.clickhouse.rows for one in parts)
        equal = all(one.holds for one in parts)
        rows.append({"table": tables.get(topic, "quarantine"), "rows_in_log": log, "rows_in_clickhouse": store, "equal": equal})
    return rows


def _run_facts(run: training.Run) -> dict[str, Any]:
    return {"run": run.run, **run.data.model_dump(mode="json")}


NEXT = [
    "source .venv/bin/activate                       # puts assay on PATH",
    "assay up                                        # the whole system, until Ctrl-C; then, in another terminal:",
    "assay verify                                    # live = replay, partition by partition",
    'assay sql "SELECT * FROM v_annotators LIMIT 5"  # ask the analytics store',
    "assay policy show                               # the thresholds in force",
    "assay runs                                      # snapshots, trainings, evaluations",
]
