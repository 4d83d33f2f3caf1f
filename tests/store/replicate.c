/* Replication in a process whose connections are the application's own: begin, wait, end, and what
 * is refused. */
#include "app.h"

START_TEST(a_commit_that_was_waited_for_is_there) {
    hf_source *s;
    HF(hf_attach(app, urls, NULL, &s));
    sql("INSERT INTO t VALUES (1)");
    HF(hf_source_wait(s, NULL, NULL));
    char *json;
    HF(hf_source_status(s, &json));
    puts(json);
    hf_free(json);
    HF(hf_detach(s));
}
END_TEST

START_TEST(a_database_in_memory_is_refused) {
    hf_source *s;
    sqlite3 *memory;
    sqlite3_open(":memory:", &memory);
    HF_FAILS(hf_attach(memory, urls, NULL, &s), HF_USAGE, "in memory");
    sqlite3_close(memory);
}
END_TEST

int main(void) {
    Suite *s = suite_create("store/replicate");
    TCase *t = tcase_create("attach");
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, app_setup, app_teardown);
    tcase_add_test(t, a_commit_that_was_waited_for_is_there);
    tcase_add_test(t, a_database_in_memory_is_refused);
    suite_add_tcase(s, t);
    return run_suite(s);
}
