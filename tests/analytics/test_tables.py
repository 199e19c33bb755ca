"""The table of tables is what the migrations make, and covers every topic of facts."""

from infra.clickhouse.describe import PAGE, fresh
from infra.clickhouse.engine import Store
from schemas.tables import FACT_TABLES, QUARANTINE_TABLE, TABLES, VIEWS
from schemas.topics import FACT_TOPICS, QUARANTINE


def test_the_store_has_these_tables_and_columns_and_no_others(store: Store) -> None:
    client = store.client(store.database)
    asked = "SELECT table, name, type FROM system.columns WHERE database = {d:String} ORDER BY table, position"
    there: dict[str, list[tuple[str, str]]] = {}
    for table, name, type_ in client.query(asked, parameters={"d": store.database}).result_rows:
        there.setdefault(table, []).append((name, type_))
    there.pop("schema_versions")
    assert there == {each.name: [(column.name, column.type) for column in each.columns] for each in (*TABLES, *VIEWS)}


def test_every_topic_of_facts_and_the_quarantine_has_its_table() -> None:
    assert [table.topic for table in FACT_TABLES] == list(FACT_TOPICS)
    assert [table.name for table in FACT_TABLES] == [topic.table for topic in FACT_TOPICS]
    assert QUARANTINE_TABLE.topic is QUARANTINE


def test_every_column_says_what_it_is() -> None:
    for each in (*TABLES, *VIEWS):
        assert each.help
        assert all(column.help for column in each.columns), each.name
        assert len({column.name for column in each.columns}) == len(each.columns)


def test_the_docs_describe_these_tables() -> None:
    page = PAGE.read_text("utf-8")
    assert page == fresh(page), "run: python -m infra.clickhouse.describe"


def test_docs_that_are_stale_are_noticed() -> None:
    page = PAGE.read_text("utf-8")
    for column in ("`voter`", "`rejection_low`"):
        assert column in page
        assert fresh(page.replace(column, "`was_renamed`")) == page
