/* Questions to the machine itself: which boot this is, who holds which lock, what changed.
 * Linux only; what cannot be told is said to be unknown. Any thread unless said otherwise. */
#ifndef OS_SYSTEM_H
#define OS_SYSTEM_H

#include "base/limits.h"
#include "base/rc.h"

#include <stddef.h>
#include <stdint.h>

#define BOOT_ID_SIZE 40

/* /proc/sys/kernel/random/boot_id: a new one at each boot. "" if unknown. */
void system_boot_id(char out[BOOT_ID_SIZE]);
int64_t system_boot_time_ms(void); /* Unix time of the boot; 0 if unknown */
void system_host_name(char *out, size_t size);
int system_pid(void);
int system_cpu_count(void);
const char *system_env(const char *name); /* NULL: not set, or empty */
const char *system_temp_dir(void);        /* $TMPDIR or /var/tmp: large files may go there */
/* True, with its name, if `path` is on a network file system, where SQLite's WAL cannot work. */
bool system_is_network_fs(const char *path, const char **name);
/* The absolute path without symbolic links. RC_NOTFOUND, RC_IO. */
MUST_USE rc system_real_path(const char *path, char out[LIMIT_PATH], struct err *e);

/* Of the path of a file: without its name. */
void system_directory_of(const char *path, char out[LIMIT_PATH]);

/* Where notes that must not outlive the machine's power go: $RUNTIME_DIRECTORY, /run/holdfast,
 * $XDG_RUNTIME_DIR/holdfast or /dev/shm/holdfast-<uid>: the first that can be written. */
MUST_USE rc system_runtime_dir(char out[LIMIT_PATH], struct err *e);
/* Files of this name in the runtime directories of others: a service's, a user's. Only those that
 * nobody but root, us and the database's owner can have made. */
void system_runtime_files(const char *database, const char *name,
                          void (*each)(void *, const char *path), void *arg);

/* An exclusive lock on a file of ours (made if absent), released by the kernel when its holder
 * dies. RC_BUSY: *holder is the pid written there. The file stays. */
struct lock_file {
    int fd;
};
MUST_USE rc lock_file_take(struct lock_file *, const char *path, int *holder, struct err *e);
void lock_file_release(struct lock_file *);
int lock_file_holder(const char *path); /* only asks; 0: nobody */

/* POSIX locks on a file of others, from /proc/locks. Calls `each` for each; a `start` and `end` are
 * bytes. Says nothing (and that is all that can be said) where /proc/locks is not readable. */
struct foreign_lock {
    int pid;
    bool write;
    uint64_t start, end;
};
void system_locks(uint64_t inode, void (*each)(void *, const struct foreign_lock *), void *arg);
/* The same for whoever concludes something from a lock that is not there. The kernel hands the list
 * out a page at a time and finds its place again by counting, so that one look skips a lock when
 * others before it go meanwhile. Several looks: `each` sees most locks more than once, and perhaps
 * two that were not held at the same time. */
void system_locks_surely(uint64_t inode, void (*each)(void *, const struct foreign_lock *),
                         void *arg);
void system_process_name(int pid, char *out, size_t size);

/* Acknowledge what has arrived on a TCP socket now. A sender that waits for that with the rest of
 * its reply (Nagle's algorithm) would be kept waiting for 40 ms. */
void system_ack_now(int socket);

/* Wakes a thread when files change, or when told to. */
struct watch;
MUST_USE rc watch_new(struct watch **out, struct err *e);
void watch_free(struct watch *);
/* Tell once about the next change of each file (a missing one is skipped); replaces earlier
 * ones. */
void watch_arm(struct watch *, const char *const *paths, int count);
/* From any thread, and from a signal handler. */
void watch_wake(struct watch *);
/* Until something happens or mono time is up. `changed`: a watched file changed, or the queue
 * overflowed. */
void watch_wait(struct watch *, int64_t timeout_ns, bool *changed);

#endif
