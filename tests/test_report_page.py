"""report.html and a page of ablations in a real browser without a network: filter, search,
keyboard, phone, dark mode, no JavaScript, and texts that want to be scripts."""

import pytest
from browser import OVERFLOW

EVIL = [
    "</script><script>window.hacked = 1</script>",
    '"><img src=x onerror="window.hacked = 1">',
    "<!-- <svg onload=window.hacked=1>",
    "a ' \" & < > caption",
    "قطة صغيرة على العشب",
    "一只小猫坐在草地上",
    "🐈‍⬛ 😺",
    "longword" * 40,
    "= javascript:window.hacked=1",
]
PICTURES = 39  # the best, the worst and others, 13 of each
SCREENS = {
    "desktop": {"viewport": {"width": 1280, "height": 900}},
    "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True},
}
BROKEN = """[...document.images].filter(i => {
    i.loading = 'eager';
    return !i.alt.trim() || !i.src.startsWith('data:image/jpeg') }).length"""
LOADED = "[...document.images].every(i => i.complete && i.naturalWidth > 0)"
DARK = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).every(c => c < 64)"
SCORES = "[...document.querySelectorAll('.cards > li')].map(li => li.dataset.score)"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    "The address of a report over 40 drawings, some of whose texts are hostile or foreign."
    import datasets

    from imgcap.data.creatures import make_creatures
    from imgcap.evaluate import evaluate_model
    from imgcap.model import load_model

    datasets.disable_progress_bars()
    data = make_creatures({"train": 8, "test": 40})

    def disturb(row, i):
        if i >= len(EVIL):
            return row
        return {**row, "image_id": f"{EVIL[i]}{i}", "captions": [EVIL[i], *row["captions"][1:]]}

    data["test"] = data["test"].map(disturb, with_indices=True, load_from_cache_file=False)
    model, processor = load_model("git-tiny", device="cpu")
    made = evaluate_model(
        model,
        data,
        processor=processor,
        resamples=100,
        groups=("length", "attributes.place", "image_id"),
    )
    for row, text in zip(made.predictions[5:], EVIL):
        row["caption"] = text
    made.notes.append("</script>".join(EVIL))
    return (made.save(tmp_path_factory.mktemp("report")) / "report.html").as_uri()


@pytest.fixture(scope="module")
def ablations(tmp_path_factory):
    "The address of a page of ablations whose parts have hostile names."
    from imgcap.data.creatures import ATTRIBUTES, draw_creature
    from imgcap.evaluate.explain import ablate
    from imgcap.model import load_model

    picture = draw_creature({name: values[-1] for name, values in ATTRIBUTES.items()}, seed=1)
    boxes = {text: (10 * i, 0, 10 * i + 40, 256) for i, text in enumerate(EVIL)}
    file = tmp_path_factory.mktemp("ablations") / "ablations.html"
    page = ablate(*load_model("git-tiny", device="cpu"), picture, boxes).page()
    file.write_text(page, encoding="utf-8")
    return file.as_uri()


@pytest.fixture(params=SCREENS)
def screen(request):
    return request.param


@pytest.fixture
def opened(visit, report, screen):
    return visit(report, offline=True, **SCREENS[screen])


@pytest.fixture
def page(opened):
    return opened.page


def counted(page):
    return page.locator("#count").inner_text(), page.locator(".cards > li:visible").count()


def found(page, word, place="either"):
    "How many pictures are left when a word is searched."
    page.locator("#place").select_option(label=place)
    page.locator("#word").fill(word)
    return counted(page)[1]


def test_all_is_shown(page):
    assert counted(page) == (f"{PICTURES} of these {PICTURES} pictures", PICTURES)
    assert page.locator("img").count() == PICTURES and not page.evaluate(BROKEN)
    page.wait_for_function(LOADED)


def test_no_text_is_run_as_a_script(page):
    page.wait_for_timeout(200)
    assert page.evaluate("window.hacked") is None


RUNS = """() => {
    const script = document.createElement('script'), link = document.createElement('a');
    script.textContent = 'window.hacked = 1';
    document.body.append(script);
    link.setAttribute('onclick', 'window.hacked = 1');
    link.setAttribute('style', 'font-size: 99px');
    document.body.append(link);
    link.click();
    return [window.hacked, getComputedStyle(link).fontSize] }"""


def test_the_browser_runs_only_what_the_page_came_with(visit, report):
    "The policy allows one script and one style sheet by their hashes; the rest does nothing."
    page = visit(report, offline=True, heard=()).page  # it is told of each
    assert page.locator("#tools").is_visible(), "the page's own script did not run"
    assert page.evaluate(RUNS) == [None, "16px"]


def test_keyboard(page):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.locator(".skip").bounding_box()["x"] >= 0, "the skip link stays out of sight"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "low", "the skip link leads elsewhere"
    page.locator("summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator(".people").first.is_visible(), "references do not open by keyboard"


def test_scores_filter(page):
    scores = [float(score) for score in page.evaluate(SCORES)]
    page.locator("#low").focus()
    for _ in range(5):
        page.keyboard.press("PageUp")
    low = float(page.locator("#low").input_value())
    assert 0 < low and counted(page)[1] == sum(score >= low for score in scores) < PICTURES
    page.locator("#high").focus()
    page.keyboard.press("Home")
    assert counted(page) == ("The lowest score is above the highest.", 0)
    assert page.locator(".kind:visible").count() == 0
    page.locator("#reset").click()
    assert counted(page)[1] == PICTURES
    assert page.evaluate("document.activeElement.id") == "word"


def test_search(page):
    model = "the model's caption"
    assert 0 < found(page, "purple", model) < PICTURES
    assert found(page, "urple") == 0 and found(page, "PURP") > 0, "it finds the start of words"
    assert found(page, "小猫", model) == 1 and found(page, "قطة", model) == 1
    assert found(page, "(*[") == 0 and found(page, "mark") == 0, "it reads markup"
    assert found(page, "</script>") > 0
    assert found(page, "nothing-has-this") == 0
    assert counted(page)[0] == "No picture has all of that."


def test_kinds(page):
    page.locator("#kind").select_option("worst")
    assert counted(page)[1] == 13 and page.locator(".kind:visible").count() == 1
    page.locator("#reset").click()
    assert counted(page)[1] == PICTURES


def test_looks(opened, page, screen):
    opened.accessible(screen)
    assert page.evaluate(OVERFLOW) <= 0, "the page is wider than its window"
    assert page.evaluate(DARK) == (screen == "dark")


def test_without_javascript(visit, report):
    page = visit(report, offline=True, java_script_enabled=False).page
    assert page.locator(".cards > li:visible").count() == PICTURES
    assert not page.locator("#tools").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_ablations(visit, ablations, scheme):
    options = {"viewport": SCREENS["phone"]["viewport"], "color_scheme": scheme}
    opened = visit(ablations, offline=True, **options)
    assert opened.page.locator("img").count() == len(EVIL) + 1
    assert opened.page.evaluate("window.hacked") is None
    opened.accessible(f"ablations, {scheme}")
    assert opened.page.evaluate(OVERFLOW) <= 0, "the page is wider than a phone"
