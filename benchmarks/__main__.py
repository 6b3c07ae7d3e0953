"""Measure speed and memory on this machine, beside plain torch and PyTorch Geometric.

    python -m benchmarks                      # list the benchmarks
    python -m benchmarks NAME --help          # show the options of one
    python -m benchmarks NAME [options]       # run one
    python -m benchmarks all [options]        # run all that need neither a GPU nor another checkout

Results are checked first: nothing is timed if one is wrong. Ctrl-C keeps what was measured until then.

Example: python -m benchmarks step --channels 64 --groups 2 --depth 7
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks import registry

USER_ERROR = 2
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark that the first word names with the words after it, or list them all, and return the exit code.

    An error that the user can correct is one line on stderr; with --debug it shows its traceback.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        return 0
    name, *options = words
    try:
        return max(registry.main_of(chosen)(options) for chosen in (registry.names_of_all() if name == "all" else [name]))
    except KeyboardInterrupt:
        print("stopped.", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        from revgnn.cli.errors import describe

        message = describe(error)
        if debug or message is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        return USER_ERROR


def usage() -> str:
    """Return what this module says of itself, and the list of benchmarks."""
    width = max(map(len, registry.BENCHMARKS))
    return "\n".join([__doc__ or "", *(f"  {name.ljust(width)}  {entry.about}" for name, entry in registry.BENCHMARKS.items())])


if __name__ == "__main__":
    sys.exit(main())
