/* Replicas made for tests: a small database's random history, kept whole, and any file of it.
 *
 *     struct history h;
 *     history_make(&h, 512, 9, seed);       // TXIDs 1..9
 *     history_put(&h, store, 0, 3, 3);      // the level-0 file of TXID 3
 *     history_restores(&h, store, &opt, 3); // what comes back is what was there then
 */
#ifndef TESTS_REPLICA_HISTORY_H
#define TESTS_REPLICA_HISTORY_H

#include "../os/temp.h"

#include "base/hash.h"
#include "replica/internal.h"

#define T0 1790000000000
#define HISTORY_TXIDS 64
#define HISTORY_PAGES 80

struct moment {
    uint32_t page_count;
    uint8_t *bytes;
    bool touched[HISTORY_PAGES + 1];
    uint64_t sum;
};

struct history {
    uint32_t page_size;
    int count;
    uint64_t node;    /* who wrote it */
    bool foreign;     /* no chain, as Litestream writes */
    bool sum_unknown; /* a chain, but 0 for the sum */
    bool dense;       /* all pages are such that do not compress, not one in four */
    bool frames;      /* the encoding of Litestream before 0.5.16 */
    uint64_t random;
    struct moment at[HISTORY_TXIDS + 1];
};

/* xorshift64*: the same on every machine. */
static inline uint32_t history_random(struct history *h, uint32_t below_this) {
    h->random ^= h->random >> 12;
    h->random ^= h->random << 25;
    h->random ^= h->random >> 27;
    return (uint32_t)((h->random * 0x2545f4914f6cdd1du) >> 33) % below_this;
}

static inline void history_touch(struct history *h, struct moment *m, uint32_t pgno) {
    uint8_t *page = m->bytes + (size_t)(pgno - 1) * h->page_size;
    bool dense = h->dense || history_random(h, 4) == 0;
    for (uint32_t i = 0; i < h->page_size; i++)
        page[i] = dense || i < 16 ? (uint8_t)history_random(h, 256) : (uint8_t)(pgno & 3);
    m->touched[pgno] = true;
}

static inline uint64_t history_sum(const struct history *h, const struct moment *m) {
    uint64_t sum = 0;
    for (uint32_t p = 1; p <= m->page_count; p++)
        sum += page_sum(p, m->bytes + (size_t)(p - 1) * h->page_size, h->page_size);
    return sum ? sum : 1;
}

static inline void history_step(struct history *h) {
    const struct moment *old = &h->at[h->count];
    struct moment *m = &h->at[++h->count];
    *m = (struct moment){.bytes = calloc(HISTORY_PAGES, h->page_size)};
    m->page_count = old->page_count;
    if (!old->page_count || history_random(h, 3) == 0)
        m->page_count = 1 + history_random(h, HISTORY_PAGES);
    if (old->bytes)
        memcpy(m->bytes, old->bytes,
               (size_t)(old->page_count < m->page_count ? old->page_count : m->page_count) *
                   h->page_size);
    history_touch(h, m, 1);
    for (uint32_t n = history_random(h, 6); n; n--)
        history_touch(h, m, 1 + history_random(h, m->page_count));
    for (uint32_t p = old->page_count + 1; p <= m->page_count; p++) history_touch(h, m, p);
    m->sum = history_sum(h, m);
}

static inline void history_make(struct history *h, uint32_t page_size, int count, uint64_t seed) {
    *h = (struct history){
        .page_size = page_size, .node = 7, .random = seed * 2654435761u + 88172645463325252u};
    for (int i = 0; i < count; i++) history_step(h);
}

static inline void history_deinit(struct history *h) {
    for (int i = 1; i <= h->count; i++) free(h->at[i].bytes);
}

static inline int64_t history_time(int level, uint64_t max) {
    return T0 + (int64_t)max * 1000 + (level == LEVEL_SNAPSHOT ? 500 : 0);
}

static inline rc history_sink(void *arg, const void *bytes, size_t n, struct err *e) {
    buf_put(arg, bytes, n);
    return buf_check(arg, "file", e);
}

static inline bool history_has(const struct history *h, uint64_t min, uint64_t max, uint32_t pgno) {
    if (min == 1) return true;
    for (uint64_t i = min; i <= max; i++)
        if (h->at[i].touched[pgno]) return true;
    return false;
}

