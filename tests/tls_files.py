"""Certificates for tests, made anew for each session: nothing secret is kept anywhere."""

import ssl
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import trustme


@dataclass(frozen=True)
class TlsFiles:
    """What TLS_CERT and TLS_KEY take, and the context of a client that trusts them and no others."""

    certificate: Path
    key: Path
    client: ssl.SSLContext


@cache
def _authority() -> trustme.CA:
    return trustme.CA()


def make_tls_files(folder: Path, *names: str) -> TlsFiles:
    """A certificate for these names, else for our loopback addresses, and its key, in *folder*."""
    issued = _authority().issue_cert(*(names or ("127.0.0.1", "localhost")))
    files = TlsFiles(folder / "chain.pem", folder / "key.pem", ssl.create_default_context())
    files.certificate.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
    files.key.write_bytes(issued.private_key_pem.bytes())
    _authority().configure_trust(files.client)
    files.client.set_alpn_protocols(["h2", "http/1.1"])  # as browsers offer
    return files
