/* A store that fails when told to, around one that works: lost requests, lost replies, calls that
 * break off in the middle. For tests.
 *
 * Before each operation it asks decide(arg, op, key), `op` being the name of the function in
 * store_ops; what a fault means:
 *
 *     FAULT_FAIL        nothing has been done                                         RC_RETRY
 *     FAULT_LOSE_REPLY  put, put_note, remove, upload_commit: done all the same       RC_TIMEOUT
 *                       the others, which change nothing: as FAULT_FAIL, but          RC_TIMEOUT
 *     FAULT_SHORT       get and upload_write: the first half; list: the first half    RC_RETRY
 *                       of the entries; the others are whole or nothing: as FAULT_FAIL
 *
 * Invariants:
 * 1. A fault that fired is never an RC_OK.
 * 2. What the inner store has is what it could have after the same fault on a network: an upload
 * that lost a write is never committed.
 */
#include "base/limits.h"
#include "stores/stores.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fault_store {
    struct store store; /* first */
    struct store *inner;
    enum fault (*decide)(void *, const char *op, const char *key);
    void *arg;
};

struct fault_upload {
    struct fault_store *fs;
    struct object_upload *inner;
    bool failed;
    char key[LIMIT_KEY];
};

static enum fault ask(const struct store *s, const char *op, const char *key) {
    const struct fault_store *fs = (const struct fault_store *)s;
    return fs->decide(fs->arg, op, key);
}

static struct store *inner_of(struct store *s) {
    return ((struct fault_store *)s)->inner;
}

static rc fail(enum fault fault, const char *op, const char *key, struct err *e) {
    if (fault == FAULT_LOSE_REPLY)
        return err_set(e, RC_TIMEOUT, "%s %s: injected fault: no reply", op, key);
    return err_set(e, RC_RETRY, "%s %s: injected fault", op, key);
}

static rc fault_put(struct store *s, const char *key, const void *bytes, size_t size,
                    int64_t time_ms, struct err *e) {
    struct store *in = inner_of(s);
    enum fault fault = ask(s, "put", key);
    if (fault == FAULT_NONE) return in->ops->put(in, key, bytes, size, time_ms, e);
    if (fault == FAULT_LOSE_REPLY) (void)in->ops->put(in, key, bytes, size, time_ms, NULL);
    return fail(fault, "put", key, e);
}

static rc fault_put_note(struct store *s, const char *key, const void *bytes, size_t size,
                         struct err *e) {
    struct store *in = inner_of(s);
    enum fault fault = ask(s, "put_note", key);
    if (fault == FAULT_NONE) return in->ops->put_note(in, key, bytes, size, e);
    if (fault == FAULT_LOSE_REPLY) (void)in->ops->put_note(in, key, bytes, size, NULL);
    return fail(fault, "put_note", key, e);
}

static rc fault_get(struct store *s, const char *key, uint64_t at, void *buf, size_t n,
                    struct err *e) {
    struct store *in = inner_of(s);
    enum fault fault = ask(s, "get", key);
    if (fault == FAULT_NONE) return in->ops->get(in, key, at, buf, n, e);
    if (fault == FAULT_SHORT) (void)in->ops->get(in, key, at, buf, n / 2, NULL);
    return fail(fault, "get", key, e);
}

static rc fault_stat(struct store *s, const char *key, struct object_info *out, struct err *e) {
    struct store *in = inner_of(s);
    enum fault fault = ask(s, "stat", key);
    return fault == FAULT_NONE ? in->ops->stat(in, key, out, e) : fail(fault, "stat", key, e);
}

/* Lets the first half of a list through; counts first, as a list does not say how long it is. */
struct half {
    rc (*each)(void *, const struct object_info *, struct err *);
    void *arg;
    size_t left;
    rc said; /* by `each` */
};

static rc count_entry(void *arg, const struct object_info *info, struct err *e) {
    (void)info, (void)e;
    ((struct half *)arg)->left++;
    return ok();
}

static rc pass_entry(void *arg, const struct object_info *info, struct err *e) {
    struct half *h = arg;
    if (h->left == 0) return (rc){RC_CANCELLED};
    h->left--;
    return h->said = h->each(h->arg, info, e);
}

static rc list_half(struct store *s, const char *dir, struct half *h, struct err *e) {
    struct store *in = inner_of(s);
    TRY(in->ops->list(in, dir, count_entry, h, e));
    h->left /= 2;
    (void)in->ops->list(in, dir, pass_entry, h, e);
    return is_ok(h->said) ? fail(FAULT_SHORT, "list", dir, e) : h->said;
}

