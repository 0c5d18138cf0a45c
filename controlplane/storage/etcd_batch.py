"""Group commit on etcd: which waiting writes share a transaction, and how each gets a revision of its own. Pure.

    together     Txn( compares of all ; delete a, delete b, put c, put d )      nearly always: nobody else wrote in between
                   └─ refused: nothing was done
    transaction  Txn( delete a | delete b | put c | put d )   each | is a nested Txn with its own compare, a read where it fails
                       rank 0     rank 1    pos 2   pos 3     public revision = etcd revision * 2^POSITION_BITS + position

Deletions stand first, in key order; their position is their rank among those that took place, which a watcher counts from
the order of events. A put's position is fixed before it is sent and is the first byte of the stored value, so range reads
know it too. A rank is never above the number of deletions sent, so no put shares it. A batch holds a key at most once.
A write that goes alone is a plain transaction: compare, put, and the read where it fails.

What others write under the root in no format of ours does not exist: reads leave it out, and a watch shows that such a
value took the place of ours as a deletion. A foreign deletion is one; of more than 256 at once the last share a revision.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Literal

from aetcd import rpc
from msgspec import Struct

from controlplane.storage.errors import KeyExists, KeyMissing, RevisionConflict, StoreError
from controlplane.storage.interface import Entry

POSITION_BITS = 8
LAST_POSITION = (1 << POSITION_BITS) - 1
FORMAT = 1
"""Second byte of each stored value. It also makes every value longer than its position byte: see `_at`."""
MOST_OPERATIONS = 128
"""etcd's --max-txn-ops; of compares just as many."""
MOST_WRITES = 120
"""A nested transaction's (three) compares count on top of its parent's operations."""
MARKER = "/\x00marker"
MOST_BYTES = 1_000_000
"""etcd's --max-request-bytes is 1.5 MiB. A single larger write goes alone, and etcd judges it."""


class Write(Struct, eq=False):
    verb: Literal["create", "update", "delete"]
    key: str
    value: bytes
    at: int
    done: asyncio.Future[int]


def public(etcd_revision: int, position: int) -> int:
    return etcd_revision << POSITION_BITS | position


def entry_of(kv: Any, root: str) -> Entry | None:
    """None: others wrote it, not we."""
    value, key = kv.value, text_of(kv.key)  # each look at a message's bytes copies them
    if len(value) < 2 or value[1] != FORMAT or key is None:
        return None
    return Entry(key[len(root) :], value[2:], public(kv.mod_revision, value[0]))


def text_of(key: bytes) -> str | None:
    """Ours all are text."""
    try:
        return key.decode()
    except UnicodeDecodeError:
        return None


def take(waiting: list[Write]) -> tuple[list[Write], list[Write]]:
    """The next batch, and who waits on. A key's second write waits for the next batch, and so keeps its turn."""
    batch: list[Write] = []
    later: list[Write] = []
    keys: set[str] = set()
    size = 0
    ordered = True
    for write in waiting:
        if write.done.done():  # nobody waits for it any more
            continue
        cost = len(write.key) * 3 + len(write.value) + 100
        full = len(batch) == MOST_WRITES or (batch and size + cost > MOST_BYTES)
        if full or write.key in keys:
            later.append(write)
        else:
            batch.append(write)
            size += cost
            ordered = ordered and write.verb != "delete"
        keys.add(write.key)
    if not ordered:
        batch.sort(key=lambda w: (w.verb != "delete", w.key if w.verb == "delete" else ""))
    return batch, later


def together(batch: Sequence[Write], root: str) -> Any | None:
    """One plain transaction that all of them pass or none: for both sides some 7 µs a write less than nested ones.
    None: it would have more compares than etcd takes."""
    made = rpc.TxnRequest()
    for position, write in enumerate(batch):
        key = (root + write.key).encode()
        _condition(made.compare, key, write)
        _operation(made.success.add(), key, write, position)
    return made if len(made.compare) <= MOST_OPERATIONS else None


def transaction(batch: Sequence[Write], root: str) -> Any:
    """Of many writes it ends with a put of the marker, if anything is put: etcd counts nested puts as nothing, so without
    a put of its own a transaction would pass by the space quota, and the NOSPACE alarm would never be raised nor heeded."""
    made = rpc.TxnRequest()
    if len(batch) == 1:
        _fill(made, batch[0], 0, root)
        return made
    for position, write in enumerate(batch):
        _fill(made.success.add().request_txn, write, position, root)
    if any(write.verb != "delete" for write in batch):
        made.success.add().request_put.MergeFrom(marker(root))
    return made


def marker(root: str) -> Any:
    """No object; watches and range reads leave it out."""
    return rpc.PutRequest(key=(root + MARKER).encode(), value=bytes((0, FORMAT)))


def _fill(txn: Any, write: Write, position: int, root: str) -> None:
    """Messages are filled where they stand: a message that is made apart is copied into each that it is put into, which took
    four times as long."""
    key = (root + write.key).encode()
    _condition(txn.compare, key, write)
    _operation(txn.success.add(), key, write, position)
    if write.verb != "create":
        txn.failure.add().request_range.key = key  # what is there instead


def _operation(made: Any, key: bytes, write: Write, position: int) -> None:
    if write.verb == "delete":
        made.request_delete_range.key = key
    else:
        put = made.request_put
        put.key, put.value = key, bytes((position, FORMAT)) + write.value


def _condition(compare: Any, key: bytes, write: Write) -> None:
    if write.verb == "create":
        compare.add(key=key, target=_CREATE, result=_EQUAL, create_revision=0)
    else:
        _only_at(compare, key, write.at)


_CREATE, _MOD, _VALUE = rpc.Compare.CREATE, rpc.Compare.MOD, rpc.Compare.VALUE
_EQUAL, _GREATER, _LESS = rpc.Compare.EQUAL, rpc.Compare.GREATER, rpc.Compare.LESS


def _only_at(compare: Any, key: bytes, revision: int) -> None:
    """The key's etcd revision, and the position in front of its value: position < value < position + 1, as bytes."""
    position = revision & LAST_POSITION
    compare.add(key=key, target=_MOD, result=_EQUAL, mod_revision=revision >> POSITION_BITS)
    compare.add(key=key, target=_VALUE, result=_GREATER, value=bytes((position,)))
    if position < LAST_POSITION:
        compare.add(key=key, target=_VALUE, result=_LESS, value=bytes((position + 1,)))


def all_passed(batch: Sequence[Write], response: Any) -> list[int]:
    """Of each write that passed with the others: its public revision. Deletions stand first, so their rank is their position."""
    return [public(response.header.revision, position) for position in range(len(batch))]


def outcomes(batch: Sequence[Write], response: Any, root: str) -> list[int | StoreError]:
    """Of each write: its public revision, or why it was refused."""
    found: list[int | StoreError] = []
    deleted = 0
    nested_answers = [answer.response_txn for answer in response.responses[: len(batch)]]
    answers = [response] if len(batch) == 1 else nested_answers
    for position, (write, nested) in enumerate(zip(batch, answers, strict=True)):
        if nested.succeeded and write.verb == "delete":
            found.append(public(response.header.revision, deleted))
            deleted += 1
        elif nested.succeeded:
            found.append(public(response.header.revision, position))
        elif write.verb == "create":
            found.append(KeyExists(write.key))
        else:
            kvs = nested.responses[0].response_range.kvs
            entry = entry_of(kvs[0], root) if kvs else None
            found.append(KeyMissing(write.key) if entry is None else RevisionConflict(entry.revision))
    return found
