/* An application for the power-cut tests. It commits what model.h says, from where its database is.
 *
 *     crash_writer [-count N] [-full] [-page-size BYTES] [-checkpoint PAGES] [-pace EVERY]
 *                  [-truncate EVERY]
 *                  [-ack EVERY -extension PATH] [-store URL [-restore]] [-fork] [-die] DB
 *
 * It says, a line each, in one write: "c N" commit N has returned; "l N" the same, and its database
 * promises that the disk has it (-full); "a N" commit N was waited for, and is acknowledged. -ack
 * waits for each EVERYth commit by holdfast_wait; -store uses the library's store instead of its
 * own connection, with keys and values, and waits by hf_wait. -pace waits after each EVERYth commit
 * until 10 ms are over, so that there is more than one shipment. -restore restores a missing
 * database first. -fork leaves a table of that name, so that a replica tells whether it holds what
 * this process did. -die ends without closing.
 */
#include "holdfast.h"
#include "model.h"

#include <getopt.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static struct {
    const char *db, *extension, *url;
    uint64_t count, ack_every, pace_every, truncate_every;
    int page_size, checkpoint_pages;
    bool full, fork, die, restore;
} args = {.count = 50, .page_size = 4096, .checkpoint_pages = 1000};

static void say(char kind, uint64_t n) {
    char line[32];
    int size = snprintf(line, sizeof line, "%c %llu\n", kind, (unsigned long long)n);
    if (write(STDOUT_FILENO, line, (size_t)size) != size) exit(2);
}

static void die(const char *what, const char *why) {
    fprintf(stderr, "crash_writer: %s: %s\n", what, why);
    exit(2);
}

static void has_committed(uint64_t n) {
    say('c', n);
    if (args.full) say('l', n);
}

static bool is_time_to(uint64_t every, uint64_t n) {
    return every && n % every == 0;
}

static void pace(uint64_t n) {
    struct timespec t = {.tv_nsec = 10000000};
    if (is_time_to(args.pace_every, n)) nanosleep(&t, NULL);
}

/* ---- a connection of its own ---- */

static void sql(sqlite3 *db, const char *text) {
    if (sqlite3_exec(db, text, NULL, NULL, NULL) != SQLITE_OK) die(text, sqlite3_errmsg(db));
}

static sqlite3_stmt *statement(sqlite3 *db, const char *text) {
    sqlite3_stmt *s = NULL;
    if (sqlite3_prepare_v2(db, text, -1, &s, NULL) != SQLITE_OK) die(text, sqlite3_errmsg(db));
    return s;
}

static void run(sqlite3 *db, sqlite3_stmt *s) {
    sqlite3_step(s);
    if (sqlite3_reset(s) != SQLITE_OK) die(sqlite3_sql(s), sqlite3_errmsg(db));
}

static sqlite3 *open_database(void) {
    char text[200];
    sqlite3 *db = NULL;
    if (sqlite3_open(args.db, &db) != SQLITE_OK) die(args.db, sqlite3_errmsg(db));
    sqlite3_busy_timeout(db, 20000);
    snprintf(text, sizeof text,
             "PRAGMA page_size = %d; PRAGMA journal_mode = WAL; PRAGMA synchronous = %s;"
             "PRAGMA wal_autocheckpoint = %d",
             args.page_size, args.full ? "FULL" : "NORMAL", args.checkpoint_pages);
    sql(db, text);
    sql(db, "BEGIN IMMEDIATE;" MODEL_SCHEMA "COMMIT");
    if (args.fork) sql(db, "CREATE TABLE IF NOT EXISTS fork(n)");
    return db;
}

static uint64_t last_commit(sqlite3 *db) {
    sqlite3_stmt *s = statement(db, "SELECT n FROM last");
    uint64_t n = sqlite3_step(s) == SQLITE_ROW ? (uint64_t)sqlite3_column_int64(s, 0) : 0;
    sqlite3_finalize(s);
    return n;
}

static void change_row(sqlite3 *db, uint64_t n, int k, sqlite3_stmt *put, sqlite3_stmt *delete) {
    uint8_t data[MODEL_DATA_MAX];
    int64_t id = model_row(n, k);
    sqlite3_stmt *s = model_deletes(n, k) ? delete : put;
    sqlite3_bind_int64(s, 1, id);
    if (s == put) {
        sqlite3_bind_int64(s, 2, (sqlite3_int64)n);
        sqlite3_bind_blob(s, 3, data, (int)model_data(n, id, data), SQLITE_TRANSIENT);
    }
    run(db, s);
}

/* A store's key is changed with the rows, as plain SQL may. */
static sqlite3_stmt *key_statement(sqlite3 *db) {
    sqlite3_stmt *s = NULL;
    const char *text = "INSERT OR REPLACE INTO DBX VALUES ('last', printf('%d', ?))";
    return sqlite3_prepare_v2(db, text, -1, &s, NULL) == SQLITE_OK ? s : NULL;
}

