"""``python -m debye``."""

from debye.cli import main

if __name__ == "__main__":
    main()
