/* A backfill: see the header.
 *
 * Why the ends of a batch are looked for before the lock is taken: with where="..." most rows may
 * be done already, and whoever looks for the few that are not must not hold up the writers of all.
 * What changes between the look and the lock does no harm: the ends are numbers, and the statement
 * takes every row between them. Rows that come later are those of the sync triggers.
 *
 * Why the commits here are not synced one by one: a power cut takes them back together with their
 * checkpoint, and the commit of the step that ends the backfill syncs them all.
 *
 * Why foreign keys are on here, and in no other step: who compares rows and parents at the end can
 * take nothing back, since the batches are committed. Off they stay where the schema has a key that
 * SQLite cannot use, and for REPLACE: it would take the children of what it replaces.
 *
 * Invariants
 *  1. A batch, its checkpoint and the rows counted are one transaction: each row that was there at
 *     the beginning is between the ends of one committed batch, whoever was killed when.
 *     But for rowids that VACUUM may change: of these a pass through the table counts only if the
 *     schema's number, which VACUUM changes, too, is at its end what it was at its beginning.
 *  2. Nothing is waited for while the write lock is held.
 *  3. A copy of the database (a rehearsal) is not paced, and waits for nobody.
 */
#include "schema/backfill.h"

#include "schema/backfill_key.h"
#include "schema/guard.h"
#include "schema/history.h"
#include "schema/safety.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_FIRST 100
#define BATCH_MOST 100000
#define TARGET_MS 5
#define PAUSE_MOST_NS 50000000 /* for others who want the lock */
#define SLICE_NS 50000000      /* how soon schema->stop is seen */
#define LOG_PAGES 1000         /* when a log is copied into its database */
#define LOG_MOST (4 * LOG_PAGES)
#define LOG_REST_NS 20000000
#define UNSAFE_MOST (8 << 20)
#define SAFE_MS 1000
#define TELL_NS 5000000000

enum query { FIRST, BEFORE, END, LAST, STATEMENT, LOAD, SAVE, QUERIES };

struct run {
    struct sconn *c;
    const struct migration *m;
    const struct section *s;
    int part;
    struct guard guard;
    struct backfill_key key;
    sqlite3_stmt *at[QUERIES];
    sqlite3_value *done; /* the last key that is done; NULL: none is */
    sqlite3_value *lo, *hi;
    int64_t rows;   /* by all runs */
    int64_t cookie; /* PRAGMA schema_version when the pass began; -1: in another run */
    bool finished, anew;

    bool paced, replicated;
    int64_t size, target_us, page_size;
    int64_t told_ns;   /* when its rows were told of last */
    int64_t log_pages; /* after the last commit */
    int64_t unsafe_bytes, pages_written;
    uint32_t *locks; /* of each batch, in microseconds */
    struct backfill_report report;
};

static rc failed(const struct run *b, int code, struct err *e) {
    if (code == SQLITE_NOMEM) return err_set(e, RC_NOMEM, "no memory");
    return guard_error(b->c, &b->guard, code, b->m, b->s->line, e);
}

static struct env *env_of(const struct run *b) {
    return b->c->schema->env;
}

static int64_t now_ns(const struct run *b) {
    return env_of(b)->mono_ns(env_of(b));
}

/* What is asked outside of a transaction waits for a lock as long as a begin would. */
static void be_patient(struct run *b) {
    b->c->deadline_ns = now_ns(b) + b->c->schema->options.lock_ms * 1000000;
}

/* ---- the statements ---- */

static rc prepare(struct run *b, enum query q, char *sql, struct err *e) {
    int code =
        sql ? sqlite3_prepare_v3(b->c->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &b->at[q], NULL)
            : SQLITE_NOMEM;
    rc r = code == SQLITE_OK ? ok() : failed(b, code, e);
    sqlite3_free(sql);
    return r;
}

/* `?1`: behind it. */
static char *select_key(const struct run *b, const char *tail) {
    const char *key = b->key.sql;
    return sqlite3_mprintf("SELECT %s FROM \"%w\" WHERE %s > ?1 AND (%s\n) ORDER BY %s %s", key,
                           b->key.table, key, b->s->where ? b->s->where : "1", key, tail);
}

static char *select_before(const struct run *b) {
    const char *key = b->key.sql;
    return sqlite3_mprintf("SELECT %s FROM \"%w\" WHERE %s >= ?1 AND %s < ?2"
                           " ORDER BY %s DESC LIMIT 1",
                           key, b->key.table, key, key, key);
}

