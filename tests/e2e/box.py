"""What the end-to-end tests share: the command, its log, databases, and comparing them.

Every test has a Box: a directory with a database, a replica (there or in a bucket, see places.py) and
a runtime directory of its own. The
command is the one that was built; the application is this process or writer.py, through the sqlite3
module. Nothing sleeps: whatever is waited for is an event in the log, or a question asked again until
a deadline.

This process must never open a database file while one of its own SQLite connections has it open: the
close would drop SQLite's locks. So copies are made by cp, and pages are read with serialize().
"""
import contextlib
import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import pytest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
EMPTY = hashlib.sha256(b"").hexdigest().encode()  # of a log that SQLite has made and nobody filled
PATIENCE = 10.0  # seconds until something that has not happened is a failure
NOBODY = 65534

# Everything that has an interval happens within a second.
FAST = ["-interval", "20ms", "-levels", "200ms,1s,5s", "-keep-level0", "300ms", "-drain", "5s"]


def find_command():
    given = os.environ.get("HOLDFAST")
    for path in [given] if given else [ROOT / "build/holdfast"]:
        if os.access(path, os.X_OK):
            return str(pathlib.Path(path).resolve())
    raise FileNotFoundError("build/holdfast: run make, or set HOLDFAST to the binary")


COMMAND = find_command()


def until(question, what, patience=PATIENCE):
    """Ask again until the answer is true; the answer."""
    end = time.monotonic() + patience
    while True:
        answer = question()
        if answer:
            return answer
        assert time.monotonic() < end, f"not within {patience:g} s: {what}"
        time.sleep(0.005)


PAIR = re.compile(r'([\w.]+)=("(?:[^"\\]|\\.)*"|\S*)')


def parse_event(line):
    """A line of the log as a dict; words that are no event under the key 'words'."""
    if not line.startswith("time="):
        return {"event": None, "words": line}
    return {k: json.loads(v) if v.startswith('"') else v for k, v in PAIR.findall(line)}


