"""An HTTP/1.1 server on loopback inside the test process, which records what it is asked and does what
a test says: a thread per connection, keep-alive, TLS if a certificate is given.

A service (fake_s3.py, credential_services.py) derives from Server and answers in reply_to(). A test
puts a fault in its way:

    s3.fault(lost_reply, kind="put", times=1)

A fault is a function (request, apply) -> Reply. apply() does what was asked and gives the true reply;
a fault may leave it out, call it later, change the reply, or raise Hangup. Whether a request is signed
well is looked at before that: no fault hides a request that is wrong.
"""
import contextlib
import dataclasses
import email.utils
import hashlib
import pathlib
import re
import socket
import ssl
import struct
import subprocess
import threading
import time
import urllib.parse

DEAD = (OSError, ValueError)  # what a socket raises that was closed or cut by either side
REASONS = {200: "OK", 204: "No Content", 206: "Partial Content", 301: "Moved Permanently"}


class Hangup(Exception):
    """No reply: the connection is reset."""


@dataclasses.dataclass
class Request:
    connection: int
    method: str
    target: str  # as it stood on the request line
    headers: dict  # lower-case names; repeated ones joined by a comma
    body: bytes
    at: float  # monotonic
    number: int = 0  # of the requests to this server
    kind: str = ""
    key: str = ""
    status: int = 0  # of the reply, 0: none yet

    def __post_init__(self):
        self.path, _, self.raw_query = self.target.partition("?")
        self.query = urllib.parse.parse_qsl(self.raw_query, keep_blank_values=True)
        self.digest = hashlib.sha256(self.body).hexdigest()

    def arg(self, name, default=None):
        return dict(self.query).get(name, default)

    def __str__(self):
        return f"{self.connection}: {self.method} {self.target} ({len(self.body)} bytes) -> {self.status}"


@dataclasses.dataclass
class Reply:
    status: int = 200
    body: bytes = b""
    headers: dict = dataclasses.field(default_factory=dict)
    cut: int = None  # reset the connection after so many bytes of the body
    cut_head: bool = False  # reset it in the middle of the head
    pace: float = 0  # seconds between two bytes of the body
    slow_head: bool = False  # and of the head
    close: bool = False  # after it, without a word about it before


class Fault:
    def __init__(self, act, kind, key, skip, times):
        self.act, self.kind, self.key = act, kind, key and re.compile(key)
        self.skip, self.times = skip, times
        self.hits = []  # requests it has met

    def takes(self, request):
        """Whether this is one of those it waits for; counts it."""
        if self.kind and request.kind not in self.kind.split():
            return False
        if self.key and not self.key.search(request.key):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is not None and len(self.hits) >= self.times:
            return False
        self.hits.append(request)
        return True


