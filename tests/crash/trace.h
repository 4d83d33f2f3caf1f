/* What the recorder writes and the explorer reads: every change of a tree of files, in order.
 *
 * A trace is a run of records: the struct, then path, second path and data, of the lengths that it
 * says. In the machine's own byte order: it does not leave the machine. Paths are relative to the
 * tree's root. Changes of data name the inode, so that a file is followed through its names.
 *
 * A sync is two records: what had been recorded before its begin is on the disk after its end.
 */
#ifndef TESTS_CRASH_TRACE_H
#define TESTS_CRASH_TRACE_H

#include <stdint.h>

enum trace_op {
    TRACE_CREATE = 1, /* path, inode: a new, empty file */
    TRACE_TEMP,       /* inode: a new, empty file without a name */
    TRACE_MKDIR,      /* path */
    TRACE_LINK,       /* path, inode: one more name */
    TRACE_RENAME,     /* path, to */
    TRACE_REMOVE,     /* path: of a file or of an empty directory */
    TRACE_WRITE,      /* inode, at, data */
    TRACE_SIZE,       /* inode, at: cut off, or extended by zeros */
    TRACE_ROOM,       /* inode, at: extended by zeros, never cut off */
    TRACE_TIME,       /* inode, at: time of modification, ns */
    TRACE_SYNC,       /* inode, at: a number of its own; begins */
    TRACE_SYNCED,     /* the same number; has ended */
    TRACE_SYNC_DIR,   /* path, at: a number of its own; begins */
    TRACE_DIR_SYNCED, /* the same number; has ended */
    TRACE_MARK        /* data: what a program said on its standard output, before it was said */
};

struct trace_record {
    uint32_t op, path_size, to_size, data_size;
    uint64_t inode;
    int64_t at;
};

#endif
