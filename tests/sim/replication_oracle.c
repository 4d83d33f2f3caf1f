/* The oracle: what the database was after each commit, and so what each object and each restore
 * must hold.
 *
 * Every commit of every machine is a state: a hash for each page, and the state before it. Every
 * slot of level 0 stands for one of them. An object is judged when it comes into its bucket, a
 * deletion when it has happened, an acknowledgement when it is given; nothing is left for the end
 * but to restore for real.
 *
 * Invariants of what is simulated, by their names in the output
 *  I1  what was acknowledged can be restored from the bucket alone
 *  I2  what can be restored is the state after exactly so many commits, and histories do not turn
 *  I3  an object holds every page that differs, with the bytes that the page had
 *  I5  slots follow each other without a hole
 *  I6  a name never has two contents, a slot never two who were told that it is theirs
 *  I7  positions do not go back
 *  I10 what retention promises has a plan, after each deletion
 *  I11 what is damaged or missing is said, and no file is left; never silently an older state
 */
#include "replication.h"

#include "replica/notes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct state *states;
static int state_count;
static size_t state_capacity, attempt_count, attempt_capacity;
static uint32_t page_size;
static struct attempt {
    struct bucket *bucket;
    uint64_t txid, node;
    int state;
    bool turns;
} * attempts;
struct retention promised;

static void *with_room(void *items, size_t n, size_t *capacity, size_t size) {
    if (n < *capacity) return items;
    *capacity = *capacity ? 2 * *capacity : 64;
    items = realloc(items, *capacity * size);
    ENSURE(items);
    return items;
}

/* ---- states ---- */

static uint64_t hash_of(const uint8_t *page) {
    uint64_t h = 0x9e3779b97f4a7c15u;
    for (uint32_t i = 0; i < page_size; i += 8) {
        uint64_t word;
        memcpy(&word, page + i, 8);
        h = (h ^ word) * 0xff51afd7ed558ccdu;
        h ^= h >> 32;
    }
    return h ? h : 1;
}

/* Leaves of the free list may hold anything (docs/format.md 1.9). */
static void forget_free(struct state *s, const uint8_t *bytes) {
    uint32_t trunk = get_u32be(bytes + 32);
    for (uint32_t steps = 0; trunk && trunk <= s->pages && steps < s->pages; steps++) {
        const uint8_t *page = bytes + (size_t)(trunk - 1) * page_size;
        uint32_t n = get_u32be(page + 4);
        for (uint32_t i = 0; i < n && i < page_size / 4 - 2; i++) {
            uint32_t leaf = get_u32be(page + 8 + 4 * i);
            if (leaf && leaf <= s->pages) s->hash[leaf - 1] = 0;
        }
        trunk = get_u32be(page);
    }
}

int state_new(int parent, const uint8_t *bytes, size_t size, uint32_t given_page_size) {
    ENSURE(given_page_size == page_size && size % page_size == 0);
    states = with_room(states, (size_t)state_count, &state_capacity, sizeof *states);
    struct state *s = &states[state_count];
    *s = (struct state){.parent = parent, .pages = (uint32_t)(size / page_size)};
    s->hash = calloc(s->pages + 1, sizeof *s->hash);
    ENSURE(s->hash);
    for (uint32_t p = 0; p < s->pages; p++) s->hash[p] = hash_of(bytes + (size_t)p * page_size);
    if (size > 100) forget_free(s, bytes);
    for (int i = parent + 1; i < state_count; i++) /* two machines made the very same */
        if (states[i].parent == parent && states[i].pages == s->pages &&
            memcmp(states[i].hash, s->hash, s->pages * sizeof *s->hash) == 0)
            return i;
    return state_count++;
}

bool state_descends(int state, int from) {
    while (state > from) state = states[state].parent; /* parents have lower numbers */
    return state == from;
}

void oracle_begin(uint32_t size) {
    page_size = size;
    uint8_t *empty = calloc(1, size);
    ENSURE(empty);
    replica_empty_page(empty, size);
    state_new(-1, empty, size, size);
    free(empty);
}

