"""Use the web demo in a real browser: upload, paste, drop, camera, examples, pointer and keyboard, refusals, several captions; nothing may leave the machine.

    python tests/app_page.py [FOLDER FOR SCREENSHOTS [MODEL]]

Needs gradio, playwright, axe-playwright-python and a browser (tests/browser.py).
"""
import contextlib
import io
import json
import os
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from browser import OVERFLOW, complaints, launch_or_exit

CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
CREATURE = {"colour": "red", "body": "round", "pattern": "striped", "part": "horns", "mood": "smiling", "place": "snow"}
LIMIT = 1 # MB
# The words region after each change
RECORD = """() => { window.states = []; const words = document.querySelector('#imgcap-words');
    new MutationObserver(() => { const text = [...words.querySelectorAll('li')].map(li => li.innerText).join('/'); if (text !== window.states.at(-1)) window.states.push(text) })
        .observe(words, {childList: true, subtree: true, characterData: true}) }"""
# A picture of one colour, given to the page as a hand would
HAND = """async ([event, type, name, bytes]) => {
    const data = new DataTransfer();
    const canvas = document.createElement('canvas');
    canvas.width = canvas.height = 64;
    const blob = bytes ? new Blob([bytes]) : await new Promise(done => canvas.toBlob(done));
    data.items.add(new File([blob], name, {type}));
    const options = {bubbles: true, cancelable: true};
    document.querySelector('h1').dispatchEvent(event === 'paste' ? new ClipboardEvent('paste', {...options, clipboardData: data}) : new DragEvent('drop', {...options, dataTransfer: data})) }"""


def watch_connections():
    "Addresses outside this machine that this process looks up or connects to, from now on."
    found = []
    def hook(event, given):
        if event == "socket.getaddrinfo": host = given[0]
        elif event == "socket.connect" and isinstance(given[1], tuple): host = given[1][0]
        else: return
        host = host.decode() if isinstance(host, bytes) else host
        if host not in ("127.0.0.1", "localhost", "::1", None): found.append(f"{event} {host}")
    sys.addaudithook(hook)
    return found


class Visit:
    "The page in a browser that records what it asks for and complains of."
    def __init__(self, browser, url, **options):
        self.context = browser.new_context(**options)
        self.page, self.problems = self.context.new_page(), []
        self.page.set_default_timeout(20_000)
        self.page.on("console", lambda message: self.problems.append(f"console: {message.text}") if message.type == "error" else None)
        self.page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        self.page.on("request", lambda request: None if request.url.startswith((url, "data:", f"blob:{url}")) else self.problems.append(f"request: {request.url}"))
        self.page.goto(url)
        self.page.locator("#imgcap-picture input[type=file]").wait_for(state="attached")
        self.page.locator(".imgcap-example").first.wait_for()

    def accessible(self, name):
        found = complaints(self.page, impacts=("serious", "critical"))
        assert not found, f"axe, {name}: " + "; ".join(found)

    def give(self, file): self.page.set_input_files("#imgcap-picture input[type=file]", file)

    def wait_for_caption(self, *texts):
        "Until these captions are shown, with a button for each word, and nothing else."
        words = [text.split() for text in texts]
        self.page.wait_for_function("words => JSON.stringify(words) === JSON.stringify([...document.querySelectorAll('.imgcap-captions li')].map(li => [...li.querySelectorAll('button')].map(b => b.innerText)))", arg=words)

    def wait_for_message(self, text): self.page.locator("#imgcap-status", has_text=text).wait_for()

    def veil(self):
        "Source of the heat map over the picture, or None."
        veil = self.page.locator(".imgcap-veil")
        return veil.get_attribute("src") if veil.is_visible() else None

    def close(self):
        if self.problems: raise AssertionError("\n".join(self.problems))
        self.context.close()


def look(visit):
    "The heat map follows the pointer and the keyboard."
    page, words = visit.page, visit.page.locator(".imgcap-word")
    assert visit.veil() is None, "a heat map without a word"
    seen = []
    for i in (0, 2, 5):
        words.nth(i).hover()
        seen.append(visit.veil())
        assert seen[-1] == words.nth(i).get_attribute("data-veil") and page.locator(".imgcap-readout").inner_text() == words.nth(i).get_attribute("aria-label")
    assert len(set(seen)) == 3, "several words with one heat map"
    box, over = page.locator(".imgcap-picture").bounding_box(), page.locator(".imgcap-veil").bounding_box()
    assert all(abs(box[side] - over[side]) < 2 for side in box), f"the heat map {over} does not lie on the picture {box}"
    page.mouse.move(5, 5)
    assert visit.veil() is None, "the heat map stays when the pointer has left"

    page.locator(".imgcap-example").last.focus()
    for i in range(3):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className").startswith("imgcap-word"), "the Tab key does not go from word to word"
        assert visit.veil() == words.nth(i).get_attribute("data-veil")
        label = words.nth(i).get_attribute("aria-label")
        assert label.startswith(words.nth(i).inner_text().strip(",.")) and " % sure" in label.replace("%", " %")
    page.evaluate("document.activeElement.blur()")


