/* A bucket for the destination: the S3 of tests/e2e, in a process of its own, which answers every
 * request well. What fails is here: memory, sockets and what libcurl and OpenSSL make of it.
 *
 * Run by name alone: where OpenSSL looks for a digest and has no memory for a name of it, it loses
 * the names before that one, and nothing tells that from what we lose. */
#include "life.h"
#include "operations.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROWS 8

static int port;

/* Ends when nobody holds the other end of its standard input any more. */
static void start_server(void) {
    int in[2], out[2];
    char said[300] = "", access[100], secret[100];
    MUST(pipe(in) == 0 && pipe(out) == 0, "pipe");
    if (fork() == 0) {
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        close(in[1]);
        execl("/usr/bin/python3", "python3", "-B", TORTURE_S3, (char *)NULL);
        _exit(2);
    }
    close(in[0]);
    close(out[1]);
    for (size_t n = 0; !strchr(said, '\n');) {
        ssize_t got = read(out[0], said + n, sizeof said - 1 - n);
        MUST(got > 0, "the S3 of tests/e2e does not start");
        n += (size_t)got;
    }
    close(out[0]);
    MUST(sscanf(said, "%d %99s %99s", &port, access, secret) == 3, "it said '%s'", said);
    setenv("AWS_ACCESS_KEY_ID", access, 1);
    setenv("AWS_SECRET_ACCESS_KEY", secret, 1);
    setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
    unsetenv("AWS_SESSION_TOKEN");
    unsetenv("http_proxy");
}

static const char *bucket_url(const char *prefix) {
    static char url[200];
    snprintf(url, sizeof url,
             "s3://bucket/%s?endpoint=http://127.0.0.1:%d&region=us-east-1&force-path-style=true",
             prefix, port);
    return url;
}

static void prepare_database(void) {
    start_server();
    rows_add(DB, 4);
}

static void prepare_replica(void) {
    prepare_database();
    SURE(life_whole(DB, bucket_url("whole"), ROWS, &sure_err));
    MUST(rows_of(DB) == ROWS, "what is prepared lacks rows");
}

/* A prefix of this point's own. */
static const char *own_url(void) {
    if (!outcome->place[0]) snprintf(outcome->place, sizeof outcome->place, "p%d", (int)getpid());
    return bucket_url(outcome->place);
}

static void run_source(void) {
    struct err e = {0};
    struct life l;
    take_database(4);
    rc r = life_begin(&l, DB, own_url(), &e);
    if (is_ok(r)) r = life_safe(&l, &e);
    if (is_ok(r)) {
        rows_add(DB, ROWS);
        r = life_safe(&l, &e);
    }
    life_end(&l, r, &e);
    said(r, &e);
}

static void check_source(void) {
    life_check(DB, own_url());
}

static rc restore(struct err *e) {
    struct store *store = NULL;
    struct restore_result result;
    struct restore_options o = {0};
    TRY(store_open(one_thread(), bucket_url("whole"), &store, e));
    rc r = replica_restore(store, "restored", &o, &result, e);
    store_free(store);
    return r;
}

static void run_restore(void) {
    struct err e = {0};
    said(restore(&e), &e);
}

static void check_restore(void) {
    MUST(is_there("restored") || outcome->code,
         "it said that it was restored, and nothing is there");
    if (is_there("restored")) MUST(rows_of("restored") == ROWS, "PARTIAL FILE: not all rows");
}

const struct operation bucket_operations[] = {
    {.name = "bucket-source",
     prepare_database,
     run_source,
     check_source,
     .waits = true,
     .only_named = true},
    {.name = "bucket-restore",
     prepare_replica,
     run_restore,
     check_restore,
     .waits = true,
     .only_named = true},
    {0},
};
