"""Which requests the log tells of, each with its id: those that failed for our fault, slow ones with what took the time,
sessions into containers, and, if it is asked for, every write.

While the store is away thousands of requests fail in a second: so many lines are told, and then their number.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from random import Random

from controlplane.apiserver.auth.attributes import User
from kubeapi import request_id
from kubeapi.clock import Clock
from kubeapi.logs import Subject
from kubeapi.scheme import SCHEME

SLOW = 1.0
"""Seconds from which on a request is told with its stages."""
TAKE_THEIR_TIME = ("NodeMetrics", "PodMetrics")
"""A rate is not seen at once: the first answer in a while takes a second on purpose."""
MOST_LINES = 20
"""Failures and slow requests told in one second."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A request, when its reply is ready. Times are seconds."""

    what: str
    """Method and path, or verb."""
    code: int
    seconds: float
    user: User | None = None
    subject: Subject | None = None
    stages: tuple[tuple[str, float], ...] = ()


class Access:
    def __init__(self, *, clock: Clock, rng: Random, writes: bool = False, log: logging.Logger | None = None) -> None:
        """`writes`: tell each of them."""
        self.writes = writes
        self._clock = clock
        self._ids = request_id.Ids(rng)
        self._log = log or logging.getLogger("sampan.access")
        self._second, self._lines, self._untold = 0, 0, 0

    def begin(self, given: str) -> str:
        """The id of the request that this task now serves: the client's, or a new one."""
        found = self._ids.given_or_new(given)
        request_id.current.set(found)
        return found

    def tell(self, ended: Ended) -> None:
        """Of a write, a session, or what `worth` has picked."""
        if ended.code >= 500:
            level, text = (logging.ERROR if ended.code == 500 else logging.WARNING), "failed"
        elif ended.seconds > SLOW:
            if ended.subject is not None and ended.subject.kind in TAKE_THEIR_TIME:
                return
            level, text = logging.WARNING, "slow"
        else:
            level, text = logging.INFO, "served"
        if level > logging.INFO and not self._admitted():
            return
        took = ""
        if ended.stages and ended.seconds > SLOW:
            took = f" ({', '.join(f'{stage} {seconds:.3f}s' for stage, seconds in ended.stages)})"
        fields: dict[str, object] = {"code": ended.code, "seconds": round(ended.seconds, 6)}
        if ended.user is not None:
            fields["user"] = ended.user.by or ended.user.name
            if ended.user.by:
                fields["impersonated_user"] = ended.user.name
        if self._untold:
            fields["untold"], self._untold = self._untold, 0
        message = "%s: %s%s"
        self._log.log(level, message, text, ended.what, took, extra={"subject": ended.subject, "fields": fields})

    def _admitted(self) -> bool:
        second = int(self._clock.monotonic())
        if second != self._second:
            self._second, self._lines = second, 0
        self._lines += 1
        if self._lines > MOST_LINES:
            self._untold += 1
            return False
        return True


def subject_of(group: str, version: str, plural: str, namespace: str, name: str) -> Subject | None:
    resource = SCHEME.by_plural(group, version, plural) if plural else None
    return Subject(resource.kind, namespace if resource.namespaced else "", name) if resource is not None else None
