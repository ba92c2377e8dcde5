"""The ways a command can end badly: what is told, under which code, and with which exit code.

Every error has a code, a short name in kebab-case that never changes while its sentence may be mended. Programs and
tests look at the code: `--json` prints {"error": {"code": "unknown-key", "message": "..."}}. A code is given where
the error is raised, and needs no list:

    raise UsageError(f"unknown key {key}", code="unknown-key")

A kind of error that is caught somewhere is a class of its own, with its code as an attribute:

    class Diverged(Problem):
        code = "loss-not-finite"

In a test, `with raises("loss-not-finite"):` of tests/fixtures/codes.py is in place of a match of the sentence.
"""

import errno


class Problem(Exception):
    """Something in the data, the files or the machine is not as it must be. Exit code 1.

    The text is one message for the user: the file, the row or the key, and the remedy. code: names this kind of error.
    """

    exit_code = 1
    code = "failed"

    def __init__(self, message: str = "", *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code  # kept in the instance, so that it survives the way from another process


class UsageError(Problem):
    """The command line or the configuration is wrong. Exit code 2."""

    exit_code = 2
    code = "usage"


class Busy(Problem):
    """Another process holds what this one needs."""

    code = "busy"


NO_LOCKS = (
    "this file system has no file locks, which keep two processes from one file: mount it with them (NFS without "
    "nolock, Lustre with flock), or set PODIUM_HOME to another folder"
)
NO_PERMISSION = "no permission: make it writable for you, or set PODIUM_HOME to another folder"
# {errno: (code, remedy)}
REMEDIES = {
    errno.ENOLCK: ("no-file-locks", NO_LOCKS),
    errno.ENOSYS: ("no-file-locks", NO_LOCKS),
    errno.EOPNOTSUPP: ("no-file-locks", NO_LOCKS),
    errno.ESTALE: (
        "file-vanished",
        "another machine deleted this file while it was read: give the same command again",
    ),
    errno.ENOSPC: ("disk-full", "the disk is full: free some space and give the same command again"),
    errno.EDQUOT: ("disk-full", "your disk quota is used up: free some space and give the same command again"),
    errno.EACCES: ("no-permission", NO_PERMISSION),
    errno.EPERM: ("no-permission", NO_PERMISSION),
    errno.EROFS: ("no-permission", "the file system is read-only: set PODIUM_HOME to a folder that you may write"),
    errno.EIO: (
        "disk-error",
        "the disk cannot read or write it: look after the disk, or put a copy of the file elsewhere",
    ),
    errno.ENOTDIR: ("file-in-the-way", "a file stands where a folder must be: move it away"),
    errno.EEXIST: ("file-in-the-way", "a file stands where a folder must be: move it away"),
    errno.EISDIR: ("file-in-the-way", "a folder stands where a file must be: move it away"),
}
