-- What analysts ask for. FINAL drops a record that was inserted twice; LIMIT 1 BY event_id drops an event that stands
-- twice in the log; so every view counts each event once. Order within a subject is the order of the log.

CREATE OR REPLACE VIEW v_texts AS
WITH
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
        SELECT subject, argMax((JSONExtractUInt(data, 'revision'), JSONExtractString(data, 'verdict')), `offset`) AS answer
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
    current.3 AS text,
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
    fates.vote.reason AS reason,
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

CREATE OR REPLACE VIEW v_verdicts AS
WITH
    once AS (
        SELECT subject, event_id, type, time, `partition`, `offset`,
            JSONExtract(data, 'Tuple(project String, revision UInt16, verdict String, policy_version UInt32,
                log_odds_milli_nats Int64, good_votes UInt64, bad_votes UInt64, decided_by Array(UInt64), reason String,
                origin Tuple(partition UInt32, offset UInt64, index UInt32))') AS was
        FROM verdicts FINAL
        WHERE type IN ('VerdictReached', 'VerdictReopened')
        ORDER BY `partition`, `offset`
        LIMIT 1 BY event_id
    ),
    fates AS (
        SELECT *,
            leadInFrame((type::String, was.reason, time), 1) OVER (
                PARTITION BY subject ORDER BY was.origin
                ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS following,
            max(if(type = 'VerdictReached', was.origin, (0, 0, 0)::Tuple(UInt32, UInt64, UInt32)))
                OVER (PARTITION BY subject, was.revision) AS newest
        FROM once
    )
SELECT
    event_id,
    time AS reached_at,
    subject AS submission,
    was.project AS project,
    was.revision AS revision,
    was.verdict AS verdict,
    was.policy_version AS policy_version,
    was.log_odds_milli_nats AS log_odds_milli_nats,
    was.good_votes AS good_votes,
    was.bad_votes AS bad_votes,
    was.decided_by AS decided_by,
    was.origin.partition AS origin_partition,
    was.origin.offset AS origin_offset,
    (following.1 = '')::Bool AS standing,
    (was.origin = newest)::Bool AS latest,
    if(standing, NULL, following.3) AS ended_at,
    multiIf(standing, '', following.1 = 'VerdictReached', 'replaced', following.2) AS ended_by,
    `partition`,
    `offset`
FROM fates
WHERE type = 'VerdictReached';

CREATE OR REPLACE VIEW v_submissions AS
SELECT
    texts.submission AS submission,
    texts.project AS project,
    texts.kind AS kind,
    texts.writer AS writer,
    texts.slice AS slice,
    texts.language AS language,
    texts.domain AS domain,
    texts.skill AS skill,
    texts.prompt AS prompt,
    texts.text AS text,
    texts.revision AS revision,
    texts.editor AS editor,
    texts.received_at AS received_at,
    texts.edited_at AS edited_at,
    texts.withdrawn AS withdrawn,
    texts.words AS words,
    texts.characters AS characters,
    texts.golden AS golden,
    texts.`partition` AS `partition`,
    texts.`offset` AS `offset`,
    votes.good AS good_votes,
    votes.bad AS bad_votes,
    multiIf(texts.withdrawn, 'withdrawn', verdicts.verdict = '', 'waiting', verdicts.verdict) AS verdict,
    if(verdict IN ('waiting', 'withdrawn'), NULL, verdicts.reached_at) AS verdict_at,
    if(verdict IN ('waiting', 'withdrawn'), NULL, verdicts.policy_version) AS policy_version
FROM v_texts AS texts
LEFT JOIN (
    SELECT submission, countIf(label = 'good') AS good, countIf(label = 'bad') AS bad
    FROM v_votes
    WHERE counts
    GROUP BY submission
) AS votes ON votes.submission = texts.submission
LEFT JOIN (SELECT * FROM v_verdicts WHERE standing) AS verdicts
    ON verdicts.submission = texts.submission AND verdicts.revision = texts.revision
SETTINGS join_use_nulls = 0;

CREATE OR REPLACE VIEW v_annotators AS
WITH
    once AS (
        SELECT
            subject AS annotator,
            JSONExtractString(data, 'project') AS project,
            JSONExtractString(data, 'outcome') AS outcome,
            JSONExtractInt(data, 'change') AS change,
            JSONExtract(data, 'duration_milliseconds', 'Nullable(Int64)') AS milliseconds,
            outcome IN ('agreed', 'disagreed') AND milliseconds IS NOT NULL AS timed
        FROM judgements FINAL
        WHERE type = 'JudgementScored'
        ORDER BY `partition`, `offset`
        LIMIT 1 BY event_id
    ),
    counts AS (
        SELECT
            project,
            annotator,
            sumIf(change, outcome = 'submitted') AS submitted,
            sumIf(change, outcome = 'approved') AS approved,
            sumIf(change, outcome = 'rejected') AS rejected,
            sumIf(change, outcome = 'agreed') AS agreed,
            sumIf(change, outcome = 'disagreed') AS disagreed,
            sumIf(change, outcome = 'golden_right') AS golden_right,
            sumIf(change, outcome = 'golden_wrong') AS golden_wrong,
            sumIf(change * ifNull(milliseconds, 0), timed) AS milliseconds_sum,
            sumIf(change, timed) AS milliseconds_count
        FROM once
        GROUP BY project, annotator
    ),
    flagged AS (
        SELECT project, annotator, arraySort(groupArrayIf(rule, raised)) AS flags
        FROM (
            SELECT
                JSONExtractString(data, 'project') AS project,
                subject AS annotator,
                JSONExtractString(data, 'rule') AS rule,
                argMax(type = 'AnnotatorFlagged', (`partition`, `offset`)) AS raised
            FROM annotators FINAL
            WHERE type IN ('AnnotatorFlagged', 'AnnotatorCleared')
            GROUP BY project, annotator, rule
        )
        GROUP BY project, annotator
    ),
    -- Wilson 1927, z^2 = 3.841459 as in streams.weights.
    (k, n) -> if(n > 0, (k + 1.9207295 - sqrt(3.841459 * (k * (n - k) / n + 0.96036475))) / (n + 3.841459), NULL) AS low,
    (k, n) -> if(n > 0, (k + 1.9207295 + sqrt(3.841459 * (k * (n - k) / n + 0.96036475))) / (n + 3.841459), NULL) AS high
SELECT
    counts.project AS project,
    counts.annotator AS annotator,
    counts.submitted AS submitted,
    counts.approved AS approved,
    counts.rejected AS rejected,
    approved + rejected AS decided,
    if(decided > 0, rejected / decided, NULL) AS rejection_rate,
    low(rejected, decided) AS rejection_low,
    high(rejected, decided) AS rejection_high,
    counts.agreed AS agreed,
    counts.disagreed AS disagreed,
    agreed + disagreed AS scored,
    if(scored > 0, disagreed / scored, NULL) AS disagreement_rate,
    low(disagreed, scored) AS disagreement_low,
    high(disagreed, scored) AS disagreement_high,
    counts.golden_right AS golden_right,
    golden_right + counts.golden_wrong AS golden_seen,
    if(golden_seen > 0, golden_right / golden_seen, NULL) AS golden_rate,
    low(golden_right, golden_seen) AS golden_low,
    high(golden_right, golden_seen) AS golden_high,
    if(counts.milliseconds_count > 0, counts.milliseconds_sum / counts.milliseconds_count, NULL) AS mean_milliseconds,
    flagged.flags AS flags
FROM counts
LEFT JOIN flagged ON flagged.project = counts.project AND flagged.annotator = counts.annotator
SETTINGS join_use_nulls = 0;

CREATE OR REPLACE VIEW v_slices AS
WITH
    members AS (
        SELECT project, slice, submission, revision, any(writer) AS writer, any(words) AS words, sum(sign) AS inside
        FROM (
            SELECT
                subject AS slice,
                JSONExtractString(data, 'project') AS project,
                JSONExtractString(data, 'submission') AS submission,
                JSONExtractUInt(data, 'revision') AS revision,
                JSONExtractString(data, 'writer') AS writer,
                JSONExtractInt(data, 'words') AS words,
                if(type = 'SliceEntered', 1, -1) AS sign
            FROM slices FINAL
            WHERE type IN ('SliceEntered', 'SliceLeft')
            ORDER BY `partition`, `offset`
            LIMIT 1 BY event_id
        )
        GROUP BY project, slice, submission, revision
    ),
    sets AS (
        SELECT project, slice, sum(inside) AS texts, sum(inside * words) AS words, uniqExactIf(writer, inside > 0) AS writers
        FROM members
        GROUP BY project, slice
    ),
    offers AS (
        SELECT
            project,
            slice,
            count() AS submissions,
            countIf(verdict = 'approved') AS approved,
            countIf(verdict = 'rejected') AS rejected,
            countIf(verdict = 'escalated') AS escalated,
            countIf(verdict = 'waiting') AS waiting,
            countIf(verdict = 'withdrawn') AS withdrawn,
            uniqExact(writer) AS writers
        FROM v_submissions
        GROUP BY project, slice
    ),
    (k, n) -> if(n > 0, (k + 1.9207295 - sqrt(3.841459 * (k * (n - k) / n + 0.96036475))) / (n + 3.841459), NULL) AS low,
    (k, n) -> if(n > 0, (k + 1.9207295 + sqrt(3.841459 * (k * (n - k) / n + 0.96036475))) / (n + 3.841459), NULL) AS high
SELECT
    offers.project AS project,
    offers.slice AS slice,
    offers.submissions AS submissions,
    offers.approved AS approved,
    offers.rejected AS rejected,
    offers.escalated AS escalated,
    offers.waiting AS waiting,
    offers.withdrawn AS withdrawn,
    if(approved + rejected > 0, rejected / (approved + rejected), NULL) AS rejection_rate,
    low(rejected, approved + rejected) AS rejection_low,
    high(rejected, approved + rejected) AS rejection_high,
    offers.writers AS writers,
    sets.texts AS set_texts,
    sets.words AS set_words,
    sets.writers AS set_writers
FROM offers
LEFT JOIN sets ON sets.project = offers.project AND sets.slice = offers.slice
SETTINGS join_use_nulls = 0;

CREATE OR REPLACE VIEW v_policy_log AS
WITH
    once AS (
        SELECT event_id, type, time, `partition`, `offset`, subject,
            JSONExtract(data, 'Tuple(project String, version UInt32, proposed_by String, applied_by String, reason String,
                preview_digest String)') AS was,
            JSONExtract(data, 'policy', 'Map(String, Int64)') AS thresholds
        FROM policies FINAL
        WHERE type IN ('PolicyProposed', 'PolicyApplied')
        ORDER BY `partition`, `offset`
        LIMIT 1 BY event_id
    ),
    compared AS (
        SELECT *, argMaxIf(thresholds, `offset`, type = 'PolicyApplied') OVER (
            PARTITION BY was.project ORDER BY `partition`, `offset`
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS earlier
        FROM once
    )
SELECT
    event_id,
    time AS happened_at,
    was.project AS project,
    if(type = 'PolicyApplied', 'applied', 'proposed') AS action,
    was.version AS version,
    concat(was.applied_by, was.proposed_by) AS actor,
    was.reason AS reason,
    thresholds,
    arrayMap(name -> concat(name, ': ', if(mapContains(earlier, name), toString(earlier[name]), 'default'), ' -> ',
            toString(thresholds[name])),
        arrayFilter(name -> NOT mapContains(earlier, name) OR thresholds[name] != earlier[name],
            arraySort(mapKeys(thresholds)))) AS changed,
    was.preview_digest AS preview_digest,
    `partition`,
    `offset`
FROM compared;

CREATE OR REPLACE VIEW v_runs AS
WITH once AS (
    SELECT event_id, type, time, `partition`, `offset`, subject, data
    FROM runs FINAL
    WHERE type IN ('SnapshotSealed', 'TrainingFinished', 'EvaluationFinished')
    ORDER BY `partition`, `offset`
    LIMIT 1 BY event_id
)
SELECT
    event_id,
    time AS finished_at,
    subject AS run,
    multiIf(type = 'SnapshotSealed', 'snapshot', type = 'TrainingFinished', 'training', 'evaluation') AS kind,
    JSONExtractString(data, if(kind = 'snapshot', 'digest', 'snapshot_digest')) AS snapshot_digest,
    JSONExtractString(data, multiIf(kind = 'snapshot', 'name', kind = 'training', 'recipe', 'training_run')) AS name,
    JSONExtract(data, multiIf(kind = 'snapshot', 'rows', kind = 'training', 'train_rows', 'prompts'), 'Nullable(UInt64)') AS rows,
    JSONExtract(data, 'loss_before_milli_nats', 'Nullable(Int64)') / 1000 AS loss_before,
    JSONExtract(data, 'loss_after_milli_nats', 'Nullable(Int64)') / 1000 AS loss_after,
    JSONExtract(data, 'gain_milli_nats', 'Nullable(Int64)') / 1000 AS gain,
    JSONExtract(data, 'gain_low_milli_nats', 'Nullable(Int64)') / 1000 AS gain_low,
    JSONExtract(data, 'gain_high_milli_nats', 'Nullable(Int64)') / 1000 AS gain_high,
    JSONExtract(data, 'duration_milliseconds', 'Nullable(UInt64)') AS duration_milliseconds,
    data,
    `partition`,
    `offset`
FROM once;
