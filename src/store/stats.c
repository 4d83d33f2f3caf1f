/* Figures by label: how many, how many failed, how long they waited and ran.
 *
 * Times go into log-linear buckets, eight for each power of two, as HdrHistogram's: a value is off
 * by at most a sixteenth, and a label has a fixed size. Counters are atomic: whoever ends a
 * transaction holds up nobody. A label is made once and stays, so its name is a pointer that lives
 * as long as the store.
 *
 * Invariant: the table has more slots than there can be labels, so a search ends. When it is full,
 * all that is new is counted as "other".
 */
#include "store/parts.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define SUB 8 /* buckets of a power of two */
#define POWERS 45
#define BUCKETS ((POWERS - 2) * SUB) /* up to ten hours */

struct histogram {
    _Atomic uint64_t buckets[BUCKETS], max;
};

struct label {
    uint32_t hash;
    int scope;
    _Atomic uint64_t count, failed;
    struct histogram wait, run;
    char why[];
};

static int bucket_of(uint64_t v) {
    if (v < SUB) return (int)v;
    int power = 63 - __builtin_clzll(v);
    int at = (power - 2) * SUB + (int)((v >> (power - 3)) & (SUB - 1));
    return at < BUCKETS ? at : BUCKETS - 1;
}

/* The middle of a bucket. */
static uint64_t value_of(int bucket) {
    if (bucket < SUB) return (uint64_t)bucket;
    int power = bucket / SUB + 2;
    uint64_t width = (uint64_t)1 << (power - 3);
    return (SUB + (uint64_t)(bucket % SUB)) * width + width / 2;
}

static void count_one(struct histogram *h, int64_t ns) {
    uint64_t v = ns > 0 ? (uint64_t)ns : 0, max = h->max;
    atomic_fetch_add_explicit(&h->buckets[bucket_of(v)], 1, memory_order_relaxed);
    while (v > max && !atomic_compare_exchange_weak(&h->max, &max, v)) continue;
}

static int64_t quantile(const struct histogram *h, int percent) {
    uint64_t all = 0, seen = 0;
    for (int i = 0; i < BUCKETS; i++) all += h->buckets[i];
    uint64_t wanted = (all * (uint64_t)percent + 99) / 100;
    for (int i = 0; i < BUCKETS && all; i++)
        if ((seen += h->buckets[i]) >= wanted) {
            uint64_t v = value_of(i);
            return (int64_t)(v < h->max ? v : h->max);
        }
    return 0;
}

static struct label *find(struct stats *s, const char *why, int scope, uint32_t hash, int *slot) {
    for (int i = (int)(hash % LABEL_SLOTS);; i = (i + 1) % LABEL_SLOTS) {
        struct label *l = atomic_load_explicit(&s->slots[i], memory_order_acquire);
        *slot = i;
        if (!l || (l->hash == hash && l->scope == scope && strcmp(l->why, why) == 0)) return l;
    }
}

static struct label *add(struct stats *s, const char *why, int scope, uint32_t hash) {
    int slot;
    struct label *l = find(s, why, scope, hash, &slot);
    if (l || s->count >= LABELS_MAX) return l;
    size_t n = strlen(why) + 1;
    l = calloc(1, sizeof *l + n);
    if (!l) return NULL;
    l->hash = hash;
    l->scope = scope;
    memcpy(l->why, why, n);
    s->count++;
    atomic_store_explicit(&s->slots[slot], l, memory_order_release);
    return l;
}

static struct label *get(struct stats *s, const char *why, int scope) {
    int slot;
    uint32_t hash = text_hash(why) + (uint32_t)scope;
    struct label *l = find(s, why, scope, hash, &slot);
    if (l) return l;
    pthread_mutex_lock(&s->lock);
    l = add(s, why, scope, hash);
    pthread_mutex_unlock(&s->lock);
    return l;
}

void stats_init(struct stats *s) {
    memset(s, 0, sizeof *s);
    pthread_mutex_init(&s->lock, NULL);
    for (int scope = HF_READ; scope <= HF_BOTH; scope++) s->others[scope] = get(s, "other", scope);
}

void stats_deinit(struct stats *s) {
    for (int i = 0; i < LABEL_SLOTS; i++) free(s->slots[i]);
    pthread_mutex_destroy(&s->lock);
}

struct label *stats_label(struct stats *s, const char *why, int scope) {
    struct label *l = get(s, why, scope);
    return l ? l : s->others[scope];
}

const char *label_why(const struct label *l) {
    return l ? l->why : "other";
}

void label_count(struct label *l, const hf_trace *t) {
    if (!l) return;
    atomic_fetch_add_explicit(&l->count, 1, memory_order_relaxed);
    if (t->code) atomic_fetch_add_explicit(&l->failed, 1, memory_order_relaxed);
    count_one(&l->wait, t->wait_ns);
    if (t->run_ns) count_one(&l->run, t->run_ns);
}

int hf_stats(hf_store *s, void (*each)(void *arg, const hf_stat *), void *arg) {
    struct err e;
    rc r = store_check(s, "this store", &e);
    if (!is_ok(r)) return done(r, &e);
    if (!each) return fail(RC_USAGE, "hf_stats: the function is NULL");
    for (int i = 0; i < LABEL_SLOTS; i++) {
        struct label *l = s->stats.slots[i];
        if (!l || !l->count) continue;
        hf_stat stat = {.why = l->why,
                        .scope = l->scope,
                        .count = l->count,
                        .failed = l->failed,
                        .wait_p50_ns = quantile(&l->wait, 50),
                        .wait_p99_ns = quantile(&l->wait, 99),
                        .wait_max_ns = (int64_t)l->wait.max,
                        .run_p50_ns = quantile(&l->run, 50),
                        .run_p99_ns = quantile(&l->run, 99),
                        .run_max_ns = (int64_t)l->run.max};
        each(arg, &stat);
    }
    return HF_OK;
}
