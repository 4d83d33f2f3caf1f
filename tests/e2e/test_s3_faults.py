"""An S3 that fails in every way that is known: nothing acknowledged is lost, nothing wrong is
restored, and whoever waits is told."""
import random
import re
import threading

import pytest

import fake_s3
import web
from box import add_rows, assert_same, until
from fake_s3 import done_but_said, error, refuse, stored_as, unconditional
from web import altered, cut_after, hang_up, late, lost_reply

LEVEL0 = r"^app/0000/"
SLOW_LEVELS = ["-levels", "1h,1h,1h"]


@pytest.fixture
def running(s3box):
    """A replicator at work, whose levels and snapshots stay out of the way; the application's
    connection."""
    s3box.connection = s3box.new_app(10)
    s3box.r = s3box.replicate(*SLOW_LEVELS)
    s3box.r.wait("compact", level=9)
    return s3box


def all_arrived(box):
    """The replicator ends with everything shipped, and the replica is the database."""
    box.r.stop()
    assert_same(box.db, box.restore())
    box.holdfast("verify", box.replica)


def big_transaction(app, megabytes):
    app.execute("BEGIN")
    app.executemany("INSERT INTO t(v) VALUES (?)", ((random.randbytes(100000),) for _ in range(10 * megabytes)))
    app.execute("COMMIT")


# ---- PUT ----

PUT = {
    "the reply is lost": lost_reply,
    "nothing arrives": hang_up,
    "500": refuse(500, "InternalError"),
    "500, and it is done": done_but_said(500, "InternalError"),
    "503": refuse(503, "SlowDown"),
    "503, and it is done": done_but_said(503, "ServiceUnavailable"),
    "429": refuse(429, "TooManyRequests"),
    "408": refuse(408, "RequestCanceled"),
    "400 RequestTimeout": refuse(400, "RequestTimeout"),
    "error in a 200": refuse(200, "InternalError"),
    "409": refuse(409, "ConditionalRequestConflict"),
    "409, and it is done": done_but_said(409, "ConditionalRequestConflict"),
    "502 of a proxy": lambda request, apply: web.Reply(502, b"<html>Bad <b>Gateway</html>", {"Content-Type": "text/html"}),
    "reply cut": lambda request, apply: apply() and web.Reply(200, b"x" * 10, {"Content-Length": "20"}, close=True),
}


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("fault", PUT)
def test_put(running, fault, times):
    f = running.s3.fault(PUT[fault], kind="put", key=LEVEL0, times=times)
    running.commit()
    assert len(f.hits) == times and len({h.digest for h in f.hits}) == 1
    add_rows(running.connection, 1)
    all_arrived(running)


@pytest.mark.parametrize("fault", PUT)
def test_fence(s3box, fault):
    """The same at the first object of all."""
    app = s3box.new_app(10)
    f = s3box.s3.fault(PUT[fault], kind="put", key=LEVEL0, times=2)
    s3box.r = s3box.replicate(*SLOW_LEVELS)
    assert len(f.hits) >= 1
    add_rows(app, 1)
    all_arrived(s3box)


def test_put_that_arrives_after_it_was_repeated(running):
    """The first one is applied when its repetition has succeeded, and once more an object later."""
    stray = []
    running.s3.fault(late(stray), kind="put", key=LEVEL0, times=1)
    running.commit()
    before = dict(running.s3.objects)
    assert stray[0]().status == 412
    running.commit()
    assert stray[0]().status == 412 and before.items() <= running.s3.objects.items()
    all_arrived(running)


def test_every_third_request_fails(running):
    """Of any kind, under steady writes, with levels and retention at work."""
    running.r.stop()
    chance = random.Random(1)
    kinds = [*PUT.values()][:9]

    def now_and_then(request, apply):
        return chance.choice(kinds)(request, apply) if chance.random() < 0.33 else apply()

    f = running.s3.fault(now_and_then)
    running.r = running.replicate()
    for _ in range(30):
        running.commit()
    assert len(f.hits) > 60
    running.s3.mend()
    all_arrived(running)


