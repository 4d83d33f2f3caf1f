/* What applications do: writers, readers, checkpointers, each with a connection of its own, which
 * it closes and opens anew now and then. A writer keeps its own book of what was acknowledged to
 * it: rows that nobody else writes.
 *
 * On a SQLite with the WAL-reset bug (3.7.0 to 3.51.2) an application's PASSIVE checkpoint may harm
 * a database that nobody holds, with no help of ours. There, while nobody holds, checkpoints run
 * under the write lock.
 */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_APPS 16
#define MOST_WRITERS 4
#define SLOTS 40u
#define MOST_BYTES 300000u

struct row {
    uint32_t version, size; /* version 0: not there */
};

struct app {
    int id;
    const char *kind;
    sqlite3 *db;
    sqlite3_stmt *put, *remove;
    bool done;
    int64_t patience_ns, waits_since;
    int checkpoint_at; /* frames; 0: no automatic checkpoints */
    struct row rows[SLOTS];
};

static struct app_options opt;
static struct app apps[MOST_APPS];
static int app_count, writers_left, flying;
static bool held, closing;
static uint32_t versions;
static sqlite3 *keeper; /* while it is open the log stays */
static struct {
    int cache, bulk, vacuum, synchronous, auto_vacuum, haste;
    bool tiny; /* one row at a time, and a checkpoint behind it: logs of the same few frames */
    unsigned blob, large; /* one row in so many is large: up to this */
} habits;

/* ---- connections ---- */

static int be_patient(void *arg, int times) {
    struct app *a = arg;
    if (times == 0) a->waits_since = sim_now();
    if (sim_now() - a->waits_since >= a->patience_ns) return 0;
    sim_sleep(sim_between(SIM_US, (times < 10 ? times + 1 : 10) * 2 * SIM_MS));
    return 1;
}

static bool is_busy(int code) {
    code &= 0xff;
    return code == SQLITE_BUSY || code == SQLITE_LOCKED || code == SQLITE_PROTOCOL;
}

/* False: busy. Anything else but success is a finding. */
static bool fine(sqlite3 *db, int code, const char *doing) {
    if (code == SQLITE_OK || code == SQLITE_ROW || code == SQLITE_DONE) return true;
    if (!is_busy(code)) sim_found(HARMED, "an application's %s: %s", doing, sqlite3_errmsg(db));
    return false;
}

static bool run(sqlite3 *db, const char *sql) {
    return fine(db, sqlite3_exec(db, sql, NULL, NULL, NULL), sql);
}

