"""replicate -exec: the database comes, it is shipped, the application runs, and both end together."""
import contextlib
import json
import os
import pty
import select
import shlex
import signal
import socket
import sqlite3
import subprocess
import sys

import pytest

from box import COMMAND, FAST, NOBODY, PATIENCE, Replicator, add_rows, assert_same, contents, count_rows, give, remove, until, url

# An application that says each signal it gets on its standard error and ends at SIGTERM, or by itself.
APP = f"""exec {shlex.quote(sys.executable)} -c '
import os, signal, sqlite3, sys
def say(*words): os.write(2, (" ".join(map(str, words)) + "\\n").encode())
def got(number, frame):
    say("got", signal.Signals(number).name)
    if number == signal.SIGTERM:
        if len(sys.argv) > 2: c.execute(sys.argv[2])
        os._exit(int(sys.argv[1]))
for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
    signal.signal(n, got)
signal.alarm(30)
c = sqlite3.connect("app.db", isolation_level=None)
c.execute("PRAGMA user_version")
say("running", os.getpid(), os.getpgrp())
while True: signal.pause()
' """


def words(r, text, since=0):
    """Wait until the application, or holdfast, has said this."""

    class Missing:
        def __format__(self, spec):
            return f"'{text}'; the log:\n{r}"

    return until(lambda: next((e["words"] for e in r.log[since:] if e["event"] is None and text in e["words"]), None),
                 Missing())


def app_pid(r):
    return int(words(r, "running").split()[1])


def run(box, command, *args, **where):
    return box.start("-exec", f"cd {shlex.quote(str(box.path))} || exit; {command}", *args, **where)


def replicated(box, rows=10):
    """A database that is in the replica, closed."""
    box.new_app(rows).close()
    r = box.replicate()
    box.wait_safe()
    r.stop()


def lose(box):
    remove(box.db, f"{box.db}-wal", f"{box.db}-shm")
    box.forget_run()


def order(r, *events):
    names = [e["event"] for e in r.log]
    places = [names.index(e) for e in events]
    assert places == sorted(places), names


# ---- how it starts ----


def test_database_that_is_missing_is_restored_first(box):
    replicated(box, 10)
    lose(box)
    r = run(box, "sqlite3 app.db \"INSERT INTO t(v) VALUES ('new')\" && exit 0")
    r.end(0)
    assert r.events("restored")[0]["from"] == url(box.replica)
    order(r, "restore", "restored", "start", "destination.ready", "exec.start", "exec.end", "stop")
    assert count_rows(box.db) == 11
    assert_same(box.db, box.restore())


def test_nothing_anywhere_starts_empty_and_ships_what_the_application_makes(box):
    """It makes the database and ends at once: all of it is shipped all the same."""
    r = run(box, 'sqlite3 app.db "PRAGMA journal_mode=WAL; CREATE TABLE t(x); INSERT INTO t VALUES (1)"')
    r.end(0)
    assert not r.events("restored")
    assert_same(box.db, box.restore())


def test_database_that_is_made_later_is_picked_up(box):
    """An empty file, as an application leaves it that has opened it and nothing more, may still get its page size."""
    box.db.touch()
    r = run(box, APP + "0")
    app_pid(r)
    r.wait("database.gone")
    assert box.db.stat().st_size == 0
    c = box.new_app(5, page_size=8192)
    r.wait("ship")
    box.wait_safe()
    assert c.execute("PRAGMA page_size").fetchall() == [(8192,)]
    r.stop()
    assert_same(box.db, box.restore())


def test_empty_file_is_as_good_as_none(box):
    """And its owner and permissions are what the restored database gets."""
    replicated(box, 6)
    lose(box)
    box.db.touch()
    box.db.chmod(0o640)
    r = run(box, "true")
    r.end(0)
    assert count_rows(box.db) == 6 and box.db.stat().st_mode & 0o777 == 0o640
    assert_same(box.db, box.restore())
    lose(box)
    box.db.touch()
    (box.path / "app.db-wal").write_bytes(b"commits that nobody else has")
    assert "app.db-wal is not" in run(box, "true").end(5)


