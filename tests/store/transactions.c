/* Transactions of one thread: what they keep, and what they refuse. */
#include "box.h"

START_TEST(a_commit_is_read_back) {
    hf_store *s = temp_store();
    FINE(write_sql(s, HF_MAIN, "INSERT INTO m VALUES (1, 'x')"));
    FINE(write_sql(s, HF_NOISE, "INSERT INTO noise.n VALUES (1, 'x'), (2, 'y')"));
    FINE(write_sql(s, HF_BOTH, "INSERT INTO m VALUES (2, 'y'); INSERT INTO noise.n VALUES (3, 1)"));
    ck_assert_int_eq(number(s, "SELECT count(*) FROM m"), 2);
    ck_assert_int_eq(number(s, "SELECT count(*) FROM noise.n"), 3);
    FINE(hf_store_close(s));
}
END_TEST

int main(void) {
    Suite *suite = suite_create("transactions");
    TCase *c = tcase_create("all");
    tcase_add_test(c, a_commit_is_read_back);
    tcase_add_unchecked_fixture(c, temp_setup, temp_teardown);
    suite_add_tcase(suite, c);
    SRunner *r = srunner_create(suite);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