class Replicator:
    """A running 'holdfast replicate' and its log."""

    def __init__(self, argv, env, user=None):
        self.log, self.news = [], threading.Condition()
        self.process = subprocess.Popen(
            as_user(user, argv), env=env, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        self.pid = self.process.pid
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stderr:
            with self.news:
                self.log.append(parse_event(line.rstrip("\n")))
                self.news.notify_all()
        with self.news:
            self.log.append({"event": "(end of log)"})
            self.news.notify_all()

    def events(self, event, since=0, **pairs):
        want = {"event": event, **{k: str(v) for k, v in pairs.items()}}
        return [e for e in self.log[since:] if want.items() <= e.items()]

    def mark(self):
        """Where the log stands: wait(..., since=mark) looks at what comes later."""
        return len(self.log)

    def wait(self, event, since=0, count=1, patience=PATIENCE, **pairs):
        """The count-th event of this name that has these pairs."""
        end = time.monotonic() + patience
        with self.news:
            while len(found := self.events(event, since, **pairs)) < count:
                over = self.log and self.log[-1]["event"] == "(end of log)"
                left = end - time.monotonic()
                assert left > 0 and not over, f"no event {event} {pairs}; the log:\n{self}"
                self.news.wait(left)
            return found[count - 1]

    def send(self, signal_number):
        self.process.send_signal(signal_number)

    @contextlib.contextmanager
    def frozen(self):
        """Stopped meanwhile, every thread of it."""
        self.send(signal.SIGSTOP)
        tasks = pathlib.Path(f"/proc/{self.pid}/task")
        until(
            lambda: all(t.joinpath("stat").read_text().rsplit(")", 1)[1].split()[0] == "T" for t in tasks.iterdir()),
            "all threads are stopped",
        )
        yield
        self.send(signal.SIGCONT)

    def waiting(self):
        """How many connections it has on its Unix socket."""
        with open("/proc/net/unix") as f:
            # Those without a name are curl's own.
            connected = {f"socket:[{l[6]}]" for l in map(str.split, f) if l[5] == "03" and len(l) > 7}
        count = 0
        for fd in pathlib.Path(f"/proc/{self.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                count += os.readlink(fd) in connected
        return count

    def end(self, code, patience=PATIENCE):
        """Wait for the end; its exit code must be `code`. What it said to people."""
        try:
            got = self.process.wait(patience)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {patience:g} s; its log:\n{self}") from None
        self.reader.join(PATIENCE)
        assert got == code, f"exit {got}, not {code}; the log:\n{self}"
        return "\n".join(e["words"] for e in self.log if e["event"] is None)

    def stop(self, code=0):
        """End it as a service manager does."""
        self.send(signal.SIGTERM)
        return self.end(code)

    def kill(self):
        if self.process.poll() is None:
            self.send(signal.SIGKILL)
        self.process.wait()
        self.reader.join(PATIENCE)
        self.process.stderr.close()

    def __str__(self):
        return "\n".join("  " + " ".join(f"{k}={v}" for k, v in e.items()) for e in self.log)


class Result:
    def __init__(self, done):
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    @property
    def json(self):
        return json.loads(self.out)


def as_user(user, argv):
    if user is None:
        return argv
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *argv]


class Box:
    def __init__(self, path, bucket=None):
        self.path = path
        self.db = path / "app.db"
        self.places = bucket or path  # below it are replicas
        self.replica = self.places / "replica"
        self.runtime = path / "run"
        self.runtime.mkdir(parents=True)
        self.stack = contextlib.ExitStack()
        self.outputs = 0

    # ---- the command ----

    def env(self, runtime=None):
        return {**os.environ, "RUNTIME_DIRECTORY": str(runtime or self.runtime), "TMPDIR": str(self.path)}

    def holdfast(self, *args, code=0, user=None, runtime=None, patience=PATIENCE):
        """Run a command to its end; its exit code must be `code` (None: any)."""
        argv = as_user(user, [COMMAND, *map(str, args)])
        done = subprocess.run(
            argv, env=self.env(runtime), capture_output=True, text=True, timeout=patience, cwd=self.path
        )
        said = f"holdfast {' '.join(map(str, args))}\n{done.stdout}{done.stderr}"
        assert done.returncode >= 0, f"died of signal {-done.returncode}: {said}"
        assert code is None or done.returncode == code, f"exit {done.returncode}, not {code}: {said}"
        return Result(done)

    def start(self, *args, db=None, to=None, runtime=None, user=None, limits=None):
        """Start 'replicate'; `to` is one URL or a list, `limits` what a shell says before."""
        to = to if isinstance(to, list) else [to or self.replica]
        argv = [COMMAND, "replicate", *FAST, *args, db or self.db, *to]
        argv = ["sh", "-c", f'{limits}; exec "$@"', "sh", *argv] if limits else argv
        r = Replicator([str(a) for a in argv], self.env(runtime), user)
        self.stack.callback(r.kill)
        return r

    def replicate(self, *args, **where):
        """The same, and wait until it has its slot."""
        r = self.start(*args, **where)
        r.ready = r.wait("destination.ready")
        return r

    def refused(self, *args, code, **where):
        """'replicate' must end by itself with this code and change nothing, neither the replica nor the
        database and its log; what it said."""
        to, db = where.get("to") or self.replica, where.get("db") or self.db

        def both_sides():
            replicas = [contents(t) for t in (to if isinstance(to, list) else [to])]
            sums = subprocess.run(["sha256sum", db, f"{db}-wal"], capture_output=True).stdout
            return replicas, [line for line in sums.splitlines() if not line.startswith(EMPTY)]

        before = both_sides()
        words = self.start(*args, **where).end(code, patience=5)
        assert before == both_sides()
        return words

    def status(self, db=None, to=None, code=None):
        return self.holdfast("status", "-json", db or self.db, to or self.replica, code=code).json

    def wait_safe(self, db=None, to=None):
        """Until everything committed is durable; the status then."""

        def safe():
            s = self.status(db, to)
            return s["state"] == "safe" and s["commits_pending"] == 0 and s

        return until(safe, "status safe")

    def restore(self, *args, to=None, code=0):
        self.outputs += 1
        out = self.path / f"restored-{self.outputs}.db"
        done = self.holdfast("restore", *args, to or self.replica, out, code=code)
        return out if code == 0 else done

    def list(self, to=None):
        return self.holdfast("list", "-json", to or self.replica).json

    # ---- what is in the replica ----

    def level(self, n, replica=None):
        """Where the files of a level are."""
        return (replica or self.replica) / (f"ltx/{n}" if self.places == self.path else f"{n:04x}")

    def files(self, n, replica=None):
        """Those of a level, by name."""
        return sorted(self.level(n, replica).glob("*.ltx"))

    # ---- the application ----

    def app(self, db=None, **pragmas):
        """A connection that stays open until the test ends (or it is closed)."""
        c = sqlite3.connect(db or self.db, isolation_level=None, timeout=10)
        self.stack.callback(c.close)
        for name, value in pragmas.items():
            c.execute(f"PRAGMA {name}={value}").fetchall()
        return c

    def new_app(self, rows=10, **pragmas):
        """A new database in WAL mode with table t(id, v); its connection."""
        c = self.app(**pragmas)
        c.execute("PRAGMA journal_mode=WAL")
        c.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)")
        add_rows(c, rows)
        return c

    def sql(self, *statements, db=None):
        """Statements on a connection of their own, as a program that runs shortly; the last rows."""
        with contextlib.closing(sqlite3.connect(db or self.db, isolation_level=None, timeout=10)) as c:
            for s in statements:
                rows = c.execute(s).fetchall()
            return rows

    def writer(self, *args, db=None):
        """writer.py in a process of its own, which has committed once."""
        argv = [sys.executable, str(HERE / "writer.py"), str(db or self.db), *map(str, args)]
        p = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True)
        self.stack.callback(p.stdout.close)
        self.stack.callback(p.wait)
        self.stack.callback(p.kill)
        assert p.stdout.readline() == "writing\n"
        return p

    def copy(self, name, db=None):
        """Database and log as they stand on the disk, under another name (cp: see the top)."""
        db, to = pathlib.Path(db or self.db), self.path / name
        for suffix in ("", "-wal"):
            remove(f"{to}{suffix}", f"{to}-shm")
            if os.path.exists(f"{db}{suffix}"):
                subprocess.run(["cp", "--", f"{db}{suffix}", f"{to}{suffix}"], check=True)
        return to

    def put_back(self, saved, db=None):
        """The database and log of `saved` in the place of db's, as after a power loss."""
        db = pathlib.Path(db or self.db)
        remove(f"{db}-wal", f"{db}-shm", db)
        for suffix in ("", "-wal"):
            if os.path.exists(f"{saved}{suffix}"):
                subprocess.run(["cp", "--", f"{saved}{suffix}", f"{db}{suffix}"], check=True)

    def for_nobody(self):
        """The command will run as an unprivileged user, for whom this directory can be entered."""
        if os.geteuid() != 0:
            pytest.skip("needs root, to run the command as another user")
        for d in (self.path, *self.path.parents):
            os.chmod(d, os.stat(d).st_mode | 0o011)
        give(NOBODY, self.path, self.runtime)

    def forget_run(self):
        """The runtime directory as a new boot has it."""
        for f in self.runtime.iterdir():
            shutil.rmtree(f) if f.is_dir() else f.unlink()


