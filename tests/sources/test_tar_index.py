"""The list of a tar's members: as Python's tarfile has it where the tar is sound, bounded where it lies."""

import gzip
import tarfile
import tracemalloc

import numpy as np
import pytest
from archives import BLOCK, add, header, make_tar, padded

from handtool.errors import DamagedFile, HandtoolError
from handtool.sources.tar_index import (
    ELSEWHERE,
    LONGEST,
    MOST_HEADERS,
    TWICE,
    UNKNOWN,
    WITH_HOLES,
    NoTar,
    read_index,
    read_small,
)
from handtool.sources.tar_member import Member, MemberFile, check_member, read_member, split_path

LONG = "/".join(f"folder{number:03d}" for number in range(30)) + "/a-film-with-a-name.mp4"
NAMES = ["a.mp4", "b/c.json", LONG, "Füße.mp4", "[clip].jpg", "e.mp4"]


def write(path, content: bytes):
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_the_list_is_that_of_tarfile_in_every_format(tmp_path, form):
    names = [name for name in NAMES if name != LONG or form != tarfile.USTAR_FORMAT]
    names += ["/".join(["folder"] * 20) + "/in-the-prefix.mp4"]
    contents = {name: bytes([number]) * (700 * number + 1) for number, name in enumerate(names)}
    path = make_tar(tmp_path / "a.tar", contents, form)
    index = read_index(str(path))
    with tarfile.open(path) as tar:
        truth = {member.name: (member.offset_data, member.size) for member in tar.getmembers()}
    assert index.spans == truth and list(index.spans) == names and not index.left_out and not index.problem
    assert {name: read_member(index.member(name), 1 << 20) for name in names} == contents


