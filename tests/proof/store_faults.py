#!/usr/bin/python3 -B
"""An object store that fails in every known way, against the real programs: a tier of `make proof`.

    store_faults.py [--count N] [--seconds S] [--seed 1] [--only FAULT/VERB/WHICH] [--stop] [--jobs 8] [--build build]
                    [--list]

A cell is a fault, the verb of the requests that it meets, and which of them: the first of a run, the second, the last,
or one at random. The store is tests/e2e/fake_s3.py on loopback. In a cell

  1. `holdfast replicate` (of one cell in four of some verbs a service with libholdfast) runs, rows are committed, and
     for each it is asked whether it can no longer be lost, until the fault has struck. Then the fault is over; and
     without a restart the next row must become safe. At the end the restore is the database, page for page.
  2. `holdfast restore`, `verify` and `list` run on the replica that was made, with the fault in their way (of GET, HEAD
     and LIST). They give the newest state, or they fail, with words that name what failed, and nothing at the target.

In every case: what was acknowledged is there, nothing takes longer than PATIENCE, no secret is in any output. Faults that
harm what is stored (`stored-cut`, `lost-object`, `removed`) may make a restore fail: it then has to say so.

A cell in which the fault did not strike is a failure. Where a fault means nothing for a verb NOT_APPLICABLE says why.
"""
import argparse
import collections
import concurrent.futures
import contextlib
import fnmatch
import itertools
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / name) for name in ("e2e", "kill", "soak")]

import fake_s3  # noqa: E402
import web  # noqa: E402
from fake_s3 import error, refuse  # noqa: E402
from kill import Process, Question  # noqa: E402
from soak import Failure, compare  # noqa: E402

PATIENCE = 30
TOKEN = "canary-session-token/0123456789+abcdef"
READS = ("get", "head", "list")
PARTS = ("create", "part", "complete")
VERBS = ("put", "note", "delete", *READS, *PARTS)
WHICH = ("first", "second", "last", "random")
SLOW, FAST = ["-levels", "1h,1h,1h"], ["-levels", "40ms,120ms,1h", "-keep-level0", "40ms"]
BUILT_ON = ["-levels", "40ms,1h,1h", "-keep-level0", "40ms", "-snapshot", "300ms"]  # a level goes on from the snapshot

# kind and key of the requests; options that make the daemon send them; how many of them are "all"
SCENES = {
    "put": ("put", r"^app/0000/", SLOW, 6),
    "note": ("put", r"^app/holdfast/[ov]", [*SLOW, "-verify", "60ms"], 6),
    "delete": ("delete", None, FAST, 6),
    "get": ("get", None, FAST, 8),
    "head": ("head", None, FAST, 6),
    "list": ("list", None, ["-levels", "40ms,120ms,1h", "-keep-level0", "300ms"], 4),
    "create": ("create", r"^app/0009/", BUILT_ON, 3),
    "part": ("part", r"^app/0009/", BUILT_ON, 5),
    "complete": ("complete", r"^app/0009/", BUILT_ON, 3),
}


# ---- what can be wrong ----


def in_turn(*acts):
    """One after the other, and again."""
    each = itertools.cycle(acts)

    def act(request, apply):
        return next(each)(request, apply)

    return act


def cut(request, apply):
    """In the middle of the body; where there is none, of the head."""
    reply = apply()
    if reply.body and request.method != "HEAD":
        reply.cut = len(reply.body) // 2
    else:
        reply.cut_head = True
    return reply


def error_in_200(request, apply):
    return error(200, "InternalError")


def flipped(rng):
    def change(body):
        at = rng.randrange(len(body)) if body else 0
        return body[:at] + bytes([body[at] ^ 1 << rng.randrange(8)]) + body[at + 1 :] if body else body

    return web.altered(change)


def body_of_another(request, apply):
    """Of the same length, from the object before it in the list."""
    objects = request.server.objects
    keys = sorted(k for k in objects if k != request.key and objects[k].body != objects[request.key].body)
    true, before = objects[request.key], [k for k in keys if k < request.key] or keys
    objects[request.key] = fake_s3.Object(objects[before[-1]].body, true.headers, true.etag, true.at)
    try:
        return apply()
    finally:
        objects[request.key] = true


def flipped_on_the_way(request, apply):
    """As the server finds out by its digest."""
    return error(400, "XAmzContentSHA256Mismatch")


def chunked(body):
    return b"%x;chunk-signature=%064x\r\n" % (len(body), 0) + body + b"\r\n0;chunk-signature=%064x\r\n\r\n" % 0


def stored(change):
    """What was put, or put together, is changed in the store; all looks well."""

    def act(request, apply):
        reply = apply()
        upload = request.server.uploads.get(request.arg("uploadId"))
        if upload and request.kind == "part":
            number = int(request.arg("partNumber"))
            upload.parts[number] = change(upload.parts[number])
            reply.headers["ETag"] = f'"{fake_s3.hashlib.md5(upload.parts[number]).hexdigest()}"'
        elif request.key in request.server.objects:
            request.server.objects[request.key].body = change(request.server.objects[request.key].body)
        return reply

    return act


