"""Files as numbered lines of text; what is no line of text becomes a problem, and reading goes on behind it."""

import gzip
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

import orjson

from infra.errors import AssayError

#: Above the largest event that the schemas allow: 100,000 characters of 4 bytes, each escaped.
MAX_LINE_BYTES = 4 << 20
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Problem:
    """A part of the input that no event came from: where, which kind, why, and what to do about it."""

    line: int
    code: str
    reason: str
    hint: str
    file: str | None = None


class Line(NamedTuple):
    """One line without its end; the first one is number 1."""

    number: int
    text: str


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The file as bytes, unpacked if its name ends in .gz. Raises AssayError if it cannot be read."""
    if path.is_dir():
        raise AssayError("this is a folder", where=path, hint="name one file")
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield file  # type: ignore[misc]  # GzipFile reads like a BinaryIO
    except FileNotFoundError:
        raise AssayError("no such file", where=path, hint="check the path") from None
    except (gzip.BadGzipFile, EOFError) as error:
        raise AssayError("the file is not whole gzip data", where=path, got=error, hint="fetch or pack it again") from error


def text_lines(file: BinaryIO) -> Iterator[Line | Problem]:
    """Lines without their ends (LF or CRLF) and without a byte order mark. Blank ones are left out, not uncounted."""
    number = 0
    for raw in iter(partial(file.readline, MAX_LINE_BYTES + 1), b""):
        number += 1
        if len(raw) > MAX_LINE_BYTES and not raw.endswith(b"\n"):
            _skip_rest(file)
            yield Problem(number, "line_too_long", f"over {MAX_LINE_BYTES} bytes", "split it, or check the line ends")
            continue
        found = _decoded(number, raw.removeprefix(BOM) if number == 1 else raw)
        if isinstance(found, Problem) or found.text.strip():
            yield found
    if number == 0:
        yield Problem(1, "empty_file", "the file has no lines", "check that it was written and fetched whole")


def _skip_rest(file: BinaryIO) -> None:
    while (rest := file.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
        pass


def _decoded(number: int, raw: bytes) -> Line | Problem:
    if b"\0" in raw:
        return Problem(number, "nul_byte", f"a NUL byte in column {raw.index(0) + 1}", "the file is binary or damaged")
    try:
        return Line(number, raw.decode().rstrip("\r\n"))
    except UnicodeDecodeError as error:
        reason = f"byte 0x{raw[error.start]:02x} in column {error.start + 1} is not UTF-8"
        return Problem(number, "not_utf8", reason, "convert the file: iconv -f <its encoding> -t utf-8")


def json_objects(lines: Iterable[Line | Problem]) -> Iterator[tuple[int, dict[str, object]] | Problem]:
    """Each line as a JSON object with its number."""
    for line in lines:
        if isinstance(line, Problem):
            yield line
            continue
        try:
            found = orjson.loads(line.text)
        except orjson.JSONDecodeError as error:
            yield Problem(line.number, "not_json", str(error), "one whole JSON object a line")
            continue
        if isinstance(found, dict):
            yield line.number, found
        else:
            yield Problem(line.number, "not_an_object", f"a JSON {type(found).__name__}", "one JSON object a line")
