"""The web demo in a real browser: upload, paste, drop, camera, examples, pointer and keyboard,
refusals, several captions; nothing may leave the machine."""

import contextlib
import io
import json
import os
import sys
import time
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
WIDE = {"width": 1400, "height": 900}
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
SCREENS = {
    "desktop": {"viewport": WIDE},
    "dark": {"viewport": WIDE, "color_scheme": "dark"},
    "phone": PHONE,
    "dark phone": PHONE | {"color_scheme": "dark"},
}
# The words region after each change
RECORD = """() => { window.states = []; const words = document.querySelector('#imgcap-words');
    const read = () => [...words.querySelectorAll('.imgcap-caption')]
        .map(caption => caption.innerText).join('/');
    new MutationObserver(() => {
        const text = read(); if (text !== window.states.at(-1)) window.states.push(text) })
      .observe(words, {childList: true, subtree: true, characterData: true}) }"""
# A picture of one colour, given to the page as a hand would
HAND = """async ([event, type, name, bytes]) => {
    const data = new DataTransfer();
    if (type === 'address') data.setData('text/plain', bytes);
    const canvas = document.createElement('canvas');
    canvas.width = canvas.height = 64;
    const blob = bytes ? new Blob([bytes]) : await new Promise(done => canvas.toBlob(done));
    if (type !== 'address') data.items.add(new File([blob], name, {type}));
    const options = {bubbles: true, cancelable: true};
    document.querySelector('h1').dispatchEvent(event === 'paste'
        ? new ClipboardEvent('paste', {...options, clipboardData: data})
        : new DragEvent('drop', {...options, dataTransfer: data})) }"""
SHOWN = """words => JSON.stringify(words) === JSON.stringify(
    [...document.querySelectorAll('.imgcap-caption')]
        .map(caption => [...caption.querySelectorAll('button')].map(b => b.innerText)))"""
BACKGROUNDS = """[...document.querySelectorAll('.imgcap-word')]
    .map(word => getComputedStyle(word).backgroundColor)"""
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
        self.page.locator("p.loading").wait_for(state="detached")

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

    def lit(self):
        "Text of the words that are lit."
        return self.page.locator(".imgcap-lit").all_inner_texts()

    def captions(self):
        "What is shown, when all is written and looked for."
        self.page.wait_for_function(
            "!document.querySelector('#imgcap-status').innerText.includes('…')")
        return [text.replace("\n", " ")
                for text in self.page.locator(".imgcap-caption").all_inner_texts()]

    def press(self, name):
        "Press the button when it says this, and wait for the captions."
        self.page.get_by_role("button", name=name).click()
        self.page.locator("#imgcap-again[disabled]").wait_for()
        self.page.locator("#imgcap-again:not([disabled])").wait_for()
        return self.captions()

    def in_sight(self, selector):
        "Whether all of an element stands in the window, without scrolling."
        box = self.page.locator(selector).first.bounding_box()
        return 0 <= box["y"] and box["y"] + box["height"] <= self.page.viewport_size["height"]

    def accessible(self, name):
        self.visit.accessible(name)


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
    assert page.get_by_text("a photograph will be described as one of them").is_visible()
    assert page.get_by_role("button", name="Write another caption").is_disabled()
    assert demo.in_sight("#imgcap-picture") and demo.in_sight(".imgcap-example")
    demo.accessible(f"{screen}, before a picture")
    page.evaluate(RECORD)
    demo.give(png)
    demo.wait_for_caption(caption)
    grown = [state for state in page.evaluate("window.states") if state]
    assert len(grown) > 3 and all(caption.startswith(state) for state in grown), "not word by word"
    assert page.locator(".imgcap-picture").get_attribute("alt") == caption
    said = page.locator("#imgcap-status [role=status][aria-live=polite]", has_text=caption)
    said.wait_for(state="attached")  # what a screen reader says
    assert "its own probability, not the chance that it is right" in said.inner_text()
    assert page.locator("img:visible:not(.imgcap-veil)").count() == 5, "the picture is there twice"
    assert demo.in_sight(".imgcap-stack") and demo.in_sight(".imgcap-captions")
    page.locator("#imgcap-again:not([disabled])").wait_for()
    demo.accessible(f"{screen}, with a caption")
    word = page.locator(".imgcap-word[data-veil]:not([data-first])").first
    word.tap() if "phone" in screen else word.hover()
    assert demo.veil() == word.get_attribute("data-veil")
    assert page.evaluate(OVERFLOW) <= 0, "the page is wider than its window"
    hint = page.locator(".imgcap-hint").first.inner_text()
    assert hint.startswith("Tap a word" if "phone" in screen else "Point at a word")
    if "phone" in screen:
        page.evaluate("scrollTo(0, 250)")
        assert demo.in_sight(".imgcap-stack"), "the map scrolls away from its words"
    else:
        page.emulate_media(forced_colors="active")
        assert len(set(page.evaluate(BACKGROUNDS))) == 2, "which word is lit cannot be seen"