def test_replica_of_a_machine_that_is_lost_is_taken_over(box):
    """Its owner is another, so without -exec that would be asked for."""
    other = box.path / "other.db"
    c = box.new_app(4)
    c.execute("VACUUM INTO ?", (str(other),))
    box.sql("PRAGMA journal_mode=WAL", db=other)
    r = box.replicate(db=other)
    box.wait_safe(db=other)
    r.stop()
    c.close()
    lose(box)
    r = run(box, "sqlite3 app.db \"INSERT INTO t(v) VALUES ('new')\"")
    r.end(0)
    assert count_rows(box.db) == 5
    assert_same(box.db, box.restore())


def test_database_that_is_locked_while_it_is_made_is_waited_for(box):
    r = run(box, APP + "0")
    app_pid(r)
    with contextlib.closing(sqlite3.connect(box.db, isolation_level=None)) as c:
        c.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)")
        c.execute("BEGIN EXCLUSIVE")
        with pytest.raises(AssertionError):
            r.wait("ship", patience=6)  # longer than any other database gets
        add = "INSERT INTO t(v) VALUES (1)"
        c.execute(add)
        c.execute("COMMIT")
    r.wait("ship")
    r.stop()


def test_database_that_is_behind_is_brought_up_first(box):
    c = box.new_app(10)
    r = box.replicate("-keep-level0", "1m")  # while a state is told by its object
    box.wait_safe()
    c.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    box.wait_safe()
    old = box.copy("old.db")
    add_rows(c, 5)
    box.wait_safe()
    r.stop()
    c.close()
    box.put_back(old)
    box.forget_run()
    r = run(box, "sqlite3 app.db 'SELECT count(*) FROM t' >&2")
    r.end(0)
    order(r, "fast_forwarded", "destination.ready", "exec.start")
    assert words(r, "15")


def test_behind_on_a_machine_that_did_not_write_it_asks_who_may(box):
    """Fenced by another, and started again by its supervisor: it must not take the replica back."""
    replicated(box, 10)
    other = box.path / "other.db"
    box.holdfast("restore", box.replica, other)
    r = box.replicate("-take-over", db=other, runtime=box.path)
    c = box.app(db=other)
    add_rows(c, 3)
    until(lambda: r.events("ship"), "shipped")
    r.stop()
    r = run(box, "echo started")
    assert "FOREIGN" in r.end(5) and "-take-over" in str(r) and not r.events("exec.start")
    r = run(box, "true", "-take-over")
    r.end(0)
    assert count_rows(box.db) == 13


def test_missing_directory_of_the_database_is_an_error(box):
    r = box.start("-exec", "echo started >&2", db=box.path / "volume/app.db")
    assert "directory of the database" in r.end(3) and "started" not in str(r)


def test_left_over_log_is_in_the_way(box):
    replicated(box)
    lose(box)
    (box.path / "app.db-wal").write_bytes(b"commits that nobody else has")
    r = run(box, "echo started >&2")
    assert "app.db-wal" in r.end(5) and "started" not in str(r)


def closed_replica(box):
    """A destination that answers nothing to NOBODY; the box is NOBODY's."""
    box.for_nobody()
    give(NOBODY, box.db, f"{box.db}-wal", f"{box.db}-shm")
    box.replica.mkdir(exist_ok=True)
    os.chown(box.replica, 0, 0)
    box.replica.chmod(0o700)
    return NOBODY


def open_replica(box):
    for path in [box.replica, *box.replica.rglob("*")]:
        os.chown(path, NOBODY, NOBODY)


@pytest.mark.file_only("about permissions of directories")
def test_missing_database_and_a_silent_destination_start_nothing(box):
    """The other destination is empty: that proves nothing about the silent one."""
    r = run(box, "echo started >&2", "-exec-wait", "0.5s", to=[box.path / "empty", box.replica],
            user=closed_replica(box))
    said = r.end(8)
    assert "not here" in said and str(box.replica) in said and "started\n" not in said
    assert not box.db.exists() and not r.events("exec.start")


