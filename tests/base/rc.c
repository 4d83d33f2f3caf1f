/* Errors: words that fit, and never lose the reason. */
#include "../os/temp.h"

#include <errno.h>

static struct err err;

static char *repeat(char c, size_t n) {
    char *text = malloc(n + 1);
    memset(text, c, n);
    text[n] = 0;
    return text;
}

static const struct {
    enum rc_code code;
    const char *name;
} names[] = {
    {RC_OK, "ok"},
    {RC_RETRY, "retry"},
    {RC_TIMEOUT, "timeout"},
    {RC_BUSY, "busy"},
    {RC_NOTFOUND, "not found"},
    {RC_CORRUPT, "corrupt"},
    {RC_CONFLICT, "conflict"},
    {RC_FENCED, "fenced"},
    {RC_BEHIND, "behind"},
    {RC_FULL, "full"},
    {RC_CANCELLED, "cancelled"},
    {RC_USAGE, "usage"},
    {RC_NOMEM, "no memory"},
    {RC_IO, "io"},
    {RC_UNFIT, "unfit"},
    {(enum rc_code)15, "?"},
    {(enum rc_code) - 1, "?"},
};

START_TEST(a_code_has_its_name) {
    ck_assert_str_eq(rc_name(names[_i].code), names[_i].name);
}
END_TEST

static const struct {
    int errnum;
    enum rc_code code;
} errnos[] = {
    {ENOSPC, RC_FULL},     {EDQUOT, RC_FULL},  {ENOENT, RC_NOTFOUND}, {ENOTDIR, RC_NOTFOUND},
    {EEXIST, RC_CONFLICT}, {ENOMEM, RC_NOMEM}, {EIO, RC_IO},          {EACCES, RC_IO},
    {EROFS, RC_IO},        {EBADF, RC_IO},     {99999, RC_IO},
};

START_TEST(an_errno_becomes_a_code_and_words) {
    char want[300];
    ck_assert_int_eq(err_errno(&err, errnos[_i].errnum, "open '%s'", "a.db").code, errnos[_i].code);
    ck_assert_int_eq(err.code, errnos[_i].code);
    snprintf(want, sizeof want, "open 'a.db': %s", strerror(errnos[_i].errnum));
    ck_assert_str_eq(err.text, want);
}
END_TEST

static const size_t lengths[] = {0, 1, 490, 500, 980, 981, 982, 990, 998, 999, 1000, 1001, 5000};

START_TEST(words_are_cut_to_one_line_that_ends) {
    char *words = repeat('w', lengths[_i]);
    ck_assert_int_eq(err_set(&err, RC_FENCED, "%s", words).code, RC_FENCED);
    size_t n = lengths[_i] < ERR_TEXT_MAX ? lengths[_i] : ERR_TEXT_MAX - 1;
    ck_assert_uint_eq(strlen(err.text), n);
    err_fill(&err, RC_BUSY, "%s", words);
    ck_assert_uint_eq(strlen(err.text), n);
    ck_assert_int_eq(err.code, RC_BUSY);
    free(words);
}
END_TEST

START_TEST(an_errno_keeps_its_reason_behind_a_long_path) {
    char *path = repeat('p', lengths[_i]);
    const char *reason = strerror(ENOSPC);
    ck_assert_int_eq(err_errno(&err, ENOSPC, "%s", path).code, RC_FULL);
    size_t want = lengths[_i] + 2 + strlen(reason);
    ck_assert_uint_eq(strlen(err.text), want < ERR_TEXT_MAX ? want : ERR_TEXT_MAX - 1);
    ck_assert_str_eq(err.text + strlen(err.text) - strlen(reason), reason);
    free(path);
}
END_TEST

START_TEST(a_prefix_keeps_the_reason_behind_a_long_path) {
    char *path = repeat('p', lengths[_i]);
    rc r = err_set(&err, RC_CORRUPT, "the reason");
    ck_assert_int_eq(err_prefix(&err, r, "%s", path).code, RC_CORRUPT);
    size_t want = lengths[_i] + 2 + strlen("the reason");
    ck_assert_uint_eq(strlen(err.text), want < ERR_TEXT_MAX ? want : ERR_TEXT_MAX - 1);
    ck_assert_str_eq(strstr(err.text, ": "), ": the reason");
    ck_assert_int_eq(err.code, RC_CORRUPT);
    free(path);
}
END_TEST

START_TEST(a_prefix_stands_before_long_words) {
    char *words = repeat('w', lengths[_i]);
    rc r = err_set(&err, RC_IO, "%s", words);
    ck_assert_int_eq(err_prefix(&err, r, "restore '%s'", "a.db").code, RC_IO);
    ck_assert(strncmp(err.text, "restore 'a.db': ", 16) == 0);
    size_t n = 16 + lengths[_i];
    ck_assert_uint_eq(strlen(err.text), n < ERR_TEXT_MAX ? n : ERR_TEXT_MAX - 1);
    ck_assert_uint_eq(strspn(err.text + 16, "w"), strlen(err.text) - 16);
    free(words);
}
END_TEST

