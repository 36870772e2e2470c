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


def test_every_command_of_the_page_on_ten_thousand_hours_has_the_options_that_it_names():
    docs = Path(__file__).resolve().parents[1] / "handtool" / "docs"
    sections = re.split(r"^## handtool ", (docs / "COMMANDS.md").read_text(), flags=re.MULTILINE)[1:]
    known = {section.split("\n", 1)[0]: set(re.findall(r"--[a-z][\w-]*", section)) for section in sections}
    page = (docs / "TEN_THOUSAND_HOURS.md").read_text()
    lines = re.findall(
        r"handtool ([a-z]+)((?: [^#`\n]*)?)", "\n".join(re.findall(r"```bash\n(.*?)```", page, re.DOTALL))
    )
    assert {"extract", "embed", "cat", "mine", "pretrain"} <= {command for command, _ in lines}
    unknown = [(command, set(re.findall(r"--[a-z][\w-]*", rest)) - known[command]) for command, rest in lines]
    assert [(command, options) for command, options in unknown if options] == []
    named = set(re.findall(r"examples/[\w.]+", page))
    assert named and [name for name in named if not (docs.parents[1] / name).exists()] == []
