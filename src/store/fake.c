/* A destination that does as it is told, for the tests of applications.
 *
 * It is a store in memory behind a door at which each request may be kept waiting, refused, or lose
 * its reply. Behind the door nothing is pretended: what is put there can be restored.
 *
 * Invariants
 *  1. A fault that fired is never an RC_OK. HF_FAULT_LOST has stored what it says was lost.
 *  2. Faults meet what is counted, the puts of level 0: those are what is waited for.
 *  3. Requests wait by the fake's clock, under no lock of the fake's.
 */
#include "store/fake.h"

#include "base/bytes.h"
#include "format/ltx.h"
#include "format/names.h"
#include "replica/replica.h"
#include "store/internal.h"
#include "store/mem.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FENCE_MAX 200000
#define LEVEL0 "ltx/0/"

struct hf_fake {
    char url[32];
    struct clock *clock;
    struct store *mem;
    atomic_llong slow_ns;
    atomic_ullong puts;
    struct hf_fake *next; /* guarded by `all` */
    pthread_mutex_t lock;
    /* guarded by lock */
    int fault, times;
};

struct fake_store {
    struct store store; /* first */
    struct hf_fake *fake;
};

struct fake_upload {
    struct hf_fake *fake;
    struct object_upload *inner;
    char key[KEY_SIZE];
};

static pthread_mutex_t all = PTHREAD_MUTEX_INITIALIZER;
static struct hf_fake *fakes; /* guarded by all */
static unsigned count_made;   /* guarded by all */

/* ---- the door ---- */

struct delay {
    struct hf_fake *fake;
    int64_t came_ns;
};

static int64_t end_of(void *arg) {
    const struct delay *d = arg;
    return d->came_ns + d->fake->slow_ns;
}

static struct store *enter(struct hf_fake *f) {
    struct env *env = clock_env(f->clock);
    struct delay d = {f, env->mono_ns(env)};
    if (f->slow_ns) clock_wait(f->clock, end_of, &d);
    return f->mem;
}

static struct hf_fake *fake_of(struct store *s) {
    return ((struct fake_store *)s)->fake;
}

static bool count(struct hf_fake *f, const char *key) {
    bool counted = strncmp(key, LEVEL0, strlen(LEVEL0)) == 0;
    f->puts += counted;
    return counted;
}

static int take_fault(struct hf_fake *f) {
    pthread_mutex_lock(&f->lock);
    int fault = f->times ? f->fault : HF_FAULT_NONE;
    if (f->times > 0) f->times--;
    pthread_mutex_unlock(&f->lock);
    return fault;
}

static rc broken(int fault, const char *key, struct err *e) {
    if (fault == HF_FAULT_LOST) return err_set(e, RC_TIMEOUT, "put %s: the reply was lost", key);
    return err_set(e, RC_RETRY, "put %s: 503 Service Unavailable", key);
}

static rc fake_put(struct store *s, const char *key, const void *bytes, size_t size,
                   int64_t time_ms, struct err *e) {
    struct hf_fake *f = fake_of(s);
    bool counted = count(f, key);
    struct store *mem = enter(f);
    int fault = counted ? take_fault(f) : HF_FAULT_NONE;
    if (fault == HF_FAULT_REFUSE) return broken(fault, key, e);
    rc r = mem->ops->put(mem, key, bytes, size, time_ms, e);
    return fault == HF_FAULT_LOST ? broken(fault, key, e) : r;
}

static rc fake_put_note(struct store *s, const char *key, const void *bytes, size_t size,
                        struct err *e) {
    struct store *mem = enter(fake_of(s));
    return mem->ops->put_note(mem, key, bytes, size, e);
}

static rc fake_get(struct store *s, const char *key, uint64_t at, void *buf, size_t n,
                   struct err *e) {
    struct store *mem = enter(fake_of(s));
    return mem->ops->get(mem, key, at, buf, n, e);
}

static rc fake_stat(struct store *s, const char *key, struct object_info *out, struct err *e) {
    struct store *mem = enter(fake_of(s));
    return mem->ops->stat(mem, key, out, e);
}

static rc fake_list(struct store *s, const char *dir,
                    rc (*each)(void *, const struct object_info *, struct err *), void *arg,
                    struct err *e) {
    struct store *mem = enter(fake_of(s));
    return mem->ops->list(mem, dir, each, arg, e);
}

