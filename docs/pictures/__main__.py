"""Draw the pictures of README and docs: all, or those that are named.

    python docs/pictures                                # all; those of pages need Chromium from the system
    python docs/pictures speed                          # one, from what the benchmarks wrote
    python docs/pictures digits frameworks --measure    # first run what they show: some minutes

Without --measure they show what digits.json and frameworks.json keep. Everything is in the extra `test`.
"""

import argparse
import sys
from importlib import import_module
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1])

NAMES = ("same-shape", "speed", "frameworks", "digits", "report", "lab")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="*", help=", ".join(NAMES))
    parser.add_argument("--measure", action="store_true")
    arguments = parser.parse_args()
    if unknown := set(arguments.name) - set(NAMES):
        parser.error(f"a picture's name is one of {', '.join(NAMES)}, got {', '.join(sorted(unknown))}")
    for name in arguments.name or NAMES:
        picture = import_module(f"pictures.{name.replace('-', '_')}")
        if arguments.measure and hasattr(picture, "measure"):
            picture.measure()
        picture.draw()


if __name__ == "__main__":
    main()
