/* The migrations of an array and of a directory: their order, their hashes, and what is refused. */
#include "../os/temp.h"

#include "base/limits.h"
#include "schema/set.h"

#include <errno.h>
#include <sys/stat.h>

static struct env *env;
static char dir[TEMP_PATH];

static void setup(void) {
    struct err e;
    ck_assert(is_ok(env_new_system(1, &env, &e)));
    temp_dir(dir);
}
static void teardown(void) {
    env_free_system(env);
}

static void put(const char *name, const char *text) {
    FILE *f = fopen(below(dir, name), "w");
    ck_assert_msg(f && fputs(text, f) >= 0 && fclose(f) == 0, "%s", name);
}

static char *got(const char *name) {
    static char text[8192];
    FILE *f = fopen(below(dir, name), "r");
    ck_assert_msg(f != NULL, "%s", name);
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
    return text;
}

/* "1_a.sql noise/2_b.sql" */
static const char *shown(const struct set *s) {
    static char out[1000];
    out[0] = 0;
    for (size_t i = 0; i < s->count; i++)
        snprintf(out + strlen(out), sizeof out - strlen(out), "%s%s%s", i ? " " : "",
                 s->at[i]->noise ? "noise/" : "", s->at[i]->name);
    return out;
}

static void has(const char *expected) {
    struct set s = {0};
    OK(set_load(env, dir, &s, e));
    ck_assert_str_eq(shown(&s), expected);
    set_deinit(&s);
}

static void refused(enum rc_code code, const char *words) {
    struct set s = {0};
    CODE(set_load(env, dir, &s, e), code);
    says(words);
    ck_assert_ptr_null(s.at);
}

static void write_sum(bool changes) {
    bool changed;
    OK(set_write_sum(env, dir, &changed, e));
    ck_assert_int_eq(changed, changes);
}

/* Three migrations with their holdfast.sum. */
static void fill(void) {
    put("2_b.sql", "CREATE TABLE b(c);\n");
    put("10_a.sql", "CREATE TABLE a(c);\n");
    mkdir(below(dir, "noise"), 0755);
    put("noise/3_n.sql", "CREATE TABLE n(c);\n");
    bool changed;
    OK(set_write_sum(env, dir, &changed, e));
}

/* ---- order ---- */

START_TEST(migrations_are_ordered_by_version_over_both_databases) {
    fill();
    has("2_b.sql noise/3_n.sql 10_a.sql");
    struct set s;
    OK(set_load(env, dir, &s, e));
    ck_assert(s.has_sum);
    ck_assert_int_eq(set_newest(&s), 10);
    ck_assert_ptr_eq(set_find(&s, 2), s.at[0]);
    ck_assert_ptr_eq(set_find(&s, 3), s.at[1]);
    ck_assert_ptr_eq(set_find(&s, 10), s.at[2]);
    ck_assert_ptr_null(set_find(&s, 1));
    ck_assert_ptr_null(set_find(&s, 4));
    ck_assert_ptr_null(set_find(&s, 11));
    set_deinit(&s);
}
END_TEST

START_TEST(an_array_is_the_same_set_as_its_directory) {
    const hf_migration array[] = {{"10_a", "CREATE TABLE a(c);\n"},
                                  {"noise/3_n.sql", "CREATE TABLE n(c);\r\n"},
                                  {"2_b", "CREATE TABLE b(c);\n"},
                                  {NULL, NULL}};
    struct set one, other;
    fill();
    OK(set_load(env, dir, &one, e));
    OK(set_of_array(array, &other, e));
    ck_assert_uint_eq(one.count, other.count);
    for (size_t i = 0; i < one.count; i++) {
        ck_assert_str_eq(one.at[i]->name, other.at[i]->name);
        ck_assert_str_eq(one.at[i]->chain, other.at[i]->chain);
        ck_assert_int_eq(one.at[i]->noise, other.at[i]->noise);
    }
    ck_assert(!other.has_sum);
    set_deinit(&one);
    set_deinit(&other);
}
END_TEST

