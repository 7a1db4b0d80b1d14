"""Our errors as messages and exit codes of the command line."""

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from defectfill.io.errors import ConfigError, DataError, DefectFillError, is_full_disk
from defectfill.io.names import printable

INTERRUPTED = 130
PATH_ERRORS = (errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
"""What is said of a path that is not the user's, or of the wrong kind."""
MACHINE_ERRORS = (errno.EIO, errno.EROFS, errno.ENOLCK, errno.ENOTSUP, errno.EMFILE, errno.ESTALE)
"""What disks, mounts and limits of the machine say; a traceback would not say more."""


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turn our errors into messages and exit codes."""
    try:
        yield
    except KeyboardInterrupt:
        _say_interrupted()
        sys.exit(INTERRUPTED)
    except SystemExit as end:
        if end.code == INTERRUPTED:  # as typer ends then
            _say_interrupted()
        raise
    except DefectFillError as error:
        for problem in error.problems:
            print(printable(problem), file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigError | DataError) else 1)
    except UnicodeEncodeError as error:
        print(f"expected paths and names in UTF-8, found {error.object!a}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if is_full_disk(error):
            print(f"{error.strerror}: make room and run again; what is finished is kept", file=sys.stderr)
            sys.exit(1)
        if error.errno not in (*PATH_ERRORS, *MACHINE_ERRORS):
            raise
        place = printable(str(error.filename2 or error.filename or "the file system"))
        print(f"{place}: {error.strerror}", file=sys.stderr)
        sys.exit(2 if error.errno in PATH_ERRORS else 1)


def _say_interrupted() -> None:
    print("interrupted; what is finished is kept: run again to go on", file=sys.stderr)
