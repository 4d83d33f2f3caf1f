/* A store in memory: what the others promise, and nothing else. For tests and simulations.
 *
 * Why a sorted array: it is small, its lists come in an order that a failing test repeats, and a
 * million puts are not what it is for.
 *
 * Invariants:
 * 1. Objects are sorted by key, keys are unique.
 * 2. No callback runs under the lock: what it is told is a copy.
 * 3. The clock is asked only for notes; all other times are the caller's.
 */
#include "store/mem.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "object/key.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT_UPLOAD (4ull << 30)

struct object {
    char *key;
    uint8_t *bytes;
    size_t size;
    int64_t time_ms;
};

struct mem_store {
    struct store store; /* first */
    pthread_mutex_t lock;
    /* guarded by lock */
    struct object *objects;
    size_t count, capacity;
};

struct mem_upload {
    struct mem_store *mem;
    struct buf bytes;
    char key[LIMIT_KEY];
};

static void object_deinit(struct object *o) {
    free(o->key);
    free(o->bytes);
}

static rc object_init(struct object *o, const char *key, const void *bytes, size_t size,
                      int64_t time_ms, struct err *e) {
    *o = (struct object){strdup(key), malloc(size + 1), size, time_ms};
    if (!o->key || !o->bytes) {
        object_deinit(o);
        return err_set(e, RC_NOMEM, "put %s: no memory", key);
    }
    if (size) memcpy(o->bytes, bytes, size);
    return ok();
}

/* The place of the first key that is not before `key`; whether it is `key`. */
static bool find_locked(const struct mem_store *m, const char *key, size_t *at) {
    size_t low = 0, high = m->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (strcmp(m->objects[mid].key, key) < 0) low = mid + 1;
        else high = mid;
    }
    *at = low;
    return low < m->count && strcmp(m->objects[low].key, key) == 0;
}

static rc grow_locked(struct mem_store *m, struct err *e) {
    if (m->count < m->capacity) return ok();
    size_t capacity = m->capacity ? m->capacity * 2 : 64;
    struct object *objects = realloc(m->objects, capacity * sizeof *objects);
    if (!objects) return err_set(e, RC_NOMEM, "%zu objects: no memory", capacity);
    m->objects = objects;
    m->capacity = capacity;
    return ok();
}

/* Takes `o` when it succeeds. */
static rc insert_locked(struct mem_store *m, const struct object *o, bool replace, struct err *e) {
    size_t at;
    if (find_locked(m, o->key, &at)) {
        if (!replace) return err_set(e, RC_CONFLICT, "put %s: it exists", o->key);
        object_deinit(&m->objects[at]);
        m->objects[at] = *o;
        return ok();
    }
    TRY(grow_locked(m, e));
    memmove(&m->objects[at + 1], &m->objects[at], (m->count - at) * sizeof *o);
    m->objects[at] = *o;
    m->count++;
    return ok();
}

static rc insert(struct mem_store *m, const char *key, const void *bytes, size_t size,
                 int64_t time_ms, bool replace, struct err *e) {
    struct object o;
    TRY(key_check(key, e));
    TRY(object_init(&o, key, bytes, size, time_ms, e));
    pthread_mutex_lock(&m->lock);
    rc r = insert_locked(m, &o, replace, e);
    pthread_mutex_unlock(&m->lock);
    if (!is_ok(r)) object_deinit(&o);
    return r;
}

static rc mem_put(struct store *s, const char *key, const void *bytes, size_t size, int64_t time_ms,
                  struct err *e) {
    return insert((struct mem_store *)s, key, bytes, size, time_ms, false, e);
}

static rc mem_put_note(struct store *s, const char *key, const void *bytes, size_t size,
                       struct err *e) {
    return insert((struct mem_store *)s, key, bytes, size, s->env->unix_ms(s->env), true, e);
}

