/* The true history of the database, commit by commit.
 *
 * What SQLite writes into the log is kept as it is written; when it publishes a header, the frames
 * up to its end are what was committed. That is all that is believed: no file is read, so it stays
 * true when a checkpoint goes wrong, and it knows nothing of how the source finds its pages.
 *
 * A page is a chain of versions, the newest first, each with the boundary since which it holds. A
 * version without bytes: the page fell away, or came with a commit that did not write it, as one
 * does that was allocated and freed in one transaction. What such a page holds is anybody's guess,
 * SQLite's included, until somebody writes it.
 */
#include "base/bytes.h"
#include "format/wal.h"
#include "sim.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK (8u << 20)

struct version {
    int since;
    const uint8_t *bytes;
    const struct version *before;
};

static struct {
    uint32_t page_size, lock_page;
    struct boundary *at;
    size_t count, capacity;
    const struct version **newest; /* by page number */
    size_t pages_capacity;
    uint8_t *log;
    size_t log_capacity;
    uint8_t seen[WALINDEX_HEADER_SIZE]; /* the header of the newest boundary */
} h;

/* Memory that goes with the world. */
static struct {
    uint8_t *blocks[256];
    size_t sizes[256], count, current, used;
} arena;

static void *from_arena(size_t n) {
    n = (n + 15) & ~(size_t)15;
    if (n > BLOCK) sim_fatal("a page of %zu bytes", n);
    if (arena.count == 0 || arena.used + n > BLOCK) {
        if (arena.count) arena.current++;
        if (arena.current == 256) sim_fatal("the history takes more than 2 GiB");
        if (arena.current == arena.count && !(arena.blocks[arena.count++] = malloc(BLOCK)))
            sim_fatal("no memory for the history");
        arena.used = 0;
    }
    arena.used += n;
    return arena.blocks[arena.current] + arena.used - n;
}

static void *grown(void *old, size_t *capacity, size_t wanted, size_t each) {
    if (wanted <= *capacity) return old;
    size_t n = wanted * 2 + 64;
    uint8_t *new = realloc(old, n * each);
    if (!new) sim_fatal("no memory for the history");
    memset(new + *capacity *each, 0, (n - *capacity) * each);
    *capacity = n;
    return new;
}

static void add_boundary(const struct boundary *b) {
    h.at = grown(h.at, &h.capacity, h.count + 1, sizeof *h.at);
    h.at[h.count] = *b;
    h.at[h.count++].ns = sim_now();
}

static void add_version(uint32_t pgno, int since, const uint8_t *bytes) {
    struct version *v = from_arena(sizeof *v);
    uint8_t *copy = NULL;
    if (bytes) memcpy(copy = from_arena(h.page_size), bytes, h.page_size);
    h.newest = grown(h.newest, &h.pages_capacity, (size_t)pgno + 1, sizeof *h.newest);
    *v = (struct version){since, copy, h.newest[pgno]};
    h.newest[pgno] = v;
}

void oracle_begin(uint32_t page_size, uint32_t lock_page) {
    h.page_size = page_size;
    h.lock_page = lock_page;
    h.count = 0;
    if (h.newest) memset(h.newest, 0, h.pages_capacity * sizeof *h.newest);
    memset(h.seen, 0, sizeof h.seen);
    arena.current = arena.used = 0;
}

void oracle_base(const uint8_t *image, uint32_t pages) {
    const volatile uint8_t *index = vfs_index();
    struct walindex_header now = {0};
    if (index && walindex_header_read(index, &now))
        memcpy(h.seen, (const void *)index, sizeof h.seen);
    add_boundary(&(struct boundary){{now.salt[0], now.salt[1]}, now.frame_count, pages, 0});
    for (uint32_t p = 1; p <= pages; p++)
        if (p != h.lock_page) add_version(p, 0, image + (size_t)(p - 1) * h.page_size);
}

void oracle_log_written(uint64_t at, const void *bytes, size_t n) {
    h.log = grown(h.log, &h.log_capacity, (size_t)at + n, 1);
    memcpy(h.log + at, bytes, n);
}

void oracle_log_gone(void) {
    if (h.log) memset(h.log, 0, h.log_capacity);
}

/* A frame as it lies in the log. */
static const uint8_t *frame_at(uint32_t frame) {
    size_t at = WAL_HEADER_SIZE + (size_t)(frame - 1) * (WAL_FRAME_HEADER_SIZE + h.page_size);
    if (at + WAL_FRAME_HEADER_SIZE + h.page_size > h.log_capacity)
        sim_fatal("oracle: frame %u was committed and never written", frame);
    return h.log + at;
}

