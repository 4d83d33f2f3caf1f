#!/usr/bin/python3 -B
"""kill -9, of everybody, at random moments: a tier of `make proof`.

    kill.py [--count 2000] [--seconds S] [--seed 1] [--only LIFE] [--stop] [--jobs 4] [--build build] [--dir DIR]

A life is one database, its writer (tests/soak/writer.c), its replica in a directory, and up to ROUNDS rounds. The
levels are so short that compaction and retention are always under way. In each round somebody is killed, 0.2 to
20 ms after something that could be seen of it:

  daemon      `holdfast replicate`, after an event of its log
  compaction  the same, while it is seen to write an object of level 1 or above
  application the writer; or it and the daemon together, in one instant
  recovery    the daemon, and then up to five times again while it starts
  library     a service with the replication inside and a barrier (tests/soak/acknowledged.c)
  restore     `holdfast restore`, or `restore -fast-forward` over an older copy
  verify      `holdfast verify`

What is judged:

  1. At once after the kill, with what the replica holds then: the restore is a state of the database that its
     writers had committed, and holds every commit that was acknowledged before the kill.
  2. All that was killed is started again, with no flag of any kind, and goes on by itself. When it says that all
     is safe, the restore is compared page for page with the database; leaves of the free list aside.
  3. A target of a restore that was killed is not there, or complete. Nothing is left beside it, nor in TMPDIR.

The same LIFE makes the same choices; moments are the machine's. At a failure its directory stays and is named.
"""
import argparse
import collections
import concurrent.futures
import contextlib
import json
import os
import random
import re
import select
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/soak"))

from soak import Failure, compare, create  # noqa: E402

ROUNDS = 20
PATIENCE = 30
SQLITE_TEMP = "etilqs_"  # SQLite's own, which it makes and unlinks at once; a kill between the two leaves one
PAGE_SIZES = [4096, 512, 1024, 65536, 2048, 8192]
OBJECT = re.compile(r"/ltx/([1-9])/")


def moment(rng):
    """0.2 to 20 ms, more often short."""
    return 0.0002 * 100 ** rng.random()


class Process:
    """A program, and the lines of one of its outputs."""

    def __init__(self, command, env, stream, **more):
        self.said, self.rest, self.command = [], b"", [str(word) for word in command]
        streams = {"stdin": subprocess.DEVNULL, stream: subprocess.PIPE, **more}
        self.p = subprocess.Popen(self.command, env=env, **streams)
        self.output = getattr(self.p, stream)
        self.over = False

    def read(self, patience):
        """More lines; False: the time is over, or it has ended."""
        if self.over or not select.select([self.output], [], [], max(0, patience))[0]:
            return False
        some = os.read(self.output.fileno(), 1 << 16)
        *lines, self.rest = (self.rest + some).split(b"\n")
        self.said += [line.decode() for line in lines]
        self.over = not some
        return not self.over

    def wait(self, words, since=0, patience=PATIENCE):
        """Until a line has one of these words; None: there is none."""
        end = time.monotonic() + patience
        while True:
            for line in self.said[since:]:
                if any(word in line for word in words):
                    return line
            since = len(self.said)
            if not self.read(end - time.monotonic()):
                return None

    def drain(self):
        while self.read(0):
            pass

    def stop(self):
        """No instruction more: what is read of it afterwards was said before."""
        if self.p.poll() is None:
            self.p.send_signal(signal.SIGSTOP)

    def kill(self):
        """Whether that ended it. What it said before is kept."""
        self.p.kill()
        code = self.p.wait(PATIENCE)
        while self.read(1):
            pass
        return code == -signal.SIGKILL

    def open_files(self):
        """What it has open now."""
        with contextlib.suppress(OSError):
            for fd in os.scandir(f"/proc/{self.p.pid}/fd"):
                with contextlib.suppress(OSError):
                    yield os.readlink(fd.path)

    def until_open(self, directory):
        """Until it has a file open there, or has ended."""
        while self.p.poll() is None and not any(path.startswith(directory) for path in self.open_files()):
            self.read(0)

    def is_writing(self):
        """The level of an object that it has open to write: nameless files are only in a level's directory for that."""
        found = (OBJECT.search(path) for path in self.open_files() if path.endswith("(deleted)"))
        return next((int(level[1]) for level in found if level), 0)

    def close(self):
        if self.p.poll() is None:
            self.p.kill()
            self.p.wait()
        for stream in (self.p.stdin, self.p.stdout, self.p.stderr):
            if stream:
                stream.close()


