"Without a browser, tests of pages are skipped, named and counted; with CI=true they fail."

import os
import subprocess
import sys
from pathlib import Path

import pytest
from browser import MISSING

ROOT = Path(__file__).resolve().parents[1]
PAGE = "tests/test_report_page.py::test_ablations"
TESTS = 2  # in dark and light


def run_page_tests(**env):
    given = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTEST", "CHROMIUM")) and name != "CI"
    }
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", PAGE]
    done = subprocess.run(command, cwd=ROOT, env=given | env, capture_output=True, text=True)
    return done.returncode, done.stdout


@pytest.fixture
def bare(tmp_path):
    "An environment without a browser; Playwright gets none either: its server does not answer."
    return {
        "PATH": str(tmp_path),
        "PLAYWRIGHT_BROWSERS_PATH": str(tmp_path),
        "PLAYWRIGHT_DOWNLOAD_HOST": "http://127.0.0.1:9",
    }


@pytest.mark.parametrize("ci", [{}, {"CI": ""}, {"CI": "false"}])
def test_without_a_browser_they_are_skipped(ci):
    status, said = run_page_tests(CHROMIUM="no-such-browser", **ci)
    assert status == 0, said
    assert said.endswith(f"0 passed, 0 failed, {TESTS} skipped\n"), said
    for scheme in ("light", "dark"):
        assert f"SKIPPED {PAGE}[{scheme}] - Skipped: {MISSING}" in said


def test_in_continuous_integration_that_is_a_failure():
    status, said = run_page_tests(CHROMIUM="no-such-browser", CI="true")
    assert status == 1, said
    assert said.endswith(f"0 passed, {TESTS} failed, 0 skipped\n") and MISSING in said, said


@pytest.mark.skipif(
    sys.platform != "linux", reason="Chrome and Edge are found in other places than the PATH there"
)
def test_playwright_is_asked_once_for_its_own(bare):
    status, said = run_page_tests(**bare)
    if Path("/opt/google/chrome").exists() or Path("/opt/microsoft/msedge").exists():
        pytest.skip("Chrome or Edge is installed where it is found without the PATH")
    assert status == 0 and said.endswith(f"0 passed, 0 failed, {TESTS} skipped\n"), said
