"""Skips the tests marked `browser`, with the reason, on a machine without Chromium."""

import shutil

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
REASON = "there is no Chromium here: apt-get install chromium"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark them."""
    if any(shutil.which(name) for name in NAMES):
        return
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.skip(reason=REASON))
