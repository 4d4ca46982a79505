"""Certificate authorities, and what they sign: made by openssl, each in a directory of the test."""

from .process import run

CURVE = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
# What "openssl ca" wants to know. It gives any dates; "openssl x509" refuses those that are past, since OpenSSL 3.5.
PAST = """[ca]
default_ca = here
[here]
database = {place}/index
new_certs_dir = {place}
default_md = sha256
policy = names
unique_subject = no
rand_serial = yes
[names]
commonName = supplied
"""


class Authority:
    def __init__(self, place, name):
        self.place = place
        self.key, self.certificate = place / f"{name}.key", place / f"{name}.crt"
        run(["openssl", "req", "-x509", *CURVE, "-days", "30", "-subj", f"/CN={name}",
             "-keyout", self.key, "-out", self.certificate])

    def sign(self, name, common_name, days=30):
        """(key, certificate) for that name."""
        key, request, certificate = self._request(name, common_name)
        run(["openssl", "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key,
             "-CAcreateserial", "-days", str(days), "-out", certificate])
        return key, certificate

    def sign_expired(self, name, common_name):
        """The same, but the certificate was valid in January 2020."""
        key, request, certificate = self._request(name, common_name)
        configuration, index = self.place / "past.cnf", self.place / "index"
        configuration.write_text(PAST.format(place=self.place))
        index.write_text("")
        run(["openssl", "ca", "-batch", "-config", configuration, "-cert", self.certificate, "-keyfile", self.key,
             "-in", request, "-out", certificate, "-startdate", "20200101000000Z", "-enddate", "20200201000000Z",
             "-notext"])
        return key, certificate

    def _request(self, name, common_name):
        key, request, certificate = (self.place / f"{name}.{end}" for end in ("key", "csr", "crt"))
        run(["openssl", "req", *CURVE, "-subj", f"/CN={common_name}", "-keyout", key, "-out", request])
        key.chmod(0o600)
        return key, request, certificate
