/* Each allocation fails once: what was asked for is refused, for that reason, and nothing is kept
 * of it. malloc is this program's own. */
#include "../base/memory.h"

#include "schema/lint.h"

#include <openssl/err.h>
#include <stdatomic.h>

#ifndef SANITIZED

static atomic_long allocations, alive, fail_at; /* 0: none */

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void __libc_free(void *);

static bool refused(void) {
    return fail_at && ++allocations == fail_at;
}
static void *counted(void *p) {
    alive += p != NULL;
    return p;
}
#pragma GCC visibility push(default) /* the libraries' too */
void *malloc(size_t n) {
    return refused() ? NULL : counted(__libc_malloc(n));
}
void *calloc(size_t n, size_t size) {
    return refused() ? NULL : counted(__libc_calloc(n, size));
}
void *realloc(void *p, size_t n) {
    if (!p) return malloc(n);
    return refused() ? NULL : __libc_realloc(p, n);
}
void free(void *p) {
    alive -= p != NULL;
    __libc_free(p);
}
#pragma GCC visibility pop

static const char *const texts[] = {
    "-- holdfast:expand\nALTER TABLE user ADD first;\nCREATE TABLE \"a b\"(c);DROP TABLE \"a b\";\n"
    "-- holdfast:sync\nCREATE TRIGGER s AFTER INSERT ON user BEGIN SELECT 1; END;\n"
    "-- holdfast:backfill table=user key=id where=\"first IS NULL\"\n"
    "UPDATE user SET first = name WHERE id > :lo AND id <= :hi AND first IS NULL;\n"
    "-- holdfast:verify\nSELECT 1;\n-- holdfast:verify expect=a\nSELECT 1;\n"
    "-- holdfast:contract soak=1h\n-- holdfast:rebuild user drop=name fill=first:c add=\"d TEXT\"\n"
    "-- holdfast:rebuild user fill=a:b\nCREATE TABLE user(c);\n-- holdfast:revert\n",
    ("-- migrate:up\nBEGIN;INSERT INTO holdfast_step SELECT noise.a.b FROM \"holdfast_step\";\n"
     "COMMIT;\n-- migrate:down\n"),
    "SELECT 1;DROP TABLE a;\n-- holdfast:down\nSELECT 2 FROM;\n",
};

/* What each found out is appended to `said`. */
static char said[2000];

static void say(const char *words) {
    snprintf(said + strlen(said), sizeof said - strlen(said), "%s ", words);
}

static rc read_array(void *arg, struct err *e) {
    const hf_migration array[] = {{"noise/2_b", arg}, {"1_a.sql", arg}, {NULL, NULL}};
    struct set s;
    TRY(set_of_array(array, &s, e));
    for (size_t i = 0; i < s.count; i++) say(s.at[i]->chain);
    for (size_t i = 0; i < s.at[0]->count; i++)
        for (size_t k = 0; k < s.at[0]->sections[i].count; k++)
            say(s.at[0]->sections[i].statements[k].sql ? "sql" : "rebuild");
    set_deinit(&s);
    return ok();
}

static rc lint_text(void *arg, struct err *e) {
    bool errors = false;
    struct set s = {.at = (struct migration **)&arg, .count = 1};
    json_t *j = lint_json(&s, &errors);
    if (!j) return err_set(e, RC_NOMEM, "no memory");
    for (size_t i = 0; i < json_array_size(j); i++)
        say(json_string_value(json_object_get(json_array_get(j, i), "words")));
    json_decref(j);
    return ok();
}

static rc check_text(void *arg, struct err *e) {
    rc r = lint_check(arg, e);
    if (r.code == RC_NOMEM) return r;
    say(rc_name(r.code));
    return ok();
}

/* A library may do without what it was refused: then the answer is the same. */
static void sweep(rc (*fn)(void *, struct err *), void *arg) {
    struct err why;
    char whole[sizeof said];
    OK(fn(arg, e)); /* what libraries keep */
    *said = 0;
    OK(fn(arg, e));
    memcpy(whole, said, sizeof said);
    ck_assert_int_gt(strlen(whole), 2);
    long n = 0, refusals = 0, again = 0;
    for (bool fired = true; fired || again;) {
        const long before = alive;
        *said = 0;
        fail_at = again ? n : ++n;
        allocations = 0;
        rc r = fn(arg, &why);
        fired = allocations >= fail_at;
        fail_at = 0;
        ERR_clear_error();
        const long kept = alive - before;
        ck_assert_msg(is_ok(r) ? strcmp(said, whole) == 0 : fired && r.code == RC_NOMEM,
                      "%ld: %s: %s", n, rc_name(r.code), said);
        refusals += !is_ok(r);
        ck_assert_msg(!kept || !again, "%ld: %ld more", n, kept);
        again = kept; /* what OpenSSL makes once, for errors */
    }
    ck_assert_int_gt(refusals, 5);
}

START_TEST(a_text_is_read_or_there_was_no_memory) {
    sweep(read_array, (void *)texts[_i]);
}
END_TEST

START_TEST(lint_says_all_or_that_there_was_no_memory) {
    struct migration *m;
    OK(migration_parse("1_a.sql", false, texts[_i], strlen(texts[_i]), &m, e));
    sweep(lint_text, m);
    sweep(check_text, m);
    migration_free(m);
}
END_TEST

#endif

int main(void) {
    TCase *t = tcase_create("memory");
#ifdef SANITIZED
    printf("skipped: schema/memory: a sanitizer's malloc is its own\n");
#else
    ADD_ROWS(t, a_text_is_read_or_there_was_no_memory, texts);
    ADD_ROWS(t, lint_says_all_or_that_there_was_no_memory, texts);
#endif
    Suite *s = suite_create("schema/memory");
    suite_add_tcase(s, t);
    return run_suite(s);
}