def remove(*paths):
    for p in paths:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(p)


def give(user, *paths):
    """Make them that user's; what is not there is left out."""
    for p in paths:
        if os.path.exists(p):
            os.chown(p, user, user)


def add_rows(c, count, text="row"):
    """A transaction per row."""
    for _ in range(count):
        c.execute("INSERT INTO t(v) VALUES (?)", (f"{text} {os.urandom(40).hex()}",))


def count_rows(db):
    with contextlib.closing(sqlite3.connect(f"file:{db}?mode=ro", uri=True)) as c:
        return c.execute("SELECT count(*) FROM t").fetchone()[0]


def holds_mark_0(box, r):
    """Whether the replicator reads from mark 0 (byte 123 of -shm): the next writer may reset the log."""
    inode = os.stat(f"{box.db}-shm").st_ino
    with open("/proc/locks") as f:
        locks = [line.split()[-5:] for line in f]
    ours = [l for l in locks if l[:2] == ["READ", str(r.pid)] and l[2].endswith(f":{inode}")]
    return any(l[3:] == ["123", "123"] for l in ours)


def quieten(box, app, r):
    """A transaction that fills the log beyond any threshold of 50 pages; then all is checkpointed, and
    the next commit begins the log anew."""
    app.execute("INSERT INTO t(v) SELECT hex(randomblob(100000)) FROM t LIMIT 5")
    box.wait_safe()
    until(lambda: holds_mark_0(box, r), "all checkpointed, holding mark 0")


