/* Export: all keys, or those under a prefix, as one object of JSON, a line for each, in the order
 * of their bytes.
 *
 * A value that is JSON is written with its own bytes, other text as a string. So what was imported
 * comes out byte for byte, but for white space between members and their order; and what was
 * exported is, imported and exported again, the same file.
 *
 * What has no form in JSON (a blob, a key that is not text) is refused by name: a file that lacks
 * something without a word is worse than none.
 */
#include "store/kv_transfer.h"

#include "store/kv.h"

#include <stdlib.h>
#include <string.h>

#define OUT_BYTES (1u << 18)

struct export {
    const struct kv *kv;
    hf_tx *tx;
    hf_transfer options;
    const struct kv_output *output;
    struct buf out; /* not written yet */
    uint64_t bytes, keys;
};

static rc flush(struct export *x, struct err *e) {
    TRY(buf_check(&x->out, "export", e));
    TRY(x->output->write(x->output->arg, x->out.bytes, x->out.size, e));
    x->bytes += x->out.size;
    buf_clear(&x->out);
    if (x->options.progress) x->options.progress(x->options.progress_arg, x->bytes, 0, x->keys);
    return ok();
}

static rc put_string(struct export *x, const char *text, size_t n, const char *key, struct err *e) {
    char *json;
    rc r = json_encode_string(text, n, &json, e);
    if (!is_ok(r)) return err_prefix(e, r, "'%.200s'", key);
    buf_text(&x->out, json);
    free(json);
    return ok();
}

static rc check_key(const char *key, size_t n, struct err *e) {
    if (!key) return err_set(e, RC_NOMEM, "no memory for a key");
    if (strlen(key) != n)
        return err_set(e, RC_CORRUPT, "a key that begins with '%.200s' has a NUL in it", key);
    rc r = kv_check_key(key, "key", e);
    return r.code == RC_USAGE ? err_set(e, RC_CORRUPT, "'%.200s': no key that can be exported", key)
                              : r;
}

/* Columns: Key, Value, 1 if it is JSON */
static rc put_row(struct export *x, sqlite3_stmt *s, struct err *e) {
    const char *key = (const char *)sqlite3_column_text(s, 0);
    TRY(check_key(key, (size_t)sqlite3_column_bytes(s, 0), e));
    if (sqlite3_column_type(s, 1) != SQLITE_TEXT)
        return err_set(e, RC_USAGE, "'%.200s': its value is a blob, which has no form in JSON",
                       key);
    const char *value = (const char *)sqlite3_column_text(s, 1);
    size_t n = (size_t)sqlite3_column_bytes(s, 1);
    if (!value) return err_set(e, RC_NOMEM, "no memory for a value");
    if (!utf8_valid(value, n))
        return err_set(e, RC_CORRUPT, "'%.200s': its text is not UTF-8", key);
    buf_text(&x->out, x->keys++ ? ",\n" : "{\n");
    TRY(put_string(x, key, strlen(key), key, e));
    buf_text(&x->out, ": ");
    bool json = sqlite3_column_int(s, 2) && strlen(value) == n;
    if (json) buf_put(&x->out, value, n);
    else TRY(put_string(x, value, n, key, e));
    return x->out.size >= OUT_BYTES ? flush(x, e) : ok();
}

/* A "no" is asked for twice: of what it has no memory for, SQLite 3.40.1 says no, too. */
#define ROWS(file)                                                                                 \
    "SELECT Key, Value, typeof(Value)='text' AND (json_valid(Value) OR json_valid(Value || ''))"   \
    " FROM " file ".DBX WHERE Key>=?1 AND Key<?2 AND Value IS NOT NULL"
static const char one_file[] = ROWS("main") " ORDER BY 1";
static const char two_files[] = ROWS("main") " UNION ALL " ROWS("noise") " ORDER BY 1";

static rc put_rows(struct export *x, struct err *e) {
    struct kv_rows rows AUTO(kv_rows_end) = {0};
    TRY(kv_rows(x->tx, x->kv->noise ? two_files : one_file, &rows, e));
    kv_bind_prefix(rows.it, 1, x->options.prefix);
    for (;;) {
        rc r = kv_next(&rows, e);
        if (r.code == RC_NOTFOUND) break;
        TRY(r);
        TRY(put_row(x, rows.it, e));
    }
    buf_text(&x->out, x->keys ? "\n}\n" : "{}\n");
    return flush(x, e);
}

