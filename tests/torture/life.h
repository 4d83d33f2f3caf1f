/* A database with an application and a source, the source stepped by hand on one thread: the jobs
 * that it hands out are done at once, and the clock goes on to the time for which it waits.
 *
 * Row i of the application's table can be told from i, and each is a commit of its own: what a
 * database holds is "rows 1 to n" or damaged.
 */
#ifndef TORTURE_LIFE_H
#define TORTURE_LIFE_H

#include "replica/replica.h"
#include "source/source.h"

struct life {
    struct source *source;
    struct barrier *barrier;
};

#define DB "app.db"

/* The real system, but for jobs, loops and time. */
struct env *one_thread(void);
void pass_time(int64_t ms);

/* Rows up to `last`, by an application whose calls do not fail. `path`: "app.db". */
void rows_add(const char *path, uint64_t last);
/* How many the database has; it is sound, and they are the first ones. */
uint64_t rows_of(const char *path);

MUST_USE rc life_begin(struct life *, const char *db, const char *url, struct err *);
/* The same with -take-over. */
MUST_USE rc life_take_over(struct life *, const char *db, const char *url, struct err *);
/* Steps until a barrier says that all is safe that was committed before. */
MUST_USE rc life_safe(struct life *, struct err *);
MUST_USE rc life_steps(struct life *, int64_t ms, struct err *);
void life_end(struct life *, rc, struct err *);

/* A whole one, which writes the rows up to `rows` and leaves objects in several levels. */
MUST_USE rc life_whole(const char *db, const char *url, uint64_t rows, struct err *);

/* After whatever happened: the replica is sound and has at least the rows that were said to be
 * safe, and a run without faults goes on from here until both sides are equal. */
void life_check(const char *db, const char *url);

/* "app.db" of seed/, and its log, here; it has that many rows. */
void take_database(uint64_t rows);

void copy_file(const char *from, const char *to);
bool is_there(const char *path);
bool same_bytes(const char *a, const char *b);
/* Entries of a directory whose name has `part`. */
int names_with(const char *dir, const char *part);

#endif
