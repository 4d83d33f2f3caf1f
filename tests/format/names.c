/* Object names and keys. */
#include "../os/temp.h"

#include "format/names.h"

static const struct {
    uint64_t min, max;
    const char *name;
} good[] = {
    {1, 1, "0000000000000001-0000000000000001.ltx"},
    {1, 255, "0000000000000001-00000000000000ff.ltx"},
    {0xabcdef, 0x123456789abcdef0, "0000000000abcdef-123456789abcdef0.ltx"},
    {UINT64_MAX, UINT64_MAX, "ffffffffffffffff-ffffffffffffffff.ltx"},
};

START_TEST(a_name_goes_there_and_back) {
    char name[NAME_SIZE];
    uint64_t min = 0, max = 0;
    name_format(good[_i].min, good[_i].max, name);
    ck_assert_str_eq(name, good[_i].name);
    ck_assert(name_parse(name, &min, &max));
    ck_assert_uint_eq(min, good[_i].min);
    ck_assert_uint_eq(max, good[_i].max);
}
END_TEST

static const char *const bad[] = {
    "",
    ".ltx",
    "lock.json",
    "0000000000000001-0000000000000001",
    "0000000000000001-0000000000000001.",
    "0000000000000001-0000000000000001.lt",
    "0000000000000001-0000000000000001.ltxx",
    "0000000000000001-0000000000000001.LTX",
    "0000000000000001-0000000000000001.ltx.tmp",
    ".0000000000000001-0000000000000001.ltx",
    " 000000000000001-0000000000000001.ltx",
    "0000000000000001-0000000000000001 ltx",
    "0000000000000001_0000000000000001.ltx",
    "0000000000000001--000000000000001.ltx",
    "00000000000000001-000000000000001.ltx",
    "000000000000001-00000000000000001.ltx",
    "000000000000001-0000000000000001.ltx",
    "00000000000000001-0000000000000001.ltx",
    "1-1.ltx",
    "000000000000000A-000000000000000A.ltx",
    "000000000000000g-000000000000000g.ltx",
    "000000000000000/-000000000000000:.ltx",
    "000000000000000`-000000000000000`.ltx",
    "0x00000000000001-0x00000000000001.ltx",
    "+000000000000001-+000000000000001.ltx",
    "0000000000000000-0000000000000001.ltx", /* there is no TXID 0 */
    "0000000000000000-0000000000000000.ltx",
    "0000000000000002-0000000000000001.ltx",
    "ffffffffffffffff-0000000000000001.ltx",
    "0000000000000001-000000000000000\xb2.ltx",
};

START_TEST(any_other_name_is_not_ours) {
    uint64_t min = 7, max = 8;
    ck_assert_msg(!name_parse(bad[_i], &min, &max), "%s", bad[_i]);
    ck_assert(min == 7 && max == 8);
}
END_TEST

static const struct {
    int level;
    const char *dir, *bucket;
} levels[] = {
    {0, "ltx/0", "0000"}, {1, "ltx/1", "0001"}, {3, "ltx/3", "0003"}, {9, "ltx/9", "0009"}};

START_TEST(a_key_follows_the_layout) {
    char key[KEY_SIZE], want[KEY_SIZE];
    key_of_level(false, levels[_i].level, key);
    ck_assert_str_eq(key, levels[_i].dir);
    key_of_level(true, levels[_i].level, key);
    ck_assert_str_eq(key, levels[_i].bucket);
    for (int bucket = 0; bucket < 2; bucket++) {
        snprintf(want, sizeof want, "%s/%s", bucket ? levels[_i].bucket : levels[_i].dir,
                 good[1].name);
        key_of_file(bucket, levels[_i].level, good[1].min, good[1].max, key);
        ck_assert_str_eq(key, want);
    }
}
END_TEST

int main(void) {
    Suite *s = suite_create("names");
    TCase *t = tcase_create("names");
    ADD_ROWS(t, a_name_goes_there_and_back, good);
    ADD_ROWS(t, any_other_name_is_not_ours, bad);
    ADD_ROWS(t, a_key_follows_the_layout, levels);
    suite_add_tcase(s, t);
    return run_suite(s);
}
