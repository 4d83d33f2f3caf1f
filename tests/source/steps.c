/* The source stepped by hand, with a clock that stands still between two steps: what is asked of a
 * store that fails, how often, and when it ends. */
#include "stepped.h"

#include "format/names.h"
#include "replica/notes.h"
#include "store/fast_forward.h"

#include <errno.h>

static struct store *replica;
static enum fault (*trouble)(const char *op, const char *key);
static int64_t verify_ms = -1;
static bool unfenced;
static _Thread_local bool is_source;
static struct {
    int retries, gets, ships, verified, unfenced, aborts, aborts_here;
    char last_error[ERR_TEXT_MAX], alarm[ERR_TEXT_MAX];
} seen;

/* Every call, by its name: what a bucket's owner pays for. */
static const char *const calls[] = {"put",         "put_note",     "get",           "stat",  "list",
                                    "upload_open", "upload_write", "upload_commit", "remove"};
#define CALLS (sizeof calls / sizeof *calls)
static int called[CALLS];

static int calls_of(const char *op) {
    size_t i = 0;
    while (strcmp(calls[i], op) != 0) i++;
    return called[i];
}

/* Since `before`, which becomes now; shown, too. */
static int calls_since(int before[CALLS], const char *what) {
    int all = 0;
    printf("%s:", what);
    for (size_t i = 0; i < CALLS; i++) {
        if (called[i] > before[i]) printf(" %s %d", calls[i], called[i] - before[i]);
        all += called[i] - before[i];
        before[i] = called[i];
    }
    printf("%s\n", all ? "" : " none");
    fflush(stdout);
    return all;
}

static enum fault decide(void *arg, const char *op, const char *key) {
    (void)arg;
    for (size_t i = 0; i < CALLS; i++)
        if (strcmp(op, calls[i]) == 0) __atomic_add_fetch(&called[i], 1, __ATOMIC_RELAXED);
    if (strcmp(op, "upload_abort") == 0) seen.aborts++, seen.aborts_here += is_source;
    if (strcmp(op, "get") == 0) __atomic_add_fetch(&seen.gets, 1, __ATOMIC_RELAXED);
    return trouble ? trouble(op, key) : FAULT_NONE;
}

static void on_event(void *arg, const char *name, const char *const *pairs, int count) {
    (void)arg;
    if (strcmp(name, "ship") == 0) seen.ships++;
    if (strcmp(name, "verify") == 0) seen.verified++;
    if (strcmp(name, "verify.failed") == 0)
        snprintf(seen.alarm, sizeof seen.alarm, "%s", pairs[count - 1]);
    if (strcmp(name, "destination.unfenced") == 0) seen.unfenced++;
    if (strstr(name, "retry")) {
        seen.retries++;
        snprintf(seen.last_error, sizeof seen.last_error, "%s", pairs[count - 1]);
    }
}

static void keep(struct store *s) {
    (void)s; /* one replica for all lives */
}

static void (*drop)(struct store *); /* what ends it all the same */

static void setup(void) {
    static struct store_ops kept;
    is_source = true;
    stepped_setup(2);
    must(store_new_mem(&env, &replica, &err));
    drop = replica->ops->free;
    kept = *replica->ops;
    kept.free = keep;
    replica->ops = &kept;
    sql("INSERT INTO t VALUES (1, randomblob(3000)), (2, randomblob(3000))");
}

static void start(void) {
    struct source_options options = {
        .verify_ms = verify_ms, .unfenced = unfenced, .event = on_event, .wake = on_wake};
    struct store *faulty;
    must(source_open(&source, &env, db_path, &options, &err));
    must(store_new_fault(replica, decide, NULL, &faulty, &err));
    must(source_add(source, faulty, &err));
}

/* The same, whatever a compaction does. */
static rc step_beside(void) {
    int64_t due;
    TRY(step_once(&due));
    if (source->dest[0].open_task.busy || source->dest[0].ship.task.busy) sem_wait(&woken);
    else if (source->dest[0].compact.level == LEVEL_SNAPSHOT && source->dest[0].compact.task.busy)
        sem_wait(&woken);
    else if (due > mono_now) mono_now = due;
    return ok();
}

