"""SCHEMA.md and schema.py say the same."""

import re
from pathlib import Path

from handtool.store import ENUMS, TABLES
from handtool.vision import contracts

TEXT = (Path(__file__).resolve().parents[2] / "handtool" / "docs" / "SCHEMA.md").read_text()
ROW = re.compile(r"^\| (`\w+`(?:, `\w+`)*) \| (\w+) \| (\([^)]*\)) \|([^|]*)\|([^|]*)\|$")


def read_page() -> dict[str, dict[str, tuple]]:
    """table -> column -> (type, shape, unit, optional), as the page has them."""
    tables: dict[str, dict] = {}
    for line in TEXT.splitlines():
        if heading := re.match(r"^### (\w+) \(", line):
            current = tables.setdefault(heading[1], {})
        elif row := ROW.match(line):
            for name in re.findall(r"\w+", row[1]):
                current[name] = (row[2], row[3], row[4].strip() or None, "optional" in row[5])
    return tables


def shape_text(column) -> str:
    sizes = [column.length, *("D" if n is None else str(n) for n in column.shape)]
    return f"({sizes[0]},)" if len(sizes) == 1 else f"({', '.join(sizes)})"


def test_the_page_lists_exactly_the_columns_of_the_program():
    expected = {
        table.group: {c.name: (c.dtype, shape_text(c), c.unit, c.optional) for c in table.columns}
        for table in TABLES.values()
    }
    assert read_page() == expected


def test_ways_of_finding_a_hand_have_the_same_numbers_in_the_file_and_where_hands_are_found():
    assert ENUMS["how_found"] == {name: getattr(contracts, name) for name in ("FOUND", "LOOKED_AGAIN", "WHOLE_PICTURE")}
    listed = ", ".join(f"`{name}` {number}" for name, number in ENUMS["how_found"].items())
    assert listed in TEXT


def test_every_float_column_has_a_unit():
    for table in TABLES.values():
        for column in table.columns:
            assert column.unit or not column.dtype.startswith("f"), column.path


def test_the_pages_example_runs(tmp_path, monkeypatch):
    import numpy as np
    from making import make_file, record

    from handtool import store
    from handtool.store import PAIRS

    source = store.open_file(make_file(tmp_path / "keypoints.h5"))
    with store.create_file(tmp_path / "pairs.h5", record(), [source]) as sink:
        columns = dict(anchor=[0], positive=[6], distance=[0.5], rank=[1], anchor_offset=np.minimum(np.arange(10), 1))
        store.write_table(sink, PAIRS, columns)
        sink.inherit(source)
        sink.finish({})
    source.close()
    monkeypatch.chdir(tmp_path)
    scope: dict = {}
    exec(re.search(r"```python\n(.*?)```", TEXT, re.S)[1], scope)
    assert scope["jpeg"][:2] == b"\xff\xd8" and scope["video"] == "video 1" and scope["keypoints_px"].shape == (21, 2)
