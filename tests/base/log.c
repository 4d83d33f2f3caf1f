/* A log line parses, whatever bytes a value holds. */
#include "../os/temp.h"

#include "base/log.h"

#include <jansson.h>

static char line[4096];

static const char *logged(enum log_format format, const char *event, const char *const *pairs,
                          int count) {
    FILE *f = fmemopen(line, sizeof line, "w");
    struct log l = {.to = f, .format = format};
    log_pairs(&l, event, pairs, count);
    fclose(f);
    return line;
}

/* A value, its form in JSON once parsed, its form in logfmt. NULL: as the value itself. */
static const struct {
    const char *value, *parsed, *logfmt;
} values[] = {
    {"plain", NULL, NULL},
    {"file:///a/b.db?x:y,z", NULL, NULL},
    {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", NULL, NULL},
    {"", NULL, "\"\""},
    {"two words", NULL, "\"two words\""},
    {"a=b", NULL, "\"a=b\""},
    {"say \"hi\"", NULL, "\"say \\\"hi\\\"\""},
    {"\"", NULL, "\"\\\"\""},
    {"back\\slash", NULL, "\"back\\\\slash\""},
    {"ends\\", NULL, "\"ends\\\\\""},
    {"a\nb", NULL, "\"a\\u000ab\""},
    {"a\rb", NULL, "\"a\\u000db\""},
    {"a\tb", NULL, "\"a\\u0009b\""},
    {"\x1b[31mred", NULL, "\"\\u001b[31mred\""},
    {"\x01", NULL, "\"\\u0001\""},
    {"\x7f", NULL, "\"\\u007f\""},
    {"\xc2\x9b"
     "31m",
     NULL, "\"\\u009b31m\""}, /* a terminal takes it for an escape, too */
    {"\xc2\xa0", NULL, NULL}, /* the first and last of each length */
    {"\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf", NULL, NULL},
    {"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", NULL, NULL},
    {"\xc1\xbf", "\xef\xbf\xbd\xef\xbf\xbd", "\"\\ufffd\\ufffd\""},
    {"\xe0\x9f\xbf", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", "\"\\ufffd\\ufffd\\ufffd\""},
    {"caf\xe9", "caf\xef\xbf\xbd", "\"caf\\ufffd\""}, /* Latin-1 */
    {"\xff\xfe", "\xef\xbf\xbd\xef\xbf\xbd", "\"\\ufffd\\ufffd\""},
    {"\x80", "\xef\xbf\xbd", "\"\\ufffd\""},
    {"\xc3", "\xef\xbf\xbd", "\"\\ufffd\""}, /* cut off */
    {"\xe2\x82", "\xef\xbf\xbd\xef\xbf\xbd", "\"\\ufffd\\ufffd\""},
    {"\xe2\x82\"", "\xef\xbf\xbd\xef\xbf\xbd\"", "\"\\ufffd\\ufffd\\\"\""},
    {"\xf0\x9f\x98z", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz", "\"\\ufffd\\ufffd\\ufffdz\""},
    {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd", "\"\\ufffd\\ufffd\""}, /* longer than needed */
    {"\xe0\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", "\"\\ufffd\\ufffd\\ufffd\""},
    {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", "\"\\ufffd\\ufffd\\ufffd\""},
    {"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd",
     "\"\\ufffd\\ufffd\\ufffd\\ufffd\""},
    {"\xf5\x80\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd",
     "\"\\ufffd\\ufffd\\ufffd\\ufffd\""},
};

START_TEST(a_json_line_parses_to_the_value) {
    const char *value = values[_i].value;
    const char *const pairs[] = {"db", value, "last", "x"};
    json_error_t error;
    logged(LOG_JSON, "sync.retry", pairs, 4);
    json_t *o = json_loads(line, JSON_REJECT_DUPLICATES, &error);
    ck_assert_msg(o != NULL, "%s in %s", error.text, line);
    const char *got = json_string_value(json_object_get(o, "db"));
    ck_assert_str_eq(got, values[_i].parsed ? values[_i].parsed : value);
    ck_assert_str_eq(json_string_value(json_object_get(o, "event")), "sync.retry");
    ck_assert_str_eq(json_string_value(json_object_get(o, "last")), "x");
    ck_assert_uint_eq(json_object_size(o), 4);
    ck_assert_ptr_eq(strchr(line, '\n'), line + strlen(line) - 1);
    json_decref(o);
}
END_TEST

START_TEST(a_logfmt_line_quotes_what_needs_it) {
    const char *value = values[_i].value;
    const char *const pairs[] = {"db", value, "last", "x"};
    char want[512];
    const char *shown = values[_i].logfmt ? values[_i].logfmt : value;
    snprintf(want, sizeof want, " event=sync.retry db=%s last=x\n", shown);
    logged(LOG_LOGFMT, "sync.retry", pairs, 4);
    ck_assert_msg(strlen(line) > strlen(want), "%s", line);
    ck_assert_str_eq(line + strlen(line) - strlen(want), want);
    snprintf(want, sizeof want, " sync.retry db=%s last=x\n", shown);
    logged(LOG_HUMAN, "sync.retry", pairs, 4);
    ck_assert_str_eq(line + strlen("hh:mm:ss.mmmZ"), want);
}
END_TEST

static const char *const numbers[] = {"0", "7", "-3", "18446744073709551615", "0.5", "12.30"};
static const char *const texts[] = {"",
                                    "-",
                                    "00",
                                    "01",
                                    "1.",
                                    ".5",
                                    "1.2.3",
                                    "1e3",
                                    "0x1",
                                    "1 ",
                                    " 1",
                                    "+1",
                                    "--1",
                                    "1.x",
                                    "000000000000002a",
                                    "0.1.0",
                                    "123456789012345678901"};

static void *logged_value(const char *key, const char *value) {
    logged(LOG_JSON, "e", (const char *const[]){key, value}, 2);
    json_t *o = json_loads(line, JSON_DECODE_INT_AS_REAL, NULL);
    ck_assert_msg(o != NULL, "%s", line);
    return o;
}

START_TEST(a_number_is_one_in_json) {
    json_t *o = logged_value("txid", numbers[_i]);
    ck_assert_msg(json_is_number(json_object_get(o, "txid")), "%s", line);
    json_decref(o);
    o = logged_value("db", numbers[_i]);
    ck_assert_str_eq(json_string_value(json_object_get(o, "db")), numbers[_i]);
    json_decref(o);
}
END_TEST

START_TEST(what_is_no_number_is_text_in_json) {
    json_t *o = logged_value("txid", texts[_i]);
    ck_assert_str_eq(json_string_value(json_object_get(o, "txid")), texts[_i]);
    json_decref(o);
}
END_TEST

START_TEST(every_two_bytes_make_json_that_parses) {
    for (int a = 1; a < 256; a++) {
        for (int b = 0; b < 256; b++) {
            char value[] = {(char)a, (char)b, 0};
            const char *const pairs[] = {"v", value};
            logged(LOG_JSON, "e", pairs, 2);
            json_t *o = json_loads(line, 0, NULL);
            ck_assert_msg(o != NULL, "%02x %02x: %s", a, b, line);
            json_decref(o);
        }
    }
}
END_TEST

START_TEST(the_time_is_utc_with_milliseconds) {
    static const char *const shape = "{\"time\":\"dddd-dd-ddTdd:dd:dd.dddZ\",\"event\":\"e\"}\n";
    logged(LOG_JSON, "e", NULL, 0);
    ck_assert_uint_eq(strlen(line), strlen(shape));
    for (size_t i = 0; shape[i]; i++) {
        bool digit = line[i] >= '0' && line[i] <= '9';
        ck_assert_msg(shape[i] == 'd' && i > 8 && i < 33 ? digit : line[i] == shape[i], "%s", line);
    }
}
END_TEST

static const struct {
    const char *text;
    bool is_format;
    enum log_format format;
} formats[] = {
    {"human", true, LOG_HUMAN},
    {"logfmt", true, LOG_LOGFMT},
    {"json", true, LOG_JSON},
    {"JSON", false, 0},
    {"", false, 0},
    {"jsonl", false, 0},
    {"huma", false, 0},
};

START_TEST(a_format_has_one_name) {
    enum log_format f = LOG_LOGFMT;
    ck_assert_int_eq(log_format_parse(formats[_i].text, &f), formats[_i].is_format);
    ck_assert_int_eq(f, formats[_i].is_format ? formats[_i].format : LOG_LOGFMT);
}
END_TEST

START_TEST(a_file_that_is_no_terminal_gets_logfmt) {
    struct log l;
    FILE *f = tmpfile();
    log_init(&l, f);
    ck_assert_int_eq(l.format, LOG_LOGFMT);
    ck_assert_ptr_eq(l.to, f);
    fclose(f);
}
END_TEST

int main(void) {
    Suite *s = suite_create("log");
    TCase *t = tcase_create("log");
    ADD_ROWS(t, a_json_line_parses_to_the_value, values);
    ADD_ROWS(t, a_logfmt_line_quotes_what_needs_it, values);
    ADD_ROWS(t, a_number_is_one_in_json, numbers);
    ADD_ROWS(t, what_is_no_number_is_text_in_json, texts);
    tcase_add_test(t, every_two_bytes_make_json_that_parses);
    tcase_add_test(t, the_time_is_utc_with_milliseconds);
    ADD_ROWS(t, a_format_has_one_name, formats);
    tcase_add_test(t, a_file_that_is_no_terminal_gets_logfmt);
    suite_add_tcase(s, t);
    return run_suite(s);
}