static enum fault no_put(const char *op, const char *key) {
    return strcmp(op, "put") == 0 && strstr(key, "ltx/0/") ? FAULT_FAIL : FAULT_NONE;
}

START_TEST(a_store_that_takes_nothing_is_asked_less_and_less) {
    trouble = no_put;
    start();
    int64_t end = mono_now + 120 * SECOND;
    while (mono_now < end) must(step());
    ck_assert_int_ge(seen.retries, 3);
    ck_assert_int_le(seen.retries, 60);
    trouble = NULL;
    run_until_shipped();
    stop();
}
END_TEST

static enum fault no_upload(const char *op, const char *key) {
    (void)key;
    return strcmp(op, "upload_write") == 0 ? FAULT_FAIL : FAULT_NONE;
}

START_TEST(a_large_shipment_is_tried_less_and_less) {
    start();
    run_until_shipped();
    sql("INSERT INTO t(b) SELECT randomblob(100000) FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION"
        " ALL SELECT i + 1 FROM n WHERE i < 120) SELECT i FROM n)");
    trouble = no_upload;
    int64_t end = mono_now + 120 * SECOND;
    while (mono_now < end) must(step());
    ck_assert_int_ge(seen.retries, 3);
    ck_assert_int_le(seen.retries, 60);
    ck_assert(seen.aborts && !seen.aborts_here); /* a bucket may hang at that, too */
    source_drain(source);                        /* no reason to ask without a pause */
    end += 60 * SECOND;
    for (int i = 0; mono_now < end && i < 1000; i++) must(step());
    ck_assert_int_ge(mono_now, end);
    trouble = NULL;
    run_until_shipped();
    stop();
}
END_TEST

static sem_t gate;

static enum fault slow_level(const char *op, const char *key) {
    if (strcmp(op, "upload_write") == 0 && strstr(key, "ltx/1/")) sem_wait(&gate);
    return FAULT_NONE;
}

START_TEST(a_large_compaction_does_not_keep_commits_waiting) {
    sem_init(&gate, 0, 0);
    start();
    run_until_shipped();
    while (!source->dest[0].level_max[LEVEL_SNAPSHOT]) must(step());
    mono_now += 31 * SECOND; /* level 1 is due: the next shipment keeps its cut for it */
    sql("INSERT INTO t(b) SELECT randomblob(100000) FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION"
        " ALL SELECT i + 1 FROM n WHERE i < 120) SELECT i FROM n)");
    trouble = slow_level;
    for (int i = 0; i < 10000 && !source->dest[0].compact.active; i++) must(step_beside());
    ck_assert_int_eq(source->dest[0].compact.level, 1);
    int before = seen.ships;
    sql("INSERT INTO t(b) VALUES ('meanwhile')");
    int64_t end = mono_now + 5 * SECOND;
    while (mono_now < end) must(step_beside());
    ck_assert_int_gt(seen.ships, before);
    ck_assert(source->dest[0].compact.active);
    for (int i = 0; i < 100; i++) sem_post(&gate);
    run_until_shipped();
    stop();
}
END_TEST

static enum fault no_history(const char *op, const char *key) {
    (void)key;
    return strcmp(op, "get") == 0 && source->dest[0].state == DEST_KNOWN ? FAULT_FAIL : FAULT_NONE;
}

/* Nothing but the sums of the past can tell what the database is. */
static void become_unproven(void) {
    start();
    run_until_shipped();
    stop();
    sql("UPDATE t SET b = randomblob(3000); PRAGMA wal_checkpoint(TRUNCATE)");
    sqlite3_close(app);
    char command[TEMP_PATH * 2];
    snprintf(command, sizeof command, "rm -rf %s", getenv("RUNTIME_DIRECTORY"));
    ck_assert_int_eq(system(command), 0);
    open_app();
}

START_TEST(a_past_that_cannot_be_read_is_asked_for_less_and_less) {
    become_unproven();
    trouble = no_history;
    start();
    memset(&seen, 0, sizeof seen);
    int64_t end = mono_now + 120 * SECOND;
    for (int i = 0; mono_now < end && i < 100000; i++) must(step());
    ck_assert_int_ge(mono_now, end);
    ck_assert_int_ge(seen.retries, 3);
    ck_assert_int_le(seen.retries, 60);
    trouble = NULL;
    rc r = ok();
    for (int i = 0; is_ok(r) && i < 100000; i++) r = step();
    ck_assert_int_eq(r.code, RC_CONFLICT); /* unproven, as before */
    stop();
}
END_TEST