def test_retry_after_is_honoured(running):
    f = running.s3.fault(refuse(503, "SlowDown", {"Retry-After": "1"}), kind="put", key=LEVEL0, times=1)
    running.commit()
    again = running.s3.asked("put", LEVEL0)[-1]
    assert again.digest == f.hits[0].digest and 1 <= again.at - f.hits[0].at < 3
    all_arrived(running)


def test_backoff_grows_and_differs(running):
    """A store that says SlowDown is asked less and less."""
    f = running.s3.fault(refuse(503, "SlowDown"), kind="put", key=LEVEL0, times=6)
    running.commit()
    at = [h.at for h in f.hits] + [running.s3.asked("put", LEVEL0)[-1].at]
    waits = [b - a for a, b in zip(at, at[1:])]
    assert max(waits[3:]) > min(waits[:3]) and len({round(w, 3) for w in waits}) > 3
    all_arrived(running)


def test_outage(running):
    """Nobody listens; meanwhile commits collect, and go up as one object."""
    r = running.r
    with running.s3.outage():
        mark = r.mark()
        add_rows(running.connection, 50)
        r.wait("ship.retry")
    r.wait("ship", since=mark)
    all_arrived(running)
    assert len(r.events("ship", since=mark)) <= 3


def test_stop_in_an_outage(running):
    """It says what is not shipped, in its time, and the next start ships it."""
    running.r.stop()
    running.r = running.replicate(*SLOW_LEVELS, "-drain", "10ms")
    with running.s3.outage():
        add_rows(running.connection, 3)
        running.r.wait("ship.retry")
        running.r.stop(7)
    running.r = running.replicate(*SLOW_LEVELS)
    all_arrived(running)


def test_start_in_an_outage(s3box):
    app = s3box.new_app(10)
    with s3box.s3.outage():
        s3box.r = s3box.start(*SLOW_LEVELS)
        s3box.r.wait("destination.retry")
        add_rows(app, 3)
    s3box.r.wait("destination.ready")
    all_arrived(s3box)


def test_another_writer(running):
    """An object of somebody else's in our next slot: fenced, and it stays."""
    objects = running.s3.objects
    last = max(k for k in objects if re.match(LEVEL0, k))
    n = int(last[-20:-4], 16) + 1
    name = f"0000/{n:016x}-{n:016x}.ltx"
    other = running.path / "other.db"
    running.sql("PRAGMA journal_mode=WAL", "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)", db=other)
    there = running.path / "there"
    there.mkdir()
    r = running.replicate(*SLOW_LEVELS, db=other, to=running.url(prefix="other"), runtime=there)
    while f"other/{name}" not in objects:
        so_far = r.mark()
        running.sql("INSERT INTO t(v) VALUES (1)", db=other)
        r.wait("ship", since=so_far)
    r.stop()
    theirs = objects[f"app/{name}"] = objects[f"other/{name}"]
    add_rows(running.connection, 1)
    assert "another writer" in running.r.end(5)
    assert objects[f"app/{name}"] is theirs


# ---- conditional writes ----


@pytest.mark.parametrize("act", [unconditional, refuse(501, "NotImplemented")], ids=["ignored", "501"])
def test_store_without_conditional_writes(s3box, act):
    app = s3box.new_app(10)
    s3box.s3.fault(act, kind="put complete")
    said = s3box.start(*SLOW_LEVELS).end(10)
    assert "condition" in said.lower() and "-unfenced" in said
    assert not any(k.startswith("app/0") for k in s3box.s3.objects)


def test_store_without_conditional_writes_that_is_accepted(s3box):
    app = s3box.new_app(10)
    s3box.s3.fault(unconditional, kind="put complete")
    s3box.r = s3box.replicate("-unfenced", *SLOW_LEVELS)
    add_rows(app, 3)
    all_arrived(s3box)


