"""Tokens of service accounts: signed JWTs that name the account, and the pod, secret or node that they are bound to.

    TokenRequest ──► check the account and what the token shall be bound to ──► sign (ES256 or RS256)
    Bearer token ──► signature, issuer, audience, time ──► account and bound object still there, same uid? ──► User

A token is revoked by deleting what it names: the objects are looked up in the watch cache at every request, only the
signature is remembered. Source: KEP-1205 (bound service account tokens), RFC 7515, RFC 7519.
"""

from __future__ import annotations

import base64
import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from controlplane.apiserver.auth.attributes import User
from controlplane.apiserver.cache import WatchCache
from kubeapi.clock import Clock
from kubeapi.errors import BadRequest, Conflict, FieldError, Invalid, NotFound
from kubeapi.meta import new_uid, replace
from kubeapi.types import authentication_v1, core_v1

ISSUER = "https://kubernetes.default.svc.cluster.local"
SHORTEST, USUAL, LONGEST = 600, 3600, 1 << 32
"""Seconds that a token may be asked for, and how long it lives when nothing is asked."""
REMEMBERED = 4096
_BOUND = {"Pod": "pods", "Secret": "secrets", "Node": "nodes"}
ACCOUNTS = "/registry/core/serviceaccounts/"


class TokenKeys:
    """One key pair. `pem` is the private key; without one a key is made, and tokens do not outlive the process."""

    def __init__(self, pem: bytes | None = None) -> None:
        key: Any
        key = serialization.load_pem_private_key(pem, None) if pem else ec.generate_private_key(ec.SECP256R1())
        if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
            raise ValueError("the key of service account tokens must be RSA or P-256")
        self._key = key
        self._public = key.public_key()
        der = self._public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self.key_id = _b64(hashlib.sha256(der).digest())
        self.algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"

    def sign(self, claims: dict[str, Any]) -> str:
        head = {"alg": self.algorithm, "kid": self.key_id, "typ": "JWT"}
        text = f"{_b64(msgspec.json.encode(head))}.{_b64(msgspec.json.encode(claims))}"
        if isinstance(self._key, rsa.RSAPrivateKey):
            signature = self._key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
        else:
            r, s = decode_dss_signature(self._key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
            signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        return f"{text}.{_b64(signature)}"

    def verified(self, token: str) -> dict[str, Any] | None:
        """The claims; None for what this key did not sign."""
        parts = token.split(".")
        if len(parts) != 3:
            return None
        try:
            head, claims = (msgspec.json.decode(_unb64(part)) for part in parts[:2])
            signature, text = _unb64(parts[2]), f"{parts[0]}.{parts[1]}".encode()
            if not isinstance(head, dict) or head.get("alg") != self.algorithm or not isinstance(claims, dict):
                return None
            if isinstance(self._public, rsa.RSAPublicKey):
                self._public.verify(signature, text, padding.PKCS1v15(), hashes.SHA256())
            elif len(signature) != 64:
                return None
            else:
                pair = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
                self._public.verify(encode_dss_signature(*pair), text, ec.ECDSA(hashes.SHA256()))
        except (ValueError, InvalidSignature, msgspec.MsgspecError):
            return None
        return claims

    def jwks(self) -> dict[str, Any]:
        """The public key, as /openid/v1/jwks tells it."""
        base = {"use": "sig", "kid": self.key_id, "alg": self.algorithm}
        if isinstance(self._public, rsa.RSAPublicKey):
            n = self._public.public_numbers()
            key = base | {"kty": "RSA", "n": _number(n.n), "e": _number(n.e)}
        else:
            p = self._public.public_numbers()
            key = base | {"kty": "EC", "crv": "P-256", "x": _number(p.x, 32), "y": _number(p.y, 32)}
        return {"keys": [key]}


class ServiceAccountTokens:
    """Issues and recognises tokens. A TokenSource of the Authenticator."""

    _known: OrderedDict[str, dict[str, Any]]  # tokens whose signature was good, with their claims; the newest last

    def __init__(self, *, cache: WatchCache, keys: TokenKeys, clock: Clock, rng: Random, issuer: str = ISSUER) -> None:
        self._cache = cache
        self.keys = keys
        self._clock = clock
        self._rng = rng
        self.issuer = issuer
        self._known = OrderedDict()

    # ------------------------------------------------------------------ issuing

    def issue(
        self, account: core_v1.ServiceAccount, request: authentication_v1.TokenRequest
    ) -> authentication_v1.TokenRequest:
        """Raises Invalid, NotFound, Conflict."""
        spec = request.spec
        seconds = USUAL if spec.expiration_seconds is None else spec.expiration_seconds
        if not SHORTEST <= seconds <= LONGEST:
            text = "may not specify a duration less than 10 minutes"
            text = text if seconds < SHORTEST else f"may not specify a duration larger than {LONGEST} seconds"
            fault = FieldError("spec.expirationSeconds", text, seconds)
            raise Invalid.of("TokenRequest", "authentication.k8s.io", account.metadata.name, [fault])
        audiences = list(spec.audiences) or [self.issuer]
        now = int(self._clock.now().timestamp())
        meta = account.metadata
        inside: dict[str, Any] = {
            "namespace": meta.namespace,
            "serviceaccount": {"name": meta.name, "uid": meta.uid},
        }
        if spec.bound_object_ref is not None:
            inside |= self._bound(account, spec.bound_object_ref)
        claims = {
            "aud": audiences,
            "exp": now + seconds,
            "iat": now,
            "iss": self.issuer,
            "jti": new_uid(self._rng),
            "kubernetes.io": inside,
            "nbf": now,
            "sub": f"system:serviceaccount:{meta.namespace}:{meta.name}",
        }
        status = authentication_v1.TokenRequestStatus(
            token=self.keys.sign(claims), expiration_timestamp=datetime.fromtimestamp(now + seconds, UTC)
        )
        return replace(request, spec=replace(spec, audiences=audiences, expiration_seconds=seconds), status=status)

    def _bound(
        self, account: core_v1.ServiceAccount, ref: authentication_v1.BoundObjectReference
    ) -> dict[str, dict[str, str]]:
        if ref.kind not in _BOUND or ref.api_version not in ("", "v1"):
            raise BadRequest(f"cannot bind token to {ref.api_version}/{ref.kind}; supported are Pod, Secret and Node")
        found = self._find(ref.kind, account.metadata.namespace, ref.name)
        if found is None:
            plural = _BOUND[ref.kind]
            raise NotFound(f'{plural} "{ref.name}" not found', details={"name": ref.name, "kind": plural})
        uid = found.metadata.uid
        if ref.uid and ref.uid != uid:
            raise Conflict(
                f"the UID in the bound object reference ({ref.uid}) does not match the UID in record ({uid})"
            )
        made = {ref.kind.lower(): {"name": ref.name, "uid": uid}}
        if ref.kind == "Pod":
            if found.spec.service_account_name != account.metadata.name:
                raise BadRequest(
                    f"cannot bind token for serviceaccount {account.metadata.name!r} to pod running with different "
                    f"serviceaccount name {found.spec.service_account_name!r}"
                )
            if (node := self._find("Node", "", found.spec.node_name)) is not None:
                made["node"] = {"name": node.metadata.name, "uid": node.metadata.uid}
        return made

    # ------------------------------------------------------------------ recognising

    def user_of(self, token: str, audiences: Sequence[str] = ()) -> User | None:
        """`audiences`: which the token must be for; the API server itself when none is given."""
        claims = self._known.get(token)
        if claims is None:
            claims = self.keys.verified(token)
            if claims is None:
                return None
            self._known[token] = claims
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return self._user(claims, audiences or (self.issuer,))

    def _user(self, claims: dict[str, Any], audiences: Sequence[str]) -> User | None:
        now = self._clock.now().timestamp()
        if claims.get("iss") != self.issuer or not set(audiences) & set(claims["aud"]):
            return None
        if not claims["nbf"] <= now + 5 or now >= claims["exp"]:
            return None
        inside = claims["kubernetes.io"]
        namespace, account = inside["namespace"], inside["serviceaccount"]
        held = self._cache.get(f"{ACCOUNTS}{namespace}/{account['name']}")
        if held is None or held.object.metadata.uid != account["uid"]:
            return None
        extra = {"authentication.kubernetes.io/credential-id": (f"JTI={claims['jti']}",)}
        for kind in ("Pod", "Secret", "Node"):
            if (bound := inside.get(kind.lower())) is None:
                continue
            found = self._find(kind, namespace, bound["name"])
            if found is None or found.metadata.uid != bound["uid"]:
                if kind == "Node" and "pod" in inside:
                    continue  # the pod's own life decides; its node is told for information only
                return None
            if kind != "Secret":
                extra[f"authentication.kubernetes.io/{kind.lower()}-name"] = (bound["name"],)
                extra[f"authentication.kubernetes.io/{kind.lower()}-uid"] = (bound["uid"],)
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
        return User(claims["sub"], groups, account["uid"], extra)

    def _find(self, kind: str, namespace: str, name: str) -> Any:
        middle = "" if kind == "Node" else f"{namespace}/"
        item = self._cache.get(f"/registry/core/{_BOUND[kind]}/{middle}{name}")
        return item.object if item is not None else None


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _unb64(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _number(value: int, size: int = 0) -> str:
    return _b64(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))