static void take_frames(uint32_t from, const struct walindex_header *now) {
    int k = (int)h.count;
    for (uint32_t f = from + 1; f <= now->frame_count; f++) {
        const uint8_t *frame = frame_at(f);
        uint32_t pgno = get_u32be(frame);
        if (f == now->frame_count && get_u32be(frame + 4) != now->page_count)
            sim_fatal("oracle: frame %u does not end a commit of %u pages", f, now->page_count);
        if (pgno == 0 || pgno > 1u << 20) sim_fatal("oracle: frame %u of page %u", f, pgno);
        if (pgno == h.lock_page) sim_fatal("oracle: the lock page was written");
        add_version(pgno, k, frame + WAL_FRAME_HEADER_SIZE);
    }
}

/* Pages that came or went without a frame. A frame beyond the end is of a page that fell away
 * before the commit did. */
static void change_size(uint32_t before, uint32_t pages) {
    int k = (int)h.count;
    size_t most = before > pages ? before : pages;
    h.newest = grown(h.newest, &h.pages_capacity, most + 1, sizeof *h.newest);
    for (uint32_t p = before + 1; p <= pages; p++)
        if (!h.newest[p] || h.newest[p]->since != k) add_version(p, k, NULL);
    for (uint32_t p = pages + 1; p <= before; p++) add_version(p, k, NULL);
}

static void commit(const struct walindex_header *now) {
    const struct boundary *last = &h.at[h.count - 1];
    bool same = same_salts(now->salt, last->salt);
    uint32_t pages = now->page_count ? now->page_count : last->pages;
    if (same && now->frame_count < last->frame)
        sim_found(HARMED, "SQLite lost frames %u to %u of its log", now->frame_count + 1,
                  last->frame);
    if (!same || now->frame_count > last->frame) take_frames(same ? last->frame : 0, now);
    change_size(last->pages, pages);
    add_boundary(&(struct boundary){{now->salt[0], now->salt[1]}, now->frame_count, pages, 0});
    sim_count.commits++;
    sim_note((uint64_t)now->salt[0] << 32 ^ now->frame_count);
    SIM_SAY("boundary %d: log %08x%08x, frame %u, %u pages", (int)h.count - 1, now->salt[0],
            now->salt[1], now->frame_count, pages);
}

static void check_backfill(const volatile uint8_t *index, uint32_t frames) {
    uint32_t backfilled = walindex_backfilled(index);
    if (backfilled > frames && !sim_findings(HARMED))
        sim_found(HARMED, "nBackfill %u > mxFrame %u", backfilled, frames);
}

void oracle_look(void) {
    const volatile uint8_t *index = vfs_index();
    struct walindex_header now;
    if (!index || !h.count) return;
    if (memcmp(h.seen, (const void *)index, sizeof h.seen) == 0) {
        if (memcmp(h.seen, (const uint8_t *)index + sizeof h.seen, sizeof h.seen) == 0)
            check_backfill(index, h.at[h.count - 1].frame);
        return;
    }
    if (!walindex_header_read(index, &now)) return; /* being published */
    memcpy(h.seen, (const void *)index, sizeof h.seen);
    const struct boundary *last = &h.at[h.count - 1];
    if (same_salts(now.salt, last->salt) && now.frame_count == last->frame) return;
    commit(&now);
}

int oracle_newest(void) {
    return (int)h.count - 1;
}

const struct boundary *oracle_boundary(int k) {
    return &h.at[k];
}

int oracle_find(int from, const uint32_t salt[2], uint32_t frame) {
    for (int k = from; k < (int)h.count; k++)
        if (same_salts(h.at[k].salt, salt) && h.at[k].frame == frame) return k;
    return -1;
}

const uint8_t *oracle_page(uint32_t pgno, int k) {
    if (pgno >= h.pages_capacity) return NULL;
    const struct version *v = h.newest[pgno];
    while (v && v->since > k) v = v->before;
    return v ? v->bytes : NULL;
}

uint32_t oracle_differ(int k, const uint8_t *image, uint32_t pages, uint32_t *first) {
    uint32_t n = 0;
    *first = 0;
    for (uint32_t p = 1; p <= pages; p++) {
        const uint8_t *true_page = oracle_page(p, k);
        sim_count.pages++;
        if (!true_page && p != h.lock_page) sim_count.undefined++;
        if (!true_page) continue;
        if (memcmp(true_page, image + (size_t)(p - 1) * h.page_size, h.page_size) == 0) continue;
        if (n++ == 0) *first = p;
    }
    return n;
}
