"""What all commands share: types of arguments, one-line errors, exit codes, signals.

Strings of the command line go in, checked values or one line on stderr come out.
"""
