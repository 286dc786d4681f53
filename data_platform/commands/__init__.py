"""Commands of the command line, one module for each topic; cli.py puts them together."""
