/* Object stores of the simulator: what they hold is exact, how they answer is not.
 *
 * A request is sent, applied and answered at three moments; a process may die, or be fenced, in
 * between, and what was sent is applied all the same. Faults, per request:
 *
 *     refuse      nothing was done                                             RC_RETRY
 *     lose        it never arrived                                             RC_TIMEOUT
 *     lose_reply  it was done                                                  RC_TIMEOUT, RC_RETRY
 *     late        it is done minutes after the client gave up                  RC_TIMEOUT
 *     twice       it is done, and once more minutes later                      as the first
 *     conflict    a create was done, and repeated below us: 412 to our own     RC_CONFLICT
 *     cut         a read or a list breaks off in the middle                    RC_RETRY
 *     stale       a list hides the newest objects and shows deleted ones
 *     slow        it takes seconds
 *
 * Invariants
 *  1. put creates and never replaces, however late: what S3, and a link(2), promise.
 *  2. Lists are complete unless stale; never in order, some names twice.
 */
#include "replication_hosts.h"

#include "object/key.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STALE_NS (20 * SECOND) /* and less than a name lasts that retention frees */
#define LATE_NS (20 * MINUTE)

struct bucket buckets[BUCKETS];
int bucket_count;
struct faults faults;

struct client {
    struct store store; /* first */
    struct bucket *bucket;
    struct life *life;
};

/* ---- what it holds ---- */

struct object *bucket_find(struct bucket *b, const char *key) {
    for (size_t i = 0; i < b->count; i++)
        if (!b->objects[i].gone_ns && strcmp(b->objects[i].key, key) == 0) return &b->objects[i];
    return NULL;
}

static void object_deinit(struct object *o) {
    free(o->bytes);
    free(o->pages);
}

void bucket_deinit(struct bucket *b) {
    for (size_t i = 0; i < b->count; i++) object_deinit(&b->objects[i]);
    free(b->objects);
    free(b->slots);
    *b = (struct bucket){0};
}

static void create(struct bucket *b, const char *key, const void *bytes, size_t size,
                   int64_t time_ms, int64_t sender_ns) {
    if (b->count == b->capacity) {
        b->capacity = b->capacity ? b->capacity * 2 : 64;
        b->objects = realloc(b->objects, b->capacity * sizeof *b->objects);
        ENSURE(b->objects);
    }
    struct object *o = &b->objects[b->count++];
    *o = (struct object){
        .bytes = malloc(size + 1), .size = size, .time_ms = time_ms, .born_ns = now_ns};
    ENSURE(o->bytes && strlen(key) < sizeof o->key);
    snprintf(o->key, sizeof o->key, "%s", key);
    memcpy(o->bytes, bytes, size);
    o->sender_ns = sender_ns;
    oracle_object(b, o);
    for (size_t i = 0; i + 1 < b->count && o->ltx; i++)
        if (strcmp(b->objects[i].key, key) == 0) b->untidy = true;
}

static void delete (struct bucket *b, const char *key) {
    struct object *o = bucket_find(b, key);
    if (o) o->gone_ns = now_ns;
    oracle_removed(b, key);
}

static bool directly_below(const char *key, const char *dir, const char **name) {
    size_t n = strlen(dir);
    if (strncmp(key, dir, n) != 0 || (n && key[n++] != '/')) return false;
    *name = key + n;
    return strchr(key + n, '/') == NULL;
}

void bucket_list(const struct bucket *b, struct listing *out) {
    struct err e;
    for (size_t i = 0; i < b->count; i++)
        if (!b->objects[i].gone_ns && b->objects[i].ltx)
            ENSURE(is_ok(listing_add(out, b->objects[i].file, &e)));
}

/* ---- requests ---- */

enum verb { PUT, NOTE, GET, STAT, LIST, DELETE };
static const char *const verbs[] = {"put", "note", "get", "stat", "list", "delete"};

enum fate { FINE, REFUSED, LOST, REPLY_LOST, LATE, TWICE, OWN_CONFLICT, CUT, STALE };
static const char *const fates[] = {"",       " refused",      " lost", " reply lost", " late",
                                    " twice", " own conflict", " cut",  " stale"};

/* Owned by the network until it is done, and by the client until that knows. */
struct request {
    struct bucket *bucket;
    enum verb verb;
    char key[KEY_SIZE];
    uint8_t *bytes;
    size_t size;
    int64_t time_ms;
    rc result;
    int64_t sender_ns;
    int owners;
    bool late;
};

static void let_go(struct request *q) {
    if (--q->owners) return;
    free(q->bytes);
    free(q);
}

