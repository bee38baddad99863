"How soon the command line answers: its help, beside a Python that does nothing."
import argparse
import json
import statistics
import subprocess
import sys
import time

COMMANDS = {"python": ["-c", "pass"], "imgcap --help": ["-m", "imgcap", "--help"],
            "imgcap train --help": ["-m", "imgcap", "train", "--help"],
            "imgcap --version": ["-m", "imgcap", "--version"]}

def seconds_of(words):
    "Wall time of one start"
    start = time.perf_counter()
    subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start

def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="starts of each; they take turns")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    rounds = [[seconds_of(words) for words in COMMANDS.values()] for _ in range(args.rounds)]
    found = {name: {"median": statistics.median(times), "lowest": min(times)}
             for name, times in zip(COMMANDS, zip(*rounds))}
    if args.json: return print(json.dumps(found))
    for name, times in found.items():
        print(f"{name:20} {times['median']:.2f} s, at best {times['lowest']:.2f} s")

if __name__ == "__main__": main()
