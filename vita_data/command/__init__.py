"""What all commands share: argument types, one-line errors, exit codes, signals.

Command-line strings come in; checked values or one line on stderr come out.
"""
