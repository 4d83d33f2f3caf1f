"""Waiting for commits beside a replicator: holdfast wait and sync, and the socket by which anybody can."""
import contextlib
import http.client
import json
import os
import pathlib
import resource
import signal
import socket
import stat
import subprocess
import threading
import time

import pytest

from box import COMMAND, NOBODY, add_rows, count_rows, remove, until

SLOW = ["-interval", "1h"]


class Client(http.client.HTTPConnection):
    """Python's own HTTP client, at a Unix socket."""

    def __init__(self, path, timeout=10):
        super().__init__("localhost", timeout=timeout)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        with reach(self.path) as path:
            self.sock.connect(path)

    def ask(self, method, url, body=None):
        """The status, and what it says."""
        self.request(method, url, body if body is None or isinstance(body, (bytes, str)) else json.dumps(body))
        r = self.getresponse()
        return r.status, json.loads(r.read())


@contextlib.contextmanager
def reach(path):
    """A short way to a path that may be too long for a socket."""
    d = os.open(os.path.dirname(path), os.O_PATH)
    try:
        yield f"/proc/self/fd/{d}/{os.path.basename(path)}"
    finally:
        os.close(d)


def where(box, **options):
    return box.holdfast("wait", "-where", box.db, **options).out.strip()


def ask(box, method, url, body=None):
    with contextlib.closing(Client(where(box))) as c:
        return c.ask(method, url, body)


def come_back(box):
    box.replica.unlink()
    (box.path / "away").rename(box.replica)


def start_waiting(box, *args):
    p = subprocess.Popen([COMMAND, "wait", *args, box.db], env=box.env(), stderr=subprocess.PIPE, text=True)
    box.stack.callback(p.stderr.close)
    box.stack.callback(p.kill)
    return p


def asked_already(box):
    """A request that the source has been told of: it answers what came later."""
    c = Client(where(box))
    box.stack.callback(c.close)
    c.request("POST", "/wait", b"{}")
    assert ask(box, "GET", "/status")[0] == 200
    return c


def puts(r):
    """Level-0 objects so far, as it counts them itself."""
    mark = r.mark()
    r.send(signal.SIGUSR1)
    return int(r.wait("figures", since=mark)["shipments"])


def lock_away(box):
    """The replica takes nothing: what is waited for stays open."""
    box.replica.rename(box.path / "away")
    box.replica.write_text("in the way")


# ---- good ----


def test_wait_returns_when_it_is_safe(box):
    app = box.new_app()
    box.replicate()
    add_rows(app, 3)
    box.holdfast("wait", box.db)
    assert count_rows(box.restore()) == 13


def test_sync_ships_now(box):
    app = box.new_app()
    r = box.replicate(*SLOW)
    box.holdfast("sync", box.db)  # the lone commits of the start
    add_rows(app, 1)
    box.holdfast("sync", box.db)
    before = puts(r)
    add_rows(app, 1)
    began = time.monotonic()
    box.holdfast("sync", "-timeout", "5s", box.db)
    assert time.monotonic() - began < 5 and puts(r) == before + 1
    assert count_rows(box.restore()) == 12


def test_wait_for_what_is_safe_already_costs_no_request(box):
    box.new_app()
    r = box.replicate(*SLOW)
    box.holdfast("wait", box.db)
    before = puts(r)
    for args in ([], ["-flush"], ["-destination", "any"], ["-timeout", "0s"]):
        box.holdfast("wait", *args, box.db)
    box.holdfast("sync", box.db)
    assert puts(r) == before


def test_wait_rides_the_next_shipment(box):
    app = box.new_app()
    r = box.replicate("-interval", "1500ms")
    box.holdfast("wait", box.db)
    add_rows(app, 1)
    box.holdfast("wait", box.db)
    before = puts(r)
    add_rows(app, 1)
    began = time.monotonic()
    box.holdfast("wait", box.db)
    assert puts(r) == before + 1
    assert count_rows(box.restore()) == 12 and time.monotonic() - began < 5


