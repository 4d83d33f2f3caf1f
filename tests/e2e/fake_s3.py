"""S3 in the test process, as far as Holdfast uses it, which misbehaves when a test says so.

It is strict where a real one is: every signature is computed anew from the request as it came over the
wire, the body is compared with its digest, the clocks may differ by 15 minutes, a session token must be
the right one, the scope's region the bucket's. Errors have S3's codes and XML.

What it has no part in, Ceph has: whether a production server takes what we send. Here are the replies
that no healthy server gives.
"""
import base64
import calendar
import dataclasses
import email.utils
import hashlib
import hmac
import re
import time
import urllib.parse
import xml.etree.ElementTree as ElementTree
from xml.sax.saxutils import escape

from web import Reply, Server

SKEW_MOST = 900
PART_LEAST = 5 << 20
PAGE = 1000
XML = '<?xml version="1.0" encoding="UTF-8"?>\n'
NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/,]+)/(\d{8})/([a-z0-9-]+)/s3/aws4_request, ?"
    r"SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})"
)

# Nobody's; if one of them occurs in what the command says, it was leaked.
ACCESS_KEY = "AKIACANARYCANARYCANA"
SECRET_KEY = "canary/secret+key0123456789abcdefghijklmn"


@dataclasses.dataclass
class Object:
    body: bytes
    headers: dict  # x-amz-meta-*, Content-Type, storage class, SSE
    etag: str
    at: float


@dataclasses.dataclass
class Upload:
    key: str
    headers: dict
    parts: dict = dataclasses.field(default_factory=dict)


def error(status, code, message="said by the test", headers=None, detail=""):
    """An error as S3 sends it."""
    body = f"{XML}<Error><Code>{code}</Code><Message>{message}</Message>{detail}<RequestId>0</RequestId></Error>"
    return Reply(status, body.encode(), {"Content-Type": "application/xml", **(headers or {})})


def document(text, status=200):
    return Reply(status, (XML + text).encode(), {"Content-Type": "application/xml"})


def quoted(text, safe="-_.~"):
    return urllib.parse.quote(text, safe=safe)


def sign(method, target, headers, signed, payload, secret, date, region):
    """Signature version 4 of a request to S3: hexadecimal. `headers`: a dict with lower-case names."""
    path, _, query = target.partition("?")
    pairs = [p.partition("=") for p in query.split("&") if p]
    pairs = sorted((quoted(urllib.parse.unquote(k)), quoted(urllib.parse.unquote(v))) for k, _, v in pairs)
    canonical = "\n".join(
        [
            method,
            quoted(urllib.parse.unquote(path), "/-_.~"),
            "&".join(f"{k}={v}" for k, v in pairs),
            *(f"{name}:{' '.join(headers[name].split())}" for name in signed),
            "",
            ";".join(signed),
            payload,
        ]
    )
    scope = f"{date[:8]}/{region}/s3/aws4_request"
    digest = hashlib.sha256(canonical.encode("latin-1")).hexdigest()
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{digest}".encode(), "sha256").hex()