static const struct {
    hf_migration array[3];
    enum rc_code code;
    const char *words;
} arrays[] = {
    {{{"a", "SELECT 1;"}}, RC_CORRUPT, "a.sql: a migration is called VERSION_NAME.sql"},
    {{{"1_a", NULL}}, RC_USAGE, "1_a: its text is NULL"},
    {{{"1_a", ""}}, RC_CORRUPT, "1_a.sql: it is empty"},
    {{{"1_a", "SELECT 'a"}}, RC_CORRUPT, "1_a.sql:1: the literal"},
    {{{"noise/1_a", "SELECT 'a"}}, RC_CORRUPT, "noise/1_a.sql:1: the literal"},
    {{{"other/1_a", "SELECT 1;"}}, RC_CORRUPT, "other/1_a.sql: a migration is called"},
    {{{"1_a", "SELECT 1;"}, {"01_b", "SELECT 1;"}},
     RC_CONFLICT,
     "two migrations of version 1: 01_b.sql and 1_a.sql"},
    {{{"1_a", "SELECT 1;"}, {"noise/1_a", "SELECT 1;"}},
     RC_CONFLICT,
     "two migrations of version 1: 1_a.sql and noise/1_a.sql"},
};

START_TEST(an_array_that_is_wrong_is_refused) {
    struct set s = {0};
    CODE(set_of_array(arrays[_i].array, &s, e), arrays[_i].code);
    says(arrays[_i].words);
    ck_assert_ptr_null(s.at);
}
END_TEST

START_TEST(an_empty_set_is_one) {
    struct set s;
    OK(set_of_array(&(hf_migration){NULL, NULL}, &s, e));
    ck_assert_int_eq(set_newest(&s), 0);
    ck_assert_ptr_null(set_find(&s, 1));
    set_deinit(&s);
    has("");
}
END_TEST

/* ---- a directory ---- */

START_TEST(what_is_no_migration_is_not_looked_at) {
    put("1_a.sql", "SELECT 1;");
    put("README.md", "");
    put(".hidden.sql", "");
    put("1_a.sql~", "");
    put(".#2_b.sql", "");
    mkdir(below(dir, ".git"), 0755);
    put(".git/2_b.sql", "");
    mkdir(below(dir, "notes"), 0755);
    put("notes/todo.txt", "");
    ck_assert_int_eq(symlink("nowhere", below(dir, "link")), 0);
    has("1_a.sql");
}
END_TEST

START_TEST(a_link_to_a_migration_is_followed) {
    put("text", "SELECT 1;");
    ck_assert_int_eq(symlink("text", below(dir, "1_a.sql")), 0);
    has("1_a.sql");
}
END_TEST

START_TEST(a_missing_directory_is_not_found) {
    struct set s;
    CODE(set_load(env, below(dir, "none"), &s, e), RC_NOTFOUND);
    says("none");
    put("file", "");
    CODE(set_load(env, below(dir, "file"), &s, e), RC_NOTFOUND);
}
END_TEST

START_TEST(a_name_without_a_version_is_refused) {
    put("schema.sql", "SELECT 1;");
    refused(RC_CORRUPT, "schema.sql: a migration is called VERSION_NAME.sql");
}
END_TEST

START_TEST(capitals_in_the_suffix_are_refused) {
    put("1_a.SQL", "SELECT 1;");
    refused(RC_CORRUPT, "1_a.SQL: its name ends in '.sql', in small letters");
}
END_TEST

START_TEST(a_directory_called_like_a_migration_is_refused) {
    mkdir(below(dir, "1_a.sql"), 0755);
    refused(RC_CORRUPT, "/1_a.sql: this is a directory");
}
END_TEST

