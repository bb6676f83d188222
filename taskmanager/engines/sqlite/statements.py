"""Every statement the engine sends, by the verb that sends it; SQL is spelt nowhere else but in schema.sql.

A statement compares and writes what it is given. It begins with its name, so that a trace of a connection reads as the
story of its verbs. Those that look at jobs name the state as the partial index does that serves them.
"""

from __future__ import annotations

__all__: list[str] = []

# ---- the frame

BEGIN = "/* begin */ BEGIN IMMEDIATE"
BEGIN_READ = "/* begin_read */ BEGIN"
COMMIT = "/* commit */ COMMIT"
ROLLBACK = "/* rollback */ ROLLBACK"
GET_MARK = "/* get_mark */ SELECT value FROM store WHERE name = 'mark'"
SET_MARK = "/* set_mark */ INSERT INTO store VALUES ('mark', ?)"
NOTE_CHECKPOINT = (
    "/* note_checkpoint */ INSERT INTO store VALUES ('checkpoints', '1')"
    " ON CONFLICT (name) DO UPDATE SET value = CAST(value + 1 AS TEXT)"
)
CHECKPOINT = "/* checkpoint */ PRAGMA wal_checkpoint(PASSIVE)"
DATA_VERSION = "/* data_version */ PRAGMA data_version"

_QUEUE = (
    "number, paused, emissions, tide, claims, revisions, ends,"
    " waiting, delayed, active, completed, failed, cancelled, schedule_at,"
    " EXISTS (SELECT 1 FROM windows WHERE queue = number)"
)
TABLES = "/* tables */ SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT IN ('store', 'sqlite_sequence')"
GET_QUEUE = f"/* get_queue */ SELECT {_QUEUE} FROM queues WHERE name = ?"
ADD_QUEUE = f"/* add_queue */ INSERT INTO queues (name) VALUES (?) RETURNING {_QUEUE}"
PUT_QUEUE = (
    "/* put_queue */ UPDATE queues SET paused = ?, emissions = ?, tide = ?, claims = ?, revisions = ?, ends = ?,"
    " waiting = ?, delayed = ?, active = ?, completed = ?, failed = ?, cancelled = ?, schedule_at = ? WHERE number = ?"
)
NEXT_DUE = "/* next_due */ SELECT run_at FROM jobs WHERE queue = ? AND state = 'delayed' ORDER BY run_at, place LIMIT 1"
NEXT_LEASE = (
    "/* next_lease */ SELECT min(expires_at) FROM leases WHERE queue = ? AND worker <> ?"
    " AND EXISTS (SELECT 1 FROM jobs WHERE lease = leases.number)"
)
NEXT_SCHEDULE = "/* next_schedule */ SELECT min(coalesce(next_at, 0)) FROM schedules WHERE queue = ?"

GET_REPLAY = "/* get_replay */ SELECT number, at, answer FROM replays WHERE queue = ? AND caller = ? AND verb = ?"
PUT_REPLAY = (
    "/* put_replay */ INSERT INTO replays (queue, caller, verb, number, at, answer) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (queue, caller, verb) DO UPDATE SET number = excluded.number, at = excluded.at,"
    " answer = excluded.answer"
)
DROP_REPLAYS = "/* drop_replays */ DELETE FROM replays WHERE queue = ? AND at <= ?"

# ---- jobs


_DATA = "coalesce(data, (SELECT content FROM payloads WHERE job = place))"
JOB = (
    f"place, serial, id, event, {_DATA}, state, priority, line, created_at, run_at, options, expires_at,"
    " attempt, failures, losses, max_attempts, schedule, debounce, awaited, requeued, cancel_requested,"
    " coalesce(worker, (SELECT holder.worker FROM leases AS holder WHERE holder.number = lease)), claim, reaped,"
    " started_at, finished_at, result, error, reason, attempts, progress, follow_up, dead_letter"
)
"""The columns of a record, in the order that `rows` reads. A worker is named by its lease, and in the row where another
has taken that over."""