class S3(Server):
    """kinds of requests: put get head delete list create part complete abort bucket; the key is the
    object's, or a list's prefix. For the bucket of another name: `buckets`."""

    def __init__(self, certificate=None, region="us-east-1", host="127.0.0.1"):
        self.region = region
        self.keys = {ACCESS_KEY: (SECRET_KEY, "")}  # access key -> secret, session token
        self.expired = set()  # access keys
        self.buckets = {"bucket": {}}
        self.uploads = {}
        self.page = PAGE  # most keys in one page of a list
        super().__init__(certificate, host)

    @property
    def objects(self):
        return self.buckets["bucket"]

    # ---- which request it is ----

    def classify(self, request):
        host = request.headers["host"].rsplit(":", 1)[0]
        path = urllib.parse.unquote(request.path[1:])
        bucket, _, key = path.partition("/")
        if host.endswith(".localhost"):
            bucket, key = host.removesuffix(".localhost"), path
        request.bucket, request.key = bucket, key
        request.kind = self._kind(request)
        if request.kind == "list":
            request.key = request.arg("prefix", "")

    def _kind(self, request):
        names, method = {k for k, _ in request.query}, request.method
        if not request.key:
            return "list" if method == "GET" and request.arg("list-type") == "2" else "bucket"
        if "uploadId" in names:
            return {"PUT": "part", "POST": "complete", "DELETE": "abort"}[method]
        if "uploads" in names:
            return "create"
        return {"PUT": "put", "GET": "get", "HEAD": "head", "DELETE": "delete"}[method]

    # ---- who asks ----

    def check(self, request):
        h = request.headers
        given = AUTHORIZATION.fullmatch(h.get("authorization", ""))
        if not given:
            return error(403, "AccessDenied", "no signature, or not one of version 4")
        access_key, day, region, signed, signature = given.groups()
        signed, date, payload = signed.split(";"), h.get("x-amz-date", ""), h.get("x-amz-content-sha256", "")
        if access_key not in self.keys:
            return error(403, "InvalidAccessKeyId", detail=f"<AWSAccessKeyId>{access_key}</AWSAccessKeyId>")
        secret, token = self.keys[access_key]
        must = {"host"} | {name for name in h if name.startswith("x-amz-")}
        if signed != sorted(signed) or not must <= set(signed) <= set(h):
            return error(403, "AccessDenied", f"not signed, or not sent: {sorted(must ^ set(signed))}")
        if not re.fullmatch(r"\d{8}T\d{6}Z", date) or date[:8] != day:
            return error(403, "AccessDenied", "x-amz-date")
        if sign(request.method, request.target, h, signed, payload, secret, date, region) != signature:
            return error(403, "SignatureDoesNotMatch")
        if region != self.region:
            words = f"the region '{region}' is wrong; expecting '{self.region}'"
            detail = f"<Region>{self.region}</Region>"
            return error(400, "AuthorizationHeaderMalformed", words, {"x-amz-bucket-region": self.region}, detail)
        if abs(calendar.timegm(time.strptime(date, "%Y%m%dT%H%M%SZ")) - self.now()) > SKEW_MOST:
            return error(403, "RequestTimeTooSkewed")
        if access_key in self.expired:
            return error(400, "ExpiredToken")
        if h.get("x-amz-security-token", "") != token:
            return error(400, "InvalidToken")
        if payload != "UNSIGNED-PAYLOAD" and payload != request.digest:
            return error(400, "XAmzContentSHA256Mismatch")
        return None

    # ---- what is done ----

    def reply_to(self, request):
        if request.bucket not in self.buckets:
            return error(404, "NoSuchBucket", detail=f"<BucketName>{request.bucket}</BucketName>")
        return getattr(self, f"_{request.kind}")(request, self.buckets[request.bucket])

    def _kept(self, request):
        """What a PUT says about its object, which GET says again."""
        names = ("x-amz-meta-", "x-amz-storage-class", "x-amz-server-side-", "content-type")
        return {k: v for k, v in request.headers.items() if k.startswith(names) and "customer-key" != k[-12:]}

    def _in_the_way(self, request, objects):
        if request.headers.get("if-none-match") == "*" and request.key in objects:
            return error(412, "PreconditionFailed", detail="<Condition>If-None-Match</Condition>")
        return None

    def _put(self, request, objects):
        if refusal := self._in_the_way(request, objects):
            return refusal
        etag = hashlib.md5(request.body).hexdigest()
        objects[request.key] = Object(request.body, self._kept(request), f'"{etag}"', self.now())
        return Reply(headers={"ETag": f'"{etag}"'})

    def _get(self, request, objects):
        o = objects.get(request.key)
        if o is None:
            return error(404, "NoSuchKey")
        if request.headers.get("if-match", o.etag) != o.etag:
            return error(412, "PreconditionFailed")
        headers = {
            "ETag": o.etag,
            "Last-Modified": email.utils.formatdate(o.at, usegmt=True),
            "Accept-Ranges": "bytes",
            **o.headers,
        }
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", ""))
        if not asked:
            return Reply(200, o.body, headers)
        first, last = asked.groups()
        size = len(o.body)
        at, end = (int(first), int(last or size)) if first else (max(0, size - int(last)), size)
        end = min(end, size - 1)
        if at > end:
            return error(416, "InvalidRange")
        headers["Content-Range"] = f"bytes {at}-{end}/{size}"
        return Reply(206, o.body[at : end + 1], headers)

    def _head(self, request, objects):
        reply = self._get(request, objects)
        return reply if reply.status < 400 else Reply(reply.status)

    def _delete(self, request, objects):
        objects.pop(request.key, None)
        return Reply(204)

    def _bucket(self, request, objects):
        if request.arg("location") is not None:
            return document(f'<LocationConstraint xmlns="{NAMESPACE}">{self.region}</LocationConstraint>')
        return Reply(headers={"x-amz-bucket-region": self.region})

    def _list(self, request, objects):
        prefix, delimiter = request.arg("prefix", ""), request.arg("delimiter")
        token = request.arg("continuation-token")
        behind = base64.urlsafe_b64decode(token).decode() if token else request.arg("start-after", "")
        entries = {}  # a key, or a common prefix -> object, or None
        for key in sorted(objects, key=str.encode):
            if key.startswith(prefix):
                at = key.find(delimiter, len(prefix)) if delimiter else -1
                name = key if at < 0 else key[: at + len(delimiter)]
                entries.setdefault(name, objects[key] if at < 0 else None)
        left = [name for name in entries if name.encode() > behind.encode()]
        page = left[: min(int(request.arg("max-keys", PAGE)), self.page)]
        more = len(left) > len(page)
        after = base64.urlsafe_b64encode(page[-1].encode()).decode() if more else None
        return document(listing(request, [(n, entries[n]) for n in page], after))

    # ---- multipart ----

    def _create(self, request, objects):
        name = f"upload-{len(self.uploads)}"
        self.uploads[name] = Upload(request.key, self._kept(request))
        words = f"<Bucket>{request.bucket}</Bucket><Key>{escape(request.key)}</Key><UploadId>{name}</UploadId>"
        return document(f'<InitiateMultipartUploadResult xmlns="{NAMESPACE}">{words}</InitiateMultipartUploadResult>')

    def _part(self, request, objects):
        upload = self.uploads.get(request.arg("uploadId"))
        if upload is None or upload.key != request.key:
            return error(404, "NoSuchUpload")
        number = int(request.arg("partNumber"))
        if not 1 <= number <= 10000:
            return error(400, "InvalidArgument")
        upload.parts[number] = request.body
        return Reply(headers={"ETag": f'"{hashlib.md5(request.body).hexdigest()}"'})

    def _complete(self, request, objects):
        upload = self.uploads.get(request.arg("uploadId"))
        if upload is None or upload.key != request.key:
            return error(404, "NoSuchUpload")
        if refusal := self._in_the_way(request, objects):
            return refusal
        asked, sums = [], b""
        for part in ElementTree.fromstring(request.body):
            text = {e.tag.rpartition("}")[2]: e.text for e in part}
            body = upload.parts.get(int(text["PartNumber"]))
            if body is None or hashlib.md5(body).hexdigest() != text["ETag"].strip('"'):
                return error(400, "InvalidPart")
            asked.append((int(text["PartNumber"]), body))
            sums += hashlib.md5(body).digest()
        if not asked or [n for n, _ in asked] != sorted({n for n, _ in asked}):
            return error(400, "InvalidPartOrder")
        if any(len(body) < PART_LEAST for _, body in asked[:-1]):
            return error(400, "EntityTooSmall")
        etag = f'"{hashlib.md5(sums).hexdigest()}-{len(asked)}"'
        objects[request.key] = Object(b"".join(b for _, b in asked), upload.headers, etag, self.now())
        del self.uploads[request.arg("uploadId")]
        words = f"<Bucket>{request.bucket}</Bucket><Key>{escape(request.key)}</Key><ETag>{escape(etag)}</ETag>"
        return document(f'<CompleteMultipartUploadResult xmlns="{NAMESPACE}">{words}</CompleteMultipartUploadResult>')

    def _abort(self, request, objects):
        if self.uploads.pop(request.arg("uploadId"), None) is None:
            return error(404, "NoSuchUpload")
        return Reply(204)