def refuse(visit, folder):
    "What is no picture, or too large, is refused in a sentence, before and after it is sent."
    for name, content in {"notes.txt": b"buy milk", "renamed.png": b"buy milk", "large.png": bytes(LIMIT * 1_000_000 + 1)}.items():
        (folder / name).write_bytes(content)
    visit.give(folder / "notes.txt")
    visit.wait_for_message("notes.txt is not a picture. Choose a JPEG, PNG, WebP or GIF file.")
    visit.give(folder / "large.png")
    visit.wait_for_message("large.png has 1.0 MB, more than the 1 MB that are taken")
    visit.page.evaluate(HAND, ["drop", "text/html", "<b>page</b>.html", "<p>"])
    visit.wait_for_message("<b>page</b>.html is not a picture")
    assert visit.page.locator(".imgcap-word").count(), "a refused file should leave the last caption alone"
    visit.give(folder / "renamed.png")
    visit.wait_for_message("renamed.png cannot be used: not a picture")
    assert visit.page.locator(".imgcap-word, .imgcap-picture").count() == 0, "a caption of the last picture stands below a refusal"


def give_by_hand(visit):
    "Paste, drop, and the camera."
    for event in ("paste", "drop"):
        visit.page.evaluate(RECORD)
        visit.page.evaluate(HAND, [event, "image/png", f"{event}.png", None])
        visit.page.wait_for_function("window.states.length > 2 && document.querySelector('.imgcap-word')")
    visit.page.get_by_label("Remove Image").click()
    visit.page.locator(".imgcap-picture").wait_for(state="detached")
    visit.page.get_by_label("Capture from camera").click()
    visit.page.locator("#imgcap-picture").get_by_text("Click to Access Webcam").click()
    visit.page.locator("#imgcap-picture video").wait_for()
    visit.page.wait_for_function("document.querySelector('#imgcap-picture video').videoWidth > 0")
    visit.page.get_by_label("capture photo").click()
    visit.page.locator(".imgcap-word").first.wait_for()


def ask(url, path, body, **headers):
    "Status of a request that no page would send."
    request = urllib.request.Request(url + path, body, headers)
    try: return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10).status
    except urllib.error.HTTPError as error: return error.code


def attack(url, outside, visit):
    "Large files are refused by the server as well, addresses are not fetched, files of this machine are not read, and a page cannot talk to others."
    large = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n' + bytes(LIMIT * 2_000_000) + b"\r\n--x--\r\n"
    assert ask(url, "gradio_api/upload", large, **{"Content-Type": "multipart/form-data; boundary=x"}) == 413
    config = json.load(urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url + "config", timeout=10))
    write = next(d for d in config["dependencies"] if len(d["inputs"]) > 5)
    with contextlib.redirect_stderr(io.StringIO()): # gradio prints where each goes wrong
        for path in ("http://192.0.2.1/picture.png", "/etc/hostname", __file__):
            data = [{"path": path, "url": path, "meta": {"_type": "gradio.FileData"}}, "none", "likeliest", 1, 1, 1, .9, 0, 10, 3, "", "", ""]
            body = json.dumps({"data": data, "fn_index": write["id"], "session_hash": "attack"}).encode()
            assert ask(url, "gradio_api/queue/join", body, **{"Content-Type": "application/json"}) == 200
        stream = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url + "gradio_api/queue/data?session_hash=attack", timeout=20)
        done = [message for line in stream if line.startswith(b"data:") and (message := json.loads(line[5:]))["msg"] == "process_completed"]
    assert len(done) == 3 and not any(message["success"] for message in done), done
    assert not outside, f"the server turned to {outside}"
    assert visit.page.evaluate("fetch('http://192.0.2.1/').then(() => 'sent', error => 'blocked')") == "blocked"
    refused = [problem for problem in visit.problems if "Content Security Policy" in problem]
    assert refused, "nothing keeps the page from asking other addresses"
    visit.problems = [problem for problem in visit.problems if "192.0.2.1" not in problem]


