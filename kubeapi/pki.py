"""The cluster's own certificate authority, the certificates it signs, and the kubeconfig files with them.

Who somebody is stands in the client certificate: CN is the user, each O a group. Server certificates name
every address the server is reached by. All begin five minutes early: a node whose clock is behind can join.
Keys are P-256: small, quick to make (a whole cluster's in tens of milliseconds), and known to every client.

A directory of PKI files holds ca.crt and ca.key, and NAME.crt with NAME.key for each identity.
"""

from __future__ import annotations

import base64
import ipaddress
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

BACKDATE = timedelta(minutes=5)
CA_LIFE = timedelta(days=3650)
LEAF_LIFE = timedelta(days=365)
GRPC_EXTENSION = "sampan.dev/grpc"
"""The cluster extension of a kubeconfig that says where the gRPC door is; kubectl passes over it."""

_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
)
_USAGES_ALL = (*_USAGES, "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")


@dataclass(frozen=True, slots=True)
class Credentials:
    """A certificate and its key, both PEM."""

    cert: bytes
    key: bytes

    def save(self, directory: Path, name: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        write_private(directory / f"{name}.key", self.key)
        (directory / f"{name}.crt").write_bytes(self.cert)

    @classmethod
    def load(cls, directory: Path, name: str) -> Credentials:
        return cls((directory / f"{name}.crt").read_bytes(), (directory / f"{name}.key").read_bytes())

    def expires(self) -> datetime:
        return x509.load_pem_x509_certificate(self.cert).not_valid_after_utc

    def covers(self, hosts: Iterable[str], *, now: datetime) -> bool:
        """Whether it is good for all these names and for another third of its life."""
        cert = x509.load_pem_x509_certificate(self.cert)
        life = cert.not_valid_after_utc - cert.not_valid_before_utc
        if cert.not_valid_after_utc - now < life / 3:
            return False
        try:
            names = list(cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
        except x509.ExtensionNotFound:
            names = []
        return all(_alternative(host) in names for host in hosts)


class Authority:
    """Signs. Whoever has its key is the cluster's administrator."""

    def __init__(self, credentials: Credentials) -> None:
        self.credentials = credentials
        self._cert = x509.load_pem_x509_certificate(credentials.cert)
        key = serialization.load_pem_private_key(credentials.key, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError("the authority's key is not an elliptic-curve key")
        self._key = key

    @property
    def cert(self) -> bytes:
        return self.credentials.cert

    @classmethod
    def create(cls, *, now: datetime, name: str = "sampan") -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _name(name, ())
        cert = (
            _builder(subject, subject, key.public_key(), now, CA_LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage("digital_signature", "key_cert_sign", "crl_sign"), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(Credentials(_pem(cert), _key_pem(key)))

    @classmethod
    def open(cls, directory: Path, *, now: datetime) -> Authority:
        """The authority kept in this directory; made when there is none."""
        if (directory / "ca.key").exists():
            return cls(Credentials.load(directory, "ca"))
        made = cls.create(now=now)
        made.credentials.save(directory, "ca")
        return made

    def server(self, name: str, hosts: Iterable[str], *, now: datetime, life: timedelta = LEAF_LIFE) -> Credentials:
        """For a listener that is reached by these DNS names and addresses."""
        return self._issue(name, (), hosts, (ExtendedKeyUsageOID.SERVER_AUTH,), now, life)

    def client(
        self, user: str, groups: Iterable[str] = (), *, now: datetime, life: timedelta = LEAF_LIFE
    ) -> Credentials:
        return self._issue(user, groups, (), (ExtendedKeyUsageOID.CLIENT_AUTH,), now, life)

    def peer(
        self,
        user: str,
        groups: Iterable[str] = (),
        hosts: Iterable[str] = (),
        *,
        now: datetime,
        life: timedelta = LEAF_LIFE,
    ) -> Credentials:
        """For a part that both listens and calls: a node's agent."""
        usages = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
        return self._issue(user, groups, hosts, usages, now, life)

    def _issue(
        self,
        user: str,
        groups: Iterable[str],
        hosts: Iterable[str],
        usages: Iterable[x509.ObjectIdentifier],
        now: datetime,
        life: timedelta,
    ) -> Credentials:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            _builder(_name(user, groups), self._cert.subject, key.public_key(), now, life)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage("digital_signature", "key_encipherment"), critical=True)
            .add_extension(x509.ExtendedKeyUsage(list(usages)), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        names = [_alternative(host) for host in hosts]
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return Credentials(_pem(builder.sign(self._key, hashes.SHA256())), _key_pem(key))


def kubeconfig(
    *,
    server: str,
    ca: bytes,
    client: Credentials | None = None,
    token: str = "",
    grpc: str = "",
    cluster: str = "sampan",
    user: str = "admin",
) -> str:
    """A kubeconfig file that needs no other file. `server` is https://host:port, `grpc` is host:port."""
    entry: dict[str, Any] = {"server": server, "certificate-authority-data": _b64(ca)}
    if grpc:
        entry["extensions"] = [{"name": GRPC_EXTENSION, "extension": {"address": grpc}}]
    who: dict[str, Any] = {}
    if client is not None:
        who = {"client-certificate-data": _b64(client.cert), "client-key-data": _b64(client.key)}
    elif token:
        who = {"token": token}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": cluster,
        "clusters": [{"name": cluster, "cluster": entry}],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": user}}],
        "users": [{"name": user, "user": who}],
        "preferences": {},
    }
    return yaml.safe_dump(config, sort_keys=False)


def write_private(path: Path, content: bytes) -> None:
    """Whole or not at all, and never readable by anybody but its owner: a crash half way leaves the old file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def token_key() -> tuple[bytes, bytes]:
    """(private, public), PEM: what signs the tokens of service accounts, and what checks them."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return _key_pem(key), public


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + life)
    )


def _name(user: str, groups: Iterable[str]) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, user)])


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(*granted: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{name: name in granted for name in _USAGES_ALL})


def _pem(cert: x509.Certificate) -> bytes:
    return cert.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
