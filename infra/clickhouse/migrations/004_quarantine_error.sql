-- Also the class of the error, and how often the record was refused; where it is sent again, it stands elsewhere.
CREATE OR REPLACE VIEW v_quarantine AS
SELECT
    JSONExtractString(headers, 'topic') AS topic,
    toUInt32OrZero(JSONExtractString(headers, 'partition')) AS `partition`,
    toUInt64OrZero(JSONExtractString(headers, 'offset')) AS `offset`,
    JSONExtractString(headers, 'projection') AS projection,
    JSONExtractString(headers, 'error') AS error,
    JSONExtractString(headers, 'code') AS code,
    JSONExtractString(headers, 'reason') AS reason,
    toUInt32OrZero(JSONExtractString(headers, 'attempt')) AS attempt,
    quarantine.time AS time,
    quarantine.key AS key,
    quarantine.value AS value,
    quarantine.`partition` AS quarantine_partition,
    quarantine.`offset` AS quarantine_offset
FROM quarantine FINAL
WHERE JSONExtractString(headers, 'state') = ''
ORDER BY quarantine_partition, quarantine_offset
LIMIT 1 BY topic, `partition`, `offset`, projection, code;
