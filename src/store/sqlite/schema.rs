//! The tables, meant to be read with `sqlite3` too. Positions are in their padded form, which sorts
//! as text as the position sorts as a number.

/// Table names that begin with these are lanekeeper's: effects cannot change them.
pub const RESERVED_PREFIXES: [&str; 2] = ["store_", "log_"];

pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS store_registry(
    app TEXT NOT NULL, source TEXT NOT NULL, partition TEXT NOT NULL,
    since INTEGER NOT NULL,         -- first claim, milliseconds since 1970
    crc INTEGER NOT NULL,           -- as in each table: CRC32C over all other columns
    PRIMARY KEY (app, source, partition)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS store_workers(
    app TEXT NOT NULL, worker TEXT NOT NULL,
    beat INTEGER NOT NULL,          -- milliseconds since 1970
    item TEXT NOT NULL,             -- JSON
    crc INTEGER NOT NULL,
    PRIMARY KEY (app, worker)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS store_checkpoints(
    app TEXT NOT NULL, source TEXT NOT NULL, partition TEXT NOT NULL,
    format INTEGER NOT NULL,
    worker TEXT,                    -- null: released
    epoch INTEGER NOT NULL, generation INTEGER NOT NULL,
    commit_number INTEGER NOT NULL, content BLOB NOT NULL,
    unclean_claims INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,    -- milliseconds since 1970
    resume TEXT,                    -- beginning | at POSITION | after POSITION; null: never committed
    settled_to TEXT,
    open BLOB,                      -- open positions up to settled_to
    attempts TEXT,                  -- JSON: [[position, attempts], …]
    announced TEXT,                 -- JSON: [[position, alone], …]
    incarnation TEXT,
    ended INTEGER,
    crc INTEGER NOT NULL,
    PRIMARY KEY (app, source, partition)
);

CREATE TABLE IF NOT EXISTS store_lanes(
    app TEXT NOT NULL, source TEXT NOT NULL, partition TEXT NOT NULL,
    lane BLOB NOT NULL,             -- tag byte and key
    name TEXT NOT NULL,             -- the same for people
    state TEXT NOT NULL,            -- stopped | parked | draining | live
    head TEXT NOT NULL, record BLOB,
    tail TEXT, cut TEXT,
    count INTEGER NOT NULL, bytes INTEGER NOT NULL,
    attempts INTEGER NOT NULL, first_error TEXT NOT NULL, last_error TEXT NOT NULL,
    since INTEGER NOT NULL,         -- milliseconds since 1970
    rev INTEGER NOT NULL,
    decision TEXT,                  -- JSON
    crc INTEGER NOT NULL,
    tails TEXT,                     -- JSON: [[partition, position], …] of a lane that partitions share
    PRIMARY KEY (app, source, partition, lane)
);

CREATE TABLE IF NOT EXISTS store_chain(
    app TEXT NOT NULL, source TEXT NOT NULL, partition TEXT NOT NULL,
    lane BLOB NOT NULL, position TEXT NOT NULL,
    record BLOB NOT NULL,
    crc INTEGER NOT NULL,
    PRIMARY KEY (app, source, partition, lane, position)
);

-- Behind a mapping: what each invocation has settled and tried of its batch, instead of a checkpoint.
CREATE TABLE IF NOT EXISTS store_marks(
    app TEXT NOT NULL, source TEXT NOT NULL, partition TEXT NOT NULL,
    last TEXT NOT NULL, invocation TEXT NOT NULL,
    first TEXT NOT NULL,
    commit_number INTEGER NOT NULL, content BLOB NOT NULL,
    generation INTEGER NOT NULL,
    begun INTEGER NOT NULL, deadline INTEGER NOT NULL,  -- milliseconds since 1970
    done BLOB NOT NULL,             -- positions
    tried TEXT NOT NULL,            -- JSON: [[position, rev, attempts, error, not before], …]
    announced TEXT NOT NULL,        -- JSON: [[position, alone], …]
    ended INTEGER NOT NULL, expires INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    lanes BLOB NOT NULL,            -- names of 4 bytes; empty: all between its ends
    PRIMARY KEY (app, source, partition, last, invocation)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS store_done(
    app TEXT NOT NULL, source TEXT NOT NULL, partition TEXT NOT NULL,
    generation INTEGER NOT NULL, position TEXT NOT NULL,
    expires INTEGER NOT NULL,       -- milliseconds since 1970
    crc INTEGER NOT NULL,
    PRIMARY KEY (app, source, partition, generation, position)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS store_values(
    app TEXT NOT NULL, name TEXT NOT NULL, key TEXT NOT NULL,
    value TEXT NOT NULL,            -- JSON
    crc INTEGER NOT NULL,
    PRIMARY KEY (app, name, key)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS store_history(
    id INTEGER PRIMARY KEY,
    app TEXT NOT NULL, source TEXT NOT NULL, partition TEXT NOT NULL,
    at INTEGER NOT NULL,            -- milliseconds since 1970
    epoch INTEGER, generation INTEGER,
    resume TEXT, settled_to TEXT, open BLOB, attempts TEXT, announced TEXT,
    incarnation TEXT, ended INTEGER,
    lane BLOB, head TEXT, decision TEXT,    -- an operator's act: on a lane instead of a checkpoint, or on it
    crc INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS store_history_by_time ON store_history(app, source, partition, at);
";

/// All tables of an app, for [`super::super::Store::forget`].
pub(super) const TABLES: [&str; 9] = [
    "store_registry",
    "store_workers",
    "store_checkpoints",
    "store_lanes",
    "store_chain",
    "store_marks",
    "store_done",
    "store_values",
    "store_history",
];
