"""The command line: verbs only. Methods and their options are named in recipes or with --set.

Exit status: 0 done, 1 findings, 2 something the user can mend (one line), 3 a fault of vidoor.
"""

import os
import signal
import sys

import typer

from vidoor import __version__
from vidoor.cli import audit as audit
from vidoor.cli import pictures as pictures
from vidoor.cli import runs as runs
from vidoor.cli import tools as tools
from vidoor.cli.shared import app
from vidoor.cli.streams import outlive
from vidoor.errors import VidoorError
from vidoor.progress import console, say

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it, and after SIGTERM, which is taken for one."""


def main() -> None:
    """Entry point: run a command and turn every outcome into an exit status."""
    outlive()
    # Threads that spin while they wait cost an order of magnitude where cores are shared. OpenMP
    # reads this when torch is loaded, which no import above does.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that nothing is left half done
    try:
        status = app(standalone_mode=False)
        sys.stdout.flush()
    except (VidoorError, typer.TyperException) as error:
        text = getattr(error, "format_message", error.__str__)()
        if text:  # none where the help was shown
            say(f"vidoor: {' '.join(text.split())}")
        sys.exit(2)
    except (typer.Abort, KeyboardInterrupt):
        status = INTERRUPTED
    except Exception:
        console.print_exception()
        fault = f"vidoor {__version__}: this is a fault of vidoor, please report it"
        console.print(fault, markup=False)
        sys.exit(3)
    if status == INTERRUPTED:  # typer may have met the interrupt before us
        say("vidoor: interrupted; the same command continues")
    sys.exit(status if isinstance(status, int) else 0)