static rc prepare_look(struct run *b, struct err *e) {
    TRY(prepare(b, FIRST, select_key(b, "LIMIT 1"), e));
    if (sqlite3_bind_parameter_count(b->at[FIRST]) != 1)
        return backfill_refuse(
            b->m, b->s, e, "where=\"%.200s\" has a parameter: :lo and :hi are for the statement",
            b->s->where);
    TRY(prepare(b, END, select_key(b, "LIMIT 1 OFFSET ?2"), e));
    TRY(prepare(b, LAST, select_key(b, "DESC LIMIT 1"), e));
    return prepare(b, BEFORE, select_before(b), e);
}

/* And not the function. */
static bool replaces_rows(const char *sql) {
    struct token before = {0}, t = token_next(&sql);
    for (; t.length; before = t, t = token_next(&sql)) {
        const char *next = sql;
        if (!token_is(t, "REPLACE")) continue;
        if (token_is(before, "OR") || token_is(token_next(&next), "INTO")) return true;
    }
    return false;
}

static int prepare_with_parents(struct run *b, const char *sql) {
    int code = SQLITE_ERROR;
    sconn_foreign_keys(b->c, !replaces_rows(sql));
    for (int again = 0; again < 2 && code == SQLITE_ERROR; again++) {
        if (again) sconn_foreign_keys(b->c, false);
        code = sqlite3_prepare_v3(b->c->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &b->at[STATEMENT],
                                  NULL);
    }
    return code;
}

static rc prepare_statement(struct run *b, struct err *e) {
    const struct statement *its = b->s->statements;
    if (b->s->count != 1 || !its->sql)
        return backfill_refuse(b->m, b->s, e, "it has one statement, an UPDATE say, and not %zu",
                               b->s->count);
    int code = prepare_with_parents(b, its->sql);
    if (code != SQLITE_OK) return guard_error(b->c, &b->guard, code, b->m, its->line, e);
    sqlite3_stmt *st = b->at[STATEMENT];
    if (sqlite3_stmt_readonly(st))
        return backfill_refuse(b->m, b->s, e, "its statement writes nothing");
    if (sqlite3_bind_parameter_index(st, ":lo") && sqlite3_bind_parameter_index(st, ":hi") &&
        sqlite3_bind_parameter_count(st) == 2)
        return ok();
    return backfill_refuse(
        b->m, b->s, e,
        "its statement has :lo and :hi and no other parameters: ... WHERE %s > :lo AND"
        " %s <= :hi",
        b->s->key, b->s->key);
}

static rc prepare_all(struct run *b, struct err *e) {
    be_patient(b);
    TRY(backfill_key_find(b->c, b->m, b->s, &b->key, e));
    guard_set(b->c, &b->guard);
    rc r = prepare_look(b, e);
    if (is_ok(r)) r = prepare_statement(b, e);
    guard_lift(b->c);
    return r;
}

static void run_deinit(struct run *b) {
    sconn_foreign_keys(b->c, false);
    for (int i = 0; i < QUERIES; i++) sqlite3_finalize(b->at[i]);
    sqlite3_value_free(b->done);
    sqlite3_value_free(b->lo);
    sqlite3_value_free(b->hi);
    backfill_key_deinit(&b->key);
    free(b->locks);
}

rc backfill_check(struct sconn *c, const struct migration *m, const struct section *s,
                  struct err *e) {
    struct run b = {.c = c, .m = m, .s = s};
    rc r = prepare_all(&b, e);
    run_deinit(&b);
    return r;
}

/* ---- the ends of a batch ---- */

static rc keep(struct run *b, sqlite3_value **to, sqlite3_value *value, struct err *e) {
    sqlite3_value *copy = sqlite3_value_dup(value);
    if (!copy) return failed(b, SQLITE_NOMEM, e);
    sqlite3_value_free(*to);
    *to = copy;
    return ok();
}

/* NULL: the beginning. */
static int bind_key(const struct run *b, sqlite3_stmt *st, int at, const sqlite3_value *value) {
    if (value) return sqlite3_bind_value(st, at, value);
    if (b->key.is_text) return sqlite3_bind_text(st, at, "", 0, SQLITE_STATIC);
    return sqlite3_bind_double(st, at, -(double)__builtin_inf());
}