def test_what_is_no_plain_file_is_left_out_with_its_reason_and_nothing_else_is_lost(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add(tar, "folder", kind=tarfile.DIRTYPE)
        add(tar, "./a.mp4", b"first")
        for name in ("/etc/cron.d/a.mp4", "../a.mp4", "b/../../a.mp4", ".."):
            add(tar, name, b"elsewhere")
        add(tar, "s.mp4", kind=tarfile.SYMTYPE, link="/etc/passwd")
        add(tar, "h.mp4", kind=tarfile.LNKTYPE, link="a.mp4")
        add(tar, "pipe.mp4", kind=tarfile.FIFOTYPE)
        add(tar, "z.mp4", b"?" * 600, kind=b"Z")
        add(tar, "a.mp4", b"second")
        add(tar, "last.mp4", b"last")
    index = read_index(str(tmp_path / "a.tar"))
    counts = {ELSEWHERE: 4, "links in tars": 2, "devices and pipes in tars": 1, UNKNOWN: 1, TWICE: 1}
    assert dict(index.left_out) == counts and list(index.spans) == ["a.mp4", "last.mp4"]
    assert read_member(index.member("a.mp4"), 99) == b"second"


def test_sparse_members_are_left_out_and_those_behind_them_are_read(tmp_path):
    old = header(b"old.mp4", 512, b"S", b"ustar  \0")
    old = old[:148] + 8 * b" " + old[156:482] + b"\1" + old[483:]
    old = old[:148] + b"%06o\0 " % sum(old) + old[156:]
    more, last = bytes(504) + b"\1" + bytes(7), bytes(BLOCK)
    record = b"26 GNU.sparse.realsize=99\n"
    sparse = header(b"x", len(record), b"x") + padded(record) + header(b"GNUSparseFile.0/new.mp4", 512)
    content = old + more + last + bytes(512) + sparse + bytes(512) + header(b"a.mp4", 3) + padded(b"abc")
    index = read_index(write(tmp_path / "a.tar", content + bytes(1024)))
    assert dict(index.left_out) == {WITH_HOLES: 2} and read_member(index.member("a.mp4"), 9) == b"abc"


@pytest.mark.parametrize(
    "bad",
    [
        header(b"a.mp4", b"7" * 11),
        header(b"a.mp4", b"\x80" + b"\x7f" * 11),
        header(b"a.mp4", b"\xff" * 12),
        header(b"a.mp4", b"0x10"),
        header(b"a.mp4", b"-1"),
        header(b"a.mp4", b"1_000"),
        header(b"x", b"\x80" + b"\x7f" * 11, b"x"),
        header(b"x", 1 << 32, b"x"),
        header(b"L", 1 << 32, b"L"),
        header(b"x", LONGEST + 1, b"x") + bytes(LONGEST + 1024),
        header(b"x", 9, b"x") + padded(b"99999999 path=a\n"),
        header(b"x", 9, b"x") + padded(b"no record"),
        header(b"x", 20, b"x") + padded(b"20 size=-99999999999\n"),
        header(b"x", LONGEST, b"x") + b"8 ab=12\n" * (LONGEST // 8) + header(b"a.mp4", b"7" * 11),
        header(b"x", 30, b"x") + padded(b"30 size=99999999999999999999\n") + header(b"a.mp4", 1),
        (header(b"L", 9, b"L") + padded(b"a" * 9)) * (MOST_HEADERS + 1) + header(b"a.mp4", 1) + padded(b"a"),
        bytes(BLOCK) + bytes(5 << 20),
        b"\xff" * BLOCK,
    ],
)
def test_a_header_that_lies_ends_the_list_and_takes_no_memory(tmp_path, bad):
    before = header(b"sound.mp4", 5) + padded(b"sound")
    path = write(tmp_path / "a.tar", before + bad)
    tracemalloc.start()
    try:
        index = read_index(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert index.problem and peak < 3 * LONGEST
    assert read_member(index.member("sound.mp4"), 9) == b"sound"
    assert all("cut short" in check_member(index.member(name)) for name in index.spans if name != "sound.mp4")


def test_a_tar_that_is_cut_anywhere_gives_the_whole_members_before_the_cut(tmp_path):
    contents = {name: bytes([number + 1]) * (300 * number + 1) for number, name in enumerate(NAMES)}
    whole = make_tar(tmp_path / "whole.tar", contents).read_bytes()
    spans = read_index(str(tmp_path / "whole.tar")).spans
    end = max(sum(span) for span in spans.values())
    for cut in [*range(1, end, 173), end]:
        path = write(tmp_path / "cut.tar", whole[:cut])
        try:
            index = read_index(path)
        except NoTar:
            assert cut < min(sum(span) for span in spans.values())
            continue
        sound = {name for name in index.spans if not check_member(index.member(name))}
        assert sound == {name for name, span in spans.items() if sum(span) <= cut}
        assert all(read_member(index.member(name), 9999) == contents[name] for name in sound)


def test_damage_of_any_kind_is_no_crash_and_gives_no_member_beyond_the_file(tmp_path):
    rng = np.random.default_rng(5)
    whole = np.frombuffer(make_tar(tmp_path / "a.tar", dict.fromkeys(NAMES, b"content")).read_bytes(), np.uint8)
    for number in range(300):
        bad = whole.copy()
        bad[rng.integers(0, len(bad), rng.integers(1, 40))] = rng.integers(0, 256)
        path = write(tmp_path / f"{number % 3}.tar", bad.tobytes())
        try:
            index = read_index(path)
        except NoTar:
            continue
        for name in index.spans:
            member = index.member(name)
            assert ".." not in name.split("/") and not name.startswith("/")
            assert check_member(member) or member.offset + member.size <= len(bad)


@pytest.mark.parametrize(
    "content, reason",
    [
        (gzip.compress(b"a", mtime=0), "gzip -d"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"<html>not found</html>", "html"),
        (b"", "empty file"),
        (b"no tar " * 200, "no header at byte 0"),
    ],
    ids=["gzip", "lfs", "html", "empty", "text"],
)
def test_what_is_no_tar_says_what_it_is(tmp_path, content, reason):
    with pytest.raises(NoTar, match=reason):
        read_index(write(tmp_path / "a.tar", content))


def test_the_list_is_read_once_and_again_after_a_change(tmp_path, monkeypatch):
    from handtool.sources import tar_index

    calls, real = [], tar_index.read_members
    monkeypatch.setattr(tar_index, "read_members", lambda *given: calls.append(1) or real(*given))
    path = make_tar(tmp_path / "a.tar", {"a.json": b"{}", "b/a.json": b"[]"})
    for _ in range(5):
        assert read_small(path / "a.json", 99) == b"{}" and read_small(path / "b" / "a.json", 99) == b"[]"
    assert len(calls) == 1 and read_small(path / "c.json", 99) is None
    make_tar(path, {"a.json": b"other"})
    assert read_small(path / "a.json", 99) == b"other" and len(calls) == 2


def test_a_small_file_is_read_in_a_tar_or_beside_it_within_bounds(tmp_path):
    path = make_tar(tmp_path / "a.tar", {"a.json": b"1" * 100})
    (tmp_path / "b.json").write_bytes(b"beside")
    assert read_small(tmp_path / "b.json", 99) == b"beside" and read_small(tmp_path / "c.json", 99) is None
    with pytest.raises(DamagedFile):
        read_small(path / "a.json", 99)
    with pytest.raises(HandtoolError):
        read_small(tmp_path / "b.json", 3)
    (tmp_path / "no.tar").write_bytes(b"no tar at all")
    assert read_small(tmp_path / "no.tar" / "a.json", 99) is None


def test_a_member_is_a_file_of_its_own(tmp_path):
    write(tmp_path / "a.tar", b"before" + b"0123456789" + b"behind")
    with MemberFile(Member(str(tmp_path / "a.tar"), 6, 10, "a.tar/a")) as file:
        assert (file.read(3), file.seek(-2, 2), file.read(99), file.read(1)) == (b"012", 8, b"89", b"")
        assert file.seek(20) == 20 and file.read(1) == b"" and file.seek(-19, 1) == 1 and file.read() == b"123456789"
        block = bytearray(4)
        assert file.seek(4) == 4 and file.readinto(block) == 4 and bytes(block) == b"4567" and file.tell() == 8
        with pytest.raises(ValueError):
            file.seek(-1)


def test_a_path_into_a_tar_is_told_from_one_into_a_folder_of_that_name(tmp_path):
    path = make_tar(tmp_path / "shards.tar" / "a.tar", {"b.tar/c.mp4": b"1"})
    assert split_path(f"{path}/b.tar/c.mp4") == (str(path), "b.tar/c.mp4")
    assert split_path(str(path)) is None and split_path(f"{tmp_path}/none.tar/a.mp4") is None
