"""What touches the world: settings, wiring, Kafka, ClickHouse, HTTP and the command line."""