FIND_JOB = f"/* find_job */ SELECT {JOB} FROM jobs WHERE queue = ? AND id = ?"
FIND_JOBS = f"/* find_jobs */ SELECT {JOB} FROM jobs WHERE queue = ? AND id IN (SELECT value FROM json_each(?))"
GET_PLACES = f"/* get_places */ SELECT {JOB} FROM jobs WHERE place IN (SELECT value FROM json_each(?))"
ADD_JOB = (
    "/* add_job */ INSERT INTO jobs (place, queue, serial, id, event, state, priority, line, created_at, run_at,"
    " expires_at, losses, awaited, schedule, options, debounce, data, room)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, zeroblob(64))"
)
PUT_JOB = (
    "/* put_job */ UPDATE jobs SET place = ?, id = ?, event = ?, data = ?, state = ?, priority = ?, line = ?,"
    " created_at = ?, run_at = ?, options = ?, expires_at = ?, attempt = ?, failures = ?, losses = ?, max_attempts = ?,"
    " schedule = ?, debounce = ?, awaited = ?, requeued = ?, cancel_requested = ?, worker = ?, claim = ?, reaped = ?,"
    " started_at = ?, finished_at = ?, result = ?, error = ?, reason = ?, attempts = ?, progress = ?,"
    " follow_up = ?, dead_stream = ?, dead_letter = ?, lease = NULL, room = NULL, ended = ? WHERE place = ?"
)
"""A job that is not active, whole."""
PUT_PAYLOAD = (
    "/* put_payload */ INSERT INTO payloads VALUES (?, ?)"
    " ON CONFLICT (job) DO UPDATE SET content = excluded.content WHERE content <> excluded.content"
)
"""Large data, apart from its job's row. What is the same already is not written again."""
NOTE_JOB = "/* note_job */ UPDATE jobs SET awaited = ?, cancel_requested = ?, follow_up = ? WHERE place = ?"
"""What others may change of a job that stays where it is."""
DROP_JOB = "/* drop_job */ DELETE FROM jobs WHERE place = ?"
HAS_LINES = "/* has_lines */ SELECT EXISTS (SELECT 1 FROM logs WHERE queue = ?)"
COUNT_LIVE = "/* count_live */ SELECT count(*) FROM jobs WHERE queue = ? AND schedule = ? AND ended IS NULL"
FIND_DUE = (
    "/* find_due */ SELECT place, id, event FROM jobs WHERE queue = ? AND state = 'delayed' AND run_at <= ?"
    " ORDER BY run_at, place LIMIT ?"
)
PUT_DUE = "/* put_due */ UPDATE jobs SET state = 'waiting', line = ? WHERE place = ?"

# ---- claim, reap, extend

FIND_WAITING = (
    f"/* find_waiting */ SELECT place, id, serial, event, {_DATA}, options, priority, attempt, failures, losses,"
    " created_at, run_at, schedule, expires_at FROM jobs WHERE queue = ? AND state = 'waiting'"
    " ORDER BY priority DESC, line"
)
PUT_CLAIM = (
    "/* put_claim */ UPDATE jobs SET state = 'active', lease = ?, claim = place + ?, attempt = attempt + 1,"
    " started_at = ?, cancel_requested = 0, requeued = 0, reaped = 0, heard = 0, room = zeroblob(52)"
    " WHERE place BETWEEN ? AND ?"
)
"""A stretch of neighbours, which got neighbouring numbers."""
GET_LEASE = "/* get_lease */ SELECT number FROM leases WHERE queue = ? AND worker = ?"
KEEP_LEASE = "/* keep_lease */ UPDATE leases SET expires_at = ? WHERE number = ?"
ADD_LEASE = "/* add_lease */ INSERT INTO leases (queue, worker, expires_at) VALUES (?, ?, ?) RETURNING number"
DROP_LEASES = (
    "/* drop_leases */ DELETE FROM leases WHERE queue = ?"
    " AND NOT EXISTS (SELECT 1 FROM jobs WHERE lease = leases.number)"
)
"""A lease over nothing is none. Its row stays for the next claim, and goes when the queue is pruned."""
FIND_HELD = "/* find_held */ SELECT claim, reaped, cancel_requested FROM jobs WHERE lease = ? ORDER BY claim"
GET_HELD = f"/* get_held */ SELECT {JOB}, claim FROM jobs WHERE lease = ? AND claim IN (SELECT value FROM json_each(?))"
HAS_SUSPECT = "/* has_suspect */ SELECT EXISTS (SELECT 1 FROM jobs WHERE lease = ? AND reaped = 0 AND losses >= ?)"
FIND_LAPSED = (
    "/* find_lapsed */ SELECT place, lease, losses FROM jobs WHERE lease IN"
    " (SELECT number FROM leases WHERE queue = ? AND worker <> ? AND expires_at <= ?) ORDER BY claim LIMIT ?"
)
PUT_REAPED = (
    "/* put_reaped */ UPDATE jobs SET worker ="
    " coalesce(worker, (SELECT holder.worker FROM leases AS holder WHERE holder.number = jobs.lease)),"
    " lease = ?, claim = ?, reaped = 1, heard = 0 WHERE place = ?"
)
GET_HEARD = (
    f"/* get_heard */ SELECT heard, {JOB} FROM jobs WHERE lease = ? AND reaped = 0"
    " AND claim IN (SELECT value FROM json_each(?))"
)
PUT_HEARD = "/* put_heard */ UPDATE jobs SET heard = ?, progress = ? WHERE place = ?"
LAST_LINE = "/* last_line */ SELECT max(number) FROM logs WHERE queue = ? AND serial = ?"
ADD_LINE = "/* add_line */ INSERT INTO logs VALUES (?, ?, ?, ?, ?, ?)"
TRIM_LINES = "/* trim_lines */ DELETE FROM logs WHERE queue = ? AND serial = ? AND number <= ?"
DROP_LINES = "/* drop_lines */ DELETE FROM logs WHERE queue = ? AND serial = ?"

