"""Open a report.html and a page of ablations in a real browser without a network, and use them: filter, search, keyboard, phone, dark mode, no JavaScript.

    python tests/report_page.py [FOLDER FOR SCREENSHOTS]

Needs playwright, axe-playwright-python and a browser (tests/browser.py).
"""
import sys
import tempfile
from pathlib import Path

from browser import OVERFLOW, complaints, launch_or_exit

EVIL = ['</script><script>window.hacked = 1</script>', '"><img src=x onerror="window.hacked = 1">', "<!-- <svg onload=window.hacked=1>", "a ' \" & < > caption",
        "قطة صغيرة على العشب", "一只小猫坐在草地上", "🐈‍⬛ 😺", "longword" * 40, "= javascript:window.hacked=1"]


def make_report(folder):
    "A report over 40 drawings, some of whose texts are hostile or foreign."
    import datasets
    from imgcap.creatures import make_creatures
    from imgcap.evaluate import evaluate_model
    from imgcap.model import load_model
    datasets.disable_progress_bars()
    data = make_creatures({"train": 8, "test": 40})
    def disturb(row, i):
        if i >= len(EVIL): return row
        return {**row, "image_id": f"{EVIL[i]}{i}", "captions": [EVIL[i], *row["captions"][1:]]}
    data["test"] = data["test"].map(disturb, with_indices=True, load_from_cache_file=False)
    model, processor = load_model("git-tiny", device="cpu")
    report = evaluate_model(model, data, processor=processor, resamples=100, groups=("length", "attributes.place", "image_id"))
    for row, text in zip(report.predictions[5:], EVIL): row["caption"] = text
    report.notes.append("</script>".join(EVIL))
    return report.save(folder) / "report.html"


def make_ablations(folder):
    "A page of ablations whose parts have hostile names."
    from imgcap.creatures import ATTRIBUTES, draw_creature
    from imgcap.explain import ablate
    from imgcap.model import load_model
    picture = draw_creature({name: values[-1] for name, values in ATTRIBUTES.items()}, seed=1)
    file = folder / "ablations.html"
    file.write_text(ablate(*load_model("git-tiny", device="cpu"), picture, {text: (10 * i, 0, 10 * i + 40, 256) for i, text in enumerate(EVIL)}).page(), encoding="utf-8")
    return file


class Visit:
    "A page in a browser that records what it asks for and complains of."
    def __init__(self, browser, url, **options):
        self.context = browser.new_context(offline=True, **options)
        self.page, self.problems = self.context.new_page(), []
        self.page.on("console", lambda message: self.problems.append(f"console: {message.text}") if message.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.problems.append(f"error: {error}"))
        self.page.on("request", lambda request: None if request.url == url or request.url.startswith("data:") else self.problems.append(f"request: {request.url}"))
        self.page.goto(url)

    def accessible(self, name):
        found = complaints(self.page)
        assert not found, f"axe, {name}: " + "; ".join(found)

    def close(self):
        if self.problems: raise AssertionError("\n".join(self.problems))
        self.context.close()


def counted(page): return page.locator("#count").inner_text(), page.locator(".cards > li:visible").count()


