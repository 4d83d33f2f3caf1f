/* The text of a spec: what is read, what is refused and in which words, and written again. */
#include "../os/temp.h"

#include "promote/spec.h"

#include <stdlib.h>
#include <string.h>

#define HEAD "-- holdfast:promote node prefix=/node/ key=/node/{id}\n"
#define REST "-- rest extra\n"
#define KEY "-- col id TEXT key\n"

static struct spec *parsed(const char *text) {
    struct spec *s = NULL;
    struct err e;
    rc r = spec_parse("node.promote", text, strlen(text), &s, &e);
    ck_assert_msg(is_ok(r), "%s: %s", text, e.text);
    return s;
}

static const struct {
    const char *text, *words;
} bad[] = {
    {"", "node.promote:1: it begins with: -- holdfast:promote"},
    {"--- only a remark\n", "it begins with"},
    {"col id TEXT key\n", "node.promote:1: each line begins with --"},
    {"-- col id TEXT key\n", "it begins with: -- holdfast:promote"},
    {HEAD HEAD KEY REST, "node.promote:2: a second holdfast:promote"},
    {"-- holdfast:promote\n", "it is: -- holdfast:promote NAME prefix=P"},
    {"-- holdfast:promote node prefix=/node/\n", "it is: -- holdfast:promote NAME"},
    {"-- holdfast:promote node key=/node/{id}\n", "it is: -- holdfast:promote NAME"},
    {"-- holdfast:promote node prefx=/node/ key=/node/{id}\n", "'prefx=/node/': known are"},
    {"-- holdfast:promote node pre=/node/ key=/node/{id}\n", "'pre=/node/': known are"},
    {"-- holdfast:promote node prefix=/a/ prefix=/a/ key=/a/{id}\n", "prefix= is there twice"},
    {"-- holdfast:promote node prefix=/node/ key=/node/{id} db=temp\n", "db=temp: it is main"},
    {"-- holdfast:promote node prefix=\"/node/ key=/node/{id}\n", "a quote is not closed"},
    {"-- holdfast:promote node prefix=\"/n\"x key=/node/{id}\n", "something behind its quotes"},
    {"-- holdfast:promote node prefix=/n\"x\" key=/node/{id}\n", "a quote in the middle"},
    {"-- holdfast:promote node prefix= key={id}\n", "prefix=: it is empty"},
    {"-- holdfast:promote no-de prefix=/n/ key=/n/{id}\n", "'no-de': a name is letters"},
    {"-- holdfast:promote 1node prefix=/n/ key=/n/{id}\n", "'1node': a name is letters"},
    {"-- holdfast:promote hf_node prefix=/n/ key=/n/{id}\n", "begin with hf_"},
    {"-- holdfast:promote sqlite_x prefix=/n/ key=/n/{id}\n", "begin with sqlite_"},
    {"-- holdfast:promote dbx prefix=/n/ key=/n/{id}\n", "dbx: this name is taken"},
    {"-- holdfast:promote n12345678901234567890123456789012345678901 prefix=/n/ key=/n/{id}\n",
     "longer than 40"},
    {HEAD KEY, "node.promote:1: it needs a line: -- rest"},
    {HEAD KEY REST REST, "node.promote:4: a second rest"},
    {HEAD KEY "-- rest\n", "it is: -- rest NAME"},
    {HEAD KEY "-- rest a b\n", "it is: -- rest NAME"},
    {HEAD KEY "-- rest ID\n", "rest ID: a column has this name"},
    {HEAD KEY REST "-- cool x TEXT $.x\n", "'cool': known are col and rest"},
    {HEAD KEY REST "-- col x\n", "it is: -- col NAME TYPE key"},
    {HEAD KEY REST "-- col x TEXT\n", "it is: -- col NAME TYPE key"},
    {HEAD KEY REST "-- col x STRING $.x\n", "type STRING: it is TEXT, INT, REAL or BOOL"},
    {HEAD KEY REST "-- col x TEXT .x\n", "not a path into JSON"},
    {HEAD KEY REST "-- col x TEXT $.a\\\"b\n", "a quote is not closed"},
    {HEAD KEY REST "-- col x TEXT $\n", "$ is the whole value"},
    {HEAD KEY REST "-- col x TEXT $.list[0]\n", "a step into an array"},
    {HEAD KEY REST "-- col x TEXT $.x notnul\n", "'notnul': did you mean notnull?"},
    {HEAD KEY REST "-- col x TEXT $.x null\n", "known are notnull and index"},
    {HEAD KEY REST "-- col x TEXT $.x unique\n", "unique: it would let puts fail"},
    {HEAD KEY REST "-- col x TEXT $.x index index\n", "index is there twice"},
    {HEAD KEY REST "-- col X TEXT $.x\n-- col x TEXT $.y\n", "column x is there twice"},
    {HEAD KEY REST "-- col x TEXT $.x\n-- col y TEXT $.\"x\"\n", "$.x of y lies within $.x of x"},
    {HEAD KEY REST "-- col x TEXT $.a.b\n-- col y TEXT $.a\n", "$.a.b of x lies within $.a of y"},
    {HEAD KEY REST "-- col kv_x TEXT $.x\n", "begin with kv_"},
    {HEAD KEY REST "-- col rowid TEXT $.x\n", "this name is taken"},
    {HEAD KEY REST "-- col two TEXT key\n", "column two: key= has no part {two}"},
    {HEAD "-- col id REAL key\n" REST, "of a key it is TEXT or INT"},
    {HEAD "-- col id TEXT key index\n" REST, "a key column is not null, and indexed"},
    {HEAD "-- col id TEXT $.id\n" REST, "{id} is not a column of the key"},
    {HEAD REST, "{id} is not a column of the key"},
    {"-- holdfast:promote n prefix=/n/ key=/m/{id}\n" KEY REST, "does not begin with the prefix"},
    {"-- holdfast:promote n prefix=/n/ key=/n/\n" KEY REST, "it has no part, like {id}"},
    {"-- holdfast:promote n prefix=/n/ key=/n/{id}/{id}\n" KEY REST, "{id} is there twice"},
    {"-- holdfast:promote n prefix=/n/ key=/n/{id\n" KEY REST, "a column in braces"},
    {"-- holdfast:promote n prefix=/n/ key=/n/}id{\n" KEY REST, "a column in braces"},
    {"-- holdfast:promote n prefix=/n/ key=/n/{a}{id}\n" KEY "-- col a TEXT key\n" REST,
     "need something between"},
    {HEAD KEY REST "-- col x TEXT $.\xff\n", "not UTF-8"},
};

