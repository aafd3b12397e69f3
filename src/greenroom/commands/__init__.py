"""What `greenroom` can be told on the command line, a module for each command."""