static rc fake_list_dirs(struct store *s, const char *dir,
                         rc (*each)(void *, const char *name, struct err *), void *arg,
                         struct err *e) {
    struct store *mem = enter(fake_of(s));
    return mem->ops->list_dirs(mem, dir, each, arg, e);
}

static rc fake_remove(struct store *s, const char *key, struct err *e) {
    struct store *mem = enter(fake_of(s));
    return mem->ops->remove(mem, key, e);
}

static rc fake_upload_open(struct store *s, const char *key, uint64_t size_most,
                           struct object_upload **out, struct err *e) {
    struct fake_upload *u = calloc(1, sizeof *u);
    if (!u) return err_set(e, RC_NOMEM, "put %s: no memory", key);
    u->fake = fake_of(s);
    snprintf(u->key, sizeof u->key, "%s", key);
    struct store *mem = enter(u->fake);
    rc r = mem->ops->upload_open(mem, key, size_most, &u->inner, e);
    if (is_ok(r)) *out = (struct object_upload *)u;
    else free(u);
    return r;
}

static rc fake_upload_write(struct object_upload *upload, const void *bytes, size_t n,
                            struct err *e) {
    struct fake_upload *u = (struct fake_upload *)upload;
    return u->fake->mem->ops->upload_write(u->inner, bytes, n, e);
}

static void fake_upload_abort(struct object_upload *upload) {
    struct fake_upload *u = (struct fake_upload *)upload;
    if (!u) return;
    u->fake->mem->ops->upload_abort(u->inner);
    free(u);
}

static rc fake_upload_commit(struct object_upload *upload, int64_t time_ms, struct err *e) {
    struct fake_upload *u = (struct fake_upload *)upload;
    bool counted = count(u->fake, u->key);
    struct store *mem = enter(u->fake);
    int fault = counted ? take_fault(u->fake) : HF_FAULT_NONE;
    rc r = ok();
    if (fault == HF_FAULT_REFUSE) mem->ops->upload_abort(u->inner);
    else r = mem->ops->upload_commit(u->inner, time_ms, e);
    if (fault) r = broken(fault, u->key, e);
    free(u);
    return r;
}

static void fake_free(struct store *s) {
    free(s);
}

static const struct store_ops fake_ops = {
    .put = fake_put,
    .put_note = fake_put_note,
    .get = fake_get,
    .stat = fake_stat,
    .list = fake_list,
    .list_dirs = fake_list_dirs,
    .remove = fake_remove,
    .upload_open = fake_upload_open,
    .upload_write = fake_upload_write,
    .upload_commit = fake_upload_commit,
    .upload_abort = fake_upload_abort,
    .free = fake_free,
};

/* ---- from a URL ---- */

static struct hf_fake *find(const char *url) {
    pthread_mutex_lock(&all);
    struct hf_fake *f = fakes;
    while (f && strcmp(f->url, url) != 0) f = f->next;
    pthread_mutex_unlock(&all);
    return f;
}

rc destination_open(struct env *env, const char *url, struct store **out, struct err *e) {
    struct hf_fake *f = find(url);
    if (!f) return store_open(env, url, out, e);
    struct fake_store *s = calloc(1, sizeof *s);
    if (!s) return err_set(e, RC_NOMEM, "no memory");
    s->store = (struct store){.ops = &fake_ops, .env = env, .layout = LAYOUT_LTX};
    snprintf(s->store.url, sizeof s->store.url, "%s", url);
    s->fake = f;
    *out = &s->store;
    return ok();
}

struct clock *destination_clock(const char *const *urls) {
    for (; urls && *urls; urls++) {
        struct hf_fake *f = find(*urls);
        if (f) return f->clock;
    }
    return NULL;
}

/* ---- what it is told ---- */

static rc make(struct hf_fake *f, struct err *e) {
    struct env *env = store_env();
    if (!env) return err_set(e, RC_NOMEM, "no memory");
    TRY(clock_new(env, &f->clock, e));
    TRY(store_new_mem(clock_env(f->clock), &f->mem, e));
    pthread_mutex_init(&f->lock, NULL);
    pthread_mutex_lock(&all);
    snprintf(f->url, sizeof f->url, "fake:%u", ++count_made);
    f->next = fakes;
    fakes = f;
    pthread_mutex_unlock(&all);
    return ok();
}

