"""What starts runs: jobs, and the refresh that the command line drives in its own process."""