class Question:
    """POST /wait to the daemon, which may be killed before it answers."""

    def __init__(self, place, timeout_ms=5000):
        self.socket, self.text = socket.socket(socket.AF_UNIX), b""
        self.socket.settimeout(timeout_ms / 1000 + 5)
        # A path of its own is at most 107 bytes long, and that of a test is longer.
        directory = os.open(os.path.dirname(place), os.O_PATH)
        try:
            self.socket.connect(f"/proc/self/fd/{directory}/{os.path.basename(place)}")
        finally:
            os.close(directory)
        body = json.dumps({"timeout_ms": timeout_ms, "flush": True})
        head = f"POST /wait HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        self.socket.sendall((head + body).encode())

    def answer(self):
        """Its status; 0: it was cut off. Only once all of it is there it was given."""
        with contextlib.suppress(ConnectionError, TimeoutError):
            while some := self.socket.recv(65536):
                self.text += some
        self.socket.close()
        head, _, body = self.text.partition(b"\r\n\r\n")
        with contextlib.suppress(ValueError):
            json.loads(body)
            return int(head.split()[1])
        return 0


class Life:
    def __init__(self, args, seed):
        self.args, self.seed, self.rng = args, seed, random.Random(f"kill {seed}")
        self.dir = Path(args.dir) / f"life{seed}"
        self.run_dir, self.temp, self.out_dir = (self.dir / name for name in ("run", "tmp", "out"))
        for d in (self.run_dir, self.temp, self.out_dir):
            d.mkdir(parents=True)
        self.holdfast = Path(args.build) / "holdfast"
        self.db, self.replica = self.dir / "app.db", self.dir / "replica"
        self.env = {**os.environ, "RUNTIME_DIRECTORY": str(self.run_dir), "TMPDIR": str(self.temp)}
        self.counts = collections.Counter()
        self.daemon, self.writer, self.running = None, None, []
        self.acked, self.rows = 0, {}
        self.image, self.old, self.restore_s = None, None, 0.02
        self.page_size = self.rng.choice(PAGE_SIZES)
        self.options = [
            "-interval", self.rng.choice(["1ms", "5ms", "20ms"]),
            "-checkpoint-pages", self.rng.choice(["10", "50", "200"]),
            "-levels", self.rng.choice(["10ms,30ms,100ms", "20ms,50ms,200ms", "5ms,5ms,5ms"]),
            "-snapshot", self.rng.choice(["30ms", "100ms", "1s"]),
            "-keep-level0", self.rng.choice(["20ms", "100ms", "1s"]),
            "-keep-snapshots", self.rng.choice(["100ms", "1s"]),
            "-verify", self.rng.choice(["0", "100ms"]),
            "-log", "logfmt",
        ]  # fmt: skip
        create(self.db, self.rng, self.page_size)
        stat = os.stat(self.db)
        self.place = str(self.run_dir / f"socket/{stat.st_dev:x}-{stat.st_ino}")

    def note(self, text):
        if self.args.only is not None:
            print(f"{time.monotonic():.4f} {text}", file=sys.stderr)

    # ---- processes ----

    def start(self, *command, stream="stderr", **more):
        p = Process(command, self.env, stream, **more)
        self.running.append(p)
        return p

    def start_daemon(self):
        self.daemon = self.start(self.holdfast, "replicate", *self.options, self.db, self.replica)

    def start_writer(self):
        self.writer = self.start(
            Path(self.args.build) / "tests/soak/soak_writer", self.db, self.rng.randrange(1 << 31),
            stream="stdout", stdin=subprocess.PIPE, stderr=None,
        )  # fmt: skip

    def awake(self):
        """Everybody runs."""
        if not self.writer:
            self.start_writer()
        if not self.daemon:
            self.start_daemon()
        if not self.daemon.wait(["event=destination.ready"]):
            raise Failure(self.said("the daemon does not come up"))

    def said(self, what):
        self.daemon.read(0.1)
        code = self.daemon.p.poll()
        return f"{what}: {'it runs' if code is None else f'exit {code}'}: " + " | ".join(self.daemon.said[-4:])

    def check_alive(self):
        for p in (self.daemon, self.writer):
            if p and p.p.poll() is not None:
                p.drain()
                raise Failure(f"it ended by itself, exit {p.p.returncode}: {' '.join(p.command)}: {p.said[-3:]}")

    def kill(self, who, *names):
        """In one instant, as nearly as can be."""
        self.check_alive()
        for p in who:
            p.stop()
        level = self.daemon.is_writing() if self.daemon in who else 0
        for p in who:
            if not p.kill():
                raise Failure(f"it ended by itself, exit {p.p.returncode}: {' '.join(p.command)}: {p.said[-3:]}")
            p.close()
            self.running.remove(p)
            self.daemon = None if p is self.daemon else self.daemon
            self.writer = None if p is self.writer else self.writer
        for name in names:
            self.counts[f"kills_{name}"] += 1
        self.counts["kills_in_compaction"] += level > 0
        self.note(f"kill -9 {' '.join(names)}{f', writing level {level}' if level else ''}")

    def pause(self):
        since = len(self.writer.said)
        self.writer.p.stdin.write(b"p")
        self.writer.p.stdin.flush()
        if not self.writer.wait(["paused"], since):
            raise Failure("the writer does not pause")

    def resume(self):
        self.writer.p.stdin.write(b"g")
        self.writer.p.stdin.flush()

    def command(self, *words, expect=(0,)):
        p = subprocess.run([self.holdfast, *map(str, words)], env=self.env, capture_output=True, text=True, timeout=PATIENCE)
        if p.returncode not in expect:
            raise Failure(f"holdfast {' '.join(map(str, words))}: exit {p.returncode}: {p.stderr.strip()}")
        return p.returncode

    # ---- what was promised ----

    def seq(self):
        with contextlib.closing(sqlite3.connect(self.db, timeout=10)) as db:
            return db.execute("SELECT n FROM audit WHERE k = 'seq'").fetchone()[0]

    def ask(self, patience=PATIENCE):
        """The number of a commit, and the question whether it is safe."""
        seq, end = self.seq(), time.monotonic() + patience
        while True:
            try:
                return seq, Question(self.place)
            except OSError:
                if time.monotonic() > end:
                    raise Failure(self.said("nobody answers at the socket")) from None
            self.check_alive()
            self.daemon.read(0.002)

    def hear(self, seq, question):
        status = question.answer()
        if status == 200:
            self.acked = max(self.acked, seq)
            self.counts["acked"] += 1
        self.note(f"commit {seq}: {status or 'no answer'}")
        return status

    # ---- judgement ----

    def restored(self, expect=(0,), *options):
        """A new restore: its path; None: there is no backup."""
        out = self.out_dir / "restored.db"
        out.unlink(missing_ok=True)
        began = time.monotonic()
        code = self.command("restore", *options, self.replica, out, expect=expect)
        self.restore_s = time.monotonic() - began
        self.counts["restores"] += 1
        return out if code == 0 else None

    def judge(self, path):
        """What the writers promise of each commit; the number of the last."""
        with contextlib.closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as db:
            try:
                if not db.execute("SELECT 1 FROM sqlite_schema").fetchone():
                    return 0
                audit = dict(db.execute("SELECT k, n FROM audit"))
                rows, size = db.execute("SELECT count(*), cast(total(length(b)) AS INTEGER) FROM t").fetchone()
                promised = dict(db.execute("SELECT id, number FROM row")) if self.rows else {}
                verdict = db.execute("PRAGMA quick_check").fetchone()[0]
            except sqlite3.Error as e:
                raise Failure(f"the restored database: {e}") from None
        if verdict != "ok" or (audit["rows"], audit["bytes"]) != (rows, size):
            raise Failure(f"the restored database: {verdict}; {rows} rows of {size} bytes, the audit table says {audit}")
        lost = [row for row in self.rows.items() if promised.get(row[0]) != row[1]]
        if lost:
            raise Failure(f"{len(lost)} rows that were acknowledged are lost, the first: {lost[:3]}")
        return audit["seq"]

    def judge_now(self):
        """As if the machine were lost in this instant. Most often the writer waits, as it would take the processor."""
        waits = self.writer and self.rng.random() < 0.7
        if waits:
            self.writer.stop()
        path = self.restored((0, 3) if not self.acked and not self.rows else (0,))
        seq = self.judge(path) if path else 0
        if seq < self.acked:
            raise Failure(f"commit {self.acked} was acknowledged, the restore has {seq}")
        if waits:
            self.writer.p.send_signal(signal.SIGCONT)
        self.note(f"restored now: commit {seq}, {self.acked} was acknowledged")

    def same(self, path, what):
        image = path.read_bytes()
        compare(self.image, image, self.page_size, what)
        self.counts["pages_compared"] += len(image) // self.page_size
        return image

    def settle(self):
        """Start what was killed; all is shipped; the replica is the database."""
        self.awake()
        self.pause()
        seq, question = self.ask()
        if self.hear(seq, question) != 200:
            raise Failure(self.said(f"not safe in 5 s, the answer is {question.text.decode()[-200:]}"))
        with contextlib.closing(sqlite3.connect(self.db)) as db:
            self.image = db.serialize()
        path = self.restored()
        image = self.same(path, "restored")
        self.judge(path)
        self.counts["compared"] += 1
        if not self.old or self.rng.random() < 0.3:
            self.old = image
        self.note(f"settled: commit {seq}, {len(image) // self.page_size} pages are the same")

    # ---- rounds ----

    def kill_daemon(self, *names, also=(), writing=False):
        """With a question on its way, at a moment after an event."""
        self.daemon.drain()
        since = len(self.daemon.said)
        seq, question = self.ask()
        if writing:
            self.stop_while_it_writes()
        else:
            event = self.rng.choice(["", "", "", "ship ", "compact ", "retention ", "verify "])
            if event:
                self.daemon.wait([f"event={event}"], since, patience=0.1)
            time.sleep(moment(self.rng))
        self.kill([self.daemon, *also], *names)
        self.hear(seq, question)
        self.judge_now()

    def stop_while_it_writes(self):
        """An object of level 1 or above, which takes it some tenths of a millisecond."""
        end = time.monotonic() + 0.4
        while time.monotonic() < end:
            if self.daemon.is_writing():
                self.daemon.stop()
                if self.daemon.is_writing():
                    return
                self.daemon.p.send_signal(signal.SIGCONT)
            self.daemon.read(0)

    def round_daemon(self):
        self.kill_daemon("daemon")

    def round_compaction(self):
        self.kill_daemon("daemon", writing=True)

    def round_application(self):
        time.sleep(moment(self.rng))
        if self.rng.random() < 0.5:
            self.kill_daemon("application", "daemon", also=[self.writer])
        else:
            seq, question = self.ask()
            time.sleep(moment(self.rng))
            self.kill([self.writer], "application")
            self.hear(seq, question)
            self.judge_now()
            if self.rng.random() < 0.3:
                self.kill([self.daemon], "daemon")

    def round_recovery(self):
        self.kill_daemon("daemon")
        for _ in range(self.rng.randint(1, 5)):
            self.start_daemon()
            if self.rng.random() < 0.5:
                self.daemon.wait(["event="], patience=PATIENCE)
            time.sleep(moment(self.rng))
            if self.rng.random() < 0.2:
                self.kill([self.daemon, self.writer], "daemon", "recovery", "application")
                self.start_writer()
            else:
                self.kill([self.daemon], "daemon", "recovery")
        self.judge_now()

    def round_library(self):
        self.kill([self.daemon], "daemon")
        for _ in range(self.rng.randint(1, 3)):
            options = ["-threads", self.rng.choice([1, 4]), "-interval", self.rng.choice([1, 5, 20])]
            options += self.rng.choice([[], ["-flush"]]) + self.rng.choice([[], ["-own"]])
            program = Path(self.args.build) / "tests/soak/soak_acknowledged"
            app = self.start(program, self.db, self.replica, *options, stream="stdout")
            wanted = self.rng.choice(["ready", "a ", "a ", "a "])
            if not app.wait([wanted]):
                app.p.poll()
                raise Failure(f"the service does not say '{wanted}': exit {app.p.returncode}: {app.said[-3:]}")
            time.sleep(moment(self.rng))
            also = [self.writer] if self.rng.random() < 0.3 else []
            self.kill([app, *also], "library", *["application"] * len(also))
            promised = [tuple(map(int, line.split()[1:])) for line in app.said if line.startswith("a ")]
            self.rows.update(promised)
            self.counts["acked"] += len(promised)
            self.note(f"the service acknowledged {len(promised)} rows")
            if also:
                self.start_writer()
            self.judge_now()

    def round_restore(self):
        """The writer pauses and all is shipped, so that it is known what a complete target is; compaction and
        retention go on."""
        target, forward = self.out_dir / "target.db", self.rng.random() < 0.3
        (self.out_dir / "restored.db").unlink()
        for _ in range(self.rng.randint(1, 4)):
            target.unlink(missing_ok=True)
            words = ["-parallel", self.rng.choice([1, 4])]
            if forward:
                target.write_bytes(self.old)
                words.append("-fast-forward")
            p = self.start(self.holdfast, "restore", *words, self.replica, target, stdout=subprocess.DEVNULL)
            if self.rng.random() < 0.7:  # it has begun with its output
                p.until_open(str(self.out_dir))
                time.sleep(self.restore_s * self.rng.random() ** 3)
            else:
                time.sleep(self.restore_s * self.rng.random())
            p.stop()
            killed = p.kill()
            p.close()
            self.running.remove(p)
            if not killed and p.p.returncode not in ((0, 5) if forward else (0,)):
                raise Failure(f"restore: exit {p.p.returncode}: {p.said[-2:]}")
            self.counts["kills_restore"] += killed
            self.counts["kills_fast_forward"] += killed and forward
            there = target.exists()
            if not there and (forward or not killed):
                raise Failure("the target is gone" if forward else "restore says that it is done, and nothing is there")
            if there and not (forward and target.read_bytes() == self.old):
                self.same(target, "the target of a restore that was killed")
                self.counts["restores_complete"] += 1
            self.check_beside(target if forward else None, ["target.db"] * there)
            self.note(f"restore{' -fast-forward' * forward}: killed {killed}, target there {there}")
            if not there or forward:
                before = target.read_bytes() if there else None  # the old one, or what the first was done with
                code = self.command("restore", *words, self.replica, target, expect=(0, 5) if forward else (0,))
                if code == 0:
                    self.same(target, "the restore after a killed one")
                elif target.read_bytes() != before:  # what would prove that it is older is no longer kept
                    raise Failure("a fast-forward that was refused changed its target")
            self.check_beside(target if forward else None, ["target.db"])
        for left in self.out_dir.iterdir():
            left.unlink()

    def check_beside(self, forwarded, there):
        """Nothing lies beside a target, nor in TMPDIR; of a fast-forward that was killed an empty log and what was to
        become the new file."""
        found = sorted(f.name for d in (self.out_dir, self.temp) for f in d.iterdir() if not f.name.startswith(SQLITE_TEMP))
        if forwarded:
            log = forwarded.with_name("target.db-wal")
            if log.exists() and log.stat().st_size:
                raise Failure("a killed fast-forward left a log that is not empty")
            found = [f for f in found if f not in ("target.db-wal", "target.db-shm", "target.db.holdfast-new")]
        if found != there:
            raise Failure(f"this is left: {found}")

    def round_verify(self):
        (self.out_dir / "restored.db").unlink()
        for _ in range(self.rng.randint(1, 3)):
            words = ["verify", *self.rng.choice([[], ["-source", self.db]]), self.replica]
            p = self.start(self.holdfast, *words, stdout=subprocess.DEVNULL)
            time.sleep(moment(self.rng))
            p.stop()
            killed = p.kill()
            p.close()
            self.running.remove(p)
            if not killed and p.p.returncode != 0:
                raise Failure(f"{' '.join(map(str, words))}: exit {p.p.returncode}: {p.said[-2:]}")
            self.counts["kills_verify"] += killed
            self.check_beside(None, [])
        self.command(*words)

    KINDS = {"daemon": 4, "compaction": 5, "application": 4, "recovery": 3, "library": 2, "restore": 3, "verify": 2}

    def round(self):
        kind = self.rng.choices([*self.KINDS], [*self.KINDS.values()])[0]
        self.note(f"---- {kind}")
        quiet = kind in ("restore", "verify")
        self.awake()
        if not quiet and self.image:
            self.resume()
        elif quiet and not self.image:
            self.settle()
        getattr(self, f"round_{kind}")()
        self.settle()
        self.counts[f"rounds_{kind}"] += 1

    def close(self):
        for p in self.running:
            p.close()


