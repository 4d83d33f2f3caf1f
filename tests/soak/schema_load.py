#!/usr/bin/python3
"""A large table is backfilled and rebuilt while another program writes: what it costs that one. `make soak`.

    schema_load.py [--rows 2000000] [--rate 500] [--legs alone,replicated] [--build build] [--dir DIR]

In each leg, on a database of its own, tests/soak/schema_writer.c writes 500 transactions a second, through to the end:

  nothing     only it
  backfill    expand, sync, backfill and verify of a migration that splits a column of every row
  rehearsal   the contract is rehearsed on a copy, which says how long the rebuild will hold the write lock
  rebuild     the contract: the table is made anew
  after       only it

The leg `replicated` has `holdfast replicate` beside it. What is printed of each: the writer's delays (from when each
transaction was due) and the transactions themselves, p50, p99 and the greatest; the greatest size of the log.

Fails when: the writer failed; a row or a count that it was answered is missing; the log grew beyond 64 MiB in the
backfill; the backfill's p99 is above --p99-ms; the rehearsal's time for the lock of the rebuild is not within a factor
of two of the true one; the replica does not hold what the database holds.
"""
import argparse
import contextlib
import json
import os
import pathlib
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

MIGRATIONS = {
    "10_split.sql": """
-- holdfast:expand
ALTER TABLE person ADD COLUMN first TEXT;
ALTER TABLE person ADD COLUMN last TEXT;
-- holdfast:sync
CREATE TRIGGER split_i AFTER INSERT ON person WHEN new.first IS NULL BEGIN
    UPDATE person SET first = substr(new.name, 1, instr(new.name || ' ', ' ') - 1),
        last = substr(new.name, instr(new.name || ' ', ' ') + 1) WHERE id = new.id;
END;
-- holdfast:backfill table=person key=id where="first IS NULL"
UPDATE person SET first = substr(name, 1, instr(name || ' ', ' ') - 1), last = substr(name, instr(name || ' ', ' ') + 1)
WHERE id > :lo AND id <= :hi AND first IS NULL;
-- holdfast:verify
SELECT count(*) FROM person WHERE first IS NULL;
-- holdfast:contract compatible
-- holdfast:rebuild person notnull=balance strict
-- holdfast:revert
ALTER TABLE person DROP COLUMN last;
ALTER TABLE person DROP COLUMN first;
""",
}
LOG_MOST = 64 << 20


class Failure(Exception):
    pass


def create(path, rows):
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as c:
        c.execute("PRAGMA journal_mode=WAL")
        c.execute("PRAGMA synchronous=OFF")
        c.execute("CREATE TABLE person(id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT, balance INTEGER DEFAULT 0)")
        c.execute("CREATE TABLE child(id INTEGER PRIMARY KEY, person INTEGER REFERENCES person(id) ON DELETE CASCADE)")
        c.execute("CREATE INDEX person_email ON person(email)")
        for first in range(1, rows + 1, 100000):
            c.execute(
                "INSERT INTO person(id, name, email) WITH n(i) AS (VALUES (?1) UNION ALL SELECT i + 1 FROM n WHERE i < ?2)"
                " SELECT i, 'Ada Lovelace ' || i, 'ada' || i || '@example.org' FROM n",
                (first, min(first + 99999, rows)),
            )
        c.execute("INSERT INTO child(person) SELECT id FROM person WHERE id % 100 = 0")
        c.execute("PRAGMA wal_checkpoint(TRUNCATE)")


class LogSize(threading.Thread):
    """The greatest size of the log since it was last asked."""

    def __init__(self, db):
        super().__init__(daemon=True)
        self.path, self.most, self.over = f"{db}-wal", 0, threading.Event()
        self.start()

    def run(self):
        while not self.over.wait(0.005):
            with contextlib.suppress(FileNotFoundError):
                self.most = max(self.most, os.stat(self.path).st_size)

    def take(self):
        most, self.most = self.most, 0
        return most


