"""Foreign pickles: what is data is read as Python itself reads it, what is not is refused by name, and no byte of it
is run."""

import collections
import io
import os
import pickle
import struct
import tracemalloc

import numpy as np
import pytest

from handtool.errors import DamagedFile, HandtoolError
from handtool.sources import pickles
from handtool.sources.pickled_numpy import Broken
from handtool.sources.pickles import RefusedPickle, load, read_pickle

PROTOCOLS = range(6)


def same(one, other):
    if isinstance(one, np.ndarray):
        return (
            isinstance(other, np.ndarray)
            and one.dtype == other.dtype
            and one.shape == other.shape
            and (all(map(same, one.ravel(), other.ravel())) if one.dtype == object else np.array_equal(one, other))
        )
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


def sample(rng):
    """What labels are made of, and more."""
    array = rng.normal(size=(21, 3))
    return {
        "handJoints3D": array,
        "camMat": np.asfortranarray(rng.normal(size=(3, 3))),
        "again": array,
        "float32": rng.normal(size=(2, 3, 4)).astype("f4"),
        "big": rng.integers(-9, 9, 5).astype(">i2"),
        "bool": rng.integers(0, 2, 4).astype(bool),
        "empty": np.zeros((0, 3)),
        "point": np.array(3.5),
        "text": np.array(["left", "rüght"]),
        "bytes": np.array([b"a", b"bcd"]),
        "scalar": np.float64(rng.normal()),
        "small": np.uint8(7),
        "none": None,
        "name": "035_power_drill",
        "umlaut": "Händ\u20ac\n'\"",
        "raw": b"\x00\xff\n",
        "nothing": b"",
        "long": -(1 << 200),
        "int": 70000,
        "list": [1, [2.5, (True, False, None)], []],
        "tuple": (1, 2, 3, 4),
        "dict": {3: "c", (1, "a"): 2},
        "set": {1, 2},
        "frozen": frozenset("ab"),
        "complex": 1 + 2j,
        "objects": np.array([None, "x", 3], object),
    }


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_is_data_is_read_as_python_reads_it(protocol):
    rng = np.random.default_rng(protocol)
    for _ in range(5):
        content = sample(rng)
        data = pickle.dumps(content, protocol)
        read, truth = load(data), pickle.loads(data)
        truth["big"] = truth["big"].astype("i2")  # in the machine's own order
        assert same(read, truth)
        assert read["again"] is read["handJoints3D"], "one array named twice stays one"
        read["handJoints3D"][0] = 0  # and may be written


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_ordered_dictionary_is_read_as_a_dictionary(protocol):
    assert load(pickle.dumps(collections.OrderedDict(b=1, a=[2]), protocol)) == {"b": 1, "a": [2]}


PYTHON_2_ARRAY = (
    b"cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85q\x03U\x01bq\x04\x87q\x05Rq\x06"
    b"(K\x01K\x02K\x01\x86q\x07cnumpy\ndtype\nq\x08U\x02f8q\x09K\x00K\x01\x87q\x0aRq\x0b"
    b"(K\x03U\x01<q\x0cNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x0db\x89U\x10"
    + struct.pack("<2d", -0.25, 1e300)
    + b"q\x0etq\x0fb"
)


def test_an_array_of_python_2_is_read_from_its_latin_1_text():
    read = load(
        b"\x80\x02}q\x00(U\x0chandJoints3Dq\x10" + PYTHON_2_ARRAY + b"U\x05againq\x11h\x06U\x04nameU\x03H\xe4nu."
    )
    assert (
        read["handJoints3D"].tolist() == [[-0.25], [1e300]]
        and read["again"] is read["handJoints3D"]
        and read["name"] == "Hän"
    )