def lost_after(request, apply):
    """Done, said so, and gone; a DELETE is not done."""
    if request.kind == "delete":
        return web.Reply(204)
    reply = apply()
    if request.kind == "part":
        del request.server.uploads[request.arg("uploadId")].parts[int(request.arg("partNumber"))]
    elif request.kind == "create":
        request.server.uploads.popitem()
    else:
        request.server.objects.pop(request.key, None)
    return reply


def removed(request, apply):
    """By a rule of the bucket, for good; what is asked for has never been."""
    request.server.objects.pop(request.key, None)
    return apply()


def listed(change=lambda entries: entries, **how):
    def act(request, apply):
        objects = request.server.objects
        true = [(k, objects[k]) for k in sorted(objects) if k.startswith(request.key)]
        return fake_s3.document(fake_s3.listing(request, change(true), **how))

    return act


def without_newest(entries):
    """All that ends at one of the two newest TXIDs, as a list does that lags behind; but not where level 0 has gone
    already: of a list that lags for longer than that is kept nothing is promised."""
    end = {key: int(key[-20:-4], 16) for key, _ in entries if key.endswith(".ltx")}
    kept = {n for key, n in end.items() if "/0000/" in key}
    newest = kept.intersection(sorted({*end.values()})[-2:])
    return [(key, o) for key, o in entries if end.get(key) not in newest]


def with_ghosts(entries):
    """What was deleted: an object of each of the last TXIDs at level 0."""
    ghost = fake_s3.Object(b"x" * 300, {}, '"x"', 0)
    return sorted({**{f"app/0000/{n:016x}-{n:016x}.ltx": ghost for n in range(2, 5)}, **dict(entries)}.items())


def page_2_fails(request, apply):
    request.server.page = 2
    return error(500, "InternalError") if request.arg("continuation-token") else apply()


def one_key_pages(request, apply):
    request.server.page = 1
    return apply()


def a_page(request, apply):
    """Of somebody between us and the store."""
    body = b"<html><head><title>Welcome</title></head><body>Sign in</body></html>"
    return web.Reply(200, body, {"Content-Type": "text/html"})


LISTS = {
    "first": [listed(without_newest), listed(lambda e: e[::-1])],
    "second": [listed(with_ghosts), listed(lambda e: [x for x in e for _ in range(2)])],
    "last": [one_key_pages, page_2_fails],
    "random": [listed(after="again"), listed(truncated=True), a_page],
}


def bomb(name):
    head = b"<?xml version='1.0'?>\n"
    entities = b"<!DOCTYPE x [<!ENTITY a0 'aaaaaaaaaa'>" + b"".join(
        b"<!ENTITY a%d '%s'>" % (i, b"&a%d;" % (i - 1) * 10) for i in range(1, 10)
    )
    return {
        "first": head + entities + b"]><Error><Code>&a9;</Code></Error>",
        "second": head + b"<a>" * 100000 + b"</a>" * 100000,
        "last": head + b"<Error><Code>" + b"A" * (20 << 20) + b"</Code></Error>",
        "random": head + b"<Error><Code>\xc3\x28\xff\0</Code><Message>",
    }[name]


def evil_xml(which, status):
    def act(request, apply):
        return web.Reply(status, bomb(which), {"Content-Type": "application/xml"})

    return act


def skewed(request, apply):
    return error(403, "RequestTimeTooSkewed")


KEYS = {
    "first": refuse(400, "ExpiredToken"),
    "second": refuse(403, "InvalidAccessKeyId"),
    "last": skewed,
    "random": in_turn(skewed, refuse(400, "ExpiredToken"), refuse(403, "InvalidAccessKeyId")),
}
GONE = {"list": "NoSuchBucket", "put": "NoSuchBucket", "note": "NoSuchBucket", "create": "NoSuchBucket",
        "part": "NoSuchUpload", "complete": "NoSuchUpload"}  # fmt: skip
TLS = {"first": "expired", "second": "elsewhere", "last": "alone", "random": "closed"}
BUSY = in_turn(refuse(503, "SlowDown", {"Retry-After": "1"}), refuse(429, "TooManyRequests"),
               refuse(500, "InternalError"), refuse(408, "RequestCanceled"))  # fmt: skip
CONDITION = {"first": fake_s3.unconditional, "second": refuse(501, "NotImplemented"),
             "last": refuse(409, "ConditionalRequestConflict"),
             "random": in_turn(fake_s3.done_but_said(409, "ConditionalRequestConflict"), web.lost_reply)}  # fmt: skip


def redirected(cell):
    """To another host, which must not be asked; or to another region, which is not the bucket's."""
    to = {"Location": f"{cell.trap.url}/bucket/app"}
    if cell.which in ("first", "last"):
        return refuse(307 if cell.which == "first" else 301, "TemporaryRedirect", to)
    return refuse(301, "PermanentRedirect", {**to, "x-amz-bucket-region": "eu-west-7"})


def silent(cell):
    if cell.which != "second":
        return web.silent(cell.over)

    def slowly(request, apply):
        reply = apply()
        reply.pace, reply.slow_head = 0.9, True
        return reply

    return slowly


