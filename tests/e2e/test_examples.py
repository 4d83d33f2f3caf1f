"""The examples do what they promise: killed with everything, restored elsewhere, they have lost no
registration that they had answered."""
import contextlib
import http.client
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import threading

import pytest

from box import COMMAND, PATIENCE, ROOT, Replicator, until
from places import NO_REPLICA

BUILD = pathlib.Path(COMMAND).parent
CONTROL = BUILD / "examples/control"
EXTENSION = BUILD / "src/ext/holdfast.so"
README = (ROOT / "README.md").read_text()
SOURCE = (ROOT / "examples/control.c").read_text()


def family(pid):
    """The process and all that it has started."""
    listed = " ".join(t.read_text() for t in pathlib.Path(f"/proc/{pid}/task").glob("*/children"))
    return [pid, *(p for child in listed.split() for p in family(int(child)))]


class Service(Replicator):
    """An example that runs; it says its URL first, on stdout."""

    beside = None  # a Replicator

    def __init__(self, box, machine, argv):
        (machine / "run").mkdir(parents=True, exist_ok=True)
        self.said = open(machine / "said", "w+")
        box.stack.callback(self.said.close)
        env = {**box.env(machine / "run"), "PYTHONDONTWRITEBYTECODE": "1"}
        self.process = subprocess.Popen(
            list(map(str, argv)), env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.said, text=True,
            cwd=machine, start_new_session=True,
        )  # fmt: skip
        self.pid = self.process.pid
        box.stack.callback(self.process.stdout.close)
        box.stack.callback(lambda: self.process.poll() is None and self.kill())
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith("http://127.0.0.1:"), self.words()
        self.address = self.url.removeprefix("http://")

    def words(self):
        return pathlib.Path(self.said.name).read_text()

    def kill(self):
        """It, what it runs, and the replicator beside it, before one of them sees that another is gone."""
        pids = [*family(self.pid), *([self.beside.pid] if self.beside else [])]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        self.process.wait()
        if self.beside:
            self.beside.kill()

    def end(self, code, patience=PATIENCE):
        got = self.process.wait(patience)
        assert got == code, f"exit {got}, not {code}: {self.words()}"

    def ask(self, method, path, body=None, connection=None):
        """(status, what was answered)"""
        c = connection or http.client.HTTPConnection(self.address, timeout=60)
        try:
            c.request(method, path, body if isinstance(body, (bytes, type(None))) else json.dumps(body))
            reply = c.getresponse()
            text = reply.read()
            return reply.status, json.loads(text) if text else None
        finally:
            if not connection:
                c.close()


def start_control(box, machine, *urls, program=CONTROL):
    return Service(box, machine, [program, machine / "app.db", 0, *(urls or [box.replica])])


def start_app(box, machine):
    """It is run by `replicate -exec`, which restores the database if it is missing."""
    app = " ".join(map(str, [sys.executable, ROOT / "examples/app.py", machine / "app.db", 0, EXTENSION]))
    return Service(box, machine, [COMMAND, "replicate", "-exec", app, machine / "app.db", box.replica])


def start_app_beside(box, machine):
    """With a replicator beside it: both are processes of the machine."""
    if (box.replica / "holdfast").exists():
        box.holdfast("restore", box.replica, machine / "app.db")
    s = Service(box, machine, [sys.executable, ROOT / "examples/app.py", machine / "app.db", 0, EXTENSION])
    command = [COMMAND, "replicate", "-take-over", machine / "app.db", box.replica]
    s.beside = Replicator(list(map(str, command)), box.env(machine / "run"))
    s.beside.wait("destination.ready")
    return s


@pytest.fixture
def control(box):
    if not CONTROL.exists():
        pytest.skip(f"{CONTROL} was not built")
    return lambda machine, *urls: start_control(box, machine, *urls)


def node(n):
    return {"name": f"n{n}", "ip": f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}"}


def register(service, first, count, answered):
    """One client: registers until it gets no answer any more."""
    c = http.client.HTTPConnection(service.address, timeout=60)
    with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(c):
        for n in range(first, first + count):
            status, _ = service.ask("POST", "/node", node(n), c)
            assert status == 201, status
            answered.append(n)
            service.ask("POST", "/seen", {"node": node(n)["name"], "rx": 100, "tx": 1}, c)


def killed_in_the_middle(service, first, clients=8):
    """The registrations that were answered before kill -9 of everything."""
    answered, wanted = [], random.randint(20, 50)
    threads = [
        threading.Thread(target=register, args=(service, first + 1000 * i, 1000, answered)) for i in range(clients)
    ]
    for t in threads:
        t.start()
    until(lambda: len(answered) >= wanted, f"{wanted} registrations, not {len(answered)}", 30)
    service.kill()
    for t in threads:
        t.join()
    return answered


