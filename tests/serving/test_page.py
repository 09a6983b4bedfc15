"""The page at `/` in a real browser, by mouse, keyboard and the eyes of a screen reader."""

import re
from contextlib import contextmanager

import pytest
from tiny_onnx import write_tiny_onnx

NAMES = ("red", "green", "blue", "<b>bold</b>", "five", "six", "seven")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_onnx(tmp_path_factory.mktemp("page") / "tiny.onnx", class_names=NAMES)


@pytest.fixture(scope="module")
def running(serve_module, model):
    return serve_module(model)


@contextmanager
def opened(browser, running, path="/"):
    """The page, which must neither complain in its console nor ask another host."""
    context = browser.new_context(bypass_csp=False)
    page = context.new_page()
    complaints, asked = [], []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    # Told so only when a test waits for the dialog, Chromium may hear of it after the key
    page.on("filechooser", lambda chooser: None)
    page.goto(f"http://{running.address}{path}")
    yield page
    assert [text for text in complaints if "Failed to load resource" not in text] == []
    ours = (f"http://{running.address}/", f"blob:http://{running.address}/", "data:")
    assert asked and [url for url in asked if not url.startswith(ours)] == []
    context.close()


def bars(page):
    return [
        (row.locator("th").inner_text(), float(row.locator("progress").get_attribute("value")))
        for row in page.locator("#bars tr").all()
    ]


def choose(page, name, data, kind="image/png"):
    page.locator("#file").set_input_files({"name": name, "mimeType": kind, "buffer": data})


def test_five_likeliest_classes_as_bars(browser, running, picture):
    with opened(browser, running) as page:
        assert page.locator("#result").is_hidden()
        choose(page, "sea.png", picture("blue"))
        page.locator("#result").wait_for(state="visible")
        found = bars(page)
        assert len(found) == 5 and found[0][0] == "blue"
        assert [value for _, value in found] == sorted((value for _, value in found), reverse=True)
        # a class name is text, whatever it looks like
        assert "<b>bold</b>" in [name for name, _ in found]
        assert re.fullmatch(r"Done\. Likeliest: blue, \d+\.\d %\.", page.get_by_role("status").inner_text())
        latency = page.locator("#latency").inner_text()
        pattern = (
            r"\d+ ms from here and back; of these \d+\.\d ms reading the image, "
            r"\d+\.\d ms in tiny \(version [0-9a-f]{12}\)\."
        )
        assert re.fullmatch(pattern, latency)
        assert page.locator("#preview").get_attribute("alt") == "Your image, sea.png"
        assert page.locator("#preview").evaluate("image => image.naturalWidth") == 50


def test_drop_and_paste(browser, running, picture):
    send = """([kind, where, bytes]) => {
        const transfer = new DataTransfer();
        transfer.items.add(new File([new Uint8Array(bytes)], "dropped.png", {type: "image/png"}));
        const options = {bubbles: true, cancelable: true, dataTransfer: transfer, clipboardData: transfer};
        const event = kind === "paste" ? new ClipboardEvent(kind, options) : new DragEvent(kind, options);
        document.querySelector(where).dispatchEvent(event);
        return event.defaultPrevented;
    }"""
    with opened(browser, running) as page:
        # without this the browser would leave the page for the file
        assert page.evaluate(send, ["dragover", "#drop", list(picture("red"))])
        assert "over" in page.locator("#drop").get_attribute("class")
        assert page.evaluate(send, ["drop", "#drop", list(picture("red"))])
        page.get_by_text("Likeliest: red").wait_for()
        page.evaluate(send, ["drop", "h1", list(picture("blue"))])  # beside the area, too
        page.get_by_text("Likeliest: blue").wait_for()
        page.evaluate(send, ["paste", "body", list(picture("lime"))])
        page.get_by_text("Likeliest: green").wait_for()


def test_keyboard_alone(browser, running, picture, tmp_path):
    (tmp_path / "a.png").write_bytes(picture("red"))
    with opened(browser, running) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "file"
        with page.expect_file_chooser() as chooser:
            page.keyboard.press("Enter")
        chooser.value.set_files(tmp_path / "a.png")
        page.get_by_text("Likeliest: red").wait_for()
        # focus stays where it was, for the next image; the field can be seen to have it
        assert page.evaluate("document.activeElement.id") == "file"
        style = "getComputedStyle(document.querySelector('#drop')).outlineStyle"
        assert page.evaluate(style) == "solid"


def test_what_a_screen_reader_says(browser, running, picture):
    from axe_playwright_python.sync_playwright import Axe

    with opened(browser, running) as page:
        assert 'button "Drop an image here, paste it, or choose a file"' in page.locator("body").aria_snapshot()
        choose(page, "sea.png", picture("blue"))
        page.locator("#result").wait_for(state="visible")
        said = page.locator("body").aria_snapshot()
        for words in (
            'heading "Classify an image" [level=1]',
            'status: "Done. Likeliest: blue,',
            'region "Likeliest classes"',
            'img "Your image, sea.png"',
            'table "The five likeliest classes with their probabilities"',
            'rowheader "blue"',
        ):
            assert words in said, said
        assert re.search(r'row "blue \d+\.\d %"', said), said
        # axe-core's rules for names, roles, contrast, structure
        assert Axe().run(page).response["violations"] == []


def test_reasons_are_shown(browser, running, picture):
    with opened(browser, running) as page:
        choose(page, "a.png", b"no image")
        alert = page.get_by_role("alert")
        alert.get_by_text("Not classified: the image cannot be used: it is not an image in a known format").wait_for()
        assert page.locator("#result").is_hidden()
        choose(page, "b.png", picture("red"))
        page.get_by_text("Likeliest: red").wait_for()
        assert alert.inner_text() == ""


def test_a_key_is_asked_for(browser, serve, model, picture):
    with opened(browser, serve(model, key="sesame")) as page:
        choose(page, "a.png", picture("red"))
        page.get_by_text("Not classified: this server needs its key").wait_for()
        assert page.evaluate("document.activeElement.id") == "key"
        page.keyboard.type("sesame")
        page.keyboard.press("Enter")
        page.get_by_text("Likeliest: red").wait_for()


@pytest.mark.slow
def test_the_api_page_works_offline(browser, running):
    with opened(browser, running, "/docs") as page:
        page.get_by_text("/v2/models/{model}/infer").wait_for()
        page.get_by_text("InferenceRequest").first.wait_for()
