"""One form for all logs: what a line holds in text and in JSON, and where it gets its object and its request from."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from kubeapi import logs, request_id
from kubeapi.logs import Subject, about, concerning
from kubeapi.types.core_v1 import Pod
from kubeapi.types.meta_v1 import ObjectMeta

POD = Pod(metadata=ObjectMeta(name="web", namespace="default"))


@pytest.fixture
def root() -> Iterator[None]:
    """setup() is for a process; a test gives the root logger back as it was."""
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)


def told(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_json_line_has_its_time_level_logger_message_object_node_and_request(root: None) -> None:
    stream = io.StringIO()
    logs.setup("json", node="n1", stream=stream)
    token = request_id.current.set("abc")
    try:
        logging.getLogger("sampan.x").warning("cannot %s", "start\nit", extra=about(POD) | {"fields": {"code": 500}})
    finally:
        request_id.current.reset(token)
    (line,) = told(stream)
    at = line.pop("time")
    assert at.endswith("Z") and len(at) == len("2026-01-01T00:00:00.000000Z")
    assert line == {
        "level": "warning",
        "logger": "sampan.x",
        "message": "cannot start\nit",
        "object": {"kind": "Pod", "namespace": "default", "name": "web"},
        "node": "n1",
        "request_id": "abc",
        "code": 500,
    }


def test_text_for_people_ends_with_the_object_and_the_request(root: None) -> None:
    stream = io.StringIO()
    logs.setup("text", stream=stream)
    log = logging.getLogger("controllers")
    with concerning(Subject("Node", "", "n1")):
        log.info("it is gone")
    log.info("plain")
    log.debug("not told")
    first, second = stream.getvalue().splitlines()
    assert first.endswith("INFO controllers: it is gone object=Node/n1")
    assert second.endswith("INFO controllers: plain")


def test_an_exception_is_one_line_of_json(root: None) -> None:
    stream = io.StringIO()
    logs.setup("json", stream=stream)
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("x").exception("a defect")
    (line,) = told(stream)
    assert line["error"].startswith("Traceback") and line["error"].endswith("ValueError: broken")


async def test_tasks_do_not_share_what_they_are_about(root: None) -> None:
    stream = io.StringIO()
    logs.setup("json", verbosity=4, stream=stream)
    both = asyncio.Barrier(2)

    async def work(name: str) -> None:
        logs.concerns(Subject("Pod", "default", name))
        await both.wait()
        logging.getLogger("worker").debug("at work")

    await asyncio.gather(work("a"), work("b"))
    mine = [line for line in told(stream) if line["logger"] == "worker"]
    assert sorted(line["object"]["name"] for line in mine) == ["a", "b"]


def test_an_id_that_could_break_a_line_is_not_taken_over() -> None:
    ids = request_id.Ids(Random(1))
    assert ids.given_or_new("client-1:x_y.z") == "client-1:x_y.z"
    made = [ids.given_or_new(bad) for bad in ("", "a b", "x\ny", 'x"y', "ü", "x" * 65)]
    assert len(set(made)) == 6 and all(len(one) == 36 and one.count("-") == 4 for one in made)
