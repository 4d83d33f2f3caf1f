/* The names of a store's files: absolute, so that no later chdir and no special name of SQLite's
 * (":memory:", "file:...") is in the way.
 */
#include "os/system.h"
#include "store/parts.h"

#include <stdio.h>
#include <string.h>

#define PATH_BYTES_MAX 500 /* the longest that SQLite takes is 511, and it adds "-journal" */
#define NAME_BYTES_MAX 240 /* of a file system: 255; we add "-noise" and ".damaged-1-wal" */

static rc check_words(const char *path, const char *base, struct err *e) {
    if (!*path) return err_set(e, RC_USAGE, "the path of the database is empty");
    if (strcmp(path, ":memory:") == 0)
        return err_set(e, RC_USAGE, "a store is in files: for tests there is hf_store_open_temp");
    if (!*base) return err_set(e, RC_USAGE, "%.400s: a directory, not a file", path);
    if (strlen(base) > NAME_BYTES_MAX)
        return err_set(e, RC_USAGE, "%.60s...: the name of the file is longer than %d bytes", path,
                       NAME_BYTES_MAX);
    if (strlen(path) > PATH_BYTES_MAX)
        return err_set(e, RC_USAGE, "%.60s...: the path is longer than %d bytes", path,
                       PATH_BYTES_MAX);
    return ok();
}

static rc name_new(const char *path, const char *base, char out[LIMIT_PATH], struct err *e) {
    char dir[LIMIT_PATH];
    if (base == path) snprintf(dir, sizeof dir, ".");
    else snprintf(dir, sizeof dir, "%.*s", (int)(base - path), path);
    rc r = system_real_path(dir, out, e);
    if (!is_ok(r)) return err_prefix(e, r, "%s: its directory", path);
    size_t n = strlen(out);
    if (out[n - 1] == '/') n--;
    snprintf(out + n, LIMIT_PATH - n, "/%s", base);
    return ok();
}

static rc name_any(struct env *env, const char *path, const char *base, char out[LIMIT_PATH],
                   struct err *e) {
    struct file_stat st;
    rc r = env->files->stat(env, path, &st, e);
    if (r.code == RC_NOTFOUND) return name_new(path, base, out, e);
    TRY(r);
    if (st.is_directory) return err_set(e, RC_USAGE, "%s: a directory, not a file", path);
    if (!st.is_regular) return err_set(e, RC_USAGE, "%s: not a regular file", path);
    return system_real_path(path, out, e);
}

rc name_file(struct env *env, const char *path, char out[LIMIT_PATH], struct err *e) {
    char dir[LIMIT_PATH];
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path, *fs;
    TRY(check_words(path, base, e));
    TRY(name_any(env, path, base, out, e));
    if (strlen(out) > PATH_BYTES_MAX)
        return err_set(e, RC_USAGE, "%.60s...: the path is longer than %d bytes", out,
                       PATH_BYTES_MAX);
    snprintf(dir, sizeof dir, "%.*s", (int)(strrchr(out, '/') - out) + 1, out);
    if (system_is_network_fs(dir, &fs))
        return err_set(e, RC_USAGE, "%s: on a network file system (%s), where a WAL cannot work",
                       out, fs);
    return ok();
}

void name_noise(const char *path, char out[LIMIT_PATH]) {
    const char *base = strrchr(path, '/') + 1, *dot = strrchr(base, '.');
    if (!dot || dot == base) dot = base + strlen(base);
    snprintf(out, LIMIT_PATH, "%.*s-noise%s", (int)(dot - path), path, dot);
}
