"""Prints the oldest versions that are allowed, as requirements for pip: what `make oldest` takes.

    python scripts/bounds.py

An extra that wants a newer version of what the package itself requires is left out, and so are its
tests; so is Java's, which `make test` does not have either. What tests need comes as it is.
"""
import re
import runpy
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def name(requirement): return re.match(r"[\w.-]+", requirement)[0]


def oldest(requirement): return re.sub(r">=([\w.]+).*", r"==\1", requirement)


def requirements():
    "One requirement a line."
    config = ConfigParser(delimiters=["="])
    config.read(ROOT / "settings.ini", encoding="utf-8")
    own = config["DEFAULT"]["requirements"].split()
    extras = runpy.run_path(str(ROOT / "imgcap" / "extras.py"))["EXTRAS"]
    names = set(map(name, own))
    wanted = [each for extra, listed in extras.items() for each in listed
              if extra != "java" and not names & set(map(name, listed))]
    return [*map(oldest, own + wanted), *config["DEFAULT"]["dev_requirements"].split()]


if __name__ == "__main__": print("\n".join(requirements()))
