/* Which programs have the database open: see the header.
 *
 * Why a row and a lock: the lock says who lives, and cannot lie; the row says what he knows, and
 * may be of somebody who is gone.
 *
 * Invariants
 *  1. A slot is taken, and its row written, under the shared gate: whoever holds the gate alone
 *     sees no lock whose row is still to come, and nobody comes in behind his back.
 *  2. One commit for each join, and none after it.
 *  3. What is not known for sure counts as a client that knows nothing.
 *
 * After a crash at any point there is no lock, and perhaps a row that the next in that slot
 * replaces.
 */
#include "schema/clients.h"

#include "os/system.h"
#include "schema/conn.h"
#include "schema/lock.h"
#include "store/internal.h"
#include "store/min_version.h"
#include "store/status.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct presence {
    struct lock *lock;
    hf_store *store;
    int slot;
};

static rc open_lock(hf_schema *s, struct err *e) { /* schema_lock, without the room's handle */
    return s->lock ? ok() : lock_open(s->env, s->path, &s->lock, e);
}

/* ---- to join ---- */

static int64_t deadline(hf_schema *s) {
    return s->env->mono_ns(s->env) + s->options.timeout_ms * 1000000;
}

static rc take_slot(struct lock *l, int *slot, struct err *e) {
    for (int i = 0; i < LOCK_CLIENTS; i++) {
        rc r = lock_take(l, LOCK_CLIENT + i, false, e);
        if (is_ok(r)) *slot = i;
        if (r.code != RC_BUSY) return r;
    }
    return err_set(e, RC_BUSY, "%d programs have the database open: there is no room for another",
                   LOCK_CLIENTS);
}

/* Another process of this machine that still lives, as far as its number tells. Ours is none that
 * was here before: in a container each has the number 1, and the host's name stays. */
static bool may_live(const char *its_host, int64_t pid) {
    char host[100], name[32];
    system_host_name(host, sizeof host);
    if (strcmp(host, its_host) != 0 || pid <= 0 || pid > INT32_MAX) return false;
    if (pid == system_pid()) return false;
    system_process_name((int)pid, name, sizeof name);
    return strcmp(name, "?") != 0;
}

/* SQL's: does the process of a row live? */
static void sql_may_live(sqlite3_context *c, int count, sqlite3_value **values) {
    const char *host = (const char *)sqlite3_value_text(values[0]);
    (void)count;
    sqlite3_result_int(c, host && may_live(host, sqlite3_value_int64(values[1])));
}

/* Rows of another lock file, which was removed, stay for as long as their process does. */
static rc clean(struct sconn *c, const char *lock, struct err *e) {
    sqlite3_create_function(c->db, "holdfast_may_live", 2, SQLITE_UTF8 | SQLITE_DIRECTONLY, NULL,
                            sql_may_live, NULL, NULL);
    char *sql = sqlite3_mprintf("DELETE FROM holdfast_client WHERE lock <> %Q AND NOT"
                                " holdfast_may_live(host, pid)",
                                lock);
    if (!sql) return err_set(e, RC_NOMEM, "no memory");
    rc r = sconn_exec(c, sql, e);
    sqlite3_free(sql);
    return r;
}

static rc put_row(struct sconn *c, int slot, int64_t version, struct err *e) {
    char host[100], lock[LOCK_ID];
    hf_schema *s = c->schema;
    sqlite3_stmt *st = NULL;
    system_host_name(host, sizeof host);
    lock_id(s->lock, lock);
    TRY(sconn_exec(c, CLIENT_TABLE("main"), e));
    TRY(clean(c, lock, e));
    int code = sqlite3_prepare_v2(c->db, CLIENT_ROW("main"), -1, &st, NULL);
    if (code == SQLITE_OK) {
        sqlite3_bind_int(st, 1, slot);
        sqlite3_bind_text(st, 2, s->app, -1, SQLITE_STATIC);
        sqlite3_bind_int64(st, 3, version);
        sqlite3_bind_int(st, 4, system_pid());
        sqlite3_bind_text(st, 5, host, -1, SQLITE_STATIC);
        sqlite3_bind_text(st, 6, lock, -1, SQLITE_STATIC);
        sqlite3_bind_int64(st, 7, s->env->unix_ms(s->env));
        code = sqlite3_step(st);
    }
    rc r = code == SQLITE_DONE ? ok() : sconn_error(c, code, NULL, 0, e);
    sqlite3_finalize(st);
    return r;
}

static rc forget(hf_store *store, rc r) {
    rc ended = store_set_known_schema(store, NULL, -1, NULL);
    ENSURE(is_ok(ended)); /* to end it is always allowed */
    return r;
}

static rc write_row(struct sconn *c, int slot, int64_t version, struct err *e) {
    TRY(sconn_begin(c, e));
    rc r = put_row(c, slot, version, e);
    if (is_ok(r)) return sconn_commit(c, NULL, e);
    sconn_rollback(c);
    return r;
}

static rc check_version(struct sconn *c, int64_t version, struct err *e) {
    return min_version_check(c->db, "main", c->schema->app, version, e);
}