class Leg:
    def __init__(self, args, name):
        self.args, self.name = args, name
        self.dir = pathlib.Path(args.dir) / name
        (self.dir / "migrations").mkdir(parents=True)
        (self.dir / "run").mkdir()
        self.db, self.replica = self.dir / "app.db", self.dir / "replica"
        self.env = dict(os.environ, RUNTIME_DIRECTORY=str(self.dir / "run"), TMPDIR=str(self.dir))
        for file, text in MIGRATIONS.items():
            (self.dir / "migrations" / file).write_text(text)
        create(self.db, args.rows)
        self.replicated = name == "replicated"
        self.figures = []

    def holdfast(self, *words, code=0):
        command = [str(pathlib.Path(self.args.build) / "holdfast"), *map(str, words)]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=1800)
        if code is None:
            return done.stdout if done.returncode == 0 else None
        if done.returncode != code:
            raise Failure(f"holdfast {' '.join(map(str, words))}: exit {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def schema(self, verb, *options):
        return json.loads(self.holdfast("schema", verb, "-dir", self.dir / "migrations", "-json", *options, self.db))

    @contextlib.contextmanager
    def phase(self, name):
        """What the writer does meanwhile is told under this name."""
        self.log.take()
        self.writer.stdin.write(name + "\n")
        self.writer.stdin.flush()
        began = time.monotonic()
        yield
        self.figures.append((name, time.monotonic() - began, self.log.take()))
        if self.writer.poll() is not None:
            raise Failure(f"the writer has ended: {self.writer.stderr.read()}")

    def run(self):
        processes = contextlib.ExitStack()
        with processes:
            if self.replicated:
                said = open(self.dir / "replicate.log", "w")
                command = [str(pathlib.Path(self.args.build) / "holdfast"), "replicate", str(self.db), str(self.replica)]
                replicate = subprocess.Popen(command, env=self.env, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
                processes.callback(lambda: replicate.poll() is None and replicate.kill())
                end = time.monotonic() + 300
                while time.monotonic() < end and self.holdfast("wait", "-timeout", "300s", self.db, code=None) is None:
                    time.sleep(0.05)
            self.writer = subprocess.Popen(
                [str(pathlib.Path(self.args.build) / "tests/soak/soak_schema_writer"), str(self.db), str(self.args.rate)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
            processes.callback(lambda: self.writer.poll() is None and self.writer.kill())
            self.log = LogSize(self.db)
            processes.callback(self.log.over.set)
            point = () if self.replicated else ("-no-restore-point",)
            with self.phase("nothing"):
                time.sleep(self.args.quiet)
            with self.phase("backfill"):
                self.schema("apply", *point, "-phase", "verify")
            with self.phase("rehearsal"):
                rehearsed = self.schema("rehearse", "-from", "live")
            with self.phase("rebuild"):
                self.schema("apply", *point)
            with self.phase("after"):
                time.sleep(self.args.quiet)
            said, wrong = self.writer.communicate()
            if self.writer.returncode != 0:
                raise Failure(f"the writer: exit {self.writer.returncode}: {wrong}")
            if self.replicated:
                self.holdfast("sync", self.db)
                replicate.send_signal(signal.SIGTERM)
                if replicate.wait(300) != 0:
                    raise Failure(f"replicate: exit {replicate.returncode}: see {self.dir}/replicate.log")
        self.judge(said.splitlines(), rehearsed)

    def judge(self, lines, rehearsed):
        told = {line.split()[0]: line.split() for line in lines[:-1]}
        print(f"{self.name}: {self.args.rows} rows, {self.args.rate} transactions a second beside"
              f"{', and holdfast replicate' * self.replicated}; microseconds")  # fmt: skip
        print(f"  {'':<10} {'s':>6} {'count':>7} {'due p50':>8} {'p99':>8} {'max':>9} {'tx p50':>8} {'p99':>8} {'max':>9} {'log MiB':>8}")
        for name, seconds, most in self.figures:
            t = told[name]
            print(f"  {name:<10} {seconds:6.1f} {t[1]:>7} {t[3]:>8} {t[5]:>8} {t[7]:>9} {t[10]:>8} {t[12]:>8} {t[14]:>9} {most / (1 << 20):8.1f}")
            if name == "backfill":
                if most > LOG_MOST:
                    raise Failure(f"the log grew to {most >> 20} MiB in the backfill")
                if int(t[12]) > self.args.p99_ms * 1000:
                    raise Failure(f"the writer's p99 in the backfill: {int(t[12]) / 1000} ms")
        self.compare_lock(rehearsed)
        total, rows = int(lines[-1].split()[1]), int(lines[-1].split()[3])
        self.check(self.db, total, rows)
        if self.replicated:
            self.holdfast("verify", "-source", self.db, self.replica)
            self.holdfast("restore", self.replica, self.dir / "restored.db")
            self.check(self.dir / "restored.db", total, rows)
        print(f"  {total} transactions and {rows} rows answered, all there{', and in the replica' * self.replicated}", flush=True)

    def compare_lock(self, rehearsed):
        estimate = [s["lock_ms"] for s in rehearsed["steps"] if s["step"] == "contract"][-1]
        with contextlib.closing(sqlite3.connect(self.db)) as c:
            (true,) = c.execute("SELECT lock_us / 1000.0 FROM holdfast_step WHERE step = 'contract'").fetchone()
            batches = c.execute("SELECT lock_us / 1000.0, rows FROM holdfast_step WHERE step LIKE 'backfill%'").fetchall()
        print(f"  the rebuild held the write lock for {true:.0f} ms; the rehearsal had said {estimate} ms; the backfill: {batches}")
        if not true / self.args.factor <= estimate <= true * self.args.factor:
            raise Failure(f"the rehearsal said {estimate} ms, and it was {true} ms")

    def check(self, path, total, rows):
        with contextlib.closing(sqlite3.connect(path)) as c:
            got = c.execute("SELECT sum(balance), count(*) FROM person").fetchone()
            if got != (total, self.args.rows + rows):
                raise Failure(f"{path.name}: {got}, not {(total, self.args.rows + rows)}")
            for query, want in (
                ("SELECT count(*) FROM person WHERE first IS NOT NULL AND first || ' ' || last <> name", 0),
                (f"SELECT count(*) FROM person WHERE first IS NULL AND id <= {self.args.rows}", 0),
                ("SELECT count(*) FROM child", self.args.rows // 100),
                ("SELECT strict FROM pragma_table_list WHERE name = 'person'", 1),
                ("SELECT count(*) FROM pragma_foreign_key_check", 0),
                ("SELECT * FROM pragma_integrity_check", "ok"),
            ):
                got = c.execute(query).fetchone()[0]
                if got != want:
                    raise Failure(f"{path.name}: {query}: {got}, not {want}")


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--rows", type=int, default=2000000)
    options.add_argument("--rate", type=int, default=500)
    options.add_argument("--legs", default="alone,replicated")
    options.add_argument("--quiet", type=float, default=10, help="seconds of the phases in which nothing else runs")
    options.add_argument("--p99-ms", type=float, default=100)
    options.add_argument("--factor", type=float, default=2, help="between a rehearsal's time and the true one")
    options.add_argument("--build", default="build")
    options.add_argument("--dir")
    args = options.parse_args()
    args.dir = args.dir or tempfile.mkdtemp(prefix="holdfast-load-")
    for name in args.legs.split(","):
        try:
            Leg(args, name).run()
        except (Failure, subprocess.TimeoutExpired) as e:
            print(f"schema_load: {name}: {e}\nwhat is left: {args.dir}/{name}")
            return 1
    shutil.rmtree(args.dir)
    return 0


sys.exit(main())