def use(page):
    "Every tool does what it says."
    total = page.locator(".cards > li").count()
    assert total == 39 and counted(page) == (f"{total} of these {total} pictures", total), counted(page)
    assert page.evaluate("window.hacked") is None, "a caption was run as a script"
    broken = page.evaluate("[...document.images].filter(i => { i.loading = 'eager'; return !i.alt.trim() || !i.src.startsWith('data:image/jpeg') }).length")
    assert page.locator("img").count() == total and not broken, "a picture has no alt text or is no data URI"
    page.wait_for_function("[...document.images].every(i => i.complete && i.naturalWidth > 0)")

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip" and page.locator(".skip").bounding_box()["x"] >= 0, "the first key does not reach the skip link"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "low", "the skip link does not lead to the tools"
    scores = [float(s) for s in page.evaluate("[...document.querySelectorAll('.cards > li')].map(li => li.dataset.score)")]
    for _ in range(5): page.keyboard.press("PageUp")
    low = float(page.locator("#low").input_value())
    assert 0 < low and counted(page)[1] == sum(s >= low for s in scores) < total, "the lowest score does not filter"
    page.locator("#high").focus()
    page.keyboard.press("Home")
    assert counted(page) == ("The lowest score is above the highest.", 0)
    assert page.locator(".kind:visible").count() == 0
    page.locator("#reset").click()
    assert counted(page)[1] == total and page.evaluate("document.activeElement.id") == "word"

    def matches(word, place="either"):
        page.locator("#place").select_option(label=place)
        page.locator("#word").fill(word)
        return counted(page)[1]
    assert 0 < matches("purple", "the model's caption") < total
    assert matches("urple") == 0 and matches("PURP") > 0, "a search should find the start of words"
    assert matches("小猫", "the model's caption") == 1 and matches("قطة", "the model's caption") == 1
    assert matches("(*[") == 0 and matches("mark") == 0 and matches("</script>") > 0, "the search reads markup"
    assert matches("nothing-has-this") == 0 and counted(page)[0] == "No picture has all of that."
    page.locator("#reset").click()
    page.locator("#kind").select_option("worst")
    assert counted(page)[1] == 13 and page.locator(".kind:visible").count() == 1
    page.locator("#reset").click()
    page.locator("summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator(".people").first.is_visible(), "references do not open by keyboard"
    page.keyboard.press("Enter")


def main(screenshots=None):
    try: from playwright.sync_api import sync_playwright; import axe_playwright_python  # noqa: F401
    except ImportError as error: sys.exit(f"{error}; pip install playwright axe-playwright-python")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        file, ablations = make_report(folder), make_ablations(Path(folder))
        browser = launch_or_exit(playwright)
        for name, options in {"desktop": {"viewport": {"width": 1280, "height": 900}}, "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
                              "phone": {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}}.items():
            visit = Visit(browser, file.as_uri(), **options)
            use(visit.page)
            visit.page.evaluate("window.scrollTo(0, 0)")
            visit.accessible(name)
            assert visit.page.evaluate(OVERFLOW) <= 0, f"{name}: the page is wider than its window"
            dark = visit.page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).every(c => c < 64)")
            assert dark == (name == "dark"), f"{name}: wrong colours"
            if screenshots:
                Path(screenshots).mkdir(parents=True, exist_ok=True)
                visit.page.screenshot(path=Path(screenshots) / f"{name}.png")
                visit.page.locator("#examples").scroll_into_view_if_needed()
                visit.page.evaluate("document.querySelector('#examples').scrollIntoView()")
                visit.page.screenshot(path=Path(screenshots) / f"{name}-examples.png")
            visit.close()
        plain = Visit(browser, file.as_uri(), java_script_enabled=False)
        assert plain.page.locator(".cards > li:visible").count() == 39 and not plain.page.locator("#tools").is_visible(), "without JavaScript everything should show"
        plain.close()
        for scheme in ("light", "dark"):
            visit = Visit(browser, ablations.as_uri(), viewport={"width": 360, "height": 740}, color_scheme=scheme)
            assert visit.page.locator("img").count() == len(EVIL) + 1 and visit.page.evaluate("window.hacked") is None
            visit.accessible(f"ablations, {scheme}")
            assert visit.page.evaluate(OVERFLOW) <= 0, "the page of ablations is wider than a phone"
            if screenshots: visit.page.screenshot(path=Path(screenshots) / f"ablations-{scheme}.png")
            visit.close()
        browser.close()
        print(f"report.html: {file.stat().st_size // 1024} kB; no request, no error, nothing for axe to find; filter, search, keyboard, phone and dark mode work")


if __name__ == "__main__": main(*sys.argv[1:])