def seen(service):
    """How many rows noise has."""
    status, stats = service.ask("GET", "/stats")
    assert status == 200, stats
    return stats["traffic"]["nodes"] if "traffic" in stats else stats["seen"]


@pytest.mark.on_disk
@pytest.mark.parametrize("start", [start_control, start_app, start_app_beside])
def test_no_answered_registration_is_lost(box, start):
    """Three machines, one after the other: each is gone with all its files; the next has every registration,
    nothing in noise, and goes on."""
    needs(CONTROL if start is start_control else EXTENSION)
    answered = []
    for life in range(3):
        machine = box.path / f"machine{life}"
        machine.mkdir()
        service = start(box, machine)
        for n in answered:
            assert service.ask("GET", f"/node?ip={node(n)['ip']}") == (200, [node(n)])
        assert seen(service) == 0
        assert service.ask("POST", "/seen", {"node": "n0", "rx": 1, "tx": 2})[0] == 204 and seen(service) == 1
        answered += killed_in_the_middle(service, 10000 * life)
        shutil.rmtree(machine)
    assert len(answered) >= 60


# ---- control.c ----


@pytest.fixture
def control(box):
    needs(CONTROL)
    machine = box.path / "machine"
    machine.mkdir()
    return start_control(box, machine)


GOOD = [
    ("POST", "/node", {"name": "n1", "ip": "10.0.0.1", "user": "ada"}, 201),
    ("POST", "/node", {"user": "ada", "ip": "10.0.0.1", "name": "n1"}, 201),  # the same again
    ("POST", "/node", {"name": "n2", "ip": "10.0.0.2", "user": "ada"}, 201),
    ("POST", "/key", {"id": "k1", "node": "n1", "public": "x"}, 201),
    ("POST", "/key", {"id": "k2", "node": "n2", "public": "y"}, 201),
    ("POST", "/policy", {"name": "p1", "user": "ada", "may": ["read"]}, 201),
    ("POST", "/seen", {"node": "n1", "rx": 100, "tx": 20}, 204),
    ("POST", "/seen", {"node": "n1", "rx": 11}, 204),
    ("GET", "/node?name=n1", None, [{"name": "n1", "ip": "10.0.0.1", "user": "ada"}]),
    ("GET", "/node?ip=10.0.0.2", None, [{"name": "n2", "ip": "10.0.0.2", "user": "ada"}]),
    ("GET", "/node?user=ada", None, ["n1", "n2"]),
    ("GET", "/node?user=bob", None, []),
    ("GET", "/node", None, ["n1", "n2"]),
    ("GET", "/key?node=n1", None, [{"id": "k1", "node": "n1", "public": "x"}]),
    ("DELETE", "/node?name=n1", None, 204),
    ("GET", "/node", None, ["n2"]),
    ("GET", "/key?node=n1", None, []),  # it went with its node
    ("GET", "/key", None, [{"id": "k2", "node": "n2", "public": "y"}]),
    ("POST", "/node", {"name": "n3", "ip": "10.0.0.1"}, 201),  # the address is free again
]
BAD = [
    ("POST", "/node", {"name": "n2", "ip": "10.0.0.9"}, 409, "node/n2"),
    ("POST", "/node", {"name": "n9", "ip": "10.0.0.2"}, 409, "ip"),
    ("POST", "/key", {"id": "k9", "node": "n9"}, 404, "node/n9"),
    ("POST", "/key", {"id": "k9"}, 400, "node/"),
    ("POST", "/key", {"id": "k9", "node": 7}, 400, "node/"),
    ("POST", "/node", {"ip": "10.0.0.9"}, 400, "name"),
    ("POST", "/node", {"name": ""}, 400, "name"),
    ("POST", "/node", {"name": 7}, 400, "name"),
    ("POST", "/node", {"name": "a/b"}, 400, "name"),
    ("POST", "/node", {"name": "a b"}, 400, "name"),
    ("POST", "/node", {"name": "\u00e9"}, 400, "name"),
    ("POST", "/node", {"name": "a" * 201}, 400, "name"),
    ("POST", "/node", b"", 400, "JSON"),
    ("POST", "/node", b"[]", 400, "JSON"),
    ("POST", "/node", b'{"name": "a"', 400, "JSON"),
    ("POST", "/node", b'{"name": "a\\u0000b"}', 400, "JSON"),
    ("POST", "/node", b'{"name": "a", "name": "b"}', 400, "JSON"),
    ("POST", "/node", b"[" * 60000, 400, "JSON"),
    ("POST", "/node", b'{"name": "a", "x": "' + b"x" * 65536 + b'"}', 413, "too large"),
    ("POST", "/nodes", {"name": "n9"}, 404, "/nodes"),
    ("POST", "/nod", {"name": "n9"}, 404, "/nod"),
    ("POST", "/", {"name": "n9"}, 404, "POST /"),
    ("POST", "/seen", {"rx": 1}, 400, "node"),
    ("POST", "/stats", {}, 405, "no request"),
    ("PUT", "/node", {"name": "n9"}, 405, "no request"),
    ("GET", "/seen", None, 405, "no request"),
    ("GET", "/", None, 404, "GET /"),
    ("GET", "/node?name=n9", None, 404, "n9"),
    ("GET", "/node?color=red", None, 400, "color"),
    ("GET", "/node?name=n1&ip=10.0.0.1", None, 400, "one"),
    ("GET", "/node?name=", None, 400, "name"),
    ("DELETE", "/node", None, 400, "name"),
    ("DELETE", "/node?ip=10.0.0.2", None, 400, "name"),
    ("DELETE", "/node?name=n9", None, 404, "n9"),
]


