"The tutorial and the package's progress bars in JupyterLab, run from its menu as a reader would."

import pytest

pytest.importorskip("jupyterlab", reason="jupyterlab is not installed")
pytest.importorskip("playwright", reason="playwright is not installed")
import lab

pytestmark = pytest.mark.first
NOTEBOOKS = {lab.BARS: lab.progress_bars(), **dict([lab.read(lab.TUTORIAL)])}
MINUTES = 10


@pytest.fixture(scope="module")
def reader(browser):
    with lab.laid_out(NOTEBOOKS, quick=True) as (url, token):
        yield lab.Reader(browser, url, token, screenshots=None)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_runs_from_the_menu(reader, name):
    try:
        print(reader.run_all(name, NOTEBOOKS[name], MINUTES))
    except (lab.Failed, lab.Error) as failure:
        pytest.fail(reader.without_token(failure), pytrace=False)
