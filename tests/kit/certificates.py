# SPDX-License-Identifier: Apache-2.0
"""Certificates for tests of TLS: an authority, and what it signs."""

import datetime
import ipaddress
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from worker.config import tls

DAY = datetime.timedelta(days=1)


class Authority:
    """A CA whose files are in `folder`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.ca = folder, folder / "ca.pem"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"CA of {folder.name}")])
        built = self._builder(self._name, 365).public_key(self._key.public_key())
        built = built.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        signed = built.sign(self._key, hashes.SHA256())
        self.ca.write_bytes(signed.public_bytes(serialization.Encoding.PEM))

    def issue(
        self, name: str, addresses: Sequence[str] = ("127.0.0.1",), days: float = 365, passphrase: bytes = b""
    ) -> tls.Files:
        """Files of a certificate for `name` (its common name alone), or for these addresses if there are any."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        built = self._builder(subject, days).public_key(key.public_key())
        if addresses:
            alternatives = [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
            built = built.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        files = tls.Files(self.folder / f"{name}.key", self.folder / f"{name}.pem", self.ca)
        files.cert.write_bytes(built.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        kept = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
        files.key.touch(0o600)
        form = serialization.PrivateFormat.PKCS8
        files.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, kept))
        return files

    def _builder(self, subject: x509.Name, days: float) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        begun = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name)
        begun = begun.serial_number(x509.random_serial_number())
        return begun.not_valid_before(now - 400 * DAY).not_valid_after(now + days * DAY)