def test_an_array_of_protocol_0_of_python_2_is_read():
    raw = repr(struct.pack("<2d", -0.25, 1e300)).encode()[1:]  # as Python 2 wrote a str: quoted, with escapes
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\np1\n(cnumpy\nndarray\np2\n(I0\ntp3\nS'b'\np4\ntp5\nRp6\n"
        b"(I1\n(I2\nI1\ntp7\n"
        b"cnumpy\ndtype\np8\n(S'f8'\np9\nI0\nI1\ntp10\nRp11\n(I3\nS'<'\np12\nNNNI-1\nI-1\nI0\ntp13\nbI00\nS"
        + raw
        + b"\np14\ntp15\nb"
    )
    read = load(b"(dp0\nS'camMat'\np16\n" + array + b"sS'n'\nL12L\nsS'f'\nF1.5\ns.")
    assert read["camMat"].tolist() == [[-0.25], [1e300]] and read["n"] == 12 and read["f"] == 1.5


class Hostile:
    def __init__(self, function, *arguments):
        self.made = function, arguments

    def __reduce__(self):
        return self.made


class Local:
    pass


def nested(content, where):
    array = np.empty(1, object)
    array[0] = content
    return {"value": {"handJoints3D": content}, "list": [[1], (2, [content])], "array": array}[where]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("where", ["value", "list", "array"])
def test_a_call_is_refused_by_name_and_never_made(tmp_path, protocol, where):
    witness = tmp_path / "witness"
    for function, name, arguments in (
        (os.system, "posix.system", (f"touch {witness}",)),
        (eval, "eval", (f"open({str(witness)!r}, 'w')",)),
        (open, "io.open", (str(witness), "w")),
        (bytearray, "bytearray", (1 << 40,)),
        (np.load, "numpy.load", (str(witness),)),
        (getattr, "getattr", (1, "real")),
        (Local, "Local", ()),
    ):
        path = tmp_path / "meta.pkl"
        path.write_bytes(pickle.dumps(nested(Hostile(function, *arguments), where), protocol))
        with pytest.raises(DamagedFile, match=f"meta.pkl is a pickle that asks for .*{name}: only numpy arrays"):
            read_pickle(path)
        assert not witness.exists()


@pytest.mark.parametrize(
    "data, named",
    [
        (b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.", "posix.system"),
        (b"(S'true'\niposix\nsystem\n.", "instance of a class"),  # INST
        (b"(c__main__\nLocal\no.", "__main__.Local"),
        (b"\x80\x04\x8c\x05posix\x8c\x06system\x93.", "posix.system"),
        (
            b"\x80\x04\x8c\x05po\nix\x8c\x08s\x1b[2J\xed\xa0\x80\x93.",
            r"po\?ix.s\?\[2J\?",
        ),  # told without what would play with the terminal
        (b"\x80\x02cnumpy\nndarray\n)\x81.", "instance of a class"),  # NEWOBJ
        (b"\x80\x02\x82\x01.", "extension"),
        (b"Pobject 7\n.", "outside"),
        (b"\x80\x02]}X\x01\x00\x00\x00aK\x01sb.", "a state for list"),
        (b"\x80\x02}]K\x01s.", "key that is no scalar"),
        (
            b"\x80\x02}" + b")" + b"\x85" * 300000 + b"K\x01s.",
            "key that is no scalar",
        ),  # to hash this would end the process
    ],
)
def test_instructions_that_make_no_data_are_refused(data, named):
    with pytest.raises(RefusedPickle, match=named):
        load(data)


def array_of(shape, code=b"f8", raw=b""):
    """An array pickled by hand, whose parts need not fit."""
    sides = b"(" + b"".join(b"\x8a" + bytes([8]) + struct.pack("<q", side) for side in shape) + b"t"
    dtype = (
        b"cnumpy\ndtype\nU"
        + bytes([len(code)])
        + code
        + b"K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    made = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"
    return made + sides + dtype + b"\x89B" + struct.pack("<I", len(raw)) + raw + b"tb."


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 60) + b"x.",  # bytes, of which there are not so many
        b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40) + b"x.",
        b"\x80\x02\x8b" + struct.pack("<i", -5) + b"x.",
        b"T" + struct.pack("<i", (1 << 31) - 1) + b"x.",
        array_of((1 << 39, 1 << 39)),
        array_of((1 << 39,), b"S"),
        array_of((3,), b"S0"),
        array_of((-1,)),
        array_of((2,), raw=b"1234567"),
        array_of((1,), b"V8", b"12345678"),
        array_of((1,), b"O8", b"12345678"),
        array_of((1,) * 40, raw=b"12345678"),
        array_of((0, 1 << 63 - 1)),
        b"\x80\x02K\x01" + b"\x85" * 50000 + b"cnumpy\ndtype\nU\x02f8K\x00K\x01\x87Rb.",
        b"I" + b"9" * 100000 + b"\n.",
        b"",
        b".",
        b"\x80\x02]",
        b"e.",
        b"h\x07.",
        b"S'a\n.",
        b"\xff",
        b"(K\x01d.",
        b"\x80\x02K\x01K\x02a.",
        b"not a pickle\n",
    ],
)
def test_sizes_that_are_lies_cost_no_memory(data):
    tracemalloc.start()
    try:
        with pytest.raises((Broken, RefusedPickle)):
            load(data)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


def test_a_slot_of_the_memory_far_away_costs_no_memory():
    tracemalloc.start()
    assert load(b"\x80\x02]r\xff\xff\xff\xff.") == []
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()


def test_a_pickle_cut_anywhere_or_with_a_wrong_byte_is_told_or_read_but_never_more(tmp_path):
    rng = np.random.default_rng(3)
    for protocol in (0, 2, 4):
        data = pickle.dumps(sample(rng), protocol)
        for end in range(0, len(data), 7):
            with pytest.raises((Broken, RefusedPickle)):
                load(data[:end])
        for at in rng.integers(0, len(data), 400):
            wrong = bytearray(data)
            wrong[at] = rng.integers(256)
            try:
                load(bytes(wrong))
            except (Broken, RefusedPickle):
                pass


def test_a_file_is_read_and_what_is_wrong_with_it_is_one_line(tmp_path):
    path = tmp_path / "0000.pkl"
    path.write_bytes(pickle.dumps({"camMat": np.eye(3)}, 2))
    assert np.array_equal(read_pickle(path)["camMat"], np.eye(3))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(
        HandtoolError, match=r"0000.pkl \(\d+ bytes\) cannot be read as a pickle: it is cut short"
    ) as told:
        read_pickle(path)
    assert "\n" not in told.value.message
    path.write_bytes(bytes(pickles.LARGEST + 1))
    with pytest.raises(HandtoolError, match="more than the 4194304"):
        read_pickle(path)


def test_the_classes_of_other_libraries_are_named():
    stream = io.BytesIO()
    pickle.dump(collections.Counter("hand"), stream, 2)
    with pytest.raises(RefusedPickle, match="collections.Counter"):
        load(stream.getvalue())
