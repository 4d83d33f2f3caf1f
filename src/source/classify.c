/* Which database is this, seen from a replica's last slot? (docs/design.md "start-up classes")
 *
 * Why a table and not a guess: salts, sizes and page bytes each call a fork or an older database
 * "continuing" in some case that really happens (a power cut with synchronous=NORMAL, a restored
 * backup, a clean close). Only the log's cumulative checksum, a run file of the same boot, or the
 * database's sum prove anything; whatever is not proven is refused, and refusing is safe.
 *
 * Invariants
 *  1. A class is told against the log as it was when the hold began (`start`); since then
 *     continuity comes from the hold, so a destination may be read hours later.
 *  2. A refused destination stops the run: nothing is shipped to any.
 */
#include "source/internal.h"

#include "base/bytes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RESETS_MAX 1000000u /* salts go up by one at each */

const char *class_name(enum class c) {
    static const char *const names[] = {"new",   "continues", "ahead",        "equal",    "behind",
                                        "older", "fork",      "incompatible", "unproven", "gone"};
    return names[c];
}

/* ---- the log as it stands when the hold begins ---- */

static rc read_frames(struct source *s, struct err *e) {
    struct start_log *l = &s->start;
    uint32_t n = l->header.frame_count;
    bool blank = false;
    free(l->frames);
    l->frames = calloc(n ? n : 1, sizeof *l->frames);
    if (!l->frames) return err_set(e, RC_NOMEM, "no memory for %u frames", n);
    for (uint32_t i = 0; i < n; i++) {
        struct wal_frame_header h;
        TRY(live_frame_header(&s->live, i + 1, &h, e));
        l->frames[i].pgno = h.pgno;
        l->frames[i].commit = h.commit != 0;
        memcpy(l->frames[i].checksum, h.checksum, sizeof h.checksum);
        bool after_blank = blank; /* of_this_log */
        blank = !(h.checksum[0] | h.checksum[1]);
        if (after_blank && !blank)
            TRY(live_checksum_before(&s->live, i + 1, l->frames[i - 1].checksum, e));
    }
    return ok();
}

/* The change counter in the database's header: it never goes back, though not every commit moves
 * it. */
static rc start_change_counter(struct source *s, struct err *e) {
    struct cut cut = {.at = s->start.header, .low = s->start.low};
    TRY(source_read(s, &cut, 1, s->page, e));
    s->start.change_counter = get_u32be(s->page + 24);
    return ok();
}

/* Whether the log before this one ended where the run file says. A reset leaves the file as long as
 * it was, so what is not yet overwritten still tells: the last frame that the run file knows, and
 * behind it none of that log. The count of commits alone does not prove it: a recovery lets it
 * start anew. */
static bool old_log_ends(struct source *s) {
    const struct walindex_header *at = &s->run.found.at, *now = &s->start.header;
    struct wal_frame_header last, behind;
    struct err ignored;
    if (!s->run.found.present || now->frame_count >= at->frame_count) return false;
    if (!is_ok(live_frame_header(&s->live, at->frame_count, &last, &ignored))) return false;
    if (last.salt[0] != at->salt[0] || last.salt[1] != at->salt[1] ||
        memcmp(last.checksum, at->checksum, sizeof last.checksum) != 0)
        return false;
    rc r = live_frame_header(&s->live, at->frame_count + 1, &behind, &ignored);
    if (!is_ok(r)) return r.code == RC_CORRUPT; /* the file ends */
    return behind.salt[0] != at->salt[0] && behind.salt[0] != now->salt[0];
}

rc source_take_start(struct source *s, struct err *e) {
    struct walindex_header now;
    TRY(hold_start(&s->hold, &s->start.header, e));
    for (int tries = 0; tries < 100; tries++) {
        rc r = read_frames(s, e);
        struct err ignored;
        rc again = live_header(&s->live, &now, is_ok(r) ? e : &ignored);
        TRY(again);
        bool same = same_salts(now.salt, s->start.header.salt);
        if (same && is_ok(r)) {
            s->pos = s->start.header;
            s->start.low = source_cut(s).low;
            s->start.old_log_ends = old_log_ends(s);
            return start_change_counter(s, e);
        }
        if (same) return r;
        /* In Z a writer reset the log under us, as it may: begin with the new one. */
        s->start.header = now;
    }
    return err_set(e, RC_BUSY, "%s: the log is reset faster than it can be read", s->live.path);
}

rc source_retake_start(struct source *s, struct err *e) {
    TRY(live_end(&s->live, s->hold.current, e));
    TRY(live_begin(&s->live, 0, e));
    s->hold.state = HOLD_NONE;
    s->start.sum_known = false;
    return source_take_start(s, e);
}

