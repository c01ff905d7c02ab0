"""The command line: each file parses, calls one documented function and prints."""