/* One key, or *found false. */
static rc look(struct run *b, enum query q, const sqlite3_value *behind, sqlite3_value **to,
               bool *found, struct err *e) {
    sqlite3_stmt *st = b->at[q];
    int code = bind_key(b, st, 1, behind);
    if (code == SQLITE_OK) code = sqlite3_step(st);
    *found = code == SQLITE_ROW;
    rc r = *found                ? keep(b, to, sqlite3_column_value(st, 0), e)
           : code == SQLITE_DONE ? ok()
                                 : failed(b, code, e);
    sqlite3_reset(st);
    return r;
}

/* The batch begins at the first row that there is something to do for: what lies before it is not
 * gone through under the lock. */
static rc skip_what_is_done(struct run *b, bool *found, struct err *e) {
    sqlite3_value *first = NULL;
    rc r = look(b, FIRST, b->done, &first, found, e);
    sqlite3_value_free(b->lo);
    b->lo = NULL;
    if (is_ok(r) && b->done) r = keep(b, &b->lo, b->done, e);
    int code = is_ok(r) && *found ? bind_key(b, b->at[BEFORE], 2, first) : SQLITE_OK;
    bool has_one_before;
    if (code != SQLITE_OK) r = failed(b, code, e);
    else if (is_ok(r) && *found) r = look(b, BEFORE, b->done, &b->lo, &has_one_before, e);
    sqlite3_value_free(first);
    return r;
}

/* *more false: there is nothing behind. *last: and behind this nothing. */
static rc find_ends(struct run *b, bool *more, bool *last, struct err *e) {
    bool found = false;
    be_patient(b);
    TRY(skip_what_is_done(b, more, e));
    *last = true;
    if (!*more) return ok();
    int code = sqlite3_bind_int64(b->at[END], 2, b->size - 1);
    if (code != SQLITE_OK) return failed(b, code, e);
    TRY(look(b, END, b->lo, &b->hi, &found, e));
    *last = !found;
    if (!found) TRY(look(b, LAST, b->lo, &b->hi, more, e));
    return ok();
}

/* ---- the checkpoint ---- */

static rc load(struct run *b, bool *found, struct err *e) {
    sqlite3_stmt *st = b->at[LOAD];
    int code = sqlite3_bind_int64(st, 1, b->m->version);
    if (code == SQLITE_OK) code = sqlite3_bind_int(st, 2, b->part);
    if (code == SQLITE_OK) code = sqlite3_step(st);
    *found = code == SQLITE_ROW;
    rc r = *found || code == SQLITE_DONE ? ok() : failed(b, code, e);
    if (*found && sqlite3_column_type(st, 0) != SQLITE_NULL)
        r = keep(b, &b->done, sqlite3_column_value(st, 0), e);
    if (*found) b->rows = sqlite3_column_int64(st, 1);
    if (*found) b->finished = sqlite3_column_int(st, 2) != 0;
    sqlite3_reset(st);
    return r;
}

static rc save(struct run *b, const sqlite3_value *last, int64_t rows, bool done, struct err *e) {
    sqlite3_stmt *st = b->at[SAVE];
    int code = sqlite3_bind_int64(st, 1, b->m->version);
    if (code == SQLITE_OK) code = sqlite3_bind_int(st, 2, b->part);
    if (code == SQLITE_OK && last) code = sqlite3_bind_value(st, 3, last);
    if (code == SQLITE_OK) code = sqlite3_bind_int64(st, 4, rows);
    if (code == SQLITE_OK) code = sqlite3_bind_int64(st, 5, env_of(b)->unix_ms(env_of(b)));
    if (code == SQLITE_OK) code = sqlite3_bind_int(st, 6, done);
    if (code == SQLITE_OK) code = sqlite3_step(st);
    rc r = code == SQLITE_DONE ? ok() : failed(b, code, e);
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    return r;
}

static rc begin(struct run *b, struct err *e) {
    rc r = sconn_begin(b->c, e);
    if (!is_ok(r) && atomic_load(&b->c->schema->stop))
        return err_set(e, RC_CANCELLED, "%s: told to stop", b->m->name);
    return r;
}

