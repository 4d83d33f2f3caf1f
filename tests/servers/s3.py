"""A small S3 client for the tests, and replicas in a bucket under the names that pathlib has for files.

It signs by itself (AWS Signature Version 4, from its public description, with the standard library
only): what a server thinks of our C signer and what it thinks of this one are two opinions.
"""
import datetime
import email.utils
import fnmatch
import hashlib
import hmac
import http.client
import posixpath
import threading
import urllib.parse
import xml.etree.ElementTree as xml

TIME = "x-amz-meta-litestream-timestamp"


class Refused(Exception):
    """A reply that is no success: its status, and the body's code."""

    def __init__(self, status, body, what):
        self.status, self.code = status, field(body, "Code")
        super().__init__(f"{what}: {status} {self.code or body[:200]}")


def field(body, name):
    return body.partition(f"<{name}>".encode())[2].partition(f"</{name}>".encode())[0].decode()


def escape(text, safe="-_.~"):
    return urllib.parse.quote(text, safe=safe)


def digest(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256)


class Client:
    """Path style. Connections are kept, one for each thread."""

    def __init__(self, endpoint, access, secret, region="us-east-1", context=None):
        url = urllib.parse.urlsplit(endpoint)
        self.endpoint, self.region, self.access, self.secret = endpoint, region, access, secret
        self.tls, self.host, self.context, self.own = url.scheme == "https", url.netloc, context, threading.local()

    def signed(self, method, path, query, headers, body):
        """All headers, and the query as it is signed."""
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        body_sum = hashlib.sha256(body).hexdigest()
        headers = {k.lower(): v for k, v in headers.items()}
        headers |= {"host": self.host, "x-amz-date": now, "x-amz-content-sha256": body_sum}
        query = "&".join(f"{escape(k)}={escape(v)}" for k, v in sorted(query.items()))
        names = ";".join(sorted(headers))
        lines = "".join(f"{k}:{' '.join(headers[k].split())}\n" for k in sorted(headers))
        request = "\n".join([method, path, query, lines, names, body_sum])
        scope = f"{now[:8]}/{self.region}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        key = f"AWS4{self.secret}".encode()
        for part in scope.split("/"):
            key = digest(key, part).digest()
        signature = digest(key, text).hexdigest()
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={self.access}/{scope}, SignedHeaders={names}, Signature={signature}"
        )
        return headers, query

    def send(self, method, path, query=None, headers=None, body=b""):
        """(status, headers, body), whatever the status."""
        path = escape(path, "/-_.~")
        headers, query = self.signed(method, path, query or {}, headers or {}, body)
        target = f"{path}?{query}" if query else path
        kept = getattr(self.own, "connection", None)
        if kept:
            try:
                return self.exchange(kept, method, target, headers, body)
            except (ConnectionError, http.client.HTTPException):
                kept.close()  # the server had closed it, or was started again
        if self.tls:
            self.own.connection = http.client.HTTPSConnection(self.host, timeout=60, context=self.context)
        else:
            self.own.connection = http.client.HTTPConnection(self.host, timeout=60)
        return self.exchange(self.own.connection, method, target, headers, body)

    def exchange(self, connection, method, target, headers, body):
        connection.request(method, target, body=body, headers=headers)
        reply = connection.getresponse()
        return reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read()

    def ask(self, method, path, query=None, headers=None, body=b""):
        """(headers, body) of a success; FileNotFoundError; or Refused."""
        status, headers, reply = self.send(method, path, query, headers, body)
        if status == 404:
            raise FileNotFoundError(path)
        if status >= 300:
            raise Refused(status, reply, f"{method} {path}")
        return headers, reply

    def make_bucket(self, bucket):
        self.ask("PUT", f"/{bucket}")

    def list(self, bucket, prefix="", delimiter=""):
        """([(key, size, time)], [prefix below]) in the order of keys."""
        keys, below, token = [], [], None
        while True:
            query = {"list-type": "2", "prefix": prefix, "encoding-type": "url"}
            query |= {"delimiter": delimiter} if delimiter else {}
            query |= {"continuation-token": token} if token else {}
            tree = xml.fromstring(self.ask("GET", f"/{bucket}", query)[1])
            name = tree.tag.removesuffix("ListBucketResult")
            text = lambda of, tag: urllib.parse.unquote(of.findtext(name + tag))
            keys += [(text(c, "Key"), int(text(c, "Size")), text(c, "LastModified"))
                     for c in tree.iter(name + "Contents")]
            below += [text(c, "Prefix") for c in tree.iter(name + "CommonPrefixes")]
            if tree.findtext(name + "IsTruncated") != "true":
                return keys, below
            token = tree.findtext(name + "NextContinuationToken")