# ---- settle

_IS_PLAIN = "follow_up IS NULL AND attempts IS NULL AND error IS NULL AND awaited = 0 AND reaped = 0"
"""Whether the run of an active job may end by what is known of its claim alone, with nothing to compare or to keep."""
GET_RUNS = (
    "/* get_runs */ SELECT place, claim, id, serial, event, attempt, failures, losses, started_at,"
    f" {_IS_PLAIN} FROM jobs WHERE lease = ? AND claim IN (SELECT value FROM json_each(?))"
)
"""Of each run only what its plain end needs, and whether it may end so."""
PUT_END = (
    "/* put_end */ UPDATE jobs SET state = ?, failures = ?, losses = ?, max_attempts = coalesce(?, max_attempts),"
    " result = ?, error = ?, reason = ?, attempts = ?, worker = ?, finished_at = ?, ended = place + ?, lease = NULL,"
    " room = NULL"
    f" WHERE place BETWEEN ? AND ? AND +lease = ? AND claim = place + ? AND {_IS_PLAIN}"
)
"""The plain end of a stretch of neighbours that end alike, in the order in which they were handed out.

It is fenced by itself. The plus keeps SQLite from looking through all that is under the lease.
"""
ADD_ENDS = "/* add_ends */ INSERT INTO ends SELECT ended, place FROM jobs WHERE place BETWEEN ? AND ?"
ADD_END = "/* add_end */ INSERT INTO ends VALUES (?, ?)"
DROP_END = "/* drop_end */ DELETE FROM ends WHERE number = (SELECT ended FROM jobs WHERE place = ?)"
PUT_LETTER = "/* put_letter */ UPDATE jobs SET dead_stream = ?, dead_letter = ? WHERE place = ?"

# ---- windows, outcomes, schedules

GET_WINDOW = (
    "/* get_window */ SELECT id, serial, first_at, until FROM windows"
    " WHERE queue = ? AND event = ? AND key = ? AND edge = ?"
)
PUT_WINDOW = "/* put_window */ INSERT OR REPLACE INTO windows VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
END_WINDOWS = "/* end_windows */ DELETE FROM windows WHERE queue = ? AND serial = ? AND (until IS NULL OR ?)"
DROP_WINDOWS = "/* drop_windows */ DELETE FROM windows WHERE queue = ? AND until <= ?"

GET_OUTCOME = "/* get_outcome */ SELECT job FROM outcomes WHERE queue = ? AND serial = ? AND id = ? AND until > ?"
PUT_OUTCOME = "/* put_outcome */ INSERT OR REPLACE INTO outcomes VALUES (?, ?, ?, ?, ?)"
DROP_OUTCOME = "/* drop_outcome */ DELETE FROM outcomes WHERE queue = ? AND serial = ?"
DROP_OUTCOMES = "/* drop_outcomes */ DELETE FROM outcomes WHERE queue = ? AND until <= ?"
NEXT_OUTCOME = "/* next_outcome */ SELECT min(until) FROM outcomes WHERE queue = ?"

_SCHEDULE = "plan, place, revision, next_at, dropped"
GET_SCHEDULE = f"/* get_schedule */ SELECT {_SCHEDULE} FROM schedules WHERE queue = ? AND name = ?"
PUT_SCHEDULE = "/* put_schedule */ INSERT OR REPLACE INTO schedules VALUES (?, ?, ?, ?, ?, ?, ?)"
DROP_SCHEDULE = "/* drop_schedule */ DELETE FROM schedules WHERE queue = ? AND name = ?"
LIST_SCHEDULES = (
    f"/* list_schedules */ SELECT {_SCHEDULE},"
    " (SELECT count(*) FROM jobs WHERE queue = schedules.queue AND schedule = schedules.name AND ended IS NULL)"
    " FROM schedules WHERE queue = ? ORDER BY name"
)

# ---- control, prune