/* What this run begins with: the tables, a row, and what an earlier run left in it. */
static rc start_in_transaction(struct run *b, struct err *e) {
    bool found;
    TRY(history_prepare(b->c, e));
    TRY(prepare(b, LOAD,
                sqlite3_mprintf("SELECT last, rows, done FROM holdfast_backfill"
                                " WHERE version = ?1 AND part = ?2"),
                e));
    TRY(prepare(b, SAVE,
                sqlite3_mprintf(
                    "INSERT INTO holdfast_backfill(version, part, last, rows, started_ms, at_ms,"
                    " done) VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6)"
                    " ON CONFLICT(version, part) DO UPDATE SET last = excluded.last,"
                    " rows = excluded.rows, at_ms = excluded.at_ms, done = excluded.done"),
                e));
    TRY(load(b, &found, e));
    TRY(sconn_int(b->c, "PRAGMA schema_version", &b->cookie, e));
    if (b->done) b->cookie = -1;
    return found ? ok() : save(b, NULL, 0, false, e);
}

static rc start(struct run *b, struct err *e) {
    TRY(begin(b, e));
    rc r = start_in_transaction(b, e);
    if (is_ok(r)) return sconn_commit(b->c, NULL, e);
    sconn_rollback(b->c);
    return r;
}

/* ---- one batch ---- */

static rc run_statement(struct run *b, int64_t *rows, struct err *e) {
    sqlite3_stmt *st = b->at[STATEMENT];
    int code = bind_key(b, st, sqlite3_bind_parameter_index(st, ":lo"), b->lo);
    if (code == SQLITE_OK) code = bind_key(b, st, sqlite3_bind_parameter_index(st, ":hi"), b->hi);
    while (code == SQLITE_OK || code == SQLITE_ROW)
        if ((code = sqlite3_step(st)) == SQLITE_DONE) break;
    *rows = code == SQLITE_DONE ? sqlite3_changes(b->c->db) : 0;
    rc r = code == SQLITE_DONE ? ok() : sconn_error(b->c, code, b->m, b->s->statements->line, e);
    sqlite3_reset(st);
    return r;
}

static rc is_where_we_left_it(struct run *b, struct err *e) {
    bool found;
    int64_t rows = b->rows;
    TRY(load(b, &found, e));
    if (found && !b->finished && b->rows == rows) return ok();
    return err_set(e, RC_CONFLICT, "%s:%d: somebody else runs this backfill too", b->m->name,
                   b->s->line);
}

/* Was this pass the last? Under the write lock, where nobody can VACUUM. */
static rc see_moves(struct run *b, bool *last, struct err *e) {
    int64_t cookie;
    b->anew = false;
    if (!*last || !b->key.moves) return ok();
    TRY(sconn_int(b->c, "PRAGMA schema_version", &cookie, e));
    b->anew = cookie != b->cookie;
    b->cookie = cookie;
    *last = !b->anew;
    return ok();
}

static rc batch_in_transaction(struct run *b, bool more, bool *last, int64_t *rows, struct err *e) {
    *rows = 0;
    TRY(is_where_we_left_it(b, e));
    TRY(see_moves(b, last, e));
    if (more) TRY(run_statement(b, rows, e));
    return save(b, more ? b->hi : b->done, b->rows + *rows, *last, e);
}

/* What this connection has written to the log since it was asked last. Not by setting SQLite's
 * figure back: the step counts by it, too. */
static int64_t written_bytes(struct run *b) {
    int pages = 0, ignored;
    sqlite3_db_status(b->c->db, SQLITE_DBSTATUS_CACHE_WRITE, &pages, &ignored, 0);
    int64_t since = pages - b->pages_written;
    b->pages_written = pages;
    return since * (b->page_size + 24);
}

static rc count_batch(struct run *b, int64_t lock_us, int64_t rows, struct err *e) {
    struct backfill_report *p = &b->report;
    if (p->batches % 1024 == 0) {
        uint32_t *more = realloc(b->locks, ((size_t)p->batches + 1024) * sizeof *more);
        if (!more) return failed(b, SQLITE_NOMEM, e);
        b->locks = more;
    }
    b->locks[p->batches++] = lock_us < UINT32_MAX ? (uint32_t)lock_us : UINT32_MAX;
    p->rows += rows;
    int64_t log = b->log_pages * (b->page_size + 24) + 32;
    if (log > p->wal_max_bytes) p->wal_max_bytes = log;
    return ok();
}

static void forget_done(struct run *b) {
    sqlite3_value_free(b->done);
    b->done = NULL;
}