static void apply(void *arg) {
    struct request *q = arg;
    struct object *there = bucket_find(q->bucket, q->key);
    q->result = ok();
    if (q->verb == PUT && there) {
        q->result = (rc){RC_CONFLICT};
        count.conflicts++;
    }
    trace("  %s %s %s: %s", q->bucket->name, verbs[q->verb], q->key, rc_name(q->result.code));
    if (q->verb == NOTE && there) there->gone_ns = now_ns;
    q->bucket->late = q->late;
    if (q->verb == DELETE) delete (q->bucket, q->key);
    else if (is_ok(q->result))
        create(q->bucket, q->key, q->bytes, q->size, q->time_ms, q->sender_ns);
    q->bucket->late = false;
    q->bucket->untidy |= q->late && is_ok(q->result);
    let_go(q);
}

/* The same bytes once more, long after its sender was answered. */
static void apply_again(void *arg) {
    ((struct request *)arg)->late = true;
    apply(arg);
}

static enum fate fate_of(struct client *c, enum verb verb) {
    const struct faults *f = &faults;
    bool changes = verb == PUT || verb == NOTE || verb == DELETE;
    if (!c->life || c->life->calm) return FINE;
    if (f->outage) return chance(700) ? REFUSED : LOST;
    if (chance(f->refuse)) return REFUSED;
    if (chance(f->lose)) return LOST;
    if (changes && chance(f->lose_reply)) return REPLY_LOST;
    if (verb == PUT && chance(f->late)) return LATE;
    if (verb == PUT && chance(f->twice)) return TWICE;
    if (verb == PUT && chance(f->conflict)) return OWN_CONFLICT;
    if ((verb == GET || verb == LIST) && chance(f->cut)) return CUT;
    if (verb == LIST && chance(f->stale)) return STALE;
    return FINE;
}

static rc failed(enum rc_code code, enum verb verb, const char *key, struct err *e) {
    return err_set(e, code, "%s %s: injected fault", verbs[verb], key);
}

static int64_t delay(void) {
    return chance(faults.slow) ? between(SECOND, 20 * SECOND) : between(MS / 2, 30 * MS);
}

static void pass_time(struct client *c, int64_t ns) {
    if (c->life) co_sleep(ns);
}

/* Sent; from here on it can be seen. FINE: go on. */
static enum fate send(struct client *c, enum verb verb, const char *key, rc *r, struct err *e) {
    enum fate fate = fate_of(c, verb);
    if (!c->life) return FINE;
    if (atomic_load(&c->store.abandoned)) {
        *r = failed(RC_TIMEOUT, verb, key, e);
        return LOST;
    }
    effect(c->life, verbs[verb]);
    count.calls++;
    c->life->calls++;
    count.faults += fate != FINE;
    trace("%s: %s %s %s%s", c->life->machine->name, c->bucket->name, verbs[verb], key, fates[fate]);
    if (fate != REFUSED && fate != LOST) return fate;
    pass_time(c, fate == LOST ? between(5 * SECOND, 30 * SECOND) : delay());
    *r = failed(fate == LOST ? RC_TIMEOUT : RC_RETRY, verb, key, e);
    effect(c->life, "answered");
    return fate;
}

static struct client *client_of(struct store *s) {
    return (struct client *)s;
}

struct bucket *bucket_of(const struct store *s) {
    return ((const struct client *)s)->bucket;
}

/* A request that changes something. */
static rc change(struct store *s, enum verb verb, const char *key, const void *bytes, size_t size,
                 int64_t time_ms, struct err *e) {
    struct client *c = client_of(s);
    rc r = ok();
    TRY(key_check(key, e));
    enum fate fate = send(c, verb, key, &r, e);
    if (fate == REFUSED || fate == LOST) return r;
    struct request *q = calloc(1, sizeof *q);
    ENSURE(q && strlen(key) < sizeof q->key && (q->bytes = malloc(size + 1)) != NULL);
    q->bucket = c->bucket;
    q->verb = verb;
    snprintf(q->key, sizeof q->key, "%s", key);
    if (size) memcpy(q->bytes, bytes, size);
    q->size = size;
    q->time_ms = time_ms;
    q->sender_ns = c->life ? c->life->born_ns : 0;
    q->owners = fate == TWICE ? 3 : 2;
    int64_t there = now_ns + delay();
    if (fate == LATE) {
        q->late = true;
        count.lates++;
        there = now_ns + between(30 * SECOND, LATE_NS);
    }
    if (!c->life) apply(q);
    else at(there, apply, q);
    if (fate == TWICE) at(there + between(SECOND, LATE_NS), apply_again, q);
    if (fate == LATE || fate == REPLY_LOST) pass_time(c, between(5 * SECOND, 30 * SECOND));
    else pass_time(c, there - now_ns + delay());
    r = fate == LATE || (fate == REPLY_LOST && chance(500)) ? failed(RC_TIMEOUT, verb, key, e)
        : fate == REPLY_LOST                                ? failed(RC_RETRY, verb, key, e)
        : fate == OWN_CONFLICT || q->result.code == RC_CONFLICT
            ? err_set(e, RC_CONFLICT, "put %s: it exists", key)
            : ok();
    let_go(q);
    effect(c->life, "answered");
    return r;
}

