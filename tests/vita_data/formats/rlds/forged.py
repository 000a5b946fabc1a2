"""Forges the index of an ArrayRecord file, with right checksums: what it says can be a lie."""

from collections.abc import Sequence
from pathlib import Path

Entry = tuple[int, int, int]
"""Of a chunk: where it begins, how many bytes its records have, and how many records it has."""

_MASK, _BLOCK, _HEADER = (1 << 64) - 1, 1 << 16, 40
_KEY = tuple(int.from_bytes(text, "little") for text in (b"Riegeli/", b"records\n") * 2)
_FIRST = (0xDBE6D5D5FE4CCE2F, 0xA4093822299F31D0, 0x13198A2E03707344, 0x243F6A8885A308D3)
_SECOND = (0x3BD39E10CB0EF593, 0xC0ACF169B5F18A8C, 0xBE5466CF34E90C6C, 0x452821E638D01377)
_SHUFFLE = ((3, 12, 2, 5, 14, 1, 15, 0), (11, 4, 10, 13, 9, 6, 8, 7))


def checksum(data: bytes) -> int:
    """Compute HighwayHash-64 with the key of record files."""
    state = [*(a ^ key for a, key in zip(_FIRST, _KEY, strict=True)), *_FIRST]
    state[8:] = [*(b ^ _swapped(key) for b, key in zip(_SECOND, _KEY, strict=True)), *_SECOND]
    whole = len(data) // 32 * 32
    for at in range(0, whole, 32):
        _mix(state, data[at : at + 32])
    if rest := data[whole:]:
        _mix_rest(state, rest)
    for _ in range(4):
        turned = (_swapped(state[at]) for at in (2, 3, 0, 1))
        _mix(state, b"".join(word.to_bytes(8, "little") for word in turned))
    return (state[0] + state[8] + state[4] + state[12]) & _MASK


def _swapped(word: int) -> int:
    return (word >> 32 | word << 32) & _MASK


def _mix(state: list[int], packet: bytes) -> None:
    """`state` has four words each of v0, mul0, v1 and mul1."""
    for lane in range(4):
        v0, mul0, v1, mul1 = lane, lane + 4, lane + 8, lane + 12
        state[v1] = state[v1] + state[mul0] + int.from_bytes(packet[8 * lane : 8 * lane + 8], "little") & _MASK
        state[mul0] ^= (state[v1] & 0xFFFFFFFF) * (state[v0] >> 32)
        state[v0] = state[v0] + state[mul1] & _MASK
        state[mul1] ^= (state[v0] & 0xFFFFFFFF) * (state[v1] >> 32)
    for source, target in ((8, 0), (0, 8)):
        for pair in (0, 2):
            words = b"".join(state[source + pair + half].to_bytes(8, "little") for half in (0, 1))
            for half, order in enumerate(_SHUFFLE):
                mixed = int.from_bytes(bytes(words[at] for at in order), "little")
                state[target + pair + half] = state[target + pair + half] + mixed & _MASK


def _mix_rest(state: list[int], rest: bytes) -> None:
    size, packet = len(rest), bytearray(32)
    for lane in range(4):
        state[lane] = state[lane] + (size << 32) + size & _MASK
        halves = (state[lane + 8] & 0xFFFFFFFF, state[lane + 8] >> 32)
        low, high = ((half << size | half >> 32 - size) & 0xFFFFFFFF for half in halves)
        state[lane + 8] = high << 32 | low
    whole, tail = size & ~3, rest[size & ~3 :]
    packet[:whole] = rest[:whole]
    if size & 16:
        packet[28:] = rest[-4:]
    elif tail:
        packet[16:19] = bytes((tail[0], tail[len(tail) >> 1], tail[-1]))
    _mix(state, bytes(packet))


def forge_index(path: Path, entries: Sequence[Entry], *, num_chunks: int, num_records: int) -> None:
    """Replace the index of a file of less than 64 kB of records by one with these entries and these totals."""
    data = path.read_bytes()
    place = _chunks(data)[-2][0]  # before the padding
    total = b"\x08\x01" + _field(2, num_chunks) + _field(3, num_records)
    listed = [_field(1, at) + _field(2, size) + _field(3, count) for at, size, count in entries]
    records = [b"\x0a" + _varint(len(total)) + total, *listed]
    sizes = b"".join(_varint(len(record)) for record in records)
    index = _chunk("r", b"\0" + _varint(len(sizes)) + sizes + b"".join(records), records)
    padding = bytes(_BLOCK - place - len(index) - _HEADER)
    path.write_bytes(data[:place] + index + _chunk("p", padding, ()) + data[_BLOCK:])


def chunks_of(path: Path) -> list[Entry]:
    """List the chunks that hold records, in a file written with one record in each."""
    return [entry for entry in _chunks(path.read_bytes()) if entry[2] == 1]


def _chunks(data: bytes) -> list[Entry]:
    """Find the chunks of the first block: a block header of 24 bytes, then chunk after chunk."""
    found, at = [], 24
    while at < _BLOCK:
        header = data[at : at + _HEADER]
        if int.from_bytes(header[:8], "little") != checksum(header[8:]):
            raise AssertionError(f"no chunk begins at byte {at}")
        found.append((at, int.from_bytes(header[32:40], "little"), int.from_bytes(header[25:32], "little")))
        at += _HEADER + int.from_bytes(header[8:16], "little")
    return found


def _chunk(kind: str, data: bytes, records: Sequence[bytes]) -> bytes:
    sums = (len(data), checksum(data))
    header = b"".join(value.to_bytes(8, "little") for value in sums) + kind.encode()
    header += len(records).to_bytes(7, "little") + sum(map(len, records)).to_bytes(8, "little")
    return checksum(header).to_bytes(8, "little") + header + data


def _field(number: int, value: int) -> bytes:
    return bytes([number << 3]) + _varint(value)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
