"""report.html and a page of ablations in a real browser without a network: what comes first, every
picture, order, filter, search, links, keyboard, phone, paper, dark mode, no JavaScript, and texts
that want to be scripts."""

import re

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
PICTURES, AT_FIRST = 41, 20
SCREENS = {
    "desktop": {"viewport": {"width": 1400, "height": 900}},
    "dark": {"viewport": {"width": 1400, "height": 900}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True},
}
BROKEN = """[...document.images].filter(i =>
    !i.alt.trim() || !i.src.startsWith('data:image/jpeg')).length"""
LOADED = """[...document.images].every(i => { i.loading = 'eager';
    return i.complete && i.naturalWidth > 0 })"""
DARK = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).every(c => c < 64)"
SCORES = "[...document.querySelectorAll('.cards > li')].map(li => +li.dataset.score)"
HEIGHT = "document.documentElement.scrollHeight"
FOCUSED = "document.activeElement.closest('.cards > li')?.id"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    "The address of a report over 41 drawings, some of whose texts are hostile or foreign."
    import datasets

    from imgcap.data.creatures import make_creatures
    from imgcap.evaluate import evaluate_model
    from imgcap.model import load_model

    datasets.disable_progress_bars()
    data = make_creatures({"train": 8, "test": 42})

    def disturb(row, i):
        if i == 41:
            return {**row, "captions": []}
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
        source="creatures",
    )
    for row, text in zip(made.predictions[5:], EVIL):
        row["caption"] = text
    made.predictions[20]["caption"] = "word " * 400
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
def seen(opened):
    return opened.page


@pytest.fixture
def page(visit, report):
    return visit(report, offline=True, **SCREENS["desktop"]).page


def counted(page):
    return page.locator("#count").inner_text(), page.locator(".cards > li:visible").count()


def total(page):
    "How many pictures fit, shown or not."
    page.locator("#all").click() if page.locator("#all").is_visible() else None
    return counted(page)[1]


def found(page, word, place="either of them"):
    "How many pictures are left when a word is searched."
    page.locator("#place").select_option(label=place)
    page.locator("#word").fill(word)
    return total(page)


def test_first_what_one_wants_to_know(page):
    title = page.locator("h1").inner_text()
    assert re.fullmatch(r"Captions by git-tiny: creatures, split test, \d+ [A-Z]\w+ 20\d\d", title)
    assert page.title() == title
    verdict = page.locator(".verdict").inner_text()
    assert verdict.startswith(f"On {PICTURES} pictures of the split test, git-tiny writes captions")
    assert verdict.count(". ") == 0, "one sentence"
    tops = [page.locator(each).bounding_box()["y"] for each in (
        "h1", ".verdict", "#picture-1 >> xpath=.. >> img >> nth=0", "table >> nth=0", ".notes")]
    assert tops == sorted(tops), "the sentence, the pictures, then the tables"
    assert tops[2] < 900, "the first pictures are in sight"
    scores = page.evaluate(SCORES)
    assert scores == sorted(scores), "worst first"


def test_every_picture_is_reached(page):
    said = page.locator("main").inner_text()
    assert f"All {PICTURES} pictures that could be scored; those come first" in said
    assert "1 picture is in no score" in page.locator(".notes").inner_text()
    shown = f"{PICTURES} of {PICTURES} pictures, the first {AT_FIRST} are shown."
    assert counted(page) == (shown, AT_FIRST)
    page.get_by_role("button", name="Show 20 more").press("Enter")
    assert counted(page)[1] == 2 * AT_FIRST and page.evaluate(FOCUSED)
    page.get_by_role("button", name=f"Show all {PICTURES}").press("Enter")
    assert counted(page) == (f"{PICTURES} of {PICTURES} pictures.", PICTURES)
    assert not page.locator("#rest").is_visible()
    assert page.locator("img").count() == PICTURES and not page.evaluate(BROKEN)
    page.wait_for_function(LOADED)


def test_order(page):
    for order, name, way in (("worst", "score", 1), ("best", "score", -1),
                             ("unsure", "confidence", 1), ("sure", "confidence", -1)):
        page.locator("#sort").select_option(order)
        values = page.evaluate(SCORES.replace("score", name))
        assert values == sorted(values, reverse=way < 0), order
    page.locator("#sort").select_option(label="by name")
    names = page.locator(".cards .name").all_inner_texts()
    creatures = [name for name in names if name.startswith("creatures-test-")]
    assert len(creatures) > 20 and creatures == sorted(creatures)


def test_groups(page):
    labels = page.locator("#group option").all_inner_texts()
    place = next(label for label in labels if label.startswith("sea ("))
    page.locator("#group").select_option(label=place)
    assert total(page) == int(re.search(r"\((\d+)\)", place)[1]) > 0
    assert page.locator("#group optgroup").first.get_attribute("label") == (
        "Length of people's captions, in words")


def test_a_link_leads_to_its_picture(visit, report):
    page = visit(report, offline=True, **SCREENS["desktop"]).page
    page.evaluate("location.hash = '#picture-30'")
    page.reload()
    page.wait_for_function(f"{FOCUSED} === 'picture-30'")
    page.locator("#word").fill("nothing-has-this")
    page.evaluate("location.hash = '#picture-31'")
    page.wait_for_function(f"{FOCUSED} === 'picture-31'")
    assert page.locator("#picture-31").is_visible() and page.locator("#word").input_value() == ""
    page.evaluate("location.hash = '#scores'")
    assert page.locator("#scores").is_visible()