def test_heat_map_follows_the_pointer(captioned):
    page, words = captioned.page, captioned.words
    placed = page.locator(".imgcap-word[data-veil]")
    page.mouse.move(5, 5)
    likely = [float(each.get_attribute("aria-label").split(": ")[1].split("%")[0])
              for each in placed.all()]
    first = placed.nth(likely.index(max(likely)))
    assert captioned.lit() == [first.inner_text()], "the surest word is lit at first"
    assert captioned.veil() == first.get_attribute("data-veil")
    seen = []
    for word in words.all():
        word.hover()
        seen.append(captioned.veil())
        assert captioned.lit() == [word.inner_text()]
        assert seen[-1] == word.get_attribute("data-veil")
        readout = page.locator(".imgcap-readout").inner_text()
        assert readout == word.get_attribute("aria-label")
        assert (seen[-1] is None) == ("hangs on no part of the picture" in readout)
    assert len(set(seen)) == placed.count() + 1, "several words with one heat map"
    first.hover()
    box, over = (page.locator(f".imgcap-{part}").bounding_box() for part in ("picture", "veil"))
    assert over == pytest.approx(box, abs=2), "the heat map does not lie on the picture"
    words.first.click()
    page.mouse.move(5, 5)
    assert captioned.lit() == [words.first.inner_text()], "a word that was chosen stays"
    page.keyboard.press("Escape")
    assert captioned.veil() is None and not captioned.lit(), "the picture cannot be seen as it is"


def test_the_keyboard_does_everything(demo, caption, png):
    page = demo.page
    drawing = page.locator(".imgcap-example").nth(1)
    drawing.focus()
    page.keyboard.press("Enter")
    demo.words.first.wait_for()
    first = demo.captions()
    page.locator(".imgcap-remove").focus()
    for word in demo.words.all():
        page.keyboard.press("Tab")
        assert demo.lit() == [word.inner_text()]
        assert demo.veil() == word.get_attribute("data-veil")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator(".imgcap-copied", has_text="Copied").wait_for()
    assert page.locator(".imgcap-copied[role=status]").count() == 1
    page.locator("#imgcap-again:not([disabled])").wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "imgcap-again"
    page.keyboard.press("Enter")
    page.locator("#imgcap-again[disabled]").wait_for()
    page.locator("#imgcap-again:not([disabled])").wait_for()
    assert page.evaluate("document.activeElement.id") == "imgcap-again", "the focus is lost"
    assert demo.captions() != first
    page.get_by_role("button", name="How words are chosen").focus()
    page.keyboard.press("Enter")
    page.get_by_label("Begin with").focus()
    page.keyboard.press("Control+V")
    assert page.get_by_label("Begin with").input_value() == first[0], "what was copied"
    page.locator(".imgcap-remove").focus()
    page.keyboard.press("Enter")
    page.locator(".imgcap-stack").wait_for(state="detached")
    page.wait_for_function("document.activeElement.closest('#imgcap-picture')")
    page.get_by_role("button", name="Write", disabled=True).wait_for()  # without a picture