def url(replica):
    """As events name it."""
    return f"file://{replica}" if isinstance(replica, pathlib.Path) else str(replica)


def word(replica):
    """As a command for a shell has it."""
    text = url(replica)
    return f'"{text}"' if set(text) & set(" &?*;()'$#") else text


def shown(replica):
    """What each message about it has at least."""
    return str(replica) if isinstance(replica, pathlib.Path) else replica.shown


def time_of(file):
    """What point-in-time restore goes by; ns."""
    return file.stat().st_mtime_ns


def set_time(file, ns):
    if isinstance(file, pathlib.Path):
        os.utime(file, ns=(ns, ns))
    else:
        file.set_time(ns)


def copy_replica(source, to, times=True):
    """From a directory, or within a bucket; without `times` as a copy that lost them."""
    for file in source.rglob("*"):
        if not file.is_file():
            continue
        name = str(file.relative_to(source))
        if isinstance(source, pathlib.Path) and not isinstance(to, pathlib.Path):
            name = re.sub(r"^ltx/(\d)/", lambda level: f"{int(level[1]):04x}/", name)
        copy = to / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
        if times:
            set_time(copy, time_of(file))
        elif isinstance(copy, pathlib.Path):
            set_time(copy, 0)


def contents(directory):
    """Every file below, and the digest of its bytes."""
    if isinstance(directory, str):
        directory = pathlib.Path(directory)
    return {
        str(f.relative_to(directory)): hashlib.sha256(f.read_bytes()).hexdigest()
        for f in sorted(directory.rglob("*"))
        if f.is_file()
    }


def page_size_of(image):
    size = int.from_bytes(image[16:18], "big")
    return 65536 if size == 1 else size


def free_leaves(image):
    """The pages of the free list whose bytes mean nothing."""
    size, leaves = page_size_of(image), set()
    trunk = int.from_bytes(image[32:36], "big")
    while trunk:
        at = (trunk - 1) * size
        count = int.from_bytes(image[at + 4 : at + 8], "big")
        leaves |= {int.from_bytes(image[at + 8 + 4 * i : at + 12 + 4 * i], "big") for i in range(count)}
        trunk = int.from_bytes(image[at : at + 4], "big")
    return leaves


def snapshot(db):
    """The bytes of a database as a reader sees it now."""
    if isinstance(db, sqlite3.Connection):
        return db.serialize()
    with contextlib.closing(sqlite3.connect(f"file:{db}?mode=ro", uri=True)) as c:
        c.execute("PRAGMA schema_version").fetchall()
        return c.serialize()


def rows_of(db):
    """Every row of every table, and the schema."""
    with contextlib.closing(sqlite3.connect(f"file:{db}?mode=ro", uri=True)) as c:
        all_rows = {"sqlite_schema": c.execute("SELECT * FROM sqlite_schema").fetchall()}
        for (name,) in c.execute("SELECT name FROM sqlite_schema WHERE type='table'").fetchall():
            quoted = name.replace('"', '""')
            all_rows[name] = c.execute(f'SELECT * FROM "{quoted}"').fetchall()
        return all_rows


def assert_same_pages(want, got):
    """Two images are equal page for page, free-list leaves aside."""
    assert len(want) == len(got), f"{len(got)} bytes, not {len(want)}"
    if want == got or not want:
        return
    size, leaves = page_size_of(want), free_leaves(want)
    differ = [
        n + 1
        for n in range(len(want) // size)
        if n + 1 not in leaves and want[n * size : n * size + size] != got[n * size : n * size + size]
    ]
    assert not differ, f"pages {differ[:20]} differ"


def assert_same(source, restored):
    """A restored file holds what the database holds: its pages, its rows, and it is whole. `source`: a
    path or an image from snapshot()."""
    got = pathlib.Path(restored).read_bytes()
    assert_same_pages(source if isinstance(source, bytes) else snapshot(source), got)
    with contextlib.closing(sqlite3.connect(f"file:{restored}?mode=ro&immutable=1", uri=True)) as c:
        assert c.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    if not isinstance(source, bytes):
        assert rows_of(source) == rows_of(restored)
    remove(f"{restored}-wal", f"{restored}-shm")
