"""The command line as `python -m imgcap`, which torchrun needs, and as `imgcap`
(nbs/cli/main.ipynb).
"""
import sys


def main():
    "Run the command line; Ctrl-C is one line from the start, while its modules are being read too."
    try:
        from .cli import main as run
    except KeyboardInterrupt:
        print("imgcap: interrupted", file=sys.stderr)
        return 130
    return run()


if __name__ == "__main__": sys.exit(main())
