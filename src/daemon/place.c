/* Where the socket of a database is: see the header.
 *
 * Why the file's device and inode: they are one, whatever path an application opened it by, and a
 * shell can tell them.
 */
#include "daemon/place.h"

#include "daemon/unix.h"
#include "os/system.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIR_NAME "socket"

rc place_dir(char out[LIMIT_PATH], struct err *e) {
    char dir[LIMIT_PATH];
    struct stat s;
    TRY(system_runtime_dir(dir, e));
    if (strlen(dir) > LIMIT_PATH - 128) return err_set(e, RC_USAGE, "%s: path too long", dir);
    snprintf(out, LIMIT_PATH, "%.*s/" DIR_NAME, LIMIT_PATH - 16, dir);
    if (mkdir(out, 0700) != 0 && errno != EEXIST) return err_errno(e, errno, "%s", out);
    if (lstat(out, &s) != 0) return err_errno(e, errno, "%s", out);
    if (!S_ISDIR(s.st_mode) || s.st_uid != geteuid())
        return err_set(e, RC_CONFLICT, "%s: not a directory of user %u alone", out,
                       (unsigned)geteuid());
    if ((s.st_mode & 07777) != 0700 && chmod(out, 0700) != 0) return err_errno(e, errno, "%s", out);
    return ok();
}

rc place_name(const char *database, char out[PLACE_NAME], struct err *e) {
    struct stat s;
    if (stat(database, &s) != 0) return err_errno(e, errno, "%s", database);
    snprintf(out, PLACE_NAME, DIR_NAME "/%llx-%llu", (unsigned long long)s.st_dev,
             (unsigned long long)s.st_ino);
    return ok();
}

/* ---- finding ---- */

struct search {
    char *out;
    int holder; /* who holds a run file's lock on this database */
};

/* The first one, unless nobody listens there any more and at a later one somebody may. */
static void see_socket(void *arg, const char *path) {
    struct search *s = arg;
    if (strlen(path) >= LIMIT_PATH || !unix_is_socket(path) || strcmp(path, s->out) == 0) return;
    if (!s->out[0] || !unix_is_heard(s->out)) snprintf(s->out, LIMIT_PATH, "%s", path);
}

static void see_lock(void *arg, const char *path) {
    struct search *s = arg;
    if (!s->holder) s->holder = lock_file_holder(path);
}

/* Everywhere that a file of this name may be. */
static void look(const char *database, const char *own, const char *name, struct search *s,
                 void (*see)(void *, const char *)) {
    char path[LIMIT_PATH];
    snprintf(path, sizeof path, "%.*s/%.100s", LIMIT_PATH - 128, own, name);
    if (own[0]) see(s, path);
    system_runtime_files(database, name, see, s);
}

rc place_find(const char *database, char out[LIMIT_PATH], struct err *e) {
    char own[LIMIT_PATH], name[PLACE_NAME], lock[PLACE_NAME + 8];
    const char *given = system_env("HOLDFAST_SOCKET");
    struct search s = {.out = out};
    struct err ignored;
    TRY(place_name(database, name, e));
    if (!is_ok(system_runtime_dir(own, &ignored))) own[0] = 0;
    out[0] = 0;
    look(database, own, name, &s, see_socket);
    if (given) see_socket(&s, given);
    if (out[0]) return ok();
    snprintf(lock, sizeof lock, "%s.lock", name + sizeof DIR_NAME);
    look(database, own, lock, &s, see_lock);
    if (s.holder)
        return err_set(e, RC_NOTFOUND,
                       "process %d replicates %s, but not for this user, or without a socket",
                       s.holder, database);
    return err_set(e, RC_NOTFOUND, "nobody replicates %s", database);
}
