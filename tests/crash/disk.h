/* A disk whose power is cut: which files there may be, given what was written and what was synced.
 *
 *     disk_open(&d, "trace");
 *     disk_advance(&d, point);             // the first `point` records have happened
 *     disk_cut(&d, &random, "", &tree);    // one state in which a restart may find the disk
 *     ... tree.files[i] ...
 *     tree_deinit(&tree);
 *
 * The model. Data is safe once a sync of the file has ended that began after it. Of the writes
 * since, each is kept, lost, cut short or mixed with what was there before, by 512 bytes, or only
 * its size is kept, in any combination. A name (of a new file, a link, a rename, a removal, a
 * directory) is safe once a sync of its directory has ended that began after it. Of the names
 * since, any subset is kept ("harsh"), or an arbitrary beginning of them, as a journal would; there
 * a sync of a new file also keeps its name, and all that came before.
 * What lies below `always` is the world outside: nothing in it is ever undone.
 */
#ifndef TESTS_CRASH_DISK_H
#define TESTS_CRASH_DISK_H

#include "trace.h"

#include <stdbool.h>
#include <stddef.h>

struct op; /* a record, and what it is about */

struct disk_file {
    uint64_t inode;
    uint8_t *bytes; /* what is safe */
    size_t size, capacity;
    int64_t mtime_ns;
    size_t *pending; /* records since */
    size_t pending_count, pending_capacity;
    size_t named_at; /* the record that gave it its first name; 0: none yet */
};

#define DISK_DIRECTORY (-1)
#define DISK_NOTHING (-2)

struct names { /* by number of the path: a file's number, or one of the two above */
    int *at;
};

struct disk {
    uint8_t *bytes; /* the trace */
    struct op *ops;
    size_t op_count, at; /* `at`: the records that have happened */
    char **paths;
    int *parents; /* of each path: the number of its directory; -1: the root, or there always */
    int path_count;
    struct disk_file *files;
    int file_count;
    const char *always;
    struct names now, safe, journal; /* all; what is safe; what a journal has for certain */
    size_t *unsafe;                  /* changes of names that are not in `safe` */
    size_t unsafe_count;
    size_t journal_end; /* changes of names before this record are in `journal` */
};

struct tree_file {
    int path;             /* its number */
    const char *name;     /* the disk's */
    const uint8_t *bytes; /* NULL: a directory */
    size_t size;
    int64_t mtime_ns;
    bool is_directory, is_copy; /* bytes are the tree's own */
};

struct tree {
    struct tree_file *files; /* directories before what is in them */
    int count;
    const char *how; /* which kind of loss */
    bool any_names;  /* names are lost in no order, removals among them */
};

/* xorshift64*: the same on every machine. */
struct random {
    uint64_t state;
};
uint32_t random_below(struct random *, uint32_t n);

bool disk_open(struct disk *, const char *path, const char *always);
void disk_close(struct disk *);
void disk_advance(struct disk *, size_t point);
const char *disk_mark(const struct disk *, size_t record, size_t *size); /* NULL: it is none */
bool disk_is_sync_end(const struct disk *, size_t record);
void disk_describe(const struct disk *, size_t record, char *out, size_t size);
void disk_cut(struct disk *, struct random *, struct tree *out);
void disk_whole(struct disk *, struct tree *out); /* nothing is lost */
void tree_deinit(struct tree *);

#endif