static rc get_locked(const struct mem_store *m, const char *key, uint64_t at, void *buf, size_t n,
                     struct err *e) {
    size_t i;
    if (!find_locked(m, key, &i)) return err_set(e, RC_NOTFOUND, "get %s: not there", key);
    const struct object *o = &m->objects[i];
    if (at > o->size || n > o->size - at)
        return err_set(e, RC_CORRUPT, "get %s: ends at byte %zu", key, o->size);
    if (n) memcpy(buf, o->bytes + at, n);
    return ok();
}

static rc mem_get(struct store *s, const char *key, uint64_t at, void *buf, size_t n,
                  struct err *e) {
    struct mem_store *m = (struct mem_store *)s;
    TRY(key_check(key, e));
    pthread_mutex_lock(&m->lock);
    rc r = get_locked(m, key, at, buf, n, e);
    pthread_mutex_unlock(&m->lock);
    return r;
}

static rc mem_stat(struct store *s, const char *key, struct object_info *out, struct err *e) {
    struct mem_store *m = (struct mem_store *)s;
    size_t i;
    TRY(key_check(key, e));
    pthread_mutex_lock(&m->lock);
    bool found = find_locked(m, key, &i);
    if (found)
        *out = (struct object_info){key_name(key), m->objects[i].size, m->objects[i].time_ms};
    pthread_mutex_unlock(&m->lock);
    return found ? ok() : err_set(e, RC_NOTFOUND, "stat %s: not there", key);
}

/* The name of `key` if it stands directly below `dir`, or NULL. */
static const char *name_below(const char *key, const char *dir) {
    size_t n = strlen(dir);
    if (strncmp(key, dir, n) != 0 || (n && key[n++] != '/')) return NULL;
    return strchr(key + n, '/') ? NULL : key + n;
}

struct listing {
    struct object_info *infos;
    size_t count;
};

static void listing_deinit(struct listing *l) {
    for (size_t i = 0; i < l->count; i++) free((char *)l->infos[i].name);
    free(l->infos);
}

static bool copy_locked(const struct mem_store *m, const char *dir, struct listing *out) {
    out->infos = malloc((m->count + 1) * sizeof *out->infos);
    if (!out->infos) return false;
    for (size_t i = 0; i < m->count; i++) {
        const struct object *o = &m->objects[i];
        const char *name = name_below(o->key, dir);
        if (!name) continue;
        if (!(name = strdup(name))) return false;
        out->infos[out->count++] = (struct object_info){name, o->size, o->time_ms};
    }
    return true;
}

static rc mem_list(struct store *s, const char *dir,
                   rc (*each)(void *, const struct object_info *, struct err *), void *arg,
                   struct err *e) {
    struct mem_store *m = (struct mem_store *)s;
    AUTO(listing_deinit) struct listing l = {0};
    TRY(key_check_dir(dir, e));
    pthread_mutex_lock(&m->lock);
    bool copied = copy_locked(m, dir, &l);
    pthread_mutex_unlock(&m->lock);
    if (!copied) return err_set(e, RC_NOMEM, "list %s: no memory", dir);
    for (size_t i = 0; i < l.count; i++) TRY(each(arg, &l.infos[i], e));
    return ok();
}

/* Whether `key` stands deeper below `dir`, and then the part of it that is directly below. */
static bool dir_below(const char *key, const char *dir, char out[LIMIT_KEY]) {
    size_t n = strlen(dir);
    if (strncmp(key, dir, n) != 0 || (n && key[n++] != '/')) return false;
    const char *slash = strchr(key + n, '/');
    if (slash) snprintf(out, LIMIT_KEY, "%.*s", (int)(slash - key - (ptrdiff_t)n), key + n);
    return slash != NULL;
}

