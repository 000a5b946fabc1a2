"""The viewer in headless Chromium, from a folder and from a server: it plays, seeks, filters, sorts and follows links.

A page that complains on the console fails every test here.
"""

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

from tests.vita_data.pages.browser import find_browser
from tests.vita_data.pages.conftest import HOSTILE
from tests.vita_data.pages.devtools import Tab, open_tab
from tests.vita_data.pages.many import write_many
from vita_data.pages.viewer.export import export
from vita_data.pages.viewer.files import ViewerFiles
from vita_data.pages.viewer.server import ViewerServer

COMPLETE = "document.body.classList.contains('complete')"
SHOWN = "VITA.clip.state() && VITA.clip.state().steps.every((step) => step !== undefined)"
DESK, PHONE = (1280, 900), (400, 800)


@pytest.fixture(scope="module")
def program() -> str:
    found = find_browser()
    if found is None:
        pytest.skip("no Chromium: install chromium, or name its program in VITA_CHROMIUM")
    return found


@pytest.fixture(scope="module")
def browser(program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with open_tab(program, tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def tab(browser: Tab) -> Iterator[Tab]:
    leave(browser)
    browser.resize(*DESK)
    yield browser
    assert browser.complaints == []


def leave(tab: Tab) -> None:
    """Open an empty page, so that the next address is loaded from anew."""
    tab.open("about:blank")
    tab.wait("location.href === 'about:blank'")


@pytest.fixture(scope="module", params=["folder", "server"])
def address(
    request: pytest.FixtureRequest, shard_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    files = ViewerFiles([shard_folder / "arm", shard_folder / "film"])
    if request.param == "folder":
        yield export(files, tmp_path_factory.mktemp("view")).as_uri()
        return
    yield from served(files)


def served(files: ViewerFiles) -> Iterator[str]:
    with ViewerServer(files, 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.address
        server.shutdown()
        thread.join()


def texts(tab: Tab) -> list[str]:
    """The rows of the list in their order."""
    found: list[str] = tab.value("[...document.querySelectorAll('#rows .row b')].map((one) => one.textContent)")
    return found


def enter(tab: Tab, element: str, text: str) -> None:
    kind = "input" if element == "filter" else "change"
    tab.value(
        f"(() => {{ const one = document.getElementById('{element}'); one.value = {text!r};"
        f" one.dispatchEvent(new Event('{kind}')); }})()"
    )


def click(tab: Tab, selector: str) -> None:
    box = tab.value(
        f"(() => {{ const b = document.querySelector({selector!r}).getBoundingClientRect();"
        " return [b.x + b.width / 2, b.y + b.height / 2]; })()"
    )
    tab.click(*box)


def test_it_plays_at_the_true_times_seeks_and_steps(tab: Tab, address: str, tmp_path: Path) -> None:
    tab.open(address)
    tab.wait(f"{COMPLETE} && {SHOWN}")
    assert tab.value("document.querySelector('h2').textContent") == HOSTILE
    assert tab.value("VITA.clip.state()") == {"time": 0, "playing": False, "end": 7.9, "steps": [0]}

    enter(tab, "speed", "8")
    click(tab, "#play")
    tab.wait("VITA.clip.state().playing")
    tab.wait("VITA.clip.state().time > 1 && VITA.clip.state().steps[0] > 8")
    tab.wait("!VITA.clip.state().playing")
    assert tab.value("VITA.clip.state()") == {"time": 7.9, "playing": False, "end": 7.9, "steps": [78]}

    # The last stored image at or before the cursor is shown; steps 30 to 49 were removed.
    for time, step in ((4.0, 28), (5.0, 50), (2.05, 20)):
        tab.value(f"VITA.clip.seek({time})")
        tab.wait(f"VITA.clip.state().steps[0] === {step}")
    assert tab.value("document.querySelector('.badge').hidden") is False, "step 20 is a keyframe"
    tab.press("ArrowRight")
    tab.wait("VITA.clip.state().steps[0] === 22")
    assert tab.value("document.querySelector('.badge').hidden") is True
    assert tab.value("[...document.querySelectorAll('.chart output')].length") == 10
    tab.screenshot(tmp_path / "page.png")
    picture = cv2.imread(str(tmp_path / "page.png"))
    assert picture is not None
    assert picture.std() > 30


def test_the_cursor_follows_a_press_on_a_plot_and_values_with_it(tab: Tab, address: str) -> None:
    tab.open(address)
    tab.wait(f"{COMPLETE} && {SHOWN}")
    before = tab.value("document.querySelector('.chart output').textContent")

    click(tab, ".chart .frame")
    tab.wait("Math.abs(VITA.clip.state().time - 3.95) < 0.6")

    assert tab.value("document.querySelector('.chart output').textContent") != before
    assert tab.value("Number(document.getElementById('seek').value)") == pytest.approx(
        tab.value("VITA.clip.state().time")
    )
    where = "(one) => one.style.transform"
    assert tab.value(f"new Set([...document.querySelectorAll('.chart .cursor')].map({where})).size") <= 2


def test_filters_sorts_and_sources_change_the_list(tab: Tab, address: str) -> None:
    tab.open(address)
    tab.wait(COMPLETE)
    assert texts(tab) == [HOSTILE] * 5 + ["Moving something"] * 5
    assert tab.value("document.getElementById('count').textContent") == "10 of 10"

    enter(tab, "filter", "MOVING some")
    assert texts(tab) == ["Moving something"] * 5
    enter(tab, "filter", "episode 3")
    assert texts(tab) == [HOSTILE, "Moving something"]
    enter(tab, "filter", "<script> nothing")
    assert texts(tab) == []
    assert tab.value("document.querySelector('.empty').textContent") == "Nothing matches."
    enter(tab, "filter", "")
    enter(tab, "sort", "text")
    assert texts(tab) == ["Moving something"] * 5 + [HOSTILE] * 5
    enter(tab, "source", "0")
    assert texts(tab) == [HOSTILE] * 5


def test_a_link_opens_its_episode(tab: Tab, address: str) -> None:
    tab.open(f"{address}#clip=film-{2:016x}")
    tab.wait(f"{COMPLETE} && {SHOWN}")
    assert tab.value("document.querySelector('h2').textContent") == "Moving something"
    assert f"film-{2:016x}" in tab.value("document.querySelector('.about').textContent")
    assert tab.value("document.querySelector('.row.current').getAttribute('href')") == f"#clip=film-{2:016x}"
    assert "no actions" in tab.value("document.getElementById('detail').textContent")

    click(tab, ".row")
    tab.wait(f"location.hash === '#clip=arm-{0:016x}' && document.querySelector('h2').textContent.startsWith('put')")
    tab.value("history.back()")
    tab.wait("document.querySelector('h2').textContent === 'Moving something'")
    tab.open(f"{address}#clip=absent")
    tab.wait("document.getElementById('detail').textContent === 'No episode has this address.'")


def test_dropped_episodes_tell_their_reason(tab: Tab, address: str) -> None:
    tab.open(address)
    tab.wait(COMPLETE)
    kinds = tab.value("[...document.getElementById('kind').options].map((one) => one.textContent)")
    assert kinds == [
        "Stored clips (10)", "Not stored (6)", "Dropped: short, too few frames (4)", "Failed: could not be read (2)",
    ]  # fmt: skip

    enter(tab, "kind", "dropped short")
    assert texts(tab) == ["too few frames"] * 4
    click(tab, ".row")
    tab.wait("document.querySelector('h2').textContent === 'Dropped: too few frames'")
    told = tab.value("document.querySelector('.facts').textContent")
    assert "to keep itbuild into another folder with --set min_frames=N (now 13)" in told
    assert tab.value("document.querySelector('.about').textContent") == "episode drop 0"
    assert tab.value("location.hash") == "#lost=arm/drop%200"
    assert "--raw DIR" in tab.value("document.getElementById('detail').textContent")
    enter(tab, "kind", "failed")
    assert texts(tab) == ["cannot be read"] * 2


def test_on_a_phone_a_setting_stays_on_one_line(tab: Tab, address: str) -> None:
    tab.resize(*PHONE)
    tab.open(f"{address}#lost=arm/drop%200")
    tab.wait(f"{COMPLETE} && document.querySelector('.facts')")
    assert tab.value("document.querySelector('.facts code').textContent") == "--set min_frames=N"
    assert tab.value("document.querySelector('.facts code').getClientRects().length") == 1
    assert tab.value("document.documentElement.scrollWidth") == PHONE[0]


def test_a_drop_that_no_setting_changes_says_so(tab: Tab, shard_folder: Path, tmp_path: Path) -> None:
    page = export(ViewerFiles([shard_folder / "arm"], num_written=1), tmp_path / "out")
    meta = page.parent / "data" / "meta.js"
    asked = '{"short":"--set min_frames=N (now 13)"}'
    assert asked in meta.read_text()
    meta.write_text(meta.read_text().replace(asked, "{}"))
    for episode, is_told in (("drop%200", True), ("broken", False)):
        leave(tab)
        tab.open(f"{page.as_uri()}#lost=arm/{episode}")
        tab.wait(f"{COMPLETE} && document.querySelector('.facts')")
        told = tab.value("document.querySelector('.facts').textContent")
        assert ("to keep itno setting of this source keeps such an episode" in told) is is_told


def test_the_list_turns_to_what_a_link_names(tab: Tab, address: str) -> None:
    kind, current = (
        "document.getElementById('kind').value",
        "document.querySelector('.row.current').getAttribute('href')",
    )
    tab.open(f"{address}#lost=film/drop%201")
    tab.wait(f"{COMPLETE} && document.querySelector('h2').textContent === 'Dropped: too few frames'")
    assert (tab.value(kind), tab.value(current)) == ("dropped short", "#lost=film/drop%201")
    assert texts(tab) == ["too few frames"] * 4

    enter(tab, "source", "1")
    tab.open(f"{address}#lost=arm/broken")
    tab.wait("document.querySelector('h2').textContent.startsWith('Failed')")
    assert (tab.value(kind), tab.value(current)) == ("failed", "#lost=arm/broken")
    assert tab.value("document.getElementById('source').value") == ""

    enter(tab, "kind", "lost")
    click(tab, ".row")
    tab.wait("location.hash === '#lost=arm/drop%200'")
    assert tab.value(kind) == "lost", "a list that has the episode stays"
    tab.open(f"{address}#clip=film-{2:016x}")
    tab.wait("document.querySelector('h2').textContent === 'Moving something'")
    assert (tab.value(kind), tab.value(current)) == ("clips", f"#clip=film-{2:016x}")


def test_an_episode_is_found_by_its_id_as_it_is_printed(tab: Tab, address: str) -> None:
    """People write addresses by hand: ids have slashes, spaces and percent signs, escaped or not."""
    tab.open(address)
    tab.wait(COMPLETE)
    chunk = "{source: 0, first: 99, episodes: ['a/b c/1%'], parts: ['p'], reasons: ['short'], outcomes: ['dropped']"
    tab.value(f"VITA.list.addLost({chunk}, details: ['']}})")
    for typed in ("a/b c/1%", "a%2Fb%20c%2F1%25", "a/b%20c/1%25"):
        tab.open(f"{address}#lost=arm/absent")
        tab.wait("document.getElementById('detail').textContent === 'No episode has this address.'")
        tab.value(f"location.hash = '#lost=arm/{typed}'")
        tab.wait("document.querySelector('.about')?.textContent === 'episode a/b c/1%'")


def test_on_a_phone_list_and_clip_take_turns_and_nothing_is_too_wide(tab: Tab, address: str) -> None:
    tab.resize(*PHONE)
    tab.open(address)
    tab.wait(COMPLETE)
    width = "document.documentElement.scrollWidth"
    assert tab.value("getComputedStyle(document.querySelector('article')).display") == "none"
    assert tab.value(width) == PHONE[0]

    click(tab, ".row")
    tab.wait(SHOWN)
    assert tab.value("getComputedStyle(document.querySelector('aside')).display") == "none"
    assert tab.value(width) == PHONE[0]
    assert tab.value("document.querySelector('.camera canvas').getBoundingClientRect().width") > PHONE[0] / 2
    assert tab.value("document.getElementById('play').getBoundingClientRect().bottom") < PHONE[1], "at hand at once"
    assert "film forbids redistribution" in tab.value("document.getElementById('notice').innerText")
    click(tab, ".back")
    tab.wait("getComputedStyle(document.querySelector('aside')).display !== 'none'")


def test_a_clip_that_was_not_exported_is_told(tab: Tab, shard_folder: Path, tmp_path: Path) -> None:
    files = ViewerFiles([shard_folder / "arm"], num_written=1)
    tab.open(export(files, tmp_path / "out").as_uri() + f"#clip=arm-{1:016x}")
    tab.wait(COMPLETE)
    assert "The first 1 clips" in tab.value("document.getElementById('notice').textContent")
    tab.wait("document.getElementById('detail').textContent.includes('Only the first 1 clips of each source')")


@pytest.mark.slow
def test_ten_thousand_clips_open_with_few_elements(tab: Tab, tmp_path: Path) -> None:
    write_many(tmp_path / "many", 10_000)
    pages = served(ViewerFiles([tmp_path / "many"]))
    address = next(pages)
    spans = []
    for _ in range(3):
        leave(tab)
        tab.open(address)
        spans.append(tab.wait(f"{COMPLETE} && {SHOWN}"))
    assert tab.value("VITA.list.total()") == 11_000
    assert tab.value("document.querySelectorAll('#rows .row').length") < 20, "only rows in view are elements"
    tab.value("document.getElementById('list').scrollTop = 1e9")
    tab.wait("[...document.querySelectorAll('#rows .row b')].at(-1).textContent.endsWith('number 9999')")
    assert next(pages, None) is None
    # pytest -s shows it; a test does not judge seconds
    sys.stdout.write(f"10,000 clips: list and first picture after {min(spans):.2f} s\n")
