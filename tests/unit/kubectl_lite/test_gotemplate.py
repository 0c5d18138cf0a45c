"""Go templates without a server: the table of tests/component, which stands beside kubectl, in small; and nonsense of all kinds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_lite.printing.gotemplate_functions import shortest
from kubectl_lite.printing.gotemplate_nodes import TemplateError
from kubectl_lite.printing.gotemplate_run import compiled

OBJ = {
    "kind": "Pod",
    "n": 3,
    "f": 1.5,
    "no": None,
    "yes": True,
    "list": [{"a": "x"}, {"a": "y"}],
    "map": {"b": "2", "a": "1"},
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("plain", "plain"),
        ("", ""),
        ("{{.kind}} {{.n}} {{.f}} {{.yes}} {{.no}} {{.missing.too}}", "Pod 3 1.5 true <no value> <no value>"),
        ("{{.map}} {{.list}}", "map[a:1 b:2] [map[a:x] map[a:y]]"),
        ("a {{- /* c */ -}} b{{- 1 -}} c", "ab1c"),
        ("{{range $i, $e := .list}}{{if $i}},{{end}}{{$e.a}}{{end}}", "x,y"),
        ("{{range $k, $v := .map}}{{$k}}={{$v}};{{else}}none{{end}}", "a=1;b=2;"),
        ("{{range .missing}}x{{else}}none{{end}}{{range 0}}x{{else}} none{{end}}", "none none"),
        ("{{range .list}}{{break}}{{end}}{{range .list}}{{continue}}x{{end}}", ""),
        ("{{if eq .n 3}}three{{else if gt .n 3}}more{{else}}less{{end}}", "three"),
        ("{{with .map}}{{.a}}{{$.kind}}{{end}}{{with .missing}}x{{else with .kind}}{{.}}{{end}}", "1PodPod"),
        ("{{$x := 1}}{{range .list}}{{$x = .a}}{{end}}{{$x}}", "y"),
        ("{{(index .list 1).a}} {{index .map \"a\"}} {{len .list}} {{.kind | len | printf \"%03d\"}}", "y 1 2 003"),
        ("{{and 1 .no}} {{or .no \"d\"}} {{not .no}} {{and 1 2}}", "<no value> d true 2"),
        ('{{"aGk=" | base64decode}} {{printf "%-4s|%4d|%.1f|%q" "a" 7 2.25 "q"}}', 'hi a   |   7|2.2|"q"'),
        ("{{printf \"%s %d\" 1 \"a\"}}", "%!s(int=1) %!d(string=a)"),
    ],
)  # fmt: skip
def test_a_template_gives_what_text_template_gives(template: str, text: str) -> None:
    assert compiled(template)(OBJ) == text


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{.a", "output:1: unclosed action"),
        ("\n\n{{foo}}", 'output:3: function "foo" not defined'),
        ("{{if .a}}", "output:1: unexpected EOF"),
        ("x{{end}}", "output:1: unexpected {{end}}"),
        ("{{$x}}", 'undefined variable "$x"'),
        ("{{if true}}{{$x := 1}}{{end}}{{$x}}", 'undefined variable "$x"'),
        ("{{'ab'}}", "malformed character constant: 'ab'"),
        ('{{"\\z"}}', "invalid syntax"),
        ("{{break}}", "{{break}} outside {{range}}"),
        ('{{define "x"}}{{end}}', "{{define}} is not supported by kubectl-lite"),
        ("\n{{ js .kind }}", 'output:2: function "js" is not supported by kubectl-lite'),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(template: str, why: str) -> None:
    with pytest.raises(TemplateError) as caught:
        compiled(template)
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("a\n  {{.kind.x}}", 'output:2:9: executing "output" at <.kind.x>: can\'t evaluate field x in type interface {}'),
        ("{{eq .n 3.0}}", "at <eq .n 3.0>: error calling eq: incompatible types for comparison"),
        ("{{.no.x}}", "at <.no.x>: nil pointer evaluating interface {}.x"),
        ("é{{range .kind}}{{end}}", "output:1:10: executing \"output\" at <.kind>: range can't iterate over Pod"),
        ("{{index .list 7}}", "error calling index: index out of range: 7"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_object_is_told_with_its_place(template: str, why: str) -> None:
    with pytest.raises(TemplateError) as caught:
        compiled(template)(OBJ)
    assert why in str(caught.value)


WORDS = [
    "{{", "}}", "{{-", " -}}", " ", "\n", ".", ".kind", ".list", ".map", ".n", ".no", ".f", "$", "$x", ":=", "=", "|", ",", "(", ")",
    "range", "if", "else", "end", "with", "break", "continue", "define", "nil", "true", "3", "-1", "1.5", "0x", "'a'", '"s"', '"%d %q"',
    "`r`", "/*", "*/", "index", "len", "printf", "print", "println", "eq", "lt", "ge", "and", "or", "not", "slice", "exists",
    "base64decode", "é", "!", ":", "text",
]  # fmt: skip


@given(
    st.lists(st.sampled_from(WORDS), max_size=14),
    st.sampled_from(["{}", "{{{{{}}}}}", "{{{{range .list}}}}{{{{{}}}}}{{{{end}}}}"]),
)
def test_nonsense_is_refused_and_breaks_nothing(words: list[str], frame: str) -> None:
    for between in ("", " "):
        try:
            assert isinstance(compiled(frame.format(between.join(words)))(OBJ), str)
        except TemplateError as error:
            assert str(error).startswith(
                "error executing template" if "executing" in str(error) else "template: output:"
            )


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (80.0, "80"), (0.5, "0.5"), (100000.0, "100000"), (1e6, "1e+06"), (1234567.0, "1.234567e+06"), (1e-4, "0.0001"),
     (1e-5, "1e-05"), (-2.25, "-2.25"), (1e300, "1e+300"), (float("inf"), "+Inf"), (float("nan"), "NaN")],
)  # fmt: skip
def test_numbers_with_a_point_are_printed_as_short_as_go_does(value: float, text: str) -> None:
    assert shortest(value) == text


@pytest.mark.parametrize(
    "template", ["{{" + "(" * 5000 + "1" + ")" * 5000 + "}}", "{{if 1}}" * 5000 + "{{end}}" * 5000]
)
def test_what_is_nested_too_deep_is_refused(template: str) -> None:
    with pytest.raises(TemplateError, match="too deep"):
        compiled(template)
