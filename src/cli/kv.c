/* holdfast kv import DB FILE, holdfast kv export DB FILE: the key-value table as one object of
 * JSON.
 *
 * The database is opened as an application opens it. Nothing is replicated from here; a running
 * `holdfast replicate` sees one more application, and one commit. */
#include "cli/bar.h"
#include "cli/cli.h"
#include "holdfast.h"
#include "store/kv_transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char help[] =
    "holdfast kv import [options] DB FILE\n"
    "holdfast kv export [-prefix P] DB FILE\n"
    "  Keys and values (the table DBX) from and to a file that is one object of JSON, each member\n"
    "  a key. FILE may be - for the standard input or output. An import is one transaction: all "
    "of\n"
    "  it or nothing; other writers wait meanwhile.\n"
    "\n"
    "  -prefix P  import: put before each key; export: only the keys that begin with it\n"
    "  -replace   import: delete what is there first (with -prefix: under it); without this a key\n"
    "             that is there already is an error\n"
    "  -text      import: strings become text values; else every value is kept as JSON\n"
    "\n"
    "  holdfast kv import app.db state.json\n"
    "  holdfast kv export app.db - | jq .\n";

enum { PREFIX = 256, REPLACE, TEXT };
static const struct option options[] = {{"prefix", required_argument, NULL, PREFIX},
                                        {"replace", no_argument, NULL, REPLACE},
                                        {"text", no_argument, NULL, TEXT},
                                        {"help", no_argument, NULL, 'h'},
                                        {NULL, 0, NULL, 0}};

struct transfer {
    hf_transfer options;
    const char *db, *file;
    bool is_stream; /* FILE is "-" */
    int fd;
    struct progress progress;
    uint64_t keys;
};

static void note_progress(void *arg, uint64_t bytes, uint64_t of_bytes, uint64_t keys) {
    struct transfer *t = arg;
    atomic_store(&t->progress.bytes_done, bytes);
    atomic_store(&t->progress.bytes_total, of_bytes);
    t->keys = keys;
}

static rc public_result(int code, struct err *e) {
    return code == HF_OK ? ok() : err_set(e, (enum rc_code)code, "%s", hf_errmsg());
}

/* ---- import ---- */

static rc read_some(void *arg, void *buf, size_t n, size_t *got, struct err *e) {
    struct transfer *t = arg;
    ssize_t r;
    do r = read(t->fd, buf, n);
    while (r < 0 && errno == EINTR);
    if (r < 0) return err_errno(e, errno, "read %s", t->file);
    *got = (size_t)r;
    return ok();
}

static rc open_input(struct transfer *t, struct kv_input *out, struct err *e) {
    struct stat st;
    t->fd = t->is_stream ? STDIN_FILENO : open(t->file, O_RDONLY | O_CLOEXEC);
    if (t->fd < 0) return err_errno(e, errno, "open %s", t->file);
    if (fstat(t->fd, &st) != 0) return err_errno(e, errno, "stat %s", t->file);
    if (S_ISDIR(st.st_mode)) return err_set(e, RC_USAGE, "%s: it is a directory", t->file);
    *out = (struct kv_input){.name = t->is_stream ? "standard input" : t->file,
                             .read = read_some,
                             .arg = t,
                             .size_bytes = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0};
    return ok();
}

static rc import(struct transfer *t, struct err *e) {
    struct kv_input input;
    hf_store *s = NULL;
    rc r = open_input(t, &input, e); /* before a database is made */
    if (is_ok(r)) r = public_result(hf_store_open(t->db, NULL, &s), e);
    if (is_ok(r)) r = kv_import(s, &input, &t->options, e);
    if (s) (void)hf_store_close(s);
    if (t->fd > STDIN_FILENO) close(t->fd);
    return r;
}

/* ---- export ---- */

static rc write_all(void *arg, const void *bytes, size_t n, struct err *e) {
    (void)arg;
    for (size_t at = 0; at < n;) {
        ssize_t put = write(STDOUT_FILENO, (const char *)bytes + at, n - at);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return err_errno(e, errno, "write the standard output");
        at += (size_t)put;
    }
    return ok();
}

static rc export(struct transfer *t, struct err *e) {
    struct kv_output output = {.write = write_all};
    hf_store *s;
    if (access(t->db, F_OK) != 0) return err_errno(e, errno, "open %s", t->db);
    TRY(public_result(hf_store_open(t->db, NULL, &s), e));
    rc r = t->is_stream ? kv_export(s, &output, &t->options, e)
                        : public_result(hf_kv_export(s, t->file, &t->options), e);
    (void)hf_store_close(s);
    return r;
}

/* ---- the command ---- */

static int run(struct transfer *t, bool imports) {
    struct bar bar;
    struct err e;
    t->is_stream = strcmp(t->file, "-") == 0;
    t->fd = -1;
    bool quiet = !imports && t->is_stream; /* the output may be the terminal */
    t->options.size = sizeof t->options;
    t->options.progress = note_progress;
    t->options.progress_arg = t;
    atomic_store(&t->progress.phase, 2);
    if (!quiet) bar_start(&bar, imports ? "kv import" : "kv export", &t->progress);
    rc r = imports ? import(t, &e) : export(t, &e);
    double seconds = quiet ? 0 : bar_stop(&bar);
    if (!is_ok(r)) return cli_fail(r, &e);
    if (!quiet)
        printf("%s %" PRIu64 " keys, %.1f MB, in %.1f s\n", imports ? "imported" : "exported",
               t->keys, (double)atomic_load(&t->progress.bytes_done) / 1e6, seconds);
    return 0;
}

static bool take_option(struct transfer *t, int option, bool imports) {
    if (option == PREFIX) t->options.prefix = optarg;
    else if (option == REPLACE && imports) t->options.replace = 1;
    else if (option == TEXT && imports) t->options.text = 1;
    else return false;
    return true;
}

int cmd_kv(int argc, char **argv) {
    struct transfer t = {0};
    const char *what = argc > 1 ? argv[1] : "";
    bool imports = strcmp(what, "import") == 0, exports = strcmp(what, "export") == 0;
    int option, skip = imports || exports;
    argc -= skip, argv += skip;
    opterr = 0;
    while ((option = getopt_long_only(argc, argv, ":h", options, NULL)) != -1) {
        if (option == 'h') {
            fputs(help, stdout);
            return 0;
        }
        if (option == ':' || option == '?') return cli_bad_option(help, options, option, argv);
        if (!skip) break;
        if (!take_option(&t, option, imports))
            return cli_usage(help, "%s is an option of kv import", argv[optind - 1]);
    }
    if (!skip) return cli_usage(help, "kv needs import or export, then a database and a file");
    int wrong = cli_arguments(help, argc, argv, 2, 2, "kv needs a database and a file");
    if (wrong) return wrong;
    t.db = argv[optind];
    t.file = argv[optind + 1];
    return run(&t, imports);
}
