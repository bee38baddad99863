"A benchmark of several parts, each in a process of its own, so that its peak memory is its own."
import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

def parts_parser(parser, parts):
    "Give a parser the arguments that every benchmark has"
    parser.add_argument("parts", nargs="*", help=f"any of {', '.join(parts)}; default: all")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--part", help=argparse.SUPPRESS)  # the process of one part
    return parser

def parse_parts(parser, parts):
    "The arguments, where they name parts that exist"
    args = parser.parse_args()
    if unknown := [name for name in args.parts if name not in parts]:
        parser.error(f"no part {unknown[0]!r}; they are: {', '.join(parts)}")
    return args

def run_parts(args, parts, show, stderr=None):
    """Start the parts one by one, and print a table of each or one object; in the process of one
    part, run it and print what it found"""
    if args.part:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["HF_HOME"] = f"{folder}/cache"
            data = Path(folder, "data")
            data.mkdir()
            return print(json.dumps(parts[args.part](args, data)))
    script, found = Path(sys.argv[0]), {}
    repeat = " ".join([f"python bench/{script.name}", *sys.argv[1:]])
    if not args.json: print(f"repeat with: {repeat}")
    options = [word for word in sys.argv[1:] if word != "--json"]
    for name in args.parts or parts:
        command = [sys.executable, str(script), *options, "--part", name]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=stderr, text=True, check=False)
        if done.returncode: sys.exit(f"the part {name} failed\n{done.stderr or ''}".rstrip())
        found[name] = json.loads(done.stdout.splitlines()[-1])
        if args.json: continue
        print(f"\n{parts[name].__doc__}")
        show(name, found[name])
        sys.stdout.flush()
    if args.json: print(json.dumps({"repeat": repeat, **found}))
