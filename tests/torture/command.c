/* The command, in this process: its main() is called holdfast_main here.
 *
 * What is asked for is done, or the exit status says that it was not. An answer (list, verify,
 * status, export) is the one that is given when nothing fails, or there is none.
 */
#include "life.h"
#include "operations.h"

#include "daemon/client.h"
#include "holdfast.h"
#include "os/system.h"

#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ROWS 12
#define SEED "../seed/"

int holdfast_main(int argc, char **argv);

static int command(const char *first, ...) {
    static char words[12][300];
    char *argv[14] = {(char *)(uintptr_t) "holdfast"};
    int argc = 1;
    va_list args;
    va_start(args, first);
    for (const char *word = first; word; word = va_arg(args, const char *)) {
        snprintf(words[argc], sizeof words[argc], "%s", word);
        argv[argc] = words[argc];
        argc++;
    }
    va_end(args);
    optind = 0; /* begin anew */
    int code = holdfast_main(argc, argv);
    outcome->code = code;
    return code;
}

/* ---- what is prepared: a database, and a replica that has all of it ---- */

static void prepare_database(void) {
    rows_add(DB, 4);
}

static void prepare_whole(void) {
    struct store *store;
    struct restore_result result;
    struct restore_options o = {0};
    rows_add(DB, 4);
    SURE(life_whole(DB, "replica", ROWS, &sure_err));
    SURE(store_open(one_thread(), "replica", &store, &sure_err));
    SURE(replica_restore(store, "restored", &o, &result, &sure_err));
    store_free(store);
    MUST(rows_of("restored") == ROWS && rows_of(DB) == ROWS, "what is prepared lacks rows");
}

/* The database lacks what its replica has. */
static void prepare_older(void) {
    prepare_whole();
    copy_file(DB, "older.db");
    SURE(life_whole(DB, "replica", ROWS + 6, &sure_err));
    MUST(rows_of(DB) == ROWS + 6, "what is prepared lacks rows");
}

/* ---- answers ---- */

static void run_list(void) {
    command("list", SEED "replica", NULL);
}

static void run_list_json(void) {
    command("list", "-json", SEED "replica", NULL);
}

static void run_verify(void) {
    command("verify", SEED "replica", NULL);
}

static void run_verify_json(void) {
    command("verify", "-json", SEED "replica", NULL);
}

static void run_audit(void) {
    take_database(ROWS);
    command("verify", "-source", DB, SEED "replica", NULL);
}

/* The replica's owner is known by the path of the database, so both are made here. */
static void make_whole(void) {
    points_pause();
    take_database(4);
    SURE(life_whole(DB, "replica", ROWS, &sure_err));
    points_resume();
}

static void run_status(void) {
    make_whole();
    command("status", DB, "replica", NULL);
}

static void run_status_json(void) {
    make_whole();
    command("status", "-json", DB, "replica", NULL);
}

static void run_status_pending(void) {
    make_whole();
    rows_add(DB, ROWS + 1);
    command("status", DB, "replica", NULL);
}

static void run_doctor(void) {
    command("doctor", "place", NULL);
}

static void run_doctor_json(void) {
    command("doctor", "-json", "place", NULL);
}

/* Nobody replicates it: nothing can be waited for. */
static void run_wait_for_nobody(void) {
    take_database(ROWS);
    command("wait", "-timeout", "1s", DB, NULL);
}

/* ---- restore ---- */

static void run_restore(void) {
    command("restore", "-parallel", "3", SEED "replica", "restored", NULL);
}

static void run_restore_json(void) {
    command("restore", "-json", SEED "replica", "restored", NULL);
}

static void check_restore(void) {
    bool there = is_there("restored");
    MUST(there || outcome->code, "status 0, and nothing is there");
    MUST(!there || same_bytes("restored", SEED "restored"), "PARTIAL FILE under the final name");
}

static void run_fast_forward(void) {
    points_pause();
    copy_file(SEED "older.db", DB);
    points_resume();
    command("restore", "-fast-forward", SEED "replica", DB, NULL);
}