def play(service, table):
    for method, path, body, wanted in table:
        status, said = service.ask(method, path, body)
        if isinstance(wanted, int):
            assert status == wanted, (method, path, body, said)
        else:
            assert status == 200, (method, path, said)
            assert [r["name"] for r in said] == wanted if wanted and isinstance(wanted[0], str) else said == wanted


def test_control_does_what_its_first_lines_say(control):
    play(control, GOOD)
    status, stats = control.ask("GET", "/stats")
    assert status == 200 and stats["records"] == {"key": 1, "node": 2, "policy": 1}
    assert stats["traffic"] == {"nodes": 1, "rx": 111, "tx": 20}
    assert {"put record", "delete record", "put seen"} <= {t["why"] for t in stats["transactions"]}
    assert "replication" in stats


@pytest.mark.file_only("nothing of it reaches the replica")
def test_control_refuses_what_it_should(control):
    play(control, GOOD)
    before = control.ask("GET", "/node"), control.ask("GET", "/key"), seen(control)
    for method, path, body, status, word in BAD:
        got, said = control.ask(method, path, body)
        assert got == status and word in said["error"], (method, path, body, said)
    assert (control.ask("GET", "/node"), control.ask("GET", "/key"), seen(control)) == before


def test_control_ends_at_sigterm_with_everything_shipped(box, control):
    play(control, GOOD)
    control.process.send_signal(signal.SIGTERM)
    control.end(0)
    rows = box.sql("SELECT Key FROM DBX UNION ALL SELECT name FROM node ORDER BY 1", db=box.restore())
    assert [key for (key,) in rows] == ["key/k2", "n2", "n3", "policy/p1"]


