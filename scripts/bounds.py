"""Prints the oldest versions that are allowed, as constraints for pip: what `make oldest` installs.

    python scripts/bounds.py
"""
import re
import runpy
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def bounds():
    "name==version for each requirement, of the package and of its extras, that has a lower bound."
    config = ConfigParser(delimiters=["="])
    config.read(ROOT / "settings.ini", encoding="utf-8")
    extras = runpy.run_path(str(ROOT / "imgcap" / "extras.py"))["EXTRAS"]
    wanted = config["DEFAULT"]["requirements"].split() + sum(extras.values(), [])
    return [re.sub(r">=([\w.]+).*", r"==\1", each) for each in wanted if ">=" in each]


if __name__ == "__main__": print("\n".join(bounds()))
