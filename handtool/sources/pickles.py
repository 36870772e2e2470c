"""Foreign pickles, read as data and never run: numpy arrays, Python's scalars, texts, bytes and containers.

A pickle is a program for a small machine with a stack and a memory, and two of its instructions, GLOBAL and REDUCE, let
it call whatever is installed. This machine has the instructions that make data (pickletools in the standard library
describes all of them, protocols 0 to 5), imports nothing, and calls only what `pickled_numpy` builds itself; any other
name is refused before it is looked up. Why not `pickle.Unpickler` with a `find_class` of our own, as the library's
manual advises: it trusts a length, and the number of a memory slot, before it has read the bytes (a file of 10 bytes
may ask for 64 GiB), numpy's `__setstate__` trusts the flags of a dtype, and a tuple nested a million deep, taken as a
key, ends the process. Here memory grows with the file alone, at most some hundred bytes a byte.

Texts of Python 2 are read as latin-1.
"""

import codecs
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from handtool.errors import DamagedFile
from handtool.sources.pickled_numpy import KNOWN, Broken, Name, Unfinished, call, finish

LARGEST = 4 << 20  # bytes; a label of HO-3D has some ten thousand
SCALARS = (type(None), bool, int, float, complex, str, bytes)
STRUCTS = {code: struct.Struct(code) for code in ("<B", "<H", "<i", "<I", "<Q", ">d")}


class RefusedPickle(Exception):
    """The pickle asks for something that is not data; the message says what."""


class HostilePickle(DamagedFile):
    """The file holds such a pickle."""


def read_pickle(path: Path, largest: int = LARGEST) -> Any:
    """What a pickle holds. Raises OSError; HostilePickle where it asks for a class or function that is not data,
    DamagedFile where it is cut short, no pickle, or has more than `largest` bytes."""
    size = path.stat().st_size
    if size > largest:
        raise DamagedFile(f"{path} has {size} bytes, more than the {largest} that a pickle of this kind may have")
    try:
        return load(path.read_bytes())
    except RefusedPickle as refused:
        raise HostilePickle(
            f"{path} is a pickle that asks for {refused}: only numpy arrays, numbers, texts and containers are read, "
            "nothing was run",
            hint="load it where you trust it, and write what is needed with numpy.savez",
        ) from None
    except Broken as broken:
        raise DamagedFile(
            f"{path} ({size} bytes) cannot be read as a pickle: {broken}", hint="downloaded and unpacked to its end?"
        ) from None


