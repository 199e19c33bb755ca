"""Unmodified clients work on the gateway, and nothing that it is asked reaches outside or takes it down."""

import asyncio
import contextlib
import gzip
import json
import threading
from collections.abc import Iterator
from typing import Any

import clickhouse_connect
import httpx
import pyarrow as pa
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from infra.clickhouse import migrate
from infra.clickhouse.engine import Embedded
from tests.analytics.conftest import TOKEN, embedded, gateway


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    with embedded(tmp_path_factory.mktemp("gateway")) as store:
        migrate.up(store)
        yield store


@pytest.fixture(scope="module")
def port(engine: Embedded) -> Iterator[int]:
    with gateway(engine, seconds=5, body_bytes=1 << 20) as port:
        yield port


@pytest.fixture
def reader(port: int) -> Iterator[Any]:
    client = clickhouse_connect.get_client(host="127.0.0.1", port=port)
    yield client
    client.close()


@pytest.fixture
def writer(port: int) -> Iterator[Any]:
    client = clickhouse_connect.get_client(host="127.0.0.1", port=port, username="any", password=TOKEN)
    client.command("CREATE TABLE IF NOT EXISTS scratch (a Int32, b String) ENGINE = MergeTree ORDER BY a")
    yield client
    client.command("DROP TABLE scratch")
    client.close()


@pytest.fixture
def http(port: int) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        yield client


# --- clients -----------------------------------------------------------------------------------


def test_a_client_reads(reader: Any) -> None:
    assert reader.ping()
    assert reader.query("SELECT number, toString(number) FROM numbers(2)").result_rows == [(0, "0"), (1, "1")]
    odd = "tab\t quote' line\n back\\ \0 ü"
    assert reader.query("SELECT {x:String}, {n:UInt8}", parameters={"x": odd, "n": 7}).first_row == (odd, 7)
    assert reader.query("SELECT %(x)s", parameters={"x": odd}).first_row == (odd,)
    assert reader.query("SELECT length({x:String})", parameters={"x": "a" * 50_000}).first_row == (50_000,)
    assert reader.query_arrow("SELECT number FROM numbers(3)").to_pydict() == {"number": [0, 1, 2]}
    assert json.loads(reader.raw_query("SELECT 1 AS a", fmt="JSON"))["data"] == [{"a": 1}]
    assert reader.raw_query("SELECT 1 AS a", fmt="CSVWithNames") == b'"a"\n1\n'
    with reader.query_row_block_stream("SELECT number FROM numbers(200000)") as stream:
        assert sum(len(block) for block in stream) == 200_000


def test_a_result_without_rows_has_its_columns(reader: Any) -> None:
    found = reader.query("SELECT submission, counts FROM v_votes")
    assert (found.column_names, found.result_rows) == (("submission", "counts"), [])


def test_the_summary_counts(reader: Any) -> None:
    summary = reader.query("SELECT sum(number) FROM numbers(1000)").summary
    assert (summary["read_rows"], summary["result_rows"]) == ("1000", "1")


async def test_many_ask_at_once(port: int) -> None:
    client = await clickhouse_connect.get_async_client(host="127.0.0.1", port=port)
    try:
        found = await asyncio.gather(*(client.query(f"SELECT {number}, sleep(0.05)") for number in range(12)))
    finally:
        await client.close()
    assert [each.first_row[0] for each in found] == list(range(12))


def test_a_token_writes(writer: Any) -> None:
    writer.insert("scratch", [[1, "values ("], [2, "format values\n"]], column_names=["a", "b"])
    writer.command("INSERT INTO scratch VALUES (3, 'x;y'), (4, 'FORMAT CSV')")
    writer.command("INSERT INTO scratch (a, b) SELECT number, 'values' FROM numbers(10, 2)")
    writer.raw_insert("scratch", ["a", "b"], b'20,"a,b"\n', fmt="CSV")
    writer.insert_arrow("scratch", pa.table({"a": pa.array([30], pa.int32()), "b": ["arrow"]}))
    found = writer.query("SELECT groupArray(b) FROM (SELECT b FROM scratch ORDER BY a)", settings={"max_threads": 1}).first_row[0]
    assert found == ["values (", "format values\n", "x;y", "FORMAT CSV", "values", "values", "a,b", "arrow"]


