"""-o go-template prints what kubectl 1.33 prints, errors and their places included: the same templates through both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.component.kubectl_lite_beside import Beside, beside
from tests.support.kubectls import find_kubectls

VERSION = "1.33"
pytestmark = [pytest.mark.kubectl(VERSION), pytest.mark.timeout(120)]

POD = {
    "fields": """
        {{.metadata.name}}
        name={{.metadata.name}} on {{.spec.nodeName}}.
        {{.}}
        {{.metadata.labels}} {{.metadata.labels.app}} {{$.metadata.labels.app}}
        {{.spec.containers}}
        {{.missing}} {{.missing.too}} {{.metadata.missing}}
        {{(index .spec.containers 0).name}} {{(.metadata).name}} {{((.metadata)).labels.app}}
        {{.metadata .name}}
        {{ .metadata.name }}{{.metadata.name -}}   tail   {{- .metadata.name }}
        {{- /* a comment */ -}} {{/* another */}}x{{- /* third */}} y
        {{.metadata.name.first}}
        {{.spec.containers.name}}
        {{with .metadata.name}}{{.first}}{{end}}
        {{range .spec.containers}}{{.name.first}}{{end}}
        {{range $c := .spec.containers}}{{$c.name.first}}{{end}}
        {{$n := .metadata.name}}{{$n.first}}
        {{(index .spec.containers 0).name.first}}
        {{.metadata.name | .spec}}
        {{"quoted \\"text\\" \\u00e9 \\x41\\n"}}{{`raw \\n text`}}{{'a'}}{{3}}{{-4}}{{1.50}}{{0x1F}}{{1_000}}{{1e3}}{{true}}
        {{nil}}
        {{.metadata.annotations}}
    """,
    "blocks": """
        {{range .spec.containers}}{{.name}}={{.image}} {{end}}
        {{range .spec.containers}}{{.name}}{{else}}none{{end}}
        {{range .missing}}{{.}}{{else}}none{{end}}
        {{range .spec.containers}}{{range .ports}}{{.containerPort}},{{else}}no ports{{end}}{{end}}
        {{range $i, $c := .spec.containers}}{{$i}}:{{$c.name}} {{end}}
        {{range $k, $v := .metadata.labels}}{{$k}}={{$v}};{{end}}
        {{range $v := .metadata.labels}}{{$v}};{{end}}
        {{range .metadata.labels}}{{.}};{{end}}
        {{range 3}}{{.}}{{end}} {{range $i := 2}}{{$i}}{{end}}
        {{range $i, $c := .status.conditions}}{{if $i}},{{end}}{{$c.type}}={{$c.status}}{{end}}
        {{range .status.conditions}}{{if eq .type "Ready"}}{{break}}{{end}}{{.type}} {{end}}
        {{range .status.conditions}}{{if eq .type "Ready"}}{{continue}}{{end}}{{.type}} {{end}}
        {{range .metadata.name}}{{.}}{{end}}
        {{if .metadata.labels.app}}yes{{else}}no{{end}} {{if .missing}}yes{{else}}no{{end}} {{if .missing}}yes{{end}}
        {{if .missing}}a{{else if .metadata.name}}b{{else}}c{{end}} {{if .missing}}a{{else if .missing}}b{{else}}c{{end}}
        {{if ""}}a{{else}}b{{end}}{{if 0}}a{{else}}b{{end}}{{if 0.0}}a{{else}}b{{end}}{{if 1}}a{{end}}{{if false}}a{{else}}b{{end}}
        {{with .metadata}}{{.name}} {{$.kind}}{{end}}{{with .missing}}a{{else}}b{{end}}{{with .missing}}a{{else with .kind}}{{.}}{{end}}
        {{with $x := .metadata.name}}{{$x}}{{end}}
        {{$x := "a"}}{{if true}}{{$x = "b"}}{{$y := 1}}{{end}}{{$x}}
        {{$x := 1}}{{range .spec.containers}}{{$x = .name}}{{end}}{{$x}}
        {{if and .metadata.name .metadata.labels}}both{{end}}{{if or .missing .kind}} one{{end}}{{if not .missing}} none{{end}}
    """,
    "functions": """
        {{len .metadata.name}} {{len .spec.containers}} {{len .metadata.labels}} {{len "é"}}
        {{len .missing}}
        {{len 3}}
        {{index .metadata.labels "app"}} {{index .spec.containers 0 "name"}} {{index .metadata.labels "nothing"}}
        {{index .spec.containers 9}}
        {{index .spec.containers 1 "name" "x"}}
        {{index .spec.containers (len .spec.containers)}}
        {{index .spec.containers "a"}}
        {{index .metadata.labels 0}}
        {{index .missing "a"}}
        {{index .metadata "nothing" "at all"}}
        {{index .metadata.name 0}} {{slice .metadata.name 1 3}} {{slice .metadata.name 2}}
        {{slice .metadata.name 9 99}}
        {{print "a" 1 2 "b" true .metadata.name}} {{print 1 2}} {{println "x" 1 .missing}}
        {{printf "%s-%d-%v-%q-%t|%5s|%-5s|%05d|%.2f|%x|%%" "a" 3 .metadata.labels "q\\n" true "r" "l" 42 3.14159 255}}
        {{printf "%d" .spec.terminationGracePeriodSeconds}} {{printf "%v" .spec.terminationGracePeriodSeconds}} {{printf "%.0f" .spec.terminationGracePeriodSeconds}}
        {{printf "%s %s" "a"}} {{printf "%s" "a" "b"}} {{printf "%z" 1}} {{printf "%s" 1}} {{printf "%d" "x"}} {{printf "%s" .missing}} {{printf "%v" .missing}} {{printf "%"}}
        {{printf "%T %T %T %T %T" 1 "a" 1.5 true .metadata.labels}} {{printf "%+d %x %X %o %b %c %U %e %g" 3 "hi" "hi" 8 5 65 65 1234.5 0.00001}}
        {{printf "%s %v" .metadata.labels .spec.containers}}
        {{printf "%6.2f|%-8v|%8v|%+v|%3d|%-3d|" 3.14159 true "a" 1.5 7 7}}
        {{printf 3}}
        {{printf .missing}}
        {{printf .spec.terminationGracePeriodSeconds "a"}}
        {{"%s!" | printf}} {{.metadata.name | printf "%s=%s" "name"}} {{.metadata.name | len | printf "%d"}}
        {{eq .metadata.name "web-1"}} {{eq "a" "b" "a"}} {{ne "a" "b"}} {{eq .spec.terminationGracePeriodSeconds 30}} {{eq .missing "x"}} {{eq .missing nil}}
        {{eq .spec.terminationGracePeriodSeconds 30.0}}
        {{eq .metadata.labels .metadata.labels}}
        {{eq "a"}}
        {{eq true true}} {{ne true false}} {{lt 1 2}} {{le 2 2}} {{gt 3 2}} {{ge 2 3}} {{lt "a" "b"}} {{gt 1.5 1.0}} {{gt .spec.terminationGracePeriodSeconds 5}}
        {{lt 1 "a"}}
        {{lt .missing 1}}
        {{lt true false}}
        {{gt .spec.terminationGracePeriodSeconds 5.5}}
        {{range .spec.terminationGracePeriodSeconds}}.{{end}} {{index .spec.containers (len .spec.initContainers)}}
        {{and}}
        {{and 1 0 2}} {{and 1 2}} {{or 0 "" "x"}} {{or 0 ""}} {{not 0}} {{not "a"}} {{and .missing .missing.x}} {{or .missing "d"}}
        {{not}}
        {{ne 1}}
        {{not 1 2}}
        {{"aGVsbG8=" | base64decode}} {{base64decode "w6k="}}
        {{base64decode "!!!"}}
        {{base64decode "aGVsbG8"}}
        {{base64decode .missing}}
        {{base64decode .spec.terminationGracePeriodSeconds}}
        {{base64decode 3}}
        {{exists .metadata "labels" "app"}} {{exists . "spec" "nothing"}} {{exists . "spec" "containers" 0 "name"}}
        {{1234567.0}} {{100000.0}} {{0.0001}} {{0.00001}} {{-1.5}} {{1e21}} {{0.1}} {{3.0}}
        {{.metadata.name.x | len}}
        {{3 4}}
        {{.metadata.name "x"}}
        {{"a" | .metadata.name}}
        {{(.metadata.name) "x"}}
    """,
    "what cannot be read": """
        {{
        {{.metadata.name
        {{}}
        {{.metadata.name}
        {{.metadata.annotations.with-dash}}
        {{if}}a{{end}}
        {{if .metadata}}a
        {{end}}
        {{else}}
        {{range .items}}{{else}}{{else}}{{end}}
        {{nofunc .metadata}}
        {{$x}}
        {{"open}}
        {{.metadata | }}
        {{| .metadata}}
        {{.metadata | "x"}}
        {{(.metadata}}
        {{.metadata)}}
        {{break}}
        {{"a".b}}
        {{3a}}
        {{/* open
        {{if .a}}{{else}}
        {{.metadata.name ! }}
        {{$a, $b := .metadata}}
        {{range $a, $b, $c := .metadata}}{{end}}
    """,
}
LISTS = """
    {{range .items}}{{.metadata.name}} {{.status.phase}}{{"\\n"}}{{end}}
    {{range .items}}{{range .spec.containers}}{{.image}}{{"\\t"}}{{end}}{{"\\n"}}{{else}}nothing{{end}}
    {{len .items}} {{.kind}} {{.apiVersion}} {{.metadata}}
    {{range $i, $p := .items}}{{if $i}}, {{end}}{{$p.metadata.name}}{{end}}
    {{(index .items 0).metadata.name}} {{index .items 0 "metadata" "name"}}
    {{range .items}}{{.metadata.name.x}}{{end}}
"""


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def kubectl() -> Path:
    return next(path for path in find_kubectls() if path.name.endswith(VERSION))


@pytest.fixture
async def both(tmp_path: Path, kubectl: Path) -> AsyncIterator[Beside]:
    async with beside(tmp_path, kubectl) as made:
        yield made


async def differences(both: Beside, commands: list[list[str]]) -> list[str]:
    limit, found = asyncio.Semaphore(4), []

    async def one(words: list[str]) -> None:
        async with limit:
            theirs, ours = await both.kubectl(words, space="one"), await both.lite(words, space="one")
        for what in ("code", "out", "err"):
            left, right = getattr(theirs, what), getattr(ours, what)
            if left != right:
                found.append(f"{words[-1]}\n  kubectl {what}: {left!r}\n  ours    {what}: {right!r}")

    await asyncio.gather(*(one(words) for words in commands))
    return found


@pytest.mark.parametrize("group", POD)
async def test_of_one_object(group: str, both: Beside) -> None:
    found = await differences(
        both, [["get", "pod", "web-1", "-o", f"go-template={line}"] for line in lines(POD[group])]
    )
    assert not found, "\n".join(found)


async def test_of_lists(both: Beside) -> None:
    commands = [["get", "pods", "-l", "app=web", "-o", f"go-template={line}"] for line in lines(LISTS)]
    found = await differences(
        both, [*commands, ["get", "pods", "-l", "app=nothing", "-o", f"go-template={lines(LISTS)[1]}"]]
    )
    assert not found, "\n".join(found)


async def test_templates_of_several_lines_files_and_other_spellings(both: Beside) -> None:
    text = "{{/* names */ -}}\n{{range .items}}\n  {{- .metadata.name}}\n  {{.nothing.name.x}}{{.kind.x}}\n{{end}}\n"
    (both.here / "names.tmpl").write_text(text)
    (both.here / "good.tmpl").write_text("{{range .items -}}\n\t{{.metadata.name}}\n{{end -}}\nend\n")
    file, good = str(both.here / "names.tmpl"), str(both.here / "good.tmpl")
    name = "{{.metadata.name}}"
    found = await differences(
        both,
        [
            ["get", "pods", "-o", f"go-template-file={good}"],
            ["get", "pods", "-o", f"templatefile={good}"],
            ["get", "pods", "-o", f"go-template-file={file}"],
            ["get", "pods", "-o", f"go-template-file={both.here}/nothing.tmpl"],
            ["get", "pod", "web-1", "-o", f"template={name}"],
            ["get", "pod", "web-1", "-o", "go-template", f"--template={name}"],
            ["get", "pod", "web-1", "-o", "go-template-file", f"--template={good}"],
            ["get", "pod", "web-1", f"--template={name}"],
            ["get", "pod", "web-1", "-o", "go-template"],
            ["get", "pod", "web-1", "-o", "go-template="],
            ["get", "pod/web-1", "svc/web", "-o", "go-template={{range .items}}{{.kind}} {{end}}"],
            ["create", "configmap", "made", "--from-literal=a=b", "--dry-run=client", "-o", "go-template={{.data.a}}"],
            ["label", "pod", "web-1", "a=b", "--dry-run=client", "-o", "go-template={{.metadata.labels.a}}"],
        ],
    )
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("template", "where"),
    [
        ('{{define "x"}}{{end}}', "template: output:1: {{define}} is not supported"),
        ('a\n{{template "x"}}', "template: output:2: {{template}} is not supported"),
        ('{{block "x" .}}{{end}}', "template: output:1: {{block}} is not supported"),
        ("\n\n{{html .kind}}", 'template: output:3: function "html" is not supported'),
        ('{{printf "%*d" 3 4}}', 'executing "output" at <printf "%*d" 3 4>: error calling printf: %* is not supported'),
    ],
)
async def test_what_is_not_supported_is_named_with_its_place(template: str, where: str, both: Beside) -> None:
    said = await both.lite(["get", "pod", "web-1", "-o", f"go-template={template}"])
    assert said.code == 1 and where in said.err and "by kubectl-lite" in said.err
