/* Replication in a process: how it begins and ends, what is refused, and what it leaves alone: the
 * application's connections, descriptors, locks, signals and children. */
#include "app.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <time.h>

static hf_source *source;
static char seen[16][64]; /* events */
static char words_seen[16][1000];
static atomic_int seen_count;
static pthread_mutex_t seen_lock = PTHREAD_MUTEX_INITIALIZER;

static void see(void *arg, const char *name, const char *const *pairs, int count) {
    (void)arg;
    pthread_mutex_lock(&seen_lock);
    int i = seen_count++ % 16;
    snprintf(seen[i], sizeof seen[i], "%s", name);
    snprintf(words_seen[i], sizeof words_seen[i], "%s", count ? pairs[count - 1] : "");
    pthread_mutex_unlock(&seen_lock);
}

static const char *seen_event(const char *name) {
    const char *found = NULL;
    pthread_mutex_lock(&seen_lock);
    for (int i = 0; !found && i < 16 && i < seen_count; i++)
        if (strcmp(seen[i], name) == 0) found = words_seen[i];
    pthread_mutex_unlock(&seen_lock);
    return found;
}

#define OPTIONS(...)                                                                               \
    &(hf_replicate_options) {                                                                      \
        .size = sizeof(hf_replicate_options), __VA_ARGS__                                          \
    }
#define FAST .interval_ms = 1, .event = see

static void copy_file(const char *from, const char *to) {
    char command[2200];
    snprintf(command, sizeof command, "cp '%s' '%s'", from, to);
    ck_assert_int_eq(system(command), 0);
}

/* ---- begin and end ---- */

START_TEST(what_was_committed_before_the_end_is_shipped) {
    HF(hf_attach(app, urls, OPTIONS(.interval_ms = 60000), &source));
    sql("INSERT INTO t VALUES (1), (2), (3)");
    HF(hf_detach(source));
    char path[TEMP_PATH + 32];
    int restored;
    snprintf(path, sizeof path, "%s/again.db", app_dir);
    HF(hf_restore_if_missing(path, urls, NULL, &restored));
    ck_assert_int_eq(restored, 1);
    sqlite3 *db;
    sqlite3_open(path, &db);
    ck_assert_int_eq(number(db, "SELECT count(*) FROM t"), 3);
    sqlite3_close(db);
}
END_TEST

/* It takes connections, and never says a word. */
static int silent_server(char url[200]) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    ck_assert_int_eq(listen(fd, 100), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&at, &size), 0);
    snprintf(url, 200, "s3://bucket/app?endpoint=http://127.0.0.1:%d&region=here",
             ntohs(at.sin_port));
    return fd;
}

START_TEST(the_end_waits_for_a_silent_destination_no_longer_than_asked) {
    char url[200];
    int fd = silent_server(url);
    setenv("AWS_ACCESS_KEY_ID", "a", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "b", 1);
    urls[0] = url;
    HF(hf_attach(app, urls, OPTIONS(.start_ms = 1, .drain_ms = 1), &source));
    time_t start = time(NULL);
    HF_FAILS(hf_detach(source), HF_TIMEOUT, "not all of it was shipped");
    ck_assert_int_lt(time(NULL) - start, 10); /* of the 45 s that it would be tried */
    close(fd);
}
END_TEST

START_TEST(it_goes_on_where_the_run_before_ended) {
    for (int i = 0; i < 3; i++) {
        HF(hf_attach(app, urls, OPTIONS(FAST), &source));
        sql("INSERT INTO t VALUES (1)");
        HF(hf_detach(source));
    }
    char *json;
    HF(hf_attach(app, urls, OPTIONS(FAST), &source));
    HF(hf_source_status(source, &json));
    ck_assert_msg(strstr(json, "\"shipments\":0") != NULL, "%s", json); /* nothing again */
    hf_free(json);
    HF(hf_detach(source));
}
END_TEST