def test_two_hundred_who_wait_cost_at_most_two_shipments(box):
    app = box.new_app()
    r = box.replicate("-interval", "300ms")
    box.holdfast("wait", box.db)
    path, before, wrong = where(box), puts(r), []
    row = threading.Lock()
    ready = threading.Barrier(200)

    def one():
        with contextlib.closing(Client(path)) as c:
            c.connect()
            ready.wait()
            status, said = c.ask("POST", "/wait", {"timeout_ms": 9000})
            if status != 200:
                wrong.append(said)

    threads = [threading.Thread(target=one) for _ in range(200)]
    with row:
        for t in threads:
            t.start()
        add_rows(app, 1)
    for t in threads:
        t.join()
    assert not wrong and puts(r) - before <= 2


def test_a_thousand_wait_at_once(box):
    app = box.new_app()
    r = box.replicate(*SLOW)
    box.holdfast("sync", box.db)
    add_rows(app, 1)
    box.holdfast("sync", box.db)
    add_rows(app, 1)
    before, path = puts(r), where(box)
    clients = [Client(path) for _ in range(1000)]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    for c in clients:
        c.request("POST", "/wait", b"{}")
    until(lambda: r.waiting() == 1000, "all are there")
    box.holdfast("sync", box.db)
    for c in clients:
        with contextlib.closing(c):
            assert c.getresponse().status == 200
    assert puts(r) == before + 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_wait_goes_well_while_the_replicator_is_told_to_stop(box):
    """It ships what is left first: those who wait for it are told so."""
    app = box.new_app()
    r = box.replicate(*SLOW)
    box.holdfast("sync", box.db)
    add_rows(app, 1)
    box.holdfast("sync", box.db)
    add_rows(app, 1)
    c = asked_already(box)
    r.stop()
    assert c.getresponse().status == 200
    assert count_rows(box.restore()) == 12


def test_position_is_waited_for_and_given_back(box):
    app = box.new_app()
    box.replicate()
    status, said = ask(box, "POST", "/wait")
    assert status == 200 and said["waited_ms"] >= 0
    position = said["position"]
    add_rows(app, 1)
    box.holdfast("wait", "-position", position, box.db)
    status, later = ask(box, "POST", "/wait", {"position": "now"})
    assert status == 200 and later["position"] != position
    assert ask(box, "POST", "/wait", {"position": "nothing"})[0] == 200


def test_one_connection_asks_again_and_again(box):
    app = box.new_app()
    box.replicate()
    with contextlib.closing(Client(where(box))) as c:
        for _ in range(20):
            add_rows(app, 1)
            assert c.ask("POST", "/wait", {"path": str(box.db), "flush": True})[0] == 200
        file = os.path.basename(where(box))
        assert c.ask("POST", "/wait", {"path": str(box.db), "file": file})[0] == 200
        assert c.ask("POST", "/wait", {"path": "/etc/hostname", "file": file})[0] == 404
        assert c.ask("GET", "/status")[0] == 200
    assert count_rows(box.restore()) == 30


def test_status_is_of_the_run(box):
    box.new_app()
    box.replicate()
    box.holdfast("wait", box.db)
    status, said = ask(box, "GET", "/status")
    assert status == 200 and said["state"] == "replicating" and said["database"] == str(box.db)
    assert [d["safe"] for d in said["destinations"]] == [True]


@pytest.mark.file_only("a directory is moved away")
def test_any_destination_is_enough_if_one_is_asked_for(box):
    app = box.new_app()
    other = box.path / "other"
    r = box.replicate(to=[box.replica, other])
    box.holdfast("wait", box.db)
    lock_away(box)
    add_rows(app, 1)
    box.holdfast("wait", "-destination", "any", box.db)
    box.holdfast("wait", "-destination", f"file://{other}", box.db)
    assert str(box.replica) in box.holdfast("wait", "-timeout", "50ms", box.db, code=8).err
    box.holdfast("wait", "-timeout", "50ms", "-destination", f"file://{box.replica}", box.db, code=8)
    assert count_rows(box.restore(to=other)) == 11
    r.kill()


@pytest.mark.file_only("about the socket's place")
def test_socket_where_it_was_asked_for(box):
    box.new_app()
    place = box.path / "here.sock"
    r = box.replicate("-socket", place)
    box.holdfast("wait", "-socket", place, box.db)
    box.holdfast("wait", box.db)  # it is found all the same
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    r.stop()
    assert not place.exists()


@pytest.mark.file_only("about the socket's place")
def test_socket_below_a_directory_whose_name_is_too_long_for_one(box):
    box.new_app()
    deep = box.path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    box.replicate("-socket", deep / "s")
    box.holdfast("wait", "-socket", deep / "s", box.db)
    with contextlib.closing(Client(deep / "s")) as c:
        assert c.ask("POST", "/wait")[0] == 200


