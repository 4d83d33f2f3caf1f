"""S3 refuses, or is not what it says it is: a clear error, its exit code, nothing lost, no secret told,
nothing sent to a stranger."""
import re
import subprocess

import pytest

import web
from box import COMMAND, add_rows, assert_same
from fake_s3 import ACCESS_KEY, Object, S3, SECRET_KEY, error, refuse
from web import Reply

SLOW_LEVELS = ["-levels", "1h,1h,1h"]
READERS = {
    "restore": lambda url: ["restore", url, "out.db"],
    "restore, if there is any": lambda url: ["restore", "-if-replica-exists", url, "out.db"],
    "list": lambda url: ["list", url],
    "verify": lambda url: ["verify", url],
}


@pytest.fixture
def replica(s3box):
    """A replica at rest."""
    s3box.one()
    return s3box


def readers_say(box, code, words, url=None, names=READERS):
    """Each command that reads ends with this code and says this; nothing is left behind. Above all:
    that a replica cannot be seen is never taken for its absence, after which an application would
    begin with an empty database."""
    before = dict(box.s3.objects)
    for name in names:
        said = box.holdfast(*READERS[name](url or box.replica), code=code, patience=20).err
        assert re.search(words, said, re.I), f"{name}: {said}"
    assert list(box.path.glob("*out.db*")) == [] and box.s3.objects == before


def replicate_says(box, words, *args):
    """'replicate' tries again, says this, and gets there when it is mended; a list of its attempts."""
    so_far = box.s3.mark()
    r = box.start(*SLOW_LEVELS, *args)
    said = r.wait("destination.retry")["err"]
    assert re.search(words, said, re.I), said
    return r, so_far


# ---- keys ----

NO_KEYS = {
    "wrong secret": ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "SignatureDoesNotMatch"),
    "unknown key": ({"AWS_ACCESS_KEY_ID": "AKIANOBODY"}, "InvalidAccessKeyId"),
    "token that is not asked for": ({"AWS_SESSION_TOKEN": "canary-token"}, "InvalidToken"),
    "spaces": ({"AWS_SECRET_ACCESS_KEY": f"{SECRET_KEY} "}, "environment: the secret key .* blank"),
    "line break": ({"AWS_ACCESS_KEY_ID": f"{ACCESS_KEY}\r\nX-Evil: 1"}, "environment: the access key id .* blank"),
}


@pytest.mark.parametrize("kind", NO_KEYS)
def test_wrong_keys(replica, kind):
    settings, words = NO_KEYS[kind]
    replica.secrets |= {"canary-token"}
    replica.set(**settings)
    readers_say(replica, 2 if kind in ("spaces", "line break") else 1, words)
    assert not any("x-evil" in r.headers for r in replica.s3.requests)


def test_wrong_keys_at_replicate(s3box):
    """It does not end: whoever mends the policy need not start it anew. Nothing was changed."""
    s3box.new_app(10)
    del s3box.s3.keys[ACCESS_KEY]
    r, _ = replicate_says(s3box, "InvalidAccessKeyId")
    s3box.s3.keys[ACCESS_KEY] = (SECRET_KEY, "")
    r.wait("destination.ready")
    r.stop()
    assert_same(s3box.db, s3box.restore())


def test_expired_token(replica):
    """Keys of the environment cannot be renewed: said, and how they are called."""
    replica.s3.expired.add(ACCESS_KEY)
    readers_say(replica, 1, "ExpiredToken")


def test_no_keys_anywhere(replica):
    """Every place that was looked at is named."""
    replica.without_keys()
    readers_say(replica, 1, "AWS_ACCESS_KEY_ID.*credentials.*AWS_CONTAINER_CREDENTIALS")


def test_half_a_key(replica):
    replica.set(AWS_SECRET_ACCESS_KEY=None)
    readers_say(replica, 2, "environment: the secret key is missing")


# ---- permissions ----

