"""What S3 servers do that is easily overlooked, and what must come of it."""
import contextlib
import re
import sqlite3
import threading

import pytest

from box import add_rows, assert_same
from fake_s3 import ACCESS_KEY, SECRET_KEY, done_but_said, unconditional
from web import Reply, silent


@pytest.mark.parametrize("prefix", ["my%20app", "a%2Bb", "100%25", "%C3%A4", "a%27b%28c%29*"])
def test_a_prefix_that_is_escaped(s3box, prefix):
    """Amazon lists a blank as a plus."""
    s3box.replica = s3box.url(prefix=prefix)
    s3box.one()
    assert_same(s3box.db, s3box.restore())


def test_an_etag_of_one_quote(s3box):
    """The read breaks, and the rest is asked for with If-Match."""
    s3box.one()

    def strange(request, apply):
        reply = apply()
        reply.headers["ETag"] = '"'
        reply.cut = 10
        return reply

    s3box.s3.fault(strange, kind="get", times=1)
    done = s3box.restore(code=None)
    assert done.code == 4, done.err


@pytest.mark.parametrize("whole", [True, False])
def test_a_read_that_goes_on_somewhere_else(s3box, whole):
    """The first reply breaks, and the second is of other bytes: cut as well, it would leave them where
    others belong. Of a header no checksum is read along."""
    s3box.one()

    def act(request, apply):
        again = "if-match" in request.headers
        if again:
            request.headers["range"] = "" if whole else "bytes=0-99"
        reply = apply()
        reply.cut = 20 if again else 40
        return reply

    s3box.s3.fault(act, kind="get")
    done = s3box.restore(code=None)
    assert done.code == 1 and "another range" in done.err


@pytest.mark.parametrize("answer", ["all of it", "as much from the beginning", "as much, and says so"])
def test_a_server_that_does_not_know_ranges(s3box, answer):
    """The first read that begins behind the beginning. Nothing is damaged by it: exit 1, not 4."""
    s3box.one()

    def act(request, apply):
        first, last = map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers["range"]).groups())
        if first == 0:
            return apply()
        request.headers["range"] = "" if answer == "all of it" else f"bytes=0-{last - first}"
        reply = apply()
        if answer == "as much from the beginning":
            reply.status = 200
            del reply.headers["Content-Range"]
        return reply

    s3box.s3.fault(act, kind="get")
    done = s3box.restore(code=None)
    assert done.code == 1 and ("another range" in done.err or "more than it was asked for" in done.err), done.err


def test_what_another_has_deleted_is_deleted(s3box):
    """Amazon says 204 to that, others 404. Were it an error, what comes behind it would stay for ever."""
    app = s3box.new_app(10)
    s3box.s3.fault(done_but_said(404, "NoSuchKey"), kind="delete")
    s3box.r = s3box.replicate()
    for _ in range(5):
        s3box.commit(app)
    s3box.r.wait("retention")
    s3box.r.stop()
    assert not s3box.r.events("retention.retry")
    assert_same(s3box.db, s3box.restore())


def test_buckets_that_hang_do_not_keep_others_waiting(s3box):
    app, event, folder = s3box.new_app(), threading.Event(), s3box.path / "folder"
    s3box.stack.callback(event.set)
    hung = [s3box.url(prefix=name, timeout=20) for name in "abcd"]
    r = s3box.start(to=[*hung, folder])
    r.wait("destination.ready", count=5)
    s3box.s3.fault(silent(event), kind="put")
    for _ in range(2):
        so_far = r.mark()
        add_rows(app, 1)
        r.wait("ship", since=so_far, to=f"file://{folder}")
    s3box.s3.mend()
    event.set()
    r.kill()


@pytest.mark.parametrize("what", ["the clock", "the keys"])
def test_what_a_head_does_not_say(s3box, what):
    """Its refusals have no body, and without conditions each PUT begins with one."""
    file = s3box.path / "keys"
    keys = "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n"
    file.write_text(keys.format(ACCESS_KEY, SECRET_KEY))
    s3box.without_keys(AWS_SHARED_CREDENTIALS_FILE=file)
    s3box.s3.fault(unconditional, kind="put")
    app = s3box.new_app()
    r = s3box.replicate("-unfenced")
    s3box.commit(app, r)
    if what == "the clock":
        s3box.s3.skew = 7200
    else:
        file.write_text(keys.format("AKIANEW", "canary/new/secret"))
        s3box.secrets.add("canary/new/secret")
        s3box.s3.keys = {"AKIANEW": ("canary/new/secret", "")}
    s3box.commit(app, r)
    r.stop()
    assert_same(s3box.db, s3box.restore())


@pytest.mark.parametrize("proxy", ["htp://user:{}@127.0.0.1:1", "http://user:{} @127.0.0.1:1"])
def test_a_proxys_password_is_not_said(s3box, proxy):
    s3box.secrets.add("canary-of-the-proxy")
    s3box.set(http_proxy=proxy.format("canary-of-the-proxy"))
    said = s3box.holdfast("list", s3box.url(endpoint="http://10.1.2.3:9"), code=1, patience=30)
    assert "http_proxy" in said.err


@pytest.mark.parametrize("page", ["<html><body>Log in</body></html>", "<!DOCTYPE html>", "<Error><Code>InternalError</Code></Error>"])
def test_a_page_in_the_place_of_a_list_ends_nothing(s3box, page):
    """It tells nothing of the replica, which must not be given up for it."""
    s3box.one()
    s3box.s3.fault(lambda request, apply: Reply(200, page.encode()), kind="list", times=1)
    r = s3box.replicate()
    assert r.events("destination.retry")
    r.stop()


def test_how_objects_are_stored_is_said(s3box):
    """In the headers of each that begins, and of none that is read."""
    s3box.replica += "&storage-class=STANDARD_IA&sse-kms-key-id=key-1&require-content-md5=true"
    s3box.one()
    puts = [r for r in s3box.s3.requests if r.method == "PUT"]
    assert puts
    for r in puts:
        assert r.headers["x-amz-storage-class"] == "STANDARD_IA"
        assert r.headers["x-amz-server-side-encryption"] == "aws:kms"
        assert r.headers["x-amz-server-side-encryption-aws-kms-key-id"] == "key-1"
        assert r.headers["content-md5"]
    assert not [r for r in s3box.s3.requests if r.method == "GET" and "x-amz-storage-class" in r.headers]


def test_what_is_committed_while_a_fast_forward_looks_stays(s3box):
    """At any of its requests: it holds no lock while it looks, and what it then finds is not what it had classed."""
    app = s3box.new_app(3)
    r = s3box.replicate()
    s3box.wait_safe()
    older = s3box.restore()
    add_rows(app, 3)
    s3box.wait_safe()
    r.stop()
    app.close()
    committed, codes = [], set()

    def commit(request, apply):
        with contextlib.closing(sqlite3.connect(s3box.db, isolation_level=None, timeout=0)) as db:
            with contextlib.suppress(sqlite3.OperationalError):  # it has the lock by now
                db.execute("INSERT INTO t(v) VALUES ('meanwhile')")
                committed.append(request)
        return apply()

    for n in range(100):
        s3box.put_back(older)
        committed.clear()
        f = s3box.s3.fault(commit, skip=n, times=1)
        done = s3box.holdfast("restore", "-fast-forward", s3box.replica, s3box.db, code=None)
        s3box.s3.mend()
        if not f.hits:
            break
        if committed:
            codes.add(done.code)
            assert s3box.sql("SELECT count(*) FROM t WHERE v = 'meanwhile'") == [(1,)], done.err
    assert 9 in codes and 0 not in codes and done.code == 0
