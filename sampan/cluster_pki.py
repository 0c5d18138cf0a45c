"""The certificates of a one-machine cluster: made once, kept in the data directory, read again by every `up`.

One authority signs the server's certificate and one client certificate per component; a user's groups are its
organisations. Valid from five minutes ago, so that a clock a little behind does not refuse them.
"""

import base64
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_YEARS = 10
_SKEW = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Identity:
    file: str
    name: str
    groups: Sequence[str] = ()


class Pki:
    """A directory with ca.crt, ca.key, and NAME.crt, NAME.key per identity."""

    def __init__(self, directory: Path, *, now: datetime) -> None:
        self.directory, self._now = directory, now
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)

    def certificate(self, name: str) -> Path:
        return self.directory / f"{name}.crt"

    def key(self, name: str) -> Path:
        return self.directory / f"{name}.key"

    def authority(self) -> None:
        if self.certificate("ca").exists() and self.key("ca").exists():
            return
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sampan")])
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        certificate = (
            self._builder(name, name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .sign(key, hashes.SHA256())
        )
        self._write("ca", key, certificate)

    def server(self, name: str, *, addresses: Sequence[str], names: Sequence[str]) -> None:
        alternatives = [
            *(x509.IPAddress(ipaddress.ip_address(address)) for address in addresses),
            *(x509.DNSName(item) for item in names),
        ]
        both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        self._leaf(Identity(name, f"system:{name}", ("system:masters",)), both, alternatives)

    def client(self, identity: Identity, *, addresses: Sequence[str] = ()) -> None:
        """With addresses it serves too: a node answers the API server with the certificate it asks with."""
        if not addresses:
            self._leaf(identity, [ExtendedKeyUsageOID.CLIENT_AUTH], [])
            return
        self._leaf(
            identity,
            [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH],
            [
                *(x509.IPAddress(ipaddress.ip_address(address)) for address in addresses),
                x509.DNSName(identity.file),
            ],
        )

    def token_key(self, name: str = "sa") -> None:
        """The key pair that signs service account tokens: sa.key and sa.pub."""
        if self.key(name).exists():
            return
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        write_private(self.directory / f"{name}.pub", public)
        write_private(self.key(name), _pem(key))

    def kubeconfig(self, identity: Identity, *, server: str, grpc: str) -> bytes:
        def encoded(path: Path) -> str:
            return base64.b64encode(path.read_bytes()).decode()

        cluster = {
            "server": server,
            "certificate-authority-data": encoded(self.certificate("ca")),
            "extensions": [{"name": "sampan.dev/grpc", "extension": {"address": grpc}}],
        }
        user = {
            "client-certificate-data": encoded(self.certificate(identity.file)),
            "client-key-data": encoded(self.key(identity.file)),
        }
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "sampan", "cluster": cluster}],
            "users": [{"name": identity.file, "user": user}],
            "contexts": [{"name": "sampan", "context": {"cluster": "sampan", "user": identity.file}}],
            "current-context": "sampan",
        }
        return yaml.safe_dump(config, sort_keys=False).encode()

    def _leaf(
        self, identity: Identity, usages: Sequence[x509.ObjectIdentifier], names: Sequence[x509.GeneralName]
    ) -> None:
        if self.certificate(identity.file).exists() and self.key(identity.file).exists():
            return
        issuer = x509.load_pem_x509_certificate(self.certificate("ca").read_bytes())
        issuer_key = serialization.load_pem_private_key(self.key("ca").read_bytes(), None)
        assert isinstance(issuer_key, ec.EllipticCurvePrivateKey)
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name(
            [
                *(x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in identity.groups),
                x509.NameAttribute(NameOID.COMMON_NAME, identity.name),
            ]
        )
        builder = (
            self._builder(subject, issuer.subject, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        self._write(identity.file, key, builder.sign(issuer_key, hashes.SHA256()))

    def _builder(
        self, subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - _SKEW)
            .not_valid_after(self._now + timedelta(days=365 * _YEARS))
        )

    def _write(self, name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        write_private(self.key(name), _pem(key))
        write_private(self.certificate(name), certificate.public_bytes(serialization.Encoding.PEM))


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def write_private(path: Path, data: bytes) -> None:
    """Whole or not at all, readable by the owner only: a crash half way leaves the old file."""
    part = path.with_name(path.name + ".part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