@NO_REPLICA
@pytest.mark.parametrize(
    "args, code, words", [([], 2, "usage"), (["x.db"], 2, "usage"), (["/nowhere/x.db", "0"], None, "nowhere")]
)
def test_control_says_why_it_does_not_start(box, args, code, words):
    needs(CONTROL)
    done = subprocess.run([CONTROL, *args], env=box.env(), capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == code or (code is None and done.returncode > 0)
    assert words in done.stderr


@pytest.mark.file_only("a second writer is the same in a bucket")
def test_control_ends_when_another_takes_over(box, control):
    """Whoever waits is told 503, and nothing that is answered 201 is lost."""
    play(control, GOOD)
    machine = box.path / "another"
    machine.mkdir()
    box.holdfast("restore", box.replica, machine / "app.db")
    box.holdfast("replicate", "-take-over", "-exec", "true", machine / "app.db", box.replica, runtime=machine)
    status, said = control.ask("POST", "/node", {"name": "n4", "ip": "10.0.0.4"})
    assert status == 503 and "another" in said["error"]
    assert control.process.wait(PATIENCE) != 0
    assert "another" in control.words()


# ---- app.py ----

APP_BAD = [
    ("POST", "/node", {"name": "n1", "ip": "10.0.0.9"}, 409, "node.name"),
    ("POST", "/node", {"name": "n9", "ip": "10.0.0.1"}, 409, "node.ip"),
    ("POST", "/node", {"name": "n9"}, 400, "ip"),
    ("POST", "/node", {"name": 9, "ip": "10.0.0.9"}, 400, "name"),
    ("POST", "/node", b"{", 400, ""),
    ("POST", "/node", b"[]", 400, "JSON"),
    ("POST", "/node", b" " * 65537, 413, ""),
    ("POST", "/seen", {"node": "n1"}, 400, "rx"),
    ("POST", "/seen", {"node": "n1", "rx": [], "tx": 1}, 400, ""),
    ("POST", "/nodes", {}, 404, "no such request"),
    ("POST", "/__init__", {}, 404, "no such request"),
    ("DELETE", "/node?name=n9", None, 404, "no such node"),
]


@pytest.mark.file_only("nothing of it reaches the replica")
def test_app_does_what_its_first_lines_say(box):
    needs(EXTENSION)
    machine = box.path / "machine"
    machine.mkdir()
    app = start_app(box, machine)
    for _ in range(2):  # the same again is the same
        assert app.ask("POST", "/node", {"name": "n1", "ip": "10.0.0.1"})[0] == 201
    for method, path, body, status, words in APP_BAD:
        got, said = app.ask(method, path, body)
        assert got == status and words in said["error"], (method, path, body, said)
    assert app.ask("GET", "/node?ip=10.0.0.1") == (200, [{"name": "n1", "ip": "10.0.0.1"}])
    assert app.ask("GET", "/node?name=n9") == (200, [])
    assert app.ask("DELETE", "/node?name=n1")[0] == 204 and app.ask("GET", "/node?name=n1") == (200, [])
    assert seen(app) == 0


@pytest.mark.file_only("there is no replica")
def test_app_answers_no_registration_without_a_replicator(box):
    needs(EXTENSION)
    app = Service(box, box.path, [sys.executable, ROOT / "examples/app.py", box.db, 0, EXTENSION])
    status, said = app.ask("POST", "/node", {"name": "n1", "ip": "10.0.0.1"})
    assert status == 503 and "no replicator" in said["error"]


# ---- what the documents say ----


def needs(path):
    if not path.exists():
        pytest.skip(f"{path} was not built")


@pytest.fixture
def installed(box, monkeypatch):
    """What `make install` installs, below a directory; the compiler and the loader look there."""
    needs(BUILD / "build.ninja")
    root = box.path / "installed"
    command = ["meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir", root]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    libraries = next(root.rglob("libholdfast.so")).parent
    monkeypatch.setenv("PKG_CONFIG_PATH", str(libraries / "pkgconfig"))
    monkeypatch.setenv("PKG_CONFIG_SYSROOT_DIR", str(root))
    monkeypatch.setenv("LD_LIBRARY_PATH", str(libraries))
    return root


@pytest.mark.file_only("it is about the text")
def test_readme_adds_a_kind_of_record_an_index_and_a_query(box, installed):
    """Exactly these lines, at most twenty, to a copy: built by the line that stands in it, and used."""
    diff = re.search(r"^```diff\n(.*?)^```$", README, re.M | re.S)[1]
    lines = [line for line in diff.splitlines() if line.startswith("+") and not line.startswith("+++")]
    assert len(lines) <= 20 and not re.search(r"^-(?!--)", diff, re.M)
    there = box.path / "examples"
    shutil.copytree(ROOT / "examples", there)
    subprocess.run(["git", "apply", "-"], input=diff, text=True, cwd=box.path, check=True)
    line = re.search(r"^ \*\s+(cc -o control .*)$", SOURCE, re.M)[1]
    done = subprocess.run(["sh", "-c", line], cwd=there, capture_output=True, text=True)
    assert done.returncode == 0, f"{line}\n{done.stderr}"
    program, machine = there / "control", box.path / "machine"
    machine.mkdir()
    service = start_control(box, machine, program=program)
    play(service, GOOD)
    for command in re.findall(r"^`(curl [^`]*route)`|`(curl [^`]*via[^`]*)`", README, re.M):
        command = "".join(command).replace("localhost:8080", service.address).replace('"n1"', '"n2"')
        said = subprocess.run(["sh", "-c", f"exec {command} -sS"], capture_output=True, text=True, check=True).stdout
    assert [n["name"] for n in json.loads(said)] == ["n2"]
    assert service.ask("GET", "/route?net=10.1.0.0/16")[1][0]["id"] == "r1"
    assert service.ask("POST", "/route", {"id": "r2", "net": "10.2.0.0/16", "node": "n9"})[0] == 404
    service.kill()
    shutil.rmtree(machine)
    machine.mkdir()
    service = start_control(box, machine, program=program)
    assert [n["name"] for n in service.ask("GET", "/via?net=10.1.0.0/16")[1]] == ["n2"]
