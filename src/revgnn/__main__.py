"""`python -m revgnn` is the `revgnn` command."""

from revgnn.cli import main

if __name__ == "__main__":
    main()