class Server:
    scheme = "http"

    def __init__(self, certificate=None, host="127.0.0.1"):
        self.host = host
        self.requests = []
        self.faults = []
        self.skew = 0.0  # seconds this server's clock is ahead
        self.lock = threading.RLock()
        self.connections = 0
        self.handshakes_failed = 0
        self.open_sockets = set()
        self.stopping = threading.Event()
        self.tls = None
        if certificate:
            self.scheme = "https"
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(f"{certificate}.pem", f"{certificate}.key")
        self.port = 0
        self.up()

    # ---- life ----

    def up(self):
        """Begin to listen; after down() on the same port as before."""
        self.stopping.clear()
        self.listener = socket.create_server(("127.0.0.1", self.port), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.acceptor = threading.Thread(target=self._accept, args=(self.listener,), daemon=True)
        self.acceptor.start()

    def down(self):
        """Nobody listens, every connection is reset."""
        self.stopping.set()
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.acceptor.join()
        self.hang_up()

    @contextlib.contextmanager
    def outage(self):
        self.down()
        yield
        self.up()

    def hang_up(self):
        """Reset every connection."""
        with self.lock:
            for s in list(self.open_sockets):
                reset(s)

    @property
    def url(self):
        return f"{self.scheme}://{self.host}:{self.port}"

    # ---- what was asked ----

    def asked(self, kind=None, key=None, since=0):
        """The requests of this kind (or any of several, blanks between)."""
        with self.lock:
            return [
                r
                for r in self.requests[since:]
                if (not kind or r.kind in kind.split()) and (not key or re.search(key, r.key))
            ]

    def mark(self):
        return len(self.requests)

    def fault(self, act, kind=None, key=None, skip=0, times=None):
        """From the (skip+1)th request of this kind and key on, `times` of them (None: all)."""
        f = Fault(act, kind, key, skip, times)
        with self.lock:
            self.faults.append(f)
        return f

    def mend(self):
        """No more faults."""
        with self.lock:
            self.faults.clear()

    def now(self):
        return time.time() + self.skew

    # ---- for those who derive ----

    def classify(self, request):
        """Set request.kind and request.key."""

    def check(self, request):
        """A Reply that refuses it, before any fault; or None."""

    def reply_to(self, request):
        raise NotImplementedError

    # ---- connections ----

    def _accept(self, listener):
        while not self.stopping.is_set():
            try:
                s, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(s,), daemon=True).start()

    def _serve(self, s):
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self.lock:
            self.connections += 1
            number = self.connections
            self.open_sockets.add(s)
        raw = s
        try:
            if self.tls:
                try:
                    s = self.tls.wrap_socket(s, server_side=True)
                except DEAD:
                    self.handshakes_failed += 1
                    raise
                with self.lock:
                    self.open_sockets.add(s)
            with s.makefile("rb") as stream:
                while self._one(number, s, stream):
                    pass
        except Hangup:
            reset(s)
        except DEAD:
            pass
        finally:
            with self.lock:
                self.open_sockets -= {raw, s}
            with contextlib.suppress(OSError):
                s.close()

    def _one(self, number, s, stream):
        """One request; whether the connection goes on."""
        request = read_request(number, s, stream)
        if request is None:
            return False
        request.server = self
        self.classify(request)
        refusal = self.check(request)
        with self.lock:
            request.number = len(self.requests)
            self.requests.append(request)
            fault = None if refusal else next((f for f in self.faults if f.takes(request)), None)

        def apply():
            with self.lock:
                return self.reply_to(request)

        reply = refusal or (fault.act(request, apply) if fault else apply())
        request.status = reply.status
        self._send(s, request, reply)
        return not reply.close and request.headers.get("connection", "").lower() != "close"

    def _send(self, s, request, reply):
        headers = {
            "Date": email.utils.formatdate(self.now(), usegmt=True),
            "x-amz-request-id": f"{request.number:016X}",
            "Content-Length": str(len(reply.body)),
            **reply.headers,
        }
        head = [f"HTTP/1.1 {reply.status} {REASONS.get(reply.status, 'Said')}"]
        head += [f"{k}: {v}" for k, v in headers.items() if v is not None]
        body = b"" if request.method == "HEAD" or reply.status == 204 else reply.body
        head = "\r\n".join(head + ["", ""]).encode()
        if reply.cut_head:
            s.sendall(head[: len(head) // 2])
            raise Hangup
        self._pace(s, head, reply.pace * reply.slow_head)
        if reply.cut is not None:
            s.sendall(body[: reply.cut])
            raise Hangup
        self._pace(s, body, reply.pace)

    def _pace(self, s, text, seconds):
        if not seconds:
            s.sendall(text)
        for i in range(len(text) if seconds else 0):
            s.sendall(text[i : i + 1])
            if self.stopping.wait(seconds):
                raise Hangup


def read_request(number, s, stream):
    line = stream.readline(65537)
    if not line.endswith(b"\r\n"):
        return None
    method, target, version = line.decode("latin-1").split()
    assert version == "HTTP/1.1", line
    headers = {}
    while (line := stream.readline(65537)) != b"\r\n":
        if not line:
            return None
        name, colon, value = line.decode("latin-1").partition(":")
        assert colon and name == name.strip(), line
        name, value = name.lower(), value.strip()
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    assert "transfer-encoding" not in headers, "S3 takes no chunked bodies"
    if headers.get("expect", "").lower() == "100-continue":
        s.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    size = int(headers.get("content-length", 0))
    body = stream.read(size)
    if len(body) < size:
        return None
    return Request(number, method, target, headers, body, time.monotonic())


def reset(s):
    """Close with RST; whoever reads or writes it in another thread is woken."""
    with contextlib.suppress(OSError):
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(OSError):
        socket.socket.shutdown(s, socket.SHUT_RD)
    with contextlib.suppress(OSError):
        socket.socket.close(s)


# ---- faults that any service can have ----


def hang_up(request, apply):
    """Nothing is done, and the connection breaks."""
    raise Hangup


def lost_reply(request, apply):
    """Done, and the connection breaks before the reply."""
    apply()
    raise Hangup


def after(event, patience=10):
    """Done, and answered, once the test says so."""

    def act(request, apply):
        assert event.wait(patience)
        return apply()

    return act


def late(when):
    """Nothing is done now, the connection breaks; each apply() is put into the list `when`."""

    def act(request, apply):
        when.append(apply)
        raise Hangup

    return act


def silent(event):
    """Accepted and never answered (until the test ends)."""

    def act(request, apply):
        event.wait(60)
        raise Hangup

    return act


def slowly(seconds):
    """The body comes a byte at a time."""

    def act(request, apply):
        reply = apply()
        reply.pace = seconds
        return reply

    return act


def cut_after(count):
    """The reply says its right length, and the connection breaks after `count` bytes of the body (a
    function of the body, or a number)."""

    def act(request, apply):
        reply = apply()
        reply.cut = count(reply.body) if callable(count) else count
        return reply

    return act


def altered(change):
    """The body passes through change(body)."""

    def act(request, apply):
        reply = apply()
        reply.body = change(reply.body)
        return reply

    return act


# ---- TLS ----


class Certificates:
    """Made by openssl(1) for one test run: an authority; `localhost`, `elsewhere` (a name that nobody
    here has) and `expired` signed by it; and `alone`, signed by itself. Each is NAME.pem, NAME.key."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self._make("ca", "/CN=authority of a test", ["-addext", "keyUsage=critical,keyCertSign,cRLSign"])
        self._make("alone", "/CN=localhost", ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        self._signed("localhost", "DNS:localhost,DNS:*.localhost,IP:127.0.0.1")
        self._signed("elsewhere", "DNS:elsewhere.example")

    def __getitem__(self, name):
        return self.directory / name

    @property
    def authority(self):
        return self.directory / "ca.pem"

    def _openssl(self, *args):
        subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True, cwd=self.directory)

    def _make(self, name, subject, extra):
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key"]
        self._openssl("req", "-x509", *key, "-subj", subject, "-days", 2, "-out", f"{name}.pem", *extra)

    def _signed(self, name, names):
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key"]
        self._openssl("req", *key, "-subj", f"/CN={name}", "-out", f"{name}.csr")
        (self.directory / f"{name}.ext").write_text(f"subjectAltName={names}\n")
        by = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", f"{name}.ext"]
        self._openssl("x509", "-req", "-in", f"{name}.csr", *by, "-days", 2, "-out", f"{name}.pem")

    def sign_expired(self):
        """`expired`, whose last day was one of the year 2020."""
        (self.directory / "index.txt").write_text("")
        (self.directory / "serial").write_text("01\n")
        settings = "database=index.txt\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\npolicy=any\n"
        (self.directory / "ca.cnf").write_text(f"[ca]\ndefault_ca=it\n[it]\n{settings}[any]\ncommonName=supplied\n")
        self._signed("expired", "DNS:localhost,IP:127.0.0.1")
        life = ["-startdate", "20200101000000Z", "-enddate", "20200102000000Z", "-extfile", "expired.ext"]
        by = ["-config", "ca.cnf", "-cert", "ca.pem", "-keyfile", "ca.key", "-batch", "-notext"]
        self._openssl("ca", *by, "-in", "expired.csr", "-out", "expired.pem", *life)
