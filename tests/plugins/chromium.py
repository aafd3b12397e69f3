"""Skips the tests marked `browser`, with the reason, on a machine without Chromium or what drives it."""

import shutil
import subprocess
import sys

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark them."""
    browsing = [item for item in items if item.get_closest_marker("browser")]
    if browsing and (reason := missing()) is not None:
        for item in browsing:
            item.add_marker(pytest.mark.skip(reason=reason))


def missing() -> str | None:
    """What keeps us from a browser, and what to do; None if nothing does."""
    if not any(shutil.which(name) for name in NAMES):
        return "there is no Chromium here: apt-get install chromium"
    # The node in Playwright's wheel needs a library that a bare Debian lacks; without it all one reads is
    # "Connection closed while reading from the driver".
    driver = subprocess.run([sys.executable, "-m", "playwright", "--version"], capture_output=True, text=True)
    if driver.returncode != 0:
        return f"Playwright's driver does not run: apt-get install libatomic1 ({driver.stderr.strip()})"
    return None