def main(screenshots=None, model="git-tiny"):
    try: from playwright.sync_api import sync_playwright; import axe_playwright_python, gradio  # noqa: F401
    except ImportError as error: sys.exit(f"{error}; make test installs it")
    outside = watch_connections()
    from imgcap.app import launch
    from imgcap.creatures import draw_creature
    from imgcap.infer import Captioner
    captioner = Captioner(model, device="cpu")
    picture = draw_creature(CREATURE, seed=3).crop((0, 12, 256, 240)) # not square
    caption = captioner(picture).text
    os.environ["HTTP_PROXY"] = "http://127.0.0.1:9" # nothing listens there
    running = launch(captioner, port=0, max_megabytes=LIMIT, wait=False)
    del os.environ["HTTP_PROXY"]
    assert running.local_url.startswith("http://127.0.0.1:"), running.local_url
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        folder = Path(folder)
        picture.save(folder / "creature.png")
        browser = launch_or_exit(playwright, *CAMERA)
        for name, options in {"desktop": {"viewport": {"width": 1200, "height": 860}}, "dark": {"viewport": {"width": 1200, "height": 860}, "color_scheme": "dark"},
                              "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}}.items():
            visit = Visit(browser, running.local_url, **options)
            page = visit.page
            if name == "desktop": visit.accessible("before a picture")
            page.evaluate(RECORD)
            visit.give(folder / "creature.png")
            visit.wait_for_caption(caption)
            grown = [state for state in page.evaluate("window.states") if state]
            assert len(grown) > 3 and all(caption.startswith(state) for state in grown), f"the caption did not come word by word: {grown}"
            assert page.locator(".imgcap-picture").get_attribute("alt") == caption
            page.locator("#imgcap-status [role=status][aria-live=polite]", has_text=caption).wait_for(state="attached")  # what a screen reader says
            word = page.locator(".imgcap-word").nth(next((i for i, word in enumerate(caption.split()) if word in ("smiling", "happy")), 1))
            word.tap() if name == "phone" else word.hover()
            assert visit.veil() == word.get_attribute("data-veil")
            assert page.evaluate(OVERFLOW) <= 0, f"{name}: the page is wider than its window"
            if screenshots:
                Path(screenshots).mkdir(parents=True, exist_ok=True)
                page.wait_for_timeout(300)
                page.screenshot(path=Path(screenshots) / f"app-{name}.png", full_page=name == "phone")
            if name == "desktop":
                page.mouse.move(5, 5)
                look(visit)
                page.get_by_role("button", name="How words are chosen").focus()
                page.keyboard.press("Enter")
                page.get_by_label("Begin with").fill("a small")
                page.get_by_label("number input for How many captions").fill("3")
                page.get_by_role("button", name="Write again").click()
                visit.wait_for_caption(*(c.text for c in captioner(picture, num_return_sequences=3, diversity_penalty=1.0, prefix="a small")))
                visit.accessible("with options")
                if screenshots: page.screenshot(path=Path(screenshots) / "app-options.png", full_page=True)
                for label in ("Words to say", "Words to avoid"): page.get_by_label(label).fill("red, hat")
                page.get_by_role("button", name="Write again").click()
                visit.wait_for_message("which forbid_words forbids")
                for label in ("Words to say", "Words to avoid", "Begin with"): page.get_by_label(label).fill("")
                page.get_by_label("number input for How many captions").fill("1")
                page.locator(".imgcap-example").nth(1).focus()
                page.keyboard.press("Enter")
                page.locator(".imgcap-word").first.wait_for()
                assert page.locator(".imgcap-captions li").first.inner_text().startswith(captioner(draw_creature(dict(zip(CREATURE, ("blue", "tall", "spotted", "ears", "surprised", "grass"))), seed=1)).text)
                refuse(visit, folder)
                give_by_hand(visit)
                attack(running.local_url, outside, visit)
            else: visit.accessible(name)
            visit.close()
        browser.close()
    running.close(verbose=False)
    assert not outside, f"the server turned to {outside}"
    print("the page captions what is uploaded, pasted, dropped or photographed, word by word; its heat maps follow pointer, keyboard and finger; "
          "it refuses in sentences; axe finds nothing serious; no request left 127.0.0.1")


if __name__ == "__main__": main(*sys.argv[1:])
