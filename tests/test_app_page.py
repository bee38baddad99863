"""The web demo in a real browser: upload, paste, drop, camera, examples, pointer and keyboard,
refusals, several captions; nothing may leave the machine."""

import contextlib
import io
import json
import os
import sys
import urllib.error
import urllib.request
from importlib.util import find_spec

import pytest
from browser import OVERFLOW

pytestmark = [
    pytest.mark.skipif(not find_spec("gradio"), reason="gradio is not installed"),
]
CREATURE = {
    "colour": "red",
    "body": "round",
    "pattern": "striped",
    "part": "horns",
    "mood": "smiling",
    "place": "snow",
}
EXAMPLE = dict(zip(CREATURE, ("blue", "tall", "spotted", "ears", "surprised", "grass")))
LIMIT = 1  # MB
WIDE = {"width": 1200, "height": 860}
SCREENS = {
    "desktop": {"viewport": WIDE},
    "dark": {"viewport": WIDE, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True},
}
# The words region after each change
RECORD = """() => { window.states = []; const words = document.querySelector('#imgcap-words');
    const read = () => [...words.querySelectorAll('li')].map(li => li.innerText).join('/');
    new MutationObserver(() => {
        const text = read(); if (text !== window.states.at(-1)) window.states.push(text) })
      .observe(words, {childList: true, subtree: true, characterData: true}) }"""
# A picture of one colour, given to the page as a hand would
HAND = """async ([event, type, name, bytes]) => {
    const data = new DataTransfer();
    const canvas = document.createElement('canvas');
    canvas.width = canvas.height = 64;
    const blob = bytes ? new Blob([bytes]) : await new Promise(done => canvas.toBlob(done));
    data.items.add(new File([blob], name, {type}));
    const options = {bubbles: true, cancelable: true};
    document.querySelector('h1').dispatchEvent(event === 'paste'
        ? new ClipboardEvent('paste', {...options, clipboardData: data})
        : new DragEvent('drop', {...options, dataTransfer: data})) }"""
SHOWN = """words => JSON.stringify(words) === JSON.stringify(
    [...document.querySelectorAll('.imgcap-captions li')]
        .map(li => [...li.querySelectorAll('button')].map(b => b.innerText)))"""
SEEN_BY_CAMERA = "document.querySelector('#imgcap-picture video').videoWidth > 0"
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
HERE = ("127.0.0.1", "localhost", "::1", None)


@pytest.fixture(scope="module")
def outside():
    "Addresses outside this machine that this process looks up or connects to, from now on."
    found, watching = [], [True]

    def hook(event, given):
        if not watching:
            return
        if event == "socket.getaddrinfo":
            host = given[0]
        elif event == "socket.connect" and isinstance(given[1], tuple):
            host = given[1][0]
        else:
            return
        host = host.decode() if isinstance(host, bytes) else host
        if host not in HERE:
            found.append(f"{event} {host}")

    sys.addaudithook(hook)
    yield found
    watching.clear()
    assert not found, f"the server turned to {found}"


@pytest.fixture(scope="module")
def captioner(outside):
    from imgcap.infer import Captioner

    return Captioner("git-tiny", device="cpu")


@pytest.fixture(scope="module")
def url(captioner, browser):
    "The address of the demo, started where a proxy is set that does not answer."
    from imgcap.app import launch

    os.environ["HTTP_PROXY"] = "http://127.0.0.1:9"
    try:
        running = launch(captioner, port=0, max_megabytes=LIMIT, wait=False)
    finally:
        del os.environ["HTTP_PROXY"]
    assert running.local_url.startswith("http://127.0.0.1:")
    yield running.local_url
    running.close(verbose=False)


@pytest.fixture(scope="module")
def picture():
    from imgcap.data.creatures import draw_creature

    return draw_creature(CREATURE, seed=3).crop((0, 12, 256, 240))  # not square


@pytest.fixture(scope="module")
def caption(captioner, picture):
    return captioner(picture).text


@pytest.fixture(scope="module")
def png(picture, tmp_path_factory):
    file = tmp_path_factory.mktemp("picture") / "creature.png"
    picture.save(file)
    return file


