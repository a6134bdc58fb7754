"""The pages of the documentation: their links lead somewhere, their programs compile, and they name what there is."""

import pathlib
import re

import pytest

import wsclient
from wsclient import protocols

ROOT = pathlib.Path(wsclient.__file__).parents[1]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for folder in (".", "examples", "tests", "wsclient")
    for path in sorted(ROOT.joinpath(folder).glob("*.md"))
}
OUTSIDE = re.compile(r"[a-z]+:")


def without_programs(text):
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(text):
    """The anchors of a page's headings, as GitHub and the documentation's generator make them."""
    found = []
    for heading in re.findall(r"^#+ (.+)$", without_programs(text), re.MULTILINE):
        anchor = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found.append(anchor if anchor not in found else f"{anchor}-{found.count(anchor)}")
    return found


def links(text):
    return re.findall(r"\]\(([^)\s]+)\)", without_programs(text))


@pytest.mark.parametrize("name", PAGES)
def test_each_link_leads_to_a_file_and_a_heading(name):
    for link in links(PAGES[name]):
        if OUTSIDE.match(link):
            assert link.startswith("https://"), link
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / name).parent.joinpath(path).resolve() if path else ROOT / name
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        if anchor:
            assert anchor in anchors(PAGES[target.relative_to(ROOT).as_posix()]), link


def test_links_and_anchors_are_found():
    page = "# A `b`, c-d\n\n[x](y.md#z)\n\n## Twice\n\n## Twice\n\n```python\n# [no](link)\n```\n"
    assert anchors(page) == ["a-b-c-d", "twice", "twice-1"]
    assert links(page) == ["y.md#z"]


@pytest.mark.parametrize("name", PAGES)
def test_the_programs_compile(name):
    for program in re.findall(r"^```python\n(.*?)^```$", PAGES[name], re.MULTILINE | re.DOTALL):
        compile(program, name, "exec")


@pytest.mark.parametrize("name", PAGES)
def test_all_rows_of_a_table_have_as_many_cells(name):
    for table in re.findall(r"(?:^\|.*\|$\n?)+", without_programs(PAGES[name]), re.MULTILINE):
        cells = {len(re.sub(r"`[^`]*`", "", row).split("|")) for row in table.splitlines()}
        assert len(cells) == 1, table


def test_every_page_is_reached_from_the_readme():
    reached, to_read = set(), {"README.md"}
    while to_read:
        name = to_read.pop()
        reached.add(name)
        for link in links(PAGES[name]):
            if not OUTSIDE.match(link):
                target = (ROOT / name).parent.joinpath(link.partition("#")[0]).resolve()
                found = next((page for page in PAGES if target in (ROOT / page, (ROOT / page).parent)), None)
                to_read |= {found} - reached - {None}
    assert reached == set(PAGES)


def test_the_reference_has_each_public_name():
    pages = [path.read_text(encoding="utf-8") for path in ROOT.glob("examples/reference/*.rst")]
    named = re.findall(r"^\.\. auto(?:class|exception|function):: (\w+)", "\n".join(pages), re.MULTILINE)
    assert len(named) == len(set(named))
    assert set(named) | set(protocols.__all__) | {"__version__"} == {*wsclient.__all__, *protocols.__all__}


def test_the_readme_is_short():
    assert len(PAGES["README.md"].splitlines()) <= 180


def test_the_guide_names_each_option():
    options = wsclient.ClientOptions.__required_keys__ | wsclient.ClientOptions.__optional_keys__
    assert len(options) > 30
    for option in options:
        assert option.startswith("on_") or re.search(rf"`{option}\b", PAGES["examples/GUIDE.md"]), option
