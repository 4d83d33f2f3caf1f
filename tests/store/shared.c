/* The shared library as a program sees it: linked, found by its version, and with the socket for
 * other processes, which only it holds. */
#include "app.h"

#include <sys/socket.h>
#include <sys/un.h>

/* As docs/holdfast.1 tells people to find it. */
static void socket_of(const char *database, char out[TEMP_PATH + 100]) {
    struct stat st;
    ck_assert_int_eq(stat(database, &st), 0);
    snprintf(out, TEMP_PATH + 100, "%s/socket/%lx-%lu", app_dir, (unsigned long)st.st_dev,
             (unsigned long)st.st_ino);
}

static void ask(const char *path, const char *request, char *answer, size_t size) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t n = 0;
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    ck_assert_uint_lt(strlen(path), sizeof to.sun_path);
    memcpy(to.sun_path, path, strlen(path) + 1);
    ck_assert_int_eq(connect(s, (struct sockaddr *)&to, sizeof to), 0);
    ck_assert_int_eq(write(s, request, strlen(request)), (ssize_t)strlen(request));
    for (ssize_t got; n < size - 1 && (got = read(s, answer + n, size - 1 - n)) > 0;)
        n += (size_t)got;
    answer[n] = 0;
    close(s);
}

START_TEST(another_process_can_wait) {
    char path[TEMP_PATH + 100], answer[8192];
    hf_source *source;
    hf_replicate_options o = {.size = sizeof o, .interval_ms = 1, .socket = 1};
    HF(hf_attach(app, urls, &o, &source));
    sql("INSERT INTO t VALUES (1)");
    socket_of(app_path, path);
    ask(path, "POST /wait HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
        answer, sizeof answer);
    ck_assert_msg(strstr(answer, " 200 ") != NULL, "%s", answer);
    ask(path, "GET /status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", answer,
        sizeof answer);
    ck_assert_msg(strstr(answer, "\"replicating\"") && strstr(answer, urls[0]), "%s", answer);
    HF(hf_detach(source));
    ck_assert_int_ne(access(path, F_OK), 0);
}
END_TEST

START_TEST(it_says_its_version) {
    ck_assert_str_eq(hf_version(), HOLDFAST_VERSION);
}
END_TEST

int main(void) {
    Suite *s = suite_create("store/shared");
    TCase *t = tcase_create("shared");
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, app_setup, app_teardown);
    tcase_set_timeout(t, 30);
    tcase_add_test(t, another_process_can_wait);
    tcase_add_test(t, it_says_its_version);
    suite_add_tcase(s, t);
    return run_suite(s);
}