START_TEST(neither_part_pushes_the_other_out) {
    char *words = repeat('w', 2000), *prefix = repeat('p', 2000);
    rc r = err_set(&err, RC_IO, "%s", words);
    (void)err_prefix(&err, r, "%s", prefix).code;
    ck_assert_uint_eq(strlen(err.text), ERR_TEXT_MAX - 1);
    ck_assert_uint_gt(strspn(err.text, "p"), 400);
    ck_assert_uint_gt(strlen(strchr(err.text, 'w')), 400);
    free(words);
    free(prefix);
}
END_TEST

START_TEST(prefixes_stack_outermost_first) {
    rc r = err_set(&err, RC_CORRUPT, "checksum mismatch at page %d", 17);
    r = err_prefix(&err, r, "%s", "0a.ltx");
    r = err_prefix(&err, r, "level %d", 2);
    ck_assert_str_eq(err.text, "level 2: 0a.ltx: checksum mismatch at page 17");
    ck_assert_int_eq(r.code, RC_CORRUPT);
}
END_TEST

START_TEST(the_old_text_can_be_an_argument) {
    (void)err_set(&err, RC_IO, "inner").code;
    (void)err_set(&err, RC_RETRY, "outer (%s)", err.text).code;
    ck_assert_str_eq(err.text, "outer (inner)");
    (void)err_prefix(&err, (rc){RC_RETRY}, "twice %s", err.text).code;
    ck_assert_str_eq(err.text, "twice outer (inner): outer (inner)");
    (void)err_errno(&err, EIO, "again %s", err.text).code;
    ck_assert(strncmp(err.text, "again twice outer", 17) == 0);
}
END_TEST

START_TEST(an_error_is_one_line) {
    (void)err_set(&err, RC_IO, "open '%s'", "a\nb\r\x1b[31m\x7f.db").code;
    ck_assert_str_eq(err.text, "open 'a?b??[31m?.db'");
    (void)err_prefix(&err, (rc){RC_IO}, "%s", "x\ny").code;
    ck_assert_str_eq(err.text, "x?y: open 'a?b??[31m?.db'");
    (void)err_errno(&err, EIO, "%s", "x\ny").code;
    ck_assert(strncmp(err.text, "x?y: ", 5) == 0);
    (void)err_set(&err, RC_IO, "%s", "\xc3\xa4\xc2\x9b").code;
    ck_assert_str_eq(err.text, "\xc3\xa4\xc2\x9b");
}
END_TEST

START_TEST(nobody_has_to_listen) {
    ck_assert_int_eq(err_set(NULL, RC_IO, "%s", "x").code, RC_IO);
    ck_assert_int_eq(err_errno(NULL, ENOSPC, "%s", "x").code, RC_FULL);
    ck_assert_int_eq(err_prefix(NULL, (rc){RC_BUSY}, "%s", "x").code, RC_BUSY);
    err_fill(NULL, RC_IO, "x");
}
END_TEST

static rc tried(rc inner, int *after) {
    TRY(inner);
    ++*after;
    return ok();
}

START_TEST(try_returns_what_failed) {
    int after = 0;
    ck_assert_int_eq(tried((rc){RC_BEHIND}, &after).code, RC_BEHIND);
    ck_assert_int_eq(after, 0);
    ck_assert(is_ok(tried(ok(), &after)));
    ck_assert_int_eq(after, 1);
}
END_TEST

START_TEST(a_broken_invariant_aborts) {
    ENSURE(1 + 1 == 3);
}
END_TEST

int main(void) {
    Suite *s = suite_create("rc");
    TCase *t = tcase_create("rc");
    ADD_ROWS(t, a_code_has_its_name, names);
    ADD_ROWS(t, an_errno_becomes_a_code_and_words, errnos);
    ADD_ROWS(t, words_are_cut_to_one_line_that_ends, lengths);
    ADD_ROWS(t, an_errno_keeps_its_reason_behind_a_long_path, lengths);
    ADD_ROWS(t, a_prefix_keeps_the_reason_behind_a_long_path, lengths);
    ADD_ROWS(t, a_prefix_stands_before_long_words, lengths);
    tcase_add_test(t, neither_part_pushes_the_other_out);
    tcase_add_test(t, prefixes_stack_outermost_first);
    tcase_add_test(t, the_old_text_can_be_an_argument);
    tcase_add_test(t, an_error_is_one_line);
    tcase_add_test(t, nobody_has_to_listen);
    tcase_add_test(t, try_returns_what_failed);
    tcase_add_test_raise_signal(t, a_broken_invariant_aborts, 6);
    suite_add_tcase(s, t);
    return run_suite(s);
}
