"""A terminal of eighty columns for tests: a command of this process in a real pseudo-terminal, and
what is left on its screen."""

import fcntl
import os
import pty
import struct
import sys
import termios
import threading
from contextlib import contextmanager

COLUMNS = 80


@contextmanager
def terminal(columns=COLUMNS):
    "The end of a pseudo-terminal for a program, and a list that takes what is written to it."
    reading, writing = pty.openpty()
    fcntl.ioctl(writing, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    got = []

    def collect():
        try:
            while piece := os.read(reading, 65536): got.append(piece)
        except OSError: pass  # all ends are closed
    thread = threading.Thread(target=collect, daemon=True)
    thread.start()
    try: yield writing, got
    finally:
        os.close(writing)
        thread.join(10)
        os.close(reading)


def screen(written, columns=COLUMNS):
    "The lines that are left when all of it was written, as a person sees them."
    lines, at = [""], 0
    for letter in written:
        if letter == "\r": at = 0
        elif letter == "\n":
            lines.append("")
            at = 0
        else:
            assert letter.isprintable(), ascii(letter)
            lines[-1] = lines[-1][:at].ljust(at) + letter + lines[-1][at + 1:]
            at += 1
    return [line.rstrip() for line in lines]


def on_terminal(*words, stdout=None):
    "(status, what was written) of a command whose streams are a terminal; stdout may be a file."
    from imgcap.cli import main
    before = sys.stdout, sys.stderr
    with terminal() as (end, got):
        out, err = (open(os.dup(end), "w", encoding="utf-8", buffering=1) for _ in range(2))
        sys.stdout, sys.stderr = stdout or out, err
        try: status = main([str(word) for word in words])
        finally:
            sys.stdout, sys.stderr = before
            out.close(), err.close()
    return status, b"".join(got).decode()