START_TEST(what_is_no_spec_is_refused_with_its_line) {
    struct spec *s = NULL;
    struct err e = {0};
    rc r = spec_parse("node.promote", bad[_i].text, strlen(bad[_i].text), &s, &e);
    ck_assert_msg(r.code == RC_CORRUPT, "%s: %s", bad[_i].text, is_ok(r) ? "taken" : e.text);
    ck_assert_msg(strncmp(e.text, "node.promote:", 13) == 0, "%s", e.text);
    ck_assert_msg(strstr(e.text, bad[_i].words) != NULL, "%s\n'%s' lacks '%s'", bad[_i].text,
                  e.text, bad[_i].words);
    ck_assert_ptr_null(s);
}
END_TEST

static const char *const good[] = {
    HEAD KEY REST,
    "\n--- a remark\n" HEAD "\t" KEY "-- col a INT $.a notnull index\r\n-- rest extra\n--- end",
    HEAD KEY "-- col \tname  text $.\"name\"  notnull\n-- col b bool $.\"a b\".\"c.d\"\n" REST,
    "-- holdfast:promote t prefix=\"/a \\\"b\\\\\" key=\"/a \\\"b\\\\{id}\" db=noise\n" KEY REST,
    "-- holdfast:promote t prefix=/a/ key=/a/x{b}/{id}.{c}/end db=main\n" KEY
    "-- col b INT key\n-- col c TEXT key\n" REST,
    "-- holdfast:promote select prefix=\xc3\xbc/ key=\xc3\xbc/{order}\n"
    "-- col order TEXT key\n-- col from TEXT $.\xc3\xbc\n-- rest group\n",
    HEAD KEY "-- col a TEXT $.user.name\n-- col b TEXT $.username\n-- col c INT $.user.id\n" REST,
};

