"""The functions of Go templates, and how Go prints values.

Types are as strict as Go's: `eq .spec.replicas 3.0` compares an int64 with a float64, which is an error, and `printf "%s"` of a
number says so in what it prints.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

ABSENT = {"call", "html", "js", "urlquery"}
"""Of text/template, and not here."""
MISSING = object()
"""What a key that is not there gives. Functions get None for it, as for null."""


class Int64(int):
    """A whole number of an object."""


class CallError(ValueError):
    """Why a function cannot be applied."""


# ------------------------------------------------------------------ types and how they are printed


def type_of(value: Any) -> str:
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "bool"
    names = {
        str: "string",
        int: "int",
        Int64: "int64",
        float: "float64",
        list: "[]interface {}",
        dict: "map[string]interface {}",
    }
    return names[type(value)]


def show(value: Any, of: Callable[[Any], str] | None = None) -> str:
    """As %v prints it; `of` prints what is neither a map nor a list."""
    if isinstance(value, dict):
        return f"map[{' '.join(f'{show(k, of)}:{show(v, of)}' for k, v in sorted(value.items()))}]"
    if isinstance(value, list):
        return f"[{' '.join(show(v, of) for v in value)}]"
    return of(value) if of is not None else _bare(value)


def _bare(value: Any) -> str:
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    return shortest(value) if isinstance(value, float) else str(value)


def shortest(value: float) -> str:
    """As %g without a precision, which is %e from six digits before the point on: 80, 0.5, 1e+06."""
    if value != value or value in (float("inf"), float("-inf")):
        return "NaN" if value != value else "+Inf" if value > 0 else "-Inf"
    sign, digits, exponent = Decimal(repr(value)).as_tuple()
    assert isinstance(exponent, int)
    text = "".join(map(str, digits)).rstrip("0") or "0"
    power = len(digits) + exponent - 1 if text != "0" else 0
    if power < -4 or power >= 6:
        fraction = f".{text[1:]}" if len(text) > 1 else ""
        made = f"{text[0]}{fraction}e{'-' if power < 0 else '+'}{abs(power):02d}"
    elif power < 0:
        made = "0." + "0" * (-power - 1) + text
    else:
        whole = text[: power + 1].ljust(power + 1, "0")
        made = f"{whole}.{text[power + 1 :]}" if len(text) > power + 1 else whole
    return f"-{made}" if sign else made


def quoted(text: str) -> str:
    made = []
    names = {
        "\n": "\\n",
        "\t": "\\t",
        "\r": "\\r",
        "\\": "\\\\",
        '"': '\\"',
        "\a": "\\a",
        "\b": "\\b",
        "\f": "\\f",
        "\v": "\\v",
    }
    for char in text:
        if char in names:
            made.append(names[char])
        elif char.isprintable():
            made.append(char)
        else:
            code = ord(char)
            made.append(f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return '"' + "".join(made) + '"'


def truth(value: Any) -> bool:
    return value is not MISSING and bool(value)


# ------------------------------------------------------------------ print


def print_(*values: Any) -> str:
    """With blanks between two of which neither is a string."""
    made = ""
    for number, value in enumerate(values):
        apart = number and not isinstance(value, str) and not isinstance(values[number - 1], str)
        made += (" " if apart else "") + show(value)
    return made


def println(*values: Any) -> str:
    return " ".join(map(show, values)) + "\n"


_VERB = re.compile(r"%([-+# 0]*)(\d+)?(?:\.(\d+)?)?(.)?", re.DOTALL)


def printf(form: str, *values: Any) -> str:
    left = list(values)

    def one(match: re.Match[str]) -> str:
        flags, width, verb = match[1], match[2] or "", match[4]
        if verb is None:
            return "%!(NOVERB)"
        if verb == "%":
            return "%"
        if verb in "*[" or "#" in flags:
            raise CallError(f"%{match[0][1:]} is not supported by kubectl-lite")
        if not left:
            return f"%!{verb}(MISSING)"
        precision = int(match[3] or 0) if "." in match[0] else None
        return _formatted(left.pop(0), verb, flags, int(width or 0), precision)

    made = _VERB.sub(one, form)
    if left:
        made += f"%!(EXTRA {', '.join(f'{type_of(v)}={show(v)}' if v is not None else '<nil>' for v in left)})"
    return made


def _formatted(value: Any, verb: str, flags: str, width: int, precision: int | None) -> str:
    if verb == "T":
        return type_of(value)

    def one(value: Any) -> str:
        made = _verb(value, verb, flags, precision)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if made is None:
            return f"%!{verb}({type_of(value)}{f'={_bare(value)}' if value is not None else ''})"
        if "-" in flags:
            return made.ljust(width)
        if "0" in flags and number:
            sign = made[0] if made[:1] in ("-", "+", " ") else ""
            return sign + made[len(sign) :].rjust(width - len(sign), "0")
        return made.rjust(width)

    return show(value, one)


def _verb(value: Any, verb: str, flags: str, precision: int | None) -> str | None:
    """None: no such verb for such a value."""
    if isinstance(value, bool):
        return _bare(value) if verb in "vt" else None
    if isinstance(value, str):
        text = value if precision is None else value[:precision]
        if verb in "xX":
            return text.encode().hex() if verb == "x" else text.encode().hex().upper()
        return text if verb in "vs" else quoted(text) if verb == "q" else None
    if value is None:
        return "<nil>" if verb == "v" else None
    plus = "+" if "+" in flags and verb != "v" else " " if " " in flags else ""
    if isinstance(value, int):
        if verb in "vd":
            return f"{value:{plus}d}" if plus else str(value)
        if verb in "xXob":
            return f"{value:{plus}{verb}}"
        char = chr(value) if 0 <= value < 0x110000 else "\ufffd"
        return {"c": char, "q": f"'{char}'", "U": f"U+{value:04X}"}.get(verb)
    if verb in "vgG" and precision is None:
        made = shortest(value).upper() if verb == "G" else shortest(value)
        return plus + made if value >= 0 else made
    if verb in "feEFgGv":
        return format(value, f"{plus}.{6 if precision is None else precision}{'g' if verb == 'v' else verb}")
    return None


# ------------------------------------------------------------------ len, index, slice


def length(value: Any) -> int:
    if value is None:
        raise CallError("reflect: call of reflect.Value.Type on zero Value")
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, list | dict):
        return len(value)
    raise CallError(f"len of type {type_of(value)}")


def index(value: Any, *keys: Any) -> Any:
    if value is None:
        raise CallError("index of untyped nil")
    for key in keys:
        if value is None:
            raise CallError("index of nil pointer")
        if isinstance(value, dict):
            if key is None:
                raise CallError("value is nil; should be of type string")
            if not isinstance(key, str):
                raise CallError(f"value has type {type_of(key)}; should be string")
            value = value.get(key)
        elif isinstance(value, list | str):
            units: Any = value.encode() if isinstance(value, str) else value
            at = _position(key, len(units))
            if at == len(units):
                raise CallError(f"reflect: {'slice' if isinstance(value, list) else 'string'} index out of range")
            value = units[at]
        else:
            raise CallError(f"can't index item of type {type_of(value)}")
    return value


def _position(key: Any, most: int) -> int:
    if key is None:
        raise CallError("cannot index slice/array with nil")
    if isinstance(key, bool) or not isinstance(key, int):
        raise CallError(f"cannot index slice/array with type {type_of(key)}")
    if key < 0 or key > most:
        raise CallError(f"index out of range: {key}")
    return key


def slice_(value: Any, *keys: Any) -> Any:
    if value is None:
        raise CallError("slice of untyped nil")
    if len(keys) > 3:
        raise CallError(f"too many slice indexes: {len(keys)}")
    if not isinstance(value, str | list):
        raise CallError(f"can't slice item of type {type_of(value)}")
    if isinstance(value, str) and len(keys) == 3:
        raise CallError("cannot 3-index slice a string")
    units: Any = value.encode() if isinstance(value, str) else value
    found = [_position(key, len(units)) for key in keys]
    start, end = (found + [0, len(units)][len(found) :])[:2]
    if start > end:
        raise CallError(f"invalid slice index: {start} > {end}")
    part = units[start:end]
    return part.decode(errors="replace") if isinstance(part, bytes) else part


# ------------------------------------------------------------------ comparison


def _kind(value: Any) -> str:
    if isinstance(value, list | dict) or value is None:
        return ""
    return "int" if type(value) is Int64 else type_of(value)


def eq(first: Any, *others: Any) -> bool:
    if not others:
        raise CallError("missing argument for comparison")
    for other in others:
        if _kind(first) != _kind(other):
            if first is not None and other is not None:
                raise CallError("incompatible types for comparison")
        elif _kind(first):
            if first == other:
                return True
        elif first is None or other is None:
            if first is other:
                return True
        elif type_of(first) != type_of(other):
            raise CallError(f"non-comparable types {show(first)}: {type_of(first)}, {type_of(other)}: {show(other)}")
        else:
            raise CallError(f"non-comparable type {show(other)}: {type_of(other)}")
    return False


def ne(first: Any, second: Any) -> bool:
    return not eq(first, second)


def lt(first: Any, second: Any) -> bool:
    if not _kind(first) or not _kind(second):
        raise CallError("invalid type for comparison")
    if _kind(first) != _kind(second):
        raise CallError("incompatible types for comparison")
    if isinstance(first, bool):
        raise CallError("invalid type for comparison")
    if isinstance(first, str):
        return bool(first.encode() < second.encode())
    return bool(first < second)


def le(first: Any, second: Any) -> bool:
    return lt(first, second) or eq(first, second)


def base64decode(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode(errors="replace")
    except binascii.Error as error:
        at = next(
            (i for i, c in enumerate(text) if not (c.isalnum() and c.isascii()) and c not in "+/="), len(text) // 4 * 4
        )
        raise CallError(f"base64 decode failed: illegal base64 data at input byte {at}") from error


def exists(value: Any, *keys: Any) -> bool:
    """kubectl's own: whether index would find something."""
    for key in keys:
        named = isinstance(value, dict) and isinstance(key, str) and key in value
        if not named and not (isinstance(value, list) and isinstance(key, int) and 0 <= key < len(value)):
            return False
        value = value[key]
    return True


FUNCTIONS: dict[str, tuple[Callable[..., Any], Sequence[str], bool]] = {
    # name: (function, what it takes: any or string, whether the last of these may come any number of times)
    "print": (print_, ("any",), True),
    "println": (println, ("any",), True),
    "printf": (printf, ("string", "any"), True),
    "len": (length, ("any",), False),
    "index": (index, ("any", "any"), True),
    "slice": (slice_, ("any", "any"), True),
    "not": (lambda value: not truth(value), ("any",), False),
    "eq": (eq, ("any", "any"), True),
    "ne": (ne, ("any", "any"), False),
    "lt": (lt, ("any", "any"), False),
    "le": (le, ("any", "any"), False),
    "gt": (lambda first, second: not le(first, second), ("any", "any"), False),
    "ge": (lambda first, second: not lt(first, second), ("any", "any"), False),
    "base64decode": (base64decode, ("string",), False),
    "exists": (exists, ("any", "any"), True),
}
NAMES = {"and", "or", *FUNCTIONS}