class Demo:
    "The page, and what a hand does with it."

    def __init__(self, visit):
        self.visit, self.page = visit, visit.page
        self.words = self.page.locator(".imgcap-word")
        self.page.locator("#imgcap-picture input[type=file]").wait_for(state="attached")
        self.page.locator(".imgcap-example").first.wait_for()

    def give(self, file):
        self.page.set_input_files("#imgcap-picture input[type=file]", file)

    def wait_for_caption(self, *texts):
        "Until these captions are shown, with a button for each word, and nothing else."
        self.page.wait_for_function(SHOWN, arg=[text.split() for text in texts])

    def wait_for_message(self, text):
        self.page.locator("#imgcap-status", has_text=text).wait_for()

    def veil(self):
        "Source of the heat map over the picture, or None."
        veil = self.page.locator(".imgcap-veil")
        return veil.get_attribute("src") if veil.is_visible() else None

    def accessible(self, name):
        self.visit.accessible(name, impacts=("serious", "critical"))


@pytest.fixture
def open_demo(visit, url):
    return lambda screen="desktop": Demo(visit(url, heard=("error",), **SCREENS[screen]))


@pytest.fixture
def demo(open_demo):
    return open_demo()


@pytest.fixture
def captioned(demo, png, caption):
    "The page with a picture and its caption."
    demo.give(png)
    demo.wait_for_caption(caption)
    return demo


@pytest.mark.parametrize("screen", SCREENS)
def test_upload(open_demo, screen, png, caption):
    demo = open_demo(screen)
    page = demo.page
    demo.accessible(f"{screen}, before a picture")
    page.evaluate(RECORD)
    demo.give(png)
    demo.wait_for_caption(caption)
    grown = [state for state in page.evaluate("window.states") if state]
    assert len(grown) > 3 and all(caption.startswith(state) for state in grown), "not word by word"
    assert page.locator(".imgcap-picture").get_attribute("alt") == caption
    said = page.locator("#imgcap-status [role=status][aria-live=polite]", has_text=caption)
    said.wait_for(state="attached")  # what a screen reader says
    mood = (i for i, word in enumerate(caption.split()) if word in ("smiling", "happy"))
    word = demo.words.nth(next(mood, 1))
    word.tap() if screen == "phone" else word.hover()
    assert demo.veil() == word.get_attribute("data-veil")
    assert page.evaluate(OVERFLOW) <= 0, "the page is wider than its window"
    demo.accessible(screen)


def test_heat_map_follows_the_pointer(captioned):
    page, words = captioned.page, captioned.words
    page.mouse.move(5, 5)
    assert captioned.veil() is None, "a heat map without a word"
    seen = []
    for i in (0, 2, 5):
        words.nth(i).hover()
        seen.append(captioned.veil())
        assert seen[-1] == words.nth(i).get_attribute("data-veil")
        readout = page.locator(".imgcap-readout").inner_text()
        assert readout == words.nth(i).get_attribute("aria-label")
    assert len(set(seen)) == 3, "several words with one heat map"
    box, over = (page.locator(f".imgcap-{part}").bounding_box() for part in ("picture", "veil"))
    assert over == pytest.approx(box, abs=2), "the heat map does not lie on the picture"
    page.mouse.move(5, 5)
    assert captioned.veil() is None, "the heat map stays when the pointer has left"


def test_heat_map_follows_the_keyboard(captioned):
    page, words = captioned.page, captioned.words
    page.locator(".imgcap-example").last.focus()
    for i in range(3):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className").startswith("imgcap-word")
        assert captioned.veil() == words.nth(i).get_attribute("data-veil")
        label = words.nth(i).get_attribute("aria-label").replace("%", " %")
        assert label.startswith(words.nth(i).inner_text().strip(",.")) and "% sure" in label


def test_how_words_are_chosen(captioned, captioner, picture):
    page = captioned.page
    page.get_by_role("button", name="How words are chosen").focus()
    page.keyboard.press("Enter")
    page.get_by_label("Begin with").fill("a small")
    page.get_by_label("number input for How many captions").fill("3")
    page.get_by_role("button", name="Write again").click()
    wanted = captioner(picture, num_return_sequences=3, diversity_penalty=1.0, prefix="a small")
    captioned.wait_for_caption(*(each.text for each in [wanted, *wanted.others]))
    captioned.accessible("with options")
    for label in ("Words to say", "Words to avoid"):
        page.get_by_label(label).fill("red, hat")
    page.get_by_role("button", name="Write again").click()
    captioned.wait_for_message("which forbid_words forbids")


