"""SPDY/3.1 frames against the draft's layout, byte by byte; and the same frames however they arrive."""

import zlib
from contextlib import suppress
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.apiserver.streaming import spdy_frames as frames
from controlplane.apiserver.streaming.spdy_frames import Control, Data, HeaderCodec, NotSpdy, Parser

GOLDEN = [
    # draft 3.1, 2.2.2: C=0, stream, flags, length, payload
    ("data", frames.data(1, b"hi"), "00000001 00 000002 6869"),
    ("last data", frames.data(3, b"", fin=True), "00000003 01 000000"),
    # 2.6.1: C=1, version 3, type 1, flags, length, stream, associated stream, priority, slot, header block
    ("syn_stream", frames.syn_stream(5, b"\xaa"), "80030001 00 00000b 00000005 00000000 00 00 aa"),
    ("syn_stream, fin", frames.syn_stream(5, b"", fin=True), "80030001 01 00000a 00000005 00000000 00 00"),
    ("syn_reply", frames.syn_reply(5, b"\xbb"), "80030002 00 000005 00000005 bb"),
    ("rst_stream", frames.rst_stream(7, frames.CANCEL), "80030003 00 000008 00000007 00000005"),
    ("ping", frames.ping(2), "80030006 00 000004 00000002"),
    ("goaway", frames.goaway(9, 1), "80030007 00 000008 00000009 00000001"),
    ("window_update", frames.window_update(1, 0x10000), "80030009 00 000008 00000001 00010000"),
]


@pytest.mark.parametrize(("made", "expected"), [g[1:] for g in GOLDEN], ids=[g[0] for g in GOLDEN])
def test_every_frame_is_the_drafts(made: bytes, expected: str) -> None:
    assert made == bytes.fromhex(expected)


def test_the_dictionary_is_the_drafts() -> None:
    """Its length, its Adler-32 (which every first header block names), and how it begins and ends."""
    assert len(frames.DICTIONARY) == 1423
    assert zlib.adler32(frames.DICTIONARY) == 0xE3C6A7C2
    assert frames.DICTIONARY.startswith(b"\0\0\0\x07options\0\0\0\x04head")
    assert frames.DICTIONARY.endswith(b"charset=utf-8charset=iso-8859-1,utf-,*,enq=0.")


def test_header_blocks_share_one_compression() -> None:
    """The second block means nothing without the first."""
    sender, reader, late = HeaderCodec(), HeaderCodec(), HeaderCodec()
    first = sender.write({"streamType": "error", "port": "80"})
    second = sender.write({"streamType": "data", "port": "80"})
    assert first[:2] == b"\x78\xbb" and first[2:6] == bytes.fromhex("e3c6a7c2")
    assert reader.read(first) == {"streamtype": "error", "port": "80"}
    assert reader.read(second) == {"streamtype": "data", "port": "80"}
    with pytest.raises(NotSpdy):
        late.read(second)


@given(st.dictionaries(st.text("abcdefgh-", min_size=1, max_size=8), st.text(max_size=50), max_size=20))
def test_any_headers_survive(headers: dict[str, str]) -> None:
    assert HeaderCodec().read(HeaderCodec().write(headers)) == headers


def test_a_bomb_of_headers_is_refused() -> None:
    with pytest.raises(NotSpdy, match="too large"):
        HeaderCodec().read(HeaderCodec().write({"a": "b" * 10_000_000}))


@given(st.binary(max_size=200))
def test_no_bytes_make_another_error(junk: bytes) -> None:
    """Neither as a header block nor as a connection."""
    compress = zlib.compressobj(zdict=frames.DICTIONARY)
    for block in (junk, compress.compress(junk) + compress.flush(zlib.Z_SYNC_FLUSH)):
        with suppress(NotSpdy):
            HeaderCodec().read(block)
    for read in (lambda: list(Parser().feed(junk)), lambda: frames.settings(junk), lambda: frames.words(junk, 2)):
        with suppress(NotSpdy):
            read()


CONTROL = st.builds(Control, st.sampled_from([1, 2, 3, 4, 6, 7, 8, 9]), st.sampled_from([0, 1]), st.binary(max_size=40))
DATA = st.builds(Data, st.integers(1, 2**31 - 1), st.binary(max_size=60), st.booleans())


def encoded(frame: Control | Data) -> bytes:
    if isinstance(frame, Data):
        return frames.data(frame.stream, frame.piece, fin=frame.fin)
    return frames.control(frame.type, frame.body, frame.flags)


def joined(found: list[Control | Data]) -> list[Control | Data]:
    """Pieces of one data frame as one, as nobody may rely on where they are cut."""
    whole: list[Control | Data] = []
    open_ = False
    for frame in found:
        last = whole[-1] if whole else None
        if open_ and isinstance(frame, Data) and isinstance(last, Data) and last.stream == frame.stream:
            whole[-1] = Data(last.stream, last.piece + frame.piece, frame.fin)
        else:
            whole.append(frame)
        open_ = isinstance(frame, Data) and not frame.fin
    return whole


@given(st.lists(st.one_of(CONTROL, DATA), max_size=8), st.data())
def test_frames_are_the_same_however_they_are_cut(sent: list[Control | Data], draw: st.DataObject) -> None:
    wire = b"".join(encoded(frame) for frame in sent)
    parser, found, at = Parser(), [], 0
    while at < len(wire):
        size = draw.draw(st.integers(1, min(30, len(wire) - at)))
        found += list(parser.feed(wire[at : at + size]))
        at += size
    assert joined(found) == joined(sent)


def test_a_large_frame_is_passed_on_as_it_comes() -> None:
    parser = Parser()
    wire = frames.data(1, bytes(frames.MAX_PAYLOAD), fin=True)
    digest, kept = sha256(), 0
    for at in range(0, len(wire), 65536):
        for piece in parser.feed(wire[at : at + 65536]):
            assert isinstance(piece, Data)
            digest.update(piece.piece)
        kept = max(kept, len(parser._buffer))
    assert digest.digest() == sha256(bytes(frames.MAX_PAYLOAD)).digest()
    assert kept < 65536


@pytest.mark.parametrize(
    ("wire", "why"),
    [("80020001 00000000", "version 2"), ("80030001 00ffffff", "too large")],
)
def test_what_is_refused_at_the_head(wire: str, why: str) -> None:
    with pytest.raises(NotSpdy, match=why):
        list(Parser().feed(bytes.fromhex(wire)))