static void by_connection(void) {
    sqlite3 *db = open_database();
    sqlite3_stmt *put = statement(db, MODEL_PUT), *delete = statement(db, MODEL_DELETE),
                 *last = statement(db, MODEL_LAST), *key = key_statement(db), *wait = NULL;
    if (args.extension) {
        sqlite3_enable_load_extension(db, 1);
        if (sqlite3_load_extension(db, args.extension, NULL, NULL) != SQLITE_OK)
            die(args.extension, sqlite3_errmsg(db));
        wait = statement(db, "SELECT holdfast_wait(20000)");
    }
    uint64_t n = last_commit(db), end = n + args.count;
    while (n++ < end) {
        sql(db, "BEGIN IMMEDIATE");
        for (int k = 0; k < MODEL_ROWS_PER_COMMIT; k++) change_row(db, n, k, put, delete);
        sqlite3_bind_int64(last, 1, (sqlite3_int64)n);
        run(db, last);
        if (key && sqlite3_bind_int64(key, 1, (sqlite3_int64)n) == SQLITE_OK) run(db, key);
        sql(db, "COMMIT");
        has_committed(n);
        if (wait && is_time_to(args.ack_every, n)) {
            if (sqlite3_step(wait) != SQLITE_ROW) die("wait", sqlite3_errmsg(db));
            sqlite3_reset(wait);
            say('a', n);
        }
        if (is_time_to(args.truncate_every, n)) sql(db, "PRAGMA wal_checkpoint(TRUNCATE)");
        pace(n);
    }
    if (args.die) _exit(0);
    sqlite3_finalize(put), sqlite3_finalize(delete), sqlite3_finalize(last), sqlite3_finalize(wait),
        sqlite3_finalize(key);
    if (sqlite3_close(db) != SQLITE_OK) die("close", sqlite3_errmsg(db));
}

/* ---- the library's store ---- */

static void check(int code, const char *what) {
    if (code) die(what, hf_errmsg());
}

static int read_last(hf_tx *tx, void *n) {
    sqlite3_stmt *s;
    int code = hf_query(tx, &s, "SELECT n FROM last", "");
    if (!code && (code = hf_step(tx, s)) == HF_ROW) {
        *(uint64_t *)n = (uint64_t)sqlite3_column_int64(s, 0);
        return HF_OK;
    }
    return code;
}

static int commit_in_tx(hf_tx *tx, void *arg) {
    uint8_t data[MODEL_DATA_MAX];
    char text[32];
    uint64_t n = *(uint64_t *)arg;
    int code = hf_run(tx, MODEL_LAST, "i", (int64_t)n);
    for (int k = 0; k < MODEL_ROWS_PER_COMMIT && !code; k++) {
        int64_t id = model_row(n, k);
        if (model_deletes(n, k)) code = hf_run(tx, MODEL_DELETE, "i", id);
        else
            code = hf_run(tx, MODEL_PUT, "iib", id, (int64_t)n, (const void *)data,
                          model_data(n, id, data));
    }
    snprintf(text, sizeof text, "%llu", (unsigned long long)n);
    return code ? code : hf_kv_put(tx, "last", hf_json(text));
}

static void by_store(void) {
    hf_store *s = NULL;
    hf_store_options options = {.size = sizeof options,
                                .main_schema = MODEL_SCHEMA,
                                .main_sync = args.full ? HF_SYNC_FULL : HF_SYNC_NORMAL};
    hf_replicate_options how = {
        .size = sizeof how, .interval_ms = 10, .checkpoint_pages = (uint32_t)args.checkpoint_pages};
    uint64_t n = 0;
    int restored;
    const char *const urls[] = {args.url, NULL};
    if (args.restore) check(hf_restore_if_missing(args.db, urls, NULL, &restored), "restore");
    check(hf_store_open(args.db, &options, &s), "open");
    check(hf_store_replicate(s, urls, &how), "replicate");
    check(hf_read(s, "last", read_last, &n), "read");
    uint64_t end = n + args.count;
    while (n++ < end) {
        check(hf_write(s, HF_MAIN, "commit", commit_in_tx, &n), "write");
        has_committed(n);
        if (is_time_to(args.ack_every, n)) {
            check(hf_wait(s, NULL, NULL), "wait");
            say('a', n);
        }
        pace(n);
    }
    check(hf_store_close(s), "close");
}

int main(int argc, char **argv) {
    static const struct option options[] = {{"count", required_argument, NULL, 'n'},
                                            {"full", no_argument, NULL, 'f'},
                                            {"page-size", required_argument, NULL, 'p'},
                                            {"checkpoint", required_argument, NULL, 'c'},
                                            {"pace", required_argument, NULL, 'P'},
                                            {"ack", required_argument, NULL, 'a'},
                                            {"extension", required_argument, NULL, 'e'},
                                            {"store", required_argument, NULL, 's'},
                                            {"restore", no_argument, NULL, 'r'},
                                            {"truncate", required_argument, NULL, 't'},
                                            {"fork", no_argument, NULL, 'F'},
                                            {"die", no_argument, NULL, 'd'},
                                            {NULL, 0, NULL, 0}};
    for (int o; (o = getopt_long_only(argc, argv, "", options, NULL)) != -1;) {
        switch (o) {
        case 'n': args.count = strtoull(optarg, NULL, 10); break;
        case 'f': args.full = true; break;
        case 'p': args.page_size = (int)strtol(optarg, NULL, 10); break;
        case 'c': args.checkpoint_pages = (int)strtol(optarg, NULL, 10); break;
        case 'P': args.pace_every = strtoull(optarg, NULL, 10); break;
        case 'a': args.ack_every = strtoull(optarg, NULL, 10); break;
        case 'e': args.extension = optarg; break;
        case 's': args.url = optarg; break;
        case 't': args.truncate_every = strtoull(optarg, NULL, 10); break;
        case 'r': args.restore = true; break;
        case 'F': args.fork = true; break;
        case 'd': args.die = true; break;
        default: return 2;
        }
    }
    if (argc - optind != 1) return 2;
    args.db = argv[optind];
    if (args.url) by_store();
    else by_connection();
    return 0;
}
