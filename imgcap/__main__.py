"The command line as `python -m imgcap`, which torchrun needs: the same as `imgcap` (nbs/cli/main.ipynb)."
import sys

from .cli import main

if __name__ == "__main__": sys.exit(main())