VERBS = {
    "list": ("list", "GET bucket/app: 403"),
    "get": ("get head", "(GET|HEAD) bucket/app/000.*: 403"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_no_permission_to_read(replica, verb):
    kinds, action = VERBS[verb]
    replica.s3.fault(refuse(403, "AccessDenied"), kind=kinds)
    for name, args in READERS.items():
        if (name, verb) != ("list", "get"):
            said = replica.holdfast(*args(replica.replica), code=1).err
            assert re.search(action, said), f"{name}: {said}"  # the reply to a HEAD has no code
    assert list(replica.path.glob("*out.db*")) == []


@pytest.mark.parametrize("kind,action", [("put", "PUT bucket/app/"), ("list", "GET bucket/app: 403")])
def test_no_permission_at_replicate(s3box, kind, action):
    s3box.new_app(10)
    s3box.s3.fault(refuse(403, "AccessDenied"), kind=kind)
    r = s3box.start(*SLOW_LEVELS)
    said = r.wait("fence.retry" if kind == "put" else "destination.retry")["err"]
    assert "AccessDenied" in said and action in said
    s3box.s3.mend()
    r.wait("destination.ready")
    r.stop()
    assert_same(s3box.db, s3box.restore())


def test_permission_is_taken_away(s3box):
    """In the middle of the work."""
    app = s3box.new_app(10)
    r = s3box.replicate(*SLOW_LEVELS)
    r.wait("ship")
    s3box.s3.fault(refuse(403, "AccessDenied"), kind="put")
    add_rows(app, 1)
    said = r.wait("ship.retry")["err"]
    assert "AccessDenied" in said and "PUT bucket/app/0000/" in said
    s3box.s3.mend()
    r.wait("ship", count=2)
    r.stop()
    assert_same(s3box.db, s3box.restore())


# ---- buckets and prefixes ----


def test_no_such_bucket(replica):
    readers_say(replica, 1, "NoSuchBucket", replica.url(bucket="buckte"))


def test_no_such_bucket_at_replicate(s3box):
    """It may be made yet."""
    s3box.new_app(10)
    bucket = s3box.s3.buckets.pop("bucket")
    r, _ = replicate_says(s3box, "NoSuchBucket")
    s3box.s3.buckets["bucket"] = bucket
    r.wait("destination.ready")
    r.stop()
    assert_same(s3box.db, s3box.restore())


def test_no_backup_under_a_prefix(replica):
    for prefix in ("other", "ap", "app/0000"):
        for name in ("restore", "list", "verify"):
            assert "no backup" in replica.holdfast(*READERS[name](replica.url(prefix=prefix)), code=3).err
        replica.holdfast(*READERS["restore, if there is any"](replica.url(prefix=prefix)))


@pytest.mark.parametrize("prefix", ["a", "a/b/c/d", "app.v1/x=1", "with%20blank", "%C3%BC+%25%26%3F", "a//b"])
def test_prefix(s3box, prefix):
    """Also characters that must be escaped: at its place, and nothing beside it."""
    s3box.s3.objects["neighbour/0000/0000000000000001-0000000000000001.ltx"] = theirs = stranger(b"neighbour")
    s3box.replica = s3box.url(prefix=prefix)
    s3box.one()
    assert_same(s3box.db, s3box.restore())
    assert s3box.s3.objects["neighbour/0000/0000000000000001-0000000000000001.ltx"] is theirs


@pytest.mark.parametrize("root", ["./", "/"])
def test_bucket_without_a_prefix(s3box, root):
    """One that another tool began is read and gone on with, under the keys that it has; none is begun."""
    s3box.one()
    objects = s3box.s3.objects
    for key in list(objects):
        objects[root + key.removeprefix("app/")] = objects.pop(key)
    s3box.replica = s3box.url(prefix="").replace("bucket/?", "bucket?" if root == "./" else "bucket/?")
    assert_same(s3box.db, s3box.restore())
    r = s3box.replicate()
    r.stop()
    assert all(key.startswith(root) for key in objects)


def stranger(body):
    return Object(body, {}, '"x"', 1.0)


def test_other_tools_objects_under_the_prefix(s3box):
    """They are left alone, and stand in nobody's way."""
    names = ["app/README.txt", "app/0000/notes.txt", "app/0000/", "app/", "app/generations.txt",
             "app/0000/0000000000000001-0000000000000001.ltx.tmp", "app/0000/sub/0000000000000001-0000000000000001.ltx",
             "app/00000000/x", "app2/0000/0000000000000009-0000000000000009.ltx"]
    theirs = {n: stranger(b"not ours") for n in names}
    s3box.s3.objects.update(theirs)
    app = s3box.new_app(10)
    s3box.r = s3box.replicate()
    for _ in range(5):
        s3box.commit(app)
    s3box.r.wait("compact")
    s3box.r.stop()
    assert_same(s3box.db, s3box.restore())
    s3box.holdfast("verify", s3box.replica)
    assert theirs.items() <= s3box.s3.objects.items()


def test_object_that_only_looks_like_ours(replica):
    """Of the right name in the right place: corrupt, and named."""
    last = max(k for k in replica.s3.objects if k.startswith("app/0000/"))
    n = int(last[-20:-4], 16) + 1
    name = f"{n:016x}-{n:016x}.ltx"
    replica.s3.objects[f"app/0000/{name}"] = stranger(b"not ours" * 100)
    assert name in replica.holdfast("restore", replica.replica, "out.db", code=4).err
    assert name in replica.holdfast("verify", replica.replica, code=4).err


# ---- clocks ----


@pytest.mark.parametrize("skew", [-7200, 7200])
def test_clock_that_is_wrong(replica, skew):
    """The server's date says by how much; the request is signed anew with it."""
    replica.s3.skew = skew
    assert_same(replica.db, replica.restore())
    r = replica.replicate(*SLOW_LEVELS)
    r.stop()
    refused = [q for q in replica.s3.requests if q.status == 403]
    assert 1 <= len(refused) <= 12


def test_clock_that_stays_wrong(replica):
    replica.s3.fault(refuse(403, "RequestTimeTooSkewed"))
    readers_say(replica, 1, "RequestTimeTooSkewed|clock")


# ---- regions and redirects ----


def test_bucket_of_another_region(s3box):
    """The server says which; the requests are signed for that one."""
    s3box.s3.region = "eu-central-1"
    s3box.one()
    assert_same(s3box.db, s3box.restore())
    wrong = [r for r in s3box.s3.requests if r.status == 400]
    assert 1 <= len(wrong) <= 8  # it is learnt


@pytest.mark.parametrize("status,code", [(301, "PermanentRedirect"), (307, "TemporaryRedirect")])
def test_redirect_to_the_buckets_region(s3box, status, code):
    def elsewhere(request, apply):
        if "/eu-central-1/" in request.headers["authorization"]:
            return apply()
        return error(status, code, headers={"x-amz-bucket-region": "eu-central-1"})

    s3box.s3.region = "eu-central-1"
    check = s3box.s3.check
    s3box.s3.check = lambda q: None if "/us-east-1/" in q.headers["authorization"] else check(q)
    s3box.s3.fault(elsewhere)
    s3box.one()
    assert_same(s3box.db, s3box.restore())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_to_another_host(replica, status):
    """It gets no request, and so no signature."""
    other = S3()
    replica.stack.callback(other.down)

    def elsewhere(request, apply):
        where = f"{other.url}{request.target}"
        detail = f"<Endpoint>127.0.0.1:{other.port}</Endpoint>"
        return error(status, "TemporaryRedirect", headers={"Location": where}, detail=detail)

    replica.s3.fault(elsewhere)
    readers_say(replica, 1, f"redirect|{status}")
    assert other.connections == 0


def test_redirect_without_end(replica):
    """Two regions that name each other."""

    def other(request, apply):
        here = "us-east-1" if "/eu-west-1/" in request.headers["authorization"] else "eu-west-1"
        return error(301, "PermanentRedirect", headers={"x-amz-bucket-region": here})

    replica.s3.check = lambda q: None
    replica.s3.fault(other)
    so_far = replica.s3.mark()
    readers_say(replica, 1, "redirect|region")
    assert len(replica.s3.asked(since=so_far)) <= 8 * len(READERS)


@pytest.mark.parametrize("region", ["eu-west-1.evil.example", "evil.example/x", "../x", "a b", "x" * 5000, "\x01"], ids=lambda r: repr(r[:20]))
def test_region_that_is_none(replica, region):
    """A region becomes part of a host's name: only what can be one is taken."""
    replica.s3.fault(lambda q, apply: error(301, "PermanentRedirect", headers={"x-amz-bucket-region": region}))
    so_far = replica.s3.mark()
    readers_say(replica, 1, "redirect|region|301")
    asked = replica.s3.asked(since=so_far)
    assert asked and all("/us-east-1/s3/" in q.headers["authorization"] for q in asked)


# ---- TLS ----


@pytest.fixture
def tls(s3box, certificates):
    """tls(name): S3 with that certificate."""

    def start(name):
        server = S3(certificate=certificates[name], host="localhost")
        s3box.stack.callback(server.down)
        s3box.s3 = server
        s3box.replica = s3box.url()
        return server

    return start


def test_tls_with_an_authority_of_ones_own(s3box, tls, certificates):
    tls("localhost")
    s3box.set(AWS_CA_BUNDLE=certificates.authority)
    s3box.one()
    assert_same(s3box.db, s3box.restore())


UNTRUSTED = {
    "unknown authority": ("localhost", None),
    "self-signed": ("alone", None),
    "self-signed, another authority": ("alone", "ca"),
    "another host's": ("elsewhere", "ca"),
}


@pytest.mark.parametrize("kind", UNTRUSTED)
def test_tls_that_proves_nothing(s3box, tls, certificates, kind):
    name, authority = UNTRUSTED[kind]
    server = tls(name)
    s3box.set(AWS_CA_BUNDLE=authority and certificates.authority)
    readers_say(s3box, 1, "certificate")
    s3box.new_app(10)
    r = s3box.start(*SLOW_LEVELS, "-drain", "10ms")
    assert "certificate" in r.wait("destination.retry")["err"]
    r.stop(7)
    assert server.requests == [] and server.connections >= len(READERS) + 1


@pytest.mark.parametrize("bundle", ["none.pem", "/"])
def test_authority_that_cannot_be_read(s3box, tls, bundle):
    tls("localhost")
    s3box.set(AWS_CA_BUNDLE=s3box.path / bundle)
    readers_say(s3box, 1, "AWS_CA_BUNDLE")


def test_skip_verify_is_refused(s3box):
    for name in ("skipVerify", "skip-verify"):
        readers_say(s3box, 2, "certificates are always verified", s3box.replica + f"&{name}=true")


# ---- what is tried for some seconds before it is given up: all at once ----


class Proxy(web.Server):
    """It closes, or refuses."""

    def __init__(self, refuses):
        self.refuses = refuses
        super().__init__()

    def reply_to(self, request):
        if not self.refuses:
            raise web.Hangup
        return Reply(407, b"no", {"Proxy-Authenticate": "Basic"})


def test_servers_that_cannot_be_reached(s3box, certificates):
    """Each ends with an error about it, and nothing came to the store behind it."""
    secure = S3(certificate=certificates["localhost"], host="localhost")
    gone, closing, refusing = S3(), Proxy(False), Proxy(True)
    for server in (secure, closing, refusing):
        s3box.stack.callback(server.down)
    gone.down()
    s3box.set(AWS_CA_BUNDLE=certificates.authority)
    http, https = s3box.url(), s3box.url(secure)
    cases = {
        "nobody listens": (s3box.url(gone), {}, "connect"),
        "https where http is spoken": (http.replace("http://", "https://"), {}, "SSL|TLS"),
        "http where https is spoken": (https.replace("https://", "http://"), {}, "http|reply|empty|reset"),
        "proxy closes, http": (http, {"http_proxy": closing.url}, "reset|empty|closed"),
        "proxy closes, https": (https, {"https_proxy": closing.url}, "proxy|reset|closed"),
        "proxy refuses, http": (http, {"http_proxy": refusing.url}, "407"),
        "proxy refuses, https": (https, {"https_proxy": refusing.url}, "407"),
        "proxy is not there": (http, {"http_proxy": gone.url}, "connect"),
    }
    started = {}
    for name, (url, settings, _) in cases.items():
        argv = [COMMAND, "restore", "-if-replica-exists", url, str(s3box.path / "out.db")]
        pipe = subprocess.PIPE
        started[name] = subprocess.Popen(argv, env={**s3box.env(), **settings}, stdout=pipe, stderr=pipe, text=True)
        s3box.stack.callback(started[name].kill)
    for name, p in started.items():
        out, said = p.communicate(timeout=60)
        s3box.said += [out, said]
        assert p.returncode == 1 and re.search(cases[name][2], said, re.I), f"{name}: {p.returncode} {said}"
    assert s3box.s3.requests == secure.requests == [] and closing.requests and refusing.requests
    assert not (s3box.path / "out.db").exists()


def test_proxy_is_not_for_all(s3box):
    """no_proxy"""
    proxy = Proxy(False)
    s3box.stack.callback(proxy.down)
    s3box.set(http_proxy=proxy.url, no_proxy="localhost,127.0.0.1")
    s3box.one()
    assert_same(s3box.db, s3box.restore())
    assert proxy.requests == []


# ---- URLs ----

URLS = [
    ("s3://", "bucket"),
    ("s3:///app", "bucket"),
    ("s3://bucket/app?regoin=eu", "regoin.*did you mean.*region|regoin"),
    ("s3://bucket/app?region=", "region"),
    ("s3://bucket/app?endpoint=ftp://x", "endpoint"),
    ("s3://bucket/app?endpoint=http://user:canary-password@host", "endpoint|user"),
    ("s3://canary-user:canary-password@bucket/app", "credentials"),
    ("s3://bucket/app?force-path-style=perhaps", "force-path-style"),
    ("s3://bucket/app?part-size=12", "part-size"),
    ("s3://bucket/app?part-size=lots", "part-size"),
    ("s3://bucket/app?access-key-id=canary-user", "access-key-id"),
    ("s3://bucket/app?secret-access-key=canary-password", "secret-access-key"),
    ("s3://bucket/%zz", "%"),
    ("s3://bucket/a%00b", "%00|character"),
    ("s3://bucket/app#fragment", "#"),
    ("s3://" + "b" * 300 + "/app", "bucket|long"),
    ("s3://bucket/" + "p" * 1100, "long"),
]


@pytest.mark.parametrize("url,words", URLS, ids=[u[0][:40] for u in URLS])
def test_url(s3box, url, words):
    """Refused before anybody is asked; a value that may be a secret is not repeated."""
    s3box.secrets |= {"canary-password", "canary-user"}
    s3box.new_app(5)
    for args in [["replicate", s3box.db, url], *(make(url) for make in READERS.values())]:
        said = s3box.holdfast(*args, code=2).err
        assert re.search(words, said), said
    assert s3box.s3.connections == 0


# ---- an application under it ----

UNSEEN = {
    "no keys": lambda box: box.without_keys(),
    "wrong keys": lambda box: box.set(AWS_SECRET_ACCESS_KEY="wrong"),
    "no permission to list": lambda box: box.s3.fault(refuse(403, "AccessDenied"), kind="list"),
    "no such bucket": lambda box: box.s3.buckets.clear(),
    "nobody there": lambda box: box.s3.down(),
    "an empty document": lambda box: box.s3.fault(lambda request, apply: Reply(200, b""), kind="list"),
}


@pytest.mark.parametrize("kind", UNSEEN)
def test_no_application_without_a_look_at_the_replica(replica, kind):
    """The database is lost, and whether there is a backup is not known: nothing starts."""
    replica.db.unlink()
    UNSEEN[kind](replica)
    started = replica.path / "started"
    r = replica.start("-exec", f"touch {started}", "-exec-wait", "100ms", *SLOW_LEVELS)
    assert r.process.wait(30) > 0
    assert not started.exists() and not replica.db.exists()


def test_a_whole_bucket_is_not_begun_in(s3box):
    """What stands there already would be mixed up with the replica."""
    s3box.new_app(5)
    for root in ("s3://bucket", "s3://bucket/"):
        whole = root + s3box.replica[s3box.replica.index("?") :]
        run = s3box.start(to=whole)
        assert "a path of its own" in run.end(2)
    assert not s3box.s3.objects