def listing(request, entries, after=None, truncated=None):
    """ListBucketResult: entries are pairs of a name and its object (None: a common prefix)."""
    encoded = request.arg("encoding-type") == "url"

    def name(text):
        return quoted(text, "/-_.~").replace("%20", "+") if encoded else escape(text)  # Amazon's way

    parts = [f"<Name>{request.bucket}</Name><Prefix>{name(request.arg('prefix', ''))}</Prefix>"]
    parts.append(f"<KeyCount>{len(entries)}</KeyCount><MaxKeys>{request.arg('max-keys', PAGE)}</MaxKeys>")
    if encoded:
        parts.append("<EncodingType>url</EncodingType>")
    truncated = after is not None if truncated is None else truncated
    parts.append(f"<IsTruncated>{str(truncated).lower()}</IsTruncated>")
    if after is not None:
        parts.append(f"<NextContinuationToken>{escape(after)}</NextContinuationToken>")
    for key, o in entries:
        if o is None:
            parts.append(f"<CommonPrefixes><Prefix>{name(key)}</Prefix></CommonPrefixes>")
            continue
        at = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(o.at))
        parts.append(
            f"<Contents><Key>{name(key)}</Key><LastModified>{at}</LastModified><ETag>{escape(o.etag)}</ETag>"
            f"<Size>{len(o.body)}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        )
    return f'<ListBucketResult xmlns="{NAMESPACE}">{"".join(parts)}</ListBucketResult>'


# ---- faults of S3's ----


def refuse(status, code, headers=None, detail=""):
    """Nothing is done, and that is said."""

    def act(request, apply):
        return error(status, code, headers=headers, detail=detail)

    return act


def done_but_said(status, code, headers=None):
    """Done, and said that it was not."""

    def act(request, apply):
        apply()
        return error(status, code, headers=headers)

    return act


def unconditional(request, apply):
    """A server that has never heard of If-None-Match."""
    request.headers.pop("if-none-match", None)
    return apply()


def stored_as(change):
    """What is kept is change(body); all looks well."""

    def act(request, apply):
        request.body = change(request.body)
        return apply()

    return act
