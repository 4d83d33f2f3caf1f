/* The model of a disk: see the header.
 *
 * The trace is swept once, forwards: what is safe at a point is kept as it is there, and only what
 * came since is looked at for a cut. So a cut costs what is in flight, and a copy of each file that
 * has something in flight.
 *
 * Invariants:
 * 1. `safe` is what every cut holds, `now` what a cut without any loss holds.
 * 2. A file's pending records are in their order, none is older than a sync that has ended.
 * 3. What a cut holds depends on the trace, the point and the random state alone.
 */
#include "disk.h"

#include "model.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 512

struct op {
    enum trace_op op;
    int path, to, file; /* numbers; -1: none */
    uint64_t inode;
    int64_t at;
    const uint8_t *data;
    size_t size;
};

uint32_t random_below(struct random *r, uint32_t n) {
    r->state ^= r->state >> 12;
    r->state ^= r->state << 25;
    r->state ^= r->state >> 27;
    return n ? (uint32_t)((r->state * 0x2545f4914f6cdd1d) >> 33) % n : 0;
}

static void *need(void *p) {
    if (!p) abort();
    return p;
}

/* ---- reading a trace ---- */

static bool slurp(const char *path, uint8_t **out, size_t *size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) return false;
    *size = (size_t)st.st_size;
    *out = need(malloc(*size + 1));
    size_t done = 0;
    for (ssize_t n; done < *size && (n = read(fd, *out + done, *size - done)) > 0;)
        done += (size_t)n;
    close(fd);
    return done == *size;
}

static int number_of(struct disk *d, const char *path, size_t size) {
    for (int i = 0; i < d->path_count; i++)
        if (strlen(d->paths[i]) == size && memcmp(d->paths[i], path, size) == 0) return i;
    int i = d->path_count++;
    d->paths = need(realloc(d->paths, (size_t)d->path_count * sizeof *d->paths));
    d->paths[i] = need(strndup(path, size));
    return i;
}

static size_t read_op(struct disk *d, const uint8_t *bytes, struct op *o) {
    struct trace_record r;
    memcpy(&r, bytes, sizeof r);
    const char *path = (const char *)bytes + sizeof r;
    *o = (struct op){.op = (enum trace_op)r.op,
                     .path = r.path_size || r.op == TRACE_SYNC_DIR || r.op == TRACE_DIR_SYNCED
                                 ? number_of(d, path, r.path_size)
                                 : -1,
                     .to = r.to_size ? number_of(d, path + r.path_size, r.to_size) : -1,
                     .file = -1,
                     .inode = r.inode,
                     .at = r.at,
                     .data = bytes + sizeof r + r.path_size + r.to_size,
                     .size = r.data_size};
    return sizeof r + r.path_size + r.to_size + r.data_size;
}

static void find_parents(struct disk *d) {
    d->parents = need(calloc((size_t)d->path_count + 1, sizeof *d->parents));
    for (int i = 0, count = d->path_count; i < count; i++) {
        const char *slash = strrchr(d->paths[i], '/');
        size_t size = slash ? (size_t)(slash - d->paths[i]) : 0;
        d->parents[i] = -1;
        for (int p = 0; p < count; p++)
            if (p != i && strlen(d->paths[p]) == size &&
                memcmp(d->paths[p], d->paths[i], size) == 0)
                d->parents[i] = p;
    }
}

static struct names no_names(const struct disk *d) {
    struct names n = {need(malloc(((size_t)d->path_count + 1) * sizeof(int)))};
    for (int i = 0; i < d->path_count; i++) n.at[i] = DISK_NOTHING;
    return n;
}

static bool is_made(const struct disk *d, int path) {
    for (size_t i = 0; i < d->op_count; i++)
        if (d->ops[i].op == TRACE_MKDIR && d->ops[i].path == path) return true;
    return false;
}

/* A directory in which something happens, and which nobody made, was there before. */
static void find_first_directories(struct disk *d) {
    for (int i = 0; i < d->path_count; i++) {
        int p = d->parents[i];
        if (p < 0 || d->now.at[p] == DISK_DIRECTORY || is_made(d, p)) continue;
        d->now.at[p] = d->safe.at[p] = d->journal.at[p] = DISK_DIRECTORY;
    }
}

bool disk_open(struct disk *d, const char *path, const char *always) {
    size_t size = 0, capacity = 0;
    *d = (struct disk){.always = always};
    if (!slurp(path, &d->bytes, &size)) return false;
    for (size_t at = 0; at + sizeof(struct trace_record) <= size;) {
        if (d->op_count == capacity) {
            capacity = capacity ? 2 * capacity : 1024;
            d->ops = need(realloc(d->ops, capacity * sizeof *d->ops));
        }
        at += read_op(d, d->bytes + at, &d->ops[d->op_count++]);
        if (at > size) return false;
    }
    find_parents(d);
    d->now = no_names(d);
    d->safe = no_names(d);
    d->journal = no_names(d);
    d->unsafe = need(calloc(d->op_count + 1, sizeof *d->unsafe));
    d->files = need(calloc(d->op_count + 1, sizeof *d->files));
    find_first_directories(d);
    return d->op_count > 0;
}

