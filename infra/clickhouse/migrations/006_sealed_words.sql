-- Words are sealed with their author's key, and unreadable once that is destroyed: the views say which, and hand out nothing of
-- an author who was erased, sealed or not.

CREATE OR REPLACE VIEW v_texts AS
WITH
    (SELECT groupUniqArray(JSONExtractString(data, 'author')) FROM events WHERE type = 'AuthorErased') AS gone,
    once AS (
        SELECT subject, event_id, type, time, `partition`, `offset`, data
        FROM events FINAL
        WHERE type IN ('SubmissionReceived', 'SubmissionEdited', 'SubmissionWithdrawn', 'SubmissionAnalysed', 'GoldenAnswerSet')
        ORDER BY `partition`, `offset`
        LIMIT 1 BY event_id
    ),
    received AS (
        SELECT *, JSONExtract(data,
            'Tuple(project String, kind String, writer String, slice String, text String, prompt String)') AS was
        FROM once
        WHERE type = 'SubmissionReceived'
        ORDER BY `partition`, `offset`
        LIMIT 1 BY subject
    ),
    -- An edit counts if its revision follows the current one: the same rule as in the fold.
    edited AS (
        SELECT
            subject,
            groupUniqArray(JSONExtractString(data, 'editor')) AS editors,
            arraySort(edit -> edit.1, groupArray((`offset`, JSONExtractUInt(data, 'revision'),
                JSONExtractString(data, 'text'), JSONExtractString(data, 'editor'), time))) AS edits
        FROM once
        WHERE type = 'SubmissionEdited'
        GROUP BY subject
    ),
    withdrawn AS (
        SELECT subject, max(`offset`) AS last FROM once WHERE type = 'SubmissionWithdrawn' GROUP BY subject
    ),
    analysed AS (
        SELECT
            subject,
            argMax(JSONExtract(data, 'Tuple(words UInt64, characters UInt64)'),
                (JSONExtractUInt(data, 'revision'), -toInt64(`offset`))) AS seen
        FROM once
        WHERE type = 'SubmissionAnalysed'
        GROUP BY subject
    ),
    golden AS (
        SELECT subject, argMax((JSONExtractUInt(data, 'revision'), multiIf(
            JSONHas(data, 'label'), JSONExtractString(data, 'label'),
            JSONExtractString(data, 'verdict') = 'approved', 'good', 'bad')), `offset`) AS answer
        FROM once
        WHERE type = 'GoldenAnswerSet'
        GROUP BY subject
    ),
    arrayFold(
        (now, edit) -> if(edit.2 = now.2 + 1, edit, now),
        arrayFilter(edit -> edit.1 > received.`offset`, edited.edits),
        (received.`offset`, toUInt64(1), received.was.text, '', received.time)
    ) AS current
SELECT
    received.subject AS submission,
    received.was.project AS project,
    received.was.kind AS kind,
    received.was.writer AS writer,
    received.was.slice AS slice,
    splitByChar('/', slice)[1] AS language,
    splitByChar('/', slice)[2] AS domain,
    splitByChar('/', slice)[3] AS skill,
    received.was.prompt AS prompt,
    if(erased, '', current.3) AS text,
    startsWith(current.3, 'sealed:1:')::Bool AS sealed,
    (has(gone, received.was.writer) OR hasAny(gone, edited.editors))::Bool AS erased,
    toUInt16(current.2) AS revision,
    current.4 AS editor,
    received.time AS received_at,
    if(revision > 1, current.5, NULL) AS edited_at,
    (withdrawn.subject != '' AND withdrawn.last > current.1)::Bool AS withdrawn,
    if(analysed.subject = '', NULL, analysed.seen.words) AS words,
    if(analysed.subject = '', NULL, analysed.seen.characters) AS characters,
    if(golden.answer.1 = revision, golden.answer.2, '') AS golden,
    received.`partition` AS `partition`,
    received.`offset` AS `offset`
FROM received
LEFT JOIN edited ON edited.subject = received.subject
LEFT JOIN withdrawn ON withdrawn.subject = received.subject
LEFT JOIN analysed ON analysed.subject = received.subject
LEFT JOIN golden ON golden.subject = received.subject
SETTINGS join_use_nulls = 0;

CREATE OR REPLACE VIEW v_votes AS
WITH
    (SELECT groupUniqArray(JSONExtractString(data, 'author')) FROM events WHERE type = 'AuthorErased') AS gone,
    once AS (
        SELECT subject, event_id, type, time, `partition`, `offset`,
            JSONExtract(data, 'Tuple(revision UInt16, voter String, label String, reason String)') AS vote,
            JSONExtractRaw(data, 'criteria') AS criteria,
            JSONExtract(data, 'duration_milliseconds', 'Nullable(UInt64)') AS duration_milliseconds
        FROM events FINAL
        WHERE type IN ('VoteCast', 'VoteRetracted')
        ORDER BY `partition`, `offset`
        LIMIT 1 BY event_id
    ),
    fates AS (
        SELECT *, leadInFrame(type::String, 1, '') OVER (
            PARTITION BY subject, vote.voter, vote.revision ORDER BY `partition`, `offset`
            ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS following
        FROM once
    )
SELECT
    fates.event_id AS event_id,
    fates.time AS voted_at,
    fates.subject AS submission,
    texts.project AS project,
    texts.slice AS slice,
    texts.kind AS kind,
    texts.writer AS writer,
    fates.vote.revision AS revision,
    fates.vote.voter AS voter,
    fates.vote.label AS label,
    if(fates.criteria = '', '[]', fates.criteria) AS criteria,
    if(has(gone, voter), '', fates.vote.reason) AS reason,
    fates.duration_milliseconds AS duration_milliseconds,
    multiIf(following = '', 'live', following = 'VoteCast', 'replaced', 'retracted') AS state,
    (voter = writer)::Bool AS own,
    (state = 'live' AND NOT own AND revision = texts.revision)::Bool AS counts,
    fates.`partition` AS `partition`,
    fates.`offset` AS `offset`
FROM fates
LEFT JOIN v_texts AS texts ON texts.submission = fates.subject
WHERE fates.type = 'VoteCast'
SETTINGS join_use_nulls = 0;