@pytest.mark.file_only("about the socket's place")
def test_socket_directory_is_for_its_user_alone(box):
    box.new_app()
    r = box.replicate()
    path = pathlib.Path(where(box))
    inode = os.stat(box.db)
    assert path.name == f"{inode.st_dev:x}-{inode.st_ino}" and path.is_socket()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    r.stop()
    assert list(path.parent.iterdir()) == []


def test_socket_of_a_replicator_that_was_killed_is_replaced(box):
    app = box.new_app()
    r = box.replicate()
    box.holdfast("wait", box.db)
    path = where(box)
    r.kill()
    assert pathlib.Path(path).is_socket()
    words = box.holdfast("wait", box.db, code=3).err
    assert "no replicator" in words
    box.replicate()
    add_rows(app, 1)
    box.holdfast("wait", box.db)
    assert where(box) == path


def test_database_that_is_replaced_is_found_anew(box):
    box.new_app().close()
    r = box.replicate()
    box.holdfast("wait", box.db)
    old, new = where(box), box.restore()
    remove(box.db, f"{box.db}-wal", f"{box.db}-shm")
    new.rename(box.db)
    r.wait("destination.ready", count=2, patience=20)
    box.holdfast("wait", "-timeout", "5s", box.db)
    assert where(box) != old and not pathlib.Path(old).exists()


@pytest.mark.file_only("about the environment of an application")
def test_application_knows_where_its_commits_are_waited_for(box):
    """Also before its database is there: the first thing it does is to make one."""
    script = (
        f"{COMMAND} wait -timeout 100ms -socket $HOLDFAST_SOCKET /etc/hostname; echo $? > {box.path}/early;"
        f"python3 -c \"import sqlite3; c = sqlite3.connect('{box.db}', isolation_level=None);"
        "c.execute('PRAGMA journal_mode=WAL'); c.execute('CREATE TABLE t(x)')\";"
        f"{COMMAND} wait {box.db}; echo $? > {box.path}/late; ulimit -n > {box.path}/files"
    )
    box.start("-exec", script, limits="ulimit -Sn 1000").end(0)
    assert (box.path / "early").read_text() == "3\n", "another database than the replicated one"
    assert (box.path / "late").read_text() == "0\n"
    assert (box.path / "files").read_text() == "1000\n"


# ---- bad ----


def test_nobody_replicates(box):
    box.new_app()
    for command in ("wait", "sync"):
        assert "no replicator" in box.holdfast(command, box.db, code=3).err
    assert "no replicator" in box.holdfast("wait", "-where", box.db, code=3).err


def test_no_database(box):
    assert "none.db" in box.holdfast("wait", box.path / "none.db", code=3).err


def test_replicator_without_a_socket_is_named(box):
    box.new_app()
    r = box.replicate("-socket", "none")
    assert f"process {r.pid}" in box.holdfast("wait", box.db, code=3).err


@pytest.mark.file_only("arguments are not about replicas")
@pytest.mark.parametrize(
    "args, words",
    [
        (["-timeout", "soon"], "timeout"),
        (["-timeout", "-1s"], "timeout"),
        (["-timeout", "2d"], "timeout_ms"),
        (["-position", "then"], "position"),
        (["-position", "0000000000000001-1 "], "position"),
        (["-position", ""], "position"),
        (["-destination", ""], "destination"),
        (["-socket", ""], "socket"),
        (["-flsh"], "flush"),
    ],
)
def test_wrong_arguments(box, args, words):
    box.new_app()
    box.replicate()
    assert words in box.holdfast("wait", *args, box.db, code=2).err


@pytest.mark.file_only("arguments are not about replicas")
def test_wrong_number_of_databases(box):
    assert "a database" in box.holdfast("wait", code=2).err
    assert "too many" in box.holdfast("sync", "a", "b", code=2).err


@pytest.mark.file_only("about the socket's place")
@pytest.mark.parametrize("what", ["a file", "a directory", "nowhere"])
def test_socket_that_cannot_be_made_where_it_was_asked_for(box, what):
    box.new_app()
    place = box.path / "here.sock"
    if what == "a file":
        place.write_text("mine")
    elif what == "a directory":
        place.mkdir()
    else:
        place = box.path / "none" / "here.sock"
    words = box.start("-socket", place).end(3 if what == "nowhere" else 5)
    assert "-socket" in words
    assert what != "a file" or place.read_text() == "mine"