START_TEST(migrations_in_another_directory_are_refused) {
    mkdir(below(dir, "main"), 0755);
    put("main/1_a.sql", "SELECT 1;");
    refused(RC_CORRUPT, "/main: a migration (1_a.sql) in a directory that is not 'noise'");
    remove(below(dir, "main/1_a.sql"));
    has("");
    mkdir(below(dir, "noise"), 0755);
    mkdir(below(dir, "noise/noise"), 0755);
    put("noise/noise/1_a.sql", "SELECT 1;");
    refused(RC_CORRUPT, "/noise/noise: a migration (1_a.sql)");
}
END_TEST

START_TEST(a_link_to_nothing_is_refused) {
    ck_assert_int_eq(symlink("nowhere", below(dir, "1_a.sql")), 0);
    refused(RC_CORRUPT, "/1_a.sql: a link to nothing");
}
END_TEST

START_TEST(a_pipe_is_refused_and_not_waited_for) {
    ck_assert_int_eq(mkfifo(below(dir, "1_a.sql"), 0600), 0);
    refused(RC_CORRUPT, "/1_a.sql: not a plain file");
}
END_TEST

START_TEST(a_file_that_is_too_large_is_refused_before_it_is_read) {
    put("1_a.sql", "SELECT 1;");
    ck_assert_int_eq(truncate(below(dir, "1_a.sql"), (off_t)1 << 40), 0);
    refused(RC_CORRUPT, "/1_a.sql: 1099511627776 bytes; at most 16777216");
}
END_TEST

START_TEST(two_files_of_one_version_are_refused) {
    put("1_a.sql", "SELECT 1;");
    put("001_b.sql", "SELECT 1;");
    refused(RC_CONFLICT, "two migrations of version 1: 001_b.sql and 1_a.sql");
}
END_TEST

static rc refuse_open(struct env *e0, const char *path, enum file_mode mode, struct file **out,
                      struct err *e) {
    (void)e0, (void)mode, (void)out;
    return err_errno(e, EACCES, "open %s", path);
}

START_TEST(a_file_that_cannot_be_read_is_named) {
    struct env_files files = *env->files;
    struct env other = *env;
    struct set s = {0};
    put("1_a.sql", "SELECT 1;");
    files.open = refuse_open;
    other.files = &files;
    CODE(set_load(&other, dir, &s, e), RC_IO);
    says("/1_a.sql: Permission denied");
}
END_TEST

/* ---- holdfast.sum ---- */

START_TEST(the_sum_has_a_line_for_each) {
    struct set s;
    char expected[1000];
    fill();
    OK(set_load(env, dir, &s, e));
    int n = snprintf(expected, sizeof expected, "%s", got(SUM_FILE));
    ck_assert(n > 0 && expected[0] == '#');
    const char *at = strchr(expected, '\n') + 1;
    for (size_t i = 0; i < s.count; i++) {
        char line[400];
        n = snprintf(line, sizeof line, "%s%s %s %s\n", s.at[i]->noise ? "noise/" : "",
                     s.at[i]->name, s.at[i]->sha256, s.at[i]->chain);
        ck_assert_msg(strncmp(at, line, (size_t)n) == 0, "%s", at);
        at += n;
    }
    ck_assert_str_eq(at, "");
    set_deinit(&s);
    write_sum(false);
}
END_TEST

/* printf '%064d2_b.sql%s' 0 "$(printf 'CREATE TABLE b(c);\n' | sha256sum | cut -c1-64)" |
 * sha256sum, and so on: noise/3_n.sql, 10_a.sql. */
START_TEST(the_chain_is_what_the_format_says) {
    static const char *const chains[] = {
        "f66ad3de5cd5acf51ee7983412466c41693f1fb0769b06b7f4727a4464124c0e",
        "50b7470c43a1d3103fc8346b3368c40197fa923015a6be0646f750bbf5a1e980",
        "9b26138ec64bbed429bdb9174aa83baafeb0f0e04bcb1abd5ed678651ac635e3"};
    struct set s;
    fill();
    OK(set_load(env, dir, &s, e));
    for (size_t i = 0; i < 3; i++) ck_assert_str_eq(s.at[i]->chain, chains[i]);
    set_deinit(&s);
}
END_TEST