START_TEST(a_writer_that_goes_on_does_not_keep_a_run_from_ending) {
    start();
    run_until_shipped();
    sql("INSERT INTO t VALUES (3, 'the last that was seen')");
    must(step());
    source_drain(source);
    for (int i = 0; i < 100 && !shipped(); i++) {
        must(step());
        sql("INSERT INTO t(b) VALUES ('and on')");
    }
    ck_assert(shipped());
    stop();
}
END_TEST

static void newest_time(int64_t *out, uint64_t *txid) {
    struct listing files = {0};
    must(replica_list(replica, &files, NULL, &err));
    for (size_t i = 0; i < files.count; i++) {
        if (files.files[i].max_txid <= *txid) continue;
        *txid = files.files[i].max_txid;
        *out = files.files[i].time_ms;
    }
    listing_deinit(&files);
}

START_TEST(time_never_goes_back_in_a_replica) {
    int64_t before = 0, after = 0;
    uint64_t txid = 0;
    start();
    run_until_shipped();
    stop();
    newest_time(&before, &txid);
    unix_shift -= 3600000;
    start();
    run_until_shipped();
    stop();
    newest_time(&after, &txid);
    ck_assert_int_gt(after, before);
}
END_TEST

/* ---- what it costs ---- */

#define HOUR (3600 * SECOND)

static void run_for(int64_t ns) {
    int64_t end = mono_now + ns;
    while (mono_now < end) must(step());
}

/* Every level follows, the last snapshot is a day away, and it is verified another day later. */
START_TEST(an_idle_database_asks_for_nothing) {
    int before[CALLS] = {0};
    verify_ms = 0;
    start();
    run_until_shipped();
    sql("INSERT INTO t(b) VALUES ('the last word')");
    run_for(60 * SECOND);
    calls_since(before, "start and a minute");
    run_for(47 * HOUR);
    calls_since(before, "until all levels are up to date");
    ck_assert_int_eq(seen.verified, 1);
    int lists = calls_of("list");
    run_for(72 * HOUR);
    ck_assert_int_eq(calls_since(before, "three idle days"), 0);
    sql("INSERT INTO t(b) VALUES ('one more')"); /* and what was left out is made up for */
    run_for(48 * HOUR);
    calls_since(before, "two days with one commit");
    ck_assert_int_eq(seen.verified, 2);
    ck_assert_int_eq(calls_of("list"), lists);
    stop();
}
END_TEST

START_TEST(a_write_a_second_costs_little_more_than_its_put) {
    int before[CALLS] = {0};
    start();
    run_until_shipped();
    run_for(60 * SECOND);
    calls_since(before, "start and a minute");
    int lists = calls_of("list"), puts = calls_of("put"), gets = calls_of("get");
    int stats = calls_of("stat"), removes = calls_of("remove");
    for (int i = 0; i < 3600; i++) {
        int64_t next = mono_now + SECOND;
        sql("UPDATE t SET b = randomblob(100) WHERE id = 1");
        while (mono_now < next) must(step());
    }
    calls_since(before, "an hour of a write a second");
    /* 120 of level 1, 12 of level 2, 1 of level 3; each read back; retention every 15 s at most */
    ck_assert_int_eq(calls_of("list"), lists);
    ck_assert_int_ge(calls_of("put") - puts, 3590);
    ck_assert_int_le(calls_of("put") - puts, 3600 + 133 + 5);
    ck_assert_int_ge(calls_of("get") - gets, 133);
    ck_assert_int_le(calls_of("get") - gets, 133 + 5 + 240);
    ck_assert_int_le(calls_of("stat") - stats, 240);
    ck_assert_int_ge(calls_of("remove") - removes, 3000);
    ck_assert_int_le(calls_of("remove") - removes, 3600);
    stop();
}
END_TEST

