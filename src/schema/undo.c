/* Undo: the state before the last run, put into the database that lives.
 *
 * Why not a new file in the place of the old one: programs have it open, and what replicates it
 * would find another database. SQLite's backup writes all pages into the log as one transaction:
 * readers stay in the old state until it commits, writers wait, and the replica is shipped one more
 * commit.
 *
 * Why the state after the run is restored as well: that it equals what is there now is the only
 * proof that nothing else would be lost. It is compared before the write lock is taken, and again
 * under it only if somebody has committed meanwhile.
 *
 * Invariants
 *  1. Nothing is written to the database before both states are restored, proven by their sums, and
 *     the write lock is held.
 *  2. From the comparison to the commit nobody else commits.
 * After a crash: the database as it was, or as it was before the run; beside it perhaps the two
 * files, which the next undo removes.
 */
#include "os/system.h"
#include "replica/replica.h"
#include "schema/clients.h"
#include "schema/history.h"
#include "schema/lock.h"
#include "schema/safety.h"
#include "schema/shape.h"
#include "store/fake.h"
#include "store/status.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COPY_PATH (LIMIT_PATH + 32)

struct copy {
    char path[COPY_PATH];
    struct restore_point point;
    struct sconn conn; /* db NULL: not open */
};

struct state {
    char shape[65], contents[65];
    int64_t beside[3]; /* what is in no table of anybody's */
};

struct undo {
    hf_schema *s;
    bool discard;
    struct copy before, after;
    struct sconn live, look; /* it is written by one, and read by the other meanwhile */
    sqlite3_backup *backup;
    int64_t lock_us, pages;
};

/* ---- the restore points ---- */

static rc no_pair(const struct undo *u, const char *run, struct err *e) {
    return err_set(e, RC_CONFLICT,
                   "%s: the run %s did not come to its end, so what was committed since cannot be"
                   " told from it: undo it with what came later (-discard-later)",
                   u->s->path, run);
}

/* The newest "before", and the "after" of the same run. */
static rc choose(struct undo *u, const struct restore_point *points, size_t count, struct err *e) {
    size_t b = 0, a = 0;
    while (b < count && strncmp(points[b].name, "before-", 7) != 0) b++;
    if (b == count)
        return err_set(e, RC_NOTFOUND, "%s: there is no restore point at %s", u->s->path,
                       count ? points[0].url : "its replica");
    u->before.point = points[b];
    while (a < count && (strncmp(points[a].name, "after-", 6) != 0 ||
                         strcmp(points[a].name + 6, points[b].name + 7) != 0))
        a++;
    if (a < count) u->after.point = points[a];
    else if (!u->discard) return no_pair(u, points[b].name + 7, e);
    return ok();
}

static rc find_points(struct undo *u, const char *url, struct err *e) {
    struct restore_point *points;
    size_t count;
    rc r = restore_points(u->s, url, &points, &count, e);
    if (r.code == RC_NOTFOUND && !url)
        return err_set(e, RC_NOTFOUND, "%.600s: name its replica: -replica URL", e->text);
    TRY(r);
    r = choose(u, points, count, e);
    free(points);
    return r;
}

/* ---- room, and the copies ---- */

static rc remove_file(const struct undo *u, const char *path, const char *suffix, struct err *e) {
    char name[COPY_PATH + 8];
    snprintf(name, sizeof name, "%s%s", path, suffix);
    rc r = u->s->env->files->remove(u->s->env, name, e);
    return r.code == RC_NOTFOUND ? ok() : r;
}

static rc remove_copy(const struct undo *u, struct copy *c, struct err *e) {
    sconn_close(&c->conn);
    TRY(remove_file(u, c->path, "-wal", e));
    TRY(remove_file(u, c->path, "-shm", e));
    return remove_file(u, c->path, "", e);
}

/* Each copy, and the log that the one that comes back goes through. */
static rc check_room(struct undo *u, struct err *e) {
    const struct env_files *files = u->s->env->files;
    int64_t pages, page_size;
    char dir[LIMIT_PATH];
    struct file *f;
    system_directory_of(u->s->path, dir);
    TRY(sconn_int(&u->look, "PRAGMA page_count", &pages, e));
    TRY(sconn_int(&u->look, "PRAGMA page_size", &page_size, e));
    uint64_t size = (uint64_t)(pages * page_size), copies = u->discard ? 2 : 3;
    TRY(files->open(u->s->env, dir, FILE_TEMP, &f, e));
    rc r = files->reserve(u->s->env, f, size * copies, e);
    files->close(u->s->env, f);
    if (r.code != RC_FULL) return r;
    return err_set(e, RC_FULL, "an undo of %s needs %" PRIu64 " bytes of room beside it",
                   u->s->path, size * copies);
}

