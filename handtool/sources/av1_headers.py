"""The headers of AV1 (its specification, 5.3 to 5.9): which frames of a packet are shown, and whether any is kept for
prediction."""

from collections.abc import Iterator
from dataclasses import dataclass

SEQUENCE, FRAME_HEADER, FRAME = 1, 3, 6  # types of OBU
KEY, SWITCH = 0, 3  # types of frame
SELECT = 2  # each frame says it


class Bits:
    """Reads numbers from the bits of `data`. Raises ValueError at its end."""

    def __init__(self, data: bytes) -> None:
        self.value, self.left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, count: int) -> int:
        self.left -= count
        if self.left < 0:
            raise ValueError("a header that ends too early")
        return self.value >> self.left & ((1 << count) - 1)


@dataclass(frozen=True)
class Sequence:
    """What a sequence header says of the headers of its frames. plain: nothing in them that is not read here."""

    plain: bool
    screen_content: int = 0
    integer_mv: int = SELECT
    order_hint_bits: int = 0


def split(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(type, content) of each OBU."""
    place = 0
    while place < len(data):
        head = data[place]
        place += 2 if head & 4 else 1
        size = len(data) - place
        if head & 2:
            size = shift = 0
            while True:
                size |= (data[place] & 127) << shift
                shift, place = shift + 7, place + 1
                if not data[place - 1] & 128:
                    break
        if head & 0x81 or place + size > len(data):
            raise ValueError("sizes of OBUs that do not fit")
        yield head >> 3 & 15, data[place : place + size]
        place += size


class Av1:
    """One stream."""

    def __init__(self) -> None:
        self.known: bytes | None = None  # the sequence header
        self.sequence = Sequence(False)

    def learn(self, content: bytes) -> None:
        if self.known is not None and content != self.known:
            raise ValueError("another sequence header")
        if self.known is None:
            self.known, self.sequence = content, read_sequence(Bits(content[:64]))

    def look(self, data: bytes) -> tuple[int, bool, bool]:
        """How many frames a packet shows; whether it begins with a key frame; whether none is predicted from it."""
        shown, begins, spare, told = 0, False, True, False
        for number, (kind, content) in enumerate(each for each in split(data) if each[0] in (1, 3, 6)):
            if kind == SEQUENCE:
                self.learn(content)
                told = True
                continue
            is_shown, is_key, is_spare = read_frame(Bits(content[:16]), self.sequence)
            begins = begins or (told and number == 1 and is_shown and is_key)
            shown, spare = shown + is_shown, spare and is_spare
        return shown, begins, spare


def read_sequence(bits: Bits) -> Sequence:
    bits.take(4)  # profile, still picture
    if bits.take(1):  # reduced header
        return Sequence(False)
    if bits.take(1):  # timing
        bits.take(64)
        if bits.take(1) or bits.take(1):  # equal intervals, a model of the decoder
            return Sequence(False)
    delays = bits.take(1)
    for _ in range(bits.take(5) + 1):  # operating points
        bits.take(12)
        if bits.take(5) > 7:
            bits.take(1)
        if delays and bits.take(1):
            bits.take(4)
    widths = bits.take(4) + 1, bits.take(4) + 1
    bits.take(sum(widths))
    if bits.take(1):  # numbers of frames
        return Sequence(False)
    bits.take(7)
    has_order = bits.take(1)
    bits.take(2 * has_order)
    screen_content = SELECT if bits.take(1) else bits.take(1)
    integer_mv = SELECT
    if screen_content and not bits.take(1):
        integer_mv = bits.take(1)
    return Sequence(True, screen_content, integer_mv, bits.take(3) + 1 if has_order else 0)


def read_frame(bits: Bits, sequence: Sequence) -> tuple[bool, bool, bool]:
    """Whether a frame is shown, is a key frame, is kept for no other one."""
    if bits.take(1):  # one that was decoded before
        return True, False, False
    kind, is_shown = bits.take(2), bool(bits.take(1))
    if kind == SWITCH or (kind == KEY and is_shown) or not sequence.plain:
        return is_shown, kind == KEY, False
    if not is_shown:
        bits.take(1)
    resilient = bits.take(1)
    bits.take(1)
    screen_content = bits.take(1) if sequence.screen_content == SELECT else sequence.screen_content
    if screen_content and sequence.integer_mv == SELECT:
        bits.take(1)
    bits.take(1 + sequence.order_hint_bits)
    if kind not in (KEY, 2) and not resilient:
        bits.take(3)  # the frame whose probabilities it takes
    return is_shown, kind == KEY, bits.take(8) == 0
