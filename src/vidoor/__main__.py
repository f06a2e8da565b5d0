"""``python -m vidoor`` is the command ``vidoor``."""

from vidoor.cli import main

main()