/* The bytes of a file: what changed in min..max, as of max. */
static inline void history_encode(const struct history *h, int level, uint64_t min, uint64_t max,
                                  struct buf *out) {
    const struct moment *m = &h->at[max];
    struct ltx_writer w;
    uint64_t checksum, size;
    struct ltx_header header = {.page_size = h->page_size,
                                .commit = m->page_count,
                                .min_txid = min,
                                .max_txid = max,
                                .timestamp_ms = history_time(level, max),
                                .node_id = h->foreign ? 0 : h->node};
    if (!h->foreign)
        header.chain = (struct ltx_chain){.present = true, .sum = h->sum_unknown ? 0 : m->sum};
    buf_init(out, 64u << 20);
    OK(ltx_writer_init(&w, &header, h->frames ? LTX_FRAMES : LTX_BLOCKS, history_sink, out, e));
    for (uint32_t p = 1; p <= m->page_count; p++)
        if (history_has(h, min, max, p))
            OK(ltx_writer_page(&w, p, m->bytes + (size_t)(p - 1) * h->page_size, e));
    OK(ltx_writer_finish(&w, &checksum, &size, e));
    ltx_writer_deinit(&w);
}

static inline void history_put(const struct history *h, struct store *store, int level,
                               uint64_t min, uint64_t max) {
    struct buf file;
    char key[KEY_SIZE];
    history_encode(h, level, min, max, &file);
    key_of_file(false, level, min, max, key);
    OK(store->ops->put(store, key, file.bytes, file.size, history_time(level, max), e));
    buf_deinit(&file);
}

/* Level 0 in full, 1 by threes, 2 by sixes, and a snapshot in the middle. */
static inline void history_put_all(const struct history *h, struct store *store) {
    for (uint64_t i = 1; i <= (uint64_t)h->count; i++) history_put(h, store, 0, i, i);
    for (uint64_t i = 3; i <= (uint64_t)h->count; i += 3) history_put(h, store, 1, i - 2, i);
    for (uint64_t i = 6; i <= (uint64_t)h->count; i += 6) history_put(h, store, 2, i - 5, i);
    if (h->count > 3) history_put(h, store, LEVEL_SNAPSHOT, 1, (uint64_t)h->count / 2);
}

/* The system without waiting for its disks: for tests of what is written, not of when. */
static inline rc no_sync(struct env *env, struct file *f, struct err *e) {
    (void)env, (void)f, (void)e;
    return ok();
}

static inline rc no_sync_dir(struct env *env, const char *path, struct err *e) {
    (void)env, (void)path, (void)e;
    return ok();
}

static inline struct env *without_sync(const struct env *env) {
    static struct env copy;
    static struct env_files files;
    copy = *env;
    files = *env->files;
    files.sync = no_sync;
    files.sync_dir = no_sync_dir;
    copy.files = &files;
    return &copy;
}

static inline uint8_t *slurp(struct env *env, const char *path, size_t *size) {
    struct file *file;
    uint64_t n;
    OK(env->files->open(env, path, FILE_READ, &file, e));
    OK(env->files->size(env, file, &n, e));
    uint8_t *bytes = malloc(n + 1);
    OK(env->files->read(env, file, 0, bytes, n, e));
    env->files->close(env, file);
    *size = n;
    return bytes;
}

/* `path` is the database as it was at `txid`. */
static inline void history_expect(const struct history *h, struct env *env, const char *path,
                                  uint64_t txid) {
    size_t size;
    uint8_t *bytes = slurp(env, path, &size);
    const struct moment *m = &h->at[txid];
    ck_assert_uint_eq(size, (size_t)m->page_count * h->page_size);
    ck_assert_msg(memcmp(bytes, m->bytes, size) == 0, "the state of TXID %d differs", (int)txid);
    free(bytes);
}

static inline void history_restores(const struct history *h, struct store *store,
                                    const struct restore_options *o, uint64_t txid) {
    char dir[TEMP_PATH];
    struct restore_result result = {0};
    temp_dir(dir);
    OK(replica_restore(store, below(dir, "out"), o, &result, e));
    ck_assert_uint_eq(result.txid, txid);
    ck_assert_uint_eq(result.page_size, h->page_size);
    history_expect(h, store->env, below(dir, "out"), txid);
    ck_assert_int_eq(entries_of(store->env, dir), 1);
}

#endif