@pytest.mark.parametrize("coding", ["lz4", "zstd", "gzip"])
def test_compressed_inserts(port: int, writer: Any, coding: str) -> None:
    client = clickhouse_connect.get_client(host="127.0.0.1", port=port, username="x", password=TOKEN, compress=coding)
    client.insert("scratch", [[number, "x" * 100] for number in range(500)], column_names=["a", "b"])
    assert writer.query("SELECT count(), sum(length(b)) FROM scratch").first_row == (500, 50_000)
    client.close()


def test_curl(http: httpx.Client) -> None:
    assert http.get("/ping").text == "Ok.\n"
    assert http.get("/", params={"query": "SELECT 1, 'a'"}).text == "1\ta\n"
    assert http.post("/", content="SELECT {x:UInt8} AS x FORMAT TSVWithNames", params={"param_x": "3"}).text == "x\n3\n"
    assert http.post("/", params={"query": "SELECT 1", "default_format": "JSONEachRow"}).text == '{"1":1}\n'
    answer = http.post("/", content="SELECT 1", params={"query_id": "mine", "database": "default"})
    assert (answer.headers["X-ClickHouse-Query-Id"], answer.headers["X-ClickHouse-Format"]) == ("mine", "TabSeparated")
    assert http.get("/assay/status").json() == {"lag": 0}
    assert http.post("/", content=gzip.compress(b"SELECT 5"), headers={"Content-Encoding": "gzip"}).text == "5\n"
    assert http.get("/", params={"query": "SELECT number FROM numbers(3)", "limit": "2"}).text == "0\n1\n"


def test_errors_have_clickhouse_codes(http: httpx.Client, reader: Any) -> None:
    for query, status, code in (("SELECT nope", 404, 47), ("SELEC 1", 400, 62), ("SELECT * FROM nope", 404, 60)):
        answer = http.post("/", content=query)
        assert (answer.status_code, answer.headers["X-ClickHouse-Exception-Code"]) == (status, str(code))
        assert answer.text.startswith(f"Code: {code}. DB::Exception: ")
        assert "formatQuery" not in answer.text
    with pytest.raises(DatabaseError) as caught:
        reader.query("SELECT throwIf(1)")
    assert caught.value.code == 395


# --- who may what ------------------------------------------------------------------------------