static rc restore_copy(struct undo *u, struct store *store, struct copy *c, struct err *e) {
    struct restore_options options = {.target.txid = c->point.txid, .ltx_only = true};
    struct restore_result result;
    rc r = replica_restore(store, c->path, &options, &result, e);
    if (!is_ok(r)) return err_prefix(e, r, "restore point %s", c->point.name);
    return sconn_open_at(u->s, c->path, false, &c->conn, e);
}

static rc restore_copies(struct undo *u, struct err *e) {
    struct store *store;
    TRY(remove_copy(u, &u->before, e)); /* of one that was killed */
    TRY(remove_copy(u, &u->after, e));
    TRY(check_room(u, e));
    TRY(destination_open(u->s->env, u->before.point.url, &store, e));
    rc r = restore_copy(u, store, &u->before, e);
    if (is_ok(r) && !u->discard) r = restore_copy(u, store, &u->after, e);
    store_free(store);
    return r;
}

/* ---- what would be lost ---- */

/* The numbers that applications keep in the header, and how far AUTOINCREMENT has come. */
static rc read_beside(struct sconn *c, int64_t out[3], struct err *e) {
    int64_t there;
    TRY(sconn_int(c, "PRAGMA user_version", &out[0], e));
    TRY(sconn_int(c, "PRAGMA application_id", &out[1], e));
    TRY(sconn_int(c, "SELECT count(*) FROM sqlite_master WHERE name = 'sqlite_sequence'", &there,
                  e));
    out[2] = 0;
    if (!there) return ok();
    return sconn_int(c,
                     "SELECT coalesce(sum(seq), 0) FROM sqlite_sequence"
                     " WHERE name NOT GLOB 'holdfast*'",
                     &out[2], e);
}

/* All of one moment; the version tells whether somebody has committed since. */
static rc read_state(struct sconn *c, struct state *out, int64_t *version, struct err *e) {
    struct shape *shape = NULL;
    int64_t rows;
    TRY(sconn_exec(c, "BEGIN", e));
    rc r = sconn_int(c, "PRAGMA data_version", version, e);
    if (is_ok(r)) r = shape_read(c->db, &shape, e);
    if (is_ok(r)) r = shape_hash(shape, out->shape, e);
    shape_free(shape);
    if (is_ok(r)) r = contents_hash(c->db, out->contents, &rows, e);
    if (is_ok(r)) r = read_beside(c, out->beside, e);
    sconn_rollback(c);
    return r;
}

static bool is_same(const struct state *a, const struct state *b) {
    return strcmp(a->shape, b->shape) == 0 && strcmp(a->contents, b->contents) == 0 &&
           memcmp(a->beside, b->beside, sizeof a->beside) == 0;
}

/* Steps of the run during which somebody else committed. */
static rc count_others(struct undo *u, int64_t *out, struct err *e) {
    char sql[120];
    int64_t there, last = 0;
    const char *is_there = "SELECT count(*) FROM sqlite_master WHERE name = 'holdfast_step'";
    *out = 0;
    TRY(sconn_int(&u->before.conn, is_there, &there, e));
    if (there)
        TRY(sconn_int(&u->before.conn, "SELECT coalesce(max(id), 0) FROM holdfast_step", &last, e));
    TRY(sconn_int(&u->look, is_there, &there, e));
    if (!there) return ok();
    snprintf(sql, sizeof sql,
             "SELECT count(*) FROM holdfast_step WHERE id > %" PRId64 " AND others", last);
    return sconn_int(&u->look, sql, out, e);
}

static rc would_lose(const struct undo *u, const char *what, struct err *e) {
    return err_set(e, RC_CONFLICT,
                   "%s: %s, which would be lost: undo it with what came later (-discard-later)",
                   u->s->path, what);
}

static rc already_there(const struct undo *u, struct err *e) {
    return err_set(e, RC_CONFLICT, "%s has the contents of %s already: there is nothing to undo",
                   u->s->path, u->before.point.name);
}

static rc compare(struct undo *u, int64_t *version, struct err *e) {
    struct state live, after, before;
    int64_t others, ignored;
    TRY(read_state(&u->look, &live, version, e));
    TRY(read_state(&u->after.conn, &after, &ignored, e));
    if (!is_same(&live, &after)) {
        TRY(read_state(&u->before.conn, &before, &ignored, e));
        if (is_same(&live, &before)) return already_there(u, e);
        return would_lose(u, "it was changed after the run", e);
    }
    TRY(count_others(u, &others, e));
    return others || u->after.point.others ? would_lose(u, "others have committed while it ran", e)
                                           : ok();
}

