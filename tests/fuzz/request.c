/* The body of a request on a database's socket. Input: what is asked, a byte; then the body.
 * Whatever stands in it, there is an answer: what waits waits within its bounds, and what is
 * refused is refused in JSON. */
#include "daemon/request.c"

#include "fuzz.h"

#define DATABASE "/srv/\xc3\xa4pp.db"

static void check_wait(const struct request *r, const struct members *m) {
    char text[POSITION_TEXT_SIZE];
    MUST(r->wait.deadline_ns >= r->began_ns);
    MUST(r->wait.deadline_ns - r->began_ns <= (int64_t)TIMEOUT_MAX_MS * MS);
    position_text(&r->wait.at, text);
    MUST(strcmp(text, m->position) == 0);
    MUST(!m->path || m->path[0] == '/');
    MUST(r->kind == WAIT || (r->wait.flush && !r->wait.destination));
}

/* As begin() does for what the body is wrong for, without the connection. */
static void check_refusal(enum rc_code code, const char *words) {
    char *text = refusal(code, words);
    MUST(text && text[strlen(text) - 1] == '\n' && strchr(text, '\n') == text + strlen(text) - 1);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    if (size < 1) return 0;
    struct desk desk = {.database = DATABASE};
    struct request r = {.desk = &desk, .kind = bytes[0] % 2 ? SYNC : WAIT, .began_ns = 1};
    struct members m = {0};
    buf_init(&r.body, LIMIT_SOCKET_BODY);
    buf_put(&r.body, bytes + 1, size - 1);
    const char *wrong = r.body.failed ? NULL : read_input(&r, &m);
    if (wrong) check_refusal(RC_USAGE, wrong);
    else if (!r.body.failed) check_wait(&r, &m);
    if (!wrong && (m.path || m.file) && !is_this_database(desk.database, &m)) {
        char words[ERR_TEXT_MAX];
        not_this_database(desk.database, &m, words);
        check_refusal(RC_NOTFOUND, words);
    }
    buf_deinit(&r.body);
    json_decref(r.input);
    return 0;
}