class Stat:
    def __init__(self, headers):
        self.st_size = int(headers["content-length"])
        when = headers.get(TIME)
        if when:
            then = datetime.datetime.fromisoformat(when.replace("Z", "+00:00"))
        else:
            then = email.utils.parsedate_to_datetime(headers["last-modified"])
        self.st_mtime_ns = round(then.timestamp() * 1000) * 1_000_000


class Path:
    """A key, or what keys begin with. There are no directories: they are where something is below."""

    def __init__(self, client, bucket, key=""):
        self.client, self.bucket, self.key = client, bucket, key

    @property
    def shown(self):
        """As messages have it."""
        return f"s3://{self.bucket}/{self.key}"

    def __str__(self):
        """The URL for a command line, and as holdfast writes it. An endpoint of one's own is path style."""
        return f"{self.shown}?endpoint={self.client.endpoint}&region={self.client.region}"

    def __repr__(self):
        return self.shown

    def __eq__(self, other):
        return isinstance(other, Path) and self.shown == other.shown

    def __hash__(self):
        return hash(self.shown)

    def __lt__(self, other):
        return self.key < other.key

    def __truediv__(self, name):
        return Path(self.client, self.bucket, posixpath.join(self.key, str(name)))

    @property
    def name(self):
        return posixpath.basename(self.key)

    @property
    def parent(self):
        return Path(self.client, self.bucket, posixpath.dirname(self.key))

    def relative_to(self, other):
        return posixpath.relpath(self.key, other.key)

    def _at(self):
        return f"/{self.bucket}/{self.key}"

    def _below(self):
        keys, _ = self.client.list(self.bucket, f"{self.key}/")
        return [Path(self.client, self.bucket, key) for key, _, _ in keys]

    def iterdir(self):
        keys, below = self.client.list(self.bucket, f"{self.key}/", "/")
        names = [key for key, _, _ in keys] + [prefix.rstrip("/") for prefix in below]
        return iter([Path(self.client, self.bucket, name) for name in names])

    def glob(self, pattern):
        depth = pattern.count("/")
        parts = [(p, p.relative_to(self)) for p in self._below()]
        return iter([p for p, name in parts if name.count("/") == depth and all(
            map(fnmatch.fnmatchcase, name.split("/"), pattern.split("/")))])

    def rglob(self, pattern):
        return iter([p for p in self._below() if fnmatch.fnmatchcase(p.name, pattern)])

    def headers(self):
        return self.client.ask("HEAD", self._at())[0]

    def stat(self):
        return Stat(self.headers())

    def is_file(self):
        try:
            self.headers()
        except FileNotFoundError:
            return False
        return True

    def is_dir(self):
        return bool(self._below())

    def exists(self):
        return self.is_file() or self.is_dir()

    def read_bytes(self):
        return self.client.ask("GET", self._at())[1]

    def read_text(self):
        return self.read_bytes().decode()

    def write_bytes(self, data):
        self.client.ask("PUT", self._at(), body=bytes(data))

    def write_text(self, text):
        self.write_bytes(text.encode())

    def unlink(self, missing_ok=False):
        if not missing_ok:
            self.headers()
        self.client.ask("DELETE", self._at())

    def copy_to(self, other, **headers):
        """Bytes and metadata, to another key of the same server."""
        headers["x-amz-copy-source"] = escape(self._at(), "/-_.~")
        self.client.ask("PUT", other._at(), headers=headers)

    def set_time(self, ns):
        then = datetime.datetime.fromtimestamp(ns // 1_000_000 / 1000, datetime.timezone.utc)
        when = then.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self.copy_to(self, **{"x-amz-metadata-directive": "REPLACE", TIME: when})

    def rename(self, other):
        self.copy_to(other)
        self.unlink()
        return other

    def mkdir(self, *args, **kwargs):
        """Nothing to do."""
