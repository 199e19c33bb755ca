"""A broker in memory: the part of Apache Kafka that Assay uses, whole, behind the same clients."""
