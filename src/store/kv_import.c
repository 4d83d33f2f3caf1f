/* Import: a file that is one object of JSON, each member a key, in one transaction.
 *
 * Memory is that of one member and of SQLite's page cache, which spills into the log: so all or
 * nothing costs no more than the room on disk, twice while it runs.
 *
 * The write lock is held while the file is read: other writers wait.
 */
#include "store/kv_transfer.h"

#include "store/kv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROGRESS_BYTES (1u << 20)

struct import {
    const struct kv *kv;
    hf_tx *tx;
    hf_transfer options;
    const struct kv_input *input;
    struct json_in *in;
    int64_t last_row[KV_FILES]; /* that was there before; -1: the table has no such number */
    uint64_t keys, told_bytes;
};

static void tell(struct import *i, bool end) {
    uint64_t bytes = json_in_bytes(i->in);
    if (!i->options.progress || (!end && bytes - i->told_bytes < PROGRESS_BYTES)) return;
    i->told_bytes = bytes;
    i->options.progress(i->options.progress_arg, bytes, i->input->size_bytes, i->keys);
}

static int64_t number(struct import *i, const char *sql, const char *key) {
    struct kv_rows rows AUTO(kv_rows_end) = {0};
    if (!is_ok(kv_rows(i->tx, sql, &rows, NULL))) return -1;
    if (key) sqlite3_bind_text(rows.it, 1, key, -1, SQLITE_STATIC);
    return is_ok(kv_next(&rows, NULL)) ? sqlite3_column_int64(rows.it, 0) : -1;
}

/* The key is twice in the file, or was there before? Rows get growing numbers. */
static rc says_key_again(struct import *i, enum kv_file file, const char *key, struct err *e) {
    static const char *const sql[KV_FILES] = KV_SQL("SELECT rowid FROM ", ".DBX WHERE Key=?1");
    int64_t row = i->last_row[file] < 0 ? -1 : number(i, sql[file], key);
    const char *what = row < 0                   ? "is twice in it, or was there already"
                       : row > i->last_row[file] ? "is twice in it"
                                                 : "was there already (and `replace` is not set)";
    return err_set(e, RC_CONFLICT, "%s: byte %" PRIu64 ": the key '%.200s' %s", i->input->name,
                   i->in->key_at, key, what);
}

static rc at_byte(struct import *i, uint64_t at, enum rc_code code, struct err *e) {
    struct err why = *e;
    return err_set(e, code, "%s: byte %" PRIu64 ": %s", i->input->name, at, why.text);
}

static rc store(struct import *i, const char *key, const hf_value *v, struct err *e) {
    enum kv_file file = kv_file_of(i->kv, key);
    rc r = kv_store_value(i->tx, file, key, v, false, e);
    if (r.code == RC_USAGE) return at_byte(i, i->in->value_at, RC_CORRUPT, e);
    if (r.code == RC_CONFLICT && strstr(e->text, "failed: DBX.Key")) /* its primary key */
        return says_key_again(i, file, key, e);
    return is_ok(r) ? r : at_byte(i, i->in->value_at, r.code, e);
}

static rc store_text(struct import *i, const char *key, struct err *e) {
    const struct buf *raw = &i->in->value;
    char *text;
    size_t n;
    rc r = json_decode_string(raw->bytes, raw->size, true, &text, &n, e);
    if (!is_ok(r)) return at_byte(i, i->in->value_at, r.code, e);
    r = store(i, key, &(hf_value){.type = HF_TEXT, .data = text, .bytes = n}, e);
    free(text);
    return r;
}

static rc store_member(struct import *i, struct err *e) {
    const struct buf *raw = &i->in->value;
    char key[2 * LIMIT_KV_KEY + 8];
    snprintf(key, sizeof key, "%s%.*s", i->options.prefix ? i->options.prefix : "",
             (int)LIMIT_KV_KEY + 1, i->in->key);
    if (!is_ok(kv_check_key(key, "key", e))) return at_byte(i, i->in->key_at, RC_CORRUPT, e);
    if (i->options.text && raw->bytes[0] == '"') TRY(store_text(i, key, e));
    else
        TRY(store(i, key, &(hf_value){.type = HF_JSON, .data = raw->bytes, .bytes = raw->size}, e));
    i->keys++;
    return ok();
}

