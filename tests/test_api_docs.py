"""docs/API.md, run as a reader would run it: its blocks one after another in an empty folder."""

import re
from pathlib import Path

import handtool

PAGE = Path(handtool.__file__).parent / "docs" / "API.md"


def read_blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def test_the_blocks_of_the_page_run_in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for number, block in enumerate(read_blocks(), 1):
        exec(compile(block, f"block {number} of API.md", "exec"), names)  # noqa: S102
    assert number == 6
    num = len(names["poses"])
    assert names["xy"].shape == (24, 21, 2) and names["sheet"].shape == (3, 64, 64, 3) and len(names["videos"]) == 6
    assert names["images"].shape[1:] == (64, 64, 3) and names["joints"].shape == (4, 21, 3)
    assert names["inputs"].shape == (num, 3, 32, 32) and names["features"].shape == (num, 512)
    assert names["poses"].joints.shape == (num, 21, 3) and names["poses"].absolute.all()
    assert names["positive"].shape == (6, 2) and names["loss"].ndim == 0 and names["undone"].shape == (4, 128)


def test_the_page_names_every_public_name_and_every_file_that_it_links_to_is_there():
    text = PAGE.read_text()
    assert all(f"handtool.{name}" in text for name in handtool.PUBLIC)
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (PAGE.parent / link).exists(), link