START_TEST(without_a_sum_nothing_is_compared) {
    struct set s;
    put("1_a.sql", "-- migrate:up\nSELECT 1;\n");
    OK(set_load(env, dir, &s, e));
    ck_assert(!s.has_sum);
    set_deinit(&s);
}
END_TEST

START_TEST(line_ends_do_not_make_another_file) {
    fill();
    put("2_b.sql", "CREATE TABLE b(c);\r\n");
    has("2_b.sql noise/3_n.sql 10_a.sql");
    char text[2000] = "";
    for (const char *c = got(SUM_FILE); *c; c++)
        snprintf(text + strlen(text), 8, "%s%c", *c == '\n' ? "\r" : "", *c);
    put(SUM_FILE, text);
    has("2_b.sql noise/3_n.sql 10_a.sql");
}
END_TEST

START_TEST(an_edited_file_is_named) {
    fill();
    put("noise/3_n.sql", "CREATE TABLE n(d);\n");
    refused(RC_CORRUPT, "noise/3_n.sql was edited: ");
    says("'holdfast schema lint -write'");
    write_sum(true);
    has("2_b.sql noise/3_n.sql 10_a.sql");
}
END_TEST

START_TEST(a_missing_file_is_named) {
    fill();
    remove(below(dir, "noise/3_n.sql"));
    refused(RC_CORRUPT, "holdfast.sum has noise/3_n.sql, and the directory has not");
    fill();
    remove(below(dir, "10_a.sql"));
    refused(RC_CORRUPT, "10_a.sql, which is not in the directory");
}
END_TEST

START_TEST(a_file_that_the_sum_lacks_is_named) {
    fill();
    put("1_x.sql", "SELECT 1;");
    refused(RC_CORRUPT, "1_x.sql is not in holdfast.sum");
    remove(below(dir, "1_x.sql"));
    put("5_x.sql", "SELECT 1;");
    refused(RC_CORRUPT, "5_x.sql is not in holdfast.sum");
    remove(below(dir, "5_x.sql"));
    put("11_x.sql", "SELECT 1;");
    refused(RC_CORRUPT, "11_x.sql is not in holdfast.sum");
    put(SUM_FILE, "");
    refused(RC_CORRUPT, "2_b.sql is not in holdfast.sum");
}
END_TEST

/* What a merge leaves that takes both sides: each line as its branch wrote it. */
START_TEST(two_branches_that_were_merged_are_seen) {
    char one[4000], other[9000];
    fill();
    put("11_x.sql", "SELECT 1;");
    write_sum(true);
    snprintf(one, sizeof one, "%s", got(SUM_FILE));
    remove(below(dir, "11_x.sql"));
    put("12_y.sql", "SELECT 2;");
    write_sum(true);
    snprintf(other, sizeof other, "%s%s", one, strstr(got(SUM_FILE), "12_y.sql"));
    put("11_x.sql", "SELECT 1;");
    put(SUM_FILE, other);
    refused(RC_CORRUPT, "12_y.sql: holdfast.sum was made beside other migrations");
    snprintf(other, sizeof other, "%s<<<<<<< HEAD\n", one);
    put(SUM_FILE, other);
    refused(RC_CORRUPT, "holdfast.sum:6: '<<<<<<< HEAD' is no line of it");
}
END_TEST

static const char *const lines[] = {
    "2_b.sql",
    "2_b.sql 12 34",
    "2_b.sql 0123456789012345678901234567890123456789012345678901234567890123",
    "2_b.sql 0123456789012345678901234567890123456789012345678901234567890123 "
    "0123456789012345678901234567890123456789012345678901234567890123 more",
    "2_b.sql 012345678901234567890123456789012345678901234567890123456789012X "
    "0123456789012345678901234567890123456789012345678901234567890123",
    "2_b.sql 01234567890123456789012345678901234567890123456789012345678901234 "
    "0123456789012345678901234567890123456789012345678901234567890123",
};

