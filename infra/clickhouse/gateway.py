"""A small ClickHouse HTTP port on the embedded engine, for every client that is not in this process.

Each request has a session of its own, thrown away behind it. Reads run under the engine's `readonly = 1`; only the
write token, by POST, does more. Everything is bounded: body, statements at once and waiting, time, memory, result.
"""

import asyncio
import contextlib
import hmac
import os
import re
import threading
import time
import uuid
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from infra.clickhouse import statements
from infra.clickhouse.bodies import TooLarge, Unreadable, form, unpacked
from infra.clickhouse.engine import Embedded, one_line
from schemas.tables import DATABASE

if TYPE_CHECKING:
    from chdb.state.sqlitelike import Connection

_LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})
#: Parameters of the HTTP port that are no settings of the engine, or that mean nothing on it.
_TRANSPORT = re.compile(
    r"query|database|default_format|query_id|user|password|session_\w+|close_session|compress|decompress|buffer_size"
    r"|wait_end_of_query|client_protocol_version|role|quota_key|enable_http_compression|send_progress_in_http_headers"
    r"|http_headers_progress_interval_ms|cancel_http_readonly_queries_on_client_close|add_http_cors_header|stacktrace"
)
#: Settings that anyone may send: how results look, and limits (which can only be lowered).
_HARMLESS = re.compile(
    r"output_format_\w+|input_format_\w+|date_time_\w+|join_(use_nulls|algorithm)|session_timezone|limit|offset|extremes"
    r"|max_(block_size|rows_to_read|bytes_to_read|result_rows|rows_to_group_by)|log_comment|final"
    r"|\w+_overflow_mode|cast_\w+|use_\w+_cache|optimize_\w+|enable_analyzer|prefer_\w+|aggregate_functions_null_for_empty"
)
_CAPPED = ("max_memory_usage", "max_execution_time", "max_result_bytes", "max_threads")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FORMAT = re.compile(r"\sFORMAT `?(\w+)`?(?=\s*$|\sSETTINGS )")
_CODE = re.compile(r"Code: (\d+)")

_STATUS = {62: 400, 46: 404, 47: 404, 60: 404, 81: 404, 164: 403, 291: 403, 452: 403, 194: 401, 516: 403, 202: 503}
_TYPES = {"JSON": "application/json; charset=UTF-8", "JSONCompact": "application/json; charset=UTF-8"}


@dataclass(frozen=True)
class Bounds:
    """What one request, and all together, may take."""

    body_bytes: int = 64 << 20
    statements: int = 4
    waiting: int = 64
    wait_seconds: float = 30.0
    seconds: int = 60
    most_seconds: int = 600
    result_bytes: int = 256 << 20


class ClickHouseError(Exception):
    """An error as a client of ClickHouse expects it: a code, a message and the code's name."""

    def __init__(self, code: int, message: str, name: str) -> None:
        super().__init__(f"Code: {code}. DB::Exception: {message} ({name})")
        self.code = code


@dataclass
class Ask:
    """One request, taken apart."""

    statement: bytes
    parameters: dict[str, str]
    settings: dict[str, str]
    database: str
    default_format: str
    query_id: str
    may_write: bool


@dataclass
class Answer:
    body: bytes
    format: str = ""
    summary: dict[str, str] = field(default_factory=dict)