void disk_close(struct disk *d) {
    for (int i = 0; i < d->path_count; i++) free(d->paths[i]);
    for (int i = 0; i < d->file_count; i++) free(d->files[i].bytes), free(d->files[i].pending);
    free(d->paths), free(d->parents), free(d->files), free(d->ops), free(d->bytes);
    free(d->now.at), free(d->safe.at), free(d->journal.at), free(d->unsafe);
}

const char *disk_mark(const struct disk *d, size_t record, size_t *size) {
    *size = d->ops[record].size;
    return d->ops[record].op == TRACE_MARK ? (const char *)d->ops[record].data : NULL;
}

bool disk_is_sync_end(const struct disk *d, size_t record) {
    return d->ops[record].op == TRACE_SYNCED || d->ops[record].op == TRACE_DIR_SYNCED;
}

void disk_describe(const struct disk *d, size_t record, char *out, size_t size) {
    static const char *const names[] = {
        "?",    "create", "temp", "mkdir", "link",   "rename",   "remove",     "write",
        "size", "room",   "time", "sync",  "synced", "sync_dir", "dir_synced", "mark"};
    const struct op *o = &d->ops[record];
    snprintf(out, size, "%zu %s %s%s%s inode=%llu at=%lld size=%zu %.*s", record, names[o->op],
             o->path >= 0 ? d->paths[o->path] : "", o->to >= 0 ? " to " : "",
             o->to >= 0 ? d->paths[o->to] : "", (unsigned long long)o->inode, (long long)o->at,
             o->size, o->op == TRACE_MARK ? (int)o->size - 1 : 0, (const char *)o->data);
}

/* ---- bytes ---- */

static void resize(struct disk_file *f, size_t size) {
    if (size > f->capacity) {
        f->capacity = size < 4096 ? 4096 : 2 * size;
        f->bytes = need(realloc(f->bytes, f->capacity));
    }
    if (size > f->size) memset(f->bytes + f->size, 0, size - f->size);
    f->size = size;
}

static void write_part(struct disk_file *f, const struct op *o, size_t from, size_t to) {
    if ((size_t)o->at + to > f->size) resize(f, (size_t)o->at + to);
    memcpy(f->bytes + o->at + from, o->data + from, to - from);
}

static void apply_data(struct disk_file *f, const struct op *o) {
    switch (o->op) {
    case TRACE_WRITE: write_part(f, o, 0, o->size); return;
    case TRACE_SIZE: resize(f, (size_t)o->at); return;
    case TRACE_ROOM:
        if ((size_t)o->at > f->size) resize(f, (size_t)o->at);
        return;
    case TRACE_TIME: f->mtime_ns = o->at; return;
    default: return;
    }
}

static void apply_sectors(struct disk_file *f, const struct op *o, struct random *r) {
    for (size_t from = 0; from < o->size; from += SECTOR) {
        size_t to = from + SECTOR < o->size ? from + SECTOR : o->size;
        if (random_below(r, 2)) write_part(f, o, from, to);
    }
}

static void apply_some(struct disk_file *f, const struct op *o, struct random *r) {
    uint32_t kind = random_below(r, o->op == TRACE_WRITE ? 5 : 2);
    switch (kind) {
    case 0: return;
    case 1: apply_data(f, o); return;
    case 2: /* cut short */
        write_part(f, o, 0, random_below(r, (uint32_t)(o->size / SECTOR) + 1) * SECTOR);
        return;
    case 3: apply_sectors(f, o, r); return;
    default: /* its size alone */
        if ((size_t)o->at + o->size > f->size) resize(f, (size_t)o->at + o->size);
    }
}

/* ---- the sweep ---- */

static int file_of(const struct disk *d, uint64_t inode) {
    for (int i = d->file_count - 1; i >= 0; i--) /* the newest: numbers are used again */
        if (d->files[i].inode == inode) return i;
    return -1;
}

static int new_file(struct disk *d, uint64_t inode) {
    d->files[d->file_count] = (struct disk_file){.inode = inode};
    return d->file_count++;
}

static void apply_name(const struct op *o, struct names *n) {
    switch (o->op) {
    case TRACE_CREATE:
    case TRACE_LINK: n->at[o->path] = o->file; return;
    case TRACE_MKDIR: n->at[o->path] = DISK_DIRECTORY; return;
    case TRACE_REMOVE: n->at[o->path] = DISK_NOTHING; return;
    case TRACE_RENAME: n->at[o->path] = DISK_NOTHING, n->at[o->to] = o->file; return;
    default: return;
    }
}

