"""What every backend shares: data, measuring, running trials, results."""