def test_nothing_else_is_left(running):
    all_arrived(running)
    left = [k for k in running.s3.objects if not re.match(r"app/(000[0-9]/|holdfast/(owner|verified)\.json$)", k)]
    assert set(left) <= {"app/holdfast/probe"}  # which makes the next start cheaper


# ---- GET ----


def only_once(box, act, **where):
    return box.s3.fault(act, times=1, **where)


def share(n, of):
    return cut_after(lambda body: len(body) * n // of)


@pytest.fixture
def replica(s3box):
    """A replica of some objects and a snapshot, at rest; s3box.image is the database."""
    s3box.one()
    s3box.image = s3box.db.read_bytes()
    return s3box


def flip(body):
    at = len(body) // 2
    return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :] if body else body


PASSING = {
    **{f"cut at {n}/8": share(n, 8) for n in range(8)},
    "nothing arrives": hang_up,
    "500": refuse(500, "InternalError"),
    "503": refuse(503, "SlowDown"),
    "429": refuse(429, "TooManyRequests"),
    "408": refuse(408, "RequestCanceled"),
    "404 of what is there": refuse(404, "NoSuchKey"),
}


@pytest.mark.parametrize("fault", PASSING)
def test_get_passing(replica, fault):
    """Once for each object."""
    seen = set()

    def once(request, apply):
        first = request.key not in seen
        seen.add(request.key)
        return PASSING[fault](request, apply) if first else apply()

    replica.s3.fault(once, kind="get", key="^app/000")
    assert_same(replica.db, replica.restore())
    assert len(seen) >= 3


def test_long_get_goes_on_where_it_broke(s3box):
    """By range, and only of the same object."""
    app = s3box.new_app(1)
    big_transaction(app, 3)
    s3box.r = s3box.replicate(*SLOW_LEVELS)
    s3box.r.wait("ship")
    s3box.r.stop()
    broken = []

    def break_long_ones(request, apply):
        reply = apply()
        if len(reply.body) > 1 << 20 and len(broken) < 2:
            reply.cut = 1 << 20
            broken.append(request)
        return reply

    s3box.s3.fault(break_long_ones, kind="get")
    assert_same(s3box.db, s3box.restore("-parallel", 1))
    for cut in broken:
        first, last = re.fullmatch(r"bytes=(\d+)-(\d+)", cut.headers["range"]).groups()
        again = next(r for r in s3box.s3.asked("get") if r.key == cut.key and r.number > cut.number)
        at, end = re.fullmatch(r"bytes=(\d+)-(\d+)", again.headers["range"]).groups()
        assert int(first) < int(at) <= int(first) + (1 << 20) and end == last and "if-match" in again.headers
    assert len(broken) == 2


def test_get_of_a_flipped_bit(replica):
    replica.s3.fault(altered(flip), kind="get", key=LEVEL0)
    said = replica.restore(code=4).err
    assert "0000/" in said


def test_get_of_another_objects_body(replica):
    keys = sorted(k for k in replica.s3.objects if re.match(LEVEL0, k))
    replica.s3.objects[keys[-2]] = replica.s3.objects[keys[-1]]
    said = replica.restore(code=4).err
    assert keys[-2][len("app/") :] in said


