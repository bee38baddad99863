"A command line in this process."

from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

from imgcap.cli import main


def run(*words):
    "Status, standard output and standard error of one command line."
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = main([str(word) for word in words])
    return status, out.getvalue(), err.getvalue()
