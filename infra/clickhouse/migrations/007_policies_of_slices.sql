-- Policies of slices, and what an application was based on, decides again and takes back.

CREATE OR REPLACE VIEW v_submissions AS
WITH
    -- The newest policy of each project and slice; the first application of a version counts.
    rules AS (
        SELECT
            JSONExtractString(data, 'project') AS project,
            JSONExtractString(data, 'slice') AS slice,
            argMax((JSONExtract(data, 'policy', 'Tuple(labels Array(String), approving Array(String))'),
                    JSONExtractBool(data, 'inherits')),
                (JSONExtractUInt(data, 'version'), -toInt64(`offset`))) AS newest,
            newest.1 AS says
        FROM policies FINAL
        WHERE type = 'PolicyApplied'
        GROUP BY project, slice
        HAVING NOT newest.2
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
    texts.sealed AS sealed,
    texts.erased AS erased,
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
        if(own.project != '', own.says, whole.says) AS says,
        countIf(has(if(empty(says.approving), ['good'], says.approving), cast.label)) AS good,
        countIf(has(if(empty(says.labels), ['good', 'bad'], says.labels), cast.label)) - good AS bad
    FROM (SELECT submission, project, slice, label FROM v_votes WHERE counts) AS cast
    LEFT JOIN (SELECT * FROM rules WHERE slice = '') AS whole ON whole.project = cast.project
    LEFT JOIN (SELECT * FROM rules WHERE slice != '') AS own ON own.project = cast.project AND own.slice = cast.slice
    GROUP BY submission, says
) AS votes ON votes.submission = texts.submission
LEFT JOIN (SELECT * FROM v_verdicts WHERE standing) AS verdicts
    ON verdicts.submission = texts.submission AND verdicts.revision = texts.revision
SETTINGS join_use_nulls = 0;

CREATE OR REPLACE VIEW v_policy_log AS
WITH
    once AS (
        SELECT event_id, type, time, `partition`, `offset`, subject,
            JSONExtract(data, 'Tuple(project String, version UInt32, proposed_by String, applied_by String, reason String,
                preview_digest String, slice String, based_on Nullable(UInt32), redecide_since String, undoes Nullable(UInt32),
                inherits Bool)') AS was,
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
        SELECT *,
            argMaxIf(thresholds, `offset`, type = 'PolicyApplied') OVER (
                PARTITION BY was.project, was.slice ORDER BY `partition`, `offset`
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS own,
            argMaxIf(thresholds, `offset`, type = 'PolicyApplied' AND was.slice = '') OVER (
                PARTITION BY was.project ORDER BY `partition`, `offset`
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS whole,
            -- A slice begins with what its project has.
            if(was.slice != '' AND empty(own), whole, own) AS earlier
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
    was.slice AS slice,
    was.based_on AS based_on,
    parseDateTime64BestEffortOrNull(was.redecide_since, 3, 'UTC') AS redecide_since,
    was.undoes AS undoes,
    was.inherits AS inherits,
    `partition`,
    `offset`
FROM compared;