def bad_certificate(cell):
    """This connection breaks, and the next ones meet another certificate, or an end in the middle of a handshake."""

    def act(request, apply):
        cell.s3.present(TLS[cell.which])
        cell.s3.hang_up()
        cell.struck_at = cell.s3.connections
        raise web.Hangup

    return act


def other_writer(cell):
    """The writer is stopped at this request; another takes over; then it goes on, and the request arrives."""

    def act(request, apply):
        try:
            cell.take_over()
        except Exception as e:
            cell.wrong = e
        finally:
            cell.taken.set()
        return apply()

    return act


def reply_lost(cell):
    """Of a large first object nobody may ask for a while whether it came: it is made anew, with what was committed since,
    and meets the one that is there."""
    if not cell.is_large_first():
        return web.lost_reply

    def act(request, apply):
        cell.s3.fault(refuse(403, "AccessDenied"), kind="head", key=cell.key, times=None)
        return web.lost_reply(request, apply)

    return act


NO_BODY = "has no body"
NOT_APPLICABLE = {
    "late": dict.fromkeys(READS, "a read that is answered late changes nothing"),
    "error-in-200": {"head": NO_BODY},
    "flip": {"head": NO_BODY, "delete": NO_BODY, "create": NO_BODY},
    "stored-cut": dict.fromkeys((*READS, "delete", "create"), "stores no bytes"),
    "lost-object": dict.fromkeys(READS, "acknowledges nothing"),
    "list": dict.fromkeys((v for v in VERBS if v != "list"), "is about lists"),
    "condition": dict.fromkeys(("note", "delete", *READS, "create", "part"), "creates nothing under a condition"),
    "removed": {v: "is about objects that are to be deleted or read" for v in ("put", "note", "list", *PARTS)},
    "xml": {"head": NO_BODY},
}


def flip(cell):
    """Of what is sent to the store, the store finds it out; of what comes from it, nobody but we."""
    if cell.verb not in ("get", "list"):
        return flipped_on_the_way
    return body_of_another if (cell.verb, cell.which) == ("get", "second") else flipped(cell.rng)


