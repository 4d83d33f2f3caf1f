/* What is tortured: pieces of work, each with what must be true afterwards.
 *
 * Of each a process prepares what it needs in a directory `seed`. Then, for each point, a child of
 * it runs the work in a directory of its own beside `seed` while the point fails, and another, in
 * which nothing fails, checks what is left. Both go by `outcome`, which all three share; the
 * process that ran it may be dead by then.
 */
#ifndef TORTURE_OPERATIONS_H
#define TORTURE_OPERATIONS_H

#include "points.h"

#include "base/rc.h"

#include <stdnoreturn.h>

struct outcome {
    bool ended;      /* run() has returned */
    int code;        /* 0: done; else what the operation said */
    char words[600]; /* of an operation of the library that said no; a command's are on stderr */
    uint64_t acked;  /* rows that were said to be safe */
    uint64_t committed;
    int waits;          /* that ended well */
    char place[40];     /* of this run's own, elsewhere */
    char found[900];    /* "": nothing is wrong */
    bool nothing_fails; /* this is the run that counts */
    struct point point; /* else */
    struct points_seen seen;
};
extern struct outcome *outcome;

/* What is wrong; ends this process. */
noreturn void found(const char *fmt, ...) PRINTF_LIKE(1, 2);
#define MUST(cond, ...)                                                                            \
    do {                                                                                           \
        if (!(cond)) found(__VA_ARGS__);                                                           \
    } while (0)
/* Of what prepares and checks: it can't fail. Its error goes into `sure_err`. */
extern struct err sure_err;
#define SURE(call)                                                                                 \
    do {                                                                                           \
        rc sure_ = (call);                                                                         \
        MUST(is_ok(sure_), "%s: %s: %s", #call, rc_name(sure_.code), sure_err.text);               \
    } while (0)

/* How an operation of the library ended. */
void said(rc, const struct err *);
void said_hf(int code);

/* How long what is waited for may take: on a busy machine, and where something fails. */
static inline int patience_ms(void) {
    return outcome->nothing_fails ? 20000 : 300;
}

enum answer { ANSWER_ANY, ANSWER_SHAPE, ANSWER_SAME }; /* SHAPE: the same but for its numbers */

struct operation {
    const char *name;
    void (*prepare)(void); /* in seed/ */
    void (*run)(void);     /* in the point's directory */
    void (*check)(void);   /* there, too */
    enum answer answer;    /* of stdout, if the code is that of the run in which nothing failed */
    bool is_command;       /* its code is an exit status, its words are on stderr */
    bool never_0;          /* what is asked for isn't true */
    bool waits;            /* more than it works: several at once */
    bool only_named;       /* by --operation */
};

extern const struct operation source_operations[], store_operations[], command_operations[],
    bucket_operations[];

#endif
