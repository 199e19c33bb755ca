"""History outlives the broker: the log as it is read again, from Kafka, from an archive of Parquet files, or from both."""