START_TEST(a_database_has_one_run) {
    hf_source *other = NULL, *found = NULL;
    char link_path[TEMP_PATH + 32];
    HF(hf_attach(app, urls, NULL, &source));
    HF_FAILS(hf_attach(app, urls, NULL, &other), HF_BUSY, "already, by this process");
    snprintf(link_path, sizeof link_path, "%s/link.db", app_dir);
    ck_assert_int_eq(symlink(app_path, link_path), 0);
    HF(hf_source_find(link_path, &found));
    ck_assert_ptr_eq(found, source);
    ck_assert_ptr_null(other);
    hf_source_release(found);
    HF(hf_detach(source));
    HF_FAILS(hf_source_find(app_path, &found), HF_NOTFOUND, "not replicated");
    HF_FAILS(hf_source_find("/nowhere/app.db", &found), HF_NOTFOUND, "/nowhere/app.db");
}
END_TEST

START_TEST(another_process_has_the_database) {
    int ready[2], end[2];
    char byte;
    ck_assert(pipe(ready) == 0 && pipe(end) == 0);
    pid_t child = fork();
    if (child == 0) {
        sqlite3 *mine;
        hf_fake *its;
        sqlite3_open(app_path, &mine);
        HF(hf_fake_new(&its));
        urls[0] = hf_fake_url(its);
        HF(hf_attach(mine, urls, NULL, &source));
        ck_assert(write(ready[1], "x", 1) == 1 && read(end[0], &byte, 1) == 1);
        _exit(hf_detach(source));
    }
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    char pid[32];
    snprintf(pid, sizeof pid, "%d", (int)child);
    HF_FAILS(hf_attach(app, urls, NULL, &source), HF_BUSY, pid);
    ck_assert_int_eq(write(end[1], "x", 1), 1);
    int status;
    waitpid(child, &status, 0);
    ck_assert_int_eq(status, 0);
    HF(hf_attach(app, urls, NULL, &source));
    HF(hf_detach(source));
}
END_TEST

START_TEST(a_silent_destination_does_not_keep_the_application) {
    hf_fake *silent;
    HF(hf_fake_new(&silent));
    urls[1] = hf_fake_url(silent);
    urls[2] = NULL;
    hf_fake_slow(silent, 3600000);
    HF(hf_attach(app, urls, OPTIONS(FAST, .start_ms = 50, .drain_ms = 1), &source));
    const char *words = seen_event("start.not_all_ready");
    ck_assert_msg(words && strstr(words, hf_fake_url(silent)), "%s", words ? words : "no event");
    hf_wait_options o = {.size = sizeof o, .destination = urls[0]};
    sql("INSERT INTO t VALUES (1)");
    HF(hf_source_wait(source, NULL, &o)); /* the other one goes on */
    hf_fake_slow(silent, 0);
    HF(hf_source_wait(source, NULL, NULL));
    HF(hf_detach(source));
    hf_fake_free(silent);
}
END_TEST

