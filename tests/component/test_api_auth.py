"""Who may what, and whose token is whose: RBAC, the node authorizer, service account tokens, reviews."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from controlplane.apiserver.api import Api
from controlplane.apiserver.auth.attributes import Attributes, User
from controlplane.apiserver.auth.tokens import TokenKeys, _unb64
from controlplane.apiserver.build import api_core
from controlplane.apiserver.context import RequestContext
from controlplane.storage.embedded import EmbeddedStore
from kubeapi.clock import LoopClock
from kubeapi.errors import Conflict, Forbidden, Invalid, NotFound
from kubeapi.meta import replace as change
from kubeapi.scheme import SCHEME, Resource
from kubeapi.types import authentication_v1, authorization_v1, core_v1, meta_v1, rbac_v1
from tests.component.test_http_api import World, world

__all__ = ["world"]

CTX = RequestContext()
ROOT = "rbac.authorization.k8s.io"
ADMIN = User("admin", ("system:masters",))
NODE = User("system:node:n1", ("system:nodes",))
BOB = User("bob", ("staff", "system:authenticated"))


class Clock(LoopClock):
    """Wall time that a test moves."""

    ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock(datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
async def api(clock: Clock) -> AsyncIterator[Api]:
    async with api_core(store=EmbeddedStore(), clock=clock, rng=Random(7)) as core:
        yield core


def of(kind: Any) -> Resource:
    return SCHEME.resource_of(kind)


def meta(name: str, namespace: str = "", **labels: str) -> meta_v1.ObjectMeta:
    return meta_v1.ObjectMeta(name=name, namespace=namespace, labels=labels)


def rule(verbs: str, resources: str, group: str = "", names: str = "") -> rbac_v1.PolicyRule:
    return rbac_v1.PolicyRule(
        verbs=verbs.split(), api_groups=[group], resources=resources.split(), resource_names=names.split()
    )


async def put(api: Api, obj: Any, namespace: str = "", user: User = ADMIN) -> Any:
    ctx = RequestContext(user=user.name, groups=user.groups)
    made = (await api.create(ctx, of(obj), namespace, obj)).object
    await api.cache.fresh()
    return made


async def grant(api: Api, subject: rbac_v1.Subject, role: str, namespace: str = "") -> None:
    ref = rbac_v1.RoleRef(api_group=ROOT, kind="ClusterRole", name=role)
    kind = rbac_v1.RoleBinding if namespace else rbac_v1.ClusterRoleBinding
    await put(api, kind(metadata=meta(f"{role}-{subject.name}"), subjects=[subject], role_ref=ref), namespace)


def user(name: str) -> rbac_v1.Subject:
    return rbac_v1.Subject(kind="User", api_group=ROOT, name=name)


# ------------------------------------------------------------------ RBAC


@pytest.mark.parametrize(
    ("who", "ask", "allowed"),
    [
        (ADMIN, Attributes("delete", "", "namespaces", name="x"), True),
        (ADMIN, Attributes("get", path="/metrics"), True),
        (User("system:kube-scheduler"), Attributes("create", "", "pods", "binding", "d", "p"), True),
        (User("system:kube-scheduler"), Attributes("create", "", "pods", "", "d", "p"), False),
        (User("system:kube-controller-manager"), Attributes("delete", "apps", "replicasets", "", "d", "p"), True),
        (BOB, Attributes("get", path="/apis/apps"), True),
        (BOB, Attributes("get", path="/metrics"), False),
        (BOB, Attributes("list", "", "pods", namespace="d"), False),
        (BOB, Attributes("create", "authorization.k8s.io", "selfsubjectaccessreviews"), True),
    ],
)
async def test_what_the_default_roles_allow(api: Api, who: User, ask: Attributes, allowed: bool) -> None:
    assert api.authorizer.allows(who, ask) is allowed


async def test_a_binding_grants_in_its_namespace_alone_until_it_is_deleted(api: Api) -> None:
    await grant(api, user("bob"), "edit", "default")
    write, read = Attributes("create", "", "pods", "", "default"), Attributes("get", "", "secrets", "", "default", "s")
    assert api.authorizer.allows(BOB, write) and api.authorizer.allows(BOB, read)
    assert not api.authorizer.allows(BOB, change(write, namespace="kube-system"))
    assert not api.authorizer.allows(BOB, Attributes("create", ROOT, "roles", "", "default"))
    await api.delete(CTX, of(rbac_v1.RoleBinding), "default", "edit-bob")
    await api.cache.fresh()
    assert not api.authorizer.allows(BOB, write)


async def test_names_subresources_groups_and_accounts(api: Api) -> None:
    role = rbac_v1.ClusterRole(
        metadata=meta("r"), rules=[rule("get", "configmaps", names="one"), rule("get", "*/status")]
    )
    await put(api, role)
    await grant(api, rbac_v1.Subject(kind="Group", name="staff"), "r")
    await grant(api, rbac_v1.Subject(kind="ServiceAccount", name="sa", namespace="default"), "r")
    robot = User("system:serviceaccount:default:sa")
    for who in (BOB, robot):
        assert api.authorizer.allows(who, Attributes("get", "", "configmaps", "", "x", "one"))
        assert not api.authorizer.allows(who, Attributes("get", "", "configmaps", "", "x", "two"))
        assert api.authorizer.allows(who, Attributes("get", "", "pods", "status", "x", "p"))
        assert not api.authorizer.allows(who, Attributes("get", "", "pods", "", "x", "p"))


async def test_an_aggregated_role_has_what_its_parts_have(api: Api) -> None:
    await grant(api, user("bob"), "view")
    ask = Attributes("list", "example.com", "widgets", "", "default")
    assert not api.authorizer.allows(BOB, ask)
    labels = {"rbac.authorization.k8s.io/aggregate-to-view": "true"}
    part = rbac_v1.ClusterRole(
        metadata=meta_v1.ObjectMeta(name="widgets", labels=labels), rules=[rule("list", "widgets", "example.com")]
    )
    await put(api, part)
    assert api.authorizer.allows(BOB, ask)


async def test_nobody_grants_what_he_has_not(api: Api) -> None:
    await grant(api, user("bob"), "admin", "default")
    fine = rbac_v1.Role(metadata=meta("fine"), rules=[rule("get list", "pods configmaps")])
    await put(api, fine, "default", BOB)
    more = rbac_v1.Role(metadata=meta("more"), rules=[rule("get", "pods nodes")])
    with pytest.raises(Forbidden, match="not currently held: get nodes"):
        await put(api, more, "default", BOB)
    ref = rbac_v1.RoleRef(api_group=ROOT, kind="ClusterRole", name="cluster-admin")
    bound = rbac_v1.RoleBinding(metadata=meta("up"), subjects=[user("bob")], role_ref=ref)
    with pytest.raises(Forbidden, match="not currently held"):
        await put(api, bound, "default", BOB)
    patch = {"rules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]}
    with pytest.raises(Forbidden, match="not currently held"):
        await api.patch(
            RequestContext(user="bob", groups=BOB.groups), of(rbac_v1.Role), "default", "fine", patch, "merge"
        )


async def test_default_roles_come_back_at_the_next_start(clock: Clock) -> None:
    store = EmbeddedStore()
    async with api_core(store=store, clock=clock, rng=Random(1)) as first:
        await first.patch(CTX, of(rbac_v1.ClusterRole), "", "system:basic-user", {"rules": []}, "merge")
        await first.delete(CTX, of(rbac_v1.ClusterRoleBinding), "", "system:discovery")
    async with api_core(store=store, clock=clock, rng=Random(1)) as again:
        assert again.authorizer.allows(BOB, Attributes("get", path="/api"))
        assert again.authorizer.allows(BOB, Attributes("create", "authorization.k8s.io", "selfsubjectaccessreviews"))


# ------------------------------------------------------------------ nodes


def pod(name: str, node: str, secret: str = "", account: str = "default") -> core_v1.Pod:
    volumes = [core_v1.Volume(name="s", secret=core_v1.SecretVolumeSource(secret_name=secret))] if secret else []
    spec = core_v1.PodSpec(
        node_name=node,
        service_account_name=account,
        volumes=volumes,
        containers=[core_v1.Container(name="c", image="busybox:1")],
    )
    return core_v1.Pod(metadata=meta(name), spec=spec)


@pytest.mark.parametrize(
    ("ask", "allowed"),
    [
        (Attributes("get", "", "secrets", "", "default", "mine"), True),
        (Attributes("get", "", "secrets", "", "default", "others"), False),
        (Attributes("list", "", "secrets", "", "default"), False),
        (Attributes("watch", "", "secrets", "", "default", field_selector="metadata.name=mine"), True),
        (Attributes("update", "", "secrets", "", "default", "mine"), False),
        (Attributes("get", "", "pods", "", "default", "a"), True),
        (Attributes("get", "", "pods", "", "default", "b"), False),
        (Attributes("list", "", "pods"), False),
        (Attributes("list", "", "pods", field_selector="spec.nodeName=n1"), True),
        (Attributes("patch", "", "pods", "status", "default", "a"), True),
        (Attributes("patch", "", "pods", "status", "default", "b"), False),
        (Attributes("delete", "", "pods", "", "default", "b"), False),
        (Attributes("update", "", "nodes", "status", name="n1"), True),
        (Attributes("update", "", "nodes", "status", name="n2"), False),
        (Attributes("update", "coordination.k8s.io", "leases", "", "kube-node-lease", "n1"), True),
        (Attributes("update", "coordination.k8s.io", "leases", "", "kube-node-lease", "n2"), False),
        (Attributes("create", "", "serviceaccounts", "token", "default", "default"), True),
        (Attributes("create", "", "serviceaccounts", "token", "default", "other"), False),
        (Attributes("create", "apps", "deployments", namespace="default"), False),
    ],
)
async def test_a_node_reads_and_writes_what_its_pods_need(api: Api, ask: Attributes, allowed: bool) -> None:
    await put(api, pod("a", "n1", "mine"), "default")
    await put(api, pod("b", "n2", "others", "other"), "default")
    assert api.authorizer.allows(NODE, ask) is allowed


async def test_a_node_writes_no_other_node_and_no_pod_of_its_own_invention(api: Api) -> None:
    await put(api, core_v1.Node(metadata=meta("n1")), user=NODE)
    with pytest.raises(Forbidden, match='not allowed to modify node "n2"'):
        await put(api, core_v1.Node(metadata=meta("n2")), user=NODE)
    with pytest.raises(Forbidden, match=r"config\.mirror"):
        await put(api, pod("x", "n1"), "default", NODE)


# ------------------------------------------------------------------ tokens


async def token_for(api: Api, account: str = "sa", who: User = ADMIN, **spec: Any) -> str:
    request = authentication_v1.TokenRequest(spec=authentication_v1.TokenRequestSpec(**spec))
    ctx = RequestContext(user=who.name, groups=who.groups)
    accounts = of(core_v1.ServiceAccount)
    item = await api.create(ctx, accounts, "default", request, name=account, subresource="token")
    return str(item.object.status.token)


async def test_a_token_names_its_account_and_ends(api: Api, clock: Clock) -> None:
    account = await put(api, core_v1.ServiceAccount(metadata=meta("sa")), "default")
    token = await token_for(api, expiration_seconds=600)
    found = api.authenticator.user_of(subject=None, authorization=f"Bearer {token}")
    assert (found.name, found.uid) == ("system:serviceaccount:default:sa", account.metadata.uid)
    assert set(found.groups) == {
        "system:serviceaccounts",
        "system:serviceaccounts:default",
        "system:authenticated",
    }
    clock.ahead = timedelta(seconds=601)
    assert api.authenticator.user_of_token(token) is None


async def test_a_token_dies_with_its_account_and_with_the_pod_it_is_bound_to(api: Api) -> None:
    await put(api, core_v1.ServiceAccount(metadata=meta("sa")), "default")
    made = await put(api, pod("p", "", account="sa"), "default")
    ref = authentication_v1.BoundObjectReference(kind="Pod", api_version="v1", name="p", uid=made.metadata.uid)
    bound, free = await token_for(api, bound_object_ref=ref), await token_for(api)
    user_of = api.authenticator.user_of_token
    found = user_of(bound)
    assert found is not None and found.extra["authentication.kubernetes.io/pod-name"] == ("p",)
    await api.delete(CTX, of(core_v1.Pod), "default", "p", meta_v1.DeleteOptions(grace_period_seconds=0))
    await put(api, pod("p", "", account="sa"), "default")  # the same name, another pod
    assert user_of(bound) is None and user_of(free) is not None
    await api.delete(CTX, of(core_v1.ServiceAccount), "default", "sa")
    await put(api, core_v1.ServiceAccount(metadata=meta("sa")), "default")
    assert user_of(free) is None


async def test_what_a_token_cannot_be_asked_for(api: Api) -> None:
    await put(api, core_v1.ServiceAccount(metadata=meta("sa")), "default")
    await put(api, pod("p", "n2", account="sa"), "default")
    with pytest.raises(NotFound):
        await token_for(api, "nobody")
    with pytest.raises(Invalid, match=r"spec.expirationSeconds: Invalid value: 5: may not specify a duration less"):
        await token_for(api, expiration_seconds=5)
    ref = authentication_v1.BoundObjectReference(kind="Pod", name="p", uid="other")
    with pytest.raises(Conflict, match="does not match the UID in record"):
        await token_for(api, bound_object_ref=ref)
    with pytest.raises(Forbidden, match="not bound to a pod"):
        await token_for(api, who=NODE)
    with pytest.raises(Forbidden, match="different node"):
        await token_for(api, who=NODE, bound_object_ref=ref)


async def test_an_audience_is_for_whom_it_names(api: Api) -> None:
    await put(api, core_v1.ServiceAccount(metadata=meta("sa")), "default")
    token = await token_for(api, audiences=["vault"])
    assert api.authenticator.user_of_token(token) is None
    review = authentication_v1.TokenReview(spec=authentication_v1.TokenReviewSpec(token=token, audiences=["vault"]))
    status = (await put(api, review)).status
    assert status.authenticated and status.user.username == "system:serviceaccount:default:sa"


@pytest.mark.parametrize("token", ["", ".", "a.b.c", "e30.e30.", "%.%.%", "é.é.é"])
def test_no_token_but_ours_is_taken(token: str) -> None:
    keys, other = TokenKeys(), TokenKeys()
    assert keys.verified(token) is None
    mine = keys.sign({"iss": "x"})
    assert keys.verified(mine) == {"iss": "x"} and other.verified(mine) is None
    head, _, signature = mine.split(".")
    assert keys.verified(f"{head}.e30.{signature}") is None
    assert json.loads(_unb64(head))["alg"] == "ES256"


# ------------------------------------------------------------------ reviews, through the doors


async def test_reviews_ask_the_authorizer(api: Api) -> None:
    attributes = authorization_v1.ResourceAttributes(verb="get", resource="pods", namespace="default")
    mine = authorization_v1.SelfSubjectAccessReview(
        spec=authorization_v1.SelfSubjectAccessReviewSpec(resource_attributes=attributes)
    )
    assert (await put(api, mine)).status.allowed and not (await put(api, mine, user=BOB)).status.allowed
    await grant(api, user("bob"), "view", "default")
    answer = (await put(api, mine, user=BOB)).status
    assert answer.allowed and answer.reason == 'RBAC: allowed by RoleBinding "default/view-bob" of ClusterRole "view"'
    other = authorization_v1.SubjectAccessReview(
        spec=authorization_v1.SubjectAccessReviewSpec(resource_attributes=attributes, user="bob")
    )
    assert (await put(api, other)).status.allowed
    local = authorization_v1.LocalSubjectAccessReview(spec=other.spec)
    assert (await put(api, local, "default")).status.allowed
    with pytest.raises(Invalid, match=r"must match metadata\.namespace"):
        await put(api, local, "kube-system")
    rules = authorization_v1.SelfSubjectRulesReview(
        spec=authorization_v1.SelfSubjectRulesReviewSpec(namespace="default")
    )
    assert any("pods" in r.resources for r in (await put(api, rules, user=BOB)).status.resource_rules)
    me = (await put(api, authentication_v1.SelfSubjectReview(), user=BOB)).status.user_info
    assert (me.username, me.groups) == ("bob", ["staff", "system:authenticated"])


async def test_a_service_account_comes_in_by_its_token_and_an_admin_as_somebody_else(world: World) -> None:
    admin, nobody = await world.http(), await world.http("")
    accounts = "/api/v1/namespaces/default/serviceaccounts"
    await admin.ask("POST", accounts, b'{"kind":"ServiceAccount","apiVersion":"v1","metadata":{"name":"sa"}}')
    body = b'{"kind":"TokenRequest","apiVersion":"authentication.k8s.io/v1"}'
    status, _, answer = await admin.ask("POST", f"{accounts}/sa/token", body)
    assert status == 201
    bearer = f"Bearer {json.loads(answer)['status']['token']}"
    whoami = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    ask = b'{"kind":"SelfSubjectReview","apiVersion":"authentication.k8s.io/v1"}'
    _, _, found = await nobody.ask("POST", whoami, ask, Authorization=bearer)
    assert json.loads(found)["status"]["userInfo"]["username"] == "system:serviceaccount:default:sa"
    assert (await nobody.ask("GET", accounts, Authorization=bearer))[0] == 403
    _, _, found = await admin.ask("POST", whoami, ask, Impersonate_User="ann", Impersonate_Group="staff")
    assert json.loads(found)["status"]["userInfo"]["groups"] == ["staff", "system:authenticated"]
    assert (await nobody.ask("GET", accounts, Authorization=bearer, Impersonate_User="admin"))[0] == 403
    assert (await nobody.ask("GET", accounts, Authorization="Bearer x.y.z"))[0] == 401
    keys = json.loads((await admin.ask("GET", "/openid/v1/jwks"))[2])["keys"]
    assert keys[0]["kty"] == "EC"


async def test_a_node_over_grpc_reads_only_what_is_its_own(world: World) -> None:
    http = await world.http()
    secret = b'{"kind":"Secret","apiVersion":"v1","metadata":{"name":"s"}}'
    await http.ask("POST", "/api/v1/namespaces/default/secrets", secret)
    async with world.grpc("system:node:n1", "system:nodes") as client:
        with pytest.raises(Forbidden):
            await client.get(core_v1.Secret, "s", "default")
        with pytest.raises(Forbidden):
            await client.list(core_v1.Pod)
        assert (await client.list(core_v1.Pod, field_selector="spec.nodeName=n1")).items == []