FAULTS = {
    "lost-reply": reply_lost,
    "late": lambda cell: web.late(cell.stray),
    "busy": lambda cell: BUSY,
    "error-in-200": lambda cell: error_in_200,
    "cut": lambda cell: cut,
    "flip": flip,
    "stored-cut": lambda cell: stored(chunked if cell.which in ("second", "random") else lambda b: b[: len(b) // 2]),
    "lost-object": lambda cell: lost_after,
    "list": lambda cell: cell.rng.choice(LISTS[cell.which]),
    "404": lambda cell: refuse(404, GONE.get(cell.verb, "NoSuchKey")),
    "condition": lambda cell: CONDITION[cell.which],
    "credentials": lambda cell: KEYS[cell.which],
    "redirect": redirected,
    "silence": silent,
    "tls": bad_certificate,
    "removed": lambda cell: refuse(403, "AccessDenied") if cell.verb == "delete" else removed,
    "xml": lambda cell: evil_xml(cell.which, 200 if cell.verb in ("list", "create", "complete") else 500),
    "two-writers": other_writer,
}
LASTING = {"list": None, "busy": 4, "credentials": 2, "tls": 1, "two-writers": 1, "condition": 2}  # requests of a fault; others: 1
HARMFUL = {"stored-cut", "lost-object", "removed"}
PASSING = {"lost-reply", "busy", "cut", "silence"}  # once: a read is repeated, or goes on where it broke


class Closing:
    """For a server's TLS: it ends in the middle of each handshake."""

    def wrap_socket(self, s, server_side):
        s.recv(1)
        raise ConnectionResetError


class Blocked(Exception):
    """It cannot go on, and says which object is wrong."""


class Store(fake_s3.S3):
    """With one certificate after the other, if it has any."""

    def __init__(self, certificates=None):
        self.certificates, self.contexts = certificates, {}
        super().__init__(certificates and certificates / "localhost", host="localhost" if certificates else "127.0.0.1")
        self.keys = {fake_s3.ACCESS_KEY: (fake_s3.SECRET_KEY, TOKEN)}
        self.good = self.tls

    def present(self, name):
        if name == "closed":
            self.tls = Closing()
            return
        context = web.ssl.SSLContext(web.ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f"{self.certificates / name}.pem", f"{self.certificates / name}.key")
        self.tls = context

    def mend(self):
        super().mend()
        self.tls, self.page = self.good, fake_s3.PAGE


class Cell:
    def __init__(self, args, name):
        self.args, self.name = args, name
        self.fault, self.verb, self.which = name.split("/")
        self.rng = random.Random(f"{args.seed} {name}")
        self.dir = Path(args.dir) / name.replace("/", "-")
        self.holdfast = Path(args.build) / "holdfast"
        self.machine, self.machines = None, 0
        self.counts, self.said, self.running = collections.Counter(), [], []
        self.stray, self.over = [], threading.Event()
        self.trap = web.Server()
        self.trap.reply_to = lambda request: web.Reply(200, b"mine")
        secure = self.fault == "tls"
        self.s3 = Store(Path(args.certificates) if secure else None)
        self.url = f"s3://bucket/app?endpoint={self.s3.url}&region=us-east-1&force-path-style=true&timeout=1"
        self.url += "&part-size=5242880"
        self.env = {k: v for k, v in os.environ.items() if not re.search(r"(?i)^(aws|litestream)_|_proxy$", k)}
        self.env.update(AWS_ACCESS_KEY_ID=fake_s3.ACCESS_KEY, AWS_SECRET_ACCESS_KEY=fake_s3.SECRET_KEY,
                        AWS_SESSION_TOKEN=TOKEN, AWS_EC2_METADATA_DISABLED="true", HOME=str(self.dir))  # fmt: skip
        if secure:
            self.env["AWS_CA_BUNDLE"] = str(Path(args.certificates) / "ca.pem")
        self.kind, self.key, self.options, self.all = SCENES[self.verb]
        if self.verb in PARTS and self.which == "first":
            self.options = [*self.options[:-1], "1h"]  # one that is wrong is not made good by the next
        self.nth = {"first": 1, "second": 2, "last": self.all, "random": self.rng.randint(3, self.all)}[self.which]
        self.acked, self.daemon, self.first, self.taken, self.wrong = 0, None, None, threading.Event(), None
        self.struck_at = 0  # how many connections there were before the wrong certificate
        self.in_process = self.which == "random" and self.verb in ("put", "get")
        self.in_process &= self.fault not in ("two-writers", "condition")
        self.new_machine()

    def note(self, text):
        if self.args.only:
            print(f"{time.monotonic():.3f} {text}", file=sys.stderr)

    # ---- machines ----

    def new_machine(self):
        self.machines += 1
        self.machine = self.dir / f"machine{self.machines}"
        for name in ("run", "tmp"):
            (self.machine / name).mkdir(parents=True)
        self.db = self.machine / "app.db"
        self.env.update(RUNTIME_DIRECTORY=str(self.machine / "run"), TMPDIR=str(self.machine / "tmp"))

    def create(self):
        with contextlib.closing(self.connect()) as db:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
            if self.verb in PARTS or self.is_large_first():
                db.execute("BEGIN")
                db.executemany("INSERT INTO t(v) VALUES (?)", ((self.rng.randbytes(1 << 20),) for _ in range(9)))
                db.execute("COMMIT")

    def is_large_first(self):
        """What is behind the fence is all of the database: it goes up as one stream."""
        return (self.verb, self.which) == ("put", "second")

    def connect(self, path=None):
        return sqlite3.connect(path or self.db, isolation_level=None, timeout=10)

    def start(self, *command, stream="stderr", **more):
        p = Process(command, self.env, stream, **more)
        self.running.append(p)
        return p

    def start_daemon(self, *options):
        words = ["replicate", "-interval", "5ms", "-log", "logfmt", "-drain", "10s", *self.options, *options]
        self.daemon = self.start(self.holdfast, *words, self.db, self.url)
        stat = os.stat(self.db)
        self.place = str(self.machine / f"run/socket/{stat.st_dev:x}-{stat.st_ino}")

    def stop_daemon(self):
        self.daemon.p.send_signal(signal.SIGTERM)
        code = self.ended(self.daemon)
        if code != 0:
            raise Failure(f"exit {code} after SIGTERM: {self.daemon.said[-3:]}")

    def ended(self, p):
        """Its exit status, once it has said all."""
        end = time.monotonic() + PATIENCE
        while p.read(end - time.monotonic()):
            pass
        try:
            code = p.p.wait(max(0.1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise Failure(f"it does not end: {p.said[-3:]}") from None
        self.said += p.said
        self.running.remove(p)
        p.close()
        return code

    def command(self, *words):
        """Its exit status, output and errors."""
        began = time.monotonic()
        try:
            p = subprocess.run(
                [self.holdfast, *map(str, words)], env=self.env, capture_output=True, text=True, timeout=PATIENCE
            )
        except subprocess.TimeoutExpired:
            for r in self.s3.requests[-30:]:
                self.note(f"{r.at:.3f} {r}")
            raise Failure(f"holdfast {words[0]} hangs") from None
        self.counts["slowest_ms"] = max(self.counts["slowest_ms"], int(1000 * (time.monotonic() - began)))
        self.said += [p.stdout, p.stderr]
        if p.returncode < 0:
            raise Failure(f"holdfast {words[0]} died of signal {-p.returncode}")
        self.note(f"holdfast {words[0]}: exit {p.returncode} {p.stderr.strip()[:300]}")
        return p.returncode, p.stdout, p.stderr.strip()

    # ---- commits ----

    def commit(self, path=None):
        with contextlib.closing(self.connect(path)) as db:
            return db.execute("INSERT INTO t(v) VALUES (randomblob(3000))").lastrowid

    def ask(self, row, timeout_ms, place=None):
        """Whether it is safe now; None: nobody is there to ask yet."""
        try:
            status = Question(place or self.place, timeout_ms).answer()
        except OSError:
            return None
        if status == 200:
            self.acked = max(self.acked, row)
            self.counts["acked"] += 1
        return status

    def has_ended(self):
        self.daemon.drain()
        return self.daemon.p.poll() is not None

    def row_is_safe(self):
        """One more row becomes safe, without a restart."""
        row, end, status = self.commit(), time.monotonic() + PATIENCE, None
        while status != 200:
            if self.has_ended():
                raise Failure(f"it ended by itself, exit {self.daemon.p.returncode}: {self.daemon.said[-3:]}")
            if self.is_blocked(end):
                raise Blocked
            if time.monotonic() > end:
                words = f"the fault is over, and a row is not safe {PATIENCE} s later"
                raise Failure(f"{words}: {status}, {self.daemon.said[-3:]}")
            status = self.ask(row, 1000)
            if status is None:
                self.daemon.read(0.01)

    def is_blocked(self, end):
        """By an object that the store bent or lost, which it names again and again: that is for a person."""
        named = [line for line in self.daemon.said if re.search(r"retry .*err=\"000\d/", line)]
        return self.does_harm() and time.monotonic() > end - PATIENCE + 5 and len(named) > 2

    # ---- the daemon ----

    def strike(self):
        """The fault, at the request that it is for."""
        times, key = LASTING.get(self.fault, 1), self.key
        if self.fault == "condition" and self.which == "first":
            times, key = None, None  # what finds it out is its probe
        return self.s3.fault(FAULTS[self.fault](self), kind=self.kind, key=key, skip=self.nth - 1, times=times)

    def has_struck(self, f):
        if self.fault == "tls":
            return self.struck_at and self.s3.connections >= self.struck_at + 2
        if self.fault == "two-writers":
            return f.hits and self.taken.wait(2 * PATIENCE)
        if self.fault == "lost-reply" and self.is_large_first():
            self.daemon.drain()
            return f.hits and any("event=ship.retry" in line for line in self.daemon.said)
        least = min(LASTING.get(self.fault, 1) or 2, 2 if self.which == "random" else 4)
        return len(f.hits) >= least or (f.hits and time.monotonic() - f.hits[0].at > 2)

    def unfit(self):
        """A store that ignores conditions is refused."""
        return self.fault == "condition" and self.verb == "put" and self.which in ("first", "second")

    def drive(self, f):
        """Rows, until the fault has struck. (Where another takes over meanwhile, the paths are the first one's.)"""
        end, db = time.monotonic() + PATIENCE, self.db
        while not self.has_struck(f):
            if not f.hits and self.has_ended():
                return
            if time.monotonic() > end:
                count = len(self.s3.asked(self.kind, self.key))
                raise Failure(f"the fault has not struck: {len(f.hits)} times, {count} such requests")
            if self.verb == "list" and self.daemon.wait(["event=destination.ready"], patience=0.3) and not f.hits:
                self.stop_daemon()
                self.start_daemon()
                continue
            place, row = self.place, self.commit(db)
            if (self.fault, bool(f.hits)) != ("two-writers", True) and self.ask(row, 200, place) is None:
                self.daemon.read(0.01)

    def drive_drain(self, f):
        """The last PUT of a run is that of its end."""
        self.row_is_safe()
        f.skip = 0
        self.daemon.stop()
        self.commit()
        self.daemon.p.send_signal(signal.SIGTERM)
        self.daemon.p.send_signal(signal.SIGCONT)
        code = self.ended(self.daemon)
        if code not in (0, 7) or not f.hits:
            raise Failure(f"exit {code} after SIGTERM, {len(f.hits)} faults: {self.said[-3:]}")
        self.mend()
        self.start_daemon()

    def run_daemon(self):
        self.create()
        f = self.strike()
        self.start_daemon()
        drained = self.verb == "put" and self.which == "last" and self.fault not in ("two-writers", *HARMFUL)
        if drained:
            f.skip = 1 << 30
            self.drive_drain(f)
        else:
            self.drive(f)
        if not f.hits:
            raise Failure(f"the fault has not struck: {self.daemon.said[-3:]}")
        self.counts["faults_fired"] += len(f.hits)
        self.note(f"struck {len(f.hits)} times: {f.hits[0]}")
        self.check_certificate()
        if self.unfit():
            while self.daemon.read(PATIENCE):
                pass
            self.daemon.p.wait(PATIENCE)
        self.over.set()
        self.mend()
        if self.taken.is_set():
            return self.after_take_over()
        if self.has_ended() and self.may_have_ended():
            self.said += self.daemon.said
            self.start_daemon()
        self.row_is_safe()
        if self.fault == "stored-cut" and self.verb in PARTS:
            self.await_news()
        for apply in self.stray:
            before = dict(self.s3.objects)
            status = apply().status
            self.note(f"the late request arrives: {status}")
            if self.verb in ("put", "complete") and any(self.s3.objects.get(key) is not o for key, o in before.items()):
                raise Failure(f"a request that arrived late replaced an object: {status}")
        self.row_is_safe()
        while self.verb == "list" and not self.s3.asked("delete"):  # so that a part of the objects is no replica
            self.row_is_safe()
        self.image = self.snapshot()
        self.stop_daemon()

    def await_news(self):
        """Rows, until it has found out what the store bent, or deletes."""
        end = time.monotonic() + PATIENCE
        while not any(re.search("event=(compact.retry|retention) ", line) for line in self.daemon.said):
            if time.monotonic() > end:
                raise Failure(f"a bent object is neither told nor built on: {self.daemon.said[-3:]}")
            self.row_is_safe()
            self.daemon.read(0.01)

    def mend(self):
        self.s3.mend()
        self.struck_at = 0

    def check_certificate(self):
        """Nobody speaks to a server whose certificate is wrong."""
        spoken = [r for r in self.s3.requests if self.struck_at and r.connection > self.struck_at]
        if spoken:
            raise Failure(f"it spoke to a server with the certificate '{TLS[self.which]}': {spoken[0]}")

    def may_have_ended(self):
        """Whether it was right to end for good: it is asked of a person."""
        code, words = self.daemon.p.returncode, " ".join(self.daemon.said[-3:])
        self.note(f"it ended: {code} {words}")
        if self.unfit() and code == 10 and ("condition" in words or "501" in words):
            return True
        raise Failure(f"it ended by itself, exit {code}: {words}")

    def snapshot(self):
        with contextlib.closing(self.connect()) as db:
            db.execute("SELECT count(*) FROM t").fetchone()
            return db.serialize()

    # ---- two writers ----

    def take_over(self):
        """From the thread of a request of the first writer, which is stopped meanwhile."""
        self.first, home = self.daemon, self.machine
        self.first.stop()
        self.first_db, self.first_place = self.db, self.place
        self.new_machine()
        code, _, words = self.command("restore", self.url, self.db)
        if code == 3 and self.acked == 0:
            self.create()
        elif code != 0:
            raise Failure(f"restore for the second writer: exit {code}: {words}")
        self.start_daemon("-take-over")
        if not self.daemon.wait(["event=destination.ready"]):
            raise Failure(f"the second writer does not come up: {self.daemon.said[-3:]}")
        self.row_is_safe()
        self.note(f"taken over from {home.name}")
        self.first.p.send_signal(signal.SIGCONT)

    def after_take_over(self):
        """The first has to end, fenced; what it says to those who wait meanwhile is no yes."""
        if self.wrong:
            raise self.wrong
        end, alive = time.monotonic() + PATIENCE, True
        while alive and time.monotonic() < end:
            with contextlib.closing(sqlite3.connect(self.first_db, timeout=10)) as db, db:
                db.execute("INSERT INTO t(v) VALUES ('by a zombie')")
            with contextlib.suppress(OSError):
                if Question(self.first_place, 200).answer() == 200:
                    raise Failure("a fenced writer acknowledged a row")
            self.first.drain()
            alive = self.first.p.poll() is None
        code = self.ended(self.first)
        if code not in (5, 6):
            raise Failure(f"the first writer: exit {code}, not fenced: {self.said[-3:]}")
        self.row_is_safe()
        self.image = self.snapshot()
        self.stop_daemon()

    # ---- a service with the library ----

    def run_library(self):
        program = Path(self.args.build) / "tests/soak/soak_acknowledged"
        f = self.strike()
        service = self.start(program, self.db, self.url, "-interval", "5", "-threads", "2", stream="stdout")
        end = time.monotonic() + PATIENCE
        while not self.has_struck(f):
            if not service.read(end - time.monotonic()):
                raise Failure(f"the service: the fault struck {len(f.hits)} times: {service.said[-3:]}")
        self.counts["faults_fired"] += len(f.hits)
        self.note(f"struck {len(f.hits)} times: {f.hits[0]}")
        self.over.set()
        self.mend()
        for apply in self.stray:
            apply()
        service.drain()
        for _ in range(4):
            if not service.wait(["a "], len(service.said)):
                service.p.poll()
                code = service.p.returncode
                raise Failure(f"the fault is over, and no row becomes safe: exit {code}, {service.said[-3:]}")
        service.stop()
        if not service.kill():
            raise Failure(f"the service ended by itself: exit {service.p.returncode}: {service.said[-3:]}")
        self.said += service.said
        self.rows = dict(tuple(map(int, line.split()[1:])) for line in service.said if line.startswith("a "))
        self.counts["acked"] += len(self.rows)
        path, words = self.restored("at once")
        if path:
            with contextlib.closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as db:
                there = dict(db.execute("SELECT id, number FROM row"))
            lost = [row for row in self.rows.items() if there.get(row[0]) != row[1]]
            if lost:
                raise Failure(f"{len(lost)} acknowledged rows are lost, the first: {lost[:3]}")
        elif self.fault not in HARMFUL:
            raise Failure(f"restore: {words}")
        if not path:
            self.image = None
            return
        with contextlib.closing(self.connect()) as db:
            db.execute("CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, v)")
        self.start_daemon()
        self.row_is_safe()
        self.image = self.snapshot()
        self.stop_daemon()

    # ---- what is judged ----

    def restored(self, what, url=None):
        """Its path; None and why not, if it failed as it has to: nothing is there, and words say what is wrong."""
        out = self.machine / "restored.db"
        out.unlink(missing_ok=True)
        code, _, words = self.command("restore", url or self.url, out)
        self.counts["restores"] += 1
        left = [f.name for f in self.machine.iterdir() if f.name.startswith("restored.db") and f != out]
        if left or list((self.machine / "tmp").iterdir()):
            raise Failure(f"restore ({what}) left {left}")
        if code == 0:
            return out, ""
        if out.exists():
            raise Failure(f"restore ({what}): exit {code}, and there is a target")
        if code == 3 and self.acked and not self.does_harm():
            raise Failure(f"restore ({what}) says that there is nothing: {words}")
        if not re.search(r"bucket|localhost|127\.0\.0\.1|000\d/|holdfast/", words):
            raise Failure(f"restore ({what}): exit {code}, and it names nothing: {words}")
        return None, words

    def judge(self, what, must):
        """The restore is the newest state, or has failed; whether it is there."""
        path, words = self.restored(what)
        if path:
            compare(self.image, path.read_bytes(), 4096, f"restore ({what})")
            self.counts["pages_compared"] += len(self.image) // 4096
        elif must:
            raise Failure(f"restore ({what}): {words}")
        return bool(path)

    def does_harm(self):
        """Whether the store holds other than it said: that a DELETE found nothing is such a word, too."""
        return self.fault in HARMFUL or (self.fault, self.verb) == ("404", "delete")

    def judge_harm(self):
        """What the store has lost or bent is told, or does not matter."""
        try:
            good = self.judge("after", must=self.verb == "delete")
        except Failure as e:
            code, _, words = self.command("verify", "-source", self.db, self.url)
            raise Failure(f"{e}; verify -source: exit {code} {words}") from None
        code, _, words = self.command("verify", self.url)
        if not good and code == 0:
            raise Failure("nothing can be restored, and verify says ok")
        if not good and self.verb in PARTS:
            self.judge_without_it()
        return good and code == 0

    def judge_without_it(self):
        """A compacted object that the store bent was read back: what it covers was not deleted. So when those that are
        named have been taken away, all is there."""
        for _ in range(9):
            path, words = self.restored("without what is wrong")
            if path:
                return compare(self.image, path.read_bytes(), 4096, "restore (without what is wrong)")
            named = re.search(r"0009/[0-9a-f]{16}-[0-9a-f]{16}\.ltx", words)
            if not named or not self.s3.objects.pop(f"app/{named[0]}", None):
                raise Failure(f"what a bent snapshot covers is gone: {words}")
        raise Failure(f"nine snapshots are wrong: {words}")

    def newest(self, out):
        return max((p["txid"] for p in json.loads(out)), default=0)

    def run_commands(self):
        """With the fault in the way of each command that only reads."""
        _, out, _ = self.command("list", "-json", self.url)
        newest = self.newest(out)
        commands = (["restore"], ["verify", self.url], ["list", "-json", self.url])
        acts = LISTS[self.which] if self.fault == "list" else [None]
        for words, act in itertools.product(commands, acts):
            saved = dict(self.s3.objects)
            mark = self.s3.mark()
            if words == ["restore"]:
                self.judge("rehearsal", must=True)
            else:
                self.command(*words)
            count = len(self.s3.asked(self.kind, self.key, mark))
            nth = {"first": 1, "second": 2, "last": count, "random": self.rng.randint(1, max(1, count))}[self.which]
            if not 1 <= nth <= count:
                continue
            self.over.clear()
            times = None if self.which == "random" else LASTING.get(self.fault, 1)
            act = act or FAULTS[self.fault](self)
            skip = nth - 1 if act != page_2_fails else 0
            f = self.s3.fault(act, kind=self.kind, key=self.key, skip=skip, times=times)
            if words == ["restore"]:
                self.judge("meanwhile", must=self.fault in PASSING and times is not None)
            else:
                code, out, said = self.command(*words)
                if code == 0 and words[0] == "list" and self.newest(out) != newest:
                    raise Failure(f"list shows TXID {self.newest(out)} as the newest, it is {newest}")
                if code != 0 and not said:
                    raise Failure(f"{words[0]}: exit {code} without a word")
                if code == 0 and words[0] == "verify" and self.verb == "get" and self.fault == "flip" and times is None:
                    raise Failure("verify read wrong bytes and says ok")
            if not f.hits:
                raise Failure(f"the fault has not struck {words[0]}")
            self.counts["faults_fired"] += len(f.hits)
            self.check_certificate()
            self.over.set()
            self.mend()
            self.s3.buckets["bucket"] = saved
            if words == ["restore"]:
                self.judge("after it", must=True)

    def check_secrets(self):
        said = "\n".join(self.said)
        for secret in (fake_s3.SECRET_KEY, TOKEN, "AWS4-HMAC-SHA256", "ignature="):
            if secret in said or secret.replace("/", "%2F") in said:
                raise Failure(f"a secret is in the output: {secret[:8]}...")
        if self.trap.requests:
            raise Failure(f"the other host was asked: {self.trap.requests[0]}")

    def run(self):
        try:
            self.run_library() if self.in_process else self.run_daemon()
        except Blocked:
            self.counts["blocked"] += 1
            return self.check_secrets()
        if not self.does_harm():
            self.judge("after", must=True)
            code, _, words = self.command("verify", self.url)
            if code:
                raise Failure(f"verify: exit {code}: {words}")
            good = True
        else:
            good = self.image is not None and self.judge_harm()
        if self.image and good and self.verb in READS and self.fault != "two-writers":
            self.run_commands()
        self.check_secrets()

    def close(self):
        self.over.set()
        for p in self.running:
            p.close()
        self.s3.down()
        self.trap.down()


def names():
    """Of all cells; of those that mean something."""
    every = [f"{f}/{v}/{w}" for f in FAULTS for v in VERBS for w in WHICH]
    return every, [n for n in every if n.split("/")[1] not in NOT_APPLICABLE.get(n.split("/")[0], {})]


def run_cell(args, name, until):
    """Its name, counters, and what was wrong; None instead of counters: there was no time."""
    if until and time.monotonic() > until or Path(args.dir, "stop").exists():
        return name, None, ""
    cell, wrong = Cell(args, name), ""
    try:
        cell.run()
    except Failure as e:
        wrong = str(e)
    except Exception:
        wrong = traceback.format_exc()
    cell.counts["requests"] = len(cell.s3.requests)
    cell.close()
    if not args.only:
        shutil.rmtree(cell.dir, ignore_errors=True)
    return name, cell.counts, wrong


def make_certificates(directory):
    made = web.Certificates(directory)
    made.sign_expired()
    return directory


def parse():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--count", type=int, default=0, help="cells, spread over all; 0: all")
    p.add_argument("--seconds", type=float, default=0, help="stop when they are over; 0: never")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--only", help="this cell alone, and loudly; a shell's pattern")
    p.add_argument("--stop", action="store_true", help="at the first that is found")
    p.add_argument("--jobs", type=int, default=4 * (os.cpu_count() or 1), help="cells side by side (%(default)s)")
    p.add_argument("--build", default=str(ROOT / "build"))
    p.add_argument("--list", action="store_true", help="the cells, and those that mean nothing with the reason")
    args = p.parse_args()
    args.build = os.path.abspath(args.build)
    return args


def show_cells():
    every, those = names()
    for name in every:
        fault, verb, _ = name.split("/")
        print(name if name in those else f"{name}  not applicable: {verb} {NOT_APPLICABLE[fault][verb]}")


def choose(args):
    every, those = names()
    if args.only:
        return fnmatch.filter(those, args.only)
    random.Random(args.seed).shuffle(those)
    return those[: args.count or len(those)]


COUNTS = ("requests", "faults_fired", "acked", "restores", "pages_compared", "blocked")


def main():
    args, began = parse(), time.monotonic()
    if args.list:
        return show_cells()
    for program in ("holdfast", "tests/soak/soak_acknowledged"):
        if not os.access(Path(args.build) / program, os.X_OK):
            print(f"{args.build}/{program}: not there; build with -Dtests=enabled", file=sys.stderr)
            return 2
    cells = choose(args)
    if not cells:
        print(f"no cell is called {args.only}: --list has them", file=sys.stderr)
        return 2
    args.dir = tempfile.mkdtemp(prefix="holdfast-store-", dir="/dev/shm")

    def stop(number, frame):
        """Told to end, and each child with it: at once, and nothing is left."""
        with contextlib.suppress(OSError):  # the first that is told does it
            shutil.rmtree(Path(args.dir).rename(f"{args.dir}-gone"), ignore_errors=True)
        os._exit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    (Path(args.dir) / "certificates").mkdir()
    args.certificates = make_certificates(str(Path(args.dir) / "certificates"))
    until = began + args.seconds if args.seconds else 0
    total, ran, found, slowest = collections.Counter(), 0, 0, 0
    with concurrent.futures.ProcessPoolExecutor(min(args.jobs, len(cells))) as pool:
        for done in concurrent.futures.as_completed([pool.submit(run_cell, args, name, until) for name in cells]):
            name, counts, wrong = done.result()
            if counts is None:
                continue
            ran, slowest = ran + 1, max(slowest, counts["slowest_ms"])
            total += counts
            if wrong:
                found += 1
                again = f"tests/proof/store_faults.py --build {args.build} --seed {args.seed} --only {name}"
                print(f"{name}: {wrong}\n  again: {again}", flush=True)
                if args.stop:
                    Path(args.dir, "stop").touch()
    shutil.rmtree(args.dir, ignore_errors=not args.only)
    every, those = names()
    counters = " ".join(f"{name}={total[name]}" for name in COUNTS)
    print(f"tier=store ran={ran} of={len(cells)} found={found} seconds={time.monotonic() - began:.0f}"
          f" cells_not_applicable={len(every) - len(those)} {counters} slowest_command_ms={slowest}")  # fmt: skip
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