START_TEST(a_line_that_is_none_is_refused) {
    fill();
    put(SUM_FILE, lines[_i]);
    refused(RC_CORRUPT, "holdfast.sum:1: '2_b.sql");
}
END_TEST

START_TEST(a_line_that_stands_there_twice_is_refused) {
    char twice[4000], text[4400];
    fill();
    snprintf(twice, sizeof twice, "%s", got(SUM_FILE));
    snprintf(text, sizeof text, "%s%.300s", twice, strstr(twice, "10_a.sql"));
    put(SUM_FILE, text);
    refused(RC_CORRUPT, "holdfast.sum:5: 10_a.sql, which is there already");
}
END_TEST

START_TEST(a_sum_with_a_zero_byte_is_refused) {
    fill();
    FILE *f = fopen(below(dir, SUM_FILE), "a");
    fputc(0, f);
    fclose(f);
    refused(RC_CORRUPT, "holdfast.sum: not a text");
}
END_TEST

START_TEST(a_sum_is_written_whole_or_not_at_all) {
    char before[4000];
    fill();
    snprintf(before, sizeof before, "%s", got(SUM_FILE));
    put("11_x.sql", "SELECT 'open");
    bool changed;
    CODE(set_write_sum(env, dir, &changed, e), RC_CORRUPT);
    ck_assert_str_eq(got(SUM_FILE), before);
    ck_assert_int_eq(entries_of(env, dir), 5);
}
END_TEST

/* ---- a new one ---- */

static int64_t clock_ms;
static int64_t told_time(struct env *e) {
    (void)e;
    return clock_ms;
}

static char *make(const char *name, bool noise) {
    struct env at = *env;
    char *path = NULL;
    at.unix_ms = told_time;
    OK(set_new_file(&at, dir, name, noise, NULL, &path, e));
    return path;
}

static void made(const char *name, bool noise, const char *expected) {
    char *path = make(name, noise);
    ck_assert_str_eq(path, below(dir, expected));
    free(path);
}

START_TEST(a_new_file_has_the_time_and_a_line_in_the_sum) {
    clock_ms = 1782907200000; /* 2026-07-01 12:00:00 */
    made("Split the name", false, "20260701120000_split_the_name.sql");
    ck_assert(strncmp(got("20260701120000_split_the_name.sql"), "-- split_the_name: why?\n", 24) ==
              0);
    made("seen", true, "noise/20260701120001_seen.sql"); /* the same second */
    clock_ms -= 5000;                                    /* a clock that was set back */
    made("more", false, "20260701120002_more.sql");
    clock_ms += 3600000;
    made("later", false, "20260701125955_later.sql");
    has("20260701120000_split_the_name.sql noise/20260701120001_seen.sql 20260701120002_more.sql "
        "20260701125955_later.sql");
    ck_assert_ptr_nonnull(strstr(got(SUM_FILE), "\nnoise/20260701120001_seen.sql "));
}
END_TEST

START_TEST(a_directory_that_counts_goes_on_counting) {
    put("0009_a.sql", "SELECT 1;");
    made("b", false, "0010_b.sql");
    made("c", true, "noise/0011_c.sql");
}
END_TEST

START_TEST(a_new_directory_is_as_open_as_its_parent) {
    struct stat s;
    ck_assert_int_eq(chmod(dir, 0755), 0);
    char *path = NULL;
    OK(set_new_file(env, below(dir, "migrations/"), "a", true, NULL, &path, e));
    ck_assert(stat(path, &s) == 0 && (s.st_mode & 07777) == 0644);
    ck_assert(stat(below(dir, "migrations"), &s) == 0 && (s.st_mode & 07777) == 0755);
    ck_assert(stat(below(dir, "migrations/noise"), &s) == 0 && (s.st_mode & 07777) == 0755);
    ck_assert(stat(below(dir, "migrations/" SUM_FILE), &s) == 0 && (s.st_mode & 07777) == 0644);
    free(path);
    ck_assert_int_eq(chmod(dir, 0700), 0);
    OK(set_new_file(env, dir, "a", false, NULL, &path, e));
    ck_assert(stat(path, &s) == 0 && (s.st_mode & 07777) == 0600);
    free(path);
}
END_TEST