static rc one_batch(struct run *b, bool more, bool *last, int64_t *lock_us, struct err *e) {
    int64_t rows;
    TRY(begin(b, e));
    rc r = batch_in_transaction(b, more, last, &rows, e);
    if (is_ok(r)) r = sconn_commit(b->c, lock_us, e);
    sconn_rollback(b->c);
    TRY(r);
    b->rows += rows;
    b->finished = *last;
    if (more) TRY(keep(b, &b->done, b->hi, e));
    if (b->anew) forget_done(b);
    b->unsafe_bytes += written_bytes(b);
    return count_batch(b, *lock_us, rows, e);
}

/* ---- the pace ---- */

static rc told_to_stop(const struct run *b, struct err *e) {
    return err_set(e, RC_CANCELLED,
                   "%s: told to stop after %lld rows of the backfill; it goes on"
                   " from there",
                   b->m->name, (long long)b->rows);
}

/* Smoothly: one slow batch halves the next ones, and many quick ones bring them back. */
static int64_t next_size(int64_t size, int64_t lock_us, int64_t target_us) {
    double by = (double)target_us / (double)(lock_us > 0 ? lock_us : 1);
    double next = (double)size * (by < 0.5 ? 0.5 : by > 1.25 ? 1.25 : by) + (by > 1.25);
    return next < 1 ? 1 : next > BATCH_MOST ? BATCH_MOST : (int64_t)next;
}

static void rest(const struct run *b, int64_t ns) {
    for (; ns > 0 && !atomic_load(&b->c->schema->stop); ns -= SLICE_NS)
        env_of(b)->sleep_ns(env_of(b), ns < SLICE_NS ? ns : SLICE_NS);
}

static void rest_for_others(const struct run *b, int64_t lock_us) {
    int64_t ns = lock_us * 1000, longer = 4 * ns < PAUSE_MOST_NS ? 4 * ns : PAUSE_MOST_NS;
    rest(b, b->c->waited && longer > ns ? longer : ns);
}

static void tell(const struct run *b, const char *name, const char *why) {
    char part[16];
    snprintf(part, sizeof part, "%d", b->part);
    schema_event(b->c->schema, name,
                 (const char *const[]){"migration", b->m->name, "part", part, "err", why},
                 why ? 6 : 4);
}

/* For who looks on at a long one. */
static void tell_rows(struct run *b) {
    char rows[24];
    if (now_ns(b) - b->told_ns < TELL_NS) return;
    b->told_ns = now_ns(b);
    snprintf(rows, sizeof rows, "%" PRId64, b->rows);
    schema_event(b->c->schema, "backfill.rows",
                 (const char *const[]){"migration", b->m->name, "rows", rows}, 4);
}

/* True: it is known to be safe, or nobody replicates. */
static rc is_safe(struct run *b, bool *safe, struct err *why, struct err *e) {
    rc r = safety_wait(b->c->schema, true, SAFE_MS, why);
    b->replicated |= is_ok(r);
    *safe = is_ok(r) || (r.code == RC_NOTFOUND && !b->replicated);
    if (r.code == RC_NOMEM || r.code == RC_USAGE) return err_set(e, r.code, "%s", why->text);
    if (!*safe && r.code != RC_TIMEOUT) rest(b, SAFE_MS * 1000000);
    return ok();
}

static rc wait_until_safe(struct run *b, struct err *e) {
    struct err why;
    bool safe = false, told = false;
    while (!safe) {
        TRY(is_safe(b, &safe, &why, e));
        if (!safe && atomic_load(&b->c->schema->stop)) return told_to_stop(b, e);
        if (!safe && !told) tell(b, "backfill.waits", why.text);
        told |= !safe;
    }
    if (told) tell(b, "backfill.goes_on", NULL);
    b->unsafe_bytes = 0;
    return ok();
}

/* As much as may be copied into the database now. *all: whoever writes next may begin the log anew,
 * unless somebody reads in it. */
static rc copy_log(struct run *b, bool *all, struct err *e) {
    int pages = 0, copied = 0;
    int code =
        sqlite3_wal_checkpoint_v2(b->c->db, NULL, SQLITE_CHECKPOINT_PASSIVE, &pages, &copied);
    *all = code == SQLITE_OK && copied >= pages;
    return code == SQLITE_OK || code == SQLITE_BUSY ? ok() : failed(b, code, e);
}