/* Main's schema alone is asked where the row goes to noise. */
static rc check_main(hf_schema *s, int64_t version, struct err *e) {
    struct sconn c;
    TRY(sconn_open_reading(s, false, &c, e));
    rc r = check_version(&c, version, e);
    sconn_close(&c);
    return r;
}

static rc write_and_watch(struct sconn *c, int slot, int64_t version, struct err *e) {
    hf_schema *s = c->schema;
    if (s->store) TRY(store_set_known_schema(s->store, s->app, version, e));
    rc r = write_row(c, slot, version, e);
    if (!is_ok(r) && s->store) r = forget(s->store, r);
    return r;
}

static rc join_in_gate(hf_schema *s, int64_t version, int *slot, struct err *e) {
    struct sconn c;
    bool noise = s->noise[0];
    if (noise) TRY(check_main(s, version, e));
    TRY(sconn_open(s, noise, &c, e));
    rc r = check_version(&c, version, e);
    if (is_ok(r)) r = take_slot(s->lock, slot, e);
    if (is_ok(r)) {
        r = write_and_watch(&c, *slot, version, e);
        if (!is_ok(r)) lock_release(s->lock, LOCK_CLIENT + *slot);
    }
    sconn_close(&c);
    return r;
}

rc clients_join(hf_schema *s, int64_t version, struct presence **out, struct err *e) {
    int slot = 0;
    TRY(open_lock(s, e));
    struct presence *p = calloc(1, sizeof *p);
    if (!p) return err_set(e, RC_NOMEM, "no memory");
    rc r = lock_wait(s->lock, LOCK_GATE, true, deadline(s), e);
    if (is_ok(r)) {
        r = join_in_gate(s, version, &slot, e);
        lock_release(s->lock, LOCK_GATE);
    }
    if (!is_ok(r)) {
        free(p);
        return r;
    }
    *p = (struct presence){s->lock, s->store, slot};
    *out = p;
    return r;
}

void clients_leave(struct presence *p) {
    if (!p) return;
    if (p->store) (void)forget(p->store, ok());
    lock_release(p->lock, LOCK_CLIENT + p->slot);
    free(p);
}

/* ---- who is there ---- */

struct seen {
    struct client *at;
    size_t count, room;
};

static struct client *add(struct seen *all, struct err *e) {
    if (all->count == all->room) {
        size_t room = all->room ? 2 * all->room : 64;
        struct client *more = realloc(all->at, room * sizeof *more);
        if (!more) {
            err_fill(e, RC_NOMEM, "no memory");
            return NULL;
        }
        all->at = more;
        all->room = room;
    }
    struct client *c = &all->at[all->count++];
    *c = (struct client){0};
    return c;
}

static struct client *find_slot(struct seen *all, int slot) {
    for (size_t i = 0; i < all->count; i++)
        if (all->at[i].slot == slot) return &all->at[i];
    return NULL;
}

static void take_text(sqlite3_stmt *st, int i, char *out, size_t size) {
    const char *text = (const char *)sqlite3_column_text(st, i);
    snprintf(out, size, "%s", text ? text : "");
}

/* Of two rows of a slot, main's and noise's, the later one is of who is there now. */
static rc take_row(hf_schema *s, struct seen *all, sqlite3_stmt *st, struct err *e) {
    struct client c = {.slot = sqlite3_column_int(st, 0), .known = true};
    char lock[LOCK_ID], ours[LOCK_ID];
    take_text(st, 1, c.app, sizeof c.app);
    c.version = sqlite3_column_int64(st, 2);
    c.pid = sqlite3_column_int64(st, 3);
    take_text(st, 4, c.host, sizeof c.host);
    c.opened_ms = sqlite3_column_int64(st, 5);
    take_text(st, 6, lock, sizeof lock);
    lock_id(s->lock, ours);
    if (strcmp(lock, ours) != 0) {
        c.slot = -1;
        c.alive = may_live(c.host, c.pid);
    }
    struct client *to = c.slot < 0 ? NULL : find_slot(all, c.slot);
    if (to && to->opened_ms >= c.opened_ms) return ok();
    if (!to && !(to = add(all, e))) return (rc){RC_NOMEM};
    *to = c;
    return ok();
}

static rc read_rows(hf_schema *s, bool noise, struct seen *all, struct err *e) {
    struct sconn c;
    sqlite3_stmt *st = NULL;
    TRY(sconn_open_reading(s, noise, &c, e));
    int code = sqlite3_prepare_v2(c.db,
                                  "SELECT slot, app, version, pid, host, opened_ms, lock FROM"
                                  " holdfast_client",
                                  -1, &st, NULL);
    rc r = ok();
    if (code == SQLITE_OK) {
        while (is_ok(r) && (code = sqlite3_step(st)) == SQLITE_ROW) r = take_row(s, all, st, e);
        if (is_ok(r) && code != SQLITE_DONE) r = sconn_error(&c, code, NULL, 0, e);
    } else if (code != SQLITE_ERROR) { /* that is: no such table */
        r = sconn_error(&c, code, NULL, 0, e);
    }
    sqlite3_finalize(st);
    sconn_close(&c);
    return r;
}