START_TEST(a_text_of_ones_own_is_written_as_it_is) {
    char *path = NULL;
    OK(set_new_file(env, dir, "node_3", false, "SELECT 1;\n", &path, e));
    ck_assert_str_eq(got(strrchr(path, '/') + 1), "SELECT 1;\n");
    free(path);
    path = NULL;
    CODE(set_new_file(env, dir, "node_4", false, "SELECT 'open", &path, e), RC_CORRUPT);
    says("node_4.sql:1: the literal");
    ck_assert_ptr_null(path);
    ck_assert_int_eq(entries_of(env, dir), 2);
}
END_TEST

static const char *const bad_names[] = {"", "a/b", "../a", "a.sql", "a\nb", "\xc3\xbc", "a'b"};

START_TEST(a_name_that_is_no_plain_word_is_refused) {
    char *path = NULL;
    CODE(set_new_file(env, dir, bad_names[_i], false, NULL, &path, e), RC_USAGE);
    ck_assert_int_eq(entries_of(env, dir), 0);
}
END_TEST

START_TEST(nothing_is_added_to_a_set_that_was_edited) {
    char *path = NULL;
    fill();
    put("2_b.sql", "SELECT 2;");
    CODE(set_new_file(env, dir, "c", false, NULL, &path, e), RC_CORRUPT);
    says("2_b.sql was edited");
    ck_assert_int_eq(entries_of(env, dir), 4);
}
END_TEST

/* ---- the system refuses ---- */

static int effects, fail_at;

static bool fails(void) {
    return ++effects == fail_at;
}
#define FAULTY(name, params, args)                                                                 \
    static rc faulty_##name params {                                                               \
        if (fails()) return err_errno(e, ENOSPC, #name);                                           \
        return env->files->name args;                                                              \
    }
FAULTY(open, (struct env * v, const char *p, enum file_mode m, struct file **o, struct err *e),
       (v, p, m, o, e))
FAULTY(read, (struct env * v, struct file *f, uint64_t a, void *b, size_t n, struct err *e),
       (v, f, a, b, n, e))
FAULTY(write, (struct env * v, struct file *f, uint64_t a, const void *b, size_t n, struct err *e),
       (v, f, a, b, n, e))
FAULTY(sync, (struct env * v, struct file *f, struct err *e), (v, f, e))
FAULTY(link, (struct env * v, struct file *f, const char *t, const char *p, struct err *e),
       (v, f, t, p, e))
FAULTY(rename, (struct env * v, const char *f, const char *t, bool r, struct err *e),
       (v, f, t, r, e))
FAULTY(stat, (struct env * v, const char *p, struct file_stat *o, struct err *e), (v, p, o, e))
FAULTY(make_dirs, (struct env * v, const char *p, struct err *e), (v, p, e))
FAULTY(sync_dir, (struct env * v, const char *p, struct err *e), (v, p, e))
FAULTY(list,
       (struct env * v, const char *p, rc (*each)(void *, const char *, struct err *), void *a,
        struct err *e),
       (v, p, each, a, e))

static rc no_remains(void *arg, const char *name, struct err *e) {
    (void)arg, (void)e;
    ck_assert_msg(*name != '.', "%s", name);
    return ok();
}

/* Each effect of `new` fails once: an error, and the set that is there can be read, or its sum says
 * that a file is new. */
