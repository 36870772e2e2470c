"""Archives that a user names: whatever is damaged in them is said to be damaged."""

import struct
import zipfile

import pytest

from handtool.archives import check_crcs, open_zip
from handtool.errors import DamagedFile


def name_no_text(data: bytearray) -> None:
    """In the member's own header (APPNOTE.TXT 4.3.7), where the name is read again."""
    data[30:32] = b"\x88\xff"


def member_before_the_beginning(data: bytearray) -> None:
    """The end record (4.3.16) says that the list of members lies farther behind than it does."""
    place = data.rindex(b"PK\5\6") + 16
    struct.pack_into("<I", data, place, struct.unpack_from("<I", data, place)[0] + 3)


def other_way_of_packing(data: bytearray) -> None:
    data[data.index(b"PK\1\2") + 10] = 77


def marked_as_a_folder(data: bytearray) -> None:
    """torch's reader then leaves the tensor as the memory was, and says nothing."""
    data[data.index(b"PK\1\2") + 38] |= 0x10


@pytest.mark.parametrize("spoil", [marked_as_a_folder, name_no_text, member_before_the_beginning, other_way_of_packing])
def test_what_zipfile_raises_of_a_damaged_archive_is_damage(tmp_path, spoil):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("é", b"a" * 100)
    with open_zip(tmp_path / "a.zip") as archive:
        check_crcs(archive)
    data = bytearray((tmp_path / "a.zip").read_bytes())
    spoil(data)
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(DamagedFile, match="cannot be read"), open_zip(tmp_path / "a.zip") as archive:
        check_crcs(archive)
