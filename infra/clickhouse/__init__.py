"""The analytics store: ClickHouse, embedded or a server, filled from the log and rebuilt from it at any time."""
