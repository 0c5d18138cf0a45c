"""The PKI files of a one-machine cluster: kept while they are good, made anew when they are not."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from sampan.cluster_pki import Identity, Pki

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def _names(path: Path) -> set[str]:
    cert = x509.load_pem_x509_certificate(path.read_bytes())
    found = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(n.value) for n in found}


def test_a_good_certificate_is_kept_and_a_missing_name_or_old_age_makes_a_new_one(tmp_path: Path) -> None:
    names = ["localhost", "kubernetes.default.svc"]
    Pki(tmp_path, now=NOW).server("apiserver", addresses=["10.96.0.1"], names=names)
    first = (tmp_path / "apiserver.crt").read_bytes()
    Pki(tmp_path, now=NOW + timedelta(days=100)).server("apiserver", addresses=["10.96.0.1"], names=names)
    assert (tmp_path / "apiserver.crt").read_bytes() == first
    Pki(tmp_path, now=NOW).server("apiserver", addresses=["10.96.0.1", "10.0.0.9"], names=names)
    assert _names(tmp_path / "apiserver.crt") == {"10.96.0.1", "10.0.0.9", *names}
    second = (tmp_path / "apiserver.crt").read_bytes()
    Pki(tmp_path, now=NOW + timedelta(days=300)).server("apiserver", addresses=["10.96.0.1"], names=names)
    assert (tmp_path / "apiserver.crt").read_bytes() != second


def test_clients_name_no_address_and_keys_are_their_owners(tmp_path: Path) -> None:
    pki = Pki(tmp_path, now=NOW)
    pki.client(Identity("admin", "admin", ("system:masters",)))
    pki.token_key()
    assert b"Authority" not in pki.kubeconfig(
        Identity("admin", "admin"), server="https://127.0.0.1:6443", grpc="127.0.0.1:6444"
    )
    assert {p.stat().st_mode & 0o777 for p in tmp_path.glob("*.key")} == {0o600}
    assert (tmp_path / "sa.pub").read_bytes().startswith(b"-----BEGIN PUBLIC KEY")