@pytest.mark.file_only("about permissions of directories")
def test_one_backup_of_two_destinations_is_enough(box):
    replicated(box, 7)
    lose(box)
    backup = box.path / "backup"
    box.replica.rename(backup)
    user = closed_replica(box)
    for path in [backup, *backup.rglob("*")]:
        os.chown(path, user, user)
    r = run(box, "sqlite3 app.db 'SELECT count(*) FROM t' >&2", "-exec-wait", "0.5s", "-exec-strict",
            to=[box.replica, backup], user=user)
    assert str(box.replica) in r.end(8) and not box.db.exists()
    r = run(box, "sqlite3 app.db 'SELECT count(*) FROM t' >&2", "-exec-wait", "2s", "-drain", "0s",
            to=[box.replica, backup], user=user)
    r.end(7)  # the silent one lacks it
    assert r.events("start.without", to=url(box.replica)) and words(r, "7")


@pytest.mark.file_only("about permissions of directories")
def test_silent_destination_does_not_keep_a_database_that_is_here_from_its_application(box):
    box.new_app(5).close()
    user = closed_replica(box)
    r = run(box, APP + "0", "-exec-wait", "0.3s", user=user)
    app_pid(r)
    order(r, "destination.retry", "start.not_all_shipped", "exec.start")
    open_replica(box)
    r.wait("ship", patience=40)
    r.stop()


@pytest.mark.file_only("about permissions of directories")
def test_strict_does_not_start_without_a_destination(box):
    box.new_app(5).close()
    r = run(box, "echo started >&2", "-exec-wait", "0.3s", "-exec-strict", user=closed_replica(box))
    assert str(box.replica) in r.end(8) and not r.events("exec.start")


@pytest.mark.file_only("about permissions of directories")
def test_signal_before_the_application_has_started(box):
    r = run(box, "echo started >&2", user=closed_replica(box))
    r.wait("start.retry")
    r.send(signal.SIGTERM)
    r.end(128 + signal.SIGTERM)
    assert not r.events("exec.start")


@contextlib.contextmanager
def away(replica):
    """Nobody can write there meanwhile."""
    aside = replica.with_name("away")
    replica.rename(aside)
    replica.write_text("no directory")
    yield
    replica.unlink()
    aside.rename(replica)


@pytest.mark.file_only("a directory is moved away")
def test_newest_of_two_destinations_is_restored_and_the_other_follows(box):
    """The first one was away when the machine died."""
    second = box.path / "second"
    c = box.new_app(5)
    r = box.start(to=[box.replica, second])
    r.wait("ship", to=url(box.replica))
    r.wait("ship", to=url(second))
    box.wait_safe(to=box.replica)
    box.wait_safe(to=second)
    with away(box.replica):
        add_rows(c, 4)
        box.wait_safe(to=second)
        r.kill()
    c.close()
    assert (box.replica / "ltx/0").exists()
    lose(box)
    r = run(box, "true", to=[box.replica, second])
    r.end(0)
    assert r.events("restored")[0]["from"] == url(second)
    assert count_rows(box.db) == 9
    assert_same(box.db, box.restore())
    assert_same(box.db, box.restore(to=second))
    assert "txid" in (box.replica / "holdfast/pins.json").read_text()  # what it held can be had


def behind_two(box):
    """Power was lost, and one of two destinations was away before that: the database is behind both. The second,
    which has most."""
    second = box.path / "second"
    c = box.new_app(5)
    r = box.start("-keep-level0", "1h", to=[box.replica, second])
    r.wait("ship", to=url(box.replica))
    r.wait("ship", to=url(second))
    box.wait_safe(to=second)
    before = box.copy("before.db")
    add_rows(c, 2)
    box.wait_safe(to=box.replica)
    box.wait_safe(to=second)
    with away(box.replica):
        add_rows(c, 2)
        box.wait_safe(to=second)
        r.kill()
    c.close()
    box.put_back(before)
    box.forget_run()
    return second


