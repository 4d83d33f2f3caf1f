/* An application that treats its database badly, for tests/soak and tests/sim.
 *
 *     soak_writer DB SEED
 *
 * Random transactions, for ever: small and large (spilling the page cache), savepoints, rollbacks,
 * schema changes, VACUUM, incremental vacuum, long readers, all four checkpoint modes, changing
 * wal_autocheckpoint. Reads commands from stdin between two of them: "p" pause (answers "paused"),
 * "g" go on, "q" or the end of the file: close and exit. SQLITE_BUSY is part of life; a corrupt
 * database is exit code 3, any other surprise 4.
 *
 * What holds at every commit, so that a restored database can be judged without a copy:
 *     (SELECT n FROM audit WHERE k = 'rows')  == (SELECT count(*) FROM t)
 *     (SELECT n FROM audit WHERE k = 'bytes') == (SELECT total(length(b)) FROM t)
 * Each transaction writes the audit table once, and `seq` counts them.
 */
#include <poll.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define ROWS_MAX 3000

static uint64_t state;
static const char *path;

static unsigned below(unsigned n) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return n ? (unsigned)((state >> 11) % n) : 0;
}

static int judge(sqlite3 *db, int code, const char *sql) {
    switch (code & 0xff) {
    case SQLITE_OK:
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
    case SQLITE_SCHEMA: return code;
    case SQLITE_ERROR: /* a table that another writer made or dropped meanwhile */
        if (strstr(sqlite3_errmsg(db), "no such") || strstr(sqlite3_errmsg(db), "already exists") ||
            strstr(sqlite3_errmsg(db), "duplicate column") ||
            strstr(sqlite3_errmsg(db), "transaction"))
            return code;
    }
    fprintf(stderr, "writer: %s: %s: %s\n", path, sql, sqlite3_errmsg(db));
    exit((code & 0xff) == SQLITE_CORRUPT || (code & 0xff) == SQLITE_NOTADB ? 3 : 4);
}

static int run(sqlite3 *db, const char *format, ...) {
    char sql[1000];
    va_list args;
    va_start(args, format);
    sqlite3_vsnprintf(sizeof sql, sql, format, args);
    va_end(args);
    return judge(db, sqlite3_exec(db, sql, NULL, NULL, NULL), sql);
}

static void change_rows(sqlite3 *db, unsigned most_bytes, unsigned most_rows) {
    unsigned n = 1 + below(most_rows);
    switch (below(4)) {
    case 0:
        run(db,
            "WITH RECURSIVE i(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM i WHERE x < %u) INSERT "
            "INTO t(v, b)"
            " SELECT random(), randomblob(abs(random()) %% %u) FROM i"
            " WHERE (SELECT n FROM audit WHERE k = 'rows') < %d",
            n, most_bytes + 1, ROWS_MAX);
        return;
    case 1:
        run(db, "DELETE FROM t WHERE id IN (SELECT id FROM t ORDER BY id %s LIMIT %u)",
            below(2) ? "DESC" : "ASC", n / 2 + 1);
        return;
    default:
        run(db,
            "UPDATE t SET v = v + 1, b = randomblob(%u) WHERE id IN (SELECT id FROM t WHERE id >= "
            "%u LIMIT %u)",
            below(most_bytes + 1), below(2 * ROWS_MAX), n);
    }
}

/* seq and the sums, in the transaction that changed them. */
static void end_transaction(sqlite3 *db) {
    int code = run(db, "UPDATE audit SET n = CASE k WHEN 'seq' THEN n + 1"
                       " WHEN 'rows' THEN (SELECT count(*) FROM t) ELSE"
                       " (SELECT cast(total(length(b)) AS INTEGER) FROM t) END");
    if (code != SQLITE_OK || below(12) == 0) run(db, "ROLLBACK");
    else if (run(db, "COMMIT") != SQLITE_OK) run(db, "ROLLBACK");
}

/* SQLite 3.40.1 breaks the log when a savepoint is rolled back after the page cache has spilled: it
 * is read as committed, and a recovery loses it. 3.53.2 does not. A database that loses commits by
 * itself would tell nothing about Holdfast. */
static bool spills_and_savepoints(void) {
    return sqlite3_libversion_number() >= 3053000;
}