START_TEST(broken_pins_stop_retention) {
    start();
    run_until_shipped();
    must(replica->ops->put_note(replica, "holdfast/pins.json", "[{]", 3, &err));
    sql("INSERT INTO t(b) VALUES ('a file to delete')");
    run_for(2 * HOUR);
    ck_assert_int_ge(seen.retries, 1);
    ck_assert_msg(strstr(seen.last_error, "pins.json"), "%s", seen.last_error);
    ck_assert_int_eq(calls_of("remove"), 0);
    must(replica->ops->put_note(replica, "holdfast/pins.json", "[]", 2, &err));
    sql("INSERT INTO t(b) VALUES ('another')");
    run_for(2 * HOUR);
    ck_assert_int_ge(calls_of("remove"), 2);
    stop();
}
END_TEST

static enum fault no_second_list(const char *op, const char *key) {
    (void)key;
    return strcmp(op, "list") == 0 && source->dest[0].verify_task.busy ? FAULT_FAIL : FAULT_NONE;
}

/* Another writer took over and compacted: it is no alarm that what we knew of is gone. Nor is it
 * one if that cannot be told for the moment. */
START_TEST(what_rightly_went_is_not_missed) {
    verify_ms = 0;
    start();
    run_until_shipped();
    sql("INSERT INTO t(b) VALUES ('will be covered')");
    run_for(60 * SECOND);
    ck_assert_uint_ge(source->dest[0].level_max[LEVEL_SNAPSHOT], 2);
    source->opt.retention.level0_ms = 1000 * HOUR / 1000000; /* the other retains, not we */
    char key[KEY_SIZE];
    key_of_file(false, 0, 2, 2, key);
    must(replica->ops->remove(replica, key, &err));
    trouble = _i ? no_second_list : NULL;
    run_for(25 * HOUR);
    ck_assert_int_eq(seen.verified, !_i);
    ck_assert_msg(!_i || strstr(seen.alarm, "injected fault"), "%s", seen.alarm);
    struct object_info note; /* it would be told by status as a broken replica */
    ck_assert_int_eq(replica->ops->stat(replica, VERIFIED_KEY, &note, &err).code,
                     _i ? RC_NOTFOUND : RC_OK);
    stop();
}
END_TEST

static enum fault no_owner(const char *op, const char *key) {
    (void)op;
    return strstr(key, "owner.json") ? FAULT_FAIL : FAULT_NONE;
}

START_TEST(an_owner_that_cannot_be_read_is_not_taken_for_none) {
    trouble = no_owner;
    start();
    run_for(60 * SECOND);
    ck_assert_int_ge(seen.retries, 3);
    ck_assert(!shipped());
    trouble = NULL;
    run_until_shipped();
    stop();
}
END_TEST

static enum fault no_shipment(const char *op, const char *key) {
    bool ready = source->dest[0].state == DEST_READY;
    return ready && strcmp(op, "put") == 0 && strstr(key, "ltx/") ? FAULT_FAIL : FAULT_NONE;
}

START_TEST(fences_alone_are_no_backup) {
    struct restore_result restored;
    struct verify_result verified;
    struct listing files = {0};
    trouble = no_shipment;
    for (int life = 0; life < 2; life++) {
        start();
        run_for(60 * SECOND);
        ck_assert_int_eq(source->dest[0].class, CLASS_NEW);
        stop();
    }
    must(replica_list(replica, &files, NULL, &err));
    ck_assert_uint_eq(files.count, 2);
    listing_deinit(&files);
    must(replica_list_backup(replica, &files, NULL, &err));
    ck_assert_uint_eq(files.count, 0);
    char out[TEMP_PATH * 2 + 8];
    snprintf(out, sizeof out, "%s.out", db_path);
    rc r = replica_restore(replica, out, &(struct restore_options){0}, &restored, &err);
    ck_assert_int_eq(r.code, RC_NOTFOUND);
    r = replica_verify(replica, 1, NULL, &verified, &err);
    ck_assert_int_eq(r.code, RC_NOTFOUND);
    trouble = NULL;
    start();
    run_until_shipped();
    ck_assert_int_eq(source->dest[0].class, CLASS_NEW);
    stop();
    must(replica_restore(replica, out, &(struct restore_options){0}, &restored, &err));
    ck_assert_uint_eq(restored.txid, 4);
}
END_TEST

/* ---- stores without conditional writes ---- */

static rc put_that_replaces(struct store *s, const char *key, const void *bytes, size_t size,
                            int64_t time_ms, struct err *e) {
    (void)time_ms;
    return s->ops->put_note(s, key, bytes, size, e);
}

