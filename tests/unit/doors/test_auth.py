import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from cryptography import x509

from controlplane.apiserver.auth.authn import Authenticator, StaticTokens, User, subject_of
from controlplane.apiserver.auth.authz import Attributes, Authorizer
from kubeapi.errors import Forbidden, Unauthorized
from kubeapi.pki import Authority, Credentials, kubeconfig

NOW = datetime(2026, 1, 2, tzinfo=UTC)
ADMIN = User("admin", ("system:masters",))
NODE = User("system:node:n1", ("system:nodes",))


def test_a_certificate_names_user_and_groups_and_begins_five_minutes_early() -> None:
    cert = x509.load_pem_x509_certificate(Authority.create(now=NOW).client("ann", ["a", "b"], now=NOW).cert)
    assert cert.subject.rfc4514_string() == "CN=ann,O=b,O=a"
    assert cert.not_valid_before_utc == NOW - timedelta(minutes=5)


def test_an_authority_is_kept_and_its_key_is_private(tmp_path: Path) -> None:
    made = Authority.open(tmp_path, now=NOW)
    assert Authority.open(tmp_path, now=NOW).cert == made.cert
    assert (tmp_path / "ca.key").stat().st_mode & 0o077 == 0


def test_server_certificates_load_and_name_their_hosts(tmp_path: Path) -> None:
    credentials = Authority.create(now=NOW).server("api", ["localhost", "127.0.0.1"], now=NOW)
    credentials.save(tmp_path, "api")
    ssl.create_default_context().load_cert_chain(tmp_path / "api.crt", tmp_path / "api.key")
    cert = x509.load_pem_x509_certificate(Credentials.load(tmp_path, "api").cert)
    names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]


def test_a_kubeconfig_needs_no_other_file() -> None:
    ca = Authority.create(now=NOW)
    text = kubeconfig(server="https://h:1", ca=ca.cert, client=ca.client("u", now=NOW), grpc="h:2")
    cluster = yaml.safe_load(text)["clusters"][0]["cluster"]
    assert cluster["extensions"] == [{"name": "sampan.dev/grpc", "extension": {"address": "h:2"}}]
    assert "certificate-authority-data" in cluster


def test_the_subject_comes_from_the_peers_certificate() -> None:
    peer = {"subject": ((("organizationName", "g"),), (("commonName", "ann"),))}
    assert subject_of(peer) == User("ann", ("g",))
    assert subject_of(None) is None and subject_of({}) is None


def test_a_token_is_looked_up_and_a_wrong_one_is_refused_despite_a_certificate() -> None:
    authenticator = Authenticator([StaticTokens.parse(['t0k,bob,u1,"x,y"'])])
    user = authenticator.user_of(subject=None, authorization="Bearer t0k")
    assert (user.name, user.groups) == ("bob", ("x", "y", "system:authenticated"))
    with pytest.raises(Unauthorized):
        authenticator.user_of(subject=ADMIN, authorization="Bearer wrong")
    with pytest.raises(Unauthorized):
        authenticator.user_of(subject=None)


def test_a_refusal_reads_as_kubernetes_says_it() -> None:
    with pytest.raises(Forbidden) as refused:
        Authorizer().check(User("bob"), Attributes("get", "", "pods", namespace="default", name="web"))
    assert refused.value.message == (
        'pods "web" is forbidden: User "bob" cannot get resource "pods" in API group "" in the namespace "default"'
    )
