"""JSONPath templates against the documented behaviour of kubectl's."""

from typing import Any

import pytest

from kubectl_lite.printing.jsonpath import JsonPathError, parse, relaxed

DATA: dict[str, Any] = {
    "kind": "List",
    "items": [
        {"kind": "None", "metadata": {"name": "127.0.0.1", "labels": {"a.b/c": "d"}}, "status": {"n": 4}},
        {"kind": "None", "metadata": {"name": "127.0.0.2"}, "status": {"n": 8, "ready": True}},
    ],
    "users": [{"name": "myself", "user": {}}, {"name": "e2e", "user": {"username": "admin", "password": "secret"}}],
}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("kind is {.kind}", "kind is List"),
        ("{['kind']}", "List"),
        ("{.items[*].metadata.name}", "127.0.0.1 127.0.0.2"),
        ("{..name}", "127.0.0.1 127.0.0.2 myself e2e"),
        ("{.items[*]['metadata.name', 'status']}", '{"n":4} {"n":8,"ready":true}'),
        ('{.users[?(@.name=="e2e")].user.password}', "secret"),
        ("{.items[?(@.status.n>4)].metadata.name}", "127.0.0.2"),
        ("{.items[?(@.status.ready)].metadata.name}", "127.0.0.2"),
        ("{.items[?(@.status.ready==true)].metadata.name}", "127.0.0.2"),
        ("{range .items[*]}[{.metadata.name}, {.status.n}] {end}", "[127.0.0.1, 4] [127.0.0.2, 8] "),
        ('{range .items[*]}{.metadata.name}{"\\t"}{"\\n"}{end}', "127.0.0.1\t\n127.0.0.2\t\n"),
        ("{range .users[*]}{@.name}{$.kind} {end}", "myselfList e2eList "),
        ("{.items[0].metadata.labels.a\\.b/c}", "d"),
        ("{.items[-1].metadata.name}", "127.0.0.2"),
        ("{.users[0:1].name}", "myself"),
        ("{.users[0,1].name}", "myself e2e"),
        ("{.users[::2].name}", "myself"),
        ("{.missing}", ""),
        ("{.users[1].user}", '{"password":"secret","username":"admin"}'),
        ("{.kind} {'and'} {.kind}", "List and List"),
    ],
)
def test_templates(template: str, expected: str) -> None:
    assert parse(template).render(DATA) == expected


@pytest.mark.parametrize(
    "template", ["{.a", "{range .a}x", "{end}", "{.a[}", "{.a[?(@.b==)]}", "{.a[?(@.b && @.c)]}", '{"x}']
)
def test_what_is_no_template_is_refused(template: str) -> None:
    with pytest.raises(JsonPathError):
        parse(template)


def test_an_index_past_the_end_is_told() -> None:
    with pytest.raises(JsonPathError, match="out of bounds"):
        parse("{.users[7]}").render(DATA)


@pytest.mark.parametrize("text", ["x.y", ".x.y", "{.x.y}", "{x.y}", "$.x.y"])
def test_short_forms_mean_the_same(text: str) -> None:
    assert relaxed(text) == "{.x.y}"