@pytest.mark.file_only("a directory is moved away")
def test_behind_two_destinations_it_comes_to_the_newest_and_the_other_follows(box):
    second = behind_two(box)
    r = run(box, "true", to=[box.replica, second])
    r.end(0)
    assert r.events("fast_forwarded")[-1]["from"] == url(second)
    assert count_rows(box.db) == 9
    assert_same(box.db, box.restore())
    assert_same(box.db, box.restore(to=second))
    assert "txid" in (box.replica / "holdfast/pins.json").read_text()


@pytest.mark.file_only("a directory is moved away")
def test_behind_two_destinations_of_which_another_took_one_it_leaves_that_alone(box):
    second = behind_two(box)
    note = box.replica / "holdfast/owner.json"
    owner = json.loads(note.read_text()) | {"host": "elsewhere", "path": "/elsewhere/app.db", "file": "other"}
    note.write_text(json.dumps(owner))
    before = contents(box.replica)
    r = run(box, "true", to=[second, box.replica])
    assert "UNPROVEN" in r.end(5)
    assert contents(box.replica) == before and not r.events("exec.start")


# ---- what the application gets ----


@pytest.mark.file_only("the keys are not those of the server")
def test_application_gets_no_secrets_no_descriptors_and_default_signals(box, monkeypatch):
    secrets = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN",
               "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_AUTHORIZATION_TOKEN",
               "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "LITESTREAM_SECRET_ACCESS_KEY"]
    for name in [*secrets, "WATCHDOG_USEC", "LISTEN_FDS"]:
        monkeypatch.setenv(name, "canary-7c1e")
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    monkeypatch.setenv("NOTIFY_SOCKET", "@canary-7c1e")
    monkeypatch.setenv("HOLDFAST_SSE_CUSTOMER_KEY", "canary-7c1e")
    box.new_app(3)
    r = run(box, "env > env; ls /proc/self/fd > fds; grep ^Sig /proc/self/status > signals; cat /proc/self/stat > stat")
    r.end(0)
    environment = (box.path / "env").read_text()
    assert "canary" not in environment and "AWS_REGION=eu-north-1\n" in environment
    assert environment.count("RUNTIME_DIRECTORY=") == 1
    assert (box.path / "fds").read_text().split() == ["0", "1", "2", "3"]  # 3: ls's own
    masks = dict(line.split(":\t") for line in (box.path / "signals").read_text().splitlines())
    ordinary = 0x7FFFFFFF  # 32 and 33 are the C library's own, and cannot be reset through it
    assert int(masks["SigIgn"], 16) & ordinary == 0 and int(masks["SigBlk"], 16) & ordinary == 0
    group = (box.path / "stat").read_text().rsplit(")", 1)[1].split()[2]
    assert group == r.events("exec.start")[0]["pid"]  # its own, of the shell's


def test_descriptors_of_whoever_started_us_end_with_us(box):
    box.new_app(3)
    argv = ["sh", "-c", 'exec 7</dev/null; exec "$@"', "sh", COMMAND, "replicate", *FAST,
            "-exec", f"cd {box.path}; ls /proc/self/fd > fds", box.db, box.replica]
    r = Replicator([str(a) for a in argv], box.env())
    box.stack.callback(r.kill)
    r.end(0)
    assert (box.path / "fds").read_text().split() == ["0", "1", "2", "3"]


def test_ignored_hangup_stays_ignored(box):
    """nohup holdfast replicate -exec ..."""
    box.new_app(3)
    argv = ["nohup", COMMAND, "replicate", *FAST, "-exec", f"cd {shlex.quote(str(box.path))}; {APP}0", box.db, box.replica]
    r = Replicator([str(a) for a in argv], box.env())
    box.stack.callback(r.kill)
    app_pid(r)
    r.send(signal.SIGHUP)
    r.send(signal.SIGUSR2)
    words(r, "got SIGUSR2")
    assert "got SIGHUP" not in str(r)
    r.stop()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR2])
def test_signals_are_passed_on(box, number):
    box.new_app(3)
    r = run(box, APP + "0")
    app_pid(r)
    for _ in range(3):
        mark = r.mark()
        r.send(number)
        words(r, f"got {number.name}", since=mark)
    assert r.process.poll() is None
    r.stop()


