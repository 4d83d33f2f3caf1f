#!/usr/bin/python3
"""The long run: real processes, a real database, kill -9 at random moments. `make soak`.

    soak.py [--rounds 200] [--seed N] [--holdfast build/holdfast] [--writer build/tests/soak/soak_writer]
            [--dir DIR]

Each round, on one database and one to three replicas (a new set of both every few rounds, with another page
size, auto_vacuum mode and options):

  1. Writers (tests/soak/writer.c) and `holdfast replicate` run; either is killed with -9 at random moments
     and started again at once, sometimes several times before it has come up; replicate is sometimes ended
     by SIGTERM while writers write. It is never given a flag: nothing was lost, so it must go on by itself,
     and an exit of its own is a failure.
  2. In the middle the writers pause. When `holdfast status` says that all is durable, the TXID that it
     names is pinned and a copy of the database is kept.
  3. Writers end (or are killed); replicate drains at SIGTERM, in some rounds only after kill -9 and a new
     start. It must exit with 0.
  4. For each replica: the restored database equals the source page for page (but for leaves of the free
     list, whose content is nobody's), `verify` and `verify -source` exit with 0. The pinned TXID, and
     one pinned in an earlier round, restore to their copies. A random other restore point passes integrity_check and the writers' own audit table.

One line per round. At the first failure everything stays where it was, in the directory that is named.
"""
import argparse
import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

PAGE_SIZES = [4096, 512, 1024, 65536, 2048, 8192, 16384, 32768]
ROUNDS_PER_SET = 8