def live(args, seed, rounds, until):
    """A life; what it counted, and what was wrong ("": nothing)."""
    life, wrong, stop = Life(args, seed), "", Path(args.dir, "stop")
    try:
        while life.counts["rounds"] < rounds and not (until and time.monotonic() > until) and not stop.exists():
            life.round()
            life.counts["rounds"] += 1
    except (Failure, subprocess.TimeoutExpired) as e:
        wrong = str(e) or type(e).__name__
    except Exception:
        wrong = traceback.format_exc()
    life.close()
    if not wrong:
        shutil.rmtree(life.dir)
    return seed, life.counts, wrong


def parse():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--count", type=int, default=2000, help="rounds (%(default)s)")
    p.add_argument("--seconds", type=float, default=0, help="stop when they are over; 0: never")
    p.add_argument("--seed", type=int, default=1, help="the first life")
    p.add_argument("--only", type=int, help="this life alone, and loudly")
    p.add_argument("--stop", action="store_true", help="at the first that is found")
    p.add_argument("--jobs", type=int, default=2 * (os.cpu_count() or 1), help="lives side by side (%(default)s)")
    p.add_argument("--build", default=str(ROOT / "build"))
    p.add_argument("--dir", help="where to work (a new one below /dev/shm)")
    args = p.parse_args()
    args.build = os.path.abspath(args.build)
    args.made = args.dir is None
    args.dir = os.path.abspath(args.dir or tempfile.mkdtemp(prefix="holdfast-kill-", dir="/dev/shm"))
    return args


