-- Who was handed what, and facts in their second version: any label, weights by control record, flags with actions.
-- The views read both versions alike; what version 1 did not say is filled in as schemas/upcasts.py does it.

CREATE TABLE IF NOT EXISTS assignments (
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

CREATE OR REPLACE VIEW v_verdicts AS
WITH
    once AS (
        SELECT subject, event_id, type, version, time, `partition`, `offset`,
            JSONExtract(data, 'Tuple(project String, revision UInt16, verdict String, label String, confidence_permille UInt16,
                because String, policy_version UInt32, model String, skills_version UInt32, log_odds_milli_nats Int64, good_votes UInt64, bad_votes UInt64, decided_by Array(UInt64), reason String,
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
    if(version = 1, if(log_odds_milli_nats < 0, 'bad', 'good'), was.label) AS label,
    if(version = 1, toUInt16(1000 / (1 + exp(-least(abs(log_odds_milli_nats), 20000) / 1000))), was.confidence_permille)
        AS confidence_permille,
    if(version = 1, if(verdict = 'escalated', 'overlap_max', 'confidence'), was.because) AS because,
    was.policy_version AS policy_version,
    if(version = 1, 'majority', was.model) AS model,
    was.skills_version AS skills_version,
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
WITH
    -- The newest policy of each project; the first application of a version counts.
    rules AS (
        SELECT
            JSONExtractString(data, 'project') AS project,
            argMax(JSONExtract(data, 'policy', 'Tuple(labels Array(String), approving Array(String))'),
                (JSONExtractUInt(data, 'version'), -toInt64(`offset`))) AS says
        FROM policies FINAL
        WHERE type = 'PolicyApplied'
        GROUP BY project
    )
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
    toUInt64(votes.bad) AS bad_votes,
    multiIf(texts.withdrawn, 'withdrawn', verdicts.verdict = '', 'waiting', verdicts.verdict) AS verdict,
    if(verdict IN ('waiting', 'withdrawn'), NULL, verdicts.reached_at) AS verdict_at,
    if(verdict IN ('waiting', 'withdrawn'), NULL, verdicts.policy_version) AS policy_version,
    if(verdict IN ('waiting', 'withdrawn'), '', verdicts.label) AS label,
    if(verdict IN ('waiting', 'withdrawn'), NULL, verdicts.confidence_permille) AS confidence_permille
FROM v_texts AS texts
LEFT JOIN (
    SELECT
        submission,
        countIf(has(if(empty(rules.says.approving), ['good'], rules.says.approving), cast.label)) AS good,
        countIf(has(if(empty(rules.says.labels), ['good', 'bad'], rules.says.labels), cast.label)) - good AS bad
    FROM (SELECT submission, project, label FROM v_votes WHERE counts) AS cast
    LEFT JOIN rules ON rules.project = cast.project
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
            if(JSONHas(data, 'task'), JSONExtractString(data, 'task'), 'review') AS task,
            JSONExtractString(data, 'outcome') AS outcome,
            JSONExtractInt(data, 'change') AS change,
            JSONExtract(data, 'duration_milliseconds', 'Nullable(Int64)') AS milliseconds,
            outcome IN ('agreed', 'disagreed') AND milliseconds IS NOT NULL AS timed,
            JSONHas(data, 'credits_permille') AS credited,
            JSONExtractInt(data, 'credits_permille', JSONExtractString(data, 'label')) AS credit
        FROM judgements FINAL
        WHERE type = 'JudgementScored'
        ORDER BY `partition`, `offset`
        LIMIT 1 BY event_id
    ),
    counts AS (
        SELECT
            project,
            annotator,
            task,
            sumIf(change, outcome = 'submitted') AS submitted,
            sumIf(change, outcome = 'approved') AS approved,
            sumIf(change, outcome = 'rejected') AS rejected,
            sumIf(change, outcome = 'agreed') AS agreed,
            sumIf(change, outcome = 'disagreed') AS disagreed,
            sumIf(change, outcome = 'golden_right') AS golden_right,
            sumIf(change, outcome = 'golden_wrong') AS golden_wrong,
            sumIf(change * ifNull(milliseconds, 0), timed) AS milliseconds_sum,
            sumIf(change, timed) AS milliseconds_count,
            sumIf(change * credit, credited) AS credit_sum,
            sumIf(change, credited) AS credit_count
        FROM once
        GROUP BY project, annotator, task
    ),
    flagged AS (
        SELECT project, annotator, task, mapFromArrays(groupArrayIf(rule, raised), groupArrayIf(action, raised)) AS flags
        FROM (
            SELECT
                JSONExtractString(data, 'project') AS project,
                subject AS annotator,
                if(JSONHas(data, 'task'), JSONExtractString(data, 'task'), 'review') AS task,
                JSONExtractString(data, 'rule') AS rule,
                argMax(type = 'AnnotatorFlagged', (`partition`, `offset`)) AS raised,
                argMax(if(version = 1, 'notify', JSONExtractString(data, 'action')), (`partition`, `offset`)) AS action
            FROM annotators FINAL
            WHERE type IN ('AnnotatorFlagged', 'AnnotatorCleared')
            GROUP BY project, annotator, task, rule
        )
        GROUP BY project, annotator, task
    ),
    -- Wilson 1927, z^2 = 3.841459 as in streams.weights.
    (k, n) -> if(n > 0, (k + 1.9207295 - sqrt(3.841459 * (k * (n - k) / n + 0.96036475))) / (n + 3.841459), NULL) AS low,
    (k, n) -> if(n > 0, (k + 1.9207295 + sqrt(3.841459 * (k * (n - k) / n + 0.96036475))) / (n + 3.841459), NULL) AS high
SELECT
    counts.project AS project,
    counts.annotator AS annotator,
    counts.task AS task,
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
    if(counts.credit_count > 0, counts.credit_sum / (1000 * counts.credit_count), NULL) AS expected_accuracy,
    counts.golden_right AS golden_right,
    golden_right + counts.golden_wrong AS golden_seen,
    if(golden_seen > 0, golden_right / golden_seen, NULL) AS golden_rate,
    low(golden_right, golden_seen) AS golden_low,
    high(golden_right, golden_seen) AS golden_high,
    if(counts.milliseconds_count > 0, counts.milliseconds_sum / counts.milliseconds_count, NULL) AS mean_milliseconds,
    flagged.flags AS flags
FROM counts
LEFT JOIN flagged ON flagged.project = counts.project AND flagged.annotator = counts.annotator AND flagged.task = counts.task
SETTINGS join_use_nulls = 0;

CREATE OR REPLACE VIEW v_policy_log AS
WITH
    once AS (
        SELECT event_id, type, time, `partition`, `offset`, subject,
            JSONExtract(data, 'Tuple(project String, version UInt32, proposed_by String, applied_by String, reason String,
                preview_digest String)') AS was,
            -- Lists as `--set` takes them: with commas between.
            mapFromArrays(
                JSONExtractKeysAndValuesRaw(data, 'policy').1,
                arrayMap(raw -> multiIf(
                    startsWith(raw, '['), arrayStringConcat(JSONExtract(raw, 'Array(String)'), ','),
                    startsWith(raw, '"'), JSONExtract(raw, 'String'), raw),
                    JSONExtractKeysAndValuesRaw(data, 'policy').2)) AS thresholds
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
    arrayMap(name -> concat(name, ': ', if(mapContains(earlier, name), earlier[name], 'default'), ' -> ',
            thresholds[name]),
        arrayFilter(name -> NOT mapContains(earlier, name) OR thresholds[name] != earlier[name],
            arraySort(mapKeys(thresholds)))) AS changed,
    was.preview_digest AS preview_digest,
    `partition`,
    `offset`
FROM compared;

CREATE OR REPLACE VIEW v_leases AS
WITH
    once AS (
        SELECT subject, event_id, type, time, `partition`, `offset`, data
        FROM assignments FINAL
        WHERE type IN ('LeaseGranted', 'LeaseEnded')
        ORDER BY `partition`, `offset`
        LIMIT 1 BY event_id
    ),
    ended AS (
        SELECT JSONExtractString(data, 'lease') AS lease, argMin((time, JSONExtractString(data, 'reason')), `offset`) AS how
        FROM once
        WHERE type = 'LeaseEnded'
        GROUP BY lease
    ),
    granted AS (
        SELECT *, JSONExtract(data,
            'Tuple(project String, annotator String, revision UInt16, serves String, until String)') AS was
        FROM once
        WHERE type = 'LeaseGranted'
    )
SELECT
    granted.event_id AS lease,
    granted.time AS granted_at,
    granted.subject AS subject,
    granted.was.project AS project,
    granted.was.annotator AS annotator,
    granted.was.revision AS revision,
    granted.was.serves AS serves,
    parseDateTime64BestEffort(granted.was.until, 3, 'UTC') AS until,
    if(ended.lease = '', NULL, ended.how.1) AS ended_at,
    ended.how.2 AS ended_by,
    granted.`partition` AS `partition`,
    granted.`offset` AS `offset`
FROM granted
LEFT JOIN ended ON ended.lease = granted.event_id
SETTINGS join_use_nulls = 0;

CREATE OR REPLACE VIEW v_preferences AS
WITH
    once AS (
        SELECT subject, event_id, type, time, `partition`, `offset`,
            JSONExtract(data, 'Tuple(project String, prompt String, left String, right String, choice String, settled_by String,
                confidence_permille UInt16, left_votes UInt64, right_votes UInt64, tie_votes UInt64, policy_version UInt32,
                skills_version UInt32, decided_by Array(UInt64), reason String,
                origin Tuple(partition UInt32, offset UInt64, index UInt32))') AS was
        FROM verdicts FINAL
        WHERE type IN ('PreferenceReached', 'PreferenceReopened')
        ORDER BY `partition`, `offset`
        LIMIT 1 BY event_id
    ),
    fates AS (
        SELECT *,
            leadInFrame((type::String, was.reason, time), 1) OVER (
                PARTITION BY subject ORDER BY was.origin
                ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS following
        FROM once
    )
SELECT
    event_id,
    time AS reached_at,
    subject AS comparison,
    was.project AS project,
    was.prompt AS prompt,
    was.left AS left_submission,
    was.right AS right_submission,
    was.choice AS choice,
    multiIf(choice = 'left', left_submission, choice = 'right', right_submission, '') AS chosen,
    multiIf(choice = 'left', right_submission, choice = 'right', left_submission, '') AS rejected,
    was.settled_by AS settled_by,
    was.confidence_permille AS confidence_permille,
    was.left_votes AS left_votes,
    was.right_votes AS right_votes,
    was.tie_votes AS tie_votes,
    was.policy_version AS policy_version,
    was.skills_version AS skills_version,
    was.decided_by AS decided_by,
    was.origin.partition AS origin_partition,
    was.origin.offset AS origin_offset,
    (following.1 = '')::Bool AS standing,
    if(standing, NULL, following.3) AS ended_at,
    multiIf(standing, '', following.1 = 'PreferenceReached', 'replaced', following.2) AS ended_by,
    `partition`,
    `offset`
FROM fates
WHERE type = 'PreferenceReached';

CREATE OR REPLACE VIEW v_skills AS
WITH
    once AS (
        SELECT event_id, time, `partition`, `offset`,
            JSONExtract(data, 'Tuple(project String, task String, model String, version UInt32, champion Bool,
                labels Array(String), prior_milli_nats Array(Int64), default_milli_nats Array(Int64),
                weights_milli_nats Map(String, Array(Int64)), temperature_permille UInt32, temperature_per_vote_permille UInt32,
                golden_answers UInt64, log_loss_milli_nats Nullable(UInt64))') AS said
        FROM annotators FINAL
        WHERE type = 'SkillsEstimated' AND version > 1
        ORDER BY `partition`, `offset`
        LIMIT 1 BY event_id
    ),
    -- Of each model the newest record; weights for other labels than it has are void.
    models AS (
        SELECT
            said.project AS project,
            said.task AS task,
            said.model AS model,
            argMax(said, (said.version, `offset`)) AS newest,
            groupArray((said.version, said.labels)) AS sets
        FROM once
        GROUP BY project, task, model
    ),
    named AS (
        SELECT
            said.project AS project,
            said.task AS task,
            said.model AS model,
            weighed.1 AS voter,
            argMax((said.version, said.labels, weighed.2, time), (said.version, `offset`)) AS last
        FROM once
        ARRAY JOIN arrayConcat([('', said.default_milli_nats)],
            arrayZip(mapKeys(said.weights_milli_nats), mapValues(said.weights_milli_nats))) AS weighed
        GROUP BY project, task, model, voter
    )
SELECT
    named.project AS project,
    named.task AS task,
    named.model AS model,
    models.newest.champion AS champion,
    named.voter AS voter,
    models.newest.labels AS labels,
    named.last.3 AS weights_milli_nats,
    models.newest.prior_milli_nats AS prior_milli_nats,
    models.newest.temperature_permille AS temperature_permille,
    models.newest.temperature_per_vote_permille AS temperature_per_vote_permille,
    models.newest.golden_answers AS golden_answers,
    models.newest.log_loss_milli_nats AS log_loss_milli_nats,
    named.last.1 AS version,
    named.last.4 AS estimated_at
FROM named
INNER JOIN models ON models.project = named.project AND models.task = named.task AND models.model = named.model
WHERE named.last.1 > arrayMax(arrayPushFront(
    arrayMap(one -> one.1, arrayFilter(one -> one.2 != models.newest.labels, models.sets)), 0));