static void transaction(sqlite3 *db) {
    bool savepoint = below(5) == 0;
    if (!spills_and_savepoints()) run(db, "PRAGMA cache_spill=%d", !savepoint);
    if (run(db, below(4) ? "BEGIN IMMEDIATE" : "BEGIN") != SQLITE_OK) return;
    unsigned size = below(20);
    for (unsigned i = below(4); i-- > 0 && size;) change_rows(db, 2000, 3);
    if (size == 0) { /* more than the cache holds */
        for (unsigned i = 1 + below(3); i-- > 0;) change_rows(db, 8000, 400);
    }
    if (savepoint) {
        run(db, "SAVEPOINT a");
        change_rows(db, 3000, 60);
        run(db, below(2) ? "ROLLBACK TO a" : "RELEASE a");
        change_rows(db, 300, 4);
    }
    if (sqlite3_get_autocommit(db)) return; /* a deadlock was resolved by a rollback */
    end_transaction(db);
}

static void schema(sqlite3 *db) {
    unsigned k = below(3);
    switch (below(6)) {
    case 0: run(db, "CREATE TABLE IF NOT EXISTS s%u(a PRIMARY KEY, b) WITHOUT ROWID", k); return;
    case 1:
        run(db, "INSERT OR REPLACE INTO s%u(a, b) SELECT id, v FROM t LIMIT %u", k, below(300));
        return;
    case 2: run(db, "DROP TABLE IF EXISTS s%u", k); return;
    case 3: run(db, "ALTER TABLE s%u ADD COLUMN c%u DEFAULT 7", k, below(100)); return;
    case 4: run(db, "CREATE INDEX IF NOT EXISTS ti ON t(v)"); return;
    default: run(db, "DROP INDEX IF EXISTS ti");
    }
}

static void nap(unsigned most_us) {
    usleep(below(most_us));
}

static void checkpoint(sqlite3 *db) {
    static const int modes[] = {SQLITE_CHECKPOINT_PASSIVE, SQLITE_CHECKPOINT_FULL,
                                SQLITE_CHECKPOINT_RESTART, SQLITE_CHECKPOINT_TRUNCATE};
    sqlite3_busy_timeout(db, (int)below(100));
    int code = sqlite3_wal_checkpoint_v2(db, NULL, modes[below(4)], NULL, NULL);
    sqlite3_busy_timeout(db, 2000);
    judge(db, code, "checkpoint");
}

static void read_for_long(sqlite3 *db) {
    if (run(db, "BEGIN") != SQLITE_OK) return;
    run(db, "SELECT count(*) FROM t");
    nap(below(10) ? 20000 : 300000);
    run(db, "COMMIT");
}

static void one(sqlite3 *db, sqlite3 *other) {
    static const int automatic[] = {0, 1, 10, 100, 1000};
    unsigned k = below(1000);
    if (k < 800) transaction(db);
    else if (k < 860) schema(db);
    else if (k < 900) run(db, "PRAGMA incremental_vacuum(%u)", 1 + below(60));
    else if (k < 905) run(db, "VACUUM");
    else if (k < 925) read_for_long(other);
    else if (k < 975) checkpoint(below(2) ? db : other);
    else if (k < 985) sqlite3_wal_autocheckpoint(db, automatic[below(5)]);
    else if (k < 990) run(db, "PRAGMA synchronous=%u", below(3));
    else nap(30000);
}

static sqlite3 *open_database(void) {
    sqlite3 *db;
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK) {
        fprintf(stderr, "writer: %s: %s\n", path, sqlite3_errmsg(db));
        exit(4);
    }
    sqlite3_busy_timeout(db, 2000);
    run(db, "PRAGMA cache_size=%u", 10 + below(60)); /* pages: large transactions spill */
    return db;
}

/* What the parent wants. False: stop. */
static bool obey(void) {
    struct pollfd in = {.fd = 0, .events = POLLIN};
    bool paused = false;
    while (paused || poll(&in, 1, 0) > 0) {
        char c;
        if (read(0, &c, 1) != 1 || c == 'q') return false;
        if (c == 'p') {
            if (write(1, "paused\n", 7) != 7) return false;
            paused = true;
        }
        if (c == 'g') paused = false;
    }
    return true;
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    path = argv[1];
    state = strtoull(argv[2], NULL, 10) * 2654435761u + 88172645463325252u;
    for (int i = 0; i < 8; i++) below(2);
    sqlite3 *db = open_database(), *other = open_database();
    while (obey()) {
        one(db, other);
        if (below(8) == 0) nap(4000);
        if (below(400) == 0) nap(150000); /* quiet: the log is let go */
    }
    sqlite3_close(other);
    sqlite3_close(db);
    return 0;
}
