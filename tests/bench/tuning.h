/* What the files of bench_tuning share: time, errors, and comparing by turns. */
#ifndef BENCH_TUNING_H
#define BENCH_TUNING_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

_Noreturn void die(const char *what, const char *why);
int64_t now_ns(void);
uint64_t dice(uint64_t *state);

/* Operations in a second of the clock, and in one of the processors: the latter hardly depends on
 * what else the machine does. */
struct pace {
    double wall, cpu;
};
struct stopwatch {
    int64_t wall_ns, cpu_ns;
};
struct stopwatch start_watch(void);
struct pace pace_of(const struct stopwatch *, int64_t count);

/* Measures the default and the variant by turns, default first, and prints the ratio of each
 * neighbouring pair: median, least, most. */
void compare(const char *setting, const char *work, const void *by_default, const void *variant,
             struct pace (*run)(const void *trial));
/* Sorts; q from 0 to 1. */
int64_t quantile(int64_t *ns, int count, double q);

sqlite3 *raw_open(const char *path, const char *pragmas);
void raw_exec(sqlite3 *, const char *sql);
sqlite3_stmt *raw_prepare(sqlite3 *, const char *sql);

extern const char *directory; /* of the databases */
extern double seconds;        /* of one measurement */
extern int pairs;

void tune_waits(void);
void tune_readers(void);
void tune_interval(void);

#endif