def test_a_name_that_is_clicked_again_keeps_the_keys(page):
    name = page.locator(".cards .name").nth(1)
    for _ in range(2):
        name.click()
        assert page.evaluate(FOCUSED) == name.get_attribute("href")[1:]
        page.keyboard.press("ArrowRight")
        assert page.evaluate(FOCUSED) == page.locator(".cards > li").nth(2).get_attribute("id")


def test_whoever_comes_back_sees_what_the_tools_say(page):
    page.locator("#sort").select_option("best")
    page.locator("#place").select_option(label="either of them")
    page.locator("#word").fill("purple")
    said = counted(page)
    page.goto("about:blank")
    page.go_back()
    page.wait_for_function("document.readyState === 'complete'")
    scores = page.evaluate(SCORES)
    assert page.locator("#sort").input_value() == "best"
    assert scores == sorted(scores, reverse=True) and counted(page) == said
    page.goto("about:blank")
    page.go_back()
    page.locator("#reset").click()
    assert counted(page)[0].startswith(f"{PICTURES} of {PICTURES}")


def test_keys_lead_from_picture_to_picture(page):
    order = page.evaluate("[...document.querySelectorAll('.cards > li')].map(li => li.id)")
    page.locator(".cards .name").first.focus()
    for place in (1, 2, 1, *range(2, AT_FIRST + 3)):
        before = order.index(page.evaluate(FOCUSED))
        page.keyboard.press("ArrowRight" if place > before else "ArrowLeft")
        assert page.evaluate(FOCUSED) == order[place]
    assert counted(page)[1] == AT_FIRST + 3, "those beyond the first ones are shown on the way"
    page.locator("#word").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "word"


def test_marked_words_look_like_the_others(page):
    "One typeface and one size; one blank between two words, and none of it marked."
    look = """[...document.querySelectorAll('.written, .closest')].flatMap(p => {
        const of = e => { const s = getComputedStyle(e);
            return [s.fontFamily, s.fontSize, s.fontWeight].join() };
        return [...p.querySelectorAll('mark')].filter(m => of(m) !== of(p)
            || getComputedStyle(m).margin !== '0px' || getComputedStyle(m).padding !== '0px'
            || m.textContent !== m.textContent.trim()).map(m => m.outerHTML) })"""
    assert page.evaluate(look) == [] and page.locator(".written mark").count() > 20
    said = page.locator(".written").evaluate_all("all => all.map(p => p.textContent)")
    assert not [text for text in said if "  " in text]


def test_no_text_is_wider_than_a_phone_and_the_page_not_long(visit, report):
    page = visit(report, offline=True, **SCREENS["phone"]).page
    assert page.evaluate(HEIGHT) < 8_000
    assert page.locator(".cards img").first.bounding_box()["y"] < 844, "no picture is in sight"
    assert not page.locator("#sort").is_visible()
    page.get_by_text("Order, filter and search").click()
    assert page.locator("#sort").is_visible()
    image, text = (page.locator(f".cards > li:visible >> nth=5 >> {each}").bounding_box()
                   for each in ("img", ".written"))
    assert image["x"] + image["width"] <= text["x"], "the caption stands beside the picture"
    page.set_viewport_size({"width": 844, "height": 390})
    assert page.locator("#sort").is_visible() and not page.locator("summary").first.is_visible()


def test_on_paper(page):
    page.emulate_media(media="print")
    assert not page.locator("#tools").is_visible() and page.locator(".verdict").is_visible()
    assert page.locator(".cards > li").first.evaluate(
        "li => getComputedStyle(li).breakInside") == "avoid"


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
    assert page.evaluate("document.activeElement.id") == "sort", "the skip link leads elsewhere"
    page.locator(".cards summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator(".people").first.is_visible(), "references do not open by keyboard"


def test_scores_filter(page):
    scores = page.evaluate(SCORES)
    page.locator("#low").focus()
    for _ in range(5):
        page.keyboard.press("PageUp")
    low = float(page.locator("#low").input_value())
    assert 0 < low and total(page) == sum(score >= low for score in scores) < PICTURES
    page.locator("#high").focus()
    page.keyboard.press("Home")
    assert counted(page) == ("The lowest is above the highest.", 0)
    page.locator("#reset").click()
    assert total(page) == PICTURES
    page.locator("#reset").click()
    assert page.evaluate("document.activeElement.id") == "word"


def test_search(page):
    model = "model's caption"
    assert 0 < found(page, "purple", model) < PICTURES
    assert found(page, "urple") == 0 and found(page, "PURP") > 0, "it finds the start of words"
    assert found(page, "小猫", model) == 1 and found(page, "قطة", model) == 1
    assert found(page, "(*[") == 0 and found(page, "mark") == 0, "it reads markup"
    assert found(page, "</script>") > 0
    assert found(page, "creatures-test-00030", "picture's name") == 1
    assert found(page, "nothing-has-this") == 0
    assert counted(page)[0] == "No picture has all of that."


def test_looks(opened, seen, screen):
    opened.accessible(screen)
    assert seen.evaluate(OVERFLOW) <= 0, "the page is wider than its window"
    assert seen.evaluate(DARK) == (screen == "dark")


def test_without_javascript(visit, report):
    page = visit(report, offline=True, java_script_enabled=False).page
    assert page.locator(".cards > li:visible").count() == PICTURES
    assert not page.locator("#tools, #rest, #hint").first.is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_ablations(visit, ablations, scheme):
    options = {"viewport": SCREENS["phone"]["viewport"], "color_scheme": scheme}
    opened = visit(ablations, offline=True, **options)
    assert opened.page.locator("img").count() == len(EVIL) + 1
    assert opened.page.evaluate("window.hacked") is None
    opened.accessible(f"ablations, {scheme}")
    assert opened.page.evaluate(OVERFLOW) <= 0, "the page is wider than a phone"