void oracle_end(void) {
    for (int i = 0; i < state_count; i++) free(states[i].hash);
    state_count = 0;
    attempt_count = 0;
}

void state_check_file(const char *path, int state, const char *invariant) {
    const struct state *s = &states[state];
    FILE *f = fopen(path, "rb");
    uint8_t *page = malloc(page_size);
    if (!f || !page) violated(invariant, "%s is not there", path);
    for (uint32_t p = 0; p < s->pages; p++) {
        if (fread(page, page_size, 1, f) != 1) violated(invariant, "%s ends at page %u", path, p);
        if (s->hash[p] && s->hash[p] != hash_of(page))
            violated(invariant, "%s: page %u of %u is not what it was in state %d", path, p + 1,
                     s->pages, state);
    }
    if (fgetc(f) != EOF) violated(invariant, "%s has more than %u pages", path, s->pages);
    count.pages += s->pages;
    fclose(f);
    free(page);
}

/* ---- slots ---- */

struct slot *oracle_slot(struct bucket *b, uint64_t txid) {
    if (txid == 1 && b->old.there) return &b->old;
    if (txid < b->first || txid - b->first >= b->slot_count) return NULL;
    struct slot *s = &b->slots[txid - b->first];
    return s->there ? s : NULL;
}

static struct slot *new_slot(struct bucket *b, uint64_t txid) {
    b->slots = with_room(b->slots, b->slot_count, &b->slot_capacity, sizeof *b->slots);
    ENSURE(txid == b->first + b->slot_count);
    b->slots[b->slot_count] = (struct slot){.there = true};
    return &b->slots[b->slot_count++];
}

void oracle_attempt(struct bucket *b, uint64_t txid, uint64_t node, int state, bool turns) {
    attempts = with_room(attempts, attempt_count, &attempt_capacity, sizeof *attempts);
    attempts[attempt_count++] = (struct attempt){b, txid, node, state, turns};
    trace("  slot %" PRIx64 " of %s is to be state %d", txid, b->name, state);
}

static const struct attempt *find_attempt(const struct bucket *b, uint64_t txid, uint64_t node) {
    for (size_t i = attempt_count; i > 0; i--) {
        const struct attempt *a = &attempts[i - 1];
        if (a->bucket == b && a->txid == txid && a->node == node) return a;
    }
    return NULL;
}

/* ---- objects ---- */

static rc take_header(void *arg, const struct ltx_header *h, struct err *e) {
    (void)e;
    ((struct object *)arg)->header = *h;
    return ok();
}

static rc take_page(void *arg, uint32_t pgno, const uint8_t *page, struct err *e) {
    struct object *o = arg;
    (void)e;
    if ((o->page_count & (o->page_count - 1)) == 0) {
        o->pages = realloc(o->pages, (o->page_count ? 2 * o->page_count : 1) * sizeof *o->pages);
        ENSURE(o->pages);
    }
    o->pages[o->page_count++] = (struct page_hash){pgno, hash_of(page)};
    return ok();
}

static bool name_of(struct bucket *b, struct object *o) {
    const char *slash = strrchr(o->key, '/');
    bool level = strncmp(o->key, b->layout == LAYOUT_BUCKET ? "000" : "ltx/", 3) == 0;
    if (!level || !slash || !name_parse(slash + 1, &o->file.min_txid, &o->file.max_txid))
        return false;
    o->file.level = slash[-1] - '0';
    o->file.size_bytes = o->size;
    return true;
}

rc oracle_read(struct object *o, uint64_t *checksum, struct err *e) {
    struct ltx_reader *r;
    TRY(ltx_reader_new(&r, (struct ltx_reader_events){take_header, take_page, o}, e));
    rc ended = ltx_reader_feed(r, o->bytes, o->size, e);
    if (is_ok(ended)) ended = ltx_reader_finish(r, checksum, e);
    ltx_reader_free(r);
    return ended;
}