/* Under the write lock. */
static rc compare_again(struct undo *u, int64_t version, struct err *e) {
    int64_t now;
    TRY(sconn_int(&u->look, "PRAGMA data_version", &now, e));
    return now == version ? ok() : compare(u, &version, e);
}

/* ---- what outlives it ---- */

static rc copy_rows(const struct undo *u, sqlite3_stmt *from, sqlite3_stmt *to, struct err *e) {
    int code;
    while ((code = sqlite3_step(from)) == SQLITE_ROW) {
        for (int i = 0; i < sqlite3_column_count(from) && code == SQLITE_ROW; i++)
            if (sqlite3_bind_value(to, i + 1, sqlite3_column_value(from, i)) != SQLITE_OK)
                code = SQLITE_NOMEM;
        if (code == SQLITE_ROW && sqlite3_step(to) != SQLITE_DONE) code = SQLITE_ERROR;
        if (sqlite3_reset(to) != SQLITE_OK || code != SQLITE_ROW) break;
    }
    return code == SQLITE_DONE
               ? ok()
               : err_set(e, RC_IO, "%s: %s", u->before.path, sqlite3_errmsg(sqlite3_db_handle(to)));
}

/* Those who have it open now are not those of before the run. */
static rc keep_clients(struct undo *u, struct err *e) {
    sqlite3_stmt *from = NULL, *to = NULL;
    int64_t there;
    TRY(sconn_int(&u->look, "SELECT count(*) FROM sqlite_master WHERE name = 'holdfast_client'",
                  &there, e));
    if (!there) return ok();
    TRY(sconn_exec(&u->before.conn, CLIENT_TABLE("main") "; DELETE FROM holdfast_client", e));
    int code = sqlite3_prepare_v2(u->look.db, "SELECT " CLIENT_COLUMNS " FROM holdfast_client", -1,
                                  &from, NULL);
    rc r = code == SQLITE_OK ? ok() : sconn_error(&u->look, code, NULL, 0, e);
    if (is_ok(r)) code = sqlite3_prepare_v2(u->before.conn.db, CLIENT_ROW("main"), -1, &to, NULL);
    if (is_ok(r) && code != SQLITE_OK) r = sconn_error(&u->before.conn, code, NULL, 0, e);
    if (is_ok(r)) r = copy_rows(u, from, to, e);
    sqlite3_finalize(from);
    sqlite3_finalize(to);
    return r;
}

static rc keep_in_transaction(struct undo *u, struct err *e) {
    struct step_row row = {.version = strtoll(u->before.point.name + 7, NULL, 10), .step = "undo"};
    TRY(history_prepare(&u->before.conn, e));
    TRY(history_log(&u->before.conn, &row, e));
    return keep_clients(u, e);
}

/* Into the copy that comes back: who is there, and that it came back. */
static rc keep_what_stays(struct undo *u, struct err *e) {
    TRY(sconn_begin(&u->before.conn, e));
    rc r = keep_in_transaction(u, e);
    if (is_ok(r)) return sconn_commit(&u->before.conn, NULL, e);
    sconn_rollback(&u->before.conn);
    return r;
}

/* ---- the one transaction ---- */

static rc step(struct undo *u, int pages, int wanted, struct err *e) {
    int code = sqlite3_backup_step(u->backup, pages);
    if (code == wanted) return ok();
    if (code == SQLITE_READONLY)
        return err_set(e, RC_CONFLICT, "%s has pages of another size than it had before the run",
                       u->s->path);
    if (code == SQLITE_DONE) return err_set(e, RC_CORRUPT, "%s is empty", u->before.path);
    return err_set(e,
                   code == SQLITE_BUSY || code == SQLITE_LOCKED ? RC_BUSY
                   : code == SQLITE_FULL                        ? RC_FULL
                   : code == SQLITE_NOMEM                       ? RC_NOMEM
                                                                : RC_IO,
                   "%s: %s", u->s->path, sqlite3_errstr(code));
}

static rc lock_compare_copy(struct undo *u, int64_t version, struct err *e) {
    struct env *env = u->s->env;
    u->live.deadline_ns = env->mono_ns(env) + u->s->options.lock_ms * 1000000;
    TRY(step(u, 0, SQLITE_OK, e));
    int64_t began = env->mono_ns(env);
    if (!u->discard) TRY(compare_again(u, version, e));
    TRY(step(u, -1, SQLITE_DONE, e));
    u->pages = sqlite3_backup_pagecount(u->backup);
    u->lock_us = (env->mono_ns(env) - began) / 1000;
    return ok();
}

