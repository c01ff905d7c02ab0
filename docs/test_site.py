"""The built site in headless Chromium: search works without a network, and pages fit a phone. After ``make docs``."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

SITE = Path(__file__).resolve().parent.parent / "build" / "docs"
PHONE = 390  # pixels
PAGES = sorted(str(path.relative_to(SITE)) for path in SITE.rglob("*.html") if "_static" not in path.parts)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without a network."""
    chromium, chromedriver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if not chromium or not chromedriver or not PAGES:
        stop = pytest.fail if os.environ.get("GITHUB_ACTIONS") else pytest.skip
        stop("needs chromium, chromedriver and the site: make docs")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("headless", "no-sandbox", "disable-gpu", "host-resolver-rules=MAP * ~NOTFOUND"):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with webdriver.Chrome(options, Service(chromedriver)) as driver:
        yield driver


@pytest.mark.parametrize(
    ("words", "page"), [("layer_decay", "recipe-keys"), ("calibration", "int8"), ("WConv2d", "api")]
)
def test_search_finds_a_page_without_a_network(browser: Any, words: str, page: str) -> None:
    browser.get(f"{(SITE / 'search.html').as_uri()}?q={words}")
    WebDriverWait(browser, 20).until(lambda driver: driver.find_elements(By.CSS_SELECTOR, "#search-results li a"))
    WebDriverWait(browser, 20).until(lambda driver: "Search Results" in driver.page_source)
    found = [link.get_attribute("href") for link in browser.find_elements(By.CSS_SELECTOR, "#search-results li a")]
    assert any(page in address for address in found), found


@pytest.mark.parametrize("page", PAGES)
def test_page_fits_a_phone_and_logs_nothing(browser: Any, page: str) -> None:
    metrics = {"width": PHONE, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get_log("browser")
    browser.get((SITE / page).as_uri())
    assert browser.execute_script("return document.documentElement.scrollWidth") <= PHONE
    assert browser.get_log("browser") == []


@pytest.mark.parametrize(
    ("card", "target"),
    [
        ("Classify your photo", "wavezoo predict waveletnet_x1 photo.jpg"),
        ("Export an int8 file", "--int8 --calibrate"),
        ("Does DFWT help?", "95 % interval"),
    ],
)
def test_front_page_leads_to_the_answer_in_one_click(browser: Any, card: str, target: str) -> None:
    browser.get((SITE / "index.html").as_uri())
    (title,) = [element for element in browser.find_elements(By.CSS_SELECTOR, ".sd-card") if card in element.text]
    browser.get(title.find_element(By.CSS_SELECTOR, "a").get_attribute("href"))
    assert target in browser.find_element(By.CSS_SELECTOR, "article").text