static bool is_always(const struct disk *d, int path) {
    size_t n = strlen(d->always);
    return path >= 0 && n && strncmp(d->paths[path], d->always, n) == 0;
}

static void change_name(struct disk *d, size_t record) {
    struct op *o = &d->ops[record];
    if (o->op == TRACE_RENAME) {
        o->file = d->now.at[o->path];
        if (d->parents[o->path] != d->parents[o->to]) abort(); /* not modelled */
    }
    if (o->file >= 0 && !d->files[o->file].named_at) d->files[o->file].named_at = record;
    apply_name(o, &d->now);
    if (is_always(d, o->path)) apply_name(o, &d->safe);
    else d->unsafe[d->unsafe_count++] = record;
}

static void change_data(struct disk *d, size_t record) {
    struct op *o = &d->ops[record];
    o->file = file_of(d, o->inode);
    if (o->file < 0) return; /* outside of the tree */
    struct disk_file *f = &d->files[o->file];
    if (f->pending_count == f->pending_capacity) {
        f->pending_capacity = f->pending_capacity ? 2 * f->pending_capacity : 16;
        f->pending = need(realloc(f->pending, f->pending_capacity * sizeof *f->pending));
    }
    f->pending[f->pending_count++] = record;
}

static size_t begin_of_sync(const struct disk *d, size_t end) {
    enum trace_op begin = d->ops[end].op == TRACE_SYNCED ? TRACE_SYNC : TRACE_SYNC_DIR;
    size_t i = end;
    while (i > 0 && !(d->ops[i].op == begin && d->ops[i].at == d->ops[end].at)) i--;
    return i;
}

/* A journal commits all that came before with it. */
static void journal_until(struct disk *d, size_t record) {
    for (; d->journal_end < record; d->journal_end++) {
        const struct op *o = &d->ops[d->journal_end];
        apply_name(o, &d->journal);
    }
}

static void file_synced(struct disk *d, size_t end) {
    size_t begin = begin_of_sync(d, end), done = 0;
    int file = file_of(d, d->ops[begin].inode);
    if (file < 0) return;
    struct disk_file *f = &d->files[file];
    while (done < f->pending_count && f->pending[done] < begin)
        apply_data(f, &d->ops[f->pending[done++]]);
    memmove(f->pending, f->pending + done, (f->pending_count - done) * sizeof *f->pending);
    f->pending_count -= done;
    if (f->named_at >= d->journal_end && f->named_at < begin) journal_until(d, begin);
}

static void directory_synced(struct disk *d, size_t end) {
    size_t begin = begin_of_sync(d, end), kept = 0;
    int dir = d->ops[end].path;
    for (size_t i = 0; i < d->unsafe_count; i++) {
        const struct op *o = &d->ops[d->unsafe[i]];
        if (d->unsafe[i] < begin && d->parents[o->path] == dir) apply_name(o, &d->safe);
        else d->unsafe[kept++] = d->unsafe[i];
    }
    d->unsafe_count = kept;
    journal_until(d, begin);
}

static void happen(struct disk *d, size_t record) {
    struct op *o = &d->ops[record];
    switch (o->op) {
    case TRACE_CREATE:
    case TRACE_TEMP:
        o->file = new_file(d, o->inode);
        if (o->op == TRACE_CREATE) change_name(d, record);
        return;
    case TRACE_LINK:
        o->file = file_of(d, o->inode);
        change_name(d, record);
        return;
    case TRACE_MKDIR:
    case TRACE_REMOVE:
    case TRACE_RENAME: change_name(d, record); return;
    case TRACE_WRITE:
    case TRACE_SIZE:
    case TRACE_ROOM:
    case TRACE_TIME: change_data(d, record); return;
    case TRACE_SYNCED: file_synced(d, record); return;
    case TRACE_DIR_SYNCED: directory_synced(d, record); return;
    case TRACE_SYNC:
    case TRACE_SYNC_DIR:
    case TRACE_MARK: return;
    }
}

void disk_advance(struct disk *d, size_t point) {
    for (; d->at < point && d->at < d->op_count; d->at++) happen(d, d->at);
}

/* ---- a cut ---- */

enum data_loss { DATA_NONE, DATA_ALL, DATA_BEGINNING, DATA_ANY };

static void lose_data(const struct disk *d, struct disk_file *f, const struct disk_file *from,
                      enum data_loss loss, struct random *r) {
    size_t until = from->pending_count;
    if (loss == DATA_NONE) until = 0;
    if (loss == DATA_BEGINNING) until = random_below(r, (uint32_t)until + 1);
    for (size_t i = 0; i < until; i++) {
        const struct op *o = &d->ops[from->pending[i]];
        if (loss == DATA_ANY) apply_some(f, o, r);
        else apply_data(f, o);
    }
}