def test_only_the_token_writes(http: httpx.Client) -> None:
    create = "CREATE TABLE planted (a Int8) ENGINE = Memory"
    assert http.post("/", content=create).status_code == 403
    assert http.get("/", params={"query": create}, headers={"X-ClickHouse-Key": TOKEN}).status_code == 403
    for wrong in ({"X-ClickHouse-Key": "wrong"}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic !!"}):
        answer = http.post("/", content="SELECT 1", headers=wrong)
        assert (answer.status_code, answer.headers["X-ClickHouse-Exception-Code"]) == (403, "516")
    assert http.get("/", params={"query": "EXISTS TABLE planted"}).text == "0\n"
    for right in ({"X-ClickHouse-Key": TOKEN}, {"Authorization": f"Bearer {TOKEN}"}):
        assert http.post("/", content=create, headers=right).status_code == 200
        assert http.post("/", content="DROP TABLE planted", headers=right).status_code == 200


def test_without_a_token_set_nobody_writes(engine: Embedded) -> None:
    with gateway(engine, token=None) as port:
        for password in ("", "None", "x"):
            answer = httpx.post(
                f"http://127.0.0.1:{port}/", content="CREATE TABLE p (a Int8) ENGINE = Memory", params={"password": password}
            )
            assert answer.status_code == 403


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8123", "127.0.0.1.evil.example", "localhost.evil:80"])
def test_a_web_page_cannot_ask(http: httpx.Client, host: str) -> None:
    for path in ("/?query=SELECT+1", "/assay/status"):
        assert http.get(path, headers={"Host": host}).status_code == 403


FORBIDDEN = {
    "readonly": "0",
    "allow_ddl": "1",
    "format_schema": "/etc/passwd",
    "format_template_row": "/etc/passwd",
    "output_format_schema": "/tmp/planted",
    "input_format_record_errors_file_path": "planted",
}


def test_settings_are_bounded(http: httpx.Client) -> None:
    for name, value in FORBIDDEN.items():
        answer = http.get("/", params={"query": "SELECT 1", name: value})
        assert (answer.status_code, answer.headers["X-ClickHouse-Exception-Code"]) == (403, "452")
    asked = "SELECT getSetting('max_execution_time') <= 600, getSetting('max_memory_usage') > 0, getSetting('readonly')"
    lifted = {"max_execution_time": "0", "max_memory_usage": "0"}
    assert http.get("/", params={"query": asked, **lifted}).text == "1\t1\t1\n"
    assert http.get("/", params={"query": "SELECT 1", "max_execution_time": "x"}).headers["X-ClickHouse-Exception-Code"] == "72"
    assert http.get("/", params={"query": "SELECT 1 SETTINGS readonly = 0"}).headers["X-ClickHouse-Exception-Code"] == "164"
    injected = {"query": "SELECT 1", "max_block_size": "1', readonly = '0"}
    assert http.get("/", params=injected).status_code >= 400
    assert http.get("/", params={"query": "SELECT 1", "database": "x`; DROP"}).status_code == 404


# --- bounds ------------------------------------------------------------------------------------


def test_a_body_too_large_is_refused(http: httpx.Client) -> None:
    large = b"SELECT '" + b"a" * (1 << 20) + b"'"
    assert http.post("/", content=large).status_code == 413
    bomb = gzip.compress(large)
    assert len(bomb) < 10_000
    assert http.post("/", content=bomb, headers={"Content-Encoding": "gzip"}).status_code == 413
    for coding in ("br", "x", "gzip"):
        assert http.post("/", content=b"SELECT 1", headers={"Content-Encoding": coding}).status_code == 415


def test_a_statement_that_takes_too_long_ends(http: httpx.Client) -> None:
    endless = "SELECT sum(cityHash64(number)) FROM numbers(10000000000000) SETTINGS max_threads = 1"
    answer = http.get("/", params={"query": endless.partition(" SETTINGS")[0], "max_execution_time": "1"})
    assert answer.headers["X-ClickHouse-Exception-Code"] == "159"


def test_a_result_too_large_is_refused(engine: Embedded) -> None:
    with gateway(engine, result_bytes=1_000_000) as port:
        answer = httpx.post(f"http://127.0.0.1:{port}/", content="SELECT toString(number) FROM numbers(10000000)", timeout=30)
    assert answer.headers["X-ClickHouse-Exception-Code"] == "396"


def test_a_crowd_is_told_to_wait(engine: Embedded) -> None:
    with gateway(engine, statements=1, waiting=1, wait_seconds=20.0) as port:
        answers: list[httpx.Response] = []
        slow = {"query": "SELECT sleepEachRow(0.5) FROM numbers(3)"}

        def ask() -> None:
            answers.append(httpx.get(f"http://127.0.0.1:{port}/", params=slow, timeout=30))

        threads = [threading.Thread(target=ask) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    refused = [answer for answer in answers if answer.status_code == 503]
    assert {answer.headers["X-ClickHouse-Exception-Code"] for answer in refused} == {"202"}
    assert {answer.headers["Retry-After"] for answer in refused} == {"1"}
    assert sum(answer.status_code == 200 for answer in answers) == 2


def test_closing_ends_what_runs(engine: Embedded) -> None:
    answers: list[int] = []
    with gateway(engine, seconds=600) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:

        def ask() -> None:
            with contextlib.suppress(httpx.HTTPError):
                query = "SELECT sum(cityHash64(number)) FROM numbers(77777777777777)"
                answers.append(client.get("/", params={"query": query}).status_code)

        thread = threading.Thread(target=ask)
        thread.start()
        # The question finds itself, and what it looks for.
        running = {"query": "SELECT count() FROM system.processes WHERE query LIKE '%77777777777777%'"}
        while thread.is_alive() and int(client.get("/", params=running).text) < 2:
            pass
        assert thread.is_alive()
    thread.join()
    assert 200 not in answers
    assert engine.client().command("SELECT 1") == 1