def load(data: bytes) -> object:
    """The object that a pickle describes. Raises RefusedPickle or Broken."""
    machine = Machine(data)
    try:
        while True:
            code = machine.take(1)
            if code == b".":
                return plain(machine.stack.pop())
            step = STEPS.get(code)
            if step is None:
                raise RefusedPickle(REFUSED[code]) if code in REFUSED else Broken(f"it has no instruction {code!r}")
            step(machine)
    except (IndexError, KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise Broken(f"its instructions make no sense ({type(error).__name__} at byte {machine.at})") from None


class Machine:
    """Where the reading is, the stack, the places of marks on it, and the memory."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0
        self.stack: list = []
        self.marks: list[int] = []
        self.memory: dict[int, object] = {}

    def take(self, count: int) -> bytes:
        if count < 0 or count > len(self.data) - self.at:
            raise Broken(f"it is cut short at byte {len(self.data)}")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, code: str) -> Any:  # int or float
        packed = STRUCTS[code]
        return packed.unpack(self.take(packed.size))[0]

    def counted(self, code: str) -> bytes:
        return self.take(self.number(code))

    def line(self) -> bytes:
        end = self.data.find(b"\n", self.at)
        if end < 0:
            raise Broken(f"it is cut short at byte {len(self.data)}")
        return self.take(end + 1 - self.at)[:-1]

    def push(self, value: object) -> None:
        self.stack.append(value)

    def since_mark(self) -> list:
        """What lies above the last mark, taken off."""
        mark = self.marks.pop()
        above = [plain(value) for value in self.stack[mark:]]
        del self.stack[mark:]
        return above

    def top(self, count: int) -> tuple:
        values = tuple(plain(self.stack.pop()) for _ in range(count))
        return values[::-1]

    def name(self, module: str, attribute: str) -> None:
        if (module, attribute) not in KNOWN:
            raise RefusedPickle("".join(each if each.isprintable() else "?" for each in f"{module}.{attribute}"[:200]))
        self.push(Name(module, attribute))

    def call(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise RefusedPickle("a call of something that is no name")
        self.push(call(function, arguments))

    def build(self) -> None:
        """The state of an array or a dtype; the memory may hold the unfinished one already."""
        state, unfinished = self.stack.pop(), self.stack.pop()
        if not isinstance(unfinished, Unfinished):
            raise RefusedPickle(f"a state for {type(unfinished).__name__}")
        finished = finish(unfinished, state)
        for slot in unfinished.slots:
            self.memory[slot] = finished
        self.push(finished)

    def remember(self, slot: int) -> None:
        value = self.stack[-1]
        if isinstance(value, Unfinished):
            value.slots.append(slot)
        self.memory[slot] = value

    def append(self, values: list | tuple) -> None:
        target = self.stack[-1]
        if isinstance(target, set):
            target.update(key(value) for value in values)
        elif isinstance(target, list):
            target.extend(values)
        else:
            raise Broken(f"it appends to {type(target).__name__}")

    def set_items(self, values: list | tuple) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or len(values) % 2:
            raise Broken("it sets items of what has none")
        target.update(as_dict(values))


def plain(value: object) -> object:
    """Data, and nothing that only the machine itself may hold."""
    if isinstance(value, Unfinished):
        raise Broken("it uses an array before it has any content")
    return value


def key(value: object) -> object:
    """What may be a key: a scalar, or a tuple of some. Hashing what is nested deeply would end the process."""
    if isinstance(value, SCALARS) or (isinstance(value, tuple) and all(isinstance(part, SCALARS) for part in value)):
        return value
    raise RefusedPickle(f"a key that is no scalar ({type(value).__name__})")


def as_dict(values: list | tuple) -> dict:
    return {key(name): value for name, value in zip(values[::2], values[1::2], strict=True)}


def decimal(line: bytes) -> int | bool:
    """INT and LONG of protocol 0."""
    if line in (b"00", b"01"):
        return line == b"01"
    return int(line.removesuffix(b"L"))


def quoted(line: bytes) -> str:
    """STRING of protocol 0: a literal in quotes, with escapes."""
    if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b'"', b"'"):
        raise Broken("a text of it has no quotes")
    return codecs.escape_decode(line[1:-1])[0].decode("latin-1")


STEPS: dict[bytes, Callable[[Machine], object]] = {
    b"\x80": lambda m: m.take(1),  # PROTO
    b"\x95": lambda m: m.take(8),  # FRAME: a hint for buffered readers
    b"(": lambda m: m.marks.append(len(m.stack)),
    b"0": lambda m: m.stack.pop(),
    b"1": lambda m: m.since_mark(),
    b"2": lambda m: m.push(plain(m.stack[-1])),
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    **dict.fromkeys((b"I", b"L"), lambda m: m.push(decimal(m.line()))),
    b"J": lambda m: m.push(m.number("<i")),
    b"K": lambda m: m.push(m.number("<B")),
    b"M": lambda m: m.push(m.number("<H")),
    b"\x8a": lambda m: m.push(int.from_bytes(m.counted("<B"), "little", signed=True)),
    b"\x8b": lambda m: m.push(int.from_bytes(m.counted("<i"), "little", signed=True)),
    b"F": lambda m: m.push(float(m.line())),
    b"G": lambda m: m.push(m.number(">d")),
    b"S": lambda m: m.push(quoted(m.line())),
    b"T": lambda m: m.push(m.counted("<i").decode("latin-1")),
    b"U": lambda m: m.push(m.counted("<B").decode("latin-1")),
    b"V": lambda m: m.push(m.line().decode("raw-unicode-escape")),
    b"X": lambda m: m.push(m.counted("<I").decode("utf-8", "surrogatepass")),
    b"\x8c": lambda m: m.push(m.counted("<B").decode("utf-8", "surrogatepass")),
    b"\x8d": lambda m: m.push(m.counted("<Q").decode("utf-8", "surrogatepass")),
    b"B": lambda m: m.push(m.counted("<I")),
    b"C": lambda m: m.push(m.counted("<B")),
    **dict.fromkeys((b"\x8e", b"\x96"), lambda m: m.push(m.counted("<Q"))),  # BINBYTES8, BYTEARRAY8
    b")": lambda m: m.push(()),
    b"\x85": lambda m: m.push(m.top(1)),
    b"\x86": lambda m: m.push(m.top(2)),
    b"\x87": lambda m: m.push(m.top(3)),
    b"t": lambda m: m.push(tuple(m.since_mark())),
    b"]": lambda m: m.push([]),
    b"l": lambda m: m.push(m.since_mark()),
    b"a": lambda m: m.append(m.top(1)),
    b"e": lambda m: m.append(m.since_mark()),
    b"}": lambda m: m.push({}),
    b"d": lambda m: m.push(as_dict(m.since_mark())),
    b"s": lambda m: m.set_items(m.top(2)),
    b"u": lambda m: m.set_items(m.since_mark()),
    b"\x8f": lambda m: m.push(set()),
    b"\x90": lambda m: m.append(m.since_mark()),
    b"\x91": lambda m: m.push(frozenset(key(value) for value in m.since_mark())),
    b"p": lambda m: m.remember(int(m.line())),
    b"q": lambda m: m.remember(m.number("<B")),
    b"r": lambda m: m.remember(m.number("<I")),
    b"\x94": lambda m: m.remember(len(m.memory)),
    b"g": lambda m: m.push(m.memory[int(m.line())]),
    b"h": lambda m: m.push(m.memory[m.number("<B")]),
    b"j": lambda m: m.push(m.memory[m.number("<I")]),
    b"c": lambda m: m.name(*(m.line().decode("latin-1") for _ in range(2))),  # GLOBAL: module, attribute
    b"\x93": lambda m: m.name(*map(str, m.top(2))),
    b"R": Machine.call,
    b"b": Machine.build,
}
REFUSED = {
    code: what
    for codes, what in (
        ((b"P", b"Q", b"\x97", b"\x98"), "something that lies outside of it"),
        ((b"i", b"o", b"\x81", b"\x92"), "an instance of a class"),
        ((b"\x82", b"\x83", b"\x84"), "a registered extension"),
    )
    for code in codes
}