def test_the_default_path_then_its_ends(captioned, captioner, caption):
    "Every widget as it is, then all at their lowest, then all at their highest."
    page, seen = captioned.page, {caption}
    for _ in range(2):
        [text] = captioned.press("Write another caption")
        assert text not in seen
        seen.add(text)
    page.get_by_text("drawn at random: others that it finds likely").wait_for()
    page.get_by_role("button", name="How words are chosen").click()
    for label in ("Temperature", "Top p", "Seed"):
        assert not page.get_by_label(label, exact=False).first.is_visible(), "it does nothing here"
    page.get_by_role("radio", name="none").check()
    for kind, gone in (("the likeliest", "Temperature"), ("drawn at random", "Beams")):
        page.get_by_role("radio", name=kind).check()
        page.locator("label", has_text=gone).wait_for(state="detached")
        for end in ("Home", "End"):
            for slider in page.locator("input[type=range]:visible").all():
                slider.press(end)
            texts = captioned.press("Write with these choices")
            refusal = page.locator(".imgcap-refusal").count()
            assert not refusal and 0 < len(texts) == len(set(texts)) <= 5, (kind, end)
    captioned.accessible("with options")


def test_how_words_are_chosen(captioned, captioner, picture):
    page = captioned.page
    page.get_by_role("button", name="How words are chosen").focus()
    page.keyboard.press("Enter")
    page.get_by_label("Begin with").fill("a small")
    page.get_by_label("number input for How many captions").fill("3")
    captioned.press("Write with these choices")
    wanted = captioner(picture, num_return_sequences=3, diversity_penalty=1.0, prefix="a small")
    captioned.wait_for_caption(*(each.text for each in [wanted, *wanted.others]))
    assert len(captioned.lit()) == 1 and captioned.veil() == page.locator(
        ".imgcap-lit").get_attribute("data-veil"), "one word of three captions is lit"
    page.get_by_label("Begin with").fill("")
    page.get_by_label("Words to say").fill("umbrella")
    page.locator("label", has_text="Beams").wait_for(state="detached")
    assert page.get_by_role("radio", name="drawn at random").is_disabled(), "nothing is drawn"
    page.get_by_role("button", name="Write with these choices").click()
    captioned.wait_for_message("These words were forced; the model finds them unlikely")
    page.get_by_label("Words to avoid").fill("red, umbrella")
    page.get_by_role("button", name="Write with these choices").click()
    captioned.wait_for_message("says 'umbrella', which “Words to avoid” forbids")
    captioned.accessible("with an error")


def drawing():
    "The second of the drawings to try."
    from imgcap.data.creatures import draw_creature

    return draw_creature(EXAMPLE, seed=1)


def test_example(demo, captioner):
    demo.page.locator(".imgcap-example").nth(1).focus()
    demo.page.keyboard.press("Enter")
    demo.words.first.wait_for()
    demo.wait_for_caption(captioner(drawing()).text)


def test_nobody_waits_for_words_that_nobody_wants(open_demo, captioner, png):
    "A picture that is given or taken away ends what was being written for the last."
    one, two = open_demo(), open_demo()
    slow = captioner.model.register_forward_hook(lambda *given: time.sleep(0.3))
    try:
        one.give(png)
        one.page.locator(".imgcap-caption").wait_for()
        two.page.locator(".imgcap-example").nth(1).click()
        two.wait_for_message("Waiting for the model")
        one.page.locator(".imgcap-example").nth(2).click()
        two.page.locator(".imgcap-caption").wait_for(timeout=2000)
        assert not one.page.locator(".imgcap-stack").is_visible(), "the picture before"
        one.page.locator(".imgcap-remove").click()
        one.page.locator(".imgcap-stack").wait_for(state="detached", timeout=2000)
        one.wait_for_message("Give it a picture")
    finally:
        slow.remove()
    assert two.captions() == [captioner(drawing()).text]