static void fill_file(const struct disk *d, struct tree_file *t, int file, enum data_loss loss,
                      struct random *r) {
    const struct disk_file *from = &d->files[file];
    struct disk_file f = {.size = from->size, .mtime_ns = from->mtime_ns};
    if (from->pending_count) {
        f.capacity = from->size + 4096;
        f.bytes = need(malloc(f.capacity));
        if (from->size) memcpy(f.bytes, from->bytes, from->size);
        lose_data(d, &f, from, loss, r);
    }
    t->is_copy = f.bytes != NULL;
    t->bytes = f.bytes ? f.bytes : from->bytes ? from->bytes : (const uint8_t *)"";
    t->size = f.size;
    t->mtime_ns = f.mtime_ns;
}

static bool is_reachable(const struct disk *d, const struct names *n, int path) {
    for (int p = d->parents[path]; p >= 0; p = d->parents[p])
        if (d->paths[p][0] && n->at[p] != DISK_DIRECTORY) return false;
    return true;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct tree_file *)a)->name, ((const struct tree_file *)b)->name);
}

/* `loss` negative: another for each file. */
static void make_tree(const struct disk *d, const struct names *n, int loss, struct random *r,
                      struct tree *out) {
    out->files = need(calloc((size_t)d->path_count + 1, sizeof *out->files));
    out->count = 0;
    for (int i = 0; i < d->path_count; i++) {
        if (n->at[i] == DISK_NOTHING || !d->paths[i][0] || !is_reachable(d, n, i)) continue;
        struct tree_file *t = &out->files[out->count++];
        *t = (struct tree_file){.path = i, .name = d->paths[i]};
        t->is_directory = n->at[i] == DISK_DIRECTORY;
        if (t->is_directory) continue;
        enum data_loss of = loss < 0 ? (enum data_loss)random_below(r, 4) : (enum data_loss)loss;
        fill_file(d, t, n->at[i], is_always(d, i) ? DATA_ALL : of, r);
    }
    qsort(out->files, (size_t)out->count, sizeof *out->files, by_name);
}

/* What a journal may hold: all up to some change of a name. */
static void cut_journal(const struct disk *d, struct names *n, struct random *r) {
    memcpy(n->at, d->journal.at, (size_t)d->path_count * sizeof *n->at);
    size_t end = d->journal_end + random_below(r, (uint32_t)(d->at - d->journal_end) + 1);
    for (size_t i = d->journal_end; i < d->at; i++)
        if (i < end || is_always(d, d->ops[i].path)) apply_name(&d->ops[i], n);
}

static void cut_names(const struct disk *d, struct names *n, struct random *r) {
    for (size_t i = 0; i < d->unsafe_count; i++)
        if (random_below(r, 2)) apply_name(&d->ops[d->unsafe[i]], n);
}

void disk_cut(struct disk *d, struct random *r, struct tree *out) {
    static const struct {
        const char *how;
        char names; /* s: safe ones, n: now, j: a journal's, h: any (harsh) */
        int data;
    } kinds[] = {
        {"nothing in flight is kept", 's', DATA_NONE},
        {"everything is kept", 'n', DATA_ALL},
        {"names without their data", 'n', DATA_NONE},
        {"names, some data", 'n', -1},
        {"data without names", 's', DATA_ALL},
        {"a journal, all data", 'j', DATA_ALL},
        {"a journal, some data", 'j', -1},
        {"a journal, some data", 'j', -1},
        {"any names, all data", 'h', DATA_ALL},
        {"any names, some data", 'h', -1},
        {"any names, some data", 'h', -1},
        {"any names, some data", 'h', -1},
    };
    uint32_t kind = random_below(r, sizeof kinds / sizeof *kinds);
    struct names n = no_names(d);
    const struct names *from = kinds[kind].names == 'n' ? &d->now : &d->safe;
    memcpy(n.at, from->at, (size_t)d->path_count * sizeof *n.at);
    if (kinds[kind].names == 'j') cut_journal(d, &n, r);
    if (kinds[kind].names == 'h') cut_names(d, &n, r);
    out->how = kinds[kind].how;
    out->any_names = kinds[kind].names == 'h';
    make_tree(d, &n, kinds[kind].data, r, out);
    free(n.at);
}

void disk_whole(struct disk *d, struct tree *out) {
    struct random r = {1};
    out->how = "nothing is lost";
    make_tree(d, &d->now, DATA_ALL, &r, out);
}

void tree_deinit(struct tree *t) {
    for (int i = 0; i < t->count; i++)
        if (t->files[i].is_copy) free((void *)(uintptr_t)t->files[i].bytes);
    free(t->files);
    *t = (struct tree){0};
}
