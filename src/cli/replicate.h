/* What a run of 'holdfast replicate' is told, and what it holds. */
#ifndef CLI_REPLICATE_H
#define CLI_REPLICATE_H

#include "base/log.h"
#include "cli/exec.h"
#include "cli/waiters.h"
#include "store/loop.h"

struct replicate {
    struct loop loop;
    int64_t drain_ns;
    bool adopt_replica;
    struct log log;
    struct waiters waiters;
    const char *command; /* -exec; NULL: none */
    int64_t exec_wait_ns;
    bool exec_strict;
    struct child child;
    int signal_passed; /* the last one */
};

/* False: it is done already, with this exit code (help, or a usage that is wrong). */
bool replicate_options(struct replicate *, int argc, char **argv, int *code);

#endif
