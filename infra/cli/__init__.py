"""The command line: one table of commands, each imported only when it is called."""

import contextlib
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from inspect import cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from infra.errors import EXIT_CODES, AssayError, Exit, explain, line

if TYPE_CHECKING:
    from cyclopts import App

DEBUG = "ASSAY_DEBUG"
HELP = frozenset({"--help", "-h"})

# A command is a function that returns None or an exit code (see infra.errors).
COMMANDS = (
    ("demo", "infra.cli.demo:demo", "Real data through the whole system, and one report on it."),
    ("up", "infra.cli.up:up", "Run the whole system in this terminal until Ctrl-C."),
    ("down", "infra.cli.up:down", "Stop the system that runs on this data directory."),
    ("kafka up", "infra.cli.kafka:up", "Start the managed broker and leave it running."),
    ("kafka status", "infra.cli.kafka:status", "Whether the broker runs, where, and on which files."),
    ("kafka down", "infra.cli.kafka:down", "Stop the managed broker."),
    ("worker", "infra.cli.worker:worker", "Run the agents in one process."),
    ("skills", "infra.cli.skills:skills", "Estimate voters' skills, and record them where review weighs votes."),
    ("serve", "infra.cli.serve:serve", "Run the sink and the gateway to ClickHouse."),
    ("ingest", "infra.cli.importing:ingest", "Send events, one JSON object a line."),
    ("import", "infra.cli.importing:import_file", "Turn a file of another tool into events, and send them."),
    ("replay", "infra.cli.replaying:replay", "Fold the log again and print the result's hash, or what stood at a time."),
    ("archive", "infra.cli.archiving:archive", "Copy the log into Parquet files that outlive the broker."),
    ("restore", "infra.cli.archiving:restore", "Bring a lost log back from an archive."),
    ("verify", "infra.cli.replaying:verify", "Check that the live state equals a replay of the log."),
    ("audit", "infra.cli.auditing:audit", "Compare the live state with a replay, again and again, from the last look on."),
    ("explain", "infra.cli.explaining:explain", "Say why a submission stands as it does, or a person is flagged."),
    ("erase", "infra.cli.erasing:erase", "Make an author's words unreadable, for good."),
    ("keys status", "infra.cli.keys:status", "Open every key, and say how many there are."),
    ("keys rotate", "infra.cli.keys:rotate", "Wrap every key with a new master key."),
    ("sql", "infra.cli.analytics:sql", "Ask the analytics store."),
    ("reconcile", "infra.cli.analytics:reconcile", "Compare the analytics store with the log, partition by partition."),
    ("migrate", "infra.cli.analytics:migrate", "Bring the tables of the analytics store up to date."),
    ("snapshot create", "infra.cli.snapshots:create", "Write an immutable set of the approved data."),
    ("snapshot show", "infra.cli.snapshots:show", "Print the manifest of a snapshot."),
    ("snapshot list", "infra.cli.snapshots:list_all", "List the snapshots."),
    ("snapshot verify", "infra.cli.snapshots:verify", "Check the files of a snapshot against its manifest."),
    ("snapshot diff", "infra.cli.snapshots:diff", "Say which rows two snapshots do not have alike, and why."),
    ("snapshot reproduce", "infra.cli.snapshots:reproduce", "Build the snapshot of a manifest on this data directory."),
    ("snapshot rebuild", "infra.cli.snapshots:rebuild", "Make a successor without texts that were erased."),
    ("lineage model", "infra.cli.lineage:model", "Trace a model to the votes behind it."),
    ("lineage snapshot", "infra.cli.lineage:snapshot", "Trace a snapshot to the votes behind it."),
    ("lineage submission", "infra.cli.lineage:submission", "Say which snapshots and models hold a text."),
    ("lineage annotator", "infra.cli.lineage:annotator", "Say where a person's texts and votes went."),
    ("train", "infra.cli.training:train", "Tune the small model on a snapshot."),
    ("evaluate", "infra.cli.training:evaluate", "Compare the tuned model with the untouched one."),
    ("runs", "infra.cli.training:runs", "List snapshots, trainings and evaluations."),
    ("ranking", "infra.cli.rankings:ranking", "Rank writers or completions by the comparisons in the log."),
    ("annotators list", "infra.cli.annotators:list_all", "List people with their rates and flags."),
    ("annotators show", "infra.cli.annotators:show", "Print all that is known of one person."),
    ("annotators compare", "infra.cli.annotators:compare", "Compare how alike people vote."),
    ("annotators agreement", "infra.cli.annotators:agreement", "Print Krippendorff's alpha by project and slice."),
    ("annotators enroll", "infra.cli.annotators:enroll", "Record what a person may be handed."),
    ("policy show", "infra.cli.policies:show", "Print the policy in force."),
    ("policy diff", "infra.cli.policies:diff", "Print what differs between two policies."),
    ("policy lint", "infra.cli.policies:lint", "Look for what is wrong with a policy."),
    ("policy apply", "infra.cli.policies:apply", "Put a changed policy into force."),
    ("policy preview", "infra.cli.whatif:preview", "Say what a changed policy would change, by a replay of history."),
    ("policy sweep", "infra.cli.whatif:sweep", "Say what every value of one threshold would lead to."),
    ("policy log", "infra.cli.policies:log", "List every change of policy."),
    ("policy undo", "infra.cli.policies:undo", "Take a policy back."),
    ("quarantine list", "infra.cli.quarantine:list_all", "List the records that could not be handled."),
    ("quarantine show", "infra.cli.quarantine:show", "Print one of them."),
    ("quarantine replay", "infra.cli.quarantine:replay", "Send one of them again."),
    ("quarantine discard", "infra.cli.quarantine:discard", "Note that one of them may stay unhandled."),
    ("queue next", "infra.cli.queue:next_one", "Take the next subject to vote on, compare or edit."),
    ("queue show", "infra.cli.queue:show", "Print what waits for whom, and for how long."),
    ("queue release", "infra.cli.queue:release", "Give a lease back."),
    ("queue serve", "infra.cli.queue:serve", "Run the desk that hands work out."),
    ("schema list", "infra.cli.schemas:list_all", "List topics and event types."),
    ("schema show", "infra.cli.schemas:show", "Print the JSON Schema of an event type."),
    ("schema check", "infra.cli.schemas:check", "Check that the committed schemas are those of the code."),
    ("schema asyncapi", "infra.cli.schemas:asyncapi", "Print the AsyncAPI document."),
    ("bench live", "infra.cli.bench:live", "Measure a worker against its floor, and against other stream processors."),
    ("bench scale", "infra.cli.bench:scale", "Measure two workers against one."),
    ("bench latency", "infra.cli.bench:latency", "Measure from an event to the verdict that it decides."),
    ("bench recovery", "infra.cli.bench:recovery", "Measure how long a worker takes to have its state again."),
    ("bench sink", "infra.cli.bench:sink", "Measure the sink into ClickHouse's engine."),
    ("bench verdicts", "infra.cli.bench:verdicts", "Measure verdicts on real crowds beside other people's aggregators."),
    ("bench preferences", "infra.cli.bench:preferences", "Measure comparisons and rankings on real choices."),
    ("bench flags", "infra.cli.bench:flags", "Measure whom the rules flag, and how soon."),
    ("bench replay", "infra.cli.bench:replay", "Measure how fast an archive is folded again, and the state as of a time."),
    ("bench growth", "infra.cli.bench:growth", "Measure where an event's time goes, and how it grows."),
    ("bench whatif", "infra.cli.bench:whatif", "Measure a preview and a sweep of policies against a plain replay."),
    ("bench assignment", "infra.cli.bench:assignment", "Let clients ask for work at once, and look for what must not be."),
    ("torture kill", "infra.cli.torture:kill", "Kill workers, sink and broker under a live load; nothing may show."),
    ("torture simulate", "infra.cli.simulation:simulate", "Run the engine through seeded worlds of faults."),
    ("torture model", "infra.cli.simulation:model", "Let hypothesis act on the engine, and compare it with a replay."),
    ("torture soak", "infra.cli.soak:soak", "Run the whole system for long, and look at its memory, lag and files."),
    ("config show", "infra.cli.config:show", "Print every setting."),
    ("doctor", "infra.cli.doctor:doctor", "Look for what would keep the system from starting."),
    ("version", "infra.cli.version:version", "Print the versions of Assay and of what it stands on."),
)
GROUPS = {
    "kafka": "The managed broker.",
    "snapshot": "Immutable sets of approved data.",
    "lineage": "What stands behind a model, and where texts went.",
    "annotators": "People: rates, flags, and who may be handed what.",
    "policy": "The thresholds in force and their history.",
    "quarantine": "Records that could not be handled.",
    "keys": "The keys of texts.",
    "queue": "Who is handed what.",
    "schema": "Topics and event types.",
    "bench": "Measurements.",
    "torture": "The engine under fire.",
    "config": "Settings.",
}