static uint32_t attempted(const struct source *s) {
    return walindex_backfill_attempted(s->live.regions[0]);
}

rc source_sum_start(struct source *s, struct err *e) {
    struct start_log *l = &s->start;
    if (l->sum_known || s->moved) return ok();
    struct cut cut = {.at = l->header, .low = l->low};
    TRY(source_sum_at(s, &cut, &l->sum, e));
    l->sum_known = true;
    return ok();
}

/* Of the database as it was when the log began; 0: something has been copied into it since. */
static rc sum_below_log(struct source *s, uint64_t *out, struct err *e) {
    struct start_log *l = &s->start;
    struct cut cut = {.at = l->header};
    cut.at.frame_count = 0;
    if (!l->below_known && !s->moved && l->header.frame_count && !attempted(s)) {
        TRY(live_file_pages(&s->live, &cut.at.page_count, e));
        TRY(source_sum_at(s, &cut, &l->below, e));
        l->below_known = !attempted(s);
    }
    *out = l->below_known ? l->below : 0;
    return ok();
}

/* ---- facts ---- */

static uint32_t end_frame(const struct ltx_header *h) {
    uint64_t frame_size = WAL_FRAME_HEADER_SIZE + h->page_size;
    if (h->wal_offset < WAL_HEADER_SIZE) return 0;
    return (uint32_t)((h->wal_offset + h->wal_size - WAL_HEADER_SIZE) / frame_size);
}

static bool is_of_log(const uint32_t salt[2], const struct start_log *l) {
    return same_salts(salt, l->header.salt) && (salt[0] | salt[1]) != 0;
}

/* The start log holds frame `frame` with this checksum: the whole prefix is the same. */
static bool prefix_matches(const struct start_log *l, uint32_t frame, const uint32_t checksum[2]) {
    if (frame == 0 || frame > l->header.frame_count) return frame == 0;
    bool last = frame == l->header.frame_count; /* in the log it may be blank: of_this_log */
    return memcmp(last ? l->header.checksum : l->frames[frame - 1].checksum, checksum, 8) == 0;
}

uint32_t start_commits_from(const struct start_log *l, uint32_t frame) {
    uint32_t n = 0;
    for (uint32_t i = frame; i < l->header.frame_count; i++) n += l->frames[i].commit;
    return n;
}

static rc mark_from(struct dest *d, uint32_t frame, uint32_t old_pages, struct err *e) {
    const struct start_log *l = &d->source->start;
    for (uint32_t i = frame; i < l->header.frame_count; i++)
        TRY(bitmap_add(&d->pending, l->frames[i].pgno, e));
    if (old_pages < l->header.page_count)
        TRY(bitmap_add_range(&d->pending, old_pages + 1, l->header.page_count, e));
    return ok();
}

/* The run before us, with no loss of power since, wrote the tail or had proven that it continues
 * this very object: whatever the local database holds now came after. -1: not known. Where only the
 * run that wrote it is the same, that one was alive, and our predecessor died before its fence. */
static int known_by_run_file(const struct dest *d) {
    const struct run_record *r = &d->source->run.found;
    uint64_t node = d->tail.header.node_id;
    int i = run_record_find(r, d->store->url);
    if (i < 0 || !node || d->tail.txid < r->dest[i].tail.txid) return -1; /* it lost some */
    const struct run_tail *t = &r->dest[i].tail;
    return node == t->own || (node == t->node && d->tail.txid == t->txid) ? i : -1;
}

/* Where the live log goes on from what the run file says; false: it cannot be told. */
static bool goes_on_from(const struct run_record *r, const struct start_log *l, uint32_t *from) {
    if (is_of_log(r->at.salt, l)) {
        *from = r->at.frame_count;
        return prefix_matches(l, r->at.frame_count, r->at.checksum);
    }
    *from = 0; /* exactly one reset, and every commit since is in the log */
    return l->header.salt[0] == r->at.salt[0] + 1 && l->old_log_ends &&
           l->header.change - r->at.change == start_commits_from(l, 0);
}

static rc class_by_run_file(struct dest *d, bool *told, struct err *e) {
    const struct run_record *r = &d->source->run.found;
    const struct start_log *l = &d->source->start;
    int i = known_by_run_file(d);
    uint32_t from;
    *told = i >= 0 && !r->dest[i].full && goes_on_from(r, l, &from);
    if (!*told) return ok();
    d->class = CLASS_CONTINUES;
    TRY(bitmap_add_all(&d->pending, &r->dest[i].unacked, e));
    return mark_from(d, from, r->at.page_count, e);
}