static rc put_back(struct undo *u, int64_t version, struct err *e) {
    u->backup = sqlite3_backup_init(u->live.db, "main", u->before.conn.db, "main");
    if (!u->backup) return sconn_error(&u->live, sqlite3_errcode(u->live.db), NULL, 0, e);
    rc r = lock_compare_copy(u, version, e);
    sqlite3_backup_finish(u->backup); /* rolls back what has not come to its end */
    return r;
}

/* ---- what is told ---- */

/* The versions whose record is another one now, or is gone. */
static json_t *undone(const struct records *was, const struct records *is) {
    json_t *all = json_array();
    bool whole = true;
    for (size_t i = 0; i < was->count; i++) {
        const struct record *now = records_find(is, was->at[i].version);
        if (now && now->phase == was->at[i].phase) continue;
        whole &= !json_array_append_new(all, json_pack("{s:I, s:o, s:s, s:s?}", "version",
                                                       (json_int_t)was->at[i].version, "name",
                                                       json_words(was->at[i].name), "phase",
                                                       phase_name(was->at[i].phase), "now",
                                                       now ? phase_name(now->phase) : NULL));
    }
    if (whole) return all;
    json_decref(all);
    return NULL;
}

/* The versions of noise that were written since: noise has no restore point, and stays. */
static rc noise_stays(const struct undo *u, json_t **out, struct err *e) {
    struct records is = {0};
    struct sconn c;
    bool whole = (*out = json_array()) != NULL;
    if (!u->s->noise[0]) return whole ? ok() : err_set(e, RC_NOMEM, "no memory");
    TRY(sconn_open_reading(u->s, true, &c, e));
    rc r = history_read(c.db, &is, e);
    for (size_t i = 0; i < is.count; i++)
        if (is.at[i].phase_ms >= u->before.point.time_ms)
            whole &= !json_array_append_new(*out, json_integer((json_int_t)is.at[i].version));
    records_deinit(&is);
    sconn_close(&c);
    return is_ok(r) && !whole ? err_set(e, RC_NOMEM, "no memory") : r;
}

static rc tell(const struct undo *u, const struct records *was, json_t *noise, json_t **out,
               struct err *e) {
    struct records is;
    TRY(history_read(u->live.db, &is, e));
    *out =
        json_pack("{s:s, s:o, s:I, s:I, s:b, s:I, s:I, s:O, s:o}", "restore_point",
                  u->before.point.name, "url", json_words(u->before.point.url), "txid",
                  (json_int_t)u->before.point.txid, "time_ms", (json_int_t)u->before.point.time_ms,
                  "discarded", u->discard, "lock_us", (json_int_t)u->lock_us, "pages",
                  (json_int_t)u->pages, "noise_stays", noise, "undone", undone(was, &is));
    records_deinit(&is);
    return *out ? ok() : err_set(e, RC_NOMEM, "no memory");
}

/* ---- the way ---- */

static rc run(struct undo *u, const char *url, json_t **out, struct err *e) {
    struct records was = {0};
    int64_t version = 0;
    json_t *noise = NULL;
    TRY(sconn_open(u->s, false, &u->live, e));
    TRY(sconn_open(u->s, false, &u->look, e));
    TRY(find_points(u, url, e));
    TRY(restore_copies(u, e));
    if (!u->discard) TRY(compare(u, &version, e));
    TRY(history_read(u->look.db, &was, e));
    rc r = noise_stays(u, &noise, e);
    if (is_ok(r)) r = keep_what_stays(u, e);
    if (is_ok(r)) r = put_back(u, version, e);
    if (is_ok(r)) r = tell(u, &was, noise, out, e);
    json_decref(noise);
    records_deinit(&was);
    return r;
}

static rc take_turn(hf_schema *s, struct lock **out, struct err *e) {
    int64_t deadline = s->env->mono_ns(s->env) + s->options.timeout_ms * 1000000;
    TRY(schema_lock(s, out, e));
    return lock_wait(*out, LOCK_TURN, false, deadline, e);
}

rc undo_run(hf_schema *s, const char *url, bool discard, json_t **out, struct err *e) {
    struct undo u = {.s = s, .discard = discard};
    struct lock *lock;
    struct err ignored;
    snprintf(u.before.path, sizeof u.before.path, "%s.holdfast-before", s->path);
    snprintf(u.after.path, sizeof u.after.path, "%s.holdfast-after", s->path);
    TRY(take_turn(s, &lock, e));
    rc r = run(&u, url, out, e);
    sconn_close(&u.live);
    sconn_close(&u.look);
    (void)remove_copy(&u, &u.before, &ignored).code;
    (void)remove_copy(&u, &u.after, &ignored).code;
    lock_release(lock, LOCK_TURN);
    return r;
}