static uint64_t decode(struct object *o) {
    struct err e;
    uint64_t checksum = 0;
    if (!is_ok(oracle_read(o, &checksum, &e)))
        violated("I3 byte identity", "%s was put and is not an object: %s", o->key, e.text);
    o->file.time_ms = o->header.timestamp_ms;
    return checksum;
}

/* It makes `to` of `from` (-1: of nothing): all that differs is in it, and all of it is right. */
static void check_pages(const struct bucket *b, const struct object *o, int from, int to) {
    const struct state *s = &states[to], *was = from >= 0 ? &states[from] : NULL;
    uint32_t next = 0;
    if (o->header.commit != s->pages)
        violated("I3 byte identity", "%s %s has %u pages, state %d %u", b->name, o->key,
                 o->header.commit, to, s->pages);
    for (uint32_t p = 1; p <= s->pages; p++) {
        uint64_t hash = s->hash[p - 1];
        bool is_in = next < o->page_count && o->pages[next].pgno == p;
        if (is_in && hash && o->pages[next].hash != hash)
            violated("I3 byte identity", "%s %s: page %u is not that of state %d", b->name, o->key,
                     p, to);
        bool differs = hash && (!was || p > was->pages || was->hash[p - 1] != hash);
        if (differs && !is_in)
            violated("I3 byte identity",
                     "%s %s lacks page %u, which differs between states %d and %d", b->name, o->key,
                     p, from, to);
        next += is_in;
    }
    if (next != o->page_count)
        violated("I3 byte identity", "%s %s has pages beyond the end", b->name, o->key);
    count.pages += o->page_count;
}

static bool is_pinned(struct bucket *b, int state) {
    struct store *store = bucket_open(b, NULL, NULL);
    uint64_t *pins = NULL;
    size_t n = 0;
    struct err e;
    bool found = false;
    if (is_ok(replica_read_pins(store, &pins, &n, &e)))
        for (size_t i = 0; i < n; i++) {
            const struct slot *s = oracle_slot(b, pins[i]);
            found |= s && s->state == state;
        }
    free(pins);
    store_free(store);
    return found;
}

static void check_history(struct bucket *b, const struct object *o, const struct attempt *a,
                          int before) {
    if (state_descends(a->state, before)) return;
    if (!a->turns)
        violated("I2 prefix", "%s %s puts state %d over state %d, which is not before it", b->name,
                 o->key, a->state, before);
    if (before && !is_pinned(b, before))
        violated("I10 always restorable", "%s %s turns away from state %d, which is not pinned",
                 b->name, o->key, before);
    if (b->turns < 16) b->turned[b->turns++] = o->file.max_txid - 1;
    count.adopted++;
}

static bool has_hole(struct bucket *b) {
    struct listing l = {0};
    struct plan plan = {0};
    struct err e;
    bucket_list(b, &l);
    rc r = plan_make(&l, (struct target){0}, &plan, &e);
    plan_deinit(&plan);
    listing_deinit(&l);
    return r.code == RC_CORRUPT;
}

void oracle_damaged(struct bucket *b) {
    if (!b->holed_ns && has_hole(b)) b->holed_ns = now_ns;
}

/* What a store has lost at its end is taken anew: what stood there counts no more. */
static bool is_anew(struct bucket *b, const struct object *o) {
    uint64_t txid = o->file.max_txid;
    for (size_t i = 0; i < b->count; i++) {
        const struct object *other = &b->objects[i];
        if (other != o && other->ltx && !other->gone_ns && other->file.max_txid >= txid)
            return false;
    }
    if (!b->damaged_ns || txid < b->first) return false;
    b->slot_count = txid - b->first;
    return true;
}