static rc put_that_cannot(struct store *s, const char *key, const void *bytes, size_t size,
                          int64_t time_ms, struct err *e) {
    (void)s, (void)key, (void)bytes, (void)size, (void)time_ms;
    return err_set(e, RC_UNFIT, "501 Not Implemented");
}

typedef rc put(struct store *, const char *, const void *, size_t, int64_t, struct err *);
static put *const loose_puts[] = {put_that_replaces, put_that_cannot};

static void become_loose(put *how) {
    static struct store_ops loose;
    loose = *replica->ops;
    loose.put = how;
    replica->ops = &loose;
    replica->probe = true;
}

START_TEST(a_store_without_conditional_writes_is_refused) {
    struct listing files = {0};
    become_loose(loose_puts[_i]);
    start();
    rc r = ok();
    for (int i = 0; is_ok(r) && i < 1000; i++) r = step();
    ck_assert_int_eq(r.code, RC_UNFIT);
    ck_assert_msg(strstr(err.text, "-unfenced") && strstr(err.text, "mem:"), "%s", err.text);
    must(replica_list(replica, &files, NULL, &err));
    ck_assert_uint_eq(files.count, 0);
    stop();
}
END_TEST

START_TEST(a_store_without_conditional_writes_is_used_when_told) {
    unfenced = true;
    become_loose(put_that_replaces);
    start();
    run_until_shipped();
    ck_assert(source->dest[0].store->unfenced);
    ck_assert_int_eq(seen.unfenced, 1);
    stop();
}
END_TEST

/* At its first start and its second; and told or not. */
START_TEST(a_store_with_conditional_writes_passes) {
    replica->probe = true;
    for (int i = 0; i < 2; i++) {
        start();
        run_until_shipped();
        ck_assert(!source->dest[0].store->unfenced);
        stop();
        unfenced = true;
    }
    ck_assert_int_eq(seen.unfenced, 0);
    ck_assert_int_eq(seen.retries, 0);
}
END_TEST

static enum fault no_probe(const char *op, const char *key) {
    return strcmp(op, "put") == 0 && strstr(key, "probe") ? FAULT_LOSE_REPLY : FAULT_NONE;
}

START_TEST(a_probe_without_an_answer_is_tried_again) {
    replica->probe = true;
    trouble = no_probe;
    start();
    run_for(60 * SECOND);
    ck_assert_int_ge(seen.retries, 3);
    trouble = NULL;
    run_until_shipped();
    ck_assert(!source->dest[0].store->unfenced);
    stop();
}
END_TEST

/* ---- fast-forward ---- */

static struct env_files files;
static int intruder = -1;

/* The last thing before the new database gets the old one's name. */
static rc intrude(struct env *e, const char *from, const char *to, struct err *error) {
    char command[2 * TEMP_PATH + 100];
    snprintf(command, sizeof command,
             "sqlite3 '%s' \"INSERT INTO t(b) VALUES ('lost')\" >/dev/null 2>&1", db_path);
    intruder = system(command);
    return real->files->copy_access(e, from, to, error);
}

/* Between the look at what it is and the lock. */
static rc intrude_early(struct env *e, const char *path, enum file_mode mode, struct file **out,
                        struct err *error) {
    if (strcmp(path, db_path) == 0 && intruder == -1) {
        open_app();
        sql("INSERT INTO t(b) VALUES ('lost')");
        sqlite3_close(app);
        intruder = 0;
    }
    return real->files->open(e, path, mode, out, error);
}

/* The replica has more than the database. */
static void become_older(void) {
    static struct store_ops kept;
    char dir[TEMP_PATH], command[9 * TEMP_PATH];
    drop(replica); /* the one in memory: what this is about needs files */
    temp_dir(dir);
    must(store_new_file(&env, dir, &replica, &err));
    kept = *replica->ops;
    kept.free = keep;
    replica->ops = &kept;
    start();
    run_until_shipped();
    stop();
    sql("PRAGMA wal_checkpoint(TRUNCATE)");
    snprintf(command, sizeof command, "cp '%s' '%s.old'", db_path, db_path);
    ck_assert_int_eq(system(command), 0);
    sql("INSERT INTO t(b) VALUES ('newer')");
    start();
    run_until_shipped();
    stop();
    sqlite3_close(app);
    snprintf(command, sizeof command, "rm -f '%s' '%s'-*; cp '%s.old' '%s'", db_path, db_path,
             db_path, db_path);
    ck_assert_int_eq(system(command), 0);
    files = *real->files;
    env.files = &files;
}