static void check_fast_forward(void) {
    uint64_t rows = rows_of(DB);
    MUST(rows == ROWS + 6 || (outcome->code && rows == ROWS), "status %d, and %" PRIu64 " rows",
         outcome->code, rows);
}

/* ---- kv ---- */

static void write_text(const char *path, const char *text) {
    FILE *f = fopen(path, "w");
    MUST(f && fputs(text, f) >= 0 && fclose(f) == 0, "%s", path);
}

static void prepare_keys(void) {
    hf_store *s;
    write_text("keys.json",
               "{\"a/1\": {\"n\": 1}, \"a/2\": \"two\", \"b\": [1, 2, {\"x\": null}], "
               "\"c\": 1.5, \"d\": true, \"long\": \"0123456789012345678901234567\"}\n");
    MUST(hf_store_open(DB, NULL, &s) == HF_OK && hf_kv_import(s, "keys.json", NULL) == HF_OK &&
             hf_store_close(s) == HF_OK,
         "%s", hf_errmsg());
}

static void run_export(void) {
    points_pause();
    copy_file(SEED DB, DB);
    points_resume();
    command("kv", "export", DB, "out.json", NULL);
}

static void check_export(void) {
    static const char expected[] =
        "{\"a/1\":{\"n\":1},\"a/2\":\"two\",\"b\":[1,2,{\"x\":null}],\"c\":1.5,\"d\":true,"
        "\"long\":\"0123456789012345678901234567\"}";
    bool there = is_there("out.json");
    MUST(there || outcome->code, "status 0, and nothing is there");
    if (!there) return;
    json_t *j = json_load_file("out.json", 0, NULL);
    char *text = j ? json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    MUST(text && strcmp(text, expected) == 0, "PARTIAL FILE: status %d, and %s", outcome->code,
         text ? text : "no JSON");
    free(text);
    json_decref(j);
}

static void run_export_to_stdout(void) {
    points_pause();
    copy_file(SEED DB, DB);
    points_resume();
    command("kv", "export", DB, "-", NULL);
}

static void run_import(void) {
    command("kv", "import", DB, SEED "keys.json", NULL);
}

static void check_import(void) {
    sqlite3 *db;
    sqlite3_stmt *s;
    int64_t n = 0;
    MUST(sqlite3_open_v2(DB, &db, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK || outcome->code,
         "status 0, and nothing is there");
    if (sqlite3_prepare_v2(db, "SELECT count(*) FROM DBX", -1, &s, NULL) == SQLITE_OK) {
        if (sqlite3_step(s) == SQLITE_ROW) n = sqlite3_column_int64(s, 0);
        sqlite3_finalize(s);
    }
    sqlite3_close(db);
    MUST(n == 6 || (outcome->code && n == 0), "status %d, and %" PRId64 " keys of 6", outcome->code,
         n);
}

/* ---- replicate ---- */

/* The application and whoever ends the run: a thread whose calls don't fail. It learns from the
 * service manager's socket that the run is ready, or has ended. */
struct conductor {
    pthread_t thread;
    int news;
};

static void *conduct(void *arg) {
    struct conductor *c = arg;
    char words[100], socket[LIMIT_PATH], real[LIMIT_PATH], *answer = NULL;
    struct err e;
    points_pause();
    struct pollfd p = {.fd = c->news, .events = POLLIN};
    ssize_t n = poll(&p, 1, outcome->nothing_fails ? 20000 : 5000) == 1
                    ? recv(c->news, words, sizeof words - 1, 0)
                    : 0;
    bool ready = n > 0 && memcmp(words, "READY", 5) == 0;
    for (uint64_t rows = 6; ready && rows <= ROWS; rows += 3) {
        struct client_wait w = {.timeout_ms = patience_ms(), .flush = true};
        rows_add(DB, rows);
        rc r = system_real_path(DB, real, &e);
        if (is_ok(r)) r = client_find(real, NULL, socket, &e);
        if (is_ok(r)) r = client_wait(socket, &w, &answer, &e);
        if (is_ok(r)) outcome->acked = rows, outcome->waits++;
        free(answer);
        answer = NULL;
    }
    if (ready) rows_add(DB, ROWS + 1); /* the end of the run ships it, or says that it has not */
    kill(getpid(), SIGTERM);
    return NULL;
}

static struct sockaddr_un news_at(void) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    char dir[80];
    MUST(getcwd(dir, sizeof dir), "getcwd");
    snprintf(at.sun_path, sizeof at.sun_path, "%s/news", dir);
    return at;
}

