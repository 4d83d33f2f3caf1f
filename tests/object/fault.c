/* The store that fails on purpose: what each fault does, and does not do, to what is stored. */
#include "../os/temp.h"

#include "object/object.h"
#include "stores/stores.h"

#define TIME 1795382699618
#define KEY "ltx/0/a"

static struct env *env;
static struct store *inner, *store;

/* One fault for one operation; all others are fine. */
static struct {
    const char *op;
    enum fault fault;
    int asked;
} plan;

static enum fault decide(void *arg, const char *op, const char *key) {
    ck_assert_ptr_eq(arg, &plan);
    ck_assert_ptr_nonnull(key);
    if (strcmp(op, plan.op) != 0) return FAULT_NONE;
    plan.asked++;
    return plan.fault;
}

static void setup(void) {
    struct err err;
    ck_assert_int_eq(env_new_system(1, &env, &err).code, RC_OK);
    ck_assert_int_eq(store_new_mem(env, &inner, &err).code, RC_OK);
    ck_assert_int_eq(store_new_fault(inner, decide, &plan, &store, &err).code, RC_OK);
    plan.op = "";
}

static void teardown(void) {
    store_free(store); /* and the inner one */
    env_free_system(env);
}

static rc do_put(struct err *e) {
    return store->ops->put(store, KEY, "new", 3, TIME, e);
}
static rc do_note(struct err *e) {
    return store->ops->put_note(store, KEY, "new", 3, e);
}
static rc do_remove(struct err *e) {
    return store->ops->remove(store, KEY, e);
}

static rc do_get(struct err *e) {
    char got[4] = "...";
    rc r = store->ops->get(store, KEY, 0, got, 2, e);
    bool half = plan.fault == FAULT_SHORT;
    ck_assert_str_eq(got, is_ok(r) ? "ol." : half ? "o.." : "...");
    return r;
}

static rc do_stat(struct err *e) {
    struct object_info info = {.size_bytes = 77};
    rc r = store->ops->stat(store, KEY, &info, e);
    ck_assert_uint_eq(info.size_bytes, is_ok(r) ? 3 : 77);
    return r;
}

static rc count(void *arg, const struct object_info *info, struct err *e) {
    (void)info, (void)e;
    ++*(int *)arg;
    return ok();
}

static rc do_list(struct err *e) {
    int n = 0;
    TRY(inner->ops->put(inner, "ltx/0/b", "", 0, TIME, e));
    rc r = store->ops->list(store, "ltx/0", count, &n, e);
    ck_assert_int_eq(n, plan.fault == FAULT_SHORT ? 1 : 0);
    return r;
}

static rc count_dir(void *arg, const char *name, struct err *e) {
    (void)name, (void)e;
    ++*(int *)arg;
    return ok();
}

static rc do_list_dirs(struct err *e) {
    int n = 0;
    rc r = store->ops->list_dirs(store, "ltx", count_dir, &n, e);
    ck_assert_int_eq(n, is_ok(r));
    return r;
}

static rc do_upload(struct err *e) {
    struct object_upload *u;
    TRY(store->ops->upload_open(store, KEY, 1 << 20, &u, e));
    rc r = store->ops->upload_write(u, "new", 3, e);
    if (is_ok(r)) return store->ops->upload_commit(u, TIME, e);
    struct err err;
    ck_assert_int_ne(store->ops->upload_commit(u, TIME, &err).code, RC_OK);
    return r;
}

/* What there was, and is afterwards, at KEY: words, or NULL for nothing. */
static const struct {
    const char *op;
    rc (*run)(struct err *);
    const char *before, *after_fail, *after_lost;
} rows[] = {
    {"put", do_put, NULL, NULL, "new"},
    {"put", do_put, "old", "old", "old"},
    {"put_note", do_note, "old", "old", "new"},
    {"put_note", do_note, NULL, NULL, "new"},
    {"remove", do_remove, "old", "old", NULL},
    {"remove", do_remove, NULL, NULL, NULL},
    {"get", do_get, "old", "old", "old"},
    {"stat", do_stat, "old", "old", "old"},
    {"list", do_list, "old", "old", "old"},
    {"list_dirs", do_list_dirs, "old", "old", "old"},
    {"upload_open", do_upload, NULL, NULL, NULL},
    {"upload_write", do_upload, NULL, NULL, NULL},
    {"upload_commit", do_upload, NULL, NULL, "new"},
    {"upload_commit", do_upload, "old", "old", "old"},
};

static void expect_inside(const char *words) {
    char got[8] = {0};
    CODE(inner->ops->get(inner, KEY, 0, got, 3, e), words ? RC_OK : RC_NOTFOUND);
    if (words) ck_assert_str_eq(got, words);
}

static void run_row(int row, enum fault fault, enum rc_code code, const char *after) {
    if (rows[row].before) OK(inner->ops->put_note(inner, KEY, rows[row].before, 3, e));
    plan.op = rows[row].op;
    plan.fault = fault;
    CODE(rows[row].run(e), code);
    says(rows[row].op);
    says("injected");
    ck_assert_int_ge(plan.asked, 1);
    expect_inside(after);
}

START_TEST(a_failed_request_changes_nothing) {
    run_row(_i, FAULT_FAIL, RC_RETRY, rows[_i].after_fail);
}
END_TEST

START_TEST(a_lost_reply_hides_what_was_done) {
    run_row(_i, FAULT_LOSE_REPLY, RC_TIMEOUT, rows[_i].after_lost);
}
END_TEST

START_TEST(a_short_call_is_never_a_whole_object) {
    run_row(_i, FAULT_SHORT, RC_RETRY, rows[_i].after_fail);
}
END_TEST

static rc refuse(void *arg, const struct object_info *info, struct err *e) {
    (void)arg;
    return err_set(e, RC_CORRUPT, "refused %s", info->name);
}

START_TEST(the_callers_own_error_goes_before_the_fault) {
    OK(inner->ops->put(inner, "ltx/0/a", "", 0, TIME, e));
    OK(inner->ops->put(inner, "ltx/0/b", "", 0, TIME, e));
    plan.op = "list";
    plan.fault = FAULT_SHORT;
    CODE(store->ops->list(store, "ltx/0", refuse, NULL, e), RC_CORRUPT);
    says("refused");
}
END_TEST

START_TEST(an_upload_that_lost_a_write_is_never_committed) {
    struct object_upload *u;
    OK(store->ops->upload_open(store, KEY, 1 << 20, &u, e));
    plan.op = "upload_write";
    plan.fault = FAULT_LOSE_REPLY;
    CODE(store->ops->upload_write(u, "a", 1, e), RC_TIMEOUT);
    plan.fault = FAULT_NONE;
    OK(store->ops->upload_write(u, "b", 1, e));
    CODE(store->ops->upload_commit(u, TIME, e), RC_IO);
    expect_inside(NULL);
}
END_TEST

int main(void) {
    int row_count = (int)(sizeof rows / sizeof *rows);
    Suite *s = suite_create("fault");
    TCase *t = tcase_create("fault");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, a_failed_request_changes_nothing, 0, row_count);
    tcase_add_loop_test(t, a_lost_reply_hides_what_was_done, 0, row_count);
    tcase_add_loop_test(t, a_short_call_is_never_a_whole_object, 0, row_count);
    tcase_add_test(t, the_callers_own_error_goes_before_the_fault);
    tcase_add_test(t, an_upload_that_lost_a_write_is_never_committed);
    suite_add_tcase(s, t);
    return run_suite(s);
}
