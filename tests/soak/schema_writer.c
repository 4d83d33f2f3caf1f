/* A program that writes while the schema changes under it: so many transactions each second, on one
 * connection, each of them one that counts and every tenth one that adds a row.
 *
 *     schema_writer DB PER_SECOND
 *
 * On standard input a line names what happens from then on ("backfill"); at the next line, and at
 * the end, a line tells what the transactions of that time took, in microseconds: from when each
 * was due, which counts what a queue behind a long lock waited, and the transaction itself.
 *
 * Standard output: backfill 2500 p50 31 p99 890 max 4100 transaction p50 25 p99 800 max 4000
 * The last line is "sum N rows M": how often it counted, and how many rows it added, all answered.
 */
#include <poll.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MOST (1 << 20) /* transactions between two lines */

static int64_t late[MOST], taken[MOST];
static int count;
static sqlite3 *db;
static uint64_t state = 88172645463325252u;

static int64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void sleep_until(int64_t us) {
    struct timespec t = {us / 1000000, us % 1000000 * 1000};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

static unsigned below(unsigned n) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned)(state % n);
}

static void run(const char *sql) {
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK) return;
    fprintf(stderr, "schema_writer: %s: %s\n", sql, sqlite3_errmsg(db));
    exit(1);
}

static void step(sqlite3_stmt *st, int64_t parameter) {
    sqlite3_bind_int64(st, 1, parameter);
    if (sqlite3_step(st) != SQLITE_DONE || sqlite3_changes(db) != 1) {
        fprintf(stderr, "schema_writer: %s\n", sqlite3_errmsg(db));
        exit(1);
    }
    sqlite3_reset(st);
}

static int by_size(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void print(const int64_t *sorted) {
    printf("p50 %lld p99 %lld max %lld", (long long)sorted[count / 2],
           (long long)sorted[(int64_t)count * 99 / 100], (long long)sorted[count - 1]);
}

static void report(const char *name) {
    if (*name && count) {
        qsort(late, (size_t)count, sizeof *late, by_size);
        qsort(taken, (size_t)count, sizeof *taken, by_size);
        printf("%s %d ", name, count);
        print(late);
        printf(" transaction ");
        print(taken);
        printf("\n");
        fflush(stdout);
    }
    count = 0;
}

/* A line from the parent, if there is one. False: it has ended. */
static bool take_name(char name[100], char next[100]) {
    struct pollfd in = {.fd = 0, .events = POLLIN};
    next[0] = 0;
    if (poll(&in, 1, 0) <= 0) return true;
    ssize_t n = read(0, next, 99);
    if (n <= 0) return false;
    next[n] = 0;
    next[strcspn(next, "\n")] = 0;
    report(name);
    snprintf(name, 100, "%s", next);
    return true;
}

int main(int argc, char **argv) {
    if (argc != 3 || atoi(argv[2]) <= 0) return 2;
    if (sqlite3_open_v2(argv[1], &db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK) return 4;
    sqlite3_busy_timeout(db, 120000);
    run("PRAGMA synchronous=NORMAL");
    sqlite3_stmt *add, *tally;
    if (sqlite3_prepare_v2(db, "UPDATE person SET balance = balance + 1 WHERE id = ?", -1, &tally,
                           NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(db, "INSERT INTO person(name) VALUES ('New Hand ' || ?)", -1, &add,
                           NULL) != SQLITE_OK) {
        fprintf(stderr, "schema_writer: %s\n", sqlite3_errmsg(db));
        return 1;
    }
    unsigned most = 0;
    sqlite3_stmt *last;
    if (sqlite3_prepare_v2(db, "SELECT max(id) FROM person", -1, &last, NULL) == SQLITE_OK &&
        sqlite3_step(last) == SQLITE_ROW)
        most = (unsigned)sqlite3_column_int64(last, 0);
    sqlite3_finalize(last);
    if (!most) return 1;
    char name[100] = "", next[100];
    int64_t period = 1000000 / atoi(argv[2]), due = now_us(), sum = 0, rows = 0;
    while (take_name(name, next)) {
        sleep_until(due);
        int64_t began = now_us();
        run("BEGIN IMMEDIATE");
        step(tally, 1 + below(most));
        if (sum % 10 == 9) step(add, ++rows);
        run("COMMIT");
        sum++;
        int64_t ended = now_us();
        if (count < MOST) late[count] = ended - due, taken[count++] = ended - began;
        due += period;
    }
    report(name);
    sqlite3_finalize(tally);
    sqlite3_finalize(add);
    sqlite3_close(db);
    printf("sum %lld rows %lld\n", (long long)sum, (long long)rows);
    return 0;
}
