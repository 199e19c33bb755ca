-- One table per topic of facts, one row per record, as the log has it: nothing is dropped, nothing is interpreted.
-- A record that is delivered again replaces itself, since (topic, partition, offset) is its key and its month its event's.
-- The window makes a server drop a repeated insert by its token; fsync makes max(offset) true after a power cut.

CREATE TABLE IF NOT EXISTS events (
    `topic` LowCardinality(String),
    `partition` UInt32,
    `offset` UInt64 CODEC(Delta, ZSTD),
    `event_id` String,
    `type` LowCardinality(String),
    `version` UInt16,
    `subject` String,
    `time` DateTime64(3, 'UTC'),
    `source` LowCardinality(String),
    `data` String CODEC(ZSTD),
    `ingested_at` DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(`time`)
ORDER BY (`topic`, `partition`, `offset`)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS verdicts (
    `topic` LowCardinality(String),
    `partition` UInt32,
    `offset` UInt64 CODEC(Delta, ZSTD),
    `event_id` String,
    `type` LowCardinality(String),
    `version` UInt16,
    `subject` String,
    `time` DateTime64(3, 'UTC'),
    `source` LowCardinality(String),
    `data` String CODEC(ZSTD),
    `ingested_at` DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(`time`)
ORDER BY (`topic`, `partition`, `offset`)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS judgements (
    `topic` LowCardinality(String),
    `partition` UInt32,
    `offset` UInt64 CODEC(Delta, ZSTD),
    `event_id` String,
    `type` LowCardinality(String),
    `version` UInt16,
    `subject` String,
    `time` DateTime64(3, 'UTC'),
    `source` LowCardinality(String),
    `data` String CODEC(ZSTD),
    `ingested_at` DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(`time`)
ORDER BY (`topic`, `partition`, `offset`)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS slices (
    `topic` LowCardinality(String),
    `partition` UInt32,
    `offset` UInt64 CODEC(Delta, ZSTD),
    `event_id` String,
    `type` LowCardinality(String),
    `version` UInt16,
    `subject` String,
    `time` DateTime64(3, 'UTC'),
    `source` LowCardinality(String),
    `data` String CODEC(ZSTD),
    `ingested_at` DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(`time`)
ORDER BY (`topic`, `partition`, `offset`)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS annotators (
    `topic` LowCardinality(String),
    `partition` UInt32,
    `offset` UInt64 CODEC(Delta, ZSTD),
    `event_id` String,
    `type` LowCardinality(String),
    `version` UInt16,
    `subject` String,
    `time` DateTime64(3, 'UTC'),
    `source` LowCardinality(String),
    `data` String CODEC(ZSTD),
    `ingested_at` DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(`time`)
ORDER BY (`topic`, `partition`, `offset`)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS policies (
    `topic` LowCardinality(String),
    `partition` UInt32,
    `offset` UInt64 CODEC(Delta, ZSTD),
    `event_id` String,
    `type` LowCardinality(String),
    `version` UInt16,
    `subject` String,
    `time` DateTime64(3, 'UTC'),
    `source` LowCardinality(String),
    `data` String CODEC(ZSTD),
    `ingested_at` DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(`time`)
ORDER BY (`topic`, `partition`, `offset`)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS runs (
    `topic` LowCardinality(String),
    `partition` UInt32,
    `offset` UInt64 CODEC(Delta, ZSTD),
    `event_id` String,
    `type` LowCardinality(String),
    `version` UInt16,
    `subject` String,
    `time` DateTime64(3, 'UTC'),
    `source` LowCardinality(String),
    `data` String CODEC(ZSTD),
    `ingested_at` DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(`time`)
ORDER BY (`topic`, `partition`, `offset`)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS quarantine (
    `topic` LowCardinality(String),
    `partition` UInt32,
    `offset` UInt64 CODEC(Delta, ZSTD),
    `key` String,
    `time` DateTime64(3, 'UTC'),
    `headers` String,
    `value` String CODEC(ZSTD),
    `ingested_at` DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(`time`)
ORDER BY (`topic`, `partition`, `offset`)
SETTINGS non_replicated_deduplication_window = 1000, fsync_after_insert = 1, fsync_part_directory = 1;

-- Ranges that take several inserts: the newest note on a partition counts.
CREATE TABLE IF NOT EXISTS sink_progress (
    `topic` LowCardinality(String),
    `partition` UInt32,
    `first` UInt64,
    `next` UInt64,
    `pending` Bool,
    `written_at` DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = ReplacingMergeTree(`written_at`)
ORDER BY (`topic`, `partition`)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
