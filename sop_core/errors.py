"""One exception for everything that the user can mend."""


class SopError(Exception):
    """Bad input, said in one sentence: what was found and where, what was expected, what to do.

    The command line prints it as one line and exits with 2; a notebook shows it as the last line of the traceback.
    """