def test_object_that_was_stored_cut(running):
    f = running.s3.fault(stored_as(lambda b: b[: len(b) // 2]), kind="put", key=LEVEL0, times=1)
    running.commit()
    running.r.stop()
    for args in (["verify", running.replica], ["restore", running.replica, running.path / "out.db"]):
        said = running.holdfast(*args, code=4).err
        assert f.hits[0].key[len("app/") :] in said
    assert not (running.path / "out.db").exists()


def test_404_for_good(replica):
    """A key that the list has and nobody can read."""
    last = max(k for k in replica.s3.objects if re.match(LEVEL0, k))
    replica.s3.fault(refuse(404, "NoSuchKey"), kind="get head", key=last)
    done = replica.restore(code=None)
    assert done.code in (1, 3, 4) and last[len("app/") :] in done.err
    assert not list(replica.path.glob("restored-*"))


# ---- LIST ----


def listed(entries=lambda e: e, **how):
    """A list whose entries are changed by a function, with the true ones given."""

    def act(request, apply):
        objects = request.server.buckets[request.bucket]
        true = [(k, objects[k]) for k in sorted(objects) if k.startswith(request.key)]
        return fake_s3.document(fake_s3.listing(request, entries(true), **how))

    return act


def text(body, status=200):
    return lambda request, apply: web.Reply(status, body, {"Content-Type": "application/xml"})


HARMLESS_LISTS = {
    "unsorted": listed(lambda e: e[::-1]),
    "twice": listed(lambda e: [x for x in e for _ in range(2)]),
    "strangers": listed(
        lambda e: e
        + [(k, fake_s3.Object(b"x", {}, '"x"', 0)) for k in ("app/0000/", "app/0000/x", "app/0000/README.txt")]
    ),
    "climbing": listed(lambda e: e + [("app/0000/../../x", fake_s3.Object(b"x", {}, '"x"', 0))]),
    "too much": listed(lambda e: e + [("zzz/0000/x", fake_s3.Object(b"x", {}, '"x"', 0))]),
}


@pytest.mark.parametrize("fault", HARMLESS_LISTS)
def test_list_that_is_odd(replica, fault):
    replica.s3.fault(HARMLESS_LISTS[fault], kind="list")
    assert_same(replica.db, replica.restore())


def test_list_of_one_key_a_page(replica):
    replica.s3.page = 1
    assert_same(replica.db, replica.restore())
    assert [r for r in replica.s3.asked("list") if r.arg("continuation-token")]
    r = replica.replicate(*SLOW_LEVELS)
    assert r.ready["class"] == "equal"
    r.stop()


def test_error_on_page_2(replica):
    replica.s3.page = 2

    def second(request, apply):
        return error(500, "InternalError") if request.arg("continuation-token") and once.pop() else apply()

    once = [False] * 20 + [True]
    replica.s3.fault(second, kind="list")
    assert_same(replica.db, replica.restore())
    assert len(once) < 21


BAD_LISTS = {
    "token repeated": listed(after="again"),
    "more without a token": listed(truncated=True),
    "cut": altered(lambda b: b[: len(b) * 2 // 3]),
    "empty": text(b""),
    "HTML": text(b"<!DOCTYPE html><html><body>Welcome to the hotel's network</body></html>"),
    "not XML": text(b"no such thing"),
    "another document": text(b"<?xml version='1.0'?><Other><IsTruncated>false</IsTruncated></Other>"),
    "document type": altered(lambda b: b.replace(b"?>\n", b"?>\n<!DOCTYPE ListBucketResult [<!ENTITY a 'a'>]>", 1)),
    "entity bomb": altered(
        lambda b: b.replace(
            b"?>\n",
            b"?>\n<!DOCTYPE x [<!ENTITY a0 'aaaaaaaaaa'>"
            + b"".join(b"<!ENTITY a%d '%s'>" % (i, b"&a%d;" % (i - 1) * 10) for i in range(1, 10))
            + b"]>",
            1,
        ).replace(b"<Name>", b"<Name>&a9;", 1)
    ),
    "external entity": altered(
        lambda b: b.replace(b"?>\n", b"?>\n<!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/passwd'>]>", 1)
    ),
    "deep": altered(lambda b: b.replace(b"<Name>", b"<a>" * 100000 + b"</a>" * 100000 + b"<Name>", 1)),
    "long key": altered(lambda b: b.replace(b"</ListBucketResult>", b"<Contents><Key>" + b"k" * 3000000 + b"</Key></Contents></ListBucketResult>")),
    "long name": text(b"<" + b"N" * 5000 + b"/>"),
    "bad UTF-8": altered(lambda b: b.replace(b"<Name>", b"<Name>\xc3\x28\xff", 1)),
    "NUL": altered(lambda b: b.replace(b"<Name>", b"<Name>\0", 1)),
    "bad size": altered(lambda b: re.sub(rb"<Size>\d+", b"<Size>-5", b)),
    "size beyond all": altered(lambda b: re.sub(rb"<Size>\d+", b"<Size>99999999999999999999999", b)),
    "bad time": altered(lambda b: re.sub(rb"<LastModified>[^<]*", b"<LastModified>yesterday", b)),
    "no IsTruncated": altered(lambda b: re.sub(rb"<IsTruncated>.*</IsTruncated>", b"", b)),
    "an error in a 200": text(b"<?xml version='1.0'?><Error><Code>InternalError</Code><Message>x</Message></Error>"),
}


@pytest.mark.parametrize("fault", BAD_LISTS)
def test_list_that_is_bad(replica, fault):
    """An error that says so, never an older state or an empty replica."""
    replica.s3.fault(BAD_LISTS[fault], kind="list")
    done = replica.restore(code=None)
    assert done.code in (1, 4), done.err
    assert not list(replica.path.glob("restored-*"))


@pytest.mark.parametrize("nth", [0, 1])
@pytest.mark.parametrize("fault", ["HTML", "cut", "deep", "an error in a 200"])
def test_list_that_is_bad_at_the_first_start(s3box, fault, nth):
    """It says nothing about the replica; the next one is good."""
    app = s3box.new_app(10)
    f = s3box.s3.fault(BAD_LISTS[fault], kind="list", skip=nth, times=1)
    s3box.r = s3box.start(*SLOW_LEVELS)
    s3box.r.wait("destination.retry")
    s3box.r.wait("destination.ready")
    assert f.hits
    add_rows(app, 1)
    all_arrived(s3box)


def test_huge_list(replica):
    """100 MB of it: refused early, in little memory."""
    entry = b"<Contents><Key>app/0000/x%0100d</Key><Size>1</Size><LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
    body = b"<?xml version='1.0'?><ListBucketResult>" + (entry % 1) * 500000 + b"</ListBucketResult>"
    replica.s3.fault(text(body), kind="list")
    done = replica.holdfast("list", replica.replica, code=None)
    assert done.code in (1, 4) and "more than" in done.err, done.err


def hide_newest(count):
    return listed(lambda e: e[: max(0, len(e) - count)])


def test_stale_list_at_restore(replica):
    """The list hides the newest objects; they are there, and are restored."""
    replica.s3.fault(hide_newest(2), kind="list")
    assert_same(replica.db, replica.restore())


def test_stale_list_at_start(replica):
    """The newest of our own objects hidden: the fence does not replace them, and nothing is lost."""
    before = dict(replica.s3.objects)
    f = replica.s3.fault(hide_newest(1), kind="list", times=1)
    replica.r = replica.start(*SLOW_LEVELS)
    replica.r.wait("destination.ready")
    assert f.hits
    assert all(replica.s3.objects[k] is o for k, o in before.items() if re.match(LEVEL0, k))
    replica.sql("INSERT INTO t(v) VALUES ('after')")
    all_arrived(replica)


def test_stale_list_shows_what_was_deleted(s3box):
    """Level-0 objects that were compacted and deleted meanwhile."""
    app = s3box.new_app(10)
    s3box.r = s3box.replicate()
    ghosts = {}

    def remember(request, apply):
        ghosts[request.key] = s3box.s3.objects.get(request.key)
        return apply()

    s3box.s3.fault(remember, kind="delete", key=LEVEL0)
    while not ghosts:
        s3box.commit(app)
    s3box.r.stop()
    with_ghosts = listed(lambda e: sorted({**dict(e), **{k: o for k, o in ghosts.items() if o}}.items()))
    s3box.s3.fault(with_ghosts, kind="list")
    assert_same(s3box.db, s3box.restore())
    app.close()
    s3box.replicate().stop()


# ---- verify -source ----


def test_compared_while_retention_is_faster(s3box):
    """Six times the state that is to be compared is gone when it is asked for; a newer one is, in its place."""
    s3box.new_app(10).close()
    r = s3box.replicate("-levels", "10ms,20ms,40ms", "-snapshot", "30ms", "-keep-level0", "1ms", "-keep-snapshots", "1ms")
    lists = []

    def overtake(request, apply):
        """The first list is for verify itself; then each look at the replica is one, and each restore."""
        lists.append(request)
        if len(lists) in range(3, 15, 2):
            newest = max(key.rpartition("-")[2] for key in s3box.s3.objects if key.endswith(".ltx"))
            while any(key.endswith(newest) for key in s3box.s3.objects):
                so_far = r.mark()
                s3box.sql("INSERT INTO t(v) VALUES ('more')")
                r.wait("ship", since=so_far)
        return apply()

    s3box.s3.fault(overtake, kind="list")
    s3box.holdfast("verify", "-source", s3box.db, s3box.replica)
    assert len(lists) == 15


# ---- multipart ----


@pytest.fixture
def snapshots(s3box):
    """A database of 10 MB that does not compress; its snapshots are of two parts."""
    s3box.connection = s3box.new_app(1)
    big_transaction(s3box.connection, 10)
    return s3box


def with_snapshot(box):
    box.r = box.replicate("-snapshot", "300ms")
    box.r.wait("compact", level=9, patience=30)
    add_rows(box.connection, 3)
    box.r.stop()
    assert_same(box.db, box.restore())


def test_snapshot_is_multipart(snapshots):
    with_snapshot(snapshots)
    s3 = snapshots.s3
    created = s3.asked("create", "app/0009/")
    assert created and s3.uploads == {}
    parts = s3.asked("part", "app/0009/")
    assert len(parts) >= 2 * len(created) and all(len(p.body) <= 8 << 20 for p in parts)


MULTIPART = {
    "create refused": ("create", refuse(503, "SlowDown")),
    "part lost": ("part", hang_up),
    "part's reply lost": ("part", lost_reply),
    "part refused": ("part", refuse(500, "InternalError")),
    "completed, reply lost": ("complete", lost_reply),
    "complete refused": ("complete", refuse(500, "InternalError")),
    "error in a 200": ("complete", refuse(200, "InternalError")),
    "completed, error in a 200": ("complete", done_but_said(200, "InternalError")),
    "blanks, then an error": (
        "complete",
        lambda request, apply: web.Reply(200, b" \n" * 50 + error(200, "SlowDown").body.replace(fake_s3.XML.encode(), b"")),
    ),
    "empty 200": ("complete", lambda request, apply: web.Reply(200)),
    "409": ("complete", refuse(409, "ConditionalRequestConflict")),
    "upload gone": ("complete", refuse(404, "NoSuchUpload")),
}


@pytest.mark.parametrize("fault", MULTIPART)
def test_multipart(snapshots, fault):
    kind, act = MULTIPART[fault]
    f = snapshots.s3.fault(act, kind=kind, key="app/0009/", times=1)
    with_snapshot(snapshots)
    assert f.hits


def test_multipart_that_never_succeeds_is_cleaned_up(snapshots):
    snapshots.s3.fault(refuse(400, "InvalidRequest"), kind="complete")
    snapshots.r = snapshots.replicate("-snapshot", "300ms")
    snapshots.r.wait("compact.retry", level=9, patience=60)
    snapshots.r.stop()
    assert snapshots.s3.uploads == {} and not snapshots.s3.asked("put", "app/0009/")
    assert_same(snapshots.db, snapshots.restore())


# ---- deletes ----


def test_delete_that_fails(s3box):
    """Retention says so and goes on; the replica is whole."""
    app = s3box.new_app(10)
    s3box.s3.fault(refuse(403, "AccessDenied"), kind="delete")
    s3box.r = s3box.replicate()
    for _ in range(5):
        s3box.commit(app)
    said = s3box.r.wait("retention.retry")["err"]
    assert "AccessDenied" in said and "DELETE bucket/app/0000/" in said
    all_arrived(s3box)


# ---- what it costs ----


def test_no_request_while_idle(s3box):
    app = s3box.new_app(10)
    r = s3box.replicate("-levels", "100ms,200ms,300ms", "-keep-level0", "100ms")
    add_rows(app, 1)
    r.wait("compact", level=3)

    def quiet(seconds):
        so_far = s3box.s3.mark()
        threading.Event().wait(seconds)
        return s3box.s3.mark() == so_far

    until(lambda: quiet(0.2), "quiet")
    assert quiet(1.5)


def test_no_list_after_start(s3box):
    """With every level, snapshots and retention at work."""
    app = s3box.new_app(10)
    s3box.r = s3box.replicate("-snapshot", "500ms", "-keep-snapshots", "600ms")
    ready = s3box.s3.mark()
    while not (s3box.r.events("compact", level=9) and s3box.r.events("retention")):
        s3box.commit(app)
    assert s3box.s3.asked("list", since=ready) == []
    all_arrived(s3box)


def test_connections_are_used_again(running):
    before = running.s3.connections
    for _ in range(30):
        running.commit()
    assert running.s3.connections - before <= 1
    all_arrived(running)


def test_connection_that_the_server_closed_while_idle(running):
    """It is found out late; what is sent then is not lost, nor a fault worth a word."""
    for _ in range(5):
        running.s3.hang_up()
        running.commit()
    all_arrived(running)


@pytest.mark.parametrize("megabytes", [0, 12])
def test_level_0_is_one_conditional_put(running, megabytes):
    """Never multipart, however large the transaction."""
    mark, so_far = running.s3.mark(), running.r.mark()
    if megabytes:
        big_transaction(running.connection, megabytes)
    else:
        add_rows(running.connection, 1)
    running.r.wait("ship", since=so_far, patience=30)
    puts = running.s3.asked("put", since=mark)
    assert len(puts) == 1 and puts[0].headers["if-none-match"] == "*"
    assert len(puts[0].body) >= megabytes * 900000
    assert running.s3.asked("create", LEVEL0) == []
    all_arrived(running)


# ---- time ----


def test_server_that_never_answers(s3box):
    """The commit waits; when the server answers again it arrives."""
    s3box.replica = s3box.url(timeout=1)
    app = s3box.new_app(10)
    s3box.r = s3box.replicate(*SLOW_LEVELS)
    s3box.r.wait("ship")
    over = threading.Event()
    f = s3box.s3.fault(web.silent(over), kind="put", key=LEVEL0, times=1)
    try:
        s3box.commit(app)
    finally:
        over.set()
    assert len(f.hits) == 1
    all_arrived(s3box)


SILENT = {
    "no reply": lambda over: web.silent(over),
    "a byte a second": lambda over: web.slowly(1),
}


@pytest.mark.parametrize("kind,how", [("get", "a byte a second"), ("list", "no reply")])
def test_silence_at_a_restore(replica, kind, how):
    """It ends, and says that it waited in vain."""
    over = threading.Event()
    replica.s3.fault(SILENT[how](over), kind=kind)
    out = replica.path / "out.db"
    try:
        replica.holdfast("restore", "-if-replica-exists", replica.url(timeout=1), out, code=8, patience=20)
    finally:
        over.set()
    assert not out.exists()