static void start_conductor(struct conductor *c) {
    points_pause();
    struct sockaddr_un at = news_at();
    signal(SIGTERM, SIG_IGN); /* it may come when the run has ended */
    c->news = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    MUST(bind(c->news, (struct sockaddr *)&at, sizeof at) == 0, "bind");
    setenv("NOTIFY_SOCKET", at.sun_path, 1);
    MUST(pthread_create(&c->thread, NULL, conduct, c) == 0, "thread");
    points_resume();
}

static void end_conductor(struct conductor *c) {
    points_pause();
    struct sockaddr_un at = news_at();
    (void)sendto(c->news, "END", 3, MSG_DONTWAIT, (struct sockaddr *)&at, sizeof at);
    pthread_join(c->thread, NULL);
    close(c->news);
    points_resume();
}

static void run_replicate(void) {
    struct conductor c;
    take_database(4);
    start_conductor(&c);
    char drain[20];
    snprintf(drain, sizeof drain, "%dms", patience_ms());
    int code = command("replicate", "-interval", "50ms", "-drain", drain, DB, "replica", NULL);
    end_conductor(&c);
    if (code == 0) outcome->acked = outcome->committed; /* it says that all is shipped */
}

static void check_replicate(void) {
    MUST(!outcome->nothing_fails || outcome->waits == 3, "nothing was waited for");
    life_check(DB, "replica");
}

const struct operation command_operations[] = {
    {"list", prepare_whole, run_list, NULL, ANSWER_SAME, .is_command = true},
    {"list-json", prepare_whole, run_list_json, NULL, ANSWER_SAME, .is_command = true},
    {"cli-verify", prepare_whole, run_verify, NULL, ANSWER_SHAPE, .is_command = true},
    {"verify-json", prepare_whole, run_verify_json, NULL, ANSWER_SHAPE, .is_command = true},
    {"audit", prepare_whole, run_audit, NULL, ANSWER_SHAPE, .is_command = true},
    {"status", prepare_database, run_status, NULL, ANSWER_SHAPE, .is_command = true},
    {"status-json", prepare_database, run_status_json, NULL, ANSWER_SHAPE, .is_command = true},
    {"status-pending", prepare_database, run_status_pending, NULL, ANSWER_ANY, .is_command = true,
     .never_0 = true},
    {"doctor-json", NULL, run_doctor_json, NULL, ANSWER_ANY, .is_command = true},
    {"doctor", NULL, run_doctor, NULL, ANSWER_ANY, .is_command = true},
    {"wait-for-nobody", prepare_whole, run_wait_for_nobody, NULL, ANSWER_ANY, .is_command = true,
     .never_0 = true},
    {"cli-restore", prepare_whole, run_restore, check_restore, ANSWER_SHAPE, .is_command = true},
    {"restore-json", prepare_whole, run_restore_json, check_restore, ANSWER_SHAPE,
     .is_command = true},
    {"cli-fast-forward", prepare_older, run_fast_forward, check_fast_forward, ANSWER_ANY,
     .is_command = true},
    {"kv-export", prepare_keys, run_export, check_export, ANSWER_ANY, .is_command = true},
    {"kv-export-to-stdout", prepare_keys, run_export_to_stdout, NULL, ANSWER_SAME,
     .is_command = true},
    {"kv-import", prepare_keys, run_import, check_import, ANSWER_ANY, .is_command = true},
    {"replicate", prepare_database, run_replicate, check_replicate, ANSWER_ANY, .is_command = true,
     .waits = true},
    {0},
};
