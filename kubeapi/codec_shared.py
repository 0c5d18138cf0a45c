"""Reads bodies of a kind whose objects often have one part in common to the byte, as all pods of a template have their spec.

    body ──► everything but the part, which stays bytes ──► known bytes? ──► the very object that was made of them before
                                                                   └─ no ──► read strictly; kept if it is without fault

The part is read once, and shared: by the objects, for as long as they keep it, and by what is worked out from it
(kubeapi.remembered). Whatever is out of the ordinary is left to `codec`, which tells what it is.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

from kubeapi import codec
from kubeapi.errors import BadRequest
from kubeapi.schema import reader

T = TypeVar("T")

MOST_PARTS = 128
LARGEST_PART = 16 * 1024
"""Bytes. As objects they are some ten times that: all that is kept, 20 MiB at most, and hardly ever one."""


class SharedPart(Generic[T]):
    def __init__(self, type_: type[T], part: str) -> None:
        """`part` names a field of `type_` whose type is a Struct."""
        fields: Any = msgspec.structs.fields(type_)  # type: ignore[arg-type]
        self._type, self._part = type_, part
        self._part_type: Any = next(f.type for f in fields if f.name == part)
        self._name = f'"{next(f.encode_name for f in fields if f.name == part)}":'.encode()
        others = [f.name for f in fields if f.name != part]
        self._others, self._read = others, reader(others)
        self._decoder = msgspec.json.Decoder(_around(type_, fields, part))
        self._known: dict[bytes, Any] = {}

    def decode(self, body: bytes) -> T | None:
        """None: there may be something to tell, or there is nothing to share; `codec.decode_strict` knows."""
        try:
            around = self._decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        raw = bytes(getattr(around, self._part))
        begin = _value(body, self._name)
        end = begin + len(raw)
        if not raw or body[begin:end] != raw:  # nobody knows which of several it is
            return None
        part = self._known.get(raw)
        if part is None and (part := self._first(raw)) is None:
            return None
        rest = b"%bnull%b" % (body[:begin], body[end:])
        if codec.has_odd_time(rest) or codec.duplicates(rest):
            return None
        return self._type(**dict(zip(self._others, self._read(around), strict=True)), **{self._part: part})

    def _first(self, raw: bytes) -> Any | None:
        try:
            part, problems = codec.decode_strict(self._part_type, raw)
        except BadRequest:
            return None
        if problems or codec.has_odd_time(raw):
            return None
        if len(raw) <= LARGEST_PART:
            if len(self._known) >= MOST_PARTS:
                del self._known[next(iter(self._known))]
            self._known[raw] = part
        return part


def _value(body: bytes, name: bytes) -> int:
    """Where the value of the first member of that name begins."""
    at = body.find(name) + len(name)
    while body[at : at + 1].isspace():
        at += 1
    return at


def _around(type_: Any, fields: Any, part: str) -> Any:
    """The same Struct with the part as bytes."""
    made = []
    for f in fields:
        if f.name == part:
            made.append((f.name, msgspec.Raw, msgspec.Raw()))
        elif f.default_factory is not msgspec.NODEFAULT:
            made.append((f.name, f.type, msgspec.field(default_factory=f.default_factory)))
        else:
            made.append((f.name, f.type, f.default))
    names = {f.name: f.encode_name for f in fields}
    return msgspec.defstruct(
        f"{type_.__name__}Around", made, rename=names, kw_only=True, frozen=True, gc=False, forbid_unknown_fields=True
    )