static bool local_is_older_than_boot(const struct source *s) {
    int64_t boot = system_boot_time_ms();
    return boot && s->start.wal_mtime_ms < boot && s->start.db_mtime_ms < boot;
}

static const struct history *same_prefix_in_history(const struct dest *d) {
    const struct start_log *l = &d->source->start;
    uint32_t n = l->header.frame_count;
    const struct history *best = NULL;
    for (size_t i = 0; i < d->history_count; i++) {
        const struct history *h = &d->history[i];
        if (is_of_log(h->salt, l) && h->frame == n && n > 0 && prefix_matches(l, n, h->checksum) &&
            (!best || h->txid > best->txid))
            best = h;
    }
    return best;
}

static const struct history *sum_in_history(const struct dest *d, uint64_t sum) {
    const struct history *best = NULL;
    for (size_t i = 0; i < d->history_count; i++)
        if (sum && d->history[i].sum == sum && (!best || d->history[i].txid > best->txid))
            best = &d->history[i];
    return best;
}

/* ---- history, read on a worker when a class needs it ---- */

static rc read_history(struct task *t, struct err *e) {
    struct dest *d = HOLDER_OF(t, struct dest, open_task);
    free(d->history);
    d->history_count = 0;
    d->history = calloc(d->files.count + 1, sizeof *d->history);
    if (!d->history) return err_set(e, RC_NOMEM, "no memory");
    for (size_t i = 0; i < d->files.count; i++) {
        struct ltx_header h;
        rc r = replica_read_header(d->store, &d->files.files[i], &h, e);
        if (r.code == RC_NOTFOUND) continue;
        TRY(r);
        struct history *to = &d->history[d->history_count++];
        *to = (struct history){.txid = h.max_txid, .sum = h.chain.sum, .frame = end_frame(&h)};
        memcpy(to->salt, h.salt, sizeof to->salt);
        memcpy(to->checksum, h.chain.frame_checksum, sizeof to->checksum);
    }
    return ok();
}

static void history_was_read(struct task *t) {
    struct dest *d = HOLDER_OF(t, struct dest, open_task);
    d->history_read = is_ok(t->result);
    if (d->history_read) return;
    dest_retry(d, "destination.retry", t->err.text); /* begin anew, after a while */
}

static bool need_history(struct dest *d) {
    if (d->history_read) return false;
    task_start(&d->open_task, read_history, history_was_read);
    return true;
}

/* ---- the table ---- */

static rc class_of_same_log(struct dest *d, bool *told, struct err *e) {
    const struct ltx_header *t = &d->tail.header;
    const struct start_log *l = &d->source->start;
    uint32_t end = end_frame(t);
    *told = t->chain.present && is_of_log(t->salt, l);
    if (!*told) return ok();
    if (end <= l->header.frame_count) {
        d->class = prefix_matches(l, end, t->chain.frame_checksum) ? CLASS_CONTINUES : CLASS_FORK;
        return d->class == CLASS_CONTINUES ? mark_from(d, end, t->commit, e) : ok();
    }
    if (local_is_older_than_boot(d->source)) d->class = CLASS_BEHIND;
    else if (!d->history_read) *told = !need_history(d);
    else d->class = same_prefix_in_history(d) ? CLASS_BEHIND : CLASS_FORK;
    return ok();
}

/* An older file that was copied over this one has the same inode, and often an older change
 * counter. */
static bool is_later_than_run_file(const struct dest *d) {
    return known_by_run_file(d) >= 0 &&
           (int32_t)(d->source->start.change_counter - d->source->run.found.change_counter) >= 0;
}

/* The same counter, and a log that does not go on from the known one: an application that closed
 * and changed rows in place looks like this, and so does an older copy. The old tail is kept. So is
 * one that our predecessor has not written: it may have been told to adopt, and died before a
 * pin. */
static bool may_be_older(const struct dest *d) {
    const struct source *s = d->source;
    if (s->run.found.dest[known_by_run_file(d)].tail.own != d->tail.header.node_id) return true;
    uint32_t resets = s->start.header.salt[0] - s->run.found.at.salt[0];
    return s->start.change_counter == s->run.found.change_counter &&
           (resets == 0 || resets > RESETS_MAX);
}

/* A whole read of the database: after a clean close, which leaves no log; and before an upload of
 * all of it, so that an older file that was copied over a newer one is not taken for a newer. The
 * state below the log tells as much: the application came back and wrote before we did. */
