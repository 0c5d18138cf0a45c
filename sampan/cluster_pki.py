"""The files of a one-machine cluster's PKI: ca, one certificate and key per identity, and the token key.

What is there and good is kept; a certificate in the last third of its life, or that does not name every address
it must, is made anew. The certificates themselves are kubeapi.pki's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from kubeapi import pki
from kubeapi.pki import Authority, Credentials, write_private

__all__ = ["Identity", "Pki", "write_private"]


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

    def authority(self) -> Authority:
        return Authority.open(self.directory, now=self._now)

    def server(self, name: str, *, addresses: Sequence[str], names: Sequence[str]) -> None:
        """Serves, and is shown to the nodes' agents too."""
        self._keep(Identity(name, f"system:{name}", ("system:masters",)), [*addresses, *names])

    def client(self, identity: Identity, *, addresses: Sequence[str] = ()) -> None:
        """With addresses it serves too: a node answers the API server with the certificate it asks with."""
        self._keep(identity, [*addresses, identity.file] if addresses else [])

    def token_key(self, name: str = "sa") -> None:
        """The key pair that signs service account tokens: sa.key and sa.pub."""
        if self.key(name).exists():
            return
        private, public = pki.token_key()
        write_private(self.directory / f"{name}.pub", public)
        write_private(self.key(name), private)

    def kubeconfig(self, identity: Identity, *, server: str, grpc: str) -> bytes:
        ca, client = self.certificate("ca").read_bytes(), Credentials.load(self.directory, identity.file)
        return pki.kubeconfig(server=server, ca=ca, client=client, grpc=grpc, user=identity.file).encode()

    def _keep(self, identity: Identity, hosts: Sequence[str]) -> None:
        if self.certificate(identity.file).exists() and self.key(identity.file).exists():
            held = Credentials.load(self.directory, identity.file)
            if held.covers(hosts, now=self._now):
                return
        authority, who = self.authority(), (identity.name, identity.groups)
        made = authority.peer(*who, hosts, now=self._now) if hosts else authority.client(*who, now=self._now)
        made.save(self.directory, identity.file)
