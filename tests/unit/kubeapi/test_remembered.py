"""Results remembered by which objects they are of."""

from __future__ import annotations

from kubeapi.remembered import HEAVIEST, LONGEST, by_identity, by_text
from kubeapi.types import meta_v1


def test_the_same_object_is_worked_out_once_an_equal_one_by_itself() -> None:
    seen = []

    @by_identity()
    def name_of(meta: meta_v1.ObjectMeta, ending: str) -> str:
        seen.append(meta)
        return meta.name + ending

    one, other = meta_v1.ObjectMeta(name="a"), meta_v1.ObjectMeta(name="a")
    assert [name_of(one, "!"), name_of(one, "!"), name_of(other, "!"), name_of(one, "?")] == ["a!", "a!", "a!", "a?"]
    assert list(map(id, seen)) == [id(one), id(other), id(one)]


def test_the_oldest_are_forgotten_and_no_argument_goes_before_its_result() -> None:
    """An object made where a forgotten one was must not get what that one was worth."""
    calls = 0

    @by_identity(most=2)
    def length(values: list[int]) -> int:
        nonlocal calls
        calls += 1
        return len(values)

    assert [length([0] * size) for size in range(1000)] == list(range(1000))
    kept = [[], [1]]
    assert [length(v) for v in (*kept, *kept)] == [0, 1, 0, 1]
    assert calls == 1002
    length([1, 2])
    assert length(kept[0]) == 0
    assert calls == 1004


def test_what_is_heavy_is_not_kept() -> None:
    """Else a hundred huge objects, refused or only tried, would fill the memory."""
    calls = 0

    @by_identity()
    def length(text: str, more: str) -> int:
        nonlocal calls
        calls += 1
        return len(text) + len(more)

    half, over = "x" * (HEAVIEST // 2 - 2), "x" * HEAVIEST
    assert [length(half, half), length(half, half)] == [2 * len(half)] * 2
    assert calls == 1
    assert [length(half, over), length(half, over)] == [len(half) + len(over)] * 2
    assert calls == 3


def test_a_long_text_is_not_kept() -> None:
    """Else four thousand labels of three megabytes each, all of them refused, would fill the memory."""
    calls: list[int] = []

    @by_text(8)
    def length(text: str) -> int:
        calls.append(len(text))
        return len(text)

    for text in ("x" * LONGEST, "x" * (LONGEST + 1)):
        assert [length(text), length(text)] == [len(text)] * 2
    assert calls == [LONGEST, LONGEST + 1, LONGEST + 1]