@pytest.mark.file_only("about the socket's place")
def test_socket_of_another_replicator_is_left_alone(box):
    box.new_app()
    place = box.path / "here.sock"
    box.replicate("-socket", place)
    other = box.path / "other.db"
    box.sql("PRAGMA journal_mode=WAL", "CREATE TABLE t(x)", db=other)
    assert "answers there" in box.start("-socket", place, db=other, to=box.path / "r2").end(9)
    box.holdfast("wait", "-socket", place, box.db)


@pytest.mark.file_only("about the socket's place")
def test_replication_goes_on_without_a_socket_that_nobody_named(box):
    box.new_app()
    (box.runtime / "socket").write_text("in the way")
    r = box.replicate()
    assert "socket" in r.wait("socket.failed")["err"]
    box.wait_safe()


@pytest.mark.file_only("about users")
def test_another_user_is_not_answered(box):
    box.new_app()
    box.for_nobody()
    place = box.path / "here.sock"
    box.replicate("-socket", place)
    os.chmod(place, 0o666)
    words = box.holdfast("wait", "-socket", place, box.db, user=NOBODY, code=2).err
    assert "only" in words and "user" in words
    assert "no replicator" in box.holdfast("wait", box.db, user=NOBODY, code=3).err


@pytest.mark.file_only("about users")
def test_root_is_answered_by_a_user_s_replicator(box):
    app = box.new_app()
    box.for_nobody()
    for f in box.path.glob("app.db*"):
        os.chown(f, NOBODY, NOBODY)
    box.replicate(user=NOBODY)
    add_rows(app, 1)
    box.holdfast("wait", box.db)
    box.holdfast("wait", box.db, user=NOBODY)


@pytest.mark.parametrize(
    "status, method, url, body",
    [
        (404, "GET", "/", None),
        (404, "POST", "/wait/", b"{}"),
        (404, "POST", "/Wait", b"{}"),
        (405, "GET", "/wait", None),
        (405, "PUT", "/wait", b"{}"),
        (405, "POST", "/status", b"{}"),
        (405, "DELETE", "/sync", None),
        (400, "POST", "/wait", b"no json"),
        (400, "POST", "/wait", b"[]"),
        (400, "POST", "/wait", b"{} {}"),
        (400, "POST", "/wait", b'{"timeout_ms": "1"}'),
        (400, "POST", "/wait", b'{"timeout_ms": -1}'),
        (400, "POST", "/wait", b'{"timeout_ms": 1.5}'),
        (400, "POST", "/wait", b'{"timeout_ms": 86400001}'),
        (400, "POST", "/wait", b'{"timeout_ms": 99999999999999999999}'),
        (400, "POST", "/wait", b'{"flush": 1}'),
        (400, "POST", "/wait", b'{"flsh": true}'),
        (400, "POST", "/wait", b'{"flush": true, "flush": false}'),
        (400, "POST", "/wait", b'{"position": 7}'),
        (400, "POST", "/wait", b'{"position": "0000000000000001-01"}'),
        (400, "POST", "/wait", b'{"position": "now\\u0000"}'),
        (400, "POST", "/wait", b'{"destination": 7}'),
        (400, "POST", "/wait", b'{"path": "app.db"}'),
        (400, "POST", "/wait", b'{"path": "\xff"}'),
        (400, "POST", "/sync", b'{"flush": true}'),
        pytest.param(413, "POST", "/wait", b" " * (65 << 10), id="too large"),
        pytest.param(413, "POST", "/wait", b"x" * (3 << 20), id="much too large"),
        pytest.param(404, "POST", "/", b"x" * (3 << 20), id="much too large for nothing"),
        (404, "POST", "/wait", b'{"path": "/etc/hostname"}'),
        (404, "POST", "/wait", b'{"path": "/no/such.db"}'),
        (404, "POST", "/wait", b'{"file": "1-1"}'),
        (404, "POST", "/sync", b'{"file": ""}'),
        (400, "POST", "/wait", b'{"file": 1}'),
        (404, "POST", "/wait", b'{"position": "0000000000000001-7"}'),
        (404, "POST", "/wait", b'{"destination": "file:///no/such"}'),
    ],
)
@pytest.mark.file_only("requests are not about replicas")
def test_request_that_cannot_be(asked, status, method, url, body):
    box, r = asked
    got, said = ask(box, method, url, body)
    assert got == status and set(said) == {"error", "words"} and said["words"], said
    until(lambda: r.waiting() == 0, "nobody waits")
    assert ask(box, "POST", "/wait", b"{}")[0] == 200