def test_what_is_no_picture_or_too_large_is_refused(captioned, tmp_path):
    "In a person's sentence, before and after it is sent."
    page = captioned.page
    here = {
        "notes.txt": (b"buy milk", "notes.txt holds text, and is no picture. Choose another file."),
        "plan.pdf": (b"%PDF-1.7", "plan.pdf is a PDF file. Save the page that you mean as"),
        "logo.svg": (b"<svg/>", "logo.svg is an SVG drawing, made of lines. Save it as PNG."),
        "photo": (b"buy milk", "photo has no ending, such as .jpg or .png, by which a browser"),
        "none.png": (b"", "none.png is empty: 0 bytes. Copy or download it again."),
        "large.png": (bytes(LIMIT * 1_000_000 + 1), "large.png has 1.01 MB; at most 1 are taken."),
    }
    for name, (content, wanted) in here.items():
        (tmp_path / name).write_bytes(content)
        captioned.give(tmp_path / name)
        captioned.wait_for_message(wanted)
    page.evaluate(HAND, ["drop", "text/html", "<b>page</b>.html", "<p>"])
    captioned.wait_for_message("<b>page</b>.html is a web page. Save the picture in it")
    page.evaluate(HAND, ["paste", "address", "", "https://192.0.2.1/elephant.jpg"])
    captioned.wait_for_message("That is an address, and this page fetches nothing: save the pictu")
    assert captioned.words.count(), "a refused file should leave the last caption alone"
    page.locator(".imgcap-remove").click()
    page.locator(".imgcap-stack").wait_for(state="detached")
    (tmp_path / "renamed.png").write_bytes(b"buy milk")
    captioned.give(tmp_path / "renamed.png")
    captioned.wait_for_message("renamed.png holds text, and is no picture.")
    captioned.accessible("a refusal")
    left = page.locator(".imgcap-word, .imgcap-picture, #imgcap-picture img").count()
    assert not left, "something of the last picture stands beside a refusal"
    assert captioned.in_sight("#imgcap-picture"), "there is no place for the next picture"


@pytest.mark.parametrize("event", ["paste", "drop"])
def test_given_by_hand(demo, event):
    demo.page.evaluate(RECORD)
    demo.page.evaluate(HAND, [event, "image/png", f"{event}.png", None])
    demo.page.wait_for_function(
        "window.states.length > 2 && document.querySelector('.imgcap-word')"
    )


def test_camera(captioned):
    page = captioned.page
    page.locator(".imgcap-remove").click()
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
    data = [file, "likeliest", 1, 1, 0.9, 0, 1, 10, 3, "", "", "", "none"]
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


@pytest.fixture
def asking(outside, browser):
    "The address of the demo of a model that is asked in words."
    from imgcap.app import launch

    running = launch("smol-tiny", port=0, wait=False)
    yield running.local_url
    running.close(verbose=False)


def test_a_chat_model_has_a_field_for_what_is_asked(asking, visit, png):
    "With the usual questions on buttons; another question, another caption."
    from imgcap.families.prompts import QUESTIONS
    from imgcap.infer import Captioner

    for screen in ("desktop", "dark phone"):
        # gradio warns where it ends a stream that has not begun
        demo = Demo(visit(asking, heard=("error",), **SCREENS[screen]))
        field = demo.page.get_by_label("What is asked")
        assert field.input_value() == QUESTIONS["short"]
        demo.page.get_by_role("button", name="alt-text").click()
        demo.page.wait_for_function(
            "text => document.querySelector('#imgcap-prompt textarea').value === text",
            arg=QUESTIONS["alt-text"])
        demo.accessible(f"what is asked, {screen}")
        assert demo.page.evaluate(OVERFLOW) <= 0, screen
    demo.give(png)
    demo.page.locator("#imgcap-again:not([disabled])").wait_for()
    asker, prompt = Captioner("smol-tiny", device="cpu"), "What is {name} called?"
    assert demo.captions() == [asker(png, prompt="alt-text").text]
    field.fill(prompt)
    field.blur()
    assert demo.press("Write with these choices") == [asker(png, prompt=prompt).text]
