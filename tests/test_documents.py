"""The documents: the lab book lists every entry under the anchor that GitHub gives its heading; links lead to files."""

import re
from pathlib import Path

TEXT = (Path(__file__).resolve().parents[1] / "handtool" / "docs" / "LOG.md").read_text()


def anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_entry_of_the_lab_book_is_in_its_contents_with_a_verdict():
    headings = re.findall(r"^## (.+)$", TEXT, re.MULTILINE)
    listed = re.findall(r"^\| (\d\d-\d\d) \[(.+)\]\(#(.+)\) \| (.+) \|$", TEXT, re.MULTILINE)
    assert [f"2026-{day} {title}" for day, title, _, _ in listed] == headings
    assert [link for _, _, link, _ in listed] == [anchor(heading) for heading in headings]
    assert len(set(headings)) == len(headings)


def test_the_files_that_the_lab_book_names_exist():
    root = Path(__file__).resolve().parents[1]
    named = set(re.findall(r"(?:tests|examples|handtool)/[\w/]+\.(?:py|sh|md)", TEXT))
    assert named and [name for name in sorted(named) if not (root / name).exists()] == []


def test_every_link_between_the_documents_leads_to_a_file():
    root = Path(__file__).resolve().parents[1]
    pages = [root / "README.md", *(root / "handtool" / "docs").glob("*.md")]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#\s]+)", page.read_text())]
    assert len(links) > 10
    assert [(page.name, link) for page, link in links if ":" not in link and not (page.parent / link).exists()] == []