@pytest.fixture
def asked(box):
    box.new_app()
    r = box.replicate()
    box.holdfast("wait", box.db)
    return box, r


@pytest.mark.file_only("requests are not about replicas")
@pytest.mark.parametrize(
    "raw",
    ids=["TLS", "a length beyond all", "a long header", "many headers", "nonsense"],
    argvalues=[
        b"\x16\x03\x01\x02\x00",
        b"POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST /wait HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 70000 + b"\r\n\r\n",
        b"POST /wait HTTP/1.1\r\n" + b"A: b\r\n" * 20000 + b"\r\n",
        b"\r\n" * 1000 + b"nonsense\r\n\r\n",
    ],
)
def test_bytes_that_are_no_request(asked, raw):
    box, r = asked
    with contextlib.closing(Client(where(box))) as c:
        c.connect()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            c.sock.sendall(raw)
        assert ask(box, "POST", "/wait", b"{}")[0] == 200
    until(lambda: r.waiting() == 0, "nobody is left")
    assert ask(box, "POST", "/wait", b"{}")[0] == 200


@pytest.mark.file_only("the directory is put out of its reach")
def test_more_than_can_wait_are_told_so(box):
    """With few descriptors; those that wait go on, and who comes later is served again."""
    app = box.new_app()
    r = box.replicate(limits="ulimit -n 200; ulimit -Hn 200")
    box.holdfast("wait", box.db)
    lock_away(box)
    add_rows(app, 1)
    path, clients = where(box), []
    for _ in range(150):
        clients.append(Client(path))
        clients[-1].request("POST", "/wait", b"{}")
    until(lambda: r.waiting() == 150, "all have come")
    assert "busy: " in box.holdfast("wait", box.db, code=9).err
    come_back(box)
    said = [(a.status, json.loads(a.read()).get("error")) for a in (c.getresponse() for c in clients)]
    assert sorted(set(said), key=str) == [(200, None), (503, "busy")] and said.count((200, None)) == 100
    for c in clients:
        c.close()
    box.holdfast("wait", box.db)


@pytest.mark.file_only("the directory is put out of its reach")
def test_timeout_says_what_is_missing(box):
    app = box.new_app()
    r = box.replicate()
    box.holdfast("wait", box.db)
    lock_away(box)
    add_rows(app, 1)
    words = box.holdfast("wait", "-timeout", "100ms", box.db, code=8).err
    assert "timeout: " in words and str(box.replica) in words
    status, said = ask(box, "POST", "/wait", {"timeout_ms": 50, "flush": True})
    assert status == 504 and said["error"] == "timeout"
    assert ask(box, "POST", "/wait", {"timeout_ms": 0})[0] == 504
    come_back(box)
    box.holdfast("wait", box.db)
    assert count_rows(box.restore()) == 11


def test_replicator_that_is_stopped_is_not_waited_for_ever(box):
    box.new_app()
    r = box.replicate()
    box.holdfast("wait", box.db)
    with r.frozen():
        began = time.monotonic()
        words = box.holdfast("wait", "-timeout", "100ms", box.db, code=8).err
        assert "timeout: " in words and "answered" in words and time.monotonic() - began < 5
    box.holdfast("wait", box.db)


@pytest.mark.file_only("the directory is put out of its reach")
def test_replicator_that_is_killed_while_it_is_asked(box):
    app = box.new_app()
    r = box.replicate()
    box.holdfast("wait", box.db)
    lock_away(box)
    add_rows(app, 1)
    p = start_waiting(box)
    until(lambda: r.waiting() == 1, "it waits")
    r.kill()
    assert p.wait(5) == 7 and "no replicator" in p.stderr.read()


@pytest.mark.file_only("the directory is put out of its reach")
def test_replicator_that_ends_without_having_shipped_says_so(box):
    app = box.new_app()
    r = box.replicate("-drain", "100ms")
    box.holdfast("wait", box.db)
    lock_away(box)
    add_rows(app, 1)
    c = asked_already(box)
    r.stop(7)
    answer = c.getresponse()
    assert answer.status == 503 and "told to stop" in json.loads(answer.read())["words"]


