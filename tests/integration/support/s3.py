"""A small client of S3 for the tests, with a signature of its own (AWS Signature Version 4): what pgweir has stored is
looked at by other eyes."""

import datetime
import hashlib
import hmac
import http.client
import re
import urllib.parse
import xml.sax.saxutils

from .process import wait_for


class Bucket:
    def __init__(self, gateway, name):
        self.gateway = gateway
        self.name = name

    @property
    def url(self):
        return f"s3://{self.name}"

    def request(self, method, key="", query=None, body=b"", headers=None, status=(200, 204)):
        host = f"127.0.0.1:{self.gateway.port}"
        path = urllib.parse.quote(f"/{self.name}" + (f"/{key}" if key else ""), safe="/-._~")
        text = "&".join(f"{urllib.parse.quote(name, safe='-._~')}={urllib.parse.quote(value, safe='-._~')}"
                        for name, value in sorted((query or {}).items()))
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        digest = hashlib.sha256(body).hexdigest()
        signed = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": now, **(headers or {})}
        names = ";".join(sorted(signed))
        lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
        canonical = f"{method}\n{path}\n{text}\n{lines}\n{names}\n{digest}"
        scope = f"{now[:8]}/us-east-1/s3/aws4_request"
        to_sign = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key_bytes = f"AWS4{self.gateway.secret}".encode()
        for part in scope.split("/"):
            key_bytes = hmac.new(key_bytes, part.encode(), hashlib.sha256).digest()
        signature = hmac.new(key_bytes, to_sign.encode(), hashlib.sha256).hexdigest()
        sent = {name: value for name, value in signed.items() if name != "host"}
        sent["Authorization"] = (f"AWS4-HMAC-SHA256 Credential={self.gateway.key}/{scope}, "
                                 f"SignedHeaders={names}, Signature={signature}")
        connection = http.client.HTTPConnection("127.0.0.1", self.gateway.port, timeout=120)
        try:
            connection.request(method, path + (f"?{text}" if text else ""), body=body, headers=sent)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        assert answer.status in status, (method, key, answer.status, content)
        self.status = answer.status
        self.headers = {name.lower(): value for name, value in answer.getheaders()}
        return content

    def create(self, headers=None):
        """Waits for a store that has just been started: until all of its parts answer, it says 503, and may have made it."""
        taken = (200, 204)

        def made():
            nonlocal taken
            self.request("PUT", headers=headers, status=(*taken, 503))
            taken = (200, 204, 409)
            return self.status != 503

        wait_for(made, f"the bucket {self.name} to be made", interval=0.2)
        return self

    def keys(self, prefix=""):
        keys, after = [], ""
        while True:
            text = self.request("GET", query={"list-type": "2", "prefix": prefix, "start-after": after}).decode()
            page = [xml.sax.saxutils.unescape(key) for key in re.findall(r"<Key>([^<]*)</Key>", text)]
            keys += page
            if "<IsTruncated>true" not in text:
                return keys
            after = page[-1]

    def get(self, key):
        return self.request("GET", key)

    def put(self, key, content):
        self.request("PUT", key, body=content)

    def remove(self, key):
        self.request("DELETE", key)

    def empty(self):
        """Removes all objects. Waits for a store that does not answer, or refuses, now."""
        failure = None

        def emptied():
            nonlocal failure
            try:
                for key in self.keys():
                    self.remove(key)
                return True
            except (OSError, http.client.HTTPException, AssertionError) as error:
                failure = error
                return False

        try:
            wait_for(emptied, f"the bucket {self.name} to be emptied", interval=0.2)
        except AssertionError as late:
            raise late from failure

    def metadata(self, key):
        """Names and values, as the store has them."""
        self.request("HEAD", key)
        return {name.removeprefix("x-amz-meta-"): value for name, value in self.headers.items() if name.startswith("x-amz-meta-")}