static void slot_taken(struct bucket *b, struct object *o, uint64_t checksum) {
    uint64_t txid = o->file.max_txid;
    struct slot *s = oracle_slot(b, txid), *before;
    if (b->holed_ns && o->sender_ns > b->holed_ns && o->page_count == 0 && has_hole(b))
        violated("I11 fail loud", "%s lacks an object, and a run begins there: %s", b->name,
                 o->key);
    if (o->header.node_id == OLD_NODE) {
        b->old = (struct slot){.node = OLD_NODE,
                               .checksum = checksum,
                               .time_ms = o->header.timestamp_ms,
                               .there = true,
                               .fence = true};
        return;
    }
    bool same = s && s->checksum == checksum && s->node == o->header.node_id;
    if (s && (same || !is_anew(b, o))) { /* once more, after it was deleted */
        /* A fence of who stood still is taken back; what is built on it would be seen here. */
        if (!same && o->page_count && !b->damaged_ns && !b->late)
            violated("I6 one history", "%s %s had another content", b->name, o->key);
        s->risen |= !same; /* docs/testing.md: what is not claimed */
        count.risen += !same;
        return;
    }
    if (b->slot_count == 0) b->first = txid;
    if (txid != b->first + b->slot_count && b->damaged_ns) return;
    if (txid != b->first + b->slot_count)
        violated("I5 chain", "%s %s: the slot before it was never taken", b->name, o->key);
    bool fence = o->page_count == 0 || (txid == 1 && o->header.commit == 1 && o->page_count == 1);
    s = new_slot(b, txid);
    before = oracle_slot(b, txid - 1);
    s->node = o->header.node_id;
    s->checksum = checksum;
    s->fence = fence;
    s->time_ms = o->header.timestamp_ms;
    if (before && s->time_ms <= before->time_ms && !b->damaged_ns)
        violated("I7 monotone", "%s %s is not later than the one before", b->name, o->key);
    if (fence) {
        s->state = before ? before->state : 0;
        if (o->header.commit != states[s->state].pages)
            violated("I3 byte identity", "the fence %s has %u pages", o->key, o->header.commit);
        return;
    }
    const struct attempt *a = find_attempt(b, txid, s->node);
    if (!a) violated("I3 byte identity", "%s %s: nobody was about to put it", b->name, o->key);
    s->state = a->state;
    if (before) check_history(b, o, a, before->state);
    check_pages(b, o, before ? before->state : -1, s->state);
}

void oracle_object(struct bucket *b, struct object *o) {
    if (!name_of(b, o)) return;
    uint64_t checksum = decode(o);
    o->ltx = true;
    count.objects++;
    if (o->header.min_txid != o->file.min_txid || o->header.max_txid != o->file.max_txid)
        violated("I6 one history", "%s %s has the header of another", b->name, o->key);
    if (o->file.level == 0 && o->file.min_txid == o->file.max_txid) {
        slot_taken(b, o, checksum);
        return;
    }
    count.compactions++;
    const struct slot *to = oracle_slot(b, o->file.max_txid);
    const struct slot *from = oracle_slot(b, o->file.min_txid - 1);
    if (b->slot_count == 0) { /* what a seed begins with */
        b->first = o->file.max_txid;
        struct slot *s = new_slot(b, o->file.max_txid);
        s->checksum = checksum;
        s->time_ms = o->header.timestamp_ms;
        s->fence = true;
        return;
    }
    /* Of a run that is not the newest: that one does not know of it. */
    b->untidy |= o->header.node_id != b->slots[b->slot_count - 1].node;
    if (b->damaged_ns) return; /* its slots are not all known any more */
    if (!to) violated("I5 chain", "%s %s ends where no slot was taken", b->name, o->key);
    if (!from && o->file.min_txid != 1)
        violated("I5 chain", "%s %s begins behind no slot", b->name, o->key);
    check_pages(b, o, from ? from->state : -1, to->state);
}

/* ---- promises ---- */

static int by_max(const void *pa, const void *pb) {
    const struct replica_file *a = pa, *b = pb;
    return a->max_txid < b->max_txid ? -1 : a->max_txid > b->max_txid;
}

