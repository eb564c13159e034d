"""
The page in a real browser: what a person does with it, and what it must not do.

A page that is opened says nothing to anybody: no request but for its own file, no word on
the console, no dialog, however hostile the names in it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import axe_core_python
import browser
import pages
import pytest
from browser import Browser, Page
from test_html import HOSTILE, poison

from netjail.formats.as_html import render
from netjail.formats.document import Document

AXE = Path(axe_core_python.__file__).parent / "axe.min.js"

DOCUMENTS = {
    "small": pages.small(),
    "crowd": pages.crowd(60),
    "clean": pages.clean(),
    "audit": pages.clean("audit"),
    "fleet": pages.fleet(30),
}

TAB, ENTER, SPACE = ("Tab", 9), ("Enter", 13, "\r"), (" ", 32, " ")

SHOWN = "[...document.querySelectorAll('#destinations tbody tr')].map(row => row.id)"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser.started() as one:
        yield one


@pytest.fixture
def show(chromium: Browser, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """``show(document)`` opens its page; at the end it must have been quiet."""
    opened: list[tuple[Page, str]] = []

    def open(document: Document, width: int = 1280, height: int = 900, **prefer: str) -> Page:
        path = tmp_path / f"report-{len(opened)}.html"
        path.write_text(render(document))
        page = chromium.page()
        page.size(width, height, phone=width < 600)
        page.prefer(**prefer)
        page.open(path)
        page.settle()
        opened.append((page, path.as_uri()))
        return page

    yield open
    for page, url in opened:
        page.settle()
        assert page.complaints == []
        assert set(page.requests) == {url}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390], ids=["desktop", "phone"])
@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS)
def test_anybody_can_read_it(show, document, width, scheme):
    page = show(document, width, prefers_color_scheme=scheme)
    page.js(AXE.read_text() + "; 0")
    page.js("for (const one of document.querySelectorAll('details')) one.open = true")
    found = page.js("axe.run().then(r => r.violations.map(v => [v.id, v.nodes.map(n => n.html)]))")
    assert found == []
    assert page.js("document.documentElement.scrollWidth <= innerWidth")


def test_axe_finds_what_is_wrong(show):
    page = show(pages.clean())
    page.js("document.querySelector('h1').style.color = '#ddd'; document.documentElement.lang = ''")
    page.js(AXE.read_text() + "; 0")
    found = page.js("axe.run().then(r => r.violations.map(v => v.id))")
    assert {"color-contrast", "html-has-lang"} <= set(found)


def test_filter_by_a_word(show):
    page = show(pages.small())
    assert page.js(SHOWN) == ["d1", "d2", "d3", "d4", "d5"]
    page.js("document.querySelector('#destinations input').focus()")
    page.write("npmjs")
    page.settle()
    assert page.js(SHOWN) == ["d3"]
    assert "1 to 1 of 1 (5 in all)" in page.js("document.querySelector('#destinations').innerText")


def test_filter_by_verdict(show):
    page = show(pages.small())
    page.js("document.querySelector('button[data-state=denied]').click()")
    assert page.js(SHOWN) == ["d1", "d2"]
    assert page.js("document.querySelector('[aria-pressed=true][data-state]').dataset.state") == (
        "denied"
    )
    page.js("document.querySelector('button[data-state=quiet]').click()")
    assert page.js(SHOWN) == ["d5"]
    page.js("document.querySelector('button[data-state=\"\"]').click()")
    assert len(page.js(SHOWN)) == 5


def test_a_link_brings_back_a_row_that_was_filtered_away(show):
    page = show(pages.small())
    page.js("document.querySelector('button[data-state=allowed]').click()")
    page.js("document.querySelector('#processes a[href=\"#d2\"]').click()")
    page.settle()
    assert page.js("document.activeElement.id") == "d2"


def test_a_link_turns_to_the_page_of_its_row(show):
    page = show(pages.crowd(300))
    last = page.js("[...document.querySelectorAll('#processes a[href^=\"#d\"]')].at(-1).hash")
    assert last.removeprefix("#") not in page.js(SHOWN)
    page.js("[...document.querySelectorAll('#processes a[href^=\"#d\"]')].at(-1).click()")
    page.settle()
    assert page.js("'#' + document.activeElement.id") == last


@pytest.mark.parametrize("key", [ENTER, SPACE], ids=["enter", "space"])
def test_sort_with_the_keyboard(show, key):
    page = show(pages.small())
    page.js("document.querySelector('#destinations input').focus()")
    for _ in range(5):  # past Verdict, Who, Where, Why to Calls
        page.press(*TAB)
    assert "Calls" in page.js("document.activeElement.closest('th').innerText")
    page.press(*key)
    page.settle()
    sort = "document.activeElement.closest('th').getAttribute('aria-sort')"
    assert page.js(sort) == "ascending"
    assert page.js(SHOWN) == ["d5", "d2", "d1", "d4", "d3"]
    page.press(*key)
    page.settle()
    assert page.js(sort) == "descending"
    assert page.js(SHOWN) == ["d3", "d4", "d1", "d2", "d5"]


def test_the_first_key_leads_past_the_head(show):
    page = show(pages.small())
    page.press(*TAB)
    assert page.js("document.activeElement.className") == "skip"
    page.press(*ENTER)
    assert page.js("document.activeElement.id") == "main"


@pytest.mark.parametrize(("scheme", "other"), [("light", "dark"), ("dark", "light")])
def test_the_switch_turns_what_the_system_prefers(show, scheme, other):
    page = show(pages.small(), prefers_color_scheme=scheme)
    paper = "getComputedStyle(document.body).backgroundColor"
    colours = {"light": "rgb(255, 255, 255)", "dark": "rgb(16, 20, 24)"}
    assert page.js(paper) == colours[scheme]
    page.js("document.querySelector('#theme').click()")
    assert page.js(paper) == colours[other]
    assert page.js("document.querySelector('#theme').ariaPressed") == str(other == "dark").lower()
    page.js("document.querySelector('#theme').click()")
    assert page.js(paper) == colours[scheme]


def test_the_timeline_is_drawn_and_tells_what_is_pointed_at(show):
    page = show(pages.small())
    page.js("document.querySelector('#timeline').scrollIntoView({behavior: 'instant'})")
    box = page.js(
        "(box => [box.left, box.top, box.width, box.height])"
        "(document.querySelector('.u-over').getBoundingClientRect())"
    )
    colours = page.js(
        """(() => {
        const canvas = document.querySelector('#chart canvas'), found = new Set();
        const raw = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        for (let at = 0; at < raw.length; at += 4)
            if (raw[at + 3] === 255) found.add(raw.slice(at, at + 3).join());
        return [...found];
        })()"""
    )
    assert {"168,30,23", "23,102,58"} <= set(colours)  # what was denied, what was allowed
    left, top, width, height = box
    said = set()
    for step in range(60):
        x, y = left + width * step / 60, top + height * 0.5
        page.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        said.add(page.js("document.querySelector('#pointed').textContent"))
    assert any("registry.npmjs.org:443, 11 attempts" in text for text in said)


def test_paper_has_every_row(show):
    page = show(pages.crowd(300))
    rows = "document.querySelectorAll('#destinations tbody tr').length"
    assert page.js(rows) == 25
    page.js("dispatchEvent(new Event('beforeprint'))")
    assert page.js(rows) == 300
    page.js("dispatchEvent(new Event('afterprint'))")
    assert page.js(rows) == 25
    pdf = page.print()
    assert pdf.startswith(b"%PDF-")
    assert pdf.count(b"/Type /Page\n") > 10


def test_without_scripts_it_is_all_there(chromium, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(render(pages.crowd(300)))
    page = chromium.page()
    page.send("Emulation.setScriptExecutionDisabled", value=True)
    page.open(path)
    assert len(page.js(SHOWN)) == 300
    assert page.js("getComputedStyle(document.querySelector('.filters')).display") == "none"
    assert page.complaints == []


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_do_nothing(show, text):
    page = show(poison(pages.small(), text))
    assert page.js("window.pwned") is None
    harmless = show(poison(pages.small(), "harmless"))
    count = "[...document.querySelectorAll('body *')].filter(e => !e.closest('#chart')).length"
    assert page.js(count) == harmless.js(count)
    # Filtering reads the cells again, and so does printing.
    page.js("document.querySelector('#destinations input').focus()")
    page.write("a")
    page.settle()
    page.js("dispatchEvent(new Event('beforeprint'))")
    assert page.js("window.pwned") is None


def test_a_real_run_from_the_jail_to_the_page(runner, trace, server, chromium):
    """With a program whose very name is an attack."""
    shell = runner.workdir / "<img src=x onerror='window.pwned=1'>\x1b[31m"
    shutil.copy("/bin/bash", shell)
    report = runner.workdir / "out.html"
    talk = f"(echo > /dev/tcp/{server.host}/{server.port}); (echo > /dev/tcp/192.0.2.1/80); true"
    options = ("--allow", f"{server.host}:{server.port}", "--report", str(report))
    result = trace(*options, command=[str(shell), "-c", talk])
    assert (result.exit_code, server.accepted) == (0, 1)
    page = chromium.page()
    page.open(report)
    page.settle()
    rows = page.js("[...document.querySelectorAll('#destinations tbody tr')].map(r => r.innerText)")
    assert [row.split()[1] for row in rows][:2] == ["denied", "allowed"]
    assert "192.0.2.1:80" in rows[0]
    assert f"{server.host}:{server.port}" in rows[1]
    assert "<img src=x onerror='window" in rows[0]
    assert page.js("window.pwned") is None
    assert page.complaints == []
    assert set(page.requests) == {report.as_uri()}


ESCAPES = "<script>document.title = 'pwned'</script><img src='http://{0}/img'>" + (
    "<link rel=stylesheet href='http://{0}/css'><iframe src='http://{0}/frame'></iframe>"
)


@pytest.mark.parametrize("held", [True, False], ids=["held", "without-its-policy"])
def test_nothing_that_got_in_could_get_out(chromium, serve, tmp_path, held):
    """Were the escaping wrong, the page's policy would still hold; without it, it would not."""
    canary = serve(answer=b"HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    text = render(pages.small())
    if not held:
        start = text.index("<meta http-equiv")
        text = text[:start] + text[text.index(">", start) + 1 :]
    path = tmp_path / "report.html"
    where = f"{canary.host}:{canary.port}"
    path.write_text(text.replace("</main>", ESCAPES.format(where) + "</main>"))
    page = chromium.page()
    page.open(path)
    assert page.js("document.title") == (pages.small().headline if held else "pwned")
    # For a frame the browser opens a connection before it asks the policy, and says nothing.
    assert (canary.received == []) == held
    assert page.complaints  # the browser says what it refused, or did not get