class Gateway:
    """The HTTP application. `status` is what stands at /assay/status."""

    def __init__(
        self,
        store: Embedded,
        token: str | None,
        status: Callable[[], dict[str, Any]] = dict,
        bounds: Bounds = Bounds(),
        guard: Callable[[str, bool, frozenset[str]], None] = statements.check,
    ) -> None:
        self.store = store
        self._guard = guard
        self.bounds = bounds
        self._token = token or ""
        self._status = status
        self._pool = ThreadPoolExecutor(bounds.statements, "gateway")
        self._turn = asyncio.Semaphore(bounds.statements)
        self._waiting = 0
        self._running = threading.Semaphore(bounds.statements)
        with contextlib.closing(store.connection()) as handle:
            self.version, self.timezone = _lines(handle, "SELECT version() UNION ALL SELECT timezone()")
            names = _lines(handle, "SELECT name FROM system.table_functions")
        self._forbidden = statements.denied(frozenset(names))
        self.app = Starlette(
            routes=[
                Route("/ping", self._ping),
                Route("/replicas_status", self._ping),
                Route("/assay/status", self._show_status),
                Route("/{path:path}", self._answer, methods=["GET", "POST"]),
            ]
        )

    def close(self) -> None:
        """End running statements and wait for them; after that nothing of this has the engine open."""
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline and not self._idle():
            with contextlib.suppress(Exception), contextlib.closing(self.store.connection()) as handle:
                handle.query("KILL QUERY WHERE query NOT LIKE 'KILL%' AND query NOT ILIKE '%insert%' ASYNC", "Null")
            time.sleep(0.05)
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _idle(self) -> bool:
        taken = [self._running.acquire(blocking=False) for _ in range(self.bounds.statements)]
        for got in taken:
            if got:
                self._running.release()
        return all(taken)

    async def _ping(self, _: Request) -> Response:
        return Response("Ok.\n", media_type="text/plain")

    async def _show_status(self, request: Request) -> Response:
        if not _local(request):
            return Response("not from there", 403)
        return Response(orjson.dumps(self._status()), media_type="application/json")

    async def _answer(self, request: Request) -> Response:
        query_id = request.query_params.get("query_id") or str(uuid.uuid4())
        try:
            if not _local(request):
                raise ClickHouseError(291, "Only requests to this machine's own name are answered", "DATABASE_ACCESS_DENIED")
            ask = await self._read(request, query_id)
            if not ask.statement.strip():
                return await self._ping(request)
            answer = await self._in_turn(ask)
        except ClientDisconnect:
            return Response(status_code=499)
        except TooLarge:
            return self._failed(ClickHouseError(307, "The request's body is too large", "TOO_MANY_BYTES"), query_id, 413)
        except Unreadable as error:
            return self._failed(ClickHouseError(48, str(error), "NOT_IMPLEMENTED"), query_id, 415)
        except ClickHouseError as error:
            return self._failed(error, query_id, _STATUS.get(error.code, 500))
        return Response(answer.body, headers=self._headers(query_id, answer), media_type=_TYPES.get(answer.format, "text/plain"))

    def _headers(self, query_id: str, answer: Answer) -> dict[str, str]:
        headers = {
            "X-ClickHouse-Query-Id": query_id,
            "X-ClickHouse-Timezone": self.timezone,
            "X-ClickHouse-Server-Display-Name": "assay",
            "X-ClickHouse-Summary": orjson.dumps(answer.summary).decode(),
        }
        return headers | ({"X-ClickHouse-Format": answer.format} if answer.format else {})

    def _failed(self, error: ClickHouseError, query_id: str, status: int) -> Response:
        headers = {"X-ClickHouse-Exception-Code": str(error.code), "X-ClickHouse-Query-Id": query_id}
        if status == 503:
            headers["Retry-After"] = "1"
        return Response(f"{error} (version {self.version})\n", status, headers, "text/plain")

    # --- reading a request ---------------------------------------------------------------------

    async def _read(self, request: Request, query_id: str) -> Ask:
        body = await self._body(request)
        fields = dict(request.query_params)
        content_type = request.headers.get("content-type", "")
        if content_type.startswith("multipart/form-data"):
            fields |= form(body, content_type)
            body = b""
        asked = fields.get("query", "").encode()
        database = fields.get("database") or request.headers.get("x-clickhouse-database") or ""
        return Ask(
            statement=asked + b"\n" + body if asked and body else asked or body,
            parameters={name.removeprefix("param_"): text for name, text in fields.items() if name.startswith("param_")},
            settings={
                name: text for name, text in fields.items() if not _TRANSPORT.fullmatch(name) and not name.startswith("param_")
            },
            database=DATABASE if database in ("", "default") else database,
            default_format=fields.get("default_format") or request.headers.get("x-clickhouse-format") or "TabSeparated",
            query_id=query_id,
            may_write=self._authorised(request, fields) and request.method == "POST",
        )

    async def _body(self, request: Request) -> bytes:
        parts, size = [], 0
        async for part in request.stream():
            size += len(part)
            if size > self.bounds.body_bytes:
                raise TooLarge
            parts.append(part)
        coding = request.headers.get("content-encoding", "")
        return await asyncio.to_thread(unpacked, b"".join(parts), coding, self.bounds.body_bytes)

    def _authorised(self, request: Request, fields: Mapping[str, str]) -> bool:
        """Whether the right token came along. A wrong one is an error, so that nobody reads on by mistake."""
        given = _credential(request, fields)
        if not given:
            return False
        if not self._token or not hmac.compare_digest(given.encode(), self._token.encode()):
            raise ClickHouseError(516, "Authentication failed: the token is not the gateway's", "AUTHENTICATION_FAILED")
        return True

    # --- running a statement -------------------------------------------------------------------

    async def _in_turn(self, ask: Ask) -> Answer:
        if self._waiting >= self.bounds.waiting:
            raise _crowded()
        self._waiting += 1
        try:
            await asyncio.wait_for(self._turn.acquire(), self.bounds.wait_seconds)
        except TimeoutError:
            raise _crowded() from None
        finally:
            self._waiting -= 1
        running = asyncio.get_running_loop().run_in_executor(self._pool, self._run, ask)
        # Not in a `finally`: a client that goes away must not free the place of a statement that still runs.
        running.add_done_callback(lambda _: self._turn.release())
        return await asyncio.shield(running)

    def _run(self, ask: Ask) -> Answer:
        with self._running, contextlib.closing(self.store.connection()) as handle, _as_clickhouse():
            insert = statements.insert_with_data(ask.statement) if ask.may_write else None
            text = insert.head + " FORMAT " + insert.format if insert else ask.statement.decode("utf-8", "replace")
            normal = self._judged(handle, text, ask.may_write)
            reads = statements.reads(normal)
            self._prepare(handle, ask, readonly=not ask.may_write)
            if insert:
                return _inserted(handle, normal, insert)
            return self._selected(handle, normal, ask) if reads else self._changed(handle, normal, ask)

    def _judged(self, handle: "Connection", text: str, may_write: bool) -> str:
        found = _normal(handle, text)
        try:
            self._guard(found, may_write, self._forbidden)
        except statements.Refused as refused:
            raise ClickHouseError(refused.code, str(refused), refused.name) from None
        return found

    def _prepare(self, handle: "Connection", ask: Ask, readonly: bool) -> None:
        if not _NAME.fullmatch(ask.database):
            raise ClickHouseError(81, f"Database {ask.database!r} does not exist", "UNKNOWN_DATABASE")
        handle.query(f"USE `{ask.database}`", "Null")
        values = self._caps(ask) | self._settings(ask)
        text = ", ".join(f"{name} = '{_quoted(value)}'" for name, value in values.items())
        # Set last and in the same statement: behind it nothing can be set any more.
        handle.query(f"SET {text}" + (", readonly = 1" if readonly else ""), "Null")

    def _caps(self, ask: Ask) -> dict[str, str]:
        bounds = self.bounds
        caps = {name: str(value) for name, value in self.store.limits.items()}
        caps |= {"max_execution_time": str(bounds.seconds), "timeout_overflow_mode": "throw"}
        caps |= {"max_result_bytes": str(bounds.result_bytes), "result_overflow_mode": "throw"}
        most = (self.store.max_memory_bytes, bounds.most_seconds, bounds.result_bytes, os.cpu_count() or 1)
        for name, limit in zip(_CAPPED, most, strict=True):
            if name in ask.settings:
                caps[name] = _capped(name, ask.settings[name], limit)
        return caps

    def _settings(self, ask: Ask) -> dict[str, str]:
        wanted = {name: value for name, value in ask.settings.items() if name not in _CAPPED}
        for name in wanted:
            if not _NAME.fullmatch(name):
                raise ClickHouseError(115, f"Unknown setting {name!r}", "UNKNOWN_SETTING")
            outward = name in ("readonly", "allow_ddl") or statements.OUTWARD_SETTING.fullmatch(name)
            if outward or not (ask.may_write or _HARMLESS.fullmatch(name)):
                raise ClickHouseError(452, f"Setting {name} should not be changed", "SETTING_CONSTRAINT_VIOLATION")
        return wanted

    def _selected(self, handle: "Connection", normal: str, ask: Ask) -> Answer:
        named = _FORMAT.search(normal)
        format_ = named[1] if named else ask.default_format
        result = handle.query(normal, format_, params=ask.parameters)
        body: bytes = result.bytes() or b""
        if len(body) > 2 * self.bounds.result_bytes:
            raise ClickHouseError(396, "The result is too large: use LIMIT, or fewer columns", "TOO_MANY_ROWS_OR_BYTES")
        if not body and format_ == "Native":
            body = _no_rows(handle, normal[: named.start()] if named else normal, ask.parameters)
        return Answer(body, format_, _summary(result))

    def _changed(self, handle: "Connection", normal: str, ask: Ask) -> Answer:
        result = handle.query(normal, "TabSeparated", params=ask.parameters)
        return Answer(result.bytes() or b"", "", _summary(result))


