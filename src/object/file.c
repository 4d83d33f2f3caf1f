/* A store in a directory: local disk, or a network file system.
 *
 * A small object on its way, which is most of what a live database ships, costs this and no more:
 * open an unnamed file, write, set its time, sync it, link it, close it, sync the directory. That a
 * directory exists is not asked beforehand; when the open says it does not, it is made. (Rejected:
 * a set of known directories. It saves nothing over that, and is wrong when somebody removes one.)
 *
 * Why link and not rename: link never replaces, whatever else writes there.
 *
 * Invariants:
 * 1. What has a key is whole, and on stable storage under its temporary name before it has the key.
 * 2. It has its time before it has its key: the time is what point-in-time restore goes by.
 * 3. RC_CONFLICT says that the key is taken for good: its directory has been synced, so that a
 * caller who finds its own bytes there (a writer killed between link and sync) may count them as
 * stored.
 * 4. A failed write is not followed by a commit.
 * After a crash at any point there is the whole object or none; beside it at most a ".*.tmp", which
 * no list shows and no key can name. A removal may be undone by a crash: it is repeated or
 * harmless.
 */
#include "base/limits.h"
#include "object/key.h"
#include "object/object.h"
#include "os/system.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROOT_SIZE (sizeof((struct store *)0)->url - sizeof "file://")

struct file_store {
    struct store store;      /* first */
    atomic_bool has_objects; /* put through it */
    char root[ROOT_SIZE];
};

/* A key as paths. */
struct place {
    char dir[LIMIT_PATH], path[LIMIT_PATH];
};

struct file_upload {
    struct env *env;
    struct file *file;
    uint64_t size;
    bool failed;
    struct place place;
};

/* `key` has been checked. */
static rc join(const struct store *s, const char *key, char path[LIMIT_PATH], struct err *e) {
    const char *root = ((const struct file_store *)s)->root;
    const char *slash = *key && strcmp(root, "/") != 0 ? "/" : "";
    int n = snprintf(path, LIMIT_PATH, "%s%s%s", root, slash, key);
    return n < 0 || n >= (int)LIMIT_PATH ? err_set(e, RC_USAGE, "%s: path too long", root) : ok();
}

static rc path_of(const struct store *s, const char *key, char path[LIMIT_PATH], struct err *e) {
    TRY(key_check(key, e));
    return join(s, key, path, e);
}

static rc place_of(const struct store *s, const char *key, struct place *out, struct err *e) {
    char dir[LIMIT_KEY];
    TRY(path_of(s, key, out->path, e));
    size_t n = (size_t)(key_name(key) - key);
    if (n > 0) n--; /* the slash */
    memcpy(dir, key, n);
    dir[n] = 0;
    return join(s, dir, out->dir, e);
}

/* Makes the directory when that was what it lacked; but not all that it lies in, once there was
 * something: that was moved, deleted, or its disk was unmounted, and a new one in its place would
 * take objects that continue nothing. */
static rc open_in(struct store *s, const char *dir, const char *path, enum file_mode mode,
                  struct file **out, struct err *e) {
    const struct env_files *files = s->env->files;
    bool has_objects = atomic_load(&((struct file_store *)s)->has_objects);
    rc r = files->open(s->env, path, mode, out, e);
    if (r.code != RC_NOTFOUND) return r;
    r = (has_objects ? files->make_dir : files->make_dirs)(s->env, dir, e);
    if (r.code == RC_NOTFOUND) return err_set(e, RC_IO, "%s: the replica is gone", dir);
    return is_ok(r) ? files->open(s->env, path, mode, out, e) : r;
}

/* Give a written file its key. */
static rc publish(struct env *env, struct file *f, const struct place *p, int64_t time_ms,
                  struct err *e) {
    TRY(env->files->set_mtime(env, f, time_ms, e));
    TRY(env->files->sync(env, f, e));
    rc r = env->files->link(env, f, NULL, p->path, e);
    if (is_ok(r)) return env->files->sync_dir(env, p->dir, e);
    if (r.code == RC_CONFLICT) TRY(env->files->sync_dir(env, p->dir, e)); /* invariant 3 */
    return r;
}

static rc put_at(struct store *s, const struct place *p, const void *bytes, size_t size,
                 int64_t time_ms, struct err *e) {
    struct file *f;
    TRY(open_in(s, p->dir, p->dir, FILE_TEMP, &f, e));
    rc r = s->env->files->write(s->env, f, 0, bytes, size, e);
    if (is_ok(r)) r = publish(s->env, f, p, time_ms, e);
    s->env->files->close(s->env, f);
    return r;
}

static rc file_put(struct store *s, const char *key, const void *bytes, size_t size,
                   int64_t time_ms, struct err *e) {
    struct file_store *fs = (struct file_store *)s;
    struct place p;
    TRY(place_of(s, key, &p, e));
    rc r = put_at(s, &p, bytes, size, time_ms, e);
    if (is_ok(r) && strncmp(key, "ltx/", 4) == 0) atomic_store(&fs->has_objects, true);
    return is_ok(r) ? r : err_prefix(e, r, "put %s", p.path);
}

