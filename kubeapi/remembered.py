"""What a pure function made of frozen objects, remembered by which objects they were, not by what is in them.

A thousand pods of one template share one PodSpec object (see codec_shared): what follows from it is worked out for the
first. An identity is compared in a tenth of a microsecond, where hashing a pod's spec by value would take ten and its lists
could not be hashed at all.

What is remembered is kept alive, so it must be light: else whoever sends a hundred huge objects, be it to a dry run, fills
the memory. It is weighed when it is new, not when it is known.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple, Unpack

import msgspec

HEAVIEST = 16 * 1024
"""Bytes of JSON of all arguments together. As objects they are some ten times that: all that is remembered, 20 MiB at most."""

LONGEST = 512
"""Characters of a text by which something is remembered: names, keys and selectors are shorter, but anybody may send longer."""

R = TypeVar("R")
Ts = TypeVarTuple("Ts")


def by_text(most: int) -> Callable[[Callable[[str], R]], Callable[[str], R]]:
    """A decorator for pure functions of a text: functools.lru_cache for those that are short, since a cache that is bounded in
    number alone is as large as whoever fills it wishes."""

    def decorate(function: Callable[[str], R]) -> Callable[[str], R]:
        known = functools.lru_cache(maxsize=most)(function)

        @functools.wraps(function)
        def remembered(text: str) -> R:
            return known(text) if len(text) <= LONGEST else function(text)

        return remembered

    return decorate


def by_identity(most: int = 128) -> Callable[[Callable[[Unpack[Ts]], R]], Callable[[Unpack[Ts]], R]]:
    """A decorator for pure functions; nobody may change arguments or result. The newest `most` results of light
    arguments are kept.

    With them their arguments are: so no other object can come by the same identity.
    """

    def decorate(function: Callable[[Unpack[Ts]], R]) -> Callable[[Unpack[Ts]], R]:
        known: dict[tuple[int, ...], tuple[tuple[*Ts], R]] = {}

        @functools.wraps(function)
        def remembered(*args: *Ts) -> R:
            key = tuple(map(id, args))
            found = known.get(key)
            if found is not None:
                return found[1]
            result = function(*args)
            if sum(len(msgspec.json.encode(arg)) for arg in args) > HEAVIEST:
                return result
            if len(known) >= most:
                known.pop(next(iter(known)), None)
            known[key] = args, result
            return result

        return remembered

    return decorate