static rc sim_put(struct store *s, const char *key, const void *bytes, size_t size, int64_t time_ms,
                  struct err *e) {
    for (int i = 0; i < host_count; i++) note_cuts(hosts[i].run); /* a step may still sleep */
    return change(s, PUT, key, bytes, size, time_ms, e);
}

static rc sim_put_note(struct store *s, const char *key, const void *bytes, size_t size,
                       struct err *e) {
    return change(s, NOTE, key, bytes, size, s->env->unix_ms(s->env), e);
}

static rc sim_remove(struct store *s, const char *key, struct err *e) {
    return change(s, DELETE, key, "", 0, 0, e);
}

static rc read_now(struct bucket *b, const char *key, uint64_t at, void *buf, size_t n,
                   struct err *e) {
    const struct object *o = bucket_find(b, key);
    if (!o) return err_set(e, RC_NOTFOUND, "get %s: not there", key);
    if (at > o->size || n > o->size - at)
        return err_set(e, RC_CORRUPT, "get %s: ends at byte %zu", key, o->size);
    if (n) memcpy(buf, o->bytes + at, n);
    return ok();
}

static rc sim_get(struct store *s, const char *key, uint64_t at, void *buf, size_t n,
                  struct err *e) {
    struct client *c = client_of(s);
    rc r = ok();
    TRY(key_check(key, e));
    enum fate fate = send(c, GET, key, &r, e);
    if (fate == REFUSED || fate == LOST) return r;
    pass_time(c, delay());
    r = fate == CUT ? failed(RC_RETRY, GET, key, e) : read_now(c->bucket, key, at, buf, n, e);
    if (fate == CUT) (void)read_now(c->bucket, key, at, buf, n / 2, NULL).code;
    pass_time(c, delay());
    effect(c->life, "answered");
    return r;
}

static rc sim_stat(struct store *s, const char *key, struct object_info *out, struct err *e) {
    struct client *c = client_of(s);
    rc r = ok();
    TRY(key_check(key, e));
    enum fate fate = send(c, STAT, key, &r, e);
    if (fate == REFUSED || fate == LOST) return r;
    pass_time(c, delay());
    const struct object *o = bucket_find(c->bucket, key);
    if (o) *out = (struct object_info){strrchr(o->key, '/') + 1, o->size, o->time_ms};
    else r = err_set(e, RC_NOTFOUND, "stat %s: not there", key);
    pass_time(c, delay());
    effect(c->life, "answered");
    return r;
}

/* ---- lists ---- */

struct entry {
    char name[KEY_SIZE];
    uint64_t size;
    int64_t time_ms;
};

/* As a store that is not consistent at once may have seen it. */
static bool is_seen(const struct object *o, int64_t hidden_from, int64_t shown_from) {
    if (o->born_ns >= hidden_from) return false;
    return !o->gone_ns || o->gone_ns >= shown_from;
}

static struct entry *collect(struct client *c, const char *dir, bool deep, enum fate fate,
                             size_t *n) {
    const struct bucket *b = c->bucket;
    int64_t lasts = promised.level0_ms * (SECOND / 1000) / 2;
    int64_t oldest = lasts < STALE_NS ? lasts : STALE_NS;
    int64_t hidden = fate == STALE ? now_ns - between(0, oldest) : INT64_MAX;
    int64_t shown = fate == STALE && chance(500) ? hidden : INT64_MAX;
    struct entry *out = malloc((2 * b->count + 1) * sizeof *out);
    ENSURE(out);
    *n = 0;
    count.lists_stale += fate == STALE;
    for (size_t i = 0; i < b->count; i++) {
        const struct object *o = &b->objects[i];
        const char *name = o->key;
        if (!is_seen(o, hidden, shown)) continue;
        if (deep ? strncmp(o->key, dir, strlen(dir)) != 0 : !directly_below(o->key, dir, &name))
            continue;
        for (int twice = c->life && chance(20) ? 2 : 1; twice > 0; twice--) {
            out[*n] = (struct entry){.size = o->size, .time_ms = o->time_ms};
            snprintf(out[(*n)++].name, KEY_SIZE, "%s", name);
        }
    }
    for (size_t i = *n; i > 1; i--) {
        size_t k = c->life ? below((uint32_t)i) : i - 1;
        struct entry swap = out[i - 1];
        out[i - 1] = out[k];
        out[k] = swap;
    }
    return out;
}