static void checkpoint(sqlite3 *db, int mode) {
    bool careful = !held && !opt.fixed;
    sqlite3 *guard = NULL;
    if (careful) {
        if (sqlite3_open(opt.path, &guard) == SQLITE_OK &&
            sqlite3_exec(guard, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK)
            mode = SQLITE_CHECKPOINT_PASSIVE;
        else mode = -1;
    }
    flying += !careful;
    int code = SQLITE_BUSY;
    if (mode >= 0) code = sqlite3_wal_checkpoint_v2(db, NULL, mode, NULL, NULL);
    flying -= !careful;
    sim_count.checkpoints += code == SQLITE_OK;
    SIM_SAY("checkpoint, mode %d%s: %d", mode, careful ? ", nobody holds" : "", code);
    fine(db, code, "checkpoint");
    sqlite3_close(guard);
}

static int on_commit(void *arg, sqlite3 *db, const char *name, int frames) {
    struct app *a = arg;
    (void)name;
    if (a->checkpoint_at && frames >= a->checkpoint_at && (held || opt.fixed))
        checkpoint(db, SQLITE_CHECKPOINT_PASSIVE);
    return SQLITE_OK;
}

static void open_db(struct app *a) {
    char sql[200];
    if (sqlite3_open(opt.path, &a->db) != SQLITE_OK) sim_fatal("open: %s", sqlite3_errmsg(a->db));
    a->patience_ns = sim_one_in(5) ? 0 : sim_between(SIM_MS, 2 * SIM_S);
    a->checkpoint_at = habits.tiny ? 1 : sim_one_in(3) ? 1 + (int)sim_below(60) : 0;
    sqlite3_busy_handler(a->db, be_patient, a);
    sqlite3_wal_hook(a->db, on_commit, a);
    snprintf(sql, sizeof sql, "PRAGMA cache_size=%d; PRAGMA synchronous=%d; PRAGMA temp_store=2",
             habits.cache, habits.synchronous);
    run(a->db, sql);
}

static void close_db(struct app *a) {
    sqlite3_finalize(a->put);
    sqlite3_finalize(a->remove);
    a->put = a->remove = NULL;
    if (a->db && sqlite3_close(a->db) != SQLITE_OK) sim_fatal("close: %s", sqlite3_errmsg(a->db));
    a->db = NULL;
}

static void rest(int64_t most) {
    sim_sleep(sim_between(0, most >> habits.haste));
}

/* Whoever does the same over and over is less eager after a while. */
static void rest_between(int times, int64_t most) {
    if (times < 20) rest(most);
    else sim_sleep(sim_between(SIM_MS, most));
}

/* Between two deeds. */
static void come_and_go(struct app *a) {
    if (!closing && !sim_one_in(40)) return;
    close_db(a);
    SIM_SAY("closed");
    while (closing) sim_sleep(SIM_MS);
    open_db(a);
}

/* ---- writers ---- */

static uint64_t row_seed(const struct app *a, unsigned slot, struct row r) {
    return (uint64_t)(unsigned)a->id << 40 ^ (uint64_t)slot << 32 ^ r.version;
}

static void fill(uint8_t *bytes, uint32_t n, uint64_t seed) {
    uint64_t x = seed * 0x9e3779b97f4a7c15u | 1;
    for (uint32_t i = 0; i < n; i++) {
        if (i % 8 == 0) x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        bytes[i] = (uint8_t)(seed % 4 ? x >> (i % 8 * 8) : seed);
    }
}

static int64_t row_id(const struct app *a, unsigned slot) {
    return a->id * 1000 + (int64_t)slot;
}

static bool put_row(struct app *a, struct row *rows, unsigned slot) {
    static uint8_t bytes[MOST_BYTES]; /* nobody else goes on between fill and bind */
    if (!a->put && !fine(a->db,
                         sqlite3_prepare_v2(a->db, "INSERT OR REPLACE INTO t VALUES (?,?,?)", -1,
                                            &a->put, NULL),
                         "prepare"))
        return false;
    struct row r = {++versions, sim_below(sim_one_in(habits.large) ? habits.blob : 300)};
    fill(bytes, r.size, row_seed(a, slot, r));
    sqlite3_bind_int64(a->put, 1, row_id(a, slot));
    sqlite3_bind_int64(a->put, 2, r.version);
    sqlite3_bind_blob(a->put, 3, bytes, (int)r.size, SQLITE_TRANSIENT);
    sqlite3_step(a->put);
    if (!fine(a->db, sqlite3_reset(a->put), "INSERT")) return false;
    rows[slot] = r;
    return true;
}

static bool remove_rows(struct app *a, struct row *rows, unsigned from, unsigned to) {
    if (!a->remove && !fine(a->db,
                            sqlite3_prepare_v2(a->db, "DELETE FROM t WHERE id BETWEEN ? AND ?", -1,
                                               &a->remove, NULL),
                            "prepare"))
        return false;
    sqlite3_bind_int64(a->remove, 1, row_id(a, from));
    sqlite3_bind_int64(a->remove, 2, row_id(a, to));
    sqlite3_step(a->remove);
    if (!fine(a->db, sqlite3_reset(a->remove), "DELETE")) return false;
    memset(rows + from, 0, (to - from + 1) * sizeof *rows);
    return true;
}

static bool change(struct app *a, struct row *rows) {
    unsigned slot = sim_below(SLOTS), kind = sim_below(20);
    if (habits.tiny) return put_row(a, rows, slot % 4);
    if (kind < 4) return remove_rows(a, rows, slot, slot);
    if (kind == 4) return remove_rows(a, rows, 0, SLOTS - 1);
    if (kind == 5) return remove_rows(a, rows, slot, SLOTS - 1);
    for (int n = kind < 8 ? habits.bulk : 1; n > 0; n--)
        if (!put_row(a, rows, sim_below(SLOTS))) return false;
    return true;
}

static bool change_with_savepoint(struct app *a, struct row *rows) {
    struct row before[SLOTS];
    if (!sim_one_in(4)) return change(a, rows);
    memcpy(before, rows, sizeof before);
    if (!run(a->db, "SAVEPOINT s") || !change(a, rows)) return false;
    if (sim_one_in(2)) {
        if (!run(a->db, "ROLLBACK TO s")) return false;
        memcpy(rows, before, sizeof before);
        if (sim_one_in(2) && !change(a, rows)) return false;
    }
    return run(a->db, "RELEASE s");
}

static bool transact(struct app *a) {
    struct row rows[SLOTS];
    memcpy(rows, a->rows, sizeof rows);
    if (!run(a->db, sim_one_in(3) ? "BEGIN" : "BEGIN IMMEDIATE")) return false;
    bool good = sim_one_in(3) ? run(a->db, "SELECT count(*) FROM t") : true;
    for (unsigned n = habits.tiny ? 1 : 1 + sim_below(4); good && n > 0; n--)
        good = change_with_savepoint(a, rows);
    if (sim_one_in(6)) rest(20 * SIM_MS);
    if (good && sim_one_in(8)) good = false;
    if (good && !run(a->db, "COMMIT")) good = false;
    if (!sqlite3_get_autocommit(a->db)) run(a->db, "ROLLBACK");
    if (!good) return false;
    memcpy(a->rows, rows, sizeof rows);
    sim_count.acked++;
    return true;
}

static const int modes[] = {SQLITE_CHECKPOINT_PASSIVE, SQLITE_CHECKPOINT_FULL,
                            SQLITE_CHECKPOINT_RESTART, SQLITE_CHECKPOINT_TRUNCATE};

static void write_on(void *arg) {
    struct app *a = arg;
    open_db(a);
    for (unsigned n = 8 + sim_below(24); n > 0; n--) {
        come_and_go(a);
        if (habits.vacuum && sim_one_in(12))
            run(a->db, sim_one_in(2) ? "PRAGMA incremental_vacuum(20)" : "VACUUM");
        else transact(a);
        if (sim_one_in(12)) checkpoint(a->db, modes[sim_below(4)]);
        rest(sim_one_in(6) ? 90 * SIM_MS : sim_one_in(2) ? 12 * SIM_MS : 50 * SIM_US);
    }
    close_db(a);
    a->done = true;
    writers_left--;
}

/* ---- the others ---- */

static void read_and_compare(struct app *a) {
    int before = oracle_newest();
    if (!run(a->db, "BEGIN; SELECT count(*) FROM t")) {
        if (!sqlite3_get_autocommit(a->db)) run(a->db, "ROLLBACK");
        return;
    }
    oracle_look();
    bool known = oracle_newest() == before;
    rest(sim_one_in(5) ? 400 * SIM_MS : 20 * SIM_MS);
    sqlite3_int64 size = 0;
    uint8_t *image = known ? sqlite3_serialize(a->db, "main", &size, 0) : NULL;
    if (image) {
        const struct boundary *b = oracle_boundary(before);
        int page_size = (int)(size / b->pages);
        uint32_t first, n = 0;
        if (size % b->pages != 0 || page_size < 512)
            sim_found(HARMED, "a reader sees another size");
        else n = oracle_differ(before, image, b->pages, &first);
        if (n)
            sim_found(HARMED, "a reader at boundary %d sees %u wrong pages, first %u", before, n,
                      first);
        sim_count.reads++;
    }
    sqlite3_free(image);
    run(a->db, "COMMIT");
}

static void read_on(void *arg) {
    struct app *a = arg;
    open_db(a);
    for (int n = 0; writers_left; n++) {
        come_and_go(a);
        read_and_compare(a);
        rest_between(n, 60 * SIM_MS);
    }
    close_db(a);
    a->done = true;
}

static void checkpoint_on(void *arg) {
    struct app *a = arg;
    open_db(a);
    unsigned same = sim_below(5); /* 4: any */
    for (int n = 0; writers_left; n++) {
        come_and_go(a);
        checkpoint(a->db, modes[same < 4 ? same : sim_below(4)]);
        rest_between(n, sim_one_in(3) ? 100 * SIM_MS : 5 * SIM_MS);
    }
    close_db(a);
    a->done = true;
}

/* ---- all of them ---- */

static void open_keeper(void) {
    if (sqlite3_open(opt.path, &keeper) != SQLITE_OK ||
        sqlite3_busy_timeout(keeper, 60000) != SQLITE_OK ||
        sqlite3_exec(keeper, "PRAGMA schema_version", NULL, NULL, NULL) != SQLITE_OK)
        sim_found(HARMED, "the first connection: %s", sqlite3_errmsg(keeper));
}

static void choose_habits(uint32_t page_size) {
    habits.cache = sim_one_in(2) ? 5 + (int)sim_below(10) : 200;
    habits.bulk = 5 + (int)sim_below(15);
    habits.vacuum = sim_one_in(2);
    habits.blob = sim_one_in(2) ? 9000 : 2000;
    habits.synchronous = (int)sim_below(3);
    habits.auto_vacuum = (int)sim_below(3);
    habits.haste =
        sim_one_in(3) ? 20 : (int)sim_below(3) * 2; /* rests are so many powers shorter */
    habits.tiny = sim_one_in(6);
    habits.large = 6;
    if (page_size < 65536) return;
    habits.blob = MOST_BYTES; /* so that shipments are streamed */
    habits.large = 1;
}

void apps_create(const struct app_options *o, uint32_t page_size) {
    char sql[400];
    sqlite3_int64 size;
    opt = *o;
    memset(apps, 0, sizeof apps);
    app_count = flying = 0;
    writers_left = o->writers;
    held = closing = false;
    versions = 0;
    choose_habits(page_size);
    if (sqlite3_open(o->path, &keeper) != SQLITE_OK) sim_fatal("%s", sqlite3_errmsg(keeper));
    snprintf(sql, sizeof sql,
             "PRAGMA page_size=%u; PRAGMA auto_vacuum=%d; PRAGMA journal_mode=WAL;"
             "PRAGMA synchronous=0; CREATE TABLE t(id INTEGER PRIMARY KEY, v, b);"
             "CREATE INDEX by_version ON t(v)",
             page_size, habits.auto_vacuum);
    run(keeper, sql);
    sqlite3_wal_autocheckpoint(keeper, 0);
    uint8_t *image = sqlite3_serialize(keeper, "main", &size, 0);
    if (!image) sim_fatal("no database");
    oracle_base(image, (uint32_t)((uint64_t)size / page_size));
    sqlite3_free(image);
}

static void start(const char *kind, void (*body)(void *)) {
    struct app *a = &apps[app_count];
    a->id = app_count++;
    a->kind = kind;
    vfs_pid(sim_spawn(kind, body, a), 1000000 + a->id);
}

void apps_start(void) {
    for (int i = 0; i < opt.writers; i++) start("writer", write_on);
    for (int i = 0; i < opt.readers; i++) start("reader", read_on);
    for (int i = 0; i < opt.checkpointers; i++) start("checkpointer", checkpoint_on);
}

bool apps_are_done(void) {
    return writers_left == 0;
}

void apps_hold(bool is) {
    held = is;
}

bool apps_checkpoint_runs(void) {
    return flying > 0;
}

void apps_close_all(bool closed) {
    closing = closed;
    if (!closed && !keeper) open_keeper();
}

bool apps_all_closed(void) {
    for (int i = 0; i < app_count; i++)
        if (apps[i].db) return false;
    if (keeper) sqlite3_close(keeper);
    keeper = NULL;
    return true;
}

void apps_end(void) {
    if (!keeper) return;
    sqlite3_wal_checkpoint_v2(keeper, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    if (sqlite3_close(keeper) != SQLITE_OK) sim_fatal("close: %s", sqlite3_errmsg(keeper));
    keeper = NULL;
}

/* ---- the books ---- */

static void check_integrity(sqlite3 *db, enum finding f, const char *what) {
    sqlite3_stmt *s = NULL;
    sqlite3_prepare_v2(db, "PRAGMA integrity_check(3)", -1, &s, NULL);
    bool row = s && sqlite3_step(s) == SQLITE_ROW;
    const char *words = row ? (const char *)sqlite3_column_text(s, 0) : sqlite3_errmsg(db);
    if (!row || strcmp(words, "ok") != 0) sim_found(f, "%s: integrity_check: %s", what, words);
    sqlite3_finalize(s);
}

static bool is_row(sqlite3_stmt *s) {
    static uint8_t bytes[MOST_BYTES];
    int64_t id = sqlite3_column_int64(s, 0);
    if (id < 0 || id / 1000 >= opt.writers || id % 1000 >= SLOTS) return false;
    const struct app *a = &apps[id / 1000];
    unsigned slot = (unsigned)(id % 1000);
    struct row r = a->rows[slot];
    if (!r.version || sqlite3_column_int64(s, 1) != r.version) return false;
    if ((uint32_t)sqlite3_column_bytes(s, 2) != r.size) return false;
    fill(bytes, r.size, row_seed(a, slot, r));
    return r.size == 0 || memcmp(bytes, sqlite3_column_blob(s, 2), r.size) == 0;
}

static void check_rows(sqlite3 *db, const char *what) {
    sqlite3_stmt *s = NULL;
    unsigned expected = 0, found = 0, wrong = 0;
    for (int i = 0; i < opt.writers; i++)
        for (unsigned slot = 0; slot < SLOTS; slot++) expected += apps[i].rows[slot].version != 0;
    int code = sqlite3_prepare_v2(db, "SELECT id, v, b FROM t NOT INDEXED", -1, &s, NULL);
    while (code == SQLITE_OK && sqlite3_step(s) == SQLITE_ROW) {
        found++;
        wrong += !is_row(s);
    }
    code = sqlite3_finalize(s);
    if (code != SQLITE_OK) sim_found(LOST, "%s: its rows: %s", what, sqlite3_errmsg(db));
    else if (wrong || found != expected)
        sim_found(LOST, "%s: %u rows, %u were acknowledged, %u are wrong", what, found, expected,
                  wrong);
}

void apps_check(const char *path, enum finding f, const char *what) {
    sqlite3 *db = NULL;
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK) {
        sim_found(f, "%s: %s", what, sqlite3_errmsg(db));
    } else {
        check_integrity(db, f, what);
        check_rows(db, what);
    }
    sqlite3_close(db);
}
