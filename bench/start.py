"""How soon the command line answers: the help of each command beside a Python that does nothing,
and the first line of each command on a terminal."""
import argparse
import json
import os
import pty
import statistics
import subprocess
import sys
import tempfile
import time

FIRST_LINES = """demo|check --data creatures|train --data creatures|caption a.png|app --port 0|
    evaluate --data creatures --model git-tiny|score a.jsonl b.jsonl|export git-tiny --out onnx|
    push runs/mine --repo-id you/mine|bench --quick""".replace("\n", "").split("|")
COMMANDS = [words.split()[0] for words in FIRST_LINES]
HELP = {"python": ["-c", "pass"], "imgcap --version": ["-m", "imgcap", "--version"],
        "imgcap --help": ["-m", "imgcap", "--help"],
        **{f"imgcap {name} --help": ["-m", "imgcap", name, "--help"] for name in COMMANDS}}

def seconds_of(words):
    "Wall time of one start"
    start = time.perf_counter()
    subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start

def seconds_to_line(words, folder):
    "Wall time until a command shows its first letter on a terminal; then it is ended"
    reading, writing = pty.openpty()
    start = time.perf_counter()
    program = [sys.executable, "-m", "imgcap", *words.split()]
    process = subprocess.Popen(program, stdin=subprocess.DEVNULL, stdout=writing, stderr=writing,
                               cwd=folder)
    os.read(reading, 1)
    seconds = time.perf_counter() - start
    process.kill(), process.wait(), os.close(reading), os.close(writing)
    return seconds

def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="starts of each; they take turns")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    names = [*HELP, *(f"first line of {words.strip()}" for words in FIRST_LINES)]
    with tempfile.TemporaryDirectory() as folder:
        rounds = [[*map(seconds_of, HELP.values()),
                   *(seconds_to_line(words, folder) for words in FIRST_LINES)]
                  for _ in range(args.rounds)]
    found = {name: {"median": statistics.median(times), "lowest": min(times)}
             for name, times in zip(names, zip(*rounds))}
    if args.json: return print(json.dumps(found))
    for name, times in found.items():
        print(f"{name:58} {times['median']:.2f} s, at best {times['lowest']:.2f} s")

if __name__ == "__main__": main()
