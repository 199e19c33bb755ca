"""Crowd votes as tables: seq,task,worker,label[,seconds], with right answers beside them as task,gold.

Such sets publish neither texts nor times. A placeholder stands for each text and says so, and a synthetic clock gives
each vote the time start + seq * step. A text comes in with its first vote. A repeated (task, worker) is a changed vote.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from infra.importing.facts import Found, Imported, Moment, Options, annotator, guarded, identifier, imported
from infra.importing.lines import Line, Problem
from schemas.events import GoldenAnswerSet, SubmissionReceived, VoteCast
from schemas.words import Label

SOURCE = "assay/import/crowd-csv"
VOTES = ("seq", "task", "worker", "label")
GOLD = ("task", "gold")
#: Keeps the synthetic clock within the calendar.
MAX_SEQ = 1_000_000_000

Cells = tuple[int, dict[str, str]]


class Row(NamedTuple):
    """One vote of the file, checked."""

    line: int
    seq: int
    task: str
    worker: str
    label: Label
    milliseconds: int | None


def crowd_csv(lines: Iterable[Line | Problem], options: Options) -> Iterator[Found]:
    """Per vote: the submission and its right answer if the task is new, then the vote."""
    gold: dict[str, Label] = {}
    for answer in _gold(options):
        if isinstance(answer, Problem):
            yield answer
        else:
            gold[answer[0]] = answer[1]
    tasks: set[str] = set()
    for row in _rows(lines, options):
        if isinstance(row, Problem):
            yield row
            continue
        if row.task not in tasks:
            tasks.add(row.task)
            yield from guarded(row.line, _submission(row, gold.get(row.task), options))
        yield from guarded(row.line, _vote(row, options))


def _submission(row: Row, right: Label | None, options: Options) -> Iterator[Imported]:
    subject, moment = identifier(options.project, row.task), Moment(row.line, options.moment(row.seq))
    text = f"[{options.project}] This set publishes votes on its texts, not the texts."[:1_000]
    writer = f"{options.project}-unknown-writer"
    received = SubmissionReceived(
        project=options.project, kind="context", writer=writer, slice=options.slice, text=text, provenance="unknown"
    )
    yield imported(moment, SOURCE, subject, received)
    if right is not None:
        golden = GoldenAnswerSet(revision=1, label=right, set_by=f"{options.project}-gold")
        yield imported(moment, SOURCE, subject, golden)


def _vote(row: Row, options: Options) -> Iterator[Imported]:
    # After its submission, and before the next vote: half a step later.
    moment = Moment(row.line, options.moment(row.seq) + options.step / 2)
    vote = VoteCast(revision=1, voter=row.worker, label=row.label, duration_milliseconds=row.milliseconds)
    yield imported(moment, SOURCE, identifier(options.project, row.task), vote, row.worker, row.seq)


# --- rows --------------------------------------------------------------------------------------


def _rows(lines: Iterable[Line | Problem], options: Options) -> Iterator[Row | Problem]:
    seen: set[int] = set()
    for cells in _cells(lines, VOTES):
        row = cells if isinstance(cells, Problem) else _row(cells, options)
        if isinstance(row, Row) and row.seq in seen:
            row = Problem(row.line, "seq_twice", f"seq {row.seq} stands on an earlier line", "number the votes 1, 2, 3, ...")
        elif isinstance(row, Row):
            seen.add(row.seq)
        yield row


def _row(cells: Cells, options: Options) -> Row | Problem:
    line, row = cells
    if not row["seq"].isascii() or not row["seq"].isdigit() or len(row["seq"]) > 10 or int(row["seq"]) > MAX_SEQ:
        return Problem(line, "bad_seq", f"seq is {row['seq'][:40]!r}", f"a whole number from 0 to {MAX_SEQ}")
    if not row["task"] or not row["worker"]:
        return Problem(line, "empty_cell", "a vote without task or worker", "fill it in, or leave the line out")
    label = options.labels.get(row["label"])
    if label is None:
        return _unknown_label(line, row["label"], options)
    seconds = row.get("seconds", "")
    try:
        milliseconds = round(float(seconds) * 1000) if seconds else None
    except (ValueError, OverflowError):
        return Problem(line, "bad_seconds", f"seconds is {seconds[:40]!r}", "a number of seconds, or nothing")
    return Row(line, int(row["seq"]), row["task"], annotator(row["worker"]), label, milliseconds)


def _unknown_label(line: int, label: str, options: Options, file: str | None = None) -> Problem:
    known = ", ".join(sorted(options.labels))
    hint = "name each: --labels good=1,bad=0, or --labels yes,no,unsure"
    return Problem(line, "unknown_label", f"label {label[:40]!r} is none of {known}", hint, file)


def _gold(options: Options) -> Iterator[tuple[str, Label] | Problem]:
    for cells in _cells(options.gold, GOLD, "gold"):
        if isinstance(cells, Problem):
            yield cells
            continue
        line, row = cells
        label = options.labels.get(row["gold"])
        if label is None:
            yield _unknown_label(line, row["gold"], options, "gold")
        else:
            yield row["task"], label


# --- cells -------------------------------------------------------------------------------------


def _cells(lines: Iterable[Line | Problem], columns: Sequence[str], file: str | None = None) -> Iterator[Cells | Problem]:
    """Each line's cells by column name. A record is one line: no cell of these files holds a line end."""
    rest = iter(lines)
    header: list[str] | None = None
    for line in rest:
        found = _split(line, file)
        if isinstance(found, Problem):
            yield found
        elif header is None:
            header = [name.strip().lower() for name in found[1]]
            if missing := [name for name in columns if name not in header]:
                reason = f"the header lacks {', '.join(missing)}"
                yield Problem(found[0], "missing_columns", reason, f"name the columns {','.join(columns)}", file)
                return
        elif len(found[1]) != len(header):
            reason = f"{len(found[1])} cells under {len(header)} columns"
            yield Problem(found[0], "wrong_columns", reason, "check for commas that want quotes", file)
        else:
            yield found[0], dict(zip(header, (cell.strip() for cell in found[1]), strict=True))


def _split(line: Line | Problem, file: str | None) -> tuple[int, list[str]] | Problem:
    if isinstance(line, Problem):
        return Problem(line.line, line.code, line.reason, line.hint, file)
    try:
        return line.number, next(csv.reader([line.text], strict=True))
    except csv.Error as error:
        return Problem(line.number, "bad_csv", str(error), "close every quote on its own line, and double those inside", file)


def right_answers(lines: Iterable[Line | Problem], options: Options) -> dict[str, Label]:
    """Right labels by submission id. Raises ValueError at the first bad line."""
    answers: dict[str, Label] = {}
    for answer in _gold(replace(options, gold=lines)):
        if isinstance(answer, Problem):
            raise ValueError(f"line {answer.line}: {answer.reason}")
        answers[identifier(options.project, answer[0])] = answer[1]
    return answers