def test_usr1_is_ours(box):
    box.new_app(3)
    r = run(box, APP + "0")
    app_pid(r)
    r.send(signal.SIGUSR1)
    assert int(r.wait("figures")["shipments"]) >= 1
    r.stop()
    assert "got SIGUSR1" not in str(r)


def test_signal_reaches_every_process_of_a_compound_command(box):
    box.new_app(3)
    r = run(box, f"({APP} 0) & ({APP} 0); wait")
    until(lambda: str(r).count("running") == 2, "both run")
    r.send(signal.SIGTERM)
    r.end(128 + signal.SIGTERM)
    until(lambda: str(r).count("got SIGTERM") == 2, "both were told")


# ---- how it ends ----


@pytest.mark.parametrize("command,code", [("exit 0", 0), ("exit 42", 42), ("kill -9 $$", 137), ("no-such-command", 127)])
def test_status_of_the_application_is_ours(box, command, code):
    box.new_app(3)
    r = run(box, command)
    r.end(code)
    assert r.wait("exec.end")["status"] == str(code)
    assert_same(box.db, box.restore())


@pytest.mark.parametrize("code", [0, 3])
def test_last_commits_of_the_application_are_shipped(box, code):
    """It commits when it is told to end."""
    box.new_app(3)
    r = run(box, APP + f"{code} \"INSERT INTO t(v) VALUES (9)\"")
    app_pid(r)
    r.stop(code)
    assert count_rows(box.db) == 4
    assert_same(box.db, box.restore())


@pytest.mark.file_only("a directory is moved away")
@pytest.mark.parametrize("its,ours", [(0, 7), (3, 3)])
def test_not_all_shipped_is_said(box, its, ours):
    """7 for an application that ended well; else its own status, and the log has it."""
    c = box.new_app(3)
    r = run(box, APP + str(its), "-drain", "0.3s")
    app_pid(r)
    box.wait_safe()
    box.replica.rename(box.path / "away")
    box.replica.write_text("no directory")
    add_rows(c, 1)
    r.wait("ship.retry")
    r.stop(ours)
    assert str(box.replica) in r.wait("stop.not_all_shipped")["left"]


def take_over(box):
    """Another machine takes the replica."""
    other = box.path / "other.db"
    box.holdfast("restore", box.replica, other)
    r = box.replicate("-take-over", db=other, runtime=box.path)
    r.stop()


def test_fenced_run_ends_its_application(box):
    c = box.new_app(3)
    r = run(box, APP + "0")
    app_pid(r)
    box.wait_safe()
    take_over(box)
    add_rows(c, 1)
    assert "another writer took over" in r.end(5)
    order(r, "exec.stop", "exec.end")
    words(r, "got SIGTERM")


def test_fenced_run_kills_an_application_that_does_not_end(box):
    c = box.new_app(3)
    r = run(box, "trap '' TERM; echo running $$ >&2; exec sleep 60", "-drain", "0.5s")
    pid = app_pid(r)
    box.wait_safe()
    take_over(box)
    add_rows(c, 1)
    r.end(5)
    assert r.wait("exec.end")["status"] == "137" and not os.path.exists(f"/proc/{pid}")


def test_application_does_not_outlive_a_killed_replicator(box):
    box.new_app(3)
    r = run(box, APP + "0")
    pid = app_pid(r)
    r.send(signal.SIGKILL)
    r.process.wait()
    words(r, "got SIGTERM")
    until(lambda: not os.path.exists(f"/proc/{pid}"), "it has ended")


def test_lines_of_the_application_do_not_tear_ours(box):
    """Both write to the same standard error at the same time."""
    c = box.new_app(1)
    (box.path / "numbers").write_text("".join(f"word-{i}\n" for i in range(20000)))
    r = run(box, "echo running >&2; while read line; do echo $line >&2; done < numbers", "-interval", "1ms")
    while r.process.poll() is None:
        add_rows(c, 1)
    r.end(0)
    said = [e["words"] for e in r.log if e["event"] is None]
    assert said == ["running", *(f"word-{i}" for i in range(20000))]
    assert len(r.events("ship")) > 2