def _local(request: Request) -> bool:
    """Whether the request names this machine as its host: a web page that tricks a browser does not."""
    host = request.headers.get("host", "localhost")
    return (host.rpartition(":")[0] if re.search(r":\d+$", host) else host) in _LOCAL_HOSTS


def _credential(request: Request, fields: Mapping[str, str]) -> str:
    scheme, _, rest = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic":
        with contextlib.suppress(NotBase64, UnicodeDecodeError):
            return b64decode(rest, validate=True).decode().partition(":")[2]
        return rest
    return request.headers.get("x-clickhouse-key") or fields.get("password", "")


def _crowded() -> ClickHouseError:
    return ClickHouseError(202, "Too many simultaneous queries: try again", "TOO_MANY_SIMULTANEOUS_QUERIES")


@contextlib.contextmanager
def _as_clickhouse() -> Iterator[None]:
    """What the engine throws, as its HTTP port would say it."""
    try:
        yield
    except ClickHouseError:
        raise
    except Exception as error:  # chDB raises its own and RuntimeError alike
        said = one_line(error)
        found = _CODE.match(said)
        wrapped = ClickHouseError(int(found[1]) if found else 1002, said, "UNKNOWN_EXCEPTION")
        if found:
            wrapped.args = (said,)
        raise wrapped from error


