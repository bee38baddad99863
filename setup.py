"""Packaging: every value comes from settings.ini, which nbdev reads too; the extras come from imgcap/extras.py."""
from configparser import ConfigParser
from pathlib import Path
from runpy import run_path

from setuptools import find_packages, setup

config = ConfigParser(delimiters=["="])
config.read("settings.ini", encoding="utf-8")
cfg = config["DEFAULT"]

extras = dict(run_path("imgcap/extras.py")["EXTRAS"])
outside = {"java", "quantize"} # a Java runtime, a GPU of NVIDIA
dev = [package for name in extras if name not in outside for package in extras[name]]
extras["dev"] = cfg["dev_requirements"].split() + dev

setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    keywords=cfg["keywords"],
    author=cfg["author"],
    license="Apache-2.0",
    url=cfg["git_url"] or None,
    python_requires=f">={cfg['min_python']}",
    packages=find_packages(include=["imgcap", "imgcap.*"]),
    package_data={"imgcap": ["py.typed", "checkpoints/*/*", "templates/*"]},
    install_requires=cfg["requirements"].split(),
    extras_require=extras,
    entry_points={"console_scripts": cfg["console_scripts"].split()},
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Developers",
        "Intended Audience :: Education",
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
    ],
    zip_safe=False,
)