/* The TXIDs that can be restored, ascending; by itself and not by the planner's rule. */
uint64_t *oracle_restorable(const struct listing *l, size_t *n) {
    struct replica_file *files = malloc((l->count + 1) * sizeof *files);
    uint64_t *out = malloc((l->count + 1) * sizeof *out);
    ENSURE(files && out);
    if (l->count) memcpy(files, l->files, l->count * sizeof *files);
    qsort(files, l->count, sizeof *files, by_max);
    *n = 0;
    for (size_t i = 0; i < l->count; i++) {
        uint64_t below_it = 0, max = files[i].max_txid;
        if (*n && out[*n - 1] == max) continue;
        if (*n) below_it = out[*n - 1];
        bool reached = false;
        for (size_t k = i; k < l->count && files[k].max_txid == max; k++)
            reached |= files[k].min_txid - 1 <= below_it;
        if (reached) out[(*n)++] = max;
    }
    free(files);
    return out;
}

static bool is_in(const uint64_t *txids, size_t n, uint64_t txid) {
    size_t low = 0, high = n;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (txids[mid] < txid) low = mid + 1;
        else high = mid;
    }
    return low < n && txids[low] == txid;
}

/* The product's own plan leads there, through objects each of which was judged when it came. */
static void check_plan(struct bucket *b, const struct listing *l, uint64_t txid) {
    struct plan plan = {0};
    struct err e;
    uint64_t at = 0;
    count.plans++;
    if (!is_ok(plan_make(l, (struct target){.txid = txid}, &plan, &e)))
        violated("I10 always restorable", "%s: no plan for TXID %" PRIx64 ": %s", b->name, txid,
                 e.text);
    for (size_t i = 0; i < plan.count; i++) {
        if (plan.files[i].min_txid - 1 > at || plan.files[i].max_txid <= at)
            violated("I2 prefix", "%s: the plan for TXID %" PRIx64 " leaves something out", b->name,
                     txid);
        at = plan.files[i].max_txid;
    }
    if (plan.txid != at || (txid && at != txid))
        violated("I2 prefix", "%s: the plan for TXID %" PRIx64 " ends at %" PRIx64, b->name, txid,
                 at);
    if (!txid && at < b->acked)
        violated("I1 acknowledged",
                 "%s: the newest plan ends at %" PRIx64 ", %" PRIx64 " was acknowledged", b->name,
                 at, b->acked);
    plan_deinit(&plan);
}

static void must_be_in(struct bucket *b, const uint64_t *can, size_t n, uint64_t txid,
                       const char *why) {
    if (!is_in(can, n, txid))
        violated("I10 always restorable", "%s: TXID %" PRIx64 " cannot be restored: %s", b->name,
                 txid, why);
}

/* Of a run that then stood behind it. Others were of a tail that was not the last any more. */
static bool is_binding(struct bucket *b, uint64_t pin) {
    const struct slot *s = oracle_slot(b, pin), *next = oracle_slot(b, pin + 1);
    return s && next && next->fence && next->node != s->node;
}

static void check_pins(struct bucket *b, const uint64_t *can, size_t n) {
    struct store *store = bucket_open(b, NULL, NULL);
    uint64_t *pins = NULL;
    size_t pinned = 0;
    struct err e;
    if (is_ok(replica_read_pins(store, &pins, &pinned, &e)))
        for (size_t i = 0; i < pinned; i++)
            if (is_binding(b, pins[i])) must_be_in(b, can, n, pins[i], "it is pinned");
    free(pins);
    store_free(store);
}

/* The end of the oldest snapshot that is young, or else of the newest: what lies before may go. */
static uint64_t kept_from(const struct bucket *b) {
    uint64_t oldest = UINT64_MAX, newest = 0;
    for (size_t i = 0; i < b->count; i++) {
        const struct object *o = &b->objects[i];
        if (!o->ltx || o->file.level != LEVEL_SNAPSHOT) continue;
        if (o->file.max_txid > newest) newest = o->file.max_txid;
        if (o->file.time_ms > b->newest_ms - promised.snapshot_ms && o->file.max_txid < oldest)
            oldest = o->file.max_txid;
    }
    return oldest < newest ? oldest : newest;
}

