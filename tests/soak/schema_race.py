#!/usr/bin/python3
"""Who changes the schema when everybody does: rounds of sixteen `holdfast schema apply` at once, killed with -9 at
random moments. `make soak`.

    schema_race.py [--rounds 100] [--processes 16] [--seed N] [--build build] [--dir DIR]

Each round, on a database of its own with three thousand rows and ten migrations (ordinary ones whose statements count how
often they were run, two phased ones with backfills that are not the same when done twice, one of them a slow one, a rebuild of a table with
children, one of noise):

  1. Sixteen runners start at once, while an old program writes. Some of them are killed with -9, at random moments, and
     each time another is started in its place; in some rounds every one of them is. Those that are left must end with 0.
  2. In some rounds an old program lives, and has said so: then nobody passes the contract, and each runner ends with 11
     and names it; it is killed with -9, and the next run contracts.
  3. Each migration is done; each of its steps has one row of history, and has had its effects once; each row was
     backfilled once; what the old program was answered is there. Nobody holds a lock. SQLite finds the file whole. A
     further run finds nothing to do, and writes nothing.
  4. What must be found out is: a file that was edited, one that is missing, an index that the sqlite3 command made, and
     an old program that opens the database then, and is refused before it has written.

One line per round, and the sums at the end. At the first failure everything stays where it was.
"""
import argparse
import contextlib
import fcntl
import json
import os
import pathlib
import random
import shutil
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time

WAITS, DIFFERS, UNFIT = 11, 5, 6
ROWS, SLOW = 3000, 200

FILES = {
    "10_begin.sql": f"""
CREATE TABLE person(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, seen INTEGER NOT NULL DEFAULT 0,
    spare TEXT);
CREATE TABLE child(id INTEGER PRIMARY KEY, person INTEGER NOT NULL REFERENCES person(id) ON DELETE CASCADE);
CREATE TABLE effect(what TEXT NOT NULL);
CREATE TABLE answered(n INTEGER PRIMARY KEY);
CREATE TABLE slow(id INTEGER PRIMARY KEY, n INTEGER NOT NULL);
INSERT INTO slow WITH n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < {SLOW}) SELECT i, 0 FROM n;
INSERT INTO person(name) WITH n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
    SELECT 'Ada Lovelace ' || i FROM n;
INSERT INTO child(person) SELECT id FROM person;
CREATE VIEW people AS SELECT id, name FROM person;
CREATE TRIGGER person_gone AFTER DELETE ON person BEGIN INSERT INTO effect VALUES ('a person is gone'); END;
""",
    "20_index.sql": "CREATE INDEX person_name ON person(name);\nINSERT INTO effect VALUES ('20');\n",
    "30_split.sql": """
-- holdfast:expand
ALTER TABLE person ADD COLUMN first TEXT;
ALTER TABLE person ADD COLUMN touched INTEGER NOT NULL DEFAULT 0;
INSERT INTO effect VALUES ('30 expand');
-- holdfast:sync
CREATE TRIGGER split_i AFTER INSERT ON person BEGIN
    UPDATE person SET first = substr(new.name, 1, instr(new.name || ' ', ' ') - 1), touched = touched + 1
    WHERE id = new.id;
END;
-- holdfast:backfill table=person key=id batch=40 target=1ms
UPDATE person SET first = substr(name, 1, instr(name || ' ', ' ') - 1), touched = touched + 1
WHERE id > :lo AND id <= :hi;
-- holdfast:verify
SELECT count(*) FROM person WHERE first IS NULL OR touched = 0;
-- holdfast:contract
INSERT INTO effect VALUES ('30 contract');
-- holdfast:rebuild person notnull=first
-- holdfast:revert
ALTER TABLE person DROP COLUMN touched;
ALTER TABLE person DROP COLUMN first;
""",
    "40_more.sql": "INSERT INTO effect VALUES ('40');\nUPDATE person SET seen = seen + 1;\n",
    "60_count.sql": """
-- holdfast:backfill table=person key=id batch=100
UPDATE person SET seen = seen + 1 WHERE id > :lo AND id <= :hi;
-- holdfast:backfill table=child key=id batch=100
UPDATE child SET person = person WHERE id > :lo AND id <= :hi;
-- holdfast:backfill table=slow key=id batch=1 target=1ms
UPDATE slow SET n = n + (WITH c(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM c WHERE i < 4000 + slow.id % 2)
                         SELECT min(i) FROM c) WHERE id > :lo AND id <= :hi;
-- holdfast:verify
SELECT count(*) FROM child WHERE person NOT IN (SELECT id FROM person);
-- holdfast:contract compatible
INSERT INTO effect VALUES ('60 contract');
""",
    "70_drop.sql": "DROP VIEW people;\nALTER TABLE person DROP COLUMN spare;\nINSERT INTO effect VALUES ('70');\n",
    "80_table.sql": """
INSERT INTO effect VALUES ('80');
-- holdfast:rebuild child
CREATE TABLE child(id INTEGER PRIMARY KEY, person INTEGER NOT NULL REFERENCES person(id) ON DELETE CASCADE) STRICT;
""",
    "90_last.sql": "-- migrate:up\nINSERT INTO effect VALUES ('90');\n-- migrate:down\nDELETE FROM effect WHERE what = '90';\n",
    "noise/50_seen.sql": "CREATE TABLE sighting(node TEXT PRIMARY KEY, at INTEGER);\nINSERT INTO sighting VALUES ('n', 1);\n",
    "noise/85_seen.sql": "UPDATE sighting SET at = at + 1;\n",
}  # fmt: skip
EFFECTS = sorted(["20", "30 expand", "30 contract", "40", "60 contract", "70", "80", "90"])
BEFORE_CONTRACT = 20  # the newest version that an old program knows