@pytest.mark.file_only("the directory is put out of its reach")
def test_who_hangs_up_is_no_longer_waited_for(box):
    app = box.new_app()
    r = box.replicate()
    box.holdfast("wait", box.db)
    lock_away(box)
    add_rows(app, 1)
    path = where(box)
    for _ in range(3):
        clients = [Client(path) for _ in range(50)]
        for c in clients:
            c.request("POST", "/wait", b"{}")
        until(lambda: r.waiting() == 50, "they wait")
        for c in clients:
            c.close()
        until(lambda: r.waiting() == 0, "nobody waits")
    files = len(list(pathlib.Path(f"/proc/{r.pid}/fd").iterdir()))
    assert files < 60
    come_back(box)
    box.holdfast("wait", box.db)


def test_half_closed_connection_still_gets_its_answer(box):
    """As of nc -N, which ends its own side after the request."""
    app = box.new_app()
    r = box.replicate(*SLOW)
    box.holdfast("sync", box.db)
    add_rows(app, 1)
    box.holdfast("sync", box.db)
    add_rows(app, 1)
    with contextlib.closing(Client(where(box))) as c:
        c.request("POST", "/wait", b"{}")
        c.sock.shutdown(socket.SHUT_WR)
        until(lambda: r.waiting() == 1, "it waits")
        box.holdfast("sync", box.db)
        assert c.getresponse().status == 200


def test_fenced_replicator_tells_those_who_wait(box):
    """Another writer takes the replica: never safe, whatever was committed since."""
    app = box.new_app()
    r = box.replicate("-interval", "1h")
    box.holdfast("sync", box.db)
    add_rows(app, 1)
    box.holdfast("sync", box.db)
    copy, there = box.copy("copy.db"), box.path / "there"
    there.mkdir()
    add_rows(app, 1)
    p = start_waiting(box, "-timeout", "20s")
    c = Client(where(box), timeout=20)
    c.request("POST", "/wait", json.dumps({"flush": False}))
    until(lambda: r.waiting() == 2, "two wait")
    box.replicate("-take-over", db=copy, runtime=there)
    subprocess.run([COMMAND, "sync", box.db], env=box.env(), capture_output=True)
    assert p.wait(10) == 5 and "fenced: " in p.stderr.read()
    answer = c.getresponse()
    assert answer.status == 409 and json.loads(answer.read())["error"] == "fenced"
    c.close()
    r.end(5)
    box.holdfast("wait", box.db, code=3)


def test_application_is_told_by_its_wait_before_it_is_ended(box):
    """It may have an answer to take back."""
    app = box.new_app()
    said, copy, there = box.path / "said", box.path / "copy.db", box.path / "there"
    there.mkdir()
    ask = f"{COMMAND} wait -timeout 20s {box.db} 2>>{said}"
    os.mkfifo(box.path / "go")
    r = box.start(*SLOW, "-exec", f"trap '' TERM; read go <{box.path}/go; {ask}; echo $? >>{said}")
    r.wait("exec.start")
    add_rows(app, 1)
    box.holdfast("sync", box.db)
    add_rows(app, 1)
    (box.path / "go").write_text("go\n")
    until(lambda: r.waiting() == 1, "it waits")
    box.replicate("-take-over", db=box.copy(copy.name), runtime=there)
    box.holdfast("sync", box.db, code=5)
    r.end(5)
    assert "fenced: " in said.read_text() and said.read_text().endswith("\n5\n")


@pytest.mark.file_only("about a database that is not there")
def test_wait_while_there_is_no_database_times_out(box):
    app = box.new_app()
    r = box.replicate()
    box.holdfast("wait", box.db)
    app.close()
    path = where(box)
    target = os.readlink(path)
    remove(box.db, f"{box.db}-wal", f"{box.db}-shm")
    r.wait("database.gone", patience=20)
    with contextlib.closing(Client(target)) as c:
        began = time.monotonic()
        status, said = c.ask("POST", "/wait", {"timeout_ms": 300})
        assert status == 504 and "no database" in said["words"] and time.monotonic() - began < 5
        status, said = c.ask("GET", "/status")
        assert status == 200 and said["database"] == str(box.db) and said["state"] != "replicating"