TAKE_WAITING = (
    f"/* take_waiting */ SELECT {JOB} FROM jobs WHERE queue = :queue AND state = 'waiting'"
    " ORDER BY priority DESC, line LIMIT :limit"
)
TAKE_OVERDUE = (
    f"/* take_overdue */ SELECT {JOB} FROM jobs WHERE queue = :queue AND state = 'delayed' AND run_at <= :now"
    " ORDER BY run_at, place LIMIT :limit"
)
TAKE_DELAYED = (
    f"/* take_delayed */ SELECT {JOB} FROM jobs WHERE queue = :queue AND state = 'delayed' AND run_at > :now"
    " ORDER BY run_at, place LIMIT :limit"
)
TAKE_FINISHED = (
    f"/* take_finished */ SELECT {JOB} FROM ends CROSS JOIN jobs USING (place) WHERE number BETWEEN :first AND :last"
    " AND state = :state AND (:event IS NULL OR event = :event) ORDER BY number LIMIT :limit"
)
FIRST_ENDS = (
    "/* first_ends */ SELECT place, serial, CAST(coalesce(finished_at, 0) AS INTEGER) FROM ends CROSS JOIN jobs"
    " USING (place) WHERE number BETWEEN ? AND ? AND state = ? ORDER BY number LIMIT ?"
)

# ---- read

COUNT_OVERDUE = "/* count_overdue */ SELECT count(*) FROM jobs WHERE queue = ? AND state = 'delayed' AND run_at <= ?"
LIST_ALL = f"/* list_all */ SELECT {JOB} FROM jobs WHERE place > ? AND place < ? ORDER BY place DESC LIMIT ?"
LIST_RECENT = (
    f"/* list_recent */ SELECT {JOB} FROM (SELECT * FROM jobs WHERE place > :low AND place < :high"
    " ORDER BY place DESC LIMIT :depth)"
    " WHERE CASE WHEN state = 'delayed' AND run_at <= :now THEN 'waiting' ELSE state END = :state"
    " ORDER BY place DESC LIMIT :limit"
)
"""One state's jobs among the newest ones of a queue: what a page of a list mostly is."""
_PAGE = "place > :low AND place < :high ORDER BY place DESC LIMIT :limit"
LIST_WAITING = (
    f"/* list_waiting */ SELECT {JOB} FROM jobs WHERE place IN ("
    f" SELECT place FROM (SELECT place FROM jobs WHERE queue = :queue AND state = 'waiting' AND {_PAGE})"
    " UNION ALL SELECT place FROM (SELECT place FROM jobs"
    f" WHERE queue = :queue AND state = 'delayed' AND run_at <= :now AND {_PAGE}))"
    " ORDER BY place DESC LIMIT :limit"
)
LIST_DELAYED = (
    f"/* list_delayed */ SELECT {JOB} FROM jobs WHERE place IN ("
    f" SELECT place FROM jobs WHERE queue = :queue AND state = 'delayed' AND run_at > :now AND {_PAGE})"
    " ORDER BY place DESC"
)
LIST_ACTIVE = (
    f"/* list_active */ SELECT {JOB} FROM jobs WHERE lease IN (SELECT number FROM leases WHERE queue = :queue)"
    f" AND {_PAGE}"
)
LIST_FINISHED = (
    f"/* list_finished */ SELECT {JOB} FROM jobs WHERE place IN ("
    f" SELECT place FROM ends WHERE number BETWEEN :first AND :last AND {_PAGE})"
    " ORDER BY place DESC"
)
LIST_LINES = (
    "/* list_lines */ SELECT at, attempt, message FROM logs WHERE queue = :queue AND serial ="
    " (SELECT serial FROM jobs WHERE queue = :queue AND id = :id) ORDER BY number"
)
LIST_QUEUES = (
    "/* list_queues */ SELECT name FROM queues WHERE paused OR schedule_at IS NOT NULL"
    " OR waiting + delayed + active + completed + failed + cancelled > 0 ORDER BY name"
)
LIST_DEAD = "/* list_dead */ SELECT id, serial, dead_letter FROM jobs WHERE dead_stream = ? ORDER BY finished_at, place"
GET_TIDES = (
    "/* get_tides */ SELECT name, tide, (SELECT run_at FROM jobs WHERE queue = queues.number AND state = 'delayed'"
    " ORDER BY run_at, place LIMIT 1) FROM queues WHERE name IN (SELECT value FROM json_each(?))"
)
GET_LIVE = (
    "/* get_live */ SELECT serial, ended IS NULL, follow_up FROM jobs"
    " WHERE queue = (SELECT number FROM queues WHERE name = ?) AND id = ?"
)