static rc class_by_sum(struct dest *d, struct err *e) {
    uint64_t below = 0;
    bool chain = d->tail.header.chain.present;
    TRY(source_sum_start(d->source, e));
    uint64_t sum = d->source->start.sum_known ? d->source->start.sum : 0;
    TRY(sum_below_log(d->source, &below, e));
    d->class = is_later_than_run_file(d) ? CLASS_AHEAD : CLASS_UNPROVEN;
    bool equal = chain && sum && d->tail.header.chain.sum == sum;
    bool continues = !equal && chain && below && d->tail.header.chain.sum == below;
    if (equal) d->class = CLASS_EQUAL;
    else if (continues) d->class = CLASS_CONTINUES;
    else if (!d->history_read) need_history(d);
    else if (sum_in_history(d, sum)) d->class = CLASS_OLDER;
    else if (sum_in_history(d, below)) d->class = CLASS_FORK;
    return continues ? mark_from(d, 0, d->tail.header.commit, e) : ok();
}

/* Fences before the first shipment: nothing has been acknowledged here, to anybody. */
static bool holds_fences_only(const struct dest *d) {
    const struct ltx_header *t = &d->tail.header;
    return t->chain.present && t->commit == 1 && t->chain.sum == replica_empty_sum(t->page_size);
}

/* The run before us, of this boot, had shipped all of it here. */
static bool was_there(const struct dest *d) {
    const struct run_record *r = &d->source->run.found;
    int i = run_record_find(r, d->store->url);
    return i >= 0 && !r->dest[i].full && r->dest[i].tail.own;
}

static rc find_class(struct dest *d, struct err *e) {
    bool told = true, sized = d->tail.header.page_size == d->source->live.page_size;
    if (d->tail.empty) d->class = was_there(d) ? CLASS_GONE : CLASS_NEW;
    else if (!sized) d->class = CLASS_INCOMPATIBLE;
    else if (holds_fences_only(d)) d->class = CLASS_NEW;
    else TRY(class_of_same_log(d, &told, e));
    if (told || d->open_task.busy) return ok();
    TRY(class_by_run_file(d, &told, e));
    return told ? ok() : class_by_sum(d, e);
}

uint64_t source_known_state(const struct dest *d) {
    const struct history *h = same_prefix_in_history(d);
    if (!h && d->source->start.sum_known) h = sum_in_history(d, d->source->start.sum);
    return h ? h->txid : 0;
}

uint32_t dest_end_in_start(const struct dest *d) {
    const struct start_log *l = &d->source->start;
    if (d->class == CLASS_EQUAL) return l->header.frame_count;
    return is_of_log(d->tail.header.salt, l) ? end_frame(&d->tail.header) : 0;
}

/* As it can be pasted into a shell. */
static const char *shell_word(const char *text, char out[LIMIT_PATH + 2]) {
    const char *quote = strpbrk(text, " &?*;()'$#") ? "\"" : "";
    snprintf(out, LIMIT_PATH + 2, "%s%s%s", quote, text, quote);
    return out;
}

/* Words for a refusal: both sides, and the command that goes on. */
static void refuse(struct dest *d) {
    const struct source *s = d->source;
    char words[2][LIMIT_PATH + 2];
    const char *db = s->live.path, *url = d->store->url;
    const char *the_db = shell_word(db, words[0]), *the_url = shell_word(url, words[1]);
    uint64_t n = d->tail.txid;
    const struct history *past =
        d->class == CLASS_OLDER ? sum_in_history(d, s->start.sum) : same_prefix_in_history(d);
    d->state = DEST_REFUSED;
    switch (d->class) {
    case CLASS_INCOMPATIBLE:
        err_fill(&d->refusal, RC_CONFLICT,
                 "INCOMPATIBLE: %s has pages of %u bytes, the replica %s (TXID %" PRIu64
                 ") of %u: replicate to a new URL",
                 db, s->live.page_size, url, n, d->tail.header.page_size);
        return;
    case CLASS_GONE:
        err_fill(
            &d->refusal, RC_CONFLICT,
            "GONE: the run before shipped %s to %s, and nothing is there now (a disk that is not"
            " mounted?): bring it back, or begin a new replica with 'holdfast replicate"
            " -adopt-local %s %s'",
            db, url, the_db, the_url);
        return;
    case CLASS_BEHIND:
    case CLASS_OLDER:
        err_fill(&d->refusal, RC_BEHIND,
                 "%s: %s is at TXID %" PRIu64
                 " of the replica %s, whose last acknowledged is %" PRIu64
                 ": bring it up with 'holdfast restore -fast-forward %s %s', or keep it as it is"
                 " with 'holdfast replicate -adopt-local %s %s'",
                 d->class == CLASS_BEHIND ? "BEHIND" : "OLDER", db, past ? past->txid : 0, url, n,
                 the_url, the_db, the_db, the_url);
        return;
    case CLASS_CONTINUES:
    case CLASS_EQUAL:
        err_fill(&d->refusal, RC_CONFLICT,
                 "FOREIGN: %s %s TXID %" PRIu64 " of the replica %s, but another wrote it (%s):"
                 " go on with 'holdfast replicate -take-over %s %s'",
                 db, d->class == CLASS_EQUAL ? "equals" : "continues", n, url,
                 d->owner[0] ? d->owner : "no owner note", the_db, the_url);
        return;
    default:
        err_fill(&d->refusal, RC_CONFLICT,
                 "%s: %s %s the replica %s at TXID %" PRIu64 " (%s): keep the local database with"
                 " 'holdfast replicate %s %s %s', or the replica's with 'holdfast replicate"
                 " -adopt-replica %s %s'; if the URL is wrong, give another",
                 d->class == CLASS_FORK ? "FORK" : "UNPROVEN", db,
                 d->class == CLASS_FORK ? "holds other commits than"
                                        : "cannot be proven to continue",
                 url, n,
                 !d->tail.header.chain.present ? "written by another tool"
                 : d->owner[0]                 ? d->owner
                                               : "no owner note",
                 d->tail.header.chain.present ? "-adopt-local" : "-take-over", the_db, the_url,
                 the_db, the_url);
    }
}

