"""Prefect's UI in a real browser: Debian's chromium, without a window."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

_WITHIN_S = 90
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--window-size=1280,1000",
)

_RENAME = """
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (texts.nextNode())
  texts.currentNode.data = texts.currentNode.data.replaceAll(arguments[0], arguments[1]);
"""


class Ui:
    """The UI of one server, a page at a time."""

    def __init__(self, driver: Chrome, address: str) -> None:
        self.driver = driver
        self._address = address

    def open(self, path: str, *words: str) -> str:
        """Open a page, and return its text once all these words are in it."""
        self.driver.get(f"{self._address}/{path}")
        return self.text(*words)

    def text(self, *words: str) -> str:
        """Return the text of the page once all these words are in it."""

        def shown(driver: Chrome) -> str | None:
            text = str(driver.execute_script("return document.body.innerText"))
            return text if all(word in text for word in words) else None

        return str(self._wait(shown, f"{words} on {self.driver.current_url}"))

    def press(self, words: str) -> None:
        """Press the button, link or tab that says this, once it is there and not grey."""
        said = f"normalize-space(.)='{words}'"
        path = f"//*[{said} and not(*[{said}]) and not(ancestor-or-self::button[@disabled])]"

        def there(driver: Chrome) -> WebElement | None:
            found = driver.find_elements("xpath", path)
            return next((one for one in found if one.is_displayed()), None)

        self._wait(there, f"{words!r} to press").click()

    def pictures(self, count: int) -> list[int]:
        """Return the widths of the pictures of a markdown page once so many are loaded."""
        script = (
            "return [...document.querySelectorAll('img')].filter(one => one.src.startsWith('data:')"
            " && one.complete).map(one => one.naturalWidth)"
        )
        found = lambda driver: (w := driver.execute_script(script)) and len(w) == count and w  # noqa: E731
        return list(self._wait(found, f"{count} pictures"))

    def keep(self, name: str, height: int, private: Path) -> None:
        """Keep a picture of the page, where ``HCS_PICTURES`` names a folder.

        Where this machine keeps its temporary files is not shown in it.
        """
        if folder := os.environ.get("HCS_PICTURES"):
            self.driver.set_window_size(1280, height)
            self.driver.execute_script(_RENAME, str(private), "/data")
            png = Image.open(BytesIO(self.driver.get_screenshot_as_png()))
            png.convert("RGB").save(Path(folder) / f"{name}.jpg", quality=85, optimize=True)

    def _wait(self, what: Callable[[Chrome], object], told: str) -> object:
        return WebDriverWait(self.driver, _WITHIN_S).until(what, f"there is no {told}")


@contextmanager
def browser(address: str, profile: Path) -> Iterator[Ui]:
    """Start a browser with a profile of its own; skip where there is none."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("needs Debian's packages chromium and chromium-driver")
    options = ChromeOptions()
    options.binary_location = chromium
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    chrome = Chrome(options, Service(driver))
    try:
        yield Ui(chrome, address)
    finally:
        chrome.quit()
