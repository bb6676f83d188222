-- One store. Moments are milliseconds since the epoch, UTC; what is not a number or a word is JSON, but for payloads
-- (data, result), which are the bytes that were given, and for what only the engine reads (answer, outcomes.job).
--
-- A job's `place` is its queue's number * 2^40 + its emission's number: newest last, one queue beside the other.
-- Every line, heap and list of the engine is one of the partial indexes below, but for the order of the ends: a table
-- by number grows at its end without moving what is there, an index does not, and nearly every job comes by it.

CREATE TABLE store (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE queues (
    number      INTEGER PRIMARY KEY,
    name        TEXT    NOT NULL UNIQUE,
    paused      INTEGER NOT NULL DEFAULT 0,
    -- counters, which only grow and outlive whatever they counted
    emissions   INTEGER NOT NULL DEFAULT 0,
    tide        INTEGER NOT NULL DEFAULT 0,
    claims      INTEGER NOT NULL DEFAULT 0,
    revisions   INTEGER NOT NULL DEFAULT 0,
    ends        INTEGER NOT NULL DEFAULT 0,
    -- how many jobs are in which state, so that nobody need count them
    waiting     INTEGER NOT NULL DEFAULT 0,
    delayed     INTEGER NOT NULL DEFAULT 0,
    active      INTEGER NOT NULL DEFAULT 0,
    completed   INTEGER NOT NULL DEFAULT 0,
    failed      INTEGER NOT NULL DEFAULT 0,
    cancelled   INTEGER NOT NULL DEFAULT 0,
    schedule_at INTEGER
);

CREATE TABLE jobs (
    place            INTEGER PRIMARY KEY,
    queue            INTEGER NOT NULL REFERENCES queues (number),
    serial           INTEGER NOT NULL,
    id               TEXT    NOT NULL,
    event            TEXT    NOT NULL,
    state            TEXT    NOT NULL,
    priority         INTEGER NOT NULL,
    line             INTEGER NOT NULL,
    created_at       INTEGER NOT NULL,
    run_at           INTEGER NOT NULL,
    expires_at       INTEGER,
    attempt          INTEGER NOT NULL DEFAULT 0,
    failures         INTEGER NOT NULL DEFAULT 0,
    losses           INTEGER NOT NULL DEFAULT 0,
    max_attempts     INTEGER,
    awaited          INTEGER NOT NULL DEFAULT 0,
    requeued         INTEGER NOT NULL DEFAULT 0,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    lease            INTEGER,  -- the number of the lease it is under while it is active
    claim            INTEGER NOT NULL DEFAULT 0,
    reaped           INTEGER NOT NULL DEFAULT 0,
    heard            INTEGER NOT NULL DEFAULT 0,  -- the last journal entry taken of this claim
    worker           TEXT,     -- who had the run, where another has taken the lease over
    started_at       INTEGER,
    finished_at      INTEGER,
    ended            INTEGER,  -- the number of its end
    schedule         TEXT,
    reason           TEXT,
    dead_stream      TEXT,
    dead_letter      TEXT,
    options          TEXT,
    debounce         TEXT,
    error            TEXT,
    attempts         TEXT,
    progress         TEXT,
    follow_up        TEXT,
    room             BLOB,     -- what a run will add to the row: one that grows would split its page
    result           BLOB,
    data             BLOB      -- NULL where it is large, and in `payloads`
);
CREATE UNIQUE INDEX jobs_by_id ON jobs (queue, id);
CREATE INDEX jobs_waiting ON jobs (queue, priority DESC, line) WHERE state = 'waiting';
CREATE INDEX jobs_delayed ON jobs (queue, run_at, place) WHERE state = 'delayed';
CREATE INDEX jobs_leased ON jobs (lease, claim, reaped, cancel_requested) WHERE lease IS NOT NULL;
CREATE INDEX jobs_scheduled ON jobs (queue, schedule) WHERE schedule IS NOT NULL AND ended IS NULL;
CREATE INDEX jobs_dead ON jobs (dead_stream, finished_at, place) WHERE dead_stream IS NOT NULL;

-- The finished jobs, oldest end first. A number is the queue's * 2^42 + the state's (failed, cancelled, completed) * 2^40
-- + the how-manieth end of its queue this was.
CREATE TABLE ends (
    number INTEGER PRIMARY KEY,
    place  INTEGER NOT NULL
);

-- Large data, by the job's place: a run changes its job's row twice, and what lies in the row is written again with it.
CREATE TABLE payloads (
    job     INTEGER PRIMARY KEY,
    content BLOB NOT NULL
);

CREATE TRIGGER job_dropped AFTER DELETE ON jobs
BEGIN
    DELETE FROM ends WHERE number = old.ended;
    DELETE FROM payloads WHERE job = old.place;
END;
CREATE TRIGGER job_moved AFTER UPDATE OF place ON jobs WHEN new.place <> old.place
BEGIN
    UPDATE payloads SET job = new.place WHERE job = old.place;
END;

CREATE TABLE leases (
    number     INTEGER PRIMARY KEY,
    queue      INTEGER NOT NULL REFERENCES queues (number),
    worker     TEXT    NOT NULL,
    expires_at INTEGER NOT NULL,
    UNIQUE (queue, worker)
);

CREATE TABLE logs (
    queue   INTEGER NOT NULL REFERENCES queues (number),
    serial  INTEGER NOT NULL,
    number  INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    message TEXT    NOT NULL,
    PRIMARY KEY (queue, serial, number)
) WITHOUT ROWID;

CREATE TABLE schedules (
    queue    INTEGER NOT NULL REFERENCES queues (number),
    name     TEXT    NOT NULL,
    plan     TEXT    NOT NULL,
    place    INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    next_at  INTEGER,
    dropped  INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (queue, name)
) WITHOUT ROWID;

CREATE TABLE windows (
    queue    INTEGER NOT NULL REFERENCES queues (number),
    event    TEXT    NOT NULL,
    key      TEXT    NOT NULL,
    edge     TEXT    NOT NULL,
    id       TEXT    NOT NULL,
    serial   INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    until    INTEGER,
    PRIMARY KEY (queue, event, key, edge)
) WITHOUT ROWID;
CREATE INDEX windows_by_serial ON windows (queue, serial);

CREATE TABLE outcomes (
    queue  INTEGER NOT NULL REFERENCES queues (number),
    serial INTEGER NOT NULL,
    id     TEXT    NOT NULL,
    until  INTEGER NOT NULL,
    job    BLOB    NOT NULL,
    PRIMARY KEY (queue, serial)
) WITHOUT ROWID;
CREATE INDEX outcomes_by_until ON outcomes (queue, until);

CREATE TABLE replays (
    queue  INTEGER NOT NULL REFERENCES queues (number),
    caller TEXT    NOT NULL,
    verb   TEXT    NOT NULL,
    number INTEGER NOT NULL,
    at     INTEGER NOT NULL,
    answer BLOB    NOT NULL,
    PRIMARY KEY (queue, caller, verb)
);

-- For people: what a queue holds, in words and in UTC.
CREATE VIEW board AS
SELECT queues.name AS queue, jobs.id, event, state, priority, attempt, failures, losses, reason,
       strftime('%Y-%m-%dT%H:%M:%fZ', created_at / 1000.0, 'unixepoch') AS created,
       strftime('%Y-%m-%dT%H:%M:%fZ', run_at / 1000.0, 'unixepoch') AS run,
       strftime('%Y-%m-%dT%H:%M:%fZ', finished_at / 1000.0, 'unixepoch') AS finished,
       CAST(coalesce(data, (SELECT content FROM payloads WHERE job = place)) AS TEXT) AS data
  FROM jobs JOIN queues ON queues.number = jobs.queue;