static _Atomic bool writing;
static atomic_int commits;
static void *write_on(void *arg) {
    sqlite3 *db;
    (void)arg;
    ck_assert_int_eq(sqlite3_open(app_path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 60000);
    while (writing) {
        ck_assert_int_eq(sqlite3_exec(db, "INSERT INTO t VALUES (1)", NULL, NULL, NULL), SQLITE_OK);
        commits++;
    }
    sqlite3_close(db);
    return NULL;
}

START_TEST(an_application_writes_on_while_it_begins_and_ends) {
    pthread_t writers[3];
    char path[TEMP_PATH + 32];
    int restored;
    sqlite3 *db;
    writing = true;
    for (int i = 0; i < 3; i++) pthread_create(&writers[i], NULL, write_on, NULL);
    for (int round = 0; round < 5; round++) {
        HF(hf_attach(app, urls, OPTIONS(FAST, .checkpoint_pages = 50), &source));
        int before = commits;
        HF(hf_source_wait(source, NULL, NULL));
        snprintf(path, sizeof path, "%s/round-%d.db", app_dir, round);
        HF(hf_restore_if_missing(path, urls, NULL, &restored));
        sqlite3_open(path, &db);
        ck_assert_int_ge(number(db, "SELECT count(*) FROM t"), before);
        sqlite3_close(db);
        HF(hf_detach(source));
    }
    writing = false;
    for (int i = 0; i < 3; i++) pthread_join(writers[i], NULL);
}
END_TEST

START_TEST(a_database_that_is_replaced_is_gone_on_with) {
    char other[TEMP_PATH + 32], wal[TEMP_PATH + 48];
    HF(hf_attach(app, urls, OPTIONS(FAST, .adopt_local = 1), &source));
    sql("INSERT INTO t VALUES (1)");
    HF(hf_source_wait(source, NULL, NULL));
    sqlite3_close(app);
    snprintf(other, sizeof other, "%s/other.db", app_dir);
    ck_assert_int_eq(sqlite3_open(other, &app), SQLITE_OK);
    sql("PRAGMA journal_mode=WAL; CREATE TABLE t(x); INSERT INTO t VALUES (42)");
    sqlite3_close(app);
    snprintf(wal, sizeof wal, "%s-wal", app_path);
    if (!_i) unlink(wal);
    ck_assert_int_eq(rename(other, app_path), 0);
    /* Its log is not the new one's: that is not opened while the log lies there. */
    hf_wait_options o = {.size = sizeof o, .timeout_ms = 10};
    while (_i && !seen_event("database.old_log"))
        ck_assert_int_ne(hf_source_wait(source, NULL, &o), 0);
    unlink(wal);
    app_open();
    o.timeout_ms = 10000;
    int code;
    do code = hf_source_wait(source, NULL, &o);
    while (code == HF_CANCELLED); /* of the old one */
    /* The new one is another's: it is refused as at any start. */
    ck_assert_msg(code == HF_CONFLICT || code == HF_BEHIND, "%s: %s", hf_strcode(code),
                  hf_errmsg());
    ck_assert_ptr_nonnull(seen_event("database.replaced"));
    ck_assert_ptr_nonnull(seen_event("replication.ended"));
    ck_assert_int_eq(hf_detach(source), code);
}
END_TEST

START_TEST(an_end_before_the_new_database_can_be_opened_is_not_a_good_one) {
    char other[TEMP_PATH + 32], wal[TEMP_PATH + 48], *json = NULL;
    HF(hf_attach(app, urls, OPTIONS(FAST), &source));
    HF(hf_source_wait(source, NULL, NULL));
    sqlite3_close(app);
    snprintf(other, sizeof other, "%s/other.db", app_dir);
    FILE *f = fopen(other, "w");
    for (int i = 0; i < 1000; i++) fputs("half copied, ", f);
    fclose(f);
    snprintf(wal, sizeof wal, "%s-wal", app_path);
    unlink(wal);
    ck_assert_int_eq(rename(other, app_path), 0);
    do {
        free(json);
        HF(hf_source_status(source, &json));
    } while (!strstr(json, "waiting for a database"));
    free(json);
    HF_FAILS(hf_detach(source), HF_CORRUPT, "not an SQLite database");
    app = NULL;
}
END_TEST

/* ---- what is refused ---- */

static void refused(int code, const char *words) {
    source = NULL;
    HF_FAILS(hf_attach(app, urls, OPTIONS(FAST), &source), code, words);
    ck_assert_ptr_null(source);
}

START_TEST(an_older_copy_is_refused_with_the_command_that_goes_on) {
    char old[TEMP_PATH + 32];
    snprintf(old, sizeof old, "%s/old.db", app_dir);
    HF(hf_attach(app, urls, OPTIONS(FAST), &source));
    HF(hf_detach(source));
    sqlite3_close(app);
    copy_file(app_path, old);
    app_open();
    HF(hf_attach(app, urls, OPTIONS(FAST), &source));
    sql("INSERT INTO t VALUES (1)");
    HF(hf_detach(source));
    sqlite3_close(app);
    copy_file(old, app_path);
    app_open();
    uint64_t puts = hf_fake_puts(fake);
    refused(HF_BEHIND, "holdfast restore -fast-forward");
    ck_assert_uint_eq(hf_fake_puts(fake), puts);
    sql("INSERT INTO t VALUES (2)"); /* the application is not disturbed */
    HF(hf_attach(app, urls, OPTIONS(FAST, .adopt_local = 1), &source));
    HF(hf_detach(source));
}
END_TEST

__attribute__((format(printf, 1, 2))) static void shell(const char *format, ...) {
    char command[4096];
    va_list ap;
    va_start(ap, format);
    vsnprintf(command, sizeof command, format, ap);
    va_end(ap);
    ck_assert_int_eq(system(command), 0);
}

static void insert_and_wait(int x) {
    char text[64];
    snprintf(text, sizeof text, "INSERT INTO t VALUES (%d)", x);
    sql(text);
    HF(hf_source_wait(source, NULL, NULL));
}

/* Of two destinations one is behind when the database is restored from the other. It is brought up,
 * whatever it holds; but that was said of the state that was seen. Whoever wrote it, and was only
 * paused, may have shipped since what it then acknowledged: in either place. */
START_TEST(an_older_state_is_written_over_and_what_came_since_is_not) {
    static const char *const late_in[] = {NULL, "a", "b"};
    char a[TEMP_PATH + 8], b[TEMP_PATH + 8], path[TEMP_PATH + 32];
    const char *both[] = {a, b, NULL};
    int restored;
    snprintf(a, sizeof a, "%s/a", app_dir);
    snprintf(b, sizeof b, "%s/b", app_dir);
    HF(hf_attach(app, both, OPTIONS(FAST), &source));
    insert_and_wait(1);
    shell("cp -a %s %s.1", b, b);
    insert_and_wait(2);
    shell("cp -a %s %s.2", a, a);
    insert_and_wait(3);
    HF(hf_detach(source));
    sqlite3_close(app);
    shell("cd %s && mv a a.3 && mv b b.3 && cp -a a.2 a && cp -a b.1 b", app_dir);
    snprintf(path, sizeof path, "%s/new.db", app_dir);
    HF(hf_restore_if_missing(path, both, NULL, &restored));
    snprintf(app_path, sizeof app_path, "%s", path);
    app_open();
    ck_assert_int_eq(number(app, "SELECT count(*) FROM t"), 2);
    if (late_in[_i]) shell("cd %s && cp -an %s.3/. %s/", app_dir, late_in[_i], late_in[_i]);
    if (late_in[_i]) shell("cd %s && rm -rf seen && cp -a %s seen", app_dir, late_in[_i]);
    int code = hf_attach(app, both, OPTIONS(FAST), &source);
    ck_assert_msg(code == (late_in[_i] ? HF_BEHIND : HF_OK), "%s", hf_errmsg());
    if (late_in[_i]) {
        shell("cd %s && diff -r seen/ltx %s/ltx", app_dir, late_in[_i]);
    } else {
        insert_and_wait(4);
        HF(hf_detach(source));
        snprintf(path, sizeof path, "%s/again.db", app_dir);
        both[0] = b;
        both[1] = NULL;
        HF(hf_restore_if_missing(path, both, NULL, &restored));
        sqlite3_close(app);
        ck_assert_int_eq(sqlite3_open(path, &app), SQLITE_OK);
        ck_assert_int_eq(number(app, "SELECT sum(x) FROM t"), 1 + 2 + 4);
    }
}
END_TEST

START_TEST(another_database_is_refused) {
    HF(hf_attach(app, urls, OPTIONS(FAST), &source));
    HF(hf_detach(source));
    sqlite3_close(app);
    snprintf(app_path, sizeof app_path, "%s/another.db", app_dir);
    app_open();
    sql("PRAGMA journal_mode=WAL; CREATE TABLE u(y)");
    refused(HF_CONFLICT, "holdfast replicate");
}
END_TEST

START_TEST(what_another_machine_wrote_is_refused_until_it_is_taken_over) {
    char elsewhere[TEMP_PATH + 32];
    HF(hf_attach(app, urls, OPTIONS(FAST), &source));
    sql("INSERT INTO t VALUES (1)");
    HF(hf_detach(source));
    snprintf(elsewhere, sizeof elsewhere, "%s/elsewhere.db", app_dir);
    sqlite3_close(app);
    copy_file(app_path, elsewhere);
    snprintf(app_path, sizeof app_path, "%s", elsewhere);
    app_open();
    refused(HF_CONFLICT, "-take-over");
    HF(hf_attach(app, urls, OPTIONS(FAST, .take_over = 1), &source));
    HF(hf_detach(source));
}
END_TEST

START_TEST(wrong_arguments_are_refused) {
    static const char *none[] = {NULL}, *twice[3], *unknown[] = {"fake:77", NULL},
                      *scheme[] = {"s4://x/y", NULL};
    sqlite3 *memory, *temporary;
    sqlite3_open(":memory:", &memory);
    sqlite3_open("", &temporary);
    twice[0] = twice[1] = urls[0];
    HF_FAILS(hf_attach(memory, urls, NULL, &source), HF_USAGE, "in memory");
    HF_FAILS(hf_attach(temporary, urls, NULL, &source), HF_USAGE, "temporary");
    HF_FAILS(hf_attach(NULL, urls, NULL, &source), HF_USAGE, "no connection");
    HF_FAILS(hf_attach(app, none, NULL, &source), HF_USAGE, "no URL");
    HF_FAILS(hf_attach(app, NULL, NULL, &source), HF_USAGE, "no URL");
    HF_FAILS(hf_attach(app, twice, NULL, &source), HF_USAGE, "twice");
    HF_FAILS(hf_attach(app, unknown, NULL, &source), HF_USAGE, "unknown URL scheme 'fake'");
    HF_FAILS(hf_attach(app, scheme, NULL, &source), HF_USAGE, "did you mean 's3'");
    HF_FAILS(hf_attach(app, urls, OPTIONS(.interval_ms = -1), &source), HF_USAGE, "interval_ms");
    HF_FAILS(hf_attach(app, urls, OPTIONS(FAST, .checkpoint_pages = 3), &source), HF_USAGE,
             "from 10");
    HF_FAILS(hf_attach(app, urls, &(hf_replicate_options){.size = 0}, &source), HF_USAGE, "size");
    hf_fake *many[9];
    const char *all[10] = {NULL};
    for (int i = 0; i < 9; i++) {
        HF(hf_fake_new(&many[i]));
        all[i] = hf_fake_url(many[i]);
    }
    HF_FAILS(hf_attach(app, all, NULL, &source), HF_USAGE, "more than 8");
    sqlite3_close(memory);
    sqlite3_close(temporary);
}
END_TEST

START_TEST(options_of_an_older_program_are_taken_and_unknown_ones_refused) {
    struct {
        hf_replicate_options known;
        int64_t from_the_future;
    } newer = {.known = {.size = sizeof newer}, .from_the_future = 0};
    hf_replicate_options older;
    memset(&older, 0xff, sizeof older); /* what is beyond its size is not looked at */
    older.size = offsetof(hf_replicate_options, level_ms);
    older.interval_ms = 5;
    older.checkpoint_pages = 0;
    HF(hf_attach(app, urls, &older, &source));
    HF(hf_detach(source));
    HF(hf_attach(app, urls, &newer.known, &source));
    HF(hf_detach(source));
    newer.from_the_future = 1;
    HF_FAILS(hf_attach(app, urls, &newer.known, &source), HF_UNFIT, "does not know");
}
END_TEST

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1 /* which know neither RTLD_DEEPBIND nor threads after a fork */
#else
#define SANITIZED 0
#endif

/* Another copy of SQLite in this process: the same library under another name. */
START_TEST(a_connection_of_another_copy_of_SQLite_is_refused) {
    if (SANITIZED) return;
    Dl_info info;
    char copy[TEMP_PATH + 32];
    sqlite3 *foreign;
    int (*foreign_open)(const char *, sqlite3 **);
    int (*foreign_close)(sqlite3 *);
    ck_assert_int_ne(dladdr(sqlite3_libversion(), &info), 0);
    snprintf(copy, sizeof copy, "%s/libother.so", app_dir);
    copy_file(info.dli_fname, copy);
    void *library = dlopen(copy, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    ck_assert_msg(library != NULL, "%s", dlerror());
    *(void **)&foreign_open = dlsym(library, "sqlite3_open");
    *(void **)&foreign_close = dlsym(library, "sqlite3_close");
    ck_assert(foreign_open != sqlite3_open);
    ck_assert_int_eq(foreign_open(app_path, &foreign), SQLITE_OK);
    HF_FAILS(hf_attach(foreign, urls, NULL, &source), HF_USAGE, "two copies of SQLite");
    hf_place place;
    HF_FAILS(hf_position_of(foreign, &place), HF_USAGE, "two copies of SQLite");
    foreign_close(foreign);
}
END_TEST

START_TEST(an_SQLite_for_one_thread_is_refused) {
    sqlite3_close(app);
    sqlite3_shutdown();
    ck_assert_int_eq(sqlite3_config(SQLITE_CONFIG_SINGLETHREAD), SQLITE_OK);
    app_open();
    HF_FAILS(hf_attach(app, urls, NULL, &source), HF_UNFIT, "SQLITE_CONFIG_SERIALIZED");
}
END_TEST

/* ---- what it leaves alone ---- */

/* Descriptors on the database's three files. */
static int descriptors(void) {
    char link[64], to[1024];
    int n = 0;
    DIR *dir = opendir("/proc/self/fd");
    for (struct dirent *d; (d = readdir(dir)) != NULL;) {
        snprintf(link, sizeof link, "/proc/self/fd/%.16s", d->d_name);
        ssize_t size = readlink(link, to, sizeof to - 1);
        if (size < 0) continue;
        to[size] = 0;
        n += strncmp(to, app_path, strlen(app_path)) == 0;
    }
    closedir(dir);
    return n;
}

/* SQLite opens the database and the log once a connection and shares -shm; a copy of our own, of
 * which one might be closed, would be one more. */
START_TEST(no_descriptor_of_its_own_is_on_the_files) {
    sqlite3 *ours[5];
    int before = descriptors();
    for (int i = 0; i < 4; i++) { /* as many connections as a source has */
        sqlite3_open(app_path, &ours[i]);
        sqlite3_exec(ours[i], "SELECT * FROM t", NULL, NULL, NULL);
    }
    int with_four = descriptors();
    for (int i = 0; i < 4; i++) sqlite3_close(ours[i]);
    HF(hf_attach(app, urls, OPTIONS(FAST, .checkpoint_pages = 10), &source));
    for (int i = 0; i < 50; i++) {
        sql("INSERT INTO t VALUES (randomblob(3000))");
        HF(hf_source_wait(source, NULL, NULL));
        int now = descriptors();
        ck_assert_msg(now <= with_four, "%d, with four connections of SQLite's %d", now, with_four);
    }
    HF(hf_detach(source));
    ck_assert_int_le(descriptors(), with_four); /* SQLite keeps some until their locks are gone */
    ck_assert_int_ge(descriptors(), before);
}
END_TEST

#define LOCK_BYTES_FROM 120 /* in the -shm file: WAL-mode File Format, section 2.3.1 */
#define WRITE_LOCKS 32      /* from this bit on */

/* The bytes that are locked. One look may leave a lock out, or show it twice, when others on this
 * machine come and go meanwhile (os/system.h). */
static uint64_t locks_of_this_process(void) {
    char line[256], kind[8];
    int pid;
    uint64_t locked = 0;
    struct stat st;
    unsigned long inode, start, end;
    char shm[TEMP_PATH + 48];
    snprintf(shm, sizeof shm, "%s-shm", app_path);
    ck_assert_int_eq(stat(shm, &st), 0);
    for (int look = 0; look < 20; look++) {
        FILE *f = fopen("/proc/locks", "r");
        while (fgets(line, sizeof line, f)) {
            if (sscanf(line, "%*d: POSIX %*s %7s %d %*x:%*x:%lu %lu %lu", kind, &pid, &inode,
                       &start, &end) != 5 ||
                pid != getpid() || inode != st.st_ino)
                continue;
            for (unsigned long at = start; at <= end && at < LOCK_BYTES_FROM + WRITE_LOCKS; at++)
                locked |= (uint64_t)1
                          << (at - LOCK_BYTES_FROM + (kind[0] == 'W' ? WRITE_LOCKS : 0));
        }
        fclose(f);
    }
    return locked;
}

START_TEST(the_applications_locks_survive_the_end) {
    sql("BEGIN IMMEDIATE; INSERT INTO t VALUES (1)");
    uint64_t before = locks_of_this_process();
    ck_assert_uint_ne(before, 0);
    HF(hf_attach(app, urls, OPTIONS(FAST), &source));
    HF(hf_detach(source));
    ck_assert_uint_eq(locks_of_this_process(), before);
    pid_t child = fork();
    if (child == 0) {
        sqlite3 *db;
        sqlite3_open(app_path, &db);
        _exit(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_BUSY ? 0 : 1);
    }
    int status;
    waitpid(child, &status, 0);
    ck_assert_int_eq(status, 0);
    sql("COMMIT");
}
END_TEST

START_TEST(its_hooks_stay_the_applications) {
    HF(hf_attach(app, urls, OPTIONS(FAST), &source));
    ck_assert_ptr_nonnull(sqlite3_wal_hook(app, NULL, NULL)); /* the automatic checkpoint's */
    ck_assert_ptr_null(sqlite3_commit_hook(app, NULL, NULL));
    ck_assert_ptr_null(sqlite3_update_hook(app, NULL, NULL));
    HF(hf_detach(source));
}
END_TEST

START_TEST(signals_are_the_applications) {
    sigset_t usr1, pending;
    HF(hf_attach(app, urls, OPTIONS(FAST), &source));
    HF(hf_source_wait(source, NULL, NULL));
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &usr1, NULL);
    kill(getpid(), SIGUSR1); /* would end the process if a thread of ours took it */
    sql("INSERT INTO t VALUES (1)");
    HF(hf_source_wait(source, NULL, NULL));
    sigpending(&pending);
    ck_assert_int_eq(sigismember(&pending, SIGUSR1), 1);
    HF(hf_detach(source));
}
END_TEST

START_TEST(a_child_has_no_part_in_it) {
    HF(hf_attach(app, urls, OPTIONS(FAST), &source));
    sql("INSERT INTO t VALUES (1)");
    pid_t child = fork();
    if (child == 0) {
        char *json;
        hf_source *found, *own;
        sqlite3 *db;
        HF_FAILS(hf_source_wait(source, NULL, NULL), HF_USAGE, "before fork()");
        HF_FAILS(hf_source_wait_async(source, NULL, NULL, NULL, NULL), HF_USAGE, "");
        HF_FAILS(hf_source_status(source, &json), HF_USAGE, "before fork()");
        HF_FAILS(hf_detach(source), HF_USAGE, "before fork()");
        HF_FAILS(hf_source_find(app_path, &found), HF_NOTFOUND, "not replicated by this process");
        if (SANITIZED) _exit(0);
        snprintf(app_path, sizeof app_path, "%s/child.db", app_dir);
        sqlite3_open(app_path, &db);
        sqlite3_exec(db, "PRAGMA journal_mode=WAL; CREATE TABLE t(x)", NULL, NULL, NULL);
        snprintf(app_path, sizeof app_path, "%s/replica", app_dir);
        urls[0] = app_path;
        HF(hf_attach(db, urls, NULL, &own)); /* what it opens itself is its own */
        HF(hf_source_wait(own, NULL, NULL));
        HF(hf_detach(own));
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    ck_assert_int_eq(status, 0);
    HF(hf_source_wait(source, NULL, NULL));
    HF(hf_detach(source));
}
END_TEST

/* A process that was killed leaves its children behind; whoever starts it anew must not meet a lock
 * that they hold. */
START_TEST(a_child_does_not_keep_the_lock) {
    HF(hf_attach(app, urls, OPTIONS(FAST), &source));
    int ready[2], end[2];
    char byte;
    ck_assert(pipe(ready) == 0 && pipe(end) == 0);
    pid_t child = fork();
    if (child == 0) {
        close(end[1]);
        ck_assert_int_eq(write(ready[1], "x", 1), 1);
        _exit(read(end[0], &byte, 1) == 0 ? 0 : 1);
    }
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    HF(hf_detach(source));
    HF(hf_attach(app, urls, OPTIONS(FAST), &source));
    HF(hf_detach(source));
    close(end[1]);
    int status;
    waitpid(child, &status, 0);
    ck_assert_int_eq(status, 0);
}
END_TEST

int main(void) {
    Suite *s = suite_create("store/replicate");
    TCase *t = tcase_create("attach");
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, app_setup, NULL);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, what_was_committed_before_the_end_is_shipped);
    tcase_add_test(t, the_end_waits_for_a_silent_destination_no_longer_than_asked);
    tcase_add_test(t, it_goes_on_where_the_run_before_ended);
    tcase_add_test(t, a_database_has_one_run);
    tcase_add_test(t, another_process_has_the_database);
    tcase_add_test(t, a_silent_destination_does_not_keep_the_application);
    tcase_add_test(t, an_application_writes_on_while_it_begins_and_ends);
    tcase_add_loop_test(t, a_database_that_is_replaced_is_gone_on_with, 0, 2);
    tcase_add_test(t, an_end_before_the_new_database_can_be_opened_is_not_a_good_one);
    tcase_add_test(t, an_older_copy_is_refused_with_the_command_that_goes_on);
    tcase_add_loop_test(t, an_older_state_is_written_over_and_what_came_since_is_not, 0, 3);
    tcase_add_test(t, another_database_is_refused);
    tcase_add_test(t, what_another_machine_wrote_is_refused_until_it_is_taken_over);
    tcase_add_test(t, wrong_arguments_are_refused);
    tcase_add_test(t, options_of_an_older_program_are_taken_and_unknown_ones_refused);
    tcase_add_test(t, a_connection_of_another_copy_of_SQLite_is_refused);
    tcase_add_test(t, an_SQLite_for_one_thread_is_refused);
    tcase_add_test(t, no_descriptor_of_its_own_is_on_the_files);
    tcase_add_test(t, the_applications_locks_survive_the_end);
    tcase_add_test(t, its_hooks_stay_the_applications);
    tcase_add_test(t, signals_are_the_applications);
    tcase_add_test(t, a_child_has_no_part_in_it);
    tcase_add_test(t, a_child_does_not_keep_the_lock);
    suite_add_tcase(s, t);
    return run_suite(s);
}