int hf_fake_new(hf_fake **out) {
    struct err e;
    if (!out) return fail(RC_USAGE, "hf_fake_new: where to put the fake is NULL");
    struct hf_fake *f = calloc(1, sizeof *f);
    rc r = f ? make(f, &e) : err_set(&e, RC_NOMEM, "no memory");
    if (is_ok(r)) *out = f;
    else if (f) {
        clock_free(f->clock);
        free(f);
    }
    return done(r, &e);
}

void hf_fake_free(hf_fake *f) {
    if (!f) return;
    pthread_mutex_lock(&all);
    struct hf_fake **at = &fakes;
    while (*at != f) at = &(*at)->next;
    *at = f->next;
    pthread_mutex_unlock(&all);
    store_free(f->mem);
    clock_free(f->clock);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

const char *hf_fake_url(const hf_fake *f) {
    return f->url;
}

void hf_fake_fail(hf_fake *f, int fault, int times) {
    pthread_mutex_lock(&f->lock);
    f->fault = fault;
    f->times = fault == HF_FAULT_NONE ? 0 : times;
    pthread_mutex_unlock(&f->lock);
}

void hf_fake_slow(hf_fake *f, int64_t ms) {
    f->slow_ns = ms > 0 ? ms * 1000000 : 0;
    clock_tell(f->clock);
}

uint64_t hf_fake_puts(const hf_fake *f) {
    return f->puts;
}

void hf_fake_stop_clock(hf_fake *f) {
    clock_stop(f->clock);
}

void hf_fake_advance(hf_fake *f, int64_t ms) {
    if (ms > 0) clock_advance(f->clock, ms * 1000000);
}

/* ---- another writer ---- */

static rc find_last(void *arg, const struct object_info *info, struct err *e) {
    uint64_t min, max, *last = arg;
    (void)e;
    if (name_parse(info->name, &min, &max) && max > *last) *last = max;
    return ok();
}

static rc append_to(void *arg, const void *bytes, size_t n, struct err *e) {
    buf_put(arg, bytes, n);
    return buf_check(arg, "fence", e);
}

/* As another run would begin: an object that changes nothing, by another node. */
static rc fence_header(struct hf_fake *f, struct ltx_header *h, struct err *e) {
    struct env *env = clock_env(f->clock);
    uint8_t head[LTX_HEADER_SIZE];
    char key[KEY_SIZE];
    uint64_t last = 0;
    TRY(f->mem->ops->list(f->mem, "ltx/0", find_last, &last, e));
    *h = (struct ltx_header){.page_size = 4096, .commit = 1, .wal_offset = 32};
    if (last) {
        key_of_file(false, 0, last, last, key);
        TRY(f->mem->ops->get(f->mem, key, 0, head, sizeof head, e));
        TRY(ltx_header_decode(h, head, e));
        h->wal_offset += h->wal_size;
        h->wal_size = 0;
    }
    h->min_txid = h->max_txid = last + 1;
    h->timestamp_ms = env->unix_ms(env);
    env->random(env, &h->node_id, sizeof h->node_id);
    return ok();
}

static rc put_fence(struct hf_fake *f, struct err *e) {
    struct ltx_header h;
    struct ltx_writer w;
    uint8_t page[4096];
    uint64_t checksum, size;
    char key[KEY_SIZE];
    struct buf b AUTO(buf_deinit);
    buf_init(&b, FENCE_MAX);
    TRY(fence_header(f, &h, e));
    replica_empty_page(page, sizeof page);
    rc r = ltx_writer_init(&w, &h, LTX_BLOCKS, append_to, &b, e);
    if (is_ok(r) && h.min_txid == 1) r = ltx_writer_page(&w, 1, page, e);
    if (is_ok(r)) r = ltx_writer_finish(&w, &checksum, &size, e);
    ltx_writer_deinit(&w);
    TRY(r);
    key_of_file(false, 0, h.min_txid, h.max_txid, key);
    return f->mem->ops->put(f->mem, key, b.bytes, b.size, h.timestamp_ms, e);
}

/* The slot may be taken while the fence is made: then the next one. */
void hf_fake_fence(hf_fake *f) {
    struct err e;
    rc r = put_fence(f, &e);
    while (r.code == RC_CONFLICT) r = put_fence(f, &e);
    (void)done(r, &e);
}
