import pytest

from controlplane.apiserver.doors.negotiate import Form, body_encoding, discovery_version, patch_kind, wanted
from controlplane.apiserver.doors.request_info import parse
from kubeapi.errors import BadRequest, MethodNotAllowed, NotAcceptable, UnsupportedMediaType


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        ("GET", "/api/v1/pods", ("list", "", "v1", "", "pods", "", "")),
        ("GET", "/api/v1/pods?watch=true", ("watch", "", "v1", "", "pods", "", "")),
        ("GET", "/api/v1/pods?watch=0", ("list", "", "v1", "", "pods", "", "")),
        ("GET", "/api/v1/watch/namespaces/d/pods/w", ("watch", "", "v1", "d", "pods", "w", "")),
        (
            "GET",
            "/apis/apps/v1/namespaces/d/deployments/w",
            ("get", "apps", "v1", "d", "deployments", "w", ""),
        ),
        ("PUT", "/api/v1/namespaces/d/status", ("update", "", "v1", "d", "namespaces", "d", "status")),
        ("PUT", "/api/v1/namespaces/d/finalize", ("update", "", "v1", "d", "namespaces", "d", "finalize")),
        ("DELETE", "/api/v1/namespaces/d", ("delete", "", "v1", "d", "namespaces", "d", "")),
        ("DELETE", "/api/v1/namespaces/d/pods", ("deletecollection", "", "v1", "d", "pods", "", "")),
        ("POST", "/api/v1/namespaces/d/pods/w/eviction", ("create", "", "v1", "d", "pods", "w", "eviction")),
        ("GET", "/api/v1/namespaces/d/pods/w/log?follow", ("get", "", "v1", "d", "pods", "w", "log")),
        ("GET", "/apis/apps/v1", ("get", "", "", "", "", "", "")),
        ("GET", "/healthz", ("get", "", "", "", "", "", "")),
    ],
)
def test_a_path_says_what_is_asked(method: str, target: str, expected: tuple[str, ...]) -> None:
    i = parse(method, target)
    assert (i.verb, i.group, i.version, i.namespace, i.resource, i.name, i.subresource) == expected


def test_odd_requests_are_refused_by_name() -> None:
    with pytest.raises(MethodNotAllowed):
        parse("BREW", "/api/v1/pods")
    with pytest.raises(BadRequest):
        parse("GET", "/api/v1/namespaces/a%2Fb/pods")
    with pytest.raises(BadRequest):
        parse("GET", "/api/v1/pods?limit=many").number("limit")


def test_the_first_wish_that_can_be_made_wins() -> None:
    table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
    assert wanted(table) == Form("json", "Table", "v1")
    assert wanted("application/vnd.kubernetes.protobuf,application/json").encoding == "protobuf"
    assert wanted("application/json;as=Other;v=v1;g=x,application/yaml").encoding == "yaml"
    assert wanted("") == wanted("*/*") == Form()
    with pytest.raises(NotAcceptable):
        wanted("application/cbor")


def test_discovery_is_answered_in_the_version_asked_first() -> None:
    def ask(version: str) -> str:
        return f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"

    assert discovery_version(f"{ask('v2')},{ask('v2beta1')},application/json") == "v2"
    assert discovery_version(f"{ask('v2beta1')},application/json") == "v2beta1"
    assert discovery_version("application/json, */*") == ""


def test_a_body_in_an_unknown_form_is_refused() -> None:
    assert body_encoding("application/json; charset=utf-8") == "json"
    assert patch_kind("application/merge-patch+json") == "merge"
    for refuses in (body_encoding, patch_kind):
        with pytest.raises(UnsupportedMediaType):
            refuses("application/cbor")
