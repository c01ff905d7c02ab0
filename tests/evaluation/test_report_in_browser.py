"""The reports in headless Chromium: sorting, layout, colors, and that nothing is requested."""

import base64
import json
import shutil

import numpy as np
import pytest

from wavenet_zoo.evaluation.compare import ClassCounts, ComparedModel, Comparison, Pair
from wavenet_zoo.evaluation.comparison_report import write_comparison_report
from wavenet_zoo.evaluation.report import write_report

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium: pip install selenium")
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

pytestmark = pytest.mark.long
HOSTILE = ["<script>document.title = 'run'</script>", '"><img src=x onerror="document.title = \'run\'">', "x" * 500]
COLOR = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    chromedriver = shutil.which("chromedriver")
    if not chromium or not chromedriver:
        pytest.skip("needs chromium and chromedriver: apt install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "headless", "no-sandbox", "disable-gpu", "no-first-run", "disable-background-networking",
        "disable-component-update", "disable-sync", f"user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):  # fmt: skip
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with webdriver.Chrome(options, Service(chromedriver)) as driver:
        yield driver


@pytest.fixture
def open_page(browser):
    """Open a page with a width and a color scheme; it must neither log nor request anything."""
    opened = []

    def show(path, *, width=1200, scheme="light", media=""):
        metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
        browser.get(path.as_uri())
        opened.append(path.as_uri())
        return browser

    yield show
    assert browser.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requests = [message["params"] for message in messages if message["method"] == "Network.requestWillBeSent"]
    urls = {request["request"]["url"] for request in requests if request["documentURL"] in opened}
    assert set(opened) <= urls and all(url in opened or url.startswith("data:") for url in urls)


@pytest.fixture
def report(tmp_path, make_evaluation, make_predictions):
    """A report of three classes with 9, 10 and 100 images, whose names are hostile."""
    labels = np.repeat(np.arange(3), [9, 10, 100])
    predicted = np.where(np.arange(119) % 5 == 0, (labels + 1) % 3, labels)
    predictions = make_predictions(labels, predicted, np.linspace(0.5, 1, 119), class_names=HOSTILE)
    evaluation = make_evaluation(predictions, name=HOSTILE[1], limit={"images": 119, "of": 1190})
    write_report(tmp_path / "report.html", evaluation, command="wavezoo eval " + "x" * 300)
    return tmp_path / "report.html"


@pytest.fixture
def comparison(tmp_path, make_evaluation, make_predictions):
    models = []
    for name, mistake in zip(HOSTILE, (0, 1)):
        predicted = [0, 1, 2]
        predicted[mistake] = 2
        predictions = make_predictions([0, 1, 2], predicted, class_names=HOSTILE)
        models.append(ComparedModel(name, name, 200 / 3, (20, 94), 2, make_evaluation(predictions), predictions))
    pair = Pair(HOSTILE[0], HOSTILE[1], 0.0, (-60, 60), 1.0, 1.0, 33.3, 1, 1, [], [])
    counts = [ClassCounts(name, 1, [name != HOSTILE[0], name != HOSTILE[1]]) for name in HOSTILE]
    write_comparison_report(tmp_path / "comparison.html", Comparison(3, 0.95, models, [pair], counts))
    return tmp_path / "comparison.html"


def column(browser, number):
    script = """return new Promise(done => setTimeout(() => done(
        [...document.querySelectorAll('#classes tbody tr')].map(row => row.cells[arguments[0]].textContent.trim())
    ), 100))"""  # the library sorts after a timeout
    return browser.execute_script(script, number)


def test_columns_are_sorted_as_numbers_by_click_and_by_key(open_page, report):
    browser = open_page(report)
    header = browser.find_elements(By.CSS_SELECTOR, "#classes thead th")[1]
    assert column(browser, 1) == ["9", "10", "100"]
    header.click()
    assert column(browser, 1) == ["100", "10", "9"] and header.get_attribute("aria-sort") == "descending"
    header.send_keys(Keys.ENTER)
    assert column(browser, 1) == ["9", "10", "100"] and header.get_attribute("aria-sort") == "ascending"
    browser.find_elements(By.CSS_SELECTOR, "#classes thead th")[0].click()
    assert column(browser, 1) != ["9", "10", "100"] and header.get_attribute("aria-sort") is None


@pytest.mark.parametrize("width", [360, 800])
def test_page_has_no_horizontal_scroll(open_page, report, comparison, width):
    for path in (report, comparison):
        browser = open_page(path, width=width)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        assert browser.execute_script(
            "return [...document.querySelectorAll('.scroll')].some(box => box.scrollWidth > box.clientWidth)"
        )


def test_text_and_plot_follow_the_color_scheme(open_page, report):
    colors = {}
    for scheme in ("light", "dark"):
        browser = open_page(report, scheme=scheme)
        page = browser.execute_script(COLOR, "body", "backgroundColor")
        colors[scheme] = page, browser.execute_script(COLOR, "svg text", "fill")
        assert colors[scheme][1] == browser.execute_script(COLOR, "body", "color")
    assert colors == {
        "light": ("rgb(245, 247, 249)", "rgb(31, 41, 51)"),
        "dark": ("rgb(18, 23, 28)", "rgb(227, 232, 236)"),
    }


def test_printed_report_is_white_and_complete_in_dark_mode(open_page, report):
    browser = open_page(report, scheme="dark", media="print")
    assert browser.execute_script(COLOR, "body", "backgroundColor") == "rgb(255, 255, 255)"
    assert browser.execute_script(COLOR, "svg text", "fill") == "rgb(31, 41, 51)"
    assert browser.execute_script(COLOR, ".scroll", "maxHeight") == "none"
    assert base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {})["data"]).startswith(b"%PDF")


def test_names_do_not_run_in_the_browser(open_page, report, comparison):
    for path in (report, comparison):
        browser = open_page(path)
        assert HOSTILE[1 if path is report else 0] in browser.find_element(By.TAG_NAME, "h1").text
        assert browser.title != "run" and len(browser.find_elements(By.TAG_NAME, "script")) == 1
        images = browser.execute_script("return [...document.images].map(image => image.naturalWidth)")
        assert images and all(images)
