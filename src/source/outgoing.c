/* One object on its way to a store.
 *
 * Small ones (the rule) are encoded in memory at the cut and put by one task; a retry repeats the
 * same bytes. Large ones are streamed: a chunk is encoded here, written by a task, and so on; the
 * cut stays open meanwhile, so the log grows, and memory does not.
 *
 * Invariants
 *  1. While `task.busy` the worker owns chunk and upload; the source's thread looks at neither.
 *  2. A level-0 slot whose outcome is unknown is repeated with the same bytes or resolved by
 *     reading it; bytes are never encoded anew for it, but for a large one after reading it as
 *     absent, and then whatever stands there in the end is told apart by its checksum.
 *  3. A streaming object that failed gives its cut back: an unreachable store must not keep the
 *     log.
 */
#include "source/internal.h"

#include <lz4.h>
#include <string.h>

#define CHUNK (4u << 20)

static rc to_chunk(void *arg, const void *bytes, size_t n, struct err *e) {
    struct buf *chunk = arg;
    buf_put(chunk, bytes, n);
    return buf_check(chunk, "object", e);
}

static uint32_t next_page(const struct outgoing *o) {
    uint32_t p = o->next_page, last = o->header.commit, lock = ltx_lock_page(o->header.page_size);
    if (!o->all_pages) {
        p = bitmap_next(&o->pages, p);
        if (p == lock) p = bitmap_next(&o->pages, p + 1);
    } else if (p == lock) p++;
    return p <= last ? p : 0;
}

/* Encode pages until the chunk is full or all are in. */
static rc encode(struct outgoing *o, size_t chunk_size, struct err *e) {
    struct source *s = o->dest->source;
    uint32_t p;
    while (o->chunk.size < chunk_size && (p = next_page(o)) != 0) {
        TRY(source_read(s, &o->cut, p, s->page, e));
        TRY(ltx_writer_page(&o->writer, p, s->page, e));
        o->next_page = p + 1;
    }
    if (next_page(o) != 0) return ok();
    TRY(ltx_writer_finish(&o->writer, &o->file_checksum, &o->size, e));
    o->finished = true;
    return ok();
}

struct replica_file outgoing_file(const struct outgoing *o) {
    return (struct replica_file){.level = o->level,
                                 .min_txid = o->header.min_txid,
                                 .max_txid = o->header.max_txid,
                                 .size_bytes = o->size,
                                 .time_ms = o->header.timestamp_ms};
}

static void key_of(const struct outgoing *o, char key[KEY_SIZE]) {
    struct replica_file f = outgoing_file(o);
    replica_key(o->dest->store, &f, key);
}

/* A compacted object is read back before anything that it covers may go. */
static rc check_compacted(struct outgoing *o, rc put, struct err *e) {
    struct store *store = o->dest->store;
    struct replica_file f = outgoing_file(o);
    if (put.code != RC_CONFLICT) {
        TRY(put);
        return replica_read_back(store, &f, &o->file_checksum, e);
    }
    /* It is there already: a run before us made it and did not live to know. */
    struct object_info info;
    char key[KEY_SIZE];
    key_of(o, key);
    TRY(store->ops->stat(store, key, &info, e));
    f.size_bytes = o->size = info.size_bytes;
    return replica_read_back(store, &f, NULL, e);
}

/* On a worker: the whole small object. */
static rc put_small(struct task *t, struct err *e) {
    struct outgoing *o = HOLDER_OF(t, struct outgoing, task);
    struct store *store = o->dest->store;
    char key[KEY_SIZE];
    key_of(o, key);
    if (o->level == 0)
        return slot_put(o->dest, key, o->chunk.bytes, o->chunk.size, o->header.timestamp_ms,
                        o->file_checksum, &o->adopted, e);
    return check_compacted(
        o, store->ops->put(store, key, o->chunk.bytes, o->chunk.size, o->header.timestamp_ms, e),
        e);
}

/* Every page as long as LZ4 can make it, with its frame and its place in the index. */
static uint64_t size_most(const struct outgoing *o) {
    uint64_t pages = o->all_pages ? o->header.commit : o->pages.count;
    return (pages + 1) * (LZ4_COMPRESSBOUND(o->header.page_size) + 64) + 4096;
}

static rc write_chunk(struct outgoing *o, struct err *e) {
    struct store *store = o->dest->store;
    char key[KEY_SIZE];
    key_of(o, key);
    if (!o->upload) TRY(store->ops->upload_open(store, key, size_most(o), &o->upload, e));
    TRY(store->ops->upload_write(o->upload, o->chunk.bytes, o->chunk.size, e));
    if (!o->finished) return ok();
    struct object_upload *upload = o->upload;
    o->upload = NULL;
    rc r = store->ops->upload_commit(upload, o->header.timestamp_ms, e);
    if (o->level > 0) return check_compacted(o, r, e);
    if (r.code == RC_CONFLICT || r.code == RC_RETRY || r.code == RC_TIMEOUT) {
        rc seen = slot_resolve(o->dest, key, o->file_checksum, &o->adopted, e);
        return seen.code == RC_NOTFOUND ? r : seen;
    }
    return r;
}

/* On a worker: one chunk of a large object, and the end of it. What is given up is given up here,
 * where a store may take its time. */
static rc put_chunk(struct task *t, struct err *e) {
    struct outgoing *o = HOLDER_OF(t, struct outgoing, task);
    rc r = write_chunk(o, e);
    if (is_ok(r) || !o->upload) return r;
    o->dest->store->ops->upload_abort(o->upload);
    o->upload = NULL;
    return r;
}

rc outgoing_begin(struct outgoing *o, const struct ltx_header *h, struct cut cut,
                  void (*ended)(struct task *), struct err *e) {
    struct source *s = o->dest->source;
    uint64_t pages = o->all_pages ? h->commit : o->pages.count;
    o->header = *h;
    o->cut = cut;
    o->ended = ended;
    o->active = true;
    o->finished = o->adopted = false;
    o->next_page = 1;
    o->retry_ns = 0;
    o->started_ns = mono(s);
    o->streaming = pages * h->page_size > LIMIT_MEMORY_OBJECT;
    buf_deinit(&o->chunk);
    buf_init(&o->chunk, 2 * LIMIT_MEMORY_OBJECT);
    TRY(ltx_writer_init(&o->writer, h, s->opt.encoding, to_chunk, &o->chunk, e));
    if (o->streaming && !o->holds) {
        o->holds = true;
        s->open_cuts++;
    }
    TRY(encode(o, o->streaming ? CHUNK : SIZE_MAX, e));
    task_start(&o->task, o->streaming ? put_chunk : put_small, o->ended);
    return ok();
}

/* Called when the task has ended well and the object is not complete, or when a retry is due. */
rc outgoing_step(struct outgoing *o, struct err *e) {
    if (o->streaming && !o->finished) {
        buf_clear(&o->chunk);
        TRY(encode(o, CHUNK, e));
    }
    task_start(&o->task, o->streaming ? put_chunk : put_small, o->ended);
    return ok();
}

/* Forget it; its pages stay for the caller to take. */
void outgoing_release(struct outgoing *o) {
    struct store *store = o->dest->store;
    ENSURE(!o->task.busy);
    if (o->upload) store->ops->upload_abort(o->upload);
    o->upload = NULL;
    if (o->active) ltx_writer_deinit(&o->writer);
    if (o->holds) o->dest->source->open_cuts--;
    o->holds = false;
    buf_deinit(&o->chunk);
    o->active = false;
}