void oracle_promises(struct bucket *b) {
    struct listing l = {0};
    size_t n;
    if (b->damaged_ns) return;
    bucket_list(b, &l);
    uint64_t *can = oracle_restorable(&l, &n), from = kept_from(b);
    for (size_t i = 0; i < b->slot_count; i++)
        if (b->first + i >= from && b->slots[i].time_ms > b->newest_ms - promised.level0_ms)
            must_be_in(b, can, n, b->first + i, "it is not old enough to go");
    for (size_t i = 0; i < b->count; i++) {
        const struct object *o = &b->objects[i];
        if (o->ltx && o->file.level > 0 && o->file.max_txid >= from)
            must_be_in(b, can, n, o->file.max_txid,
                       "an object above level 0 ended there, not so long ago");
    }
    check_pins(b, can, n);
    if (n) check_plan(b, &l, 0);
    if (n) check_plan(b, &l, can[below((uint32_t)n)]);
    free(can);
    listing_deinit(&l);
}

void oracle_removed(struct bucket *b, const char *key) {
    bool was = false;
    for (size_t i = 0; i < b->count; i++) was |= strcmp(b->objects[i].key, key) == 0;
    if (!was) violated("I10 always restorable", "%s: %s never was, and is deleted", b->name, key);
    count.deletes++;
    oracle_promises(b);
}

uint64_t oracle_newest_txid(struct bucket *b) {
    struct listing l = {0};
    size_t n;
    bucket_list(b, &l);
    uint64_t *can = oracle_restorable(&l, &n), txid = n ? can[n - 1] : 0;
    free(can);
    listing_deinit(&l);
    return txid;
}

int oracle_newest(struct bucket *b) {
    const struct slot *s = oracle_slot(b, oracle_newest_txid(b));
    return s ? s->state : 0;
}

void oracle_acked(struct bucket *b, uint64_t txid, uint64_t node) {
    struct slot *s = oracle_slot(b, txid);
    if (b->damaged_ns) return; /* what was lost may be put anew */
    if (!s) violated("I1 acknowledged", "%s: TXID %" PRIx64 " is not there", b->name, txid);
    if (s->node != node)
        violated("I6 one history", "%s: TXID %" PRIx64 " is another's", b->name, txid);
    s->acked_node = node;
    if (txid > b->acked) b->acked = txid;
    count.acks++;
    if (oracle_newest_txid(b) < txid)
        violated("I1 acknowledged", "%s: TXID %" PRIx64 " cannot be restored", b->name, txid);
}

/* ---- for real ---- */

char oracle_restored[120];

rc oracle_restore(struct bucket *b, const char *dir, struct env *env, struct target target,
                  struct restore_result *result, struct err *e) {
    struct store *store = bucket_open(b, NULL, env);
    struct restore_options options = {.target = target, .parallel = 1};
    snprintf(oracle_restored, sizeof oracle_restored, "%s/restored", dir);
    unlink(oracle_restored);
    rc r = replica_restore(store, oracle_restored, &options, result, e);
    store_free(store);
    count.restores++;
    return r;
}

/* Fences only: nothing was ever shipped. */
static bool is_backup(struct bucket *b, const struct listing *l) {
    for (size_t i = 0; i < l->count; i++) {
        const struct slot *s = oracle_slot(b, l->files[i].max_txid);
        if (l->files[i].level > 0 || !s || !s->fence) return true;
    }
    return false;
}

