"""What the gateway refuses, tried as somebody would who wants out: by the engine's own parser, with the token and without."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from infra.clickhouse import migrate
from infra.clickhouse.engine import Embedded
from infra.clickhouse.statements import insert_with_data
from tests.analytics.conftest import TOKEN, embedded, gateway

SECRET = "the secret of the file"

OUTWARD = (
    "SELECT file('{path}')",
    "SELECT FiLe('{path}')",
    "SELECT `file`('{path}')",
    'SELECT "file"(\'{path}\')',
    "SELECT file /* a comment */ ('{path}')",
    "SELECT file -- a comment\n ('{path}')",
    "SELECT file(\u2018{path}\u2019)",
    "SELECT file($$({path})$$)",
    "SELECT f FROM (SELECT 1 AS x, (SELECT file('{path}')) AS f)",
    "WITH (SELECT file('{path}')) AS f SELECT f",
    "SELECT * FROM file('{path}', LineAsString)",
    "SELECT * FROM file('{path}', LineAsString) AS t WHERE 1 IN (SELECT 1)",
    "SELECT 1 IN (SELECT line FROM file('{path}', LineAsString))",
    "FROM file('{path}', LineAsString) SELECT *",
    "SELECT 1 UNION ALL SELECT count() FROM file('{path}', LineAsString)",
    "DESCRIBE TABLE file('{path}', LineAsString)",
    "DESC file('{path}', LineAsString)",
    "EXPLAIN SELECT * FROM file('{path}', LineAsString)",
    "SELECT * FROM '{path}'",
    "SELECT * FROM default.`{path}`",
    'SELECT * FROM "default"."{path}"',
    "SELECT * FROM url('http://127.0.0.1:1/', LineAsString)",
    "SELECT * FROM s3('http://127.0.0.1:1/x')",
    "SELECT * FROM remote('127.0.0.1:1', system.one)",
    "SELECT * FROM remoteSecure('127.0.0.1:1', system.one)",
    "SELECT * FROM cluster('default', system.one)",
    "SELECT * FROM executable('cat {path}', LineAsString, 'line String')",
    "SELECT * FROM mysql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
    "SELECT * FROM postgresql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
    "SELECT * FROM sqlite('{path}', 't')",
    "SELECT * FROM Python(secret)",
    "SELECT * FROM filesystem('{path}')",
    "SELECT * FROM jdbc('x', 'y', 'z')",
    "SELECT 1 INTO OUTFILE '{out}'",
    "SELECT 1 INTO/**/OUTFILE '{out}' FORMAT TSV",
    "SELECT 1 into outfile $${out}$$",
    "SELECT 1 INTO OUTFILE '{out}' TRUNCATE COMPRESSION 'gzip'",
    "INSERT INTO FUNCTION file('{out}', 'TSV', 'a Int8') SELECT 1",
    "INSERT INTO FUNCTION file('{out}', 'TSV', 'a Int8') VALUES (1)",
    "INSERT INTO TABLE FUNCTION url('http://127.0.0.1:1/', 'TSV', 'a Int8') VALUES (1)",
    "INSERT INTO events (data) FROM INFILE '{path}' FORMAT LineAsString",
    "insert into events (data) from/**/infile '{path}' format LineAsString\nx",
    "INSERT INTO events (data) SELECT * FROM file('{path}', LineAsString)",
    "CREATE TABLE t ENGINE = File(LineAsString, '{path}')",
    "CREATE TABLE t (a String) ENGINE = Kafka('127.0.0.1:1', 'a', 'b', 'JSONEachRow')",
    "CREATE TABLE t (a String) ENGINE = `Kafka` SETTINGS kafka_broker_list = 'x'",
    "CREATE TABLE t (a String) ENGINE = URL('http://127.0.0.1:1/', LineAsString)",
    "CREATE TEMPORARY TABLE t (a String) ENGINE = URL('http://127.0.0.1:1/', LineAsString)",
    "CREATE TABLE t AS file('{path}', LineAsString)",
    "CREATE TABLE t (a String DEFAULT file('{path}')) ENGINE = Memory",
    "CREATE TABLE t (a Int8) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = local, path = '{out}/')",
    "CREATE VIEW v AS SELECT * FROM file('{path}', LineAsString)",
    "CREATE MATERIALIZED VIEW v ENGINE = File(TSV) AS SELECT 1",
    "CREATE DATABASE d ENGINE = Filesystem('/')",
    "CREATE DATABASE d ENGINE = MySQL('127.0.0.1:1', 'a', 'b', 'c')",
    "CREATE DICTIONARY d (a UInt64) PRIMARY KEY a SOURCE(FILE(path '{path}' format 'TSV')) LAYOUT(FLAT()) LIFETIME(0)",
    "CREATE FUNCTION f AS x -> file(x)",
    "CREATE NAMED COLLECTION c AS a = 1",
    "CREATE USER u",
    "ATTACH TABLE t FROM '{out}' (a Int8) ENGINE = MergeTree ORDER BY a",
    "BACKUP TABLE events TO File('{out}')",
    "RESTORE TABLE events FROM File('{out}')",
    "ALTER TABLE events FREEZE",
    "ALTER TABLE events FETCH PARTITION 1 FROM '/x'",
    "ALTER TABLE events MOVE PARTITION 1 TO DISK 'x'",
    "ALTER USER default IDENTIFIED BY 'x'",
    "DROP TABLE IF EXISTS nope PARALLEL WITH SYSTEM SHUTDOWN",
    "SYSTEM SHUTDOWN",
    "SYSTEM STOP MERGES",
    "KILL QUERY WHERE 1",
    "SET readonly = 0",
    "SET max_memory_usage = 0",
    "USE default",
    "DETACH TABLE events",
    "GRANT ALL ON *.* TO default",
    "SELECT 1; SELECT file('{path}')",
    "SELECT 1 FORMAT Template SETTINGS format_template_row = '{path}'",
    "SELECT 1 FORMAT Protobuf SETTINGS output_format_schema = '{out}'",
    "SELECT * FROM events SETTINGS format_schema = '{path}' FORMAT Protobuf",
    "INSERT INTO events (data) SETTINGS input_format_record_errors_file_path = '{out}' VALUES (1)",
    "EXECUTE AS default SELECT 1",
)  # fmt: skip

INWARD = (
    "WITH file AS (SELECT 1 AS url) SELECT url FROM file",
    "SELECT 'INTO OUTFILE', 'file(''x'')' AS outfile",
    "SELECT arrayMap(file -> file + 1, [1]), format('{} {}', 'a', 'b')",
    "/* file('x') */ SELECT 1 -- INTO OUTFILE 'x'",
    "(SELECT 1) UNION ALL (SELECT 2)",
    "FROM numbers(2) SELECT number",
    "SHOW TABLES",
    "SHOW CREATE TABLE events",
    "DESCRIBE v_votes",
    "EXISTS TABLE events",
    "EXPLAIN SELECT count() FROM events",
    "SELECT * FROM generate_series(1, 3)",
    "SELECT 1 FORMAT Null",
    "SELECT 1 AS format_schema WHERE format_schema = 1",
    "SELECT 1;",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("outside")
    (made / "secret.txt").write_text(SECRET)
    return made


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    with embedded(tmp_path_factory.mktemp("store")) as made:
        migrate.up(made)
        yield made


@pytest.fixture(scope="module")
def http(store: Embedded) -> Iterator[httpx.Client]:
    with gateway(store) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        yield client


@pytest.mark.parametrize("token", [None, TOKEN], ids=["reader", "writer"])
def test_nothing_reaches_outside(http: httpx.Client, place: Path, token: str | None) -> None:
    headers = {"X-ClickHouse-Key": token} if token else {}
    before = sorted(place.iterdir())
    for statement in OUTWARD:
        text = statement.replace("{path}", str(place / "secret.txt")).replace("{out}", str(place / "out"))
        answer = http.post("/", content=text, headers=headers)
        assert answer.status_code >= 400, text
        assert SECRET not in answer.text, text
        # Refused for what it says, not because what it names was not there.
        assert answer.headers["X-ClickHouse-Exception-Code"] in {"164", "291", "62", "60", "115"}, (text, answer.text)
    assert sorted(place.iterdir()) == before
    assert http.get("/ping").text == "Ok.\n"


def test_what_only_looks_like_it_is_answered(http: httpx.Client) -> None:
    for statement in INWARD:
        answer = http.post("/", content=statement)
        assert answer.status_code == 200, (statement, answer.text)


def test_the_guard_is_what_stops_them(store: Embedded, place: Path) -> None:
    """Without it the engine's own `readonly` hands out the file, so the tests above would see it."""
    with gateway(store, guard=lambda *_: None) as port:
        answer = httpx.post(f"http://127.0.0.1:{port}/", content=f"SELECT file('{place / 'secret.txt'}')", timeout=30)
    assert answer.text == f"{SECRET}\n"


@pytest.mark.parametrize(
    ("statement", "head", "format_", "data"),
    [
        (b"INSERT INTO t FORMAT CSV\n1,2\n", "INSERT INTO t ", "CSV", b"1,2\n"),
        (b"insert into t (a) values (1)", "insert into t (a) ", "Values", b" (1)"),
        (b"INSERT INTO t FORMAT Values (1)", "INSERT INTO t ", "Values", b" (1)"),
        (b"-- a comment\nINSERT INTO t FORMAT Native\n\x00\xff", "-- a comment\nINSERT INTO t ", "Native", b"\x00\xff"),
    ],
)
def test_inserts_are_cut_where_their_data_begins(statement: bytes, head: str, format_: str, data: bytes) -> None:
    cut = insert_with_data(statement)
    assert cut is not None
    assert (cut.head, cut.format, cut.data) == (head, format_, data)


def test_what_selects_carries_no_data() -> None:
    assert insert_with_data(b"INSERT INTO t SELECT 'values (1)'") is None
    assert insert_with_data(b"SELECT 'insert into t values'") is None