def main() -> None:
    """The entry point of the command `assay`: one line on stderr for any error, and an exit code that says which."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    with contextlib.suppress(AttributeError):
        sys.stdout.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]
    try:
        return _call(arguments)
    except KeyboardInterrupt:
        return _say(AssayError("interrupted", hint="run it again: what was done stays done", exit_code=Exit.INTERRUPTED))
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return Exit.OK
    except Exception as error:
        if debugging():
            traceback.print_exc()
        return _say(explain(error))


def debugging() -> bool:
    return bool(os.environ.get(DEBUG))


def _say(error: AssayError) -> int:
    print(f"assay: {line(error)}", file=sys.stderr)
    return error.exit_code


def _call(arguments: Sequence[str]) -> int:
    from cyclopts import CycloptsError

    made = app()
    try:
        if HELP.intersection(arguments):
            _tell_all(made, arguments)
        code = made.meta(arguments)
    except CycloptsError as error:
        raise AssayError(str(error), hint="add --help to see what it takes") from error
    return code if isinstance(code, int) else Exit.OK


def _tell_all(made: "App", arguments: Sequence[str]) -> None:
    """A list has one line for each command; the help of one command is the whole docstring, examples as they stand."""
    _, apps, _ = made.meta.parse_commands([argument for argument in arguments if argument not in HELP])
    command = apps[-1]
    if command.default_command is not None and command.default_command.__doc__:
        # cyclopts drops a section of that name; behind an empty line, what is indented is kept as it is.
        command.help = cleandoc(command.default_command.__doc__).replace("Examples:\n", "For example:\n\n")


def app() -> "App":
    from cyclopts import App, Parameter

    made = App(
        name="assay",
        help="Decides, continuously and explainably, which human-written text is good enough to train a model on.",
        help_epilogue="Exit codes: " + "; ".join(f"{int(code)} {meaning}" for code, meaning in EXIT_CODES.items()) + ".",
        exit_on_error=False,
        print_error=False,
        suppress_keyboard_interrupt=False,
        result_action="return_value",
        version_flags=[],
    )
    _register(made)

    made.meta.suppress_keyboard_interrupt = False

    @made.meta.default
    def launch(
        *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
        data_dir: Annotated[Path | None, Parameter(help="Folder of all data, logs, pids and ports.")] = None,
        debug: Annotated[bool, Parameter(negative="", help="Show the traceback of an error.")] = False,
    ) -> object:
        if data_dir is not None:
            os.environ["ASSAY_DATA_DIR"] = str(data_dir.expanduser().absolute())
        if debug:
            os.environ[DEBUG] = "1"
        if not debugging():
            # Libraries speak to logs, and only long-running commands have one.
            logging.getLogger().addHandler(logging.NullHandler())
        return made(tokens)

    return made


def _register(made: "App") -> None:
    from cyclopts import App

    groups = {name: App(name=name, help=help, version_flags=[]) for name, help in GROUPS.items()}
    for group in groups.values():
        made.command(group)
    for path, target, help in COMMANDS:
        group_name, _, name = path.rpartition(" ")
        parent = groups[group_name] if group_name else made
        parent.command(target, name=name, help=help)