static void restore_and_compare(struct bucket *b, const char *dir, struct env *env, uint64_t txid,
                                bool backup) {
    struct restore_result result;
    struct err e;
    rc r = oracle_restore(b, dir, env, (struct target){.txid = txid}, &result, &e);
    const struct slot *s = oracle_slot(b, txid);
    if (!backup && r.code == RC_NOTFOUND) return;
    if (r.code == RC_CORRUPT && s && s->risen) return; /* a lost fence has its name: it is told */
    if (!is_ok(r) || !backup)
        violated("I10 always restorable", "%s: TXID %" PRIx64 ": %s", b->name, txid,
                 is_ok(r) ? "restored, and nothing was ever shipped" : e.text);
    s = oracle_slot(b, result.txid);
    if (!s || (txid && txid != result.txid))
        violated("I2 prefix", "%s: %" PRIx64 " came back as %" PRIx64, b->name, txid, result.txid);
    if (!txid && result.txid < b->acked)
        violated("I1 acknowledged", "%s: the newest is %" PRIx64, b->name, result.txid);
    if (!txid || !s->risen) state_check_file(oracle_restored, s->state, "I3 byte identity");
    unlink(oracle_restored);
}

/* Around a pin a level has gaps, of which a time cannot tell what they are. */
static bool has_pins(struct bucket *b) {
    return bucket_find(b, PINS) != NULL;
}

/* The newest that can be made of what was there before an instant: that of some state, or just
 * behind it. */
static void restore_by_time(struct bucket *b, const char *dir, struct env *env, const uint64_t *can,
                            size_t n) {
    struct restore_result result;
    struct err e;
    const struct slot *s = oracle_slot(b, can[below((uint32_t)n)]);
    uint64_t expected = 0;
    if (!s || count.risen) return;
    int64_t at_ms = s->time_ms + (int64_t)below(2);
    for (size_t i = 0; i < n; i++) {
        const struct slot *then = oracle_slot(b, can[i]);
        if (then && then->time_ms < at_ms) expected = can[i];
    }
    rc r = oracle_restore(b, dir, env, (struct target){.time_ms = at_ms}, &result, &e);
    if (r.code == RC_NOTFOUND && !expected) return;
    if (r.code == RC_CORRUPT && (has_pins(b) || b->untidy)) return;
    if (!is_ok(r) || result.txid != expected)
        violated("I10 always restorable",
                 "%s: what was there before %" PRId64 " is TXID %" PRIx64
                 ", and restored is %" PRIx64 ": %s",
                 b->name, at_ms, expected, is_ok(r) ? result.txid : 0, is_ok(r) ? "" : e.text);
    state_check_file(oracle_restored, oracle_slot(b, expected)->state, "I3 byte identity");
    unlink(oracle_restored);
    count.by_time++;
}

void oracle_restores(struct bucket *b, const char *dir, struct env *env, int sample) {
    struct listing l = {0};
    struct verify_result result;
    struct err e;
    size_t n;
    bucket_list(b, &l);
    uint64_t *can = oracle_restorable(&l, &n);
    bool backup = is_backup(b, &l);
    for (size_t i = 0; i < n; i++) check_plan(b, &l, can[i]);
    if (oracle_newest(b) > 0) restore_and_compare(b, dir, env, 0, backup);
    for (int i = 0; n && i < sample; i++)
        restore_and_compare(b, dir, env, can[below((uint32_t)n)], backup);
    for (int i = 0; n && backup && i < sample; i++) restore_by_time(b, dir, env, can, n);
    free(can);
    listing_deinit(&l);
    struct store *store = bucket_open(b, NULL, env);
    rc r = replica_verify(store, 1, NULL, &result, &e);
    bool holed = backup && b->untidy && !is_ok(r); /* docs/testing.md: what is not claimed */
    if (holed) holed = count.risen || strstr(e.text, "in its level");
    if (backup ? !is_ok(r) && !holed : r.code != RC_NOTFOUND)
        violated("I11 fail loud", "%s: %s, and verify says %s", b->name,
                 backup ? "sound" : "no backup", is_ok(r) ? "sound" : e.text);
    count.looks_holed += holed;
    count.verifies += sample > 0;
    store_free(store);
}
