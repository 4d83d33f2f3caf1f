/* The run file: see the header.
 *
 * Layout, big-endian: "HFR4" | boot id (40) | device | inode | birth | nonce | salts | frame |
 * frame checksum | change | page count | page size | change counter | destinations: { id | TXID |
 * node | own node | full | count | page numbers as differences, LEB128 } | CRC-64. A file that does
 * not decode is as good as none.
 */
#include "source/run_file.h"

#include "base/bytes.h"
#include "base/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RUN_FILE_LIMIT (64u << 20)
#define MAGIC "HFR4"
#define LOCK_SUFFIX ".lock"

uint64_t run_dest_id(const char *url) {
    return crc64(0, url, strlen(url));
}

int run_record_find(const struct run_record *r, const char *url) {
    uint64_t id = run_dest_id(url);
    for (int i = 0; r->present && i < r->dest_count; i++)
        if (r->dest[i].id == id) return i;
    return -1;
}

void run_record_deinit(struct run_record *r) {
    for (int i = 0; i < RUN_DESTS; i++) bitmap_deinit(&r->dest[i].unacked);
    *r = (struct run_record){0};
}

static void put_bitmap(struct buf *b, const struct bitmap *pages) {
    buf_u32be(b, pages->count);
    uint32_t last = 0;
    for (uint32_t p = bitmap_next(pages, 1); p; p = bitmap_next(pages, p + 1)) {
        buf_uvarint(b, p - last);
        last = p;
    }
}

static bool get_bitmap(struct rd *r, struct bitmap *pages) {
    uint32_t count = rd_u32be(r);
    uint64_t page = 0;
    for (uint32_t i = 0; i < count && rd_ok(r); i++) {
        page += rd_uvarint(r);
        if (page == 0 || page > UINT32_MAX - 1) return false;
        if (!is_ok(bitmap_add(pages, (uint32_t)page, NULL))) return false;
    }
    return rd_ok(r);
}

static void encode(struct buf *b, const struct run_file *f, const struct run_record *r) {
    char boot[BOOT_ID_SIZE] = {0};
    system_boot_id(boot);
    buf_put(b, MAGIC, 4);
    buf_put(b, boot, sizeof boot);
    buf_u64be(b, f->device);
    buf_u64be(b, f->inode);
    buf_u64be(b, (uint64_t)f->birth_ns);
    buf_u64be(b, r->nonce);
    buf_u32be(b, r->at.salt[0]);
    buf_u32be(b, r->at.salt[1]);
    buf_u32be(b, r->at.frame_count);
    buf_u32be(b, r->at.checksum[0]);
    buf_u32be(b, r->at.checksum[1]);
    buf_u32be(b, r->at.change);
    buf_u32be(b, r->at.page_count);
    buf_u32be(b, r->at.page_size);
    buf_u32be(b, r->change_counter);
    buf_u32be(b, (uint32_t)r->dest_count);
    for (int i = 0; i < r->dest_count; i++) {
        buf_u64be(b, r->dest[i].id);
        buf_u64be(b, r->dest[i].tail.txid);
        buf_u64be(b, r->dest[i].tail.node);
        buf_u64be(b, r->dest[i].tail.own);
        buf_u8(b, r->dest[i].full);
        put_bitmap(b, &r->dest[i].unacked);
    }
    buf_u64be(b, crc64(0, b->bytes, b->size));
}

static bool decode(const struct run_file *f, const uint8_t *bytes, size_t size,
                   struct run_record *out) {
    char boot[BOOT_ID_SIZE] = {0};
    system_boot_id(boot);
    if (size < 8 || get_u64be(bytes + size - 8) != crc64(0, bytes, size - 8)) return false;
    struct rd r = rd_of(bytes, size - 8);
    const uint8_t *magic = rd_bytes(&r, 4), *then = rd_bytes(&r, sizeof boot);
    if (!magic || !then || memcmp(magic, MAGIC, 4) != 0 || !boot[0]) return false;
    if (memcmp(then, boot, sizeof boot) != 0) return false;
    if (rd_u64be(&r) != f->device || rd_u64be(&r) != f->inode) return false;
    if (rd_u64be(&r) != (uint64_t)f->birth_ns) return false;
    out->nonce = rd_u64be(&r);
    out->at.salt[0] = rd_u32be(&r);
    out->at.salt[1] = rd_u32be(&r);
    out->at.frame_count = rd_u32be(&r);
    out->at.checksum[0] = rd_u32be(&r);
    out->at.checksum[1] = rd_u32be(&r);
    out->at.change = rd_u32be(&r);
    out->at.page_count = rd_u32be(&r);
    out->at.page_size = rd_u32be(&r);
    out->change_counter = rd_u32be(&r);
    uint32_t dests = rd_u32be(&r);
    if (dests > RUN_DESTS) return false;
    for (out->dest_count = 0; out->dest_count < (int)dests; out->dest_count++) {
        int i = out->dest_count;
        out->dest[i].id = rd_u64be(&r);
        out->dest[i].tail.txid = rd_u64be(&r);
        out->dest[i].tail.node = rd_u64be(&r);
        out->dest[i].tail.own = rd_u64be(&r);
        out->dest[i].full = rd_u8(&r) != 0;
        if (!get_bitmap(&r, &out->dest[i].unacked)) return false;
    }
    return rd_done(&r);
}

