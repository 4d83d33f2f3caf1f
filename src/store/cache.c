/* Statements that stay prepared, found by their text. Those least used lately go first.
 *
 * Invariant: a statement that is in use is in no list of the cache but its bucket's count: it is
 * taken out whole, and put back when it is given back. So the same text, asked for again meanwhile,
 * is prepared a second time, and nothing in use is ever thrown out.
 */
#include "store/parts.h"

#include <stdlib.h>
#include <string.h>

uint32_t text_hash(const char *sql) {
    uint32_t h = 2166136261u; /* FNV-1a */
    for (; *sql; sql++) h = (h ^ (unsigned char)*sql) * 16777619u;
    return h;
}

static void take_out(struct cache *c, struct stmt *s) {
    struct stmt **at = &c->buckets[s->hash % CACHE_BUCKETS];
    while (*at != s) at = &(*at)->next_hash;
    *at = s->next_hash;
    if (s->older) s->older->newer = s->newer;
    else c->oldest = s->newer;
    if (s->newer) s->newer->older = s->older;
    else c->newest = s->older;
    s->older = s->newer = s->next_hash = NULL;
    c->count--;
}

static void free_stmt(struct stmt *s) {
    sqlite3_finalize(s->it);
    free(s->sql);
    free(s);
}

static bool is_end(struct conn *c, const char *tail) {
    sqlite3_stmt *more = NULL;
    bool was = c->own;
    c->own = true; /* whether it may run is not the question */
    int code = sqlite3_prepare_v2(c->db, tail, -1, &more, NULL);
    c->own = was;
    sqlite3_finalize(more);
    return code == SQLITE_OK && !more;
}

static rc prepare(struct conn *c, struct stmt *s, struct err *e) {
    const char *tail = NULL;
    bool was = c->own;
    c->own |= s->own;
    c->denied = NULL;
    int code = sqlite3_prepare_v3(c->db, s->sql, -1, SQLITE_PREPARE_PERSISTENT, &s->it, &tail);
    rc r = code == SQLITE_OK ? ok() : conn_error(c, code, s->sql, e);
    c->own = was;
    TRY(r);
    if (!s->it) return err_set(e, RC_USAGE, "\"%s\" is no statement", s->sql);
    if (*tail && !is_end(c, tail))
        return err_set(e, RC_USAGE, "%s: more than one statement: use hf_exec", s->sql);
    return ok();
}

static rc make(struct conn *c, const char *sql, uint32_t hash, bool own, struct stmt **out,
               struct err *e) {
    struct stmt *s = calloc(1, sizeof *s);
    if (s) s->sql = strdup(sql);
    if (!s || !s->sql) {
        free(s);
        return err_set(e, RC_NOMEM, "no memory for a statement");
    }
    s->hash = hash;
    s->own = own;
    rc r = prepare(c, s, e);
    if (is_ok(r)) *out = s;
    else free_stmt(s);
    return r;
}

rc cache_get(struct conn *c, const char *sql, bool own, struct stmt **out, struct err *e) {
    uint32_t hash = text_hash(sql);
    struct stmt *s = c->cache.buckets[hash % CACHE_BUCKETS];
    while (s && (s->hash != hash || s->own != own || strcmp(s->sql, sql) != 0)) s = s->next_hash;
    if (!s) return make(c, sql, hash, own, out, e);
    take_out(&c->cache, s);
    *out = s;
    return ok();
}

void cache_put(struct conn *conn, struct stmt *s) {
    struct cache *c = &conn->cache;
    struct stmt **bucket = &c->buckets[s->hash % CACHE_BUCKETS];
    sqlite3_reset(s->it);
    sqlite3_clear_bindings(s->it);
    s->next_hash = *bucket;
    *bucket = s;
    s->older = c->newest;
    if (c->newest) c->newest->newer = s;
    else c->oldest = s;
    c->newest = s;
    if (++c->count <= CACHE_MAX) return;
    s = c->oldest;
    take_out(c, s);
    free_stmt(s);
}

void cache_clear(struct conn *conn) {
    for (struct stmt *s; (s = conn->cache.oldest);) {
        take_out(&conn->cache, s);
        free_stmt(s);
    }
}