def create(path, rng, page_size):
    """What tests/soak/writer.c writes into."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"PRAGMA page_size={page_size}")
        db.execute(f"PRAGMA auto_vacuum={rng.randrange(3)}")
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v, b)")
        db.execute("CREATE TABLE audit(k TEXT PRIMARY KEY, n)")
        db.execute("INSERT INTO audit VALUES ('seq', 0), ('rows', 0), ('bytes', 0)")


class Failure(Exception):
    pass


def free_leaves(image, page_size):
    """Pages on the free list whose content does not matter: leaves, not trunks."""
    leaves, seen = set(), set()
    trunk = int.from_bytes(image[32:36], "big")
    while trunk and trunk not in seen:
        seen.add(trunk)
        at = (trunk - 1) * page_size
        count = int.from_bytes(image[at + 4 : at + 8], "big")
        for i in range(min(count, page_size // 4 - 2)):
            leaves.add(int.from_bytes(image[at + 8 + 4 * i : at + 12 + 4 * i], "big"))
        trunk = int.from_bytes(image[at : at + 4], "big")
    return leaves


def compare(source, restored, page_size, what):
    if len(source) != len(restored):
        raise Failure(f"{what}: {len(restored) // page_size} pages, the source has {len(source) // page_size}")
    if source == restored:
        return
    leaves = free_leaves(source, page_size)
    differ = [
        p
        for p in range(1, len(source) // page_size + 1)
        if p not in leaves and source[(p - 1) * page_size : p * page_size] != restored[(p - 1) * page_size : p * page_size]
    ]
    if differ:
        raise Failure(f"{what}: {len(differ)} pages differ, the first are {differ[:10]}")


def read(path):
    with open(path, "rb") as f:
        return f.read()


class Set:
    """One database, its replicas and the processes around them."""

    def __init__(self, args, number, rng):
        self.args, self.rng, self.number = args, rng, number
        self.dir = os.path.join(args.dir, f"set{number}")
        os.makedirs(os.path.join(self.dir, "run"))
        self.db = os.path.join(self.dir, "app.db")
        self.page_size = PAGE_SIZES[number % len(PAGE_SIZES)]
        self.urls = [os.path.join(self.dir, f"replica{i}") for i in range(rng.randint(1, 3))]
        self.options = [
            "-interval", rng.choice(["1ms", "20ms", "100ms"]),
            "-checkpoint-pages", rng.choice(["10", "50", "200", "1000"]),
            "-levels", rng.choice(["200ms,500ms,1500ms", "100ms,100ms,100ms", "1s,3s,9s"]),
            "-snapshot", rng.choice(["700ms", "3s", "1h"]),
            "-keep-level0", rng.choice(["300ms", "1s", "5m"]),
            "-keep-snapshots", rng.choice(["1s", "5s", "1h"]),
            "-verify", rng.choice(["0", "700ms"]),
            "-log", "logfmt",
        ]  # fmt: skip
        if rng.random() < 0.2:
            self.options.append("-frames")
        self.env = dict(os.environ, RUNTIME_DIRECTORY=os.path.join(self.dir, "run"), TMPDIR=self.dir)
        self.log = open(os.path.join(self.dir, "replicate.log"), "ab")
        self.writer_log = open(os.path.join(self.dir, "writers.log"), "ab")
        self.replicate, self.writers, self.kept = None, [], []
        self.kills = 0
        create(self.db, self.rng, self.page_size)

    def note(self, text):
        self.log.write(f"---- {time.time():.3f} {text}\n".encode())
        self.log.flush()

    # ---- processes ----

    def run(self, *words, expect=(0,)):
        p = subprocess.run(
            [self.args.holdfast, *words], env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120
        )
        if expect and p.returncode not in expect:
            raise Failure(f"holdfast {' '.join(words)}: exit {p.returncode}: {p.stderr.decode().strip()}")
        return p.stdout.decode()

    def start_replicate(self):
        self.replicate = subprocess.Popen(
            [self.args.holdfast, "replicate", *self.options, self.db, *self.urls],
            env=self.env, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
        )  # fmt: skip
        self.note(f"start replicate, process {self.replicate.pid}")

    def check_replicate(self):
        if self.replicate.poll() is not None:
            tail = read(self.log.name).decode(errors="replace").strip().splitlines()
            raise Failure(f"replicate ended by itself, exit {self.replicate.returncode}: {tail[-1]}")

    def kill_replicate(self):
        self.check_replicate()
        self.note("kill -9 replicate")
        self.replicate.kill()
        self.replicate.wait()
        self.kills += 1

    def end_replicate(self, exits=(0,)):
        code = -signal.SIGTERM
        while code == -signal.SIGTERM:  # it came before the handler was there
            self.check_replicate()
            self.note("SIGTERM replicate")
            self.replicate.send_signal(signal.SIGTERM)
            try:
                code = self.replicate.wait(60)
            except subprocess.TimeoutExpired:
                raise Failure("replicate does not end after SIGTERM")
            if code == -signal.SIGTERM:
                self.start_replicate()
                time.sleep(0.05)
        if code not in exits:
            tail = read(self.log.name).decode(errors="replace").strip().splitlines()
            raise Failure(f"replicate: exit {code} after SIGTERM: {tail[-1]}")

    def start_writer(self):
        self.writers.append(
            subprocess.Popen(
                [self.args.writer, self.db, str(self.rng.randrange(1 << 31))],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.writer_log,
            )  # fmt: skip
        )

    def end_writer(self, w, kill):
        if w.poll() is not None:
            raise Failure(f"a writer ended by itself, exit {w.returncode}: see {self.writer_log.name}")
        if kill:
            self.note("kill -9 a writer")
            w.kill()
            self.kills += 1
        w.stdin.close()
        code = w.wait(60)
        w.stdout.close()
        self.writers.remove(w)
        if not kill and code != 0:
            raise Failure(f"a writer: exit {code}: see {self.writer_log.name}")

    def stop_all(self):
        for p in self.writers + [self.replicate]:
            if p and p.poll() is None:
                p.kill()
                p.wait()

    # ---- what a round is made of ----

    def event(self):
        r = self.rng
        k = r.random()
        if k < 0.35:
            self.kill_replicate()
            if r.random() < 0.3:  # the application alone, for a while
                time.sleep(r.random() * 0.3)
            for _ in range(r.choice([0, 0, 1, 3])):  # killed again before it has come up
                self.start_replicate()
                time.sleep(r.random() * 0.06)
                self.replicate.kill()
                self.replicate.wait()
                self.kills += 1
            self.start_replicate()
        elif k < 0.65:
            self.end_writer(r.choice(self.writers), kill=True)
            self.start_writer()
        elif k < 0.75:  # everybody at once
            self.kill_replicate()
            for w in list(self.writers):
                self.end_writer(w, kill=True)
            if r.random() < 0.5:
                self.start_replicate()
                self.start_writer()
            else:
                self.start_writer()
                time.sleep(r.random() * 0.2)
                self.start_replicate()
        elif k < 0.82:  # every writer closes: the last close may delete the log
            self.kill_replicate()
            for w in list(self.writers):
                self.end_writer(w, kill=False)
            if r.random() < 0.5:
                self.start_replicate()
            self.start_writer()
            if self.replicate.poll() is not None:
                self.start_replicate()
        elif k < 0.9:
            self.end_replicate(exits=(0, 7))
            if r.random() < 0.5:
                time.sleep(r.random() * 0.3)
            self.start_replicate()
        elif len(self.writers) < 3:
            self.start_writer()
        elif len(self.writers) > 1:
            self.end_writer(r.choice(self.writers), kill=False)

    def traffic(self, seconds):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(self.rng.random() * 0.5)
            self.event()

    def pause(self):
        for w in self.writers:
            w.stdin.write(b"p")
            w.stdin.flush()
        for w in self.writers:
            if w.stdout.readline() != b"paused\n":
                raise Failure(f"a writer ended by itself, exit {w.wait()}: see {self.writer_log.name}")

    def middle(self):
        """Pause, wait until everything is durable, keep TXID and copy."""
        url = self.rng.choice(self.urls)
        self.pause()
        until = time.monotonic() + 60
        while True:
            self.check_replicate()
            out = self.run("status", "-json", self.db, url, expect=())
            s = json.loads(out) if out.startswith("{") else {}
            if s.get("state") == "safe" and s.get("commits_pending") == 0 and s.get("replicator_pid"):
                break
            if time.monotonic() > until:
                raise Failure(f"not durable 60 s after the last commit: {out or 'status failed'}")
            time.sleep(0.02)
        pins = pathlib.Path(url, "holdfast", "pins.json")
        old = json.loads(pins.read_text()) if pins.exists() else []
        new = pins.with_name(".pins.json.tmp")
        new.write_text(json.dumps([*old, {"txid": s["txid"]}]))
        new.rename(pins)
        image = self.source_image()
        for w in self.writers:
            w.stdin.write(b"g")
            w.stdin.flush()
        return url, s["txid"], image

    def source_image(self):
        """As the connections that are open see it. A writer that was killed between its last frame and the
        wal-index left a commit that only a recovery finds, when nobody has the database open."""
        db = sqlite3.connect(self.db, isolation_level=None)
        image = db.serialize()
        db.close()
        return image

    def restore(self, url, *options, expect=(0,)):
        out = os.path.join(self.dir, "restored.db")
        if os.path.exists(out):
            os.remove(out)
        self.run("restore", *options, url, out, expect=expect)
        return out

    def judge(self, path, what):
        """The database by itself: SQLite's check, and what the writers promise at each commit."""
        db = sqlite3.connect(f"file:{path}?immutable=1", uri=True)
        try:
            verdict = db.execute("PRAGMA integrity_check").fetchone()[0]
            if verdict != "ok":
                raise Failure(f"{what}: integrity_check: {verdict}")
            if not db.execute("SELECT 1 FROM sqlite_schema").fetchone():
                return 0  # TXID 1: an empty database
            audit = dict(db.execute("SELECT k, n FROM audit"))
            rows, size = db.execute("SELECT count(*), cast(total(length(b)) AS INTEGER) FROM t").fetchone()
        except sqlite3.Error as e:
            raise Failure(f"{what}: {e}")
        finally:
            db.close()
        if audit["rows"] != rows or audit["bytes"] != size:
            raise Failure(f"{what}: {rows} rows of {size} bytes, the audit table says {audit}")
        return audit["seq"]

    def check(self, source, kept):
        points = 0
        for url in self.urls:
            compare(source, read(self.restore(url)), self.page_size, f"{url} restored")
            self.run("verify", url)
            self.run("verify", "-source", self.db, url)
            listing = json.loads(self.run("list", "-json", url))
            points += len(listing)
            txid = self.rng.choice(listing)["txid"]
            out = self.restore(url, "-txid", str(txid), expect=(0, 3))  # 3: its past is no longer kept
            if os.path.exists(out):
                self.judge(out, f"{url} TXID {txid}")
        seq = self.judge(self.restore(self.urls[0]), f"{self.urls[0]} restored")
        self.kept.append(kept)
        for url, txid, image in kept, self.rng.choice(self.kept):
            compare(image, read(self.restore(url, "-txid", str(txid))), self.page_size, f"{url} TXID {txid}")
        return seq, len(source) // self.page_size, points, kept[1]

    def round(self, number):
        start, self.kills = time.monotonic(), 0
        r = self.rng
        self.note(f"round {number}")
        for starter in r.sample([self.start_writer, self.start_replicate], 2):
            starter()
            if r.random() < 0.3:
                time.sleep(r.random() * 0.2)
        self.traffic(r.random() * 1.2)
        kept = self.middle()
        self.traffic(r.random() * 1.2)
        for w in list(self.writers):
            self.end_writer(w, kill=r.random() < 0.4)
        if r.random() < 0.4:
            self.kill_replicate()
            self.start_replicate()
        source = self.source_image()
        self.end_replicate()
        seq, pages, points, txid = self.check(source, kept)
        print(
            f"round {number:3d} ok  {time.monotonic() - start:4.1f} s  page {self.page_size:5d}"
            f"  {len(self.urls)} replicas  {self.kills:2d} kills  commit {seq:6d}  {pages:5d} pages"
            f"  {points:4d} objects  middle TXID {txid}",
            flush=True,
        )

    def close(self):
        self.stop_all()
        self.log.close()
        self.writer_log.close()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--rounds", type=int, default=200)
    p.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    p.add_argument("--holdfast", default="build/holdfast")
    p.add_argument("--writer", default="build/tests/soak/soak_writer")
    p.add_argument("--dir", help="where to work; kept after a failure (a new one below /var/tmp)")
    args = p.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # leave no process behind
    args.holdfast, args.writer = os.path.abspath(args.holdfast), os.path.abspath(args.writer)
    args.dir = args.dir or tempfile.mkdtemp(prefix="holdfast-soak-", dir="/var/tmp")
    os.makedirs(args.dir, exist_ok=True)
    print(f"seed {args.seed}, {args.rounds} rounds, in {args.dir}", flush=True)
    rng, start, kills, current, number = random.Random(args.seed), time.monotonic(), 0, None, 0
    try:
        for number in range(1, args.rounds + 1):
            if (number - 1) % ROUNDS_PER_SET == 0:
                if current:
                    current.close()
                    shutil.rmtree(current.dir)
                current = Set(args, (number - 1) // ROUNDS_PER_SET, rng)
            current.round(number)
            kills += current.kills
    except (Failure, subprocess.TimeoutExpired, KeyboardInterrupt) as e:
        print(f"round {number} FAILED: {str(e) or 'interrupted'}\nseed {args.seed}, everything is in {current.dir}")
        return 1
    finally:
        if current:
            current.close()
    shutil.rmtree(args.dir)
    print(f"{args.rounds} rounds passed, 0 failed, {kills} kills, {time.monotonic() - start:.0f} s, seed {args.seed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