/* Slots that another handle holds, and our own. */
static rc mark_alive(hf_schema *s, struct seen *all, struct err *e) {
    int byte = LOCK_CLIENT, end = LOCK_CLIENT + LOCK_CLIENTS;
    for (;; byte++) {
        TRY(lock_next(s->lock, byte, end, &byte, e));
        if (byte < 0) break;
        struct client *c = find_slot(all, byte - LOCK_CLIENT);
        if (!c && !(c = add(all, e))) return (rc){RC_NOMEM};
        c->slot = byte - LOCK_CLIENT;
        c->alive = true;
    }
    struct client *mine = s->presence ? find_slot(all, s->presence->slot) : NULL;
    if (mine) mine->alive = true;
    return ok();
}

/* A row of another lock file whose process has come again is of one that had its number before. */
static void drop_superseded(struct seen *all) {
    for (size_t i = 0; i < all->count; i++)
        for (size_t j = 0; j < all->count && all->at[i].slot < 0; j++) {
            const struct client *old = &all->at[i], *now = &all->at[j];
            if (now->slot >= 0 && now->alive && now->known && now->pid == old->pid &&
                strcmp(now->host, old->host) == 0)
                all->at[i].alive = false;
        }
}

/* To be freed, also when it fails. */
static rc look(hf_schema *s, struct seen *all, struct err *e) {
    TRY(open_lock(s, e));
    TRY(read_rows(s, false, all, e));
    if (s->noise[0]) TRY(read_rows(s, true, all, e));
    TRY(mark_alive(s, all, e));
    drop_superseded(all);
    return ok();
}

rc clients_each(hf_schema *s, const struct presence *mine,
                rc (*each)(void *, const struct client *, struct err *), void *arg, struct err *e) {
    struct seen all = {0};
    rc r = look(s, &all, e);
    for (size_t i = 0; is_ok(r) && i < all.count; i++)
        if (all.at[i].alive && !(mine && all.at[i].slot == mine->slot))
            r = each(arg, &all.at[i], e);
    free(all.at);
    return r;
}

/* ---- who is in the way ---- */

#define NAMED 3

struct blockers {
    int64_t version;
    size_t count, length;
    char words[ERR_TEXT_MAX / 2];
};

static rc judge(void *arg, const struct client *c, struct err *e) {
    struct blockers *b = arg;
    char one[320];
    (void)e;
    if (c->known && c->slot >= 0 && c->version >= b->version) return ok();
    if (b->count++ >= NAMED) return ok();
    if (!c->known)
        snprintf(one, sizeof one, "a program that is not known (slot %d: its row is missing)",
                 c->slot);
    else
        snprintf(one, sizeof one, "%s (pid %lld on %s) %s %lld", *c->app ? c->app : "a program",
                 (long long)c->pid, c->host,
                 c->slot < 0 ? "may still be there, since the lock file was removed, with"
                             : "knows only",
                 (long long)c->version);
    int n = snprintf(b->words + b->length, sizeof b->words - b->length, "%s%s",
                     b->length ? "; " : "", one);
    b->length +=
        (size_t)n < sizeof b->words - b->length ? (size_t)n : sizeof b->words - b->length - 1;
    return ok();
}

rc clients_check(hf_schema *s, int64_t version, struct err *e) {
    struct blockers b = {.version = version};
    TRY(clients_each(s, s->presence, judge, &b, e));
    if (!b.count) return ok();
    if (b.count <= NAMED) return err_set(e, RC_CONFLICT, "%s", b.words);
    return err_set(e, RC_CONFLICT, "%s; and %zu more", b.words, b.count - NAMED);
}

/* ---- for people ---- */

static json_t *client_json(const struct client *c) {
    if (!c->known)
        return json_pack("{s:i, s:n, s:n, s:n, s:n, s:n, s:b}", "slot", c->slot, "app", "version",
                         "pid", "host", "opened_ms", "alive", 1);
    return json_pack("{s:o, s:o, s:I, s:I, s:o, s:I, s:b}", "slot",
                     c->slot < 0 ? json_null() : json_integer(c->slot), "app", json_words(c->app),
                     "version", (json_int_t)c->version, "pid", (json_int_t)c->pid, "host",
                     json_words(c->host), "opened_ms", (json_int_t)c->opened_ms, "alive",
                     (int)c->alive);
}

static int by_slot(const void *a, const void *b) {
    return ((const struct client *)a)->slot - ((const struct client *)b)->slot;
}

rc clients_json(hf_schema *s, json_t **out, struct err *e) {
    struct seen all = {0};
    json_t *list = json_array();
    bool whole = list != NULL;
    rc r = look(s, &all, e);
    if (is_ok(r) && all.count) qsort(all.at, all.count, sizeof *all.at, by_slot);
    for (size_t i = 0; is_ok(r) && i < all.count; i++)
        whole &= !json_array_append_new(list, client_json(&all.at[i]));
    free(all.at);
    if (is_ok(r) && !whole) r = err_set(e, RC_NOMEM, "no memory");
    if (is_ok(r)) *out = list;
    else json_decref(list);
    return r;
}