static rc bound_log(struct run *b, struct err *e) {
    bool all = false, told = false;
    int64_t began = now_ns(b);
    if (b->log_pages <= (b->replicated ? LOG_MOST : LOG_PAGES)) return ok();
    TRY(copy_log(b, &all, e));
    if (b->replicated) rest(b, LOG_REST_NS); /* whoever replicates it lets it begin anew */
    while (!all && b->log_pages > LOG_MOST && b->paced) {
        if (atomic_load(&b->c->schema->stop)) return told_to_stop(b, e);
        if (!told && now_ns(b) - began > TELL_NS) {
            tell(b, "backfill.waits", "a reader keeps the log from being emptied");
            told = true;
        }
        rest(b, LOG_REST_NS);
        TRY(copy_log(b, &all, e));
    }
    if (told) tell(b, "backfill.goes_on", NULL);
    return ok();
}

static rc pace(struct run *b, int64_t lock_us, struct err *e) {
    if (b->paced) rest_for_others(b, lock_us);
    tell_rows(b);
    int64_t began = now_ns(b);
    if (b->paced && !b->c->noise && b->unsafe_bytes >= UNSAFE_MOST) TRY(wait_until_safe(b, e));
    TRY(bound_log(b, e));
    b->report.waited_ms += (now_ns(b) - began) / 1000000;
    return atomic_load(&b->c->schema->stop) ? told_to_stop(b, e) : ok();
}

/* ---- the run ---- */

static int see_log(void *arg, sqlite3 *db, const char *database, int pages) {
    struct run *b = arg;
    (void)db, (void)database;
    b->log_pages = pages;
    return SQLITE_OK;
}

static rc run_batches(struct run *b, struct err *e) {
    bool more, last;
    int64_t lock_us;
    TRY(prepare_all(b, e));
    TRY(sconn_int(b->c, "PRAGMA page_size", &b->page_size, e));
    TRY(start(b, e));
    (void)written_bytes(b);
    b->told_ns = now_ns(b);
    while (!b->finished) {
        TRY(find_ends(b, &more, &last, e));
        TRY(one_batch(b, more, &last, &lock_us, e));
        if (!last) b->size = next_size(b->size, lock_us, b->target_us);
        if (!last) TRY(pace(b, lock_us, e));
    }
    return ok();
}

static int by_time(const void *pa, const void *pb) {
    uint32_t a = *(const uint32_t *)pa, b = *(const uint32_t *)pb;
    return a < b ? -1 : a > b;
}

static void report_locks(struct run *b) {
    size_t n = (size_t)b->report.batches;
    if (!n) return;
    qsort(b->locks, n, sizeof *b->locks, by_time);
    b->report.lock_p50_us = b->locks[(n - 1) / 2];
    b->report.lock_p99_us = b->locks[(n * 99 + 99) / 100 - 1];
    b->report.lock_max_us = b->locks[n - 1];
}

/* The log is this function's while it runs, and not that of each commit. */
static rc take_log(struct run *b, struct err *e) {
    rc r = sconn_exec(b->c, "PRAGMA synchronous = NORMAL", e);
    sqlite3_wal_hook(b->c->db, see_log, b);
    return r;
}

static rc give_log_back(struct run *b, struct err *e) {
    sqlite3_wal_autocheckpoint(b->c->db, LOG_PAGES);
    return sconn_exec(b->c, "PRAGMA synchronous = FULL", e);
}

rc backfill_run(struct sconn *c, const struct migration *m, const struct section *s, int part,
                struct backfill_report *report, struct err *e) {
    const hf_schema *of = c->schema;
    int64_t target_ms = s->target_ms            ? s->target_ms
                        : of->options.target_ms ? of->options.target_ms
                                                : TARGET_MS;
    struct run b = {.c = c,
                    .m = m,
                    .s = s,
                    .part = part,
                    .paced = strcmp(c->path, c->noise ? of->noise : of->path) == 0,
                    .size = s->batch <= 0           ? BATCH_FIRST
                            : s->batch > BATCH_MOST ? BATCH_MOST
                                                    : s->batch,
                    .target_us = target_ms * 1000};
    struct err ignored;
    rc r = take_log(&b, e);
    if (is_ok(r) && b.paced && !c->noise) r = safety_find(c->schema, &b.replicated, e);
    if (is_ok(r)) r = run_batches(&b, e);
    rc back = give_log_back(&b, is_ok(r) ? e : &ignored);
    if (is_ok(r)) r = back;
    report_locks(&b);
    *report = b.report;
    run_deinit(&b);
    return r;
}