/* Named: only what has a name can replace. */
static rc write_note(struct store *s, const char *dir, const char *temp, const void *bytes,
                     size_t size, struct err *e) {
    struct file *f;
    TRY(open_in(s, dir, temp, FILE_CREATE_NEW, &f, e));
    rc r = s->env->files->write(s->env, f, 0, bytes, size, e);
    if (is_ok(r)) r = s->env->files->sync(s->env, f, e);
    s->env->files->close(s->env, f);
    return r;
}

static rc put_note_at(struct store *s, const struct place *p, const void *bytes, size_t size,
                      struct err *e) {
    struct env *env = s->env;
    uint64_t id;
    char temp[LIMIT_PATH + 32];
    env->random(env, &id, sizeof id);
    snprintf(temp, sizeof temp, "%s/.%016" PRIx64 ".tmp", p->dir, id);
    rc r = write_note(s, p->dir, temp, bytes, size, e);
    if (is_ok(r)) r = env->files->rename(env, temp, p->path, true, e);
    if (is_ok(r)) return env->files->sync_dir(env, p->dir, e);
    (void)env->files->remove(env, temp, NULL); /* the first failure is the one to tell */
    return r;
}

static rc file_put_note(struct store *s, const char *key, const void *bytes, size_t size,
                        struct err *e) {
    struct place p;
    TRY(place_of(s, key, &p, e));
    rc r = put_note_at(s, &p, bytes, size, e);
    return is_ok(r) ? r : err_prefix(e, r, "put %s", p.path);
}

static rc file_get(struct store *s, const char *key, uint64_t at, void *buf, size_t n,
                   struct err *e) {
    char path[LIMIT_PATH];
    struct file *f;
    TRY(path_of(s, key, path, e));
    TRY(s->env->files->open(s->env, path, FILE_READ, &f, e));
    rc r = s->env->files->read(s->env, f, at, buf, n, e);
    s->env->files->close(s->env, f);
    return r;
}

static rc file_stat(struct store *s, const char *key, struct object_info *out, struct err *e) {
    char path[LIMIT_PATH];
    struct file_stat st;
    TRY(path_of(s, key, path, e));
    TRY(s->env->files->stat(s->env, path, &st, e));
    if (!st.is_regular) return err_set(e, RC_NOTFOUND, "%s is not a regular file", path);
    *out = (struct object_info){key_name(key), st.size_bytes, st.mtime_ms};
    return ok();
}

struct listing {
    struct env *env;
    const char *dir;
    rc (*each)(void *, const struct object_info *, struct err *); /* NULL: of directories */
    rc (*each_dir)(void *, const char *name, struct err *);
    void *arg;
};

static rc list_entry(void *arg, const char *name, struct err *e) {
    struct listing *l = arg;
    char path[LIMIT_PATH + 256];
    struct file_stat st;
    if (name[0] == '.') return ok(); /* a temporary file */
    snprintf(path, sizeof path, "%s/%s", l->dir, name);
    rc r = l->env->files->stat(l->env, path, &st, e);
    if (r.code == RC_NOTFOUND) return ok(); /* removed since */
    if (!is_ok(r)) return r;
    if (!l->each) return st.is_directory ? l->each_dir(l->arg, name, e) : ok();
    if (!st.is_regular) return ok();
    return l->each(l->arg, &(struct object_info){name, st.size_bytes, st.mtime_ms}, e);
}

static rc list_all(struct store *s, const char *dir, struct listing *l, struct err *e) {
    char path[LIMIT_PATH];
    struct file_stat st;
    l->env = s->env;
    l->dir = path;
    TRY(key_check_dir(dir, e));
    TRY(join(s, dir, path, e));
    rc r = s->env->files->stat(s->env, path, &st, e); /* apart: each() may say RC_NOTFOUND too */
    if (r.code == RC_NOTFOUND || (is_ok(r) && !st.is_directory)) return ok();
    if (!is_ok(r)) return r;
    return s->env->files->list(s->env, path, list_entry, l, e);
}

static rc file_list(struct store *s, const char *dir,
                    rc (*each)(void *, const struct object_info *, struct err *), void *arg,
                    struct err *e) {
    return list_all(s, dir, &(struct listing){.each = each, .arg = arg}, e);
}

static rc file_list_dirs(struct store *s, const char *dir,
                         rc (*each)(void *, const char *name, struct err *), void *arg,
                         struct err *e) {
    return list_all(s, dir, &(struct listing){.each_dir = each, .arg = arg}, e);
}

static rc file_remove(struct store *s, const char *key, struct err *e) {
    char path[LIMIT_PATH];
    TRY(path_of(s, key, path, e));
    rc r = s->env->files->remove(s->env, path, e);
    return r.code == RC_NOTFOUND ? ok() : r;
}