static char *printed(const struct spec *s) {
    struct buf b AUTO(buf_deinit);
    struct err e;
    buf_init(&b, LIMIT_SPEC);
    spec_print(s, "", &b);
    buf_u8(&b, 0);
    ck_assert(is_ok(buf_check(&b, "spec", &e)));
    return strdup((const char *)b.bytes);
}

START_TEST(what_is_written_is_read_as_the_same) {
    struct spec *first = parsed(good[_i]);
    char *once = printed(first);
    struct spec *second = parsed(once);
    char *twice = printed(second);
    ck_assert_str_eq(once, twice);
    ck_assert_str_eq(first->name, second->name);
    ck_assert_str_eq(first->prefix, second->prefix);
    ck_assert_int_eq(first->noise, second->noise);
    ck_assert_uint_eq(first->count, second->count);
    ck_assert_uint_eq(first->part_count, second->part_count);
    for (size_t i = 0; i <= first->part_count; i++)
        ck_assert_str_eq(first->literal[i], second->literal[i]);
    for (size_t i = 0; i < first->count; i++) {
        const struct column *a = &first->column[i], *b = &second->column[i];
        ck_assert_str_eq(a->name, b->name);
        ck_assert_pstr_eq(a->path, b->path);
        ck_assert_int_eq(a->type, b->type);
        ck_assert_int_eq(a->notnull * 2 + a->index, b->notnull * 2 + b->index);
    }
    spec_free(first);
    spec_free(second);
    free(once);
    free(twice);
}
END_TEST

START_TEST(a_spec_has_what_its_lines_say) {
    struct spec *s = parsed(good[4]);
    ck_assert_uint_eq(s->part_count, 3);
    ck_assert_str_eq(s->literal[0], "/a/x");
    ck_assert_str_eq(s->literal[1], "/");
    ck_assert_str_eq(s->literal[2], ".");
    ck_assert_str_eq(s->literal[3], "/end");
    ck_assert_uint_eq(s->part[0], 1);
    ck_assert_uint_eq(s->part[1], 0);
    ck_assert_uint_eq(s->part[2], 2);
    ck_assert_int_eq(s->column[1].type, COLUMN_INT);
    spec_free(s);
    s = parsed(good[3]);
    ck_assert_str_eq(s->prefix, "/a \"b\\");
    ck_assert(s->noise);
    spec_free(s);
    s = parsed(good[2]);
    ck_assert_str_eq(s->column[1].path, "$.name");
    ck_assert_str_eq(s->column[2].path, "$.\"a b\".\"c.d\"");
    ck_assert_int_eq(s->column[2].type, COLUMN_BOOL);
    ck_assert(s->column[1].notnull && !s->column[1].index);
    spec_free(s);
}
END_TEST

START_TEST(too_many_columns_are_refused) {
    struct buf b AUTO(buf_deinit);
    struct spec *s = NULL;
    struct err e;
    buf_init(&b, LIMIT_SPEC);
    buf_text(&b, HEAD KEY REST);
    for (unsigned i = 0; i < LIMIT_SPEC_COLUMNS; i++) buf_say(&b, "-- col c%d INT $.c%d\n", i, i);
    rc r = spec_parse("s", (const char *)b.bytes, b.size, &s, &e);
    ck_assert_int_eq(r.code, RC_CORRUPT);
    ck_assert_ptr_nonnull(strstr(e.text, "s:103: more than 100 columns"));
}
END_TEST

int main(void) {
    Suite *suite = suite_create("promote/spec");
    TCase *c = tcase_create("spec");
    tcase_add_loop_test(c, what_is_no_spec_is_refused_with_its_line, 0, sizeof bad / sizeof *bad);
    tcase_add_loop_test(c, what_is_written_is_read_as_the_same, 0, sizeof good / sizeof *good);
    tcase_add_test(c, a_spec_has_what_its_lines_say);
    tcase_add_test(c, too_many_columns_are_refused);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
