"""Certificate authorities, and what they sign: made by openssl, each in a directory of the test."""

from .process import run

CURVE = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


class Authority:
    def __init__(self, place, name):
        self.place = place
        self.key, self.certificate = place / f"{name}.key", place / f"{name}.crt"
        run(["openssl", "req", "-x509", *CURVE, "-days", "30", "-subj", f"/CN={name}",
             "-keyout", self.key, "-out", self.certificate])

    def sign(self, name, common_name, days=30):
        """(key, certificate) for that name; with days=-1 it has expired."""
        key, request, certificate = (self.place / f"{name}.{end}" for end in ("key", "csr", "crt"))
        run(["openssl", "req", *CURVE, "-subj", f"/CN={common_name}", "-keyout", key, "-out", request])
        run(["openssl", "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key,
             "-CAcreateserial", "-days", str(days), "-out", certificate])
        key.chmod(0o600)
        return key, certificate