START_TEST(a_new_file_is_there_whole_or_not_at_all) {
    struct env_files files = *env->files;
    struct env faulty = *env;
    files.open = faulty_open, files.read = faulty_read, files.write = faulty_write;
    files.sync = faulty_sync, files.link = faulty_link, files.rename = faulty_rename;
    files.stat = faulty_stat, files.make_dirs = faulty_make_dirs, files.list = faulty_list;
    files.sync_dir = faulty_sync_dir;
    faulty.files = &files;
    for (fail_at = 1;; fail_at++) {
        char *path = NULL;
        struct err why = {0};
        struct set s = {0};
        temp_dir(dir);
        put("1_a.sql", "SELECT 1;");
        write_sum(true);
        effects = 0;
        rc r = set_new_file(&faulty, dir, "b", true, NULL, &path, &why);
        ck_assert_int_eq(is_ok(r), effects < fail_at);
        ck_assert_int_eq(is_ok(r), path != NULL);
        free(path);
        rc after = set_load(env, dir, &s, &why);
        ck_assert_msg(is_ok(after) || strstr(why.text, "noise/2_b.sql is not in"), "%s", why.text);
        set_deinit(&s);
        OK(env->files->list(env, dir, no_remains, NULL, e));
        if (is_ok(r)) break;
    }
    ck_assert_int_gt(fail_at, 15);
}
END_TEST

int main(void) {
    TCase *t = tcase_create("set");
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, migrations_are_ordered_by_version_over_both_databases);
    tcase_add_test(t, an_array_is_the_same_set_as_its_directory);
    ADD_ROWS(t, an_array_that_is_wrong_is_refused, arrays);
    tcase_add_test(t, an_empty_set_is_one);
    tcase_add_test(t, what_is_no_migration_is_not_looked_at);
    tcase_add_test(t, a_link_to_a_migration_is_followed);
    tcase_add_test(t, a_missing_directory_is_not_found);
    tcase_add_test(t, a_name_without_a_version_is_refused);
    tcase_add_test(t, capitals_in_the_suffix_are_refused);
    tcase_add_test(t, a_directory_called_like_a_migration_is_refused);
    tcase_add_test(t, migrations_in_another_directory_are_refused);
    tcase_add_test(t, a_link_to_nothing_is_refused);
    tcase_add_test(t, a_pipe_is_refused_and_not_waited_for);
    tcase_add_test(t, a_file_that_is_too_large_is_refused_before_it_is_read);
    tcase_add_test(t, two_files_of_one_version_are_refused);
    tcase_add_test(t, a_file_that_cannot_be_read_is_named);
    tcase_add_test(t, the_sum_has_a_line_for_each);
    tcase_add_test(t, the_chain_is_what_the_format_says);
    tcase_add_test(t, without_a_sum_nothing_is_compared);
    tcase_add_test(t, line_ends_do_not_make_another_file);
    tcase_add_test(t, an_edited_file_is_named);
    tcase_add_test(t, a_missing_file_is_named);
    tcase_add_test(t, a_file_that_the_sum_lacks_is_named);
    tcase_add_test(t, two_branches_that_were_merged_are_seen);
    ADD_ROWS(t, a_line_that_is_none_is_refused, lines);
    tcase_add_test(t, a_line_that_stands_there_twice_is_refused);
    tcase_add_test(t, a_sum_with_a_zero_byte_is_refused);
    tcase_add_test(t, a_sum_is_written_whole_or_not_at_all);
    tcase_add_test(t, a_new_file_has_the_time_and_a_line_in_the_sum);
    tcase_add_test(t, a_directory_that_counts_goes_on_counting);
    tcase_add_test(t, a_new_directory_is_as_open_as_its_parent);
    tcase_add_test(t, a_text_of_ones_own_is_written_as_it_is);
    ADD_ROWS(t, a_name_that_is_no_plain_word_is_refused, bad_names);
    tcase_add_test(t, nothing_is_added_to_a_set_that_was_edited);
    tcase_add_test(t, a_new_file_is_there_whole_or_not_at_all);
    Suite *s = suite_create("schema/set");
    suite_add_tcase(s, t);
    return run_suite(s);
}