START_TEST(nobody_writes_while_a_database_is_replaced) {
    struct restore_result result;
    become_older();
    files.copy_access = intrude;
    must(fast_forward_database(&env, replica, db_path, 1, NULL, &result, &err));
    ck_assert_int_ne(intruder, -1);
    ck_assert_int_ne(intruder, 0);
}
END_TEST

START_TEST(what_was_written_since_the_look_is_not_replaced) {
    struct restore_result result;
    become_older();
    files.open = intrude_early;
    rc r = fast_forward_database(&env, replica, db_path, 1, NULL, &result, &err);
    ck_assert_int_eq(intruder, 0);
    ck_assert_int_eq(r.code, RC_BUSY);
}
END_TEST

static int names_given, names_most;

static rc name_or_die(struct env *e, const char *from, const char *to, bool replace,
                      struct err *error) {
    if (names_given++ == names_most) return err_errno(error, EIO, "injected: %s", from);
    return real->files->rename(e, from, to, replace, error);
}

static rc link_or_die(struct env *e, struct file *f, const char *from, const char *to,
                      struct err *error) {
    if (from && names_given++ == names_most) return err_errno(error, EIO, "injected: %s", from);
    return real->files->link(e, f, from, to, error);
}

/* Whoever looks for it at any moment finds one, and so does who comes after a kill -9. */
START_TEST(a_database_is_never_without_its_name_while_the_replicas_is_adopted) {
    struct restore_result result;
    char saved[LIMIT_PATH];
    become_older();
    files.rename = name_or_die;
    files.link = link_or_die;
    for (names_most = 0;; names_most++) {
        names_given = 0;
        rc r = fast_forward_adopt(&env, replica, db_path, 1, NULL, &result, saved, &err);
        ck_assert_int_eq(access(db_path, F_OK), 0);
        if (is_ok(r)) break;
        ck_assert_int_eq(r.code, RC_IO);
        if (access(saved, F_OK) == 0) must(real->files->remove(&env, saved, &err));
    }
    ck_assert_int_ge(names_most, 2);
    ck_assert_int_eq(access(saved, F_OK), 0);
}
END_TEST

int main(void) {
    Suite *s = suite_create("source/steps");
    TCase *t = tcase_create("steps");
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, setup, NULL);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, a_store_that_takes_nothing_is_asked_less_and_less);
    tcase_add_test(t, a_past_that_cannot_be_read_is_asked_for_less_and_less);
    tcase_add_test(t, a_writer_that_goes_on_does_not_keep_a_run_from_ending);
    tcase_add_test(t, time_never_goes_back_in_a_replica);
    tcase_add_test(t, nobody_writes_while_a_database_is_replaced);
    tcase_add_test(t, what_was_written_since_the_look_is_not_replaced);
    tcase_add_test(t, a_database_is_never_without_its_name_while_the_replicas_is_adopted);
    tcase_add_test(t, a_large_shipment_is_tried_less_and_less);
    tcase_add_test(t, a_large_compaction_does_not_keep_commits_waiting);
    tcase_add_test(t, an_idle_database_asks_for_nothing);
    tcase_add_test(t, a_write_a_second_costs_little_more_than_its_put);
    tcase_add_test(t, broken_pins_stop_retention);
    tcase_add_loop_test(t, what_rightly_went_is_not_missed, 0, 2);
    tcase_add_test(t, an_owner_that_cannot_be_read_is_not_taken_for_none);
    tcase_add_loop_test(t, a_store_without_conditional_writes_is_refused, 0, 2);
    tcase_add_test(t, a_store_without_conditional_writes_is_used_when_told);
    tcase_add_test(t, a_store_with_conditional_writes_passes);
    tcase_add_test(t, a_probe_without_an_answer_is_tried_again);
    tcase_add_test(t, fences_alone_are_no_backup);
    suite_add_tcase(s, t);
    return run_suite(s);
}