static rc delete_prefix(struct import *i, enum kv_file file, struct err *e) {
    static const char *const sql[KV_FILES] =
        KV_SQL("DELETE FROM ", ".DBX WHERE Key>=?1 AND Key<?2");
    struct kv_rows rows AUTO(kv_rows_end) = {0};
    TRY(kv_rows(i->tx, sql[file], &rows, e));
    kv_bind_prefix(rows.it, 1, i->options.prefix);
    rc r = kv_next(&rows, e);
    return r.code == RC_NOTFOUND ? ok() : r;
}

static rc prepare_files(struct import *i, struct err *e) {
    static const char *const last[KV_FILES] = KV_SQL("SELECT ifnull(max(rowid), 0) FROM ", ".DBX");
    for (int f = 0; f < (i->kv->noise ? 2 : 1); f++) {
        enum kv_file file = (enum kv_file)f;
        TRY(kv_reach(i->kv, i->tx, file, true, "import", e));
        if (i->options.replace) TRY(delete_prefix(i, file, e));
        i->last_row[f] = number(i, last[f], NULL);
    }
    return ok();
}

static rc import_members(struct import *i, struct err *e) {
    TRY(prepare_files(i, e));
    for (;;) {
        rc r = json_in_next(i->in, e);
        if (r.code == RC_NOTFOUND) break;
        TRY(r);
        TRY(store_member(i, e));
        tell(i, false);
    }
    tell(i, true);
    return ok();
}

static rc import_in_tx(hf_store *s, struct import *i, struct err *e) {
    TRY(tx_begin(s, i->kv->noise ? HF_BOTH : HF_MAIN, "hf_kv_import", 0, &i->tx, e));
    rc r = import_members(i, e);
    if (is_ok(r)) return tx_commit(i->tx, e);
    tx_rollback(i->tx, (int)r.code);
    return r;
}

rc kv_import(hf_store *s, const struct kv_input *input, const hf_transfer *o, struct err *e) {
    struct import i = {.input = input};
    TRY(store_check(s, "this store", e));
    TRY(take_options(o, &i.options, sizeof i.options, "hf_transfer", e));
    if (i.options.prefix) TRY(kv_check_key(i.options.prefix, "prefix", e));
    i.kv = store_kv(s);
    i.in = malloc(sizeof *i.in);
    if (!i.in) return err_set(e, RC_NOMEM, "no memory");
    json_in_init(i.in, input->name, input->read, input->arg);
    rc r = import_in_tx(s, &i, e);
    json_in_deinit(i.in);
    free(i.in);
    return r;
}

/* ---- from a file ---- */

struct reading {
    struct env *env;
    struct file *file;
    uint64_t at, size;
};

static rc read_file(void *arg, void *buf, size_t n, size_t *got, struct err *e) {
    struct reading *r = arg;
    if (n > r->size - r->at) n = (size_t)(r->size - r->at);
    if (n) TRY(r->env->files->read(r->env, r->file, r->at, buf, n, e));
    r->at += n;
    *got = n;
    return ok();
}

static rc import_file(hf_store *s, const char *path, const hf_transfer *o, struct err *e) {
    struct reading in = {.env = store_env()};
    const struct env_files *files = in.env->files;
    struct file_stat st;
    if (!path) return err_set(e, RC_USAGE, "hf_kv_import: the file is NULL");
    TRY(files->stat(in.env, path, &st, e));
    if (!st.is_regular) return err_set(e, RC_USAGE, "%s: not a file", path);
    TRY(files->open(in.env, path, FILE_READ, &in.file, e));
    rc r = files->size(in.env, in.file, &in.size, e);
    struct kv_input input = {path, read_file, &in, in.size};
    if (is_ok(r)) r = kv_import(s, &input, o, e);
    files->close(in.env, in.file);
    return r;
}

int hf_kv_import(hf_store *s, const char *file, const hf_transfer *o) {
    struct err e;
    return done(import_file(s, file, o, &e), &e);
}
