"""The page in a real browser: it says nothing in the console, asks nobody, is accessible, sorts and finds."""

from contextlib import contextmanager

import pytest
from made_up_runs import write_answers, write_run


@contextmanager
def opened(browser, path, **settings):
    context = browser.new_context(**settings)
    page = context.new_page()
    complaints, asked = [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    yield page
    assert complaints == []
    assert [url for url in asked if not url.startswith(("data:", path.as_uri()))] == []
    context.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("which", "settings"),
    [
        ("page", {"color_scheme": "light", "viewport": {"width": 1280, "height": 900}}),
        ("two", {"color_scheme": "dark", "viewport": {"width": 390, "height": 800}}),
    ],
    ids=["one run, light", "two runs, dark and narrow"],
)
def test_accessible_at_every_width_in_light_and_dark(browser, request, which, settings):
    from axe_playwright_python.sync_playwright import Axe

    path, _ = request.getfixturevalue(which)
    with opened(browser, path, **settings) as page:
        page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        assert Axe().run(page).response["violations"] == []
        # no part is wider than the screen: tables scroll within themselves
        assert page.evaluate("document.documentElement.scrollWidth") <= settings["viewport"]["width"]


def test_tables_are_sorted_by_their_heads(browser, page):
    path, _ = page
    with opened(browser, path) as tab:
        table = tab.locator("#run1-classes table")
        names = table.locator("tbody th")
        before = names.all_inner_texts()
        table.get_by_role("button", name="Class").click()
        assert names.all_inner_texts() == sorted(before) != before
        assert table.locator("th[aria-sort]").get_attribute("aria-sort") == "ascending"
        table.get_by_role("button", name="Accuracy").click()
        table.get_by_role("button", name="Accuracy").click()
        shares = [float(text.split()[0]) for text in table.locator("tbody td:nth-child(2)").all_inner_texts()]
        assert shares == sorted(shares, reverse=True) and len(set(shares)) > 1


def test_a_class_among_many_is_found(browser, tmp_path, write_report):
    names = tuple(f"class {k}" for k in range(60))  # too many for a matrix
    answers = write_answers(tmp_path / "p.csv", names, 2)
    run = write_run(tmp_path / "run", names)
    write_report([run], tmp_path / "a.html", "--predictions", answers)
    with opened(browser, tmp_path / "a.html") as tab:
        tab.get_by_text("All 60 classes").click()
        tab.get_by_label("Find a class").fill("class 5")
        assert tab.locator("output").inner_text() == "11 of 60"
        assert tab.locator("details.all tbody tr:visible").count() == 11


def test_a_matrix_of_many_classes_scrolls_within_itself(browser, tmp_path, write_report):
    names = tuple(f"a long name {k}" for k in range(40))
    answers = write_answers(tmp_path / "p.csv", names, 2)
    run = write_run(tmp_path / "run", names)
    write_report([run], tmp_path / "a.html", "--predictions", answers)
    with opened(browser, tmp_path / "a.html", viewport={"width": 390, "height": 800}) as tab:
        assert tab.locator("table.matrix.dense.upright tbody tr").count() == 40
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.slow
def test_on_paper_it_is_light_and_whole(browser, page):
    path, _ = page
    with opened(browser, path, color_scheme="dark") as tab:
        tab.emulate_media(media="print")
        assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert tab.locator("nav").is_hidden() and tab.locator("#run1-environment").is_visible()
        assert tab.pdf().startswith(b"%PDF")
