/* Which files are open in this process, whether they still have their names, and which were open
 * when it was forked.
 *
 * Why a child may not open such a file itself: SQLite keeps one record of its locks for each file
 * of a process. The child inherits that record, but not the locks: so its own connections would
 * believe that they hold what the parent holds, and write over it.
 *
 * Invariant: what was inherited stays in the list until the process ends or execs.
 */
#include "store/parts.h"

#include <stdlib.h>

struct open_file {
    uint64_t device, inode;
    const hf_store *store;
    bool inherited;
    struct open_file *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct open_file *files; /* guarded by lock */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void before_fork(void) {
    pthread_mutex_lock(&lock);
}

static void in_parent(void) {
    pthread_mutex_unlock(&lock);
}

static void in_child(void) {
    for (struct open_file *f = files; f; f = f->next) f->inherited = true;
    pthread_mutex_unlock(&lock);
}

static void watch_forks(void) {
    ENSURE(pthread_atfork(before_fork, in_parent, in_child) == 0);
}

static struct open_file *find(const char *path, const hf_store *s, bool inherited) {
    struct file_stat st;
    if (!*path || !is_ok(s->env->files->stat(s->env, path, &st, NULL))) return NULL;
    struct open_file *f = files;
    while (f && !(f->device == st.device && f->inode == st.inode && f->inherited == inherited &&
                  f->store != s))
        f = f->next;
    return f;
}

static bool is_listed(const hf_store *s, const char *path, bool inherited) {
    pthread_mutex_lock(&lock);
    bool found = find(path, s, inherited) != NULL;
    pthread_mutex_unlock(&lock);
    return found;
}

bool is_open_twice(const hf_store *s, const char *path) {
    return is_listed(s, path, false);
}

rc check_inherited(const hf_store *s, struct err *e) {
    const char *those[] = {s->path, s->noise};
    for (int i = 0; i < 2; i++)
        if (is_listed(s, those[i], true))
            return err_set(e, RC_USAGE,
                           "%s was open when this process was forked, and its locks are the "
                           "parent's: fork before it is opened, or exec after",
                           those[i]);
    return ok();
}

/* Of the files that the store has open. Before it has any, each is. */
static bool is_still_there(const hf_store *s, const char *path) {
    struct file_stat st = {0};
    bool none = true, same = false;
    rc r = s->env->files->stat(s->env, path, &st, NULL);
    pthread_mutex_lock(&lock);
    for (const struct open_file *f = files; f; f = f->next) {
        if (f->store != s) continue;
        none = false;
        same |= is_ok(r) && f->device == st.device && f->inode == st.inode;
    }
    pthread_mutex_unlock(&lock);
    return none || same;
}

rc check_replaced(const hf_store *s, struct err *e) {
    const char *those[] = {s->path, s->noise};
    for (int i = 0; i < 2; i++)
        if (*those[i] && !is_still_there(s, those[i]))
            return err_set(e, RC_CANCELLED,
                           "%s was replaced or deleted under the open store: close the store and "
                           "open it anew",
                           those[i]);
    return ok();
}

static rc add(const hf_store *s, const char *path, struct err *e) {
    struct file_stat st;
    TRY(s->env->files->stat(s->env, path, &st, e));
    struct open_file *f = malloc(sizeof *f);
    if (!f) return err_set(e, RC_NOMEM, "no memory for a store");
    *f = (struct open_file){.device = st.device, .inode = st.inode, .store = s};
    pthread_mutex_lock(&lock);
    f->next = files;
    files = f;
    pthread_mutex_unlock(&lock);
    return ok();
}

rc note_open(const hf_store *s, struct err *e) {
    pthread_once(&once, watch_forks);
    TRY(add(s, s->path, e));
    return s->noise[0] ? add(s, s->noise, e) : ok();
}

void note_closed(const hf_store *s) {
    pthread_mutex_lock(&lock);
    for (struct open_file **at = &files, *f; (f = *at);) {
        if (f->store == s && !f->inherited) {
            *at = f->next;
            free(f);
        } else {
            if (f->store == s) f->store = NULL; /* another may come to lie there */
            at = &f->next;
        }
    }
    pthread_mutex_unlock(&lock);
}