static rc list(struct store *s, const char *dir, bool deep,
               rc (*each)(void *, const struct object_info *, struct err *), void *arg,
               struct err *e) {
    struct client *c = client_of(s);
    rc r = ok();
    size_t n;
    enum fate fate = send(c, LIST, dir, &r, e);
    if (fate == REFUSED || fate == LOST) return r;
    pass_time(c, delay());
    struct entry *found = collect(c, dir, deep, fate, &n);
    size_t upto = fate == CUT ? n / 2 : n;
    for (size_t i = 0; i < upto && is_ok(r); i++)
        r = each(arg, &(struct object_info){found[i].name, found[i].size, found[i].time_ms}, e);
    free(found);
    if (fate == CUT && is_ok(r)) r = failed(RC_RETRY, LIST, dir, e);
    count.lists_torn += fate == CUT;
    pass_time(c, delay());
    effect(c->life, "answered");
    return r;
}

static rc sim_list(struct store *s, const char *dir,
                   rc (*each)(void *, const struct object_info *, struct err *), void *arg,
                   struct err *e) {
    TRY(key_check_dir(dir, e));
    return list(s, dir, false, each, arg, e);
}

static rc sim_list_keys(struct store *s, const char *prefix,
                        rc (*each)(void *, const struct object_info *, struct err *), void *arg,
                        struct err *e) {
    return list(s, prefix, true, each, arg, e);
}

/* The next part of a key that lies deeper below `dir`. */
static bool dir_below(const char *key, const char *dir, char out[KEY_SIZE]) {
    size_t n = strlen(dir);
    if (strncmp(key, dir, n) != 0 || (n && key[n++] != '/')) return false;
    snprintf(out, KEY_SIZE, "%.*s", (int)strcspn(key + n, "/"), key + n);
    return strchr(key + n, '/') != NULL;
}

static rc sim_list_dirs(struct store *s, const char *dir,
                        rc (*each)(void *, const char *name, struct err *), void *arg,
                        struct err *e) {
    struct client *c = client_of(s);
    rc r = ok();
    char name[KEY_SIZE], before[KEY_SIZE];
    size_t n;
    enum fate fate = send(c, LIST, dir, &r, e);
    if (fate == REFUSED || fate == LOST) return r;
    pass_time(c, delay());
    struct entry *found = collect(c, "", true, fate, &n);
    size_t upto = fate == CUT ? n / 2 : n;
    for (size_t i = 0; i < upto && is_ok(r); i++) {
        bool new = dir_below(found[i].name, dir, name);
        for (size_t k = 0; k < i && new; k++)
            new = !dir_below(found[k].name, dir, before) || strcmp(name, before) != 0;
        if (new) r = each(arg, name, e);
    }
    free(found);
    if (fate == CUT && is_ok(r)) r = failed(RC_RETRY, LIST, dir, e);
    effect(c->life, "answered");
    return r;
}

static void sim_free(struct store *s) {
    free(s);
}

/* No uploads in pieces: they begin at 8 MiB. */
static const struct store_ops ltx_ops = {.put = sim_put,
                                         .put_note = sim_put_note,
                                         .get = sim_get,
                                         .stat = sim_stat,
                                         .list = sim_list,
                                         .list_dirs = sim_list_dirs,
                                         .remove = sim_remove,
                                         .free = sim_free};

struct store *bucket_open(struct bucket *b, struct life *life, struct env *env) {
    static struct store_ops bucket_ops;
    struct client *c = calloc(1, sizeof *c);
    ENSURE(c);
    bucket_ops = ltx_ops;
    bucket_ops.list_keys = sim_list_keys;
    bool is_bucket = b->layout == LAYOUT_BUCKET;
    c->store = (struct store){.ops = is_bucket ? &bucket_ops : &ltx_ops,
                              .env = env,
                              .layout = b->layout,
                              .probe = is_bucket};
    snprintf(c->store.url, sizeof c->store.url, "sim://%s", b->name);
    snprintf(c->store.given, sizeof c->store.given, "sim://key:%s@%s", SECRET, b->name);
    c->bucket = b;
    c->life = life;
    return &c->store;
}

/* Some parts of the product open what they were given once more. */
rc __real_store_open(struct env *env, const char *url, struct store **out, struct err *e);
rc __wrap_store_open(struct env *env, const char *url, struct store **out, struct err *e);
rc __wrap_store_open(struct env *env, const char *url, struct store **out, struct err *e) {
    for (int i = 0; i < bucket_count; i++) {
        if (strncmp(url, "sim://", 6) != 0 || strcmp(url + 6, buckets[i].name) != 0) continue;
        *out = bucket_open(&buckets[i], co_life(), env);
        return ok();
    }
    return __real_store_open(env, url, out, e);
}