# ---- who waits for us ----


@pytest.mark.parametrize("abstract", [True, False])
def test_service_manager_is_told(box, monkeypatch, abstract):
    name = "\0holdfast-test-%d" % os.getpid() if abstract else str(box.path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(name)
        s.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", name.replace("\0", "@"))
        replicated(box)
        assert [s.recv(100), s.recv(100)] == [b"READY=1", b"STOPPING=1"]
        r = run(box, APP + "0")
        assert s.recv(100) == b"READY=1"
        app_pid(r)
        r.send(signal.SIGTERM)
        assert s.recv(100) == b"STOPPING=1"
        r.end(0)


@pytest.mark.file_only("about permissions of directories")
def test_not_ready_before_the_application_runs(box, monkeypatch):
    """A silent destination: nothing is said until it has been waited for."""
    name = "\0holdfast-test-silent-%d" % os.getpid()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.bind(name)
        s.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", name.replace("\0", "@"))
        r = run(box, "echo started >&2", "-exec-wait", "0.3s", user=closed_replica(box))
        r.end(8)
        assert s.recv(100) == b"STOPPING=1"


class Terminal:
    """holdfast replicate -exec on a terminal of its own."""

    def __init__(self, box, command):
        self.main, side = pty.openpty()
        argv = [COMMAND, "replicate", *FAST, "-log", "logfmt", "-exec", f"cd {box.path} && {command}", box.db, box.replica]
        self.process = subprocess.Popen(["setsid", "-c", *map(str, argv)], stdin=side, stdout=side, stderr=side, env=box.env())
        os.close(side)
        self.seen = b""
        box.stack.callback(os.close, self.main)
        box.stack.callback(self.process.wait)
        box.stack.callback(self.process.kill)

    def read_until(self, text):
        while text not in self.seen:
            assert select.select([self.main], [], [], PATIENCE)[0], f"no {text} in {self.seen}"
            self.seen += os.read(self.main, 4096)

    def type(self, keys):
        os.write(self.main, keys)


def test_control_c_reaches_the_application_once(box):
    """And Ctrl-Z, after which nobody would have the terminal, stops it for no longer than an instant."""
    box.new_app(3)
    t = Terminal(box, APP + "0")
    t.read_until(b"running")
    t.type(b"\x03")
    t.read_until(b"got SIGINT")
    t.type(b"\x1a")
    t.type(b"\x1c")
    t.read_until(b"got SIGQUIT")
    assert t.process.poll() is None and t.seen.count(b"got SIGINT") == 1
    t.process.send_signal(signal.SIGTERM)
    t.read_until(b"event=stop ")
    assert t.process.wait(10) == 0


def test_application_can_read_from_the_terminal(box):
    box.new_app(3)
    t = Terminal(box, "read line && echo said $line")
    t.read_until(b"event=exec.start")
    t.type(b"hello\n")
    t.read_until(b"said hello")
    assert t.process.wait(10) == 0


REPLACES = """
import os, sqlite3
new = sqlite3.connect("new.db", isolation_level=None)
new.execute("PRAGMA journal_mode = WAL")
new.execute("CREATE TABLE new AS WITH n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n LIMIT 2000) SELECT i, hex(randomblob(50)) FROM n")
new.close()
old = sqlite3.connect("app.db", isolation_level=None)
old.execute("INSERT INTO t(v) VALUES (hex(randomblob(5000)))")
old.close()
os.rename("new.db", "app.db")
open("go").read()
"""


def test_a_database_that_lies_beside_an_old_log_is_not_opened_at_the_end(box):
    """The application replaces its database and ends; SQLite would copy the log into the new one."""
    replicated(box)
    os.mkfifo(box.path / "go")
    r = run(box, f"exec {shlex.quote(sys.executable)} -c {shlex.quote(REPLACES)}")
    r.wait("database.old_log")
    new = box.db.read_bytes()
    (box.path / "go").write_text("now")
    assert "log" in r.end(9)
    assert box.db.read_bytes() == new