static void read_found(struct run_file *f) {
    struct env *env = f->env;
    struct file *file = NULL;
    uint64_t size = 0;
    if (!is_ok(env->files->open(env, f->path, FILE_READ, &file, NULL))) return;
    uint8_t *bytes = NULL;
    if (is_ok(env->files->size(env, file, &size, NULL)) && size <= RUN_FILE_LIMIT && size > 0)
        bytes = malloc((size_t)size);
    if (bytes && is_ok(env->files->read(env, file, 0, bytes, (size_t)size, NULL)))
        f->found.present = decode(f, bytes, (size_t)size, &f->found);
    if (!f->found.present) run_record_deinit(&f->found);
    free(bytes);
    env->files->close(env, file);
}

/* What another user or a service left: the one at work, or else the newest. */
struct others {
    struct run_file *f;
    struct file_stat newest;
};

static void see_other(void *arg, const char *lock) {
    struct others *o = arg;
    struct run_file *f = o->f;
    struct file_stat st;
    char path[LIMIT_PATH];
    if (f->holder) return;
    snprintf(path, sizeof path, "%.*s", (int)(strlen(lock) - strlen(LOCK_SUFFIX)), lock);
    f->holder = lock_file_holder(lock);
    bool there = is_ok(f->env->files->stat(f->env, path, &st, NULL));
    if (!f->holder && !(there && st.mtime_ms > o->newest.mtime_ms)) return;
    if (there) o->newest = st;
    snprintf(f->path, sizeof f->path, "%s", path);
}

static void look_elsewhere(struct run_file *f, const char *database, const char *name) {
    struct others o = {.f = f};
    char lock[128];
    (void)f->env->files->stat(f->env, f->path, &o.newest, NULL).code;
    snprintf(lock, sizeof lock, "%s" LOCK_SUFFIX, name);
    system_runtime_files(database, lock, see_other, &o);
}

rc run_file_open(struct run_file *f, struct env *env, const char *database, bool observe,
                 struct err *e) {
    char dir[LIMIT_PATH], name[64], own[LIMIT_PATH], lock[LIMIT_PATH + 64];
    struct file_stat st;
    TRY(env->files->stat(env, database, &st, e));
    *f = (struct run_file){
        .env = env, .device = st.device, .inode = st.inode, .birth_ns = st.birth_ns};
    TRY(system_runtime_dir(dir, e));
    snprintf(name, sizeof name, "%llx-%llu", (unsigned long long)st.device,
             (unsigned long long)st.inode);
    int n = snprintf(own, sizeof own, "%.*s/%s", LIMIT_PATH - 64, dir, name);
    if (n < 0 || (size_t)n >= sizeof own) return err_set(e, RC_USAGE, "%s: path too long", dir);
    snprintf(f->path, sizeof f->path, "%s", own);
    snprintf(lock, sizeof lock, "%s" LOCK_SUFFIX, own);
    f->holder = lock_file_holder(lock);
    if (!f->holder) look_elsewhere(f, database, name);
    rc r = ok();
    if (!observe) { /* another's is seen, and not written to */
        snprintf(f->path, sizeof f->path, "%s", own);
        r = f->holder ? (rc){RC_BUSY} : lock_file_take(&f->lock, lock, &f->holder, e);
    }
    if (r.code == RC_BUSY)
        return err_set(e, RC_BUSY, "%s: another holdfast replicates it (process %d)", database,
                       f->holder);
    TRY(r);
    read_found(f);
    return ok();
}

rc run_file_write(struct run_file *f, const struct run_record *record, struct err *e) {
    struct env *env = f->env;
    char temp[LIMIT_PATH + 8];
    snprintf(temp, sizeof temp, "%s.tmp", f->path);
    struct buf b AUTO(buf_deinit);
    buf_init(&b, RUN_FILE_LIMIT);
    encode(&b, f, record);
    TRY(buf_check(&b, "run file", e));
    struct file *file = NULL;
    TRY(env->files->open(env, temp, FILE_CREATE, &file, e));
    rc r = env->files->truncate(env, file, 0, e);
    if (is_ok(r)) r = env->files->write(env, file, 0, b.bytes, b.size, e);
    env->files->close(env, file);
    TRY(r);
    return env->files->rename(env, temp, f->path, true, e);
}

void run_file_close(struct run_file *f) {
    lock_file_release(&f->lock);
    run_record_deinit(&f->found);
}
