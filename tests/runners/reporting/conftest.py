import shutil

import pytest

from runners.reporting.run_report import write_run_report
from tests.runners.reporting.made_runs import make_run, write_dump

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="package")
def run_folder(tmp_path_factory):
    """A run of four steps, kept at steps 2 and 4, with a scored dump of step 2, and its report."""
    path = make_run(tmp_path_factory.mktemp("runs") / "made")
    write_dump(path)
    write_run_report(path)
    return path


@pytest.fixture(scope="package")
def browser(tmp_path_factory):
    """Chromium without a network, driven by selenium."""
    selenium = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: pip install selenium")
    binary = next(filter(None, map(shutil.which, CHROMIUM)), None)
    driver = shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip(f"no Chromium or no chromedriver here ({', '.join(CHROMIUM)}): apt-get install chromium-driver")
    options = selenium.ChromeOptions()
    options.binary_location = binary
    options.page_load_strategy = "none"  # the driver now and then waits for a page that is there
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for argument in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        "--window-size=1280,1600",
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):
        options.add_argument(argument)
    driven = selenium.Chrome(options=options, service=selenium.ChromeService(driver))
    yield driven
    driven.quit()