COUNTS = [
    "kills_daemon", "kills_in_compaction", "kills_application", "kills_library", "kills_recovery", "kills_restore",
    "kills_fast_forward", "kills_verify", "restores", "compared", "pages_compared", "acked",
]  # fmt: skip


def main():
    args, began = parse(), time.monotonic()

    def stop(number, frame):
        """Told to end, and each child with it: at once, and nothing is left."""
        with contextlib.suppress(OSError):  # the first that is told does it
            if args.made:
                shutil.rmtree(Path(args.dir).rename(f"{args.dir}-gone"), ignore_errors=True)
        os._exit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    for program in ("holdfast", "tests/soak/soak_writer", "tests/soak/soak_acknowledged"):
        if not os.access(Path(args.build) / program, os.X_OK):
            print(f"{args.build}/{program}: not there; build with -Dtests=enabled", file=sys.stderr)
            return 2
    os.makedirs(args.dir, exist_ok=True)
    until = began + args.seconds if args.seconds else 0
    full, rest = divmod(args.count, ROUNDS)
    lives = [(args.seed + i, ROUNDS) for i in range(full)] + [(args.seed + full, rest)] * (rest > 0)
    if args.only is not None:
        lives = [(args.only, min(args.count, ROUNDS))]
    total, found = collections.Counter(), 0
    with concurrent.futures.ProcessPoolExecutor(args.jobs) as pool:
        for done in concurrent.futures.as_completed([pool.submit(live, args, *life, until) for life in lives]):
            seed, counts, wrong = done.result()
            total += counts
            if wrong:
                found += 1
                print(f"life {seed}, round {counts['rounds'] + 1}: {wrong}\n  its files: {args.dir}/life{seed}")
                print(f"  again: tests/kill/kill.py --build {args.build} --only {seed}", flush=True)
                if args.stop:
                    Path(args.dir, "stop").touch()
    if not found and args.made:
        shutil.rmtree(args.dir)
    of = sum(rounds for _, rounds in lives)
    rounds = " ".join(f"{name}={total[name]}" for name in COUNTS)
    print(f"tier=kill ran={total['rounds']} of={of} found={found} seconds={time.monotonic() - began:.0f} {rounds}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
