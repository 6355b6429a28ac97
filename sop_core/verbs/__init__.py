"""The verbs of the command line, one file each: the signature and the docstring are its options.

A verb imports the rest of the package inside its function. So `--help` starts at once, and torch is
loaded only where it is used.
"""