static rc refuse_row(struct export *x, const char *sql, const char *what, struct err *e) {
    struct kv_rows rows AUTO(kv_rows_end) = {0};
    TRY(kv_rows(x->tx, sql, &rows, e));
    rc r = kv_next(&rows, e);
    if (r.code == RC_NOTFOUND) return ok();
    TRY(r);
    const char *key = (const char *)sqlite3_column_text(rows.it, 0);
    return err_set(e, RC_CORRUPT, "%s: '%.200s'", what, key ? key : "NULL");
}

static rc check_files(struct export *x, struct err *e) {
    static const char *const no_text[KV_FILES] =
        KV_SQL("SELECT Key FROM ", ".DBX WHERE Key IS NULL OR Key>=x'' LIMIT 1");
    for (int f = 0; f < (x->kv->noise ? 2 : 1); f++) {
        TRY(kv_reach(x->kv, x->tx, (enum kv_file)f, false, "export", e));
        if (!x->options.prefix) TRY(refuse_row(x, no_text[f], "a key is not text", e));
    }
    if (!x->kv->noise) return ok();
    return refuse_row(x, "SELECT Key FROM main.DBX JOIN noise.DBX USING(Key) LIMIT 1",
                      "a key is in main and in noise", e);
}

rc kv_export(hf_store *s, const struct kv_output *output, const hf_transfer *o, struct err *e) {
    struct export x = {.output = output};
    TRY(store_check(s, "this store", e));
    TRY(take_options(o, &x.options, sizeof x.options, "hf_transfer", e));
    if (x.options.prefix) TRY(kv_check_key(x.options.prefix, "prefix", e));
    if (x.options.replace || x.options.text)
        return err_set(e, RC_USAGE, "hf_kv_export: `replace` and `text` are of an import");
    x.kv = store_kv(s);
    TRY(tx_begin(s, HF_READ, "hf_kv_export", 0, &x.tx, e));
    buf_init(&x.out, 8ull * LIMIT_KV_VALUE);
    rc r = check_files(&x, e);
    if (is_ok(r)) r = put_rows(&x, e);
    buf_deinit(&x.out);
    tx_rollback(x.tx, (int)r.code);
    return r;
}

/* ---- to a file ---- */

struct writing {
    struct env *env;
    struct file *file;
    uint64_t at;
};

static rc write_file(void *arg, const void *bytes, size_t n, struct err *e) {
    struct writing *w = arg;
    TRY(w->env->files->write(w->env, w->file, w->at, bytes, n, e));
    w->at += n;
    return ok();
}

static rc parent_of(const char *path, char out[LIMIT_PATH], struct err *e) {
    const char *slash = strrchr(path, '/');
    size_t n = !slash ? 0 : slash == path ? 1 : (size_t)(slash - path);
    if (n >= LIMIT_PATH) return err_set(e, RC_USAGE, "%.80s...: the path is too long", path);
    memcpy(out, n ? path : ".", n ? n : 1);
    out[n ? n : 1] = 0;
    return ok();
}

static rc write_all(hf_store *s, struct writing *w, const char *path, const char *dir,
                    const hf_transfer *o, struct err *e) {
    const struct env_files *files = w->env->files;
    struct kv_output output = {write_file, w};
    TRY(kv_export(s, &output, o, e));
    TRY(files->sync(w->env, w->file, e));
    TRY(files->link(w->env, w->file, NULL, path, e));
    return files->sync_dir(w->env, dir, e);
}

static rc export_file(hf_store *s, const char *path, const hf_transfer *o, struct err *e) {
    struct writing w = {.env = store_env()};
    const struct env_files *files = w.env->files;
    struct file_stat st;
    char dir[LIMIT_PATH];
    if (!path || !*path) return err_set(e, RC_USAGE, "hf_kv_export: no name for the file");
    if (is_ok(files->stat(w.env, path, &st, NULL)))
        return err_set(e, RC_CONFLICT, "%s: it exists already", path);
    TRY(parent_of(path, dir, e));
    TRY(files->open(w.env, dir, FILE_TEMP, &w.file, e));
    rc r = write_all(s, &w, path, dir, o, e);
    files->close(w.env, w.file);
    return r;
}

int hf_kv_export(hf_store *s, const char *file, const hf_transfer *o) {
    struct err e;
    return done(export_file(s, file, o, &e), &e);
}