/* Finds the first one after `last`, by name, or returns false. */
static bool next_dir(struct mem_store *m, const char *dir, char last[LIMIT_KEY]) {
    char name[LIMIT_KEY], best[LIMIT_KEY] = "";
    pthread_mutex_lock(&m->lock);
    for (size_t i = 0; i < m->count; i++)
        if (dir_below(m->objects[i].key, dir, name) && strcmp(name, last) > 0 &&
            (!*best || strcmp(name, best) < 0))
            memcpy(best, name, sizeof best);
    pthread_mutex_unlock(&m->lock);
    memcpy(last, best, sizeof best);
    return *best;
}

static rc mem_list_dirs(struct store *s, const char *dir,
                        rc (*each)(void *, const char *name, struct err *), void *arg,
                        struct err *e) {
    char name[LIMIT_KEY] = "";
    TRY(key_check_dir(dir, e));
    while (next_dir((struct mem_store *)s, dir, name)) TRY(each(arg, name, e));
    return ok();
}

static rc mem_remove(struct store *s, const char *key, struct err *e) {
    struct mem_store *m = (struct mem_store *)s;
    size_t i;
    TRY(key_check(key, e));
    pthread_mutex_lock(&m->lock);
    if (find_locked(m, key, &i)) {
        object_deinit(&m->objects[i]);
        m->count--;
        memmove(&m->objects[i], &m->objects[i + 1], (m->count - i) * sizeof *m->objects);
    }
    pthread_mutex_unlock(&m->lock);
    return ok();
}

static void mem_upload_abort(struct object_upload *upload) {
    struct mem_upload *u = (struct mem_upload *)upload;
    if (!u) return;
    buf_deinit(&u->bytes);
    free(u);
}

static rc mem_upload_open(struct store *s, const char *key, uint64_t size_most,
                          struct object_upload **out, struct err *e) {
    (void)size_most;
    TRY(key_check(key, e));
    struct mem_upload *u = calloc(1, sizeof *u);
    if (!u) return err_set(e, RC_NOMEM, "put %s: no memory", key);
    u->mem = (struct mem_store *)s;
    buf_init(&u->bytes, LIMIT_UPLOAD);
    snprintf(u->key, sizeof u->key, "%s", key);
    *out = (struct object_upload *)u;
    return ok();
}

static rc mem_upload_write(struct object_upload *upload, const void *bytes, size_t n,
                           struct err *e) {
    struct mem_upload *u = (struct mem_upload *)upload;
    buf_put(&u->bytes, bytes, n);
    return buf_check(&u->bytes, u->key, e);
}

static rc mem_upload_commit(struct object_upload *upload, int64_t time_ms, struct err *e) {
    struct mem_upload *u = (struct mem_upload *)upload;
    rc r = buf_check(&u->bytes, u->key, e);
    if (is_ok(r)) r = insert(u->mem, u->key, u->bytes.bytes, u->bytes.size, time_ms, false, e);
    mem_upload_abort(upload);
    return r;
}

static void mem_free(struct store *s) {
    struct mem_store *m = (struct mem_store *)s;
    for (size_t i = 0; i < m->count; i++) object_deinit(&m->objects[i]);
    free(m->objects);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

static const struct store_ops mem_ops = {
    .put = mem_put,
    .put_note = mem_put_note,
    .get = mem_get,
    .stat = mem_stat,
    .list = mem_list,
    .list_dirs = mem_list_dirs,
    .remove = mem_remove,
    .upload_open = mem_upload_open,
    .upload_write = mem_upload_write,
    .upload_commit = mem_upload_commit,
    .upload_abort = mem_upload_abort,
    .free = mem_free,
};

rc store_new_mem(struct env *env, struct store **out, struct err *e) {
    struct mem_store *m = calloc(1, sizeof *m);
    if (!m) return err_set(e, RC_NOMEM, "no memory for a store");
    m->store = (struct store){.ops = &mem_ops, .env = env, .layout = LAYOUT_LTX, .url = "mem:"};
    pthread_mutex_init(&m->lock, NULL);
    *out = &m->store;
    return ok();
}