static rc fault_list(struct store *s, const char *dir,
                     rc (*each)(void *, const struct object_info *, struct err *), void *arg,
                     struct err *e) {
    struct store *in = inner_of(s);
    enum fault fault = ask(s, "list", dir);
    if (fault == FAULT_NONE) return in->ops->list(in, dir, each, arg, e);
    if (fault == FAULT_SHORT) return list_half(s, dir, &(struct half){.each = each, .arg = arg}, e);
    return fail(fault, "list", dir, e);
}

static rc fault_list_dirs(struct store *s, const char *dir,
                          rc (*each)(void *, const char *name, struct err *), void *arg,
                          struct err *e) {
    struct store *in = inner_of(s);
    enum fault fault = ask(s, "list_dirs", dir);
    if (fault == FAULT_NONE) return in->ops->list_dirs(in, dir, each, arg, e);
    return fail(fault, "list_dirs", dir, e);
}

static rc fault_remove(struct store *s, const char *key, struct err *e) {
    struct store *in = inner_of(s);
    enum fault fault = ask(s, "remove", key);
    if (fault == FAULT_NONE) return in->ops->remove(in, key, e);
    if (fault == FAULT_LOSE_REPLY) (void)in->ops->remove(in, key, NULL);
    return fail(fault, "remove", key, e);
}

static rc fault_upload_open(struct store *s, const char *key, uint64_t size_most,
                            struct object_upload **out, struct err *e) {
    struct store *in = inner_of(s);
    enum fault fault = ask(s, "upload_open", key);
    if (fault != FAULT_NONE) return fail(fault, "upload_open", key, e);
    struct fault_upload *u = calloc(1, sizeof *u);
    if (!u) return err_set(e, RC_NOMEM, "put %s: no memory", key);
    u->fs = (struct fault_store *)s;
    snprintf(u->key, sizeof u->key, "%s", key);
    rc r = in->ops->upload_open(in, key, size_most, &u->inner, e);
    if (is_ok(r)) *out = (struct object_upload *)u;
    else free(u);
    return r;
}

static rc fault_upload_write(struct object_upload *upload, const void *bytes, size_t n,
                             struct err *e) {
    struct fault_upload *u = (struct fault_upload *)upload;
    const struct store_ops *in = u->fs->inner->ops;
    enum fault fault = ask(&u->fs->store, "upload_write", u->key);
    if (fault == FAULT_NONE) return in->upload_write(u->inner, bytes, n, e);
    u->failed = true;
    if (fault == FAULT_SHORT) (void)in->upload_write(u->inner, bytes, n / 2, NULL);
    return fail(fault, "upload_write", u->key, e);
}

static void fault_upload_abort(struct object_upload *upload) {
    struct fault_upload *u = (struct fault_upload *)upload;
    if (!u) return;
    (void)ask(&u->fs->store, "upload_abort", u->key); /* it cannot fail, but it is told of */
    u->fs->inner->ops->upload_abort(u->inner);
    free(u);
}

static rc commit(struct fault_upload *u, int64_t time_ms, struct err *e) {
    struct object_upload *inner = u->inner;
    u->inner = NULL;
    return u->fs->inner->ops->upload_commit(inner, time_ms, e);
}

static rc fault_upload_commit(struct object_upload *upload, int64_t time_ms, struct err *e) {
    struct fault_upload *u = (struct fault_upload *)upload;
    enum fault fault = ask(&u->fs->store, "upload_commit", u->key);
    rc r;
    if (u->failed) r = err_set(e, RC_IO, "upload_commit %s: a write failed before", u->key);
    else if (fault == FAULT_NONE) r = commit(u, time_ms, e);
    else {
        if (fault == FAULT_LOSE_REPLY) (void)commit(u, time_ms, NULL);
        r = fail(fault, "upload_commit", u->key, e);
    }
    fault_upload_abort(upload);
    return r;
}

static void fault_free(struct store *s) {
    store_free(inner_of(s));
    free(s);
}

static const struct store_ops fault_ops = {
    .put = fault_put,
    .put_note = fault_put_note,
    .get = fault_get,
    .stat = fault_stat,
    .list = fault_list,
    .list_dirs = fault_list_dirs,
    .remove = fault_remove,
    .upload_open = fault_upload_open,
    .upload_write = fault_upload_write,
    .upload_commit = fault_upload_commit,
    .upload_abort = fault_upload_abort,
    .free = fault_free,
};

rc store_new_fault(struct store *inner,
                   enum fault (*decide)(void *, const char *op, const char *key), void *arg,
                   struct store **out, struct err *e) {
    struct fault_store *fs = calloc(1, sizeof *fs);
    if (!fs) return err_set(e, RC_NOMEM, "no memory for a store");
    fs->store = *inner;
    fs->store.ops = &fault_ops;
    fs->inner = inner;
    fs->decide = decide;
    fs->arg = arg;
    *out = &fs->store;
    return ok();
}