static void file_upload_abort(struct object_upload *upload) {
    struct file_upload *u = (struct file_upload *)upload;
    if (!u) return;
    u->env->files->close(u->env, u->file);
    free(u);
}

static rc file_upload_open(struct store *s, const char *key, uint64_t size_most,
                           struct object_upload **out, struct err *e) {
    (void)size_most;
    struct place p;
    TRY(place_of(s, key, &p, e));
    struct file_upload *u = calloc(1, sizeof *u);
    if (!u) return err_set(e, RC_NOMEM, "put %s: no memory", p.path);
    u->env = s->env;
    u->place = p;
    rc r = open_in(s, p.dir, p.dir, FILE_TEMP, &u->file, e);
    if (is_ok(r)) {
        *out = (struct object_upload *)u;
        return r;
    }
    free(u);
    return err_prefix(e, r, "put %s", p.path);
}

static rc file_upload_write(struct object_upload *upload, const void *bytes, size_t n,
                            struct err *e) {
    struct file_upload *u = (struct file_upload *)upload;
    rc r = u->env->files->write(u->env, u->file, u->size, bytes, n, e);
    u->size += n;
    if (is_ok(r)) return r;
    u->failed = true;
    return err_prefix(e, r, "put %s", u->place.path);
}

static rc file_upload_commit(struct object_upload *upload, int64_t time_ms, struct err *e) {
    struct file_upload *u = (struct file_upload *)upload;
    rc r = u->failed ? err_set(e, RC_IO, "a write failed before") /* invariant 4 */
                     : publish(u->env, u->file, &u->place, time_ms, e);
    if (!is_ok(r)) r = err_prefix(e, r, "put %s", u->place.path);
    file_upload_abort(upload);
    return r;
}

static void file_free(struct store *s) {
    free(s);
}

static const struct store_ops file_ops = {
    .put = file_put,
    .put_note = file_put_note,
    .get = file_get,
    .stat = file_stat,
    .list = file_list,
    .list_dirs = file_list_dirs,
    .remove = file_remove,
    .upload_open = file_upload_open,
    .upload_write = file_upload_write,
    .upload_commit = file_upload_commit,
    .upload_abort = file_upload_abort,
    .free = file_free,
};

static rc check_root(struct env *env, const char *root, struct err *e) {
    struct file_stat st;
    rc r = env->files->stat(env, root, &st, e);
    if (r.code == RC_NOTFOUND) return ok(); /* made by the first put */
    if (!is_ok(r)) return r;
    return st.is_directory ? ok() : err_set(e, RC_USAGE, "replica %s: not a directory", root);
}

static bool has_dots(const char *path) {
    for (const char *p = path; (p = strstr(p, "..")) != NULL; p += 2)
        if ((p == path || p[-1] == '/') && (p[2] == '/' || p[2] == 0)) return true;
    return false;
}

/* One directory has one name, however it was written: the part that exists without links and dots,
 * then what is still to be made. */
static rc absolute(const char *root, char out[LIMIT_PATH], struct err *e) {
    char head[LIMIT_PATH];
    size_t n = strlen(root), kept = n;
    if (n == 0) return err_set(e, RC_USAGE, "replica: an empty path");
    if (n >= ROOT_SIZE) return err_set(e, RC_USAGE, "replica %.40s...: path too long", root);
    memcpy(head, root, n + 1);
    rc r = system_real_path(head, out, e);
    while (r.code == RC_NOTFOUND) {
        while (kept && head[kept - 1] == '/') kept--;
        while (kept && head[kept - 1] != '/') kept--;
        head[kept] = 0;
        r = system_real_path(kept ? head : ".", out, e);
        if (kept == 0) break;
    }
    TRY(r);
    while (root[kept] == '/') kept++;
    if (has_dots(root + kept))
        return err_set(e, RC_USAGE, "replica %.80s: '..' in what does not exist yet", root);
    while (n > kept && root[n - 1] == '/') n--;
    size_t at = strlen(out);
    if (at + 1 + n - kept >= ROOT_SIZE)
        return err_set(e, RC_USAGE, "replica %.40s...: path too long", root);
    if (n > kept)
        snprintf(out + at, LIMIT_PATH - at, "%s%.*s", at > 1 ? "/" : "", (int)(n - kept),
                 root + kept);
    return ok();
}

rc store_new_file(struct env *env, const char *root, struct store **out, struct err *e) {
    char path[LIMIT_PATH];
    TRY(absolute(root, path, e));
    struct file_store *s = calloc(1, sizeof *s);
    if (!s) return err_set(e, RC_NOMEM, "replica %s: no memory", root);
    snprintf(s->root, sizeof s->root, "%.*s", (int)sizeof s->root - 1, path);
    s->store = (struct store){.ops = &file_ops, .env = env, .layout = LAYOUT_LTX};
    snprintf(s->store.url, sizeof s->store.url, "file://%s", s->root);
    rc r = check_root(env, s->root, e);
    if (is_ok(r)) *out = &s->store;
    else free(s);
    return r;
}