def _normal(handle: "Connection", text: str) -> str:
    """The one statement in this text, as the engine's formatter writes it."""
    try:
        normal = handle.query("SELECT formatQuery({q:String})", "TabSeparatedRaw", params={"q": _escaped(text)}).bytes()
    except Exception as error:  # chDB raises its own and RuntimeError alike
        # The engine names the statement that we asked it with, which nobody else has seen.
        said = re.sub(r":? In scope SELECT formatQuery.*\. \((\w+)\)$", r" (\1)", one_line(error))
        raise RuntimeError(said) from None
    found: str = normal.decode("utf-8", "replace")[:-1]
    return found


def _lines(handle: "Connection", query: str) -> list[str]:
    text: str = handle.query(query, "TabSeparatedRaw").bytes().decode()
    return text.splitlines()


def _inserted(handle: "Connection", normal: str, insert: statements.Insert) -> Answer:
    head = _FORMAT.sub("", normal)
    with handle.send_insert(head, insert.format) as stream:
        stream.append(insert.data)
        done = stream.finish()
    return Answer(b"", "", {"written_rows": str(done.rows_written), "written_bytes": str(done.bytes_written)})


def _no_rows(handle: "Connection", query: str, parameters: dict[str, str]) -> bytes:
    """A Native block of no rows, which chDB leaves out: it tells clients the columns."""
    said = handle.query(query + "\nFORMAT JSONCompact", "JSONCompact", params=parameters).bytes()
    columns = orjson.loads(said)["meta"]
    return _varint(len(columns)) + _varint(0) + b"".join(_sized(column[key]) for column in columns for key in ("name", "type"))


def _sized(text: str) -> bytes:
    encoded = text.encode()
    return _varint(len(encoded)) + encoded


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _summary(result: Any) -> dict[str, str]:
    return {
        "read_rows": str(result.storage_rows_read()),
        "read_bytes": str(result.storage_bytes_read()),
        "result_rows": str(result.rows_read()),
        "result_bytes": str(result.bytes_read()),
        "elapsed_ns": str(int(result.elapsed() * 1e9)),
    }


def _capped(name: str, value: str, most: int) -> str:
    try:
        wanted = float(value)
    except ValueError:
        raise ClickHouseError(72, f"Cannot parse {value!r} as the value of {name}", "CANNOT_PARSE_NUMBER") from None
    return value if 0 < wanted <= most else str(most)


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "\\'")


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r").replace("\0", "\\0")
