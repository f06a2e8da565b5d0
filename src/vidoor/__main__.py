"""``python -m vidoor`` is the command ``vidoor``."""

from vidoor.cli import main

if __name__ == "__main__":
    main()
