"""Apache Kafka: its jars, its Java, the one broker that Assay manages, and the topics."""