def test_example(demo, captioner):
    from imgcap.data.creatures import draw_creature

    demo.page.locator(".imgcap-example").nth(1).focus()
    demo.page.keyboard.press("Enter")
    demo.words.first.wait_for()
    demo.wait_for_caption(captioner(draw_creature(EXAMPLE, seed=1)).text)


def test_what_is_no_picture_or_too_large_is_refused(captioned, tmp_path):
    "In a sentence, before and after it is sent."
    contents = {
        "notes.txt": b"buy milk",
        "renamed.png": b"buy milk",
        "large.png": bytes(LIMIT * 1_000_000 + 1),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    captioned.give(tmp_path / "notes.txt")
    captioned.wait_for_message("notes.txt is not a picture. Choose a JPEG, PNG, WebP or GIF file.")
    captioned.give(tmp_path / "large.png")
    captioned.wait_for_message("large.png has 1.0 MB, more than the 1 MB that are taken")
    captioned.page.evaluate(HAND, ["drop", "text/html", "<b>page</b>.html", "<p>"])
    captioned.wait_for_message("<b>page</b>.html is not a picture")
    assert captioned.words.count(), "a refused file should leave the last caption alone"
    captioned.give(tmp_path / "renamed.png")
    captioned.wait_for_message("renamed.png cannot be used: not a picture")
    left = captioned.page.locator(".imgcap-word, .imgcap-picture").count()
    assert not left, "a caption of the last picture stands below a refusal"


@pytest.mark.parametrize("event", ["paste", "drop"])
def test_given_by_hand(demo, event):
    demo.page.evaluate(RECORD)
    demo.page.evaluate(HAND, [event, "image/png", f"{event}.png", None])
    demo.page.wait_for_function(
        "window.states.length > 2 && document.querySelector('.imgcap-word')"
    )


def test_camera(captioned):
    page = captioned.page
    page.get_by_label("Remove Image").click()
    page.locator(".imgcap-picture").wait_for(state="detached")
    page.get_by_label("Capture from camera").click()
    page.locator("#imgcap-picture").get_by_text("Click to Access Webcam").click()
    page.locator("#imgcap-picture video").wait_for()
    page.wait_for_function(SEEN_BY_CAMERA)
    page.get_by_label("capture photo").click()
    captioned.words.first.wait_for()


def ask(url, path, body, **headers):
    "Status of a request that no page would send."
    try:
        return DIRECT.open(urllib.request.Request(url + path, body, headers), timeout=10).status
    except urllib.error.HTTPError as error:
        return error.code


def test_server_refuses_large_files(url):
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    large = head + bytes(LIMIT * 2_000_000) + b"\r\n--x--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    assert ask(url, "gradio_api/upload", large, **kind) == 413


@pytest.mark.parametrize("path", ["http://192.0.2.1/picture.png", "/etc/hostname", __file__])
def test_server_takes_no_addresses_and_no_files_of_this_machine(url, outside, path):
    config = json.load(DIRECT.open(url + "config", timeout=10))
    write = next(each for each in config["dependencies"] if len(each["inputs"]) > 5)
    file = {"path": path, "url": path, "meta": {"_type": "gradio.FileData"}}
    data = [file, "none", "likeliest", 1, 1, 1, 0.9, 0, 10, 3, "", "", ""]
    session = f"attack-{abs(hash(path))}"
    body = json.dumps({"data": data, "fn_index": write["id"], "session_hash": session}).encode()
    with contextlib.redirect_stderr(io.StringIO()):  # gradio prints where it goes wrong
        sent = ask(url, "gradio_api/queue/join", body, **{"Content-Type": "application/json"})
        assert sent == 200
        stream = DIRECT.open(f"{url}gradio_api/queue/data?session_hash={session}", timeout=20)
        messages = [json.loads(line[5:]) for line in stream if line.startswith(b"data:")]
    done = [message for message in messages if message["msg"] == "process_completed"]
    assert len(done) == 1 and not done[0]["success"], done
    assert not outside


def test_page_cannot_talk_to_others(demo):
    fetch = "fetch('http://192.0.2.1/').then(() => 'sent', error => 'blocked')"
    assert demo.page.evaluate(fetch) == "blocked"
    problems = demo.visit.problems
    assert [each for each in problems if "Content Security Policy" in each]
    problems[:] = [each for each in problems if "192.0.2.1" not in each]  # what was provoked