/* A copy of the database continues the replica as well as the original does: who may is another
 * question, and a person's to answer. */
static bool is_ours(const struct dest *d) {
    return d->owner_is_us || known_by_run_file(d) >= 0;
}

/* What was said of an older state holds of that state alone: whoever wrote it may have gone on
 * since. And what another took from us we don't take back. */
static bool may_append(const struct dest *d) {
    const struct source_options *o = &d->source->opt;
    bool ours = is_ours(d) || o->take_over;
    bool adopt = o->adopt_local || (ours && d->older_txid && d->tail.txid == d->older_txid);
    switch (d->class) {
    case CLASS_NEW:
    case CLASS_AHEAD: return true;
    case CLASS_CONTINUES: return ours || !d->owner[0] || adopt;
    case CLASS_EQUAL: return ours || adopt;
    case CLASS_UNPROVEN: return adopt || (o->take_over && !d->tail.header.chain.present);
    case CLASS_INCOMPATIBLE: return false;
    default: return adopt;
    }
}

/* The sum goes on from the replica's last file, if every old version since is still readable. */
static rc continue_sum(struct dest *d, struct err *e) {
    struct source *s = d->source;
    const struct ltx_header *t = &d->tail.header;
    uint32_t end = end_frame(t);
    if (s->summed_below || s->hold.state != HOLD_M || !t->chain.sum || s->moved) return ok();
    if (!same_salts(t->salt, s->pos.salt) || end > s->start.header.frame_count) return ok();
    if (attempted(s) > end) return ok();
    TRY(source_capture(s, e));
    TRY(source_fold(s, e));
    struct source_stats stats = s->stats;
    s->sum = t->chain.sum;
    s->summed_below = UINT32_MAX;
    s->pos.frame_count = end;
    s->pos.page_count = t->commit;
    if (hold_gap) hold_gap("sum taken up");
    TRY(source_capture(s, e));
    s->stats = stats;
    /* Our mark is beyond `end`: somebody may have copied over an old version while we read it. */
    if (attempted(s) > end) s->sum = s->summed_below = 0;
    return ok();
}

rc dest_classify(struct dest *d, struct err *e) {
    struct source *s = d->source;
    if (!d->tail.empty && d->tail.header.node_id == s->nonce) { /* put, but its reply was lost */
        struct replica_file f = {.max_txid = d->tail.txid, .time_ms = d->tail.header.timestamp_ms};
        dest_fence_stands(d, &f);
        return ok();
    }
    TRY(find_class(d, e));
    if (d->open_task.busy) return ok(); /* history is being read; again when it is there */
    d->pin_tail = d->class == CLASS_AHEAD && may_be_older(d);
    if (!may_append(d)) {
        refuse(d);
        return ok();
    }
    d->full = d->class != CLASS_CONTINUES && d->class != CLASS_EQUAL;
    if (d->class == CLASS_EQUAL && !s->summed_below && !s->moved) {
        TRY(source_capture(s, e));
        if (walindex_header_same(&s->pos, &s->start.header)) {
            s->sum = s->start.sum;
            s->summed_below = UINT32_MAX;
        }
    }
    if (d->class == CLASS_CONTINUES) TRY(continue_sum(d, e));
    d->state = DEST_CLASSED;
    return ok();
}
