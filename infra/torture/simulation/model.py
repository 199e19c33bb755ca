"""The model test: hypothesis chooses what happens to the whole engine, step by step, and shrinks what breaks it.

The model is the fold itself, run over the log from its beginning; the engine must agree with it at any time.
"""

import gc
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from random import Random
from typing import Any, ClassVar

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.reporting import with_reporter
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from infra.torture.simulation.bugs import BUGS, Engine
from infra.torture.simulation.crowd import Crowd, Said
from infra.torture.simulation.network import Moment, Weather
from infra.torture.simulation.world import Slot, World
from streams.annotators import ANNOTATORS_PROJECTION
from streams.review import REVIEW

#: Steps of one history, after which everything is checked and the next begins.
STEPS = 60
MOST_WORKERS = 4
#: Between two events there is time, up to this, or nothing would ever happen at the same time as a flush.
PAUSE_SECONDS = 0.2
WEATHER = Weather(slow_chance=0.05, loss_chance=0.001)

DETAILS = st.integers(0, 2**16)
WORKERS = st.integers(0, MOST_WORKERS - 1)
KINDS = st.sampled_from(["", "produce", "commit transaction", "commit"])
MOMENTS = st.builds(Moment, st.integers(1, 20), st.booleans(), KINDS)


class Broken(AssertionError):
    """The engine and the model disagree."""


class EngineMachine(RuleBasedStateMachine):
    """A world in which hypothesis acts. Details of an event follow from one drawn number."""

    engine: ClassVar[Engine] = Engine()
    tally: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self._stack = ExitStack()
        self._crowd = Crowd()
        self._late: list[Said] = []
        gc.disable()
        self._stack.callback(gc.enable)

    @initialize(number=DETAILS)
    def begin(self, number: int) -> None:
        world = World(number, (REVIEW, ANNOTATORS_PROJECTION), self.engine, WEATHER)
        self.world = self._stack.enter_context(world.running())
        for _ in range(2):
            self.world.add_worker()

    def teardown(self) -> None:
        try:
            if hasattr(self, "world"):
                for said in self._late:
                    self.world.append(said)
                self.world.finish()
                self.nothing_is_broken()
        finally:
            self._stack.close()

    @invariant()
    def nothing_is_broken(self) -> None:
        if hasattr(self, "world") and self.world.violations:
            raise Broken(self.world.violations[0])

    def _act(self, kind: str) -> None:
        self.tally[kind] += 1

    def _slot(self, number: int) -> Slot:
        return self.world.slots[number % len(self.world.slots)]

    def _say(self, kind: str, details: int) -> None:
        self._act(kind)
        self.world.append(self._crowd.say(kind, Random(details)))
        self.world.wait(details / 2**16 * PAUSE_SECONDS)

    # --- what people and tools do --------------------------------------------------------------

    @rule(details=DETAILS, votes=st.integers(0, 5))
    def produce(self, details: int, votes: int) -> None:
        self._say("receive", details)
        for number in range(votes):
            self._say("vote", details + number)

    @rule(details=DETAILS)
    def vote(self, details: int) -> None:
        self._say("vote", details)

    @rule(details=DETAILS)
    def edit(self, details: int) -> None:
        self._say("edit", details)

    @rule(details=DETAILS)
    def withdraw(self, details: int) -> None:
        self._say("withdraw", details)

    @rule(details=DETAILS)
    def retract(self, details: int) -> None:
        self._say("retract", details)

    @rule(kind=st.sampled_from(["golden", "analyse", "rule", "reopen"]), details=DETAILS)
    def annotate(self, kind: str, details: int) -> None:
        self._say(kind, details)

    @rule(kind=st.sampled_from(["policy", "weigh", "tick"]), details=DETAILS)
    def control(self, kind: str, details: int) -> None:
        self._say(kind, details)

    @rule(kind=st.sampled_from(["duplicate", "duplicate", "reuse"]), details=DETAILS)
    def duplicate(self, kind: str, details: int) -> None:
        self._say(kind, details)

    @rule(details=DETAILS)
    def poison(self, details: int) -> None:
        self._say("poison", details)

    @rule(kind=st.sampled_from(["receive", "vote", "edit"]), details=DETAILS)
    def delay(self, kind: str, details: int) -> None:
        """Said now, and in the log some time later."""
        self._act("delay")
        self._late.append(self._crowd.say(kind, Random(details)))

    @precondition(lambda self: self._late)
    @rule(which=st.integers(0, 8))
    def reorder(self, which: int) -> None:
        """What was delayed comes, in any order."""
        self._act("reorder")
        self.world.append(self._late.pop(which % len(self._late)))

    # --- what happens to processes and broker --------------------------------------------------

    @rule(seconds=st.sampled_from([0.01, 0.1, 0.6, 2.0]))
    def wait(self, seconds: float) -> None:
        self._act("wait")
        self.world.wait(seconds)

    @rule(worker=WORKERS, moment=MOMENTS)
    def crash(self, worker: int, moment: Moment) -> None:
        """At any await that matters: every one of them is a request to the broker, or waits for one."""
        self._act("crash at a request")
        self.world.kill_at(self._slot(worker), moment)

    @rule(worker=WORKERS)
    def kill(self, worker: int) -> None:
        self._act("crash")
        self.world.kill(self._slot(worker))

    @rule(worker=WORKERS, moment=MOMENTS, seconds=st.sampled_from([1.0, 5.0, 9.0]))
    def stall(self, worker: int, moment: Moment, seconds: float) -> None:
        self._act("stall")
        self.world.stop_at(self._slot(worker), moment, seconds)

    @rule(worker=WORKERS)
    def rebalance(self, worker: int) -> None:
        self._act("rebalance")
        if len(self.world.slots) < MOST_WORKERS:
            self.world.add_worker()
        else:
            self.world.restart(self._slot(worker))

    @rule(seconds=st.sampled_from([0.5, 3.0]))
    def freeze(self, seconds: float) -> None:
        self._act("broker stalls")
        self.world.freeze(seconds)

    @rule()
    def compact(self) -> None:
        self._act("compaction")
        self.world.compact()

    @rule()
    def replay_and_compare(self) -> None:
        self._act("replay and compare")
        self.world.compare()


@dataclass
class Tested:
    """What a run of the model test came to."""

    actions: Counter[str] = field(default_factory=Counter[str])
    histories: int = 0
    broken: str | None = None
    steps: list[str] = field(default_factory=list[str])


def run_model(actions: int, seed_number: int, bug: str | None = None, shrink: bool = True) -> Tested:
    """Act at least so often, in histories of STEPS steps. Stops at the first that breaks; shrinking it takes up to five
    minutes."""
    tested = Tested()
    machine = type("Machine", (EngineMachine,), {"engine": BUGS[bug] if bug else Engine(), "tally": tested.actions})
    while tested.broken is None and tested.actions.total() < actions:
        histories = max(1, (actions - tested.actions.total()) // STEPS)
        _run(seed(seed_number + tested.histories)(machine), histories, shrink, tested)
        tested.histories += histories
    return tested


def _run(machine: Any, histories: int, shrink: bool, tested: Tested) -> None:
    said: list[object] = []
    how = settings(
        max_examples=histories,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        print_blob=False,
        report_multiple_bugs=False,
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
    )
    try:
        with with_reporter(said.append):
            run_state_machine_as_test(machine, settings=how)
    except Broken as broken:
        tested.broken = str(broken)
        tested.steps = [
            line
            for note in (*getattr(broken, "__notes__", ()), *said)
            for line in str(note).splitlines()
            if "nothing_is_broken" not in line
        ]
