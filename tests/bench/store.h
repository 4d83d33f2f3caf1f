/* What the files of bench_store share: times, threads, the records of the key-value benchmarks.
 *
 * Each mode prints words key=value, a line for each thing measured, for store.py. Any surprise is a
 * message and exit 1: a figure measured over an error would be worth nothing.
 */
#ifndef BENCH_STORE_H
#define BENCH_STORE_H

#include "holdfast.h"

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* store.c */
_Noreturn void die(const char *what, const char *why);
void must(int code, const char *what); /* HF_OK, or die with hf_errmsg */
int64_t now_ns(void);
void sleep_until(int64_t ns);
void pause_ms(int64_t ms);
int64_t number_of(const char *text); /* at least 0 */
uint64_t random_from(uint64_t *state);
uint64_t seed_of(int64_t i); /* of a thread's own random numbers */

/* Times of single operations, kept whole. */
struct times {
    int64_t *ns;
    size_t count, room;
};
void note(struct times *, int64_t ns);
void add_times(struct times *to, struct times *from);  /* `from` is empty then */
void print_times(const char *name, struct times *all); /* NAME_p50_us= ..., frees */

/* Runs `run(arg, index)` in so many threads, which begin at one moment; until all have ended. */
void in_threads(int count, void (*run)(void *arg, int index), void *arg);

/* Clients, a thread each, that do one thing for so long; prints ops, seconds, op_*_us, and the CPU
 * of this process for each. */
struct load {
    void *(*open)(void *arg); /* what the thread calls `once` with */
    void (*once)(void *client, uint64_t *random_state);
    void (*close)(void *client);
    void *arg;
    double seconds;
};
void run_load(const struct load *, int clients);

/* Raw SQLite. */
sqlite3 *raw_open(const char *path, const char *sync);
void raw_run(sqlite3 *, const char *sql);
sqlite3_stmt *raw_prepare(sqlite3 *, const char *sql);
void raw_step(sqlite3_stmt *); /* no row; reset */

/* In a log that still grows a sync writes the file's length, too, and takes twice its time. So
 * where commits are measured it is made as long as it will become, before anything is replicated.
 */
#define LONG_LOG "INSERT INTO t(id, v) VALUES (1, zeroblob(17000000))", "DELETE FROM t WHERE id = 1"

/* A store at a path, and what it is replicated to: nothing, a URL, or "fake:MS". */
struct setting {
    const char *path, *sync; /* OFF, NORMAL, FULL */
    const char *noise;       /* as in hf_store_options */
    const char *url;
    int64_t timeout_ms;
    bool long_log;
};
struct place {
    hf_store *store;
    hf_fake *fake; /* NULL: it is another destination, or none */
};
struct place place_open(const struct setting *);
void place_close(struct place *);

/* Record i of so many: its key, under one of ten prefixes p0/ to p9/; and its value, an object of
 * JSON of about so many bytes, whose $.user.id is found once. */
#define KEY_BYTES 32
#define USER_BYTES 16
#define VALUE_BYTES_MAX 65536
#define RECORDS "p3/" /* the prefix that is scanned and has an index */
void key_of(char out[KEY_BYTES], int64_t i, int64_t count);
void user_of(char out[USER_BYTES], int64_t i);
size_t value_of(char *out, size_t bytes, int64_t i, uint64_t *state);
int64_t random_record(uint64_t *state, int64_t count); /* any */
/* One under RECORDS that at least so many of them follow. */
int64_t random_indexed(uint64_t *state, int64_t count, int64_t followed_by);

/* One mode each; the arguments are those after its name. */
void run_commits(char **argv);
void run_barrier(char **argv);
void run_burst(char **argv);
void run_fill(char **argv);
void run_kv(char **argv);
void run_get(char **argv);
void run_etcd_fill(char **argv);
void run_etcd(char **argv);
void run_index(char **argv);
void run_pace(char **argv);
void run_noise(char **argv);
void run_temp(char **argv);

#endif
