/* The outside world behind one struct: clock, random, files, threads.
 *
 * Everything below cli/ reaches the system only through a `struct env`, so that the same code runs
 * in a daemon, in an application's thread, and under a simulator with a virtual clock and failing
 * disks. os/ is the only room that makes system calls. SQLite does its own I/O through its VFS.
 *
 * Threads: every function here may be called from any thread.
 */
#ifndef OS_ENV_H
#define OS_ENV_H

#include "base/rc.h"

#include <stddef.h>
#include <stdint.h>

struct env;
struct job;

/* An open file. Positions and sizes in bytes. */
struct file;

enum file_mode {
    FILE_READ = 1,       /* existing, read only */
    FILE_CREATE_NEW = 2, /* O_EXCL, read and write, mode 0600 */
    FILE_TEMP = 4,       /* in the directory `path`: unnamed, else ".*.tmp" until link or close */
    FILE_CREATE = 8,     /* create or open, read and write */
};

struct file_stat {
    uint64_t size_bytes;
    int64_t mtime_ms; /* Unix time */
    int64_t birth_ns; /* Unix time; 0 where the file system does not tell */
    uint64_t device, inode;
    uint32_t mode; /* st_mode permission bits */
    bool is_directory, is_regular;
};

struct env_files {
    rc (*open)(struct env *, const char *path, enum file_mode, struct file **out, struct err *);
    void (*close)(struct env *, struct file *); /* NULL is fine */
    /* All of [at, at+n) or an error; RC_CORRUPT when the file ends before. */
    rc (*read)(struct env *, struct file *, uint64_t at, void *buf, size_t n, struct err *);
    rc (*write)(struct env *, struct file *, uint64_t at, const void *buf, size_t n, struct err *);
    rc (*truncate)(struct env *, struct file *, uint64_t size, struct err *);
    /* As truncate, and with room for all of it: RC_FULL now and not in the middle. Where the file
     * system cannot promise room it only truncates. */
    rc (*reserve)(struct env *, struct file *, uint64_t size, struct err *);
    rc (*sync)(struct env *, struct file *, struct err *); /* data and size on stable storage */
    rc (*set_mtime)(struct env *, struct file *, int64_t unix_ms, struct err *);
    rc (*size)(struct env *, struct file *, uint64_t *out, struct err *);
    /* Give an open file a name that must not exist (RC_CONFLICT): link(2). `temp_path` is the name
     * it has now, and keeps (it need not be open: NULL); NULL for FILE_TEMP files. Never
     * replaces. */
    rc (*link)(struct env *, struct file *, const char *temp_path, const char *path, struct err *);
    rc (*rename)(struct env *, const char *from, const char *to, bool replace, struct err *);
    rc (*remove)(struct env *, const char *path, struct err *); /* RC_NOTFOUND */
    rc (*stat)(struct env *, const char *path, struct file_stat *out, struct err *);
    /* Give the file `to` the permissions and, where that is allowed, the owner of `from`. */
    rc (*copy_access)(struct env *, const char *from, const char *to, struct err *);
    rc (*make_dirs)(struct env *, const char *path, struct err *); /* mkdir -p, synced */
    rc (*make_dir)(struct env *, const char *path, struct err *);  /* the last part alone */
    rc (*sync_dir)(struct env *, const char *path, struct err *);
    /* Calls `each` per entry, in no order, "." and ".." left out; stops at its first error. */
    rc (*list)(struct env *, const char *path, rc (*each)(void *, const char *name, struct err *),
               void *arg, struct err *);
};

/* A piece of work for another thread, with full hand-over of ownership: between submit and its
 * appearance in `home` the job belongs to the worker. */
struct jobs_done;
struct job {
    void (*run)(struct job *); /* on a worker thread; may block on a store */
    struct jobs_done *home;    /* where it arrives when it has run */
    struct job *next;          /* the queues' */
};

struct env {
    void *ctx;
    int64_t (*unix_ms)(struct env *);
    int64_t (*mono_ns)(struct env *);
    void (*random)(struct env *, void *buf, size_t n);
    void (*sleep_ns)(struct env *, int64_t ns);
    const struct env_files *files;
    /* Hand a job to the pool. Threads are few and fixed; jobs queue. */
    rc (*submit)(struct env *, struct job *, struct err *);
    /* Run fn(arg, i) for i in [0, count) on up to `parallel` threads and wait for all. */
    rc (*parallel)(struct env *, int parallel, int count, void (*fn)(void *arg, int i), void *arg,
                   struct err *);
};

/* Finished jobs, taken by their owner. `wake` (may be NULL) is called after each arrival, from the
 * worker's thread. */
struct jobs_done *jobs_done_new(void (*wake)(void *), void *wake_arg);
void jobs_done_free(struct jobs_done *); /* must be empty with none under way */
void jobs_done_put(struct jobs_done *, struct job *);
struct job *jobs_done_take(struct jobs_done *); /* NULL: none yet */

/* The real system. `workers`: threads of the pool at most (0: 4), begun as they are needed. One per
 * process is enough. */
MUST_USE rc env_new_system(int workers, struct env **out, struct err *);
void env_free_system(struct env *); /* waits for submitted jobs */

#endif
