/* Object stores behind one vtable: flat keys, whole objects that never change once written.
 *
 * A key is relative to the store's root ("ltx/0/0000000000000001-0000000000000001.ltx"); where the
 * root is belongs to the URL. Objects appear whole or not at all, and durable when the call
 * returns. Every function may be called from any thread.
 */
#ifndef OBJECT_OBJECT_H
#define OBJECT_OBJECT_H

#include "base/limits.h"
#include "os/env.h"

#include <stdatomic.h>

/* docs/format.md 2.1: where a level's files live below the root. */
enum object_layout {
    LAYOUT_LTX,    /* ltx/<level>/NAME: files and most others */
    LAYOUT_BUCKET, /* <level as 4 hex digits>/NAME: S3 and OSS */
};

struct object_info {
    const char *name; /* the last part of the key; valid during the call */
    uint64_t size_bytes;
    int64_t time_ms; /* what point-in-time restore goes by; Unix time */
};

struct object_upload; /* an object being written in pieces; nothing is visible before commit */

/* What a bucket's owner is billed by. Files make none. */
enum request_kind {
    REQUEST_PUT,
    REQUEST_GET,
    REQUEST_HEAD,
    REQUEST_LIST,
    REQUEST_DELETE,
    REQUEST_MULTIPART, /* begin, part, complete, abort */
    REQUEST_KINDS
};
const char *request_kind_name(enum request_kind);

struct store;
struct store_ops {
    /* Create-only, always: RC_CONFLICT when the key exists, and then nothing has changed.
     * RC_RETRY, RC_TIMEOUT: the outcome is unknown, look or repeat with the same bytes. */
    rc (*put)(struct store *, const char *key, const void *bytes, size_t size, int64_t time_ms,
              struct err *);
    /* Replaces or creates: only for small notes (owner.json), never for LTX files. */
    rc (*put_note)(struct store *, const char *key, const void *bytes, size_t size, struct err *);
    /* Exactly [at, at+n); RC_CORRUPT if the object ends before, RC_NOTFOUND. */
    rc (*get)(struct store *, const char *key, uint64_t at, void *buf, size_t n, struct err *);
    rc (*stat)(struct store *, const char *key, struct object_info *out, struct err *);
    /* Every object directly below `dir` (no trailing slash; "" is the root), in no order. A missing
     * directory is empty. */
    rc (*list)(struct store *, const char *dir,
               rc (*each)(void *, const struct object_info *, struct err *), void *arg,
               struct err *);
    /* Every object whose key begins with `prefix`, ordered by key; `name` is the whole key. NULL in
     * a store where that is not cheaper than `list`. */
    rc (*list_keys)(struct store *, const char *prefix,
                    rc (*each)(void *, const struct object_info *, struct err *), void *arg,
                    struct err *);
    /* The names directly below `dir` that have objects below them, each once, in no order; of
     * files, an empty directory may be among them. */
    rc (*list_dirs)(struct store *, const char *dir,
                    rc (*each)(void *, const char *name, struct err *), void *arg, struct err *);
    rc (*remove)(struct store *, const char *key, struct err *); /* absent is fine */
    /* `size_most`: no more than this will be written; a bucket's part size comes from it. */
    rc (*upload_open)(struct store *, const char *key, uint64_t size_most,
                      struct object_upload **out, struct err *);
    rc (*upload_write)(struct object_upload *, const void *bytes, size_t n, struct err *);
    /* Create-only as put. Frees the upload whatever happens. */
    rc (*upload_commit)(struct object_upload *, int64_t time_ms, struct err *);
    void (*upload_abort)(struct object_upload *); /* NULL is fine */
    void (*free)(struct store *);
};

struct store {
    const struct store_ops *ops;
    struct env *env;
    enum object_layout layout;
    bool probe;     /* only trying tells whether put is create-only: a bucket */
    bool no_root;   /* a bucket without a path: read if there is a replica, never begun in */
    bool unfenced;  /* it is not, and the user says that nobody else writes: look, then replace */
    char url[1024]; /* as shown to people: never holds a secret */
    char given[LIMIT_PATH]; /* what it was opened with, which may; "": otherwise than by a URL */
    int list_page;          /* objects to ask for in one reply to a list; 0: as many as it gives */
    atomic_bool abandoned;  /* from now on a request may fail at once, its outcome unknown */
    atomic_ullong requests[REQUEST_KINDS]; /* sent since it was opened, repeats included */
};

/* "file:///abs/dir", "file:rel", "/abs", "./rel" or "rel". Others: RC_USAGE that suggests the
 * nearest scheme or parameter. Opens nothing yet, except that a root which is not a directory is
 * refused. */
MUST_USE rc store_open(struct env *, const char *url, struct store **out, struct err *);
void store_free(struct store *); /* NULL is fine */

MUST_USE rc store_new_s3(struct env *, const char *url, struct store **out, struct err *);
MUST_USE rc store_new_file(struct env *, const char *root, struct store **out, struct err *);

#endif