OLD_PROGRAM = """
import sqlite3, sys
c = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
c.enable_load_extension(True)
c.load_extension(sys.argv[2])
c.execute("SELECT holdfast_schema_join('old program', ?)", (int(sys.argv[3]),))
print("joined", flush=True)
n = int(sys.argv[4])
while n:
    try:
        c.execute("BEGIN IMMEDIATE")
        c.execute("INSERT INTO person(name) VALUES ('Old Hand ' || ?)", (n,))
        c.execute("INSERT INTO answered VALUES (?)", (n,))
        c.execute("COMMIT")
    except sqlite3.Error as e:
        if c.in_transaction: c.execute("ROLLBACK")
        print("refused", e, flush=True)
        break
    print(n, flush=True)
    n += 1
sys.stdin.read()
"""


class Failure(Exception):
    pass


class Round:
    def __init__(self, args, number, rng):
        self.args, self.rng, self.number = args, rng, number
        self.dir = pathlib.Path(args.dir) / f"round{number}"
        (self.dir / "migrations/noise").mkdir(parents=True)
        (self.dir / "run").mkdir()
        self.db, self.noise = self.dir / "app.db", self.dir / "app-noise.db"
        self.kills, self.started = 0, 0
        self.env = dict(os.environ, RUNTIME_DIRECTORY=str(self.dir / "run"), TMPDIR=str(self.dir))
        for name, text in FILES.items():
            (self.dir / "migrations" / name).write_text(text)
        for path in self.db, self.noise:
            with contextlib.closing(sqlite3.connect(path)) as c:
                c.execute("PRAGMA journal_mode=WAL")

    # ---- processes ----

    def command(self, verb, *options):
        return [str(pathlib.Path(self.args.build) / "holdfast"), "schema", verb, "-dir", str(self.dir / "migrations"),
                "-noise", str(self.noise), "-json", *map(str, options), str(self.db)]  # fmt: skip

    def schema(self, verb, *options, code=0):
        done = subprocess.run(self.command(verb, *options), env=self.env, capture_output=True, text=True, timeout=120)
        if done.returncode != code:
            raise Failure(f"schema {verb} {options}: exit {done.returncode}, not {code}: {done.stdout}{done.stderr}")
        return done

    def start(self):
        self.started += 1
        log = open(self.dir / f"runner{self.started}", "w+")
        command = self.command("apply", "-no-restore-point", "-timeout", "100s")
        return subprocess.Popen(command, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log), log

    def old_program(self, first, known=BEFORE_CONTRACT):
        extension = pathlib.Path(self.args.build) / "src/ext/holdfast.so"
        command = [sys.executable, "-c", OLD_PROGRAM, str(self.db), str(extension), str(known), str(first)]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def has_it_open(self, pid):
        """Is it that one's turn? Those who wait have closed the database."""
        with contextlib.suppress(OSError):
            return any(os.readlink(fd) == f"{self.db}-wal" for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir())
        return False

    def runners(self, code):
        """Sixteen at once; some are killed, and others come in their place. The codes of those that ended."""
        running = [self.start() for _ in range(self.args.processes)]
        everyone = self.rng.random() < 0.25
        kills = self.args.processes * 2 if everyone else self.rng.randrange(self.args.processes)
        pace = self.rng.choice([0.02, 0.06, 0.15])  # early steps are met by the first, late ones by the last
        for _ in range(kills):
            time.sleep(self.rng.random() * pace)
            alive = [r for r in running if r[0].poll() is None]
            if not alive:
                break
            busy = [r for r in alive if self.has_it_open(r[0].pid)] if self.rng.random() < 0.8 else []
            process, _ = self.rng.choice(busy or alive)
            process.kill()
            process.wait()
            self.kills += 1
            running.append(self.start())
        for process, log in running:
            got = process.wait(120)
            if got not in (code, -9):
                log.seek(0)
                raise Failure(f"a runner: exit {got}, not {code}: {log.read()}")
            log.close()
        return [p.returncode for p, _ in running]

    # ---- what must be so ----

    def ask(self, path, query):
        with contextlib.closing(sqlite3.connect(path, timeout=10)) as c:
            return c.execute(query).fetchall()

    def expect(self, got, want, what):
        if got != want:
            raise Failure(f"{what}: {got}, not {want}")

    def locks(self):
        """Bytes of app.db-schema that somebody holds."""
        fd = os.open(f"{self.db}-schema", os.O_RDWR)
        try:
            held = []
            for byte in (0, 1, *range(16, 16 + 64)):
                lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
                if struct.unpack("hhqqi4x", fcntl.fcntl(fd, fcntl.F_OFD_GETLK, lock))[0] != fcntl.F_UNLCK:
                    held.append(byte)
            return held
        finally:
            os.close(fd)

    def check(self, answered):
        versions = {False: [], True: []}
        for name in FILES:
            versions["noise" in name].append(int(pathlib.Path(name).name.split("_")[0]))
        for path, noise in (self.db, False), (self.noise, True):
            done = self.ask(path, "SELECT version FROM holdfast_migration WHERE phase = 'done' ORDER BY 1")
            self.expect([v for (v,) in done], sorted(versions[noise]), f"{path.name}: migrations done")
            twice = self.ask(path, "SELECT version, step, count(*) FROM holdfast_step GROUP BY 1, 2 HAVING count(*) > 1")
            self.expect(twice, [], f"{path.name}: steps that were done twice")
            self.expect(self.ask(path, "PRAGMA integrity_check"), [("ok",)], path.name)
            self.expect(self.ask(path, "PRAGMA foreign_key_check"), [], path.name)
        steps = [s for (s,) in self.ask(self.db, "SELECT step FROM holdfast_step WHERE version = 30 ORDER BY rowid")]
        if len(steps) < 4 or steps[-1] != "contract":
            raise Failure(f"the steps of 30: {steps}")
        self.expect(sorted(w for (w,) in self.ask(self.db, "SELECT what FROM effect")), EFFECTS, "effects")
        self.expect(self.ask(self.noise, "SELECT * FROM sighting"), [("n", 2)], "noise")
        rows = ROWS + len(answered)
        self.expect(self.ask(self.db, "SELECT count(*) FROM person"), [(rows,)], "rows")
        self.expect(self.ask(self.db, "SELECT count(*) FROM child"), [(ROWS,)], "children")
        self.expect([n for (n,) in self.ask(self.db, "SELECT n FROM answered")], answered, "what was answered")
        once = self.ask(self.db, f"SELECT DISTINCT touched, seen FROM person WHERE id <= {ROWS}")
        self.expect(once, [(1, 2)], "backfilled once")
        self.expect(self.ask(self.db, "SELECT n, count(*) FROM slow GROUP BY 1"), [(1, SLOW)], "backfilled slowly, once")
        self.expect(self.ask(self.db, "SELECT count(*) FROM person WHERE first IS NULL"), [(0,)], "split")
        self.expect(self.locks(), [], "locks that are held")
        with contextlib.closing(sqlite3.connect(self.db)) as c, contextlib.closing(sqlite3.connect(self.noise)) as n:
            before = [f.execute("PRAGMA data_version").fetchone() for f in (c, n)]
            self.expect(json.loads(self.schema("apply", "-no-restore-point").stdout)["applied"], [], "a further run")
            after = [f.execute("PRAGMA data_version").fetchone() for f in (c, n)]
            self.expect(after, before, "a further run has written")
        self.schema("drift")

    def find_out(self):
        """Each mistake is named, and nothing is changed."""
        edited = self.dir / "migrations/40_more.sql"
        text = edited.read_text()
        edited.write_text(text + "-- Later.\n")
        if "40_more.sql" not in self.schema("apply", "-no-restore-point", code=DIFFERS).stderr:
            raise Failure("the edited file is not named")
        edited.unlink()
        if "40_more.sql" not in self.schema("apply", "-no-restore-point", code=DIFFERS).stderr:
            raise Failure("the missing file is not named")
        edited.write_text(text)
        subprocess.run(["sqlite3", str(self.db), "CREATE INDEX by_hand ON person(seen)"], check=True)
        if "by_hand" not in self.schema("drift", code=DIFFERS).stdout:
            raise Failure("what sqlite3 made is not named")
        before = self.ask(self.db, "SELECT count(*) FROM person")
        old = self.old_program(1000000)
        said = old.communicate(timeout=60)[0]
        if old.returncode == 0 or "newer" not in said:
            raise Failure(f"an old program opens the database after the contract: exit {old.returncode}: {said}")
        self.expect(self.ask(self.db, "SELECT count(*) FROM person"), before, "an old program has written")
        self.expect(self.locks(), [], "locks that are held")

    def run(self):
        began = time.monotonic()
        self.schema("apply", "-no-restore-point", "-to", 10)
        # An old program, which lives until the contract has been refused; in the other rounds one that ends first.
        lives = self.rng.random() < 0.5
        old = self.old_program(1)
        if old.stdout.readline() != "joined\n":
            raise Failure(f"an old program cannot join: {old.stdout.read()}")
        ended = []
        if lives:
            ended += self.runners(WAITS)
            waits = json.loads(self.schema("apply", "-no-restore-point", code=WAITS).stdout)["waits"]
            if not waits or "old program" not in json.dumps(waits):
                raise Failure(f"who the contract waits for is not named: {waits}")
        else:
            for _ in range(self.rng.randrange(40)):
                old.stdout.readline()
        old.kill()
        for line in old.communicate()[0].splitlines():
            if line.startswith("refused"):
                raise Failure(f"the old program: {line}")
        ended += self.runners(0)
        answered = [n for (n,) in self.ask(self.db, "SELECT n FROM answered")]
        said = self.ask(self.db, "SELECT count(*) FROM person WHERE name LIKE 'Old Hand%'")[0][0]
        self.expect(said, len(answered), "rows of the old program")
        self.check(answered)
        self.find_out()
        print(f"round {self.number:3d} ok  {time.monotonic() - began:4.1f} s  {len(ended)} runners, {self.kills} killed"
              f"{', an old program lived' * lives}, {len(answered)} rows written beside", flush=True)  # fmt: skip
        shutil.rmtree(self.dir)
        return self.kills, len(ended), len(answered), lives


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=100)
    options.add_argument("--processes", type=int, default=16)
    options.add_argument("--seed", type=int, default=None)
    options.add_argument("--build", default="build")
    options.add_argument("--dir")
    args = options.parse_args()
    seed = args.seed if args.seed is not None else random.randrange(1 << 30)
    args.dir = args.dir or tempfile.mkdtemp(prefix="holdfast-schema-")
    print(f"schema_race: {args.rounds} rounds of {args.processes} processes, seed {seed}, in {args.dir}", flush=True)
    sums = [0, 0, 0, 0]
    for number in range(args.rounds):
        try:
            sums = [a + b for a, b in zip(sums, Round(args, number, random.Random(f"{seed} {number}")).run())]
        except (Failure, subprocess.TimeoutExpired, AssertionError) as e:
            print(f"round {number}: {e}\nwhat is left: {args.dir}/round{number}; again: --seed {seed}")
            return 1
    shutil.rmtree(args.dir)
    print(f"{args.rounds} rounds, {sums[1]} runners, {sums[0]} killed, {sums[3]} contracts that waited, "
          f"{sums[2]} rows written beside, 0 steps twice, 0 locks left")  # fmt: skip
    return 0


sys.exit(main())
